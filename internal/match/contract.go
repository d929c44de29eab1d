// Package match decides which answers a change touches.
//
// Contract: it may say that an answer is touched when it is not; it never says
// that it is not when it is. What the log does not carry counts as a match. The
// package is pure; an Index is not safe for concurrent use, its owner locks.
package match

import "github.com/tidemarkdb/tidemark/internal/catalog"

// Reads is what one table reference of one endpoint reads. All answers of the
// endpoint share it.
type Reads struct {
	// Tables are the table itself and everything below it by inheritance or
	// partitioning: a change of any of them counts.
	Tables []catalog.OID
	// Name is the table's schema-qualified name, for explanations.
	Name string
	// Columns are the columns that the query reads; nil means all of them.
	Columns []string
	// Tested are those of Columns of which the query uses nothing but what the
	// Tests of an Exact dependency say of them.
	Tested []string
}

// Op is the comparison that a Test makes.
type Op byte

// The comparisons. Range has Lo and Hi bounds, of which one may be open; a range
// over text is one of bytes, whatever the collation.
const (
	Equal Op = iota // column = Values[0]
	In              // column is one of Values; none: no row passes
	Range
	IsNull
	NotNull
	NotEqual // column is none of Values, and not null; not for an Element
)

// Bound is one end of a range.
type Bound struct {
	Set       bool
	Inclusive bool
	Value     Datum
}

// PartKind says which values of a column a Test is about.
type PartKind byte

// The parts of a column.
const (
	Whole   PartKind = iota // the value itself
	Member                  // of a jsonb value, the text that ->> (#>>) gives at Path
	Element                 // the elements of a one-dimensional array: one has to pass
)

// Part is what of a column a Test is about.
type Part struct {
	Kind PartKind
	Path string // of a Member: the names from the outermost, each ended by a NUL
}

// Test is one conjunct of the WHERE clause over one column, its parameters
// bound: a row for which it is not true takes no part in the answer. A Test
// over a value that the log does not carry counts as true.
type Test struct {
	Column string
	// Type is the column's type as the endpoint was analysed with. A relation
	// whose column has another one is treated as unknown.
	Type   catalog.OID
	Part   Part
	Class  Class // of the part; never ClassNone
	Op     Op
	Values []Datum // of a long list, see Sort
	Lo, Hi Bound
	sorted bool // Values are in the order of rank
}

// Dependency says which rows of one table reference can touch one answer: those
// whose old or new version passes every Test, does not lie behind the Edge or the
// end of its group, and is not represented by another row. With none of these every row does.
type Dependency struct {
	Reads *Reads
	Tests []Test
	// Exact says that the Tests are all that the query wants to know of the
	// columns in Reads.Tested: an update that changes no other column touches the
	// answer only if one version of the row passes them and the other does not.
	Exact     bool
	Edge      *Edge
	Groups    *Groups
	Witnesses *Witnesses
}

// OrderColumn is one column of an ORDER BY, of a type whose order Datum.Compare
// reproduces. Text is ordered by bytes here: the caller knows the collation.
type OrderColumn struct {
	Column           string
	Type             catalog.OID
	Class            Class
	Desc, NullsFirst bool
}

// Edge is the last row of a page that is full. A version of a row that sorts
// after it, by the columns given, takes no part in the answer. One whose columns
// are all equal to those of the edge does.
type Edge struct {
	Order []OrderColumn
	Last  []Place
}

// Place is the value of one OrderColumn.
type Place struct {
	Null  bool
	Value Datum
}

// KeyColumn is a column that identifies, by the equality of its class.
type KeyColumn struct {
	Column string
	Type   catalog.OID
	Class  Class
}

// Witnesses are rows that each stand for all rows with the same values of some
// columns, because the query asks only whether there is one (EXISTS, IN,
// DISTINCT). As long as a witness stays as it is, other versions of rows with
// its values do not count. Reads.Columns has all these columns, and Reads.Tested
// none.
//
// Of several witnesses of the same values all but one may go. Which those are
// depends on what came before: an Index keeps count, for the changes that it is
// shown one after the other. To Affects, which is not told, each of them counts.
type Witnesses struct {
	For []KeyColumn // what has to be the same
	Key []KeyColumn // the table's own key
	// rows hold the values of both, those of For first, in order: the encoding is
	// appendValues'.
	rows    []string
	longest int
	certain bool // rows that pass the tests are witnesses, too
	fixed   bool // see NewFixtures
	owned   bool // by an index, which changes them
}
