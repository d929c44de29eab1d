package query

import (
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/patch"
)

// Variant says which statement computes an answer.
type Variant byte

// The variants.
const (
	// Plain is the endpoint's own statement.
	Plain Variant = iota
	// Followed is the statement with rows before and behind the page, for
	// answers that follow their rows without a query.
	Followed
	variants
)

// Variant returns how the binding's answer is computed.
func (b *Binding) Variant() Variant { return Plain }

// Statement returns the statement that computes an answer. Each row is one of
// the result: the row as JSON text, then HiddenColumns(v) more columns. The
// statement takes Binding.Args, of the types ParamTypes returns.
//
// With many it computes the answers of several bindings. Each parameter is a
// text[] with one element per binding, and each row begins with the number of
// its binding, from 1; the rows of one binding are in order. It returns "" where
// that cannot be.
func (e *Endpoint) Statement(v Variant, many bool) string {
	if many {
		return ""
	}
	return e.FillSQL()
}

// HiddenColumns returns how many columns of a variant follow the JSON text.
func (e *Endpoint) HiddenColumns(v Variant) int { return 0 }

// Placed is what the rows of a statement say of the answer.
type Placed struct {
	// From and To bound the rows that the answer shows.
	From, To int
	// Edge is the end of a full page, or nil.
	Edge *match.Edge
	// Args are the edge for KeyStatement, after Binding.Args; all nil without.
	Args [][]byte
}

// Place reads the rows of the binding's variant.
func (b *Binding) Place(rows []patch.Row) Placed { return Placed{To: len(rows)} }

// KeyStatements returns how many further statements tell which rows of other
// tables an answer hangs on. They are run at the same snapshot.
func (e *Endpoint) KeyStatements() int { return 0 }

// KeyStatement returns the i-th, with Binding.Args and Placed.Args for
// parameters, or arrays of them with many, like Statement.
func (e *Endpoint) KeyStatement(i int, many bool) string { return "" }

// KeyTypes returns the types of a KeyStatement's parameters, for many false.
func (e *Endpoint) KeyTypes() []uint32 { return e.ParamTypes() }

// KeyRows are the rows that one KeyStatement returned for one binding; for more
// than MaxKeyRows of them, nil with Cut set.
type KeyRows struct {
	Rows []change.Row
	Cut  bool
}

// MaxKeyRows bounds the rows of a KeyStatement. Statements return one more at
// most.
const MaxKeyRows = 1000

// Refine returns the dependencies of an answer whose statements returned this,
// all at one snapshot. They hold for that answer only; Deps holds for any.
func (b *Binding) Refine(p Placed, keys []KeyRows) []match.Dependency { return b.Deps() }

// Follow returns the state by which the answer follows its rows, or nil.
func (b *Binding) Follow(rows []patch.Row) *patch.State { return nil }
