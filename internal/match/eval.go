package match

import (
	"slices"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
)

// Verdict is an answer to whether something is true of a row, of which not every
// value may be known. The verdict on a conjunction is the least of its parts'.
type Verdict byte

// The verdicts.
const (
	No Verdict = iota // certainly false, or null
	Unknown
	Yes // certainly true
)

// Eval says whether a row passes every test. A nil row is one of which nothing
// is known.
func Eval(tests []Test, rel *catalog.Relation, row change.Row) Verdict {
	all := Yes
	for i := range tests {
		t := &tests[i]
		v := Unknown
		switch {
		case t.impossible():
			return No
		case row != nil:
			v = t.eval(cell(rel, row, t.Column, t.Type))
		}
		if v == No {
			return No
		}
		all = min(all, v)
	}
	if row == nil {
		return Unknown
	}
	return all
}

// cell returns the value of a column. It is absent where the relation has no
// such column, or one of another type.
func cell(rel *catalog.Relation, row change.Row, column string, typ catalog.OID) change.Value {
	i := rel.Column(column)
	if i < 0 || i >= len(row) || rel.Columns[i].Type != typ {
		return change.Value{}
	}
	return row[i]
}

// impossible reports whether no row passes, whatever is in it.
func (t *Test) impossible() bool { return t.Op == In && len(t.Values) == 0 }

func (t *Test) eval(v change.Value) Verdict {
	if t.Part.Kind == Element {
		return t.evalElements(v)
	}
	return t.evalOne(t.Part.of(v))
}

// evalElements says whether one element passes.
func (t *Test) evalElements(v change.Value) Verdict {
	any := No
	known := eachElement(v, func(e change.Value) bool {
		any = max(any, t.evalOne(e))
		return any != Yes
	})
	if !known {
		return max(any, Unknown)
	}
	return any
}

// evalOne evaluates the test on one value of its part.
func (t *Test) evalOne(v change.Value) Verdict {
	switch {
	case v.Kind == change.Absent:
		return Unknown
	case t.Op == IsNull:
		return verdict(v.Kind == change.Null)
	case t.Op == NotNull:
		return verdict(v.Kind != change.Null)
	case v.Kind == change.Null:
		return No
	}
	d, ok := viewDatum(t.Class, v.Text)
	if !ok {
		return Unknown
	}
	switch t.Op {
	case Equal, In:
		return verdict(t.lists(d))
	case NotEqual:
		return verdict(!t.lists(d))
	case Range:
		return verdict(above(d, &t.Lo) && below(d, &t.Hi))
	}
	return Unknown
}

func verdict(b bool) Verdict {
	if b {
		return Yes
	}
	return No
}

// searched is the number of values from which on a sorted list is searched and
// not scanned.
const searched = 16

func (t *Test) lists(d Datum) bool {
	if t.sorted && len(t.Values) >= searched {
		_, found := slices.BinarySearchFunc(t.Values, d, Datum.rank)
		return found
	}
	return slices.Contains(t.Values, d)
}

// Sort orders the values of an In or NotEqual test, which it owns, so that a
// long list is searched and not scanned.
func (t *Test) Sort() {
	slices.SortFunc(t.Values, Datum.rank)
	t.Values = slices.Compact(t.Values)
	t.sorted = true
}

func above(d Datum, lo *Bound) bool {
	if !lo.Set {
		return true
	}
	c := d.Compare(lo.Value)
	return c > 0 || c == 0 && lo.Inclusive
}

func below(d Datum, hi *Bound) bool {
	if !hi.Set {
		return true
	}
	c := d.Compare(hi.Value)
	return c < 0 || c == 0 && hi.Inclusive
}
