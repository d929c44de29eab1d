package match

import (
	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
)

// Affects reports whether a change can touch an answer with these
// dependencies, without an index: for the few answers that are looked at one by
// one. It agrees with Index except where the index says yes too often.
func Affects(deps []Dependency, c *change.Change) bool {
	if c.Op == change.Define && c.Relation == nil {
		return true
	}
	for i := range deps {
		if dependencyAffected(&deps[i], c) {
			return true
		}
	}
	return false
}

// ReadsTable reports whether any dependency reads the table.
func ReadsTable(deps []Dependency, table catalog.OID) bool {
	for i := range deps {
		if deps[i].Reads.includes(table) {
			return true
		}
	}
	return false
}

func (r *Reads) includes(table catalog.OID) bool {
	for _, t := range r.Tables {
		if t == table {
			return true
		}
	}
	return false
}

func dependencyAffected(d *Dependency, c *change.Change) bool {
	if !d.Reads.includes(c.Relation.OID) {
		return false
	}
	switch c.Op {
	case change.Insert:
		return passesAll(d.Tests, c.Relation, c.New)
	case change.Delete:
		return passesAll(d.Tests, c.Relation, c.Old)
	case change.Update:
		if !readsChanged(d.Reads, c) {
			return false
		}
		return passesAll(d.Tests, c.Relation, c.New) || passesAll(d.Tests, c.Relation, c.Old)
	}
	return true
}

func readsChanged(r *Reads, c *change.Change) bool {
	if c.Old == nil {
		return true
	}
	if r.Columns == nil {
		for i := range c.New {
			if columnChanged(c, i) {
				return true
			}
		}
		return false
	}
	for _, name := range r.Columns {
		if columnChanged(c, c.Relation.Column(name)) {
			return true
		}
	}
	return false
}

// columnChanged reports whether an update may have changed column i, -1 being
// one that the log does not carry, such as a generated one. A value that is
// absent from the new row is an unchanged TOAST value.
func columnChanged(c *change.Change, i int) bool {
	if i < 0 || i >= len(c.New) || i >= len(c.Old) {
		return true
	}
	return c.New[i].Kind != change.Absent && !c.New[i].Equal(c.Old[i])
}

// passesAll reports whether a row may pass every test. A nil row is one of
// which nothing is known.
func passesAll(tests []Test, rel *catalog.Relation, row change.Row) bool {
	if row == nil {
		return true
	}
	for i := range tests {
		t := &tests[i]
		col := rel.Column(t.Column)
		if col < 0 || col >= len(row) || rel.Columns[col].Type != t.Type {
			continue
		}
		if !t.passes(row[col]) {
			return false
		}
	}
	return true
}

// passes evaluates one test on one value: false only if the test is certainly
// not true.
func (t *Test) passes(v change.Value) bool {
	if v.Kind == change.Absent {
		return true
	}
	switch t.Op {
	case IsNull:
		return v.Kind == change.Null
	case NotNull:
		return v.Kind != change.Null
	}
	if v.Kind == change.Null {
		return false
	}
	d, ok := ParseDatum(t.Class, v.Text)
	if !ok {
		return true
	}
	switch t.Op {
	case Equal, In:
		for _, want := range t.Values {
			if d == want {
				return true
			}
		}
		return false
	case Range:
		return above(d, t.Lo) && below(d, t.Hi)
	}
	return true
}

func above(d Datum, lo Bound) bool {
	if !lo.Set {
		return true
	}
	c := d.Compare(lo.Value)
	return c > 0 || c == 0 && lo.Inclusive
}

func below(d Datum, hi Bound) bool {
	if !hi.Set {
		return true
	}
	c := d.Compare(hi.Value)
	return c < 0 || c == 0 && hi.Inclusive
}
