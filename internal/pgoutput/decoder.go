package pgoutput

import (
	"bytes"
	"encoding/binary"
	"math"
	"time"
)

// Decoder decodes messages. The zero value is ready for use.
type Decoder struct {
	begin        Begin
	commit       Commit
	origin       Origin
	dataType     DataType
	insert       Insert
	update       Update
	delete       Delete
	truncate     Truncate
	message      LogicalMessage
	streamStart  StreamStart
	streamStop   StreamStop
	streamCommit StreamCommit
	streamAbort  StreamAbort

	old, new  []Column
	relations []uint32
}

// Decode decodes one message. Streamed says that it was sent between Stream
// Start and Stream Stop, where most messages carry a transaction id.
//
// The result holds until the next call; a *Relation is the caller's to keep.
func (d *Decoder) Decode(src []byte, streamed bool) (Message, error) {
	r := reader{src: src}
	m := d.decode(&r, streamed)
	if r.err == nil && r.off != len(src) {
		r.fail(ErrTrailing, "")
	}
	if r.err != nil {
		return nil, r.err
	}
	return m, nil
}

func (d *Decoder) decode(r *reader, streamed bool) Message {
	t := Type(r.byte())
	var xid uint32
	if streamed && t.HasXID() {
		xid = r.uint32()
	}
	switch t {
	case TypeInsert:
		m := &d.insert
		m.XID, m.Relation = xid, r.uint32()
		if r.byte() != 'N' {
			r.failAt(r.off-1, ErrMalformed, "want a new tuple")
		}
		d.new = r.tuple(d.new[:0])
		m.New = d.new
		return m
	case TypeUpdate:
		m := &d.update
		m.XID, m.Relation, m.OldKind, m.Old = xid, r.uint32(), NoOld, nil
		k := r.byte()
		if k == byte(OldKey) || k == byte(OldFull) {
			m.OldKind = OldKind(k)
			d.old = r.tuple(d.old[:0])
			m.Old = d.old
			k = r.byte()
		}
		if k != 'N' {
			r.failAt(r.off-1, ErrMalformed, "want a new tuple")
		}
		d.new = r.tuple(d.new[:0])
		m.New = d.new
		return m
	case TypeDelete:
		m := &d.delete
		m.XID, m.Relation = xid, r.uint32()
		m.OldKind = OldKind(r.byte())
		if m.OldKind != OldKey && m.OldKind != OldFull {
			r.failAt(r.off-1, ErrMalformed, "want an old tuple")
		}
		d.old = r.tuple(d.old[:0])
		m.Old = d.old
		return m
	case TypeBegin:
		m := &d.begin
		m.FinalLSN, m.Time, m.XID = r.uint64(), r.time(), r.uint32()
		return m
	case TypeCommit:
		m := &d.commit
		m.Flags, m.CommitLSN, m.EndLSN, m.Time = r.byte(), r.uint64(), r.uint64(), r.time()
		return m
	case TypeOrigin:
		m := &d.origin
		m.CommitLSN, m.Name = r.uint64(), r.string()
		return m
	case TypeRelation:
		return r.relation(xid)
	case TypeType:
		m := &d.dataType
		m.XID, m.OID, m.Namespace, m.Name = xid, r.uint32(), r.string(), r.string()
		return m
	case TypeTruncate:
		return d.decodeTruncate(r, xid)
	case TypeMessage:
		m := &d.message
		m.XID = xid
		m.Transactional = r.flags(1, "flags of a logical message")&1 != 0
		m.LSN, m.Prefix = r.uint64(), r.string()
		m.Content = r.bytes(int64(r.uint32()))
		return m
	case TypeStreamStart:
		m := &d.streamStart
		m.XID, m.First = r.uint32(), r.flags(1, "first-segment mark") != 0
		return m
	case TypeStreamStop:
		return &d.streamStop
	case TypeStreamCommit:
		m := &d.streamCommit
		m.XID, m.Flags, m.CommitLSN, m.EndLSN, m.Time = r.uint32(), r.byte(), r.uint64(), r.uint64(), r.time()
		return m
	case TypeStreamAbort:
		m := &d.streamAbort
		m.XID, m.SubXID = r.uint32(), r.uint32()
		return m
	}
	r.failAt(0, ErrUnknownType, "")
	return nil
}

func (d *Decoder) decodeTruncate(r *reader, xid uint32) Message {
	m := &d.truncate
	n := r.uint32()
	flags := r.flags(3, "truncate options")
	m.XID, m.Cascade, m.RestartIdentity = xid, flags&1 != 0, flags&2 != 0
	d.relations = d.relations[:0]
	if !r.need(4 * int64(n)) {
		return m
	}
	for range n {
		d.relations = append(d.relations, r.uint32())
	}
	m.Relations = d.relations
	return m
}

// reader walks over one message. After the first failure every method returns
// a zero value, so decoding needs one check at its end.
type reader struct {
	src []byte
	off int
	err error
}

func (r *reader) fail(cause error, reason string) { r.failAt(r.off, cause, reason) }

func (r *reader) failAt(off int, cause error, reason string) {
	if r.err != nil {
		return
	}
	var t Type
	if len(r.src) > 0 {
		t = Type(r.src[0])
	}
	r.err = &Error{Type: t, Offset: off, Err: cause, Reason: reason}
}

func (r *reader) need(n int64) bool {
	if r.err != nil {
		return false
	}
	if int64(len(r.src)-r.off) < n {
		r.fail(ErrShort, "")
		return false
	}
	return true
}

func (r *reader) byte() byte {
	if !r.need(1) {
		return 0
	}
	b := r.src[r.off]
	r.off++
	return b
}

// flags reads a byte in which only the bits of mask may be set.
func (r *reader) flags(mask byte, what string) byte {
	b := r.byte()
	if b&^mask != 0 {
		r.failAt(r.off-1, ErrMalformed, what)
	}
	return b
}

func (r *reader) uint16() uint16 {
	if !r.need(2) {
		return 0
	}
	v := binary.BigEndian.Uint16(r.src[r.off:])
	r.off += 2
	return v
}

func (r *reader) uint32() uint32 {
	if !r.need(4) {
		return 0
	}
	v := binary.BigEndian.Uint32(r.src[r.off:])
	r.off += 4
	return v
}

func (r *reader) uint64() uint64 {
	if !r.need(8) {
		return 0
	}
	v := binary.BigEndian.Uint64(r.src[r.off:])
	r.off += 8
	return v
}

func (r *reader) bytes(n int64) []byte {
	if !r.need(n) {
		return nil
	}
	b := r.src[r.off : r.off+int(n) : r.off+int(n)]
	r.off += int(n)
	return b
}

func (r *reader) string() string {
	if r.err != nil {
		return ""
	}
	i := bytes.IndexByte(r.src[r.off:], 0)
	if i < 0 {
		r.fail(ErrShort, "string without an end")
		return ""
	}
	s := string(r.src[r.off : r.off+i])
	r.off += i + 1
	return s
}

// time reads microseconds since the start of 2000.
func (r *reader) time() time.Time {
	us := int64(r.uint64())
	const epoch = 946684800 * 1e6
	if us > math.MaxInt64-epoch {
		us = math.MaxInt64 - epoch // year 294247, Postgres's infinity
	}
	return time.UnixMicro(us + epoch).UTC()
}

// tuple appends the columns of one tuple to dst. It is the one loop whose
// speed matters, so it keeps the offset in a local.
func (r *reader) tuple(dst []Column) []Column {
	n := int(r.uint16())
	if r.err != nil {
		return dst
	}
	src, off := r.src, r.off
	for range n {
		if off >= len(src) {
			r.failAt(off, ErrShort, "column kind")
			return dst
		}
		switch k := Kind(src[off]); k {
		case Text:
			if len(src)-off < 5 {
				r.failAt(off, ErrShort, "column length")
				return dst
			}
			size := int64(binary.BigEndian.Uint32(src[off+1:]))
			off += 5
			if int64(len(src)-off) < size {
				r.failAt(off, ErrShort, "column value")
				return dst
			}
			end := off + int(size)
			dst = append(dst, Column{Kind: Text, Text: src[off:end:end]})
			off = end
		case Null, Unchanged:
			dst = append(dst, Column{Kind: k})
			off++
		case 'b':
			r.failAt(off, ErrBinary, "")
			return dst
		default:
			r.failAt(off, ErrMalformed, "column kind "+quoteByte(byte(k)))
			return dst
		}
	}
	r.off = off
	return dst
}

func (r *reader) relation(xid uint32) Message {
	m := &Relation{XID: xid, OID: r.uint32(), Namespace: r.string(), Name: r.string()}
	m.Identity = r.byte()
	switch m.Identity {
	case 'd', 'n', 'f', 'i':
	default:
		r.failAt(r.off-1, ErrMalformed, "replica identity")
	}
	n := int(r.uint16())
	// A column takes at least ten bytes, which bounds what a lying count can
	// make this allocate.
	if !r.need(10 * int64(n)) {
		return m
	}
	m.Columns = make([]RelationColumn, 0, n)
	for range n {
		c := RelationColumn{
			Key:  r.flags(1, "column flags")&1 != 0,
			Name: r.string(), Type: r.uint32(), Mod: int32(r.uint32()),
		}
		if r.err != nil {
			return m
		}
		m.Columns = append(m.Columns, c)
	}
	return m
}
