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
}

// Op is the comparison that a Test makes.
type Op byte

// The comparisons. Range has Lo and Hi bounds, of which one may be open.
const (
	Equal Op = iota // column = Values[0]
	In              // column is one of Values
	Range
	IsNull
	NotNull
)

// Bound is one end of a range.
type Bound struct {
	Set       bool
	Inclusive bool
	Value     Datum
}

// Test is one conjunct of the WHERE clause over one column, its parameters
// bound: a row for which it is not true takes no part in the answer. A Test
// over a value that the log does not carry counts as true.
type Test struct {
	Column string
	// Type is the column's type as the endpoint was analysed with. A relation
	// whose column has another one is treated as unknown.
	Type   catalog.OID
	Class  Class // of Type; never ClassNone
	Op     Op
	Values []Datum
	Lo, Hi Bound
}

// Dependency says which rows of one table reference can touch one answer: those
// whose old or new version passes every Test. With no Tests every row does.
type Dependency struct {
	Reads *Reads
	Tests []Test
}
