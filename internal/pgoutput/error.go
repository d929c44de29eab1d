package pgoutput

import (
	"errors"
	"fmt"
	"strconv"
)

// Causes of an Error, for errors.Is.
var (
	// ErrShort means that the message ends before what it announces.
	ErrShort = errors.New("message is cut short")
	// ErrTrailing means that bytes follow the end of the message.
	ErrTrailing = errors.New("bytes after the end of the message")
	// ErrMalformed means that a byte has none of its allowed values.
	ErrMalformed = errors.New("malformed message")
	// ErrUnknownType means that no message of these protocols starts so.
	ErrUnknownType = errors.New("unknown message type")
	// ErrBinary means that a value is in binary format, which nobody asked for.
	ErrBinary = errors.New("binary column value is not supported")
)

// Error says where in which message decoding stopped.
type Error struct {
	Type   Type
	Offset int // in bytes from the start of the message
	Reason string
	Err    error // one of the causes above
}

func (e *Error) Error() string {
	s := fmt.Sprintf("pgoutput: %v at offset %d: %v", e.Type, e.Offset, e.Err)
	if e.Reason != "" {
		s += " (" + e.Reason + ")"
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

func quoteByte(b byte) string { return strconv.QuoteRuneToASCII(rune(b)) }
