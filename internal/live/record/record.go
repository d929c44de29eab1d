// Package record has the fields of what is kept of followed data in files: varints
// as in encoding/binary, little-endian numbers of fixed size, and texts with their
// length before them. A reader believes no length beyond the bytes that are there.
package record

import "encoding/binary"

// Reader reads the fields of a record. After one that is not there, Bad is set, no
// Rest is left, and every other field is zero.
type Reader struct {
	Rest []byte
	Bad  bool
}

// Fail has the reader go on as after a field that is not there.
func (r *Reader) Fail() { r.Bad, r.Rest = true, nil }

// Uvarint reads a varint without a sign.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.Rest)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.Rest = r.Rest[n:]
	return v
}

// Varint reads a varint with a sign.
func (r *Reader) Varint() int64 {
	v, n := binary.Varint(r.Rest)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.Rest = r.Rest[n:]
	return v
}

// Count reads how many things follow, each of which takes a byte at least.
func (r *Reader) Count() int {
	n := r.Uvarint()
	if n > uint64(len(r.Rest)) {
		r.Fail()
		return 0
	}
	return int(n)
}

// Bytes reads n bytes. They are those of the record, not a copy.
func (r *Reader) Bytes(n uint64) []byte {
	if n > uint64(len(r.Rest)) {
		r.Fail()
		return nil
	}
	b := r.Rest[:n:n]
	r.Rest = r.Rest[n:]
	return b
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if b := r.Bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// Uint32 reads four bytes.
func (r *Reader) Uint32() uint32 {
	if b := r.Bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// Uint64 reads eight bytes.
func (r *Reader) Uint64() uint64 {
	if b := r.Bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// Text reads what AppendText wrote. It is a part of the record, not a copy.
func (r *Reader) Text() []byte { return r.Bytes(r.Uvarint()) }

// AppendText appends a text with its length.
func AppendText[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
