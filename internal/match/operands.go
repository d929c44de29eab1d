package match

import (
	"encoding/binary"
	"unsafe"
)

// Frame returns a test without the values that it compares with. Tests of one
// frame differ in nothing else.
func (t *Test) Frame() Test {
	f := *t
	f.Values, f.Lo.Value, f.Hi.Value = nil, Datum{}, Datum{}
	return f
}

// HasFrame reports whether a test is of a frame.
func (t *Test) HasFrame(f *Test) bool {
	return t.Op == f.Op && keyOf(t) == keyOf(f) && t.sorted == f.sorted &&
		t.Lo.Set == f.Lo.Set && t.Lo.Inclusive == f.Lo.Inclusive && t.Hi.Set == f.Hi.Set && t.Hi.Inclusive == f.Hi.Inclusive
}

// AppendOperands appends what a test has beside its frame.
func (t *Test) AppendOperands(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(t.Values)))
	for _, d := range t.Values {
		b = d.append(b)
	}
	return t.Hi.Value.append(t.Lo.Value.append(b))
}

// SetOperands makes a test of its frame and what AppendOperands appended, which
// is at the beginning of b, and returns what follows. The test keeps the array of
// its Values, and shares b, which must not change as long as the test is used.
func (t *Test) SetOperands(f *Test, b []byte) (rest []byte) {
	values := t.Values[:0]
	*t = *f
	n, w := binary.Uvarint(b)
	b = b[w:]
	for range n {
		var d Datum
		d, b = cutDatum(b)
		values = append(values, d)
	}
	t.Values = values
	t.Lo.Value, b = cutDatum(b)
	t.Hi.Value, b = cutDatum(b)
	return b
}

func (d Datum) append(b []byte) []byte {
	b = append(b, byte(d.class))
	switch {
	case d.class == ClassNone:
		return b
	case d.class.textual():
		return append(binary.AppendUvarint(b, uint64(len(d.s))), d.s...)
	}
	return binary.AppendVarint(b, d.i)
}

func cutDatum(b []byte) (d Datum, rest []byte) {
	d.class, b = Class(b[0]), b[1:]
	switch {
	case d.class == ClassNone:
		return d, b
	case d.class.textual():
		n, w := binary.Uvarint(b)
		b = b[w:]
		d.s = unsafe.String(unsafe.SliceData(b), n)
		return d, b[n:]
	}
	i, w := binary.Varint(b)
	d.i = i
	return d, b[w:]
}
