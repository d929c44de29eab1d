// Package live is the vocabulary of what is followed: shapes, offsets, batches,
// and the messages that clients receive.
//
// A shape is one table with a condition, or the answer of one endpoint. Its
// client gets the rows, then what changes, in the order of commits, as messages
// of Electric's HTTP shape API (version 1.5 of its client). Where a client is
// in a shape is an Offset, which with the shape's handle says what it has seen.
//
// The package is pure.
package live

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Offset is how far a client has come in a shape: all messages at or before it
// have been received. The zero Offset is the end of a snapshot's first chunk.
type Offset struct {
	// LSN is the position of the transaction (revision.LSN, where its commit
	// record ends), or 0 inside the snapshot.
	LSN revision.LSN
	// Index is the place of the message in the transaction, or the number of the
	// chunk of the snapshot.
	Index uint64
}

// Start is the offset before everything, Now the one after everything there is.
var (
	Start = Offset{Index: ^uint64(0)}
	Now   = Offset{Index: ^uint64(0) - 1}
)

// Whole is the Index of an offset after all of a transaction. It is a number that
// any client can read, beyond the index of any message.
const Whole = 1<<53 - 1

// String returns the text form: -1, now, or number_number.
func (o Offset) String() string {
	switch o {
	case Start:
		return "-1"
	case Now:
		return "now"
	}
	b := strconv.AppendUint(nil, uint64(o.LSN), 10)
	b = append(b, '_')
	return string(strconv.AppendUint(b, o.Index, 10))
}

// ParseOffset reads the text form, and that of an offset which a client of an
// event stream made: it appends _0 to the position that it was told last, and is
// after all of it. The zero in front tells it from the offset of a first message.
func ParseOffset(s string) (Offset, error) {
	switch s {
	case "-1":
		return Start, nil
	case "now":
		return Now, nil
	}
	lsn, index, ok := strings.Cut(s, "_")
	l, err := strconv.ParseUint(lsn, 10, 64)
	i, err2 := strconv.ParseUint(index, 10, 64)
	if !ok || err != nil || err2 != nil || i >= Now.Index {
		return Offset{}, fmt.Errorf("offset %.60q is not -1, now, or two numbers with _ between", s)
	}
	if i == 0 && len(lsn) > 1 && lsn[0] == '0' {
		i = Whole
	}
	return Offset{revision.LSN(l), i}, nil
}

// appendStreamed appends a position for clients that make an offset of it.
func appendStreamed(b []byte, lsn revision.LSN) []byte {
	return strconv.AppendUint(append(b, '0'), uint64(lsn), 10)
}

// Compare orders offsets of one handle; Start comes first, Now is not compared.
func (o Offset) Compare(p Offset) int {
	switch {
	case o == p:
		return 0
	case o == Start || p != Start && (o.LSN < p.LSN || o.LSN == p.LSN && o.Index < p.Index):
		return -1
	}
	return 1
}

// Batch is what comes after an offset. It is immutable and shared by all who are
// at that offset.
type Batch struct {
	// Messages are JSON objects with a comma and a line feed between two; nil if
	// there are none. A message holds no line feed.
	Messages []byte
	// End is the offset of the last message, or where the client was.
	End Offset
	// SnapshotEnd says that Messages end with that control message.
	SnapshotEnd bool
	// UpToDate says that the client then has everything as of the position At;
	// the control message that tells it is not among Messages. It is never set in
	// the middle of a transaction.
	UpToDate bool
	At       revision.LSN
}

// Shape is one shape as it is followed. Its methods are safe for concurrent use.
type Shape interface {
	// Handle names it, together with where it began.
	Handle() string
	// Schema is the electric-schema header: a JSON object.
	Schema() string
	// Next returns what comes after an offset (not Now), about a chunk at most:
	// at once, and an UpToDate batch without messages if there is nothing. It fails
	// with a *GoneError if the offset cannot be continued from.
	Next(ctx context.Context, after Offset) (*Batch, error)
	// Last returns the offset of one who has everything.
	Last(ctx context.Context) (Offset, error)
	// Changed returns what is told once Next may have more than nothing after an
	// offset, and nil if that is so already. It allocates nothing for another
	// client at the same place.
	Changed(after Offset) *News
}

// GoneError says that a client has to begin again: its handle is over, or its
// offset is outside of what is kept.
type GoneError struct {
	Handle string // the one to begin with, if it is known
	Reason string
}

func (e *GoneError) Error() string { return "the shape cannot be continued: " + e.Reason }

// RequestError is a request that can never be answered, with what to do.
type RequestError struct {
	Field   string // the parameter at fault, such as where
	Message string
	Hint    string
}

func (e *RequestError) Error() string {
	if e.Field == "" {
		return e.Message
	}
	return e.Field + ": " + e.Message
}

// Errors that callers test for.
var (
	// ErrUnavailable: shapes cannot be followed for the moment; the wrapping error
	// says why.
	ErrUnavailable = errors.New("shapes cannot be followed at the moment")
	// ErrForbidden: the subscriber may not see this.
	ErrForbidden = errors.New("this is not for this subscriber")
	// ErrNoShape: no such shape.
	ErrNoShape = errors.New("no such shape")
)

// Definition asks for a shape of a table, as a client does.
type Definition struct {
	Table   string            // name or schema.name, quoted where needed
	Where   string            // a condition with $1 ...; empty: every row
	Params  map[string]string // by number
	Columns []string          // names without quotes; nil: all
	// Queryable are the columns that a Subset may name; nil: all.
	Queryable []string
	Full      bool // replica=full
	// ChangesOnly is log=changes_only: no snapshot.
	ChangesOnly bool
	// Account is that of a subscriber who is bound to one.
	Account *string
}

// Subset asks for some rows of a table's shape at one snapshot.
type Subset struct {
	Where   string
	Params  map[string]string
	OrderBy string
	Limit   *int64
	Offset  *int64
}

// Tables serves shapes of tables.
type Tables interface {
	// Open returns the shape of a definition, making it if need be. If handle is
	// one of that definition and can still be continued, the shape is the one of
	// that handle; else the newest.
	Open(ctx context.Context, d Definition, handle string) (Shape, error)
	// Subset returns {"metadata": …, "data": […]} for a shape's definition.
	Subset(ctx context.Context, d Definition, s Subset) ([]byte, error)
	// Delete ends a shape, by definition or by handle.
	Delete(ctx context.Context, d *Definition, handle string) error
}

// Answers serves shapes of endpoints.
type Answers interface {
	// Open is as that of Tables, for the escaped path and the query of an
	// endpoint's URL, less the parameters that are about following.
	Open(ctx context.Context, path, rawQuery, handle string, account *string) (Shape, error)
	// Delete ends a shape by handle.
	Delete(ctx context.Context, handle string) error
}
