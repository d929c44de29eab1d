package feed

import (
	"errors"
	"fmt"
	"strings"
)

// Reasons why a session did not start or ended, for errors.Is.
var (
	ErrPublicationMissing = errors.New("publication does not exist")
	ErrSlotMissing        = errors.New("slot does not exist")
	ErrSlotLost           = errors.New("slot is lost")
	ErrSlotActive         = errors.New("slot is in use by another connection")
	ErrSlotMismatch       = errors.New("slot is of another kind")
	ErrWALLevel           = errors.New("the server does not write what logical decoding needs")
	ErrServerVersion      = errors.New("the server's version is not supported")
	// ErrBehind means that a standby has not yet replayed what was followed before.
	ErrBehind = errors.New("the server is behind")
	// ErrSilent means that the server stopped sending although it was asked to.
	ErrSilent = errors.New("no answer from the server")
	// ErrProtocol means that messages came in an order that makes no sense.
	ErrProtocol = errors.New("unexpected message in the log")
	// ErrSink means that the receiver of the log returned an error.
	ErrSink = errors.New("the log could not be applied")
)

// Error says what the feed was doing and, where a person must act, what to do.
type Error struct {
	Op   string // "connect", "check", "create slot", "start", "stream", "decode", "apply", "spill"
	Hint string // what to type or to change; may be empty
	Err  error
}

func (e *Error) Error() string {
	s := e.Op + ": " + e.Err.Error()
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// fail wraps err once: an error that is an *Error already stays as it is.
func fail(op string, err error) error {
	var e *Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return &Error{Op: op, Err: err}
}

func protocolError(format string, args ...any) error {
	return &Error{Op: "decode", Err: fmt.Errorf("%w: "+format, append([]any{ErrProtocol}, args...)...)}
}

func quoteIdent(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
