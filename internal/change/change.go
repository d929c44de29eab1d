// Package change is the vocabulary of the log after decoding: transactions,
// their changes, and rows.
//
// Changes are fat: whole old row and new row where the log has them, so nobody
// reads the database to understand one. The package is pure; a Transaction and
// all that hangs from it is immutable once handed on.
package change

import (
	"bytes"
	"time"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Op says what happened to a row or a table.
type Op byte

// The operations.
const (
	Insert   Op = 'I'
	Update   Op = 'U'
	Delete   Op = 'D'
	Truncate Op = 'T' // the whole table; Old and New are nil
	// Define says that the definition of Relation is not what it was, or, where
	// Relation is nil, that some definition in the database changed.
	Define Op = 'S'
)

func (o Op) String() string {
	switch o {
	case Insert:
		return "insert"
	case Update:
		return "update"
	case Delete:
		return "delete"
	case Truncate:
		return "truncate"
	case Define:
		return "definition"
	}
	return "unknown"
}

// Kind says what is known of a value.
type Kind byte

// The kinds of value. The zero Kind is Absent: what nobody set is unknown.
const (
	Absent Kind = iota // the log does not say: unchanged TOAST, or not in the identity
	Null
	Text
)

// Value is one column of one row in Postgres's text form, as written by a
// session with DateStyle ISO, TimeZone UTC, bytea_output hex and
// extra_float_digits 3.
type Value struct {
	Kind Kind
	Text []byte
}

// Equal reports whether both values are known and the same.
func (v Value) Equal(o Value) bool {
	return v.Kind == o.Kind && v.Kind != Absent && bytes.Equal(v.Text, o.Text)
}

// Row holds one value per column of its relation. A nil Row is one that does
// not exist (the old side of an insert) or of which nothing is known.
type Row []Value

// Change is one row event. Old is nil for Insert, New is nil for Delete.
//
// An update under a replica identity other than FULL has an Old row too: its
// identity columns hold what the log sent or, when the log sent nothing, what
// New holds (then they did not change); the others are Absent. A column that
// the log left out of New because its TOAST value is unchanged has the value
// of Old where that is known.
type Change struct {
	Op       Op
	Relation *catalog.Relation
	Old, New Row
}

// Transaction is one committed transaction. Its order among others is End.
type Transaction struct {
	XID    revision.XID
	Commit revision.LSN // where the commit record starts
	End    revision.LSN // where it ends: the position that the transaction completes
	Time   time.Time    // of the commit, by the server's clock

	// Changes holds the changes in order, or is nil when Spilled is set.
	Changes []Change
	// Spilled reads the changes of a transaction that is too large to hold.
	// It may be called while Apply runs and not afterwards, and passes a change
	// that is valid only during the call.
	Spilled func(yield func(*Change) error) error

	Count int   // changes
	Bytes int64 // of their messages in the log
}

// Each calls yield with every change in order, until it returns an error.
func (t *Transaction) Each(yield func(*Change) error) error {
	if t.Spilled != nil {
		return t.Spilled(yield)
	}
	for i := range t.Changes {
		if err := yield(&t.Changes[i]); err != nil {
			return err
		}
	}
	return nil
}
