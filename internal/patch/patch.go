// Package patch follows an answer from change to change without a query: lists
// and lookups of one table, counts and sums.
//
// Contract: the bytes are those that Postgres would have produced. What it
// cannot follow exactly it refuses, and the answer is computed anew. The package
// is pure; plans and states are immutable, and safe for concurrent use.
package patch

import (
	"sync/atomic"
	"unsafe"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
)

// Plan says how the answers of one endpoint follow the rows of one table. A plan
// has Aggregates or Columns, not both. It must not be copied.
//
// A row is told from others by Key: no two rows of all Reads.Tables may have the
// same at any moment. A primary key that is deferrable, or that several tables
// of an inheritance tree have each for itself, is none.
type Plan struct {
	// Reads is the reference to the table.
	Reads *match.Reads
	// Columns are the result columns of a list or lookup, in order.
	Columns []Column
	// Order is a total order of the rows: the ORDER BY, with every column of Key
	// in it. It is empty for a lookup, which at most one row can pass.
	Order []match.OrderColumn
	// Key is the table's primary key.
	Key []match.KeyColumn
	// Aggregates are the result columns of a query for counts and sums, which has
	// one row.
	Aggregates []Aggregate
	// One says that the answer is an object and not an array.
	One bool

	// layout is that of the relation that changed last.
	layout   atomic.Pointer[layout]
	stencils atomic.Pointer[stencil] // the newest
}

// Column is a result column that is a column of the table.
type Column struct {
	Name   string // in the result
	Column string
	Type   catalog.OID // declared
	Base   catalog.OID // below domains
	Enum   bool        // Base is an enum
}

// AggregateKind says what is computed.
type AggregateKind byte

// The aggregates.
const (
	CountRows AggregateKind = iota // count(*)
	Count                          // count(column)
	Sum                            // sum(column), of smallint, integer, bigint, or numeric with a scale
)

// Aggregate is one result column of a query for counts and sums.
type Aggregate struct {
	Name   string
	Kind   AggregateKind
	Column string // "" for CountRows
	Type   catalog.OID
	Base   catalog.OID
	Scale  int // of a numeric column: its declared scale
}

// Bound is a plan with its parameters.
type Bound struct {
	Plan *Plan
	// Tests are exactly the WHERE clause: a row takes part if and only if all are
	// true of it.
	Tests []match.Test
	// Offset and Limit are those of the query; Limit -1 means none. Rows holds
	// Limit + Offset + Slack rows at most.
	Offset, Limit, Slack int
}

// Row is one row of the result of the query that begins a State.
type Row struct {
	JSON []byte // as row_to_json gives it
	// Hidden are, for a list or lookup, the values of Plan.Order and then of
	// Plan.Key; for aggregates, for each of them the number of values that are not
	// null (for CountRows, the count itself).
	Hidden []change.Value
}

// State is one answer with the rows that it was made from. It is immutable.
type State struct {
	stencil *stencil
	body    []byte
	// side holds what is not in the body: what the answer has of its own of its
	// bound plan (see stencil.go), then of a list or lookup what list.go says, of
	// aggregates the numbers of values, as varints. New bodies and sides are of
	// one piece.
	side []byte
	rows uint32
	end  end
	none bool // there is no answer
}

// Start makes the state of an answer from the rows of its query: all that pass
// Bound.Tests in order, up to Offset+Limit+Slack of them. It returns nil where
// the answer cannot be followed. Nothing of rows is kept, and of b only the plan.
func Start(b *Bound, rows []Row) *State {
	if len(b.Plan.Aggregates) > 0 {
		return startTotals(b, rows)
	}
	return startRows(b, rows)
}

// Follow applies the changes of one committed transaction, in order; changes of
// other tables and of rows that do not matter may be among them. When nothing
// that is shown changes, next is s or another state and changed is false. It
// returns ok false where the new answer is not known exactly. Nothing of changes
// is kept.
func (s *State) Follow(changes []*change.Change) (next *State, changed, ok bool) {
	if len(s.stencil.plan.Aggregates) > 0 {
		return s.followTotals(changes)
	}
	return s.followRows(changes)
}

// Body returns the answer, and whether there is one: false is an object that
// does not exist, with an empty body. The caller must not change it. Successive
// calls return the same bytes.
func (s *State) Body() (body []byte, found bool) { return s.body, !s.none }

// Size returns the bytes that the state takes beside Body.
func (s *State) Size() int64 { return int64(unsafe.Sizeof(*s)) + int64(cap(s.side)) }
