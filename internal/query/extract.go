package query

import (
	"slices"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/match"
)

// finding is what must hold for a row to take part: the tests, each of one
// column, or impossible when no row can. Joins are the pairs of columns that
// have to be equal, and apart those that must not be.
type finding struct {
	impossible   bool
	tests        []columnTest
	joins, apart []*condition
}

type columnTest struct {
	col  *columnRef
	test match.Test
}

// about compares by what is meant: two mentions of one column are two
// columnRefs.
func (t columnTest) about(o columnTest) bool {
	return t.col.ref == o.col.ref && t.col.name == o.col.name && t.test.Part == o.test.Part
}

// find reads a folded condition as a filter, where null is as good as false.
// What it does not follow says nothing.
func (o outcome) find() finding {
	switch o.kind {
	case condLiteral:
		return finding{impossible: o.lit != truthTrue}
	case condCompare:
		// A column that an outer join can replace by null passes IS NULL without
		// a row of its own.
		if o.col.nullable && o.test.Op == match.IsNull {
			return finding{}
		}
		return finding{tests: []columnTest{{o.col, o.test}}}
	case condJoin:
		return finding{joins: []*condition{o.join}}
	case condNot:
		return finding{apart: []*condition{o.join}}
	case condAnd:
		var all finding
		for _, arg := range o.args {
			f := arg.find()
			if f.impossible {
				return f
			}
			all.tests = append(all.tests, f.tests...)
			all.joins = append(all.joins, f.joins...)
			all.apart = append(all.apart, f.apart...)
		}
		return all
	case condOr:
		return o.findOr()
	case condIsTrue:
		return o.args[0].find()
	}
	return finding{}
}

// findOr keeps the columns that every branch pins down to values.
func (o outcome) findOr() finding {
	var branches []finding
	for _, arg := range o.args {
		if f := arg.find(); !f.impossible {
			branches = append(branches, f)
		}
	}
	switch len(branches) {
	case 0:
		return finding{impossible: true}
	case 1:
		return branches[0]
	}
	var out finding
	for _, first := range branches[0].tests {
		values, ok := pinned(first.test)
		for _, b := range branches[1:] {
			more, found := b.pin(first)
			values, ok = append(values, more...), ok && found
		}
		if ok {
			t := first.test
			out.tests = append(out.tests, columnTest{first.col, in(t, values)})
		}
	}
	return out
}

// pinned returns a copy of the values that a test allows.
func pinned(t match.Test) ([]match.Datum, bool) {
	if t.Op != match.Equal && t.Op != match.In {
		return nil, false
	}
	return append([]match.Datum(nil), t.Values...), true
}

// pin returns the values that a finding allows for what another test is about.
func (f finding) pin(as columnTest) ([]match.Datum, bool) {
	for _, t := range f.tests {
		if t.about(as) {
			if values, ok := pinned(t.test); ok {
				return values, true
			}
		}
	}
	return nil, false
}

// spread carries tests from one column of a join to the other. For a join
// a.x = b.y whose clause filters b: a row of b meets only rows of a with its
// own value, and where these fail a test of a.x they take no part, so neither
// does it. The test has to be one that null fails, because an outer join may
// have put a null in the place of a.x.
//
// For a.x <> b.y it is the other way round: where rows of a have one value only,
// a row of b with that value meets none of them.
func spread(tests [][]match.Test, joins, apart []*condition) {
	for again := true; again; {
		again = false
		for _, j := range joins {
			if j.filtersOther && carry(tests, j.col, j.other) {
				again = true
			}
			if j.filtersCol && carry(tests, j.other, j.col) {
				again = true
			}
		}
		for _, j := range apart {
			if j.filtersOther && exclude(tests, j.col, j.other) {
				again = true
			}
			if j.filtersCol && exclude(tests, j.other, j.col) {
				again = true
			}
		}
	}
}

// exclude returns whether it added a test.
func exclude(tests [][]match.Test, from, to *columnRef) bool {
	added := false
	for _, t := range tests[from.ref] {
		if t.Column != from.name || t.Part != from.part || t.Op != match.Equal || len(t.Values) != 1 {
			continue
		}
		not := match.Test{
			Column: to.name, Type: catalog.OID(to.typ), Part: to.part, Class: to.class, Op: match.NotEqual, Values: t.Values,
		}
		if addTest(&tests[to.ref], not) {
			added = true
		}
	}
	return added
}

// carry returns whether it added a test. Tests are only ever copied, so there
// is an end to it.
func carry(tests [][]match.Test, from, to *columnRef) bool {
	added := false
	for _, t := range tests[from.ref] {
		if t.Column != from.name || t.Part != from.part || t.Op == match.IsNull || t.Op == match.NotNull {
			continue
		}
		t.Column, t.Type, t.Part, t.Class = to.name, catalog.OID(to.typ), to.part, to.class
		if addTest(&tests[to.ref], t) {
			added = true
		}
	}
	return added
}

// addTest adds a test unless it is there already.
func addTest(tests *[]match.Test, t match.Test) bool {
	if slices.ContainsFunc(*tests, func(o match.Test) bool { return sameTest(o, t) }) {
		return false
	}
	*tests = append(*tests, t)
	return true
}

func sameTest(a, b match.Test) bool {
	return a.Column == b.Column && a.Part == b.Part && a.Op == b.Op && slices.Equal(a.Values, b.Values) && a.Lo == b.Lo && a.Hi == b.Hi
}
