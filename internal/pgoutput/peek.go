package pgoutput

import "encoding/binary"

// Peek returns the type of a message and, in a stream block, the id of the
// transaction or sub-transaction that it belongs to, without decoding it.
func Peek(src []byte, streamed bool) (t Type, xid uint32, err error) {
	if len(src) == 0 {
		return 0, 0, &Error{Err: ErrShort}
	}
	t = Type(src[0])
	if streamed && t.HasXID() {
		if len(src) < 5 {
			return t, 0, &Error{Type: t, Offset: 1, Err: ErrShort}
		}
		xid = binary.BigEndian.Uint32(src[1:])
	}
	return t, xid, nil
}
