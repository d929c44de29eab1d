package match

import (
	"slices"

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
	return slices.Contains(r.Tables, table)
}

func dependencyAffected(d *Dependency, c *change.Change) bool {
	switch {
	case !d.Reads.includes(c.Relation.OID):
		return false
	case c.Op == change.Define:
		return true
	case impossible(d.Tests):
		return false
	}
	switch c.Op {
	case change.Insert:
		return d.takes(c.Relation, c.New) != No
	case change.Delete:
		return d.takes(c.Relation, c.Old) != No
	case change.Update:
		e := extentOf(d.Reads, c)
		if e == unread {
			return false
		}
		return touches(d.takes(c.Relation, c.Old), d.takes(c.Relation, c.New), d.Exact && (e == tested || !ruleTested))
	}
	return true
}

// touches judges an update by whether the old and the new version of the row
// take part. With exact, one that stays where it is does not count.
func touches(before, after Verdict, exact bool) bool {
	if exact {
		return before != after || before == Unknown
	}
	return before != No || after != No
}

// takes says whether a version of a row takes part in the answer.
func (d *Dependency) takes(rel *catalog.Relation, row change.Row) Verdict {
	v := takes(d.Tests, d.Edge, d.Groups, rel, row)
	if v != No && row != nil && d.Witnesses != nil && d.Witnesses.represents(rel, row) {
		return No
	}
	return v
}

func takes(tests []Test, e *Edge, g *Groups, rel *catalog.Relation, row change.Row) Verdict {
	v := Eval(tests, rel, row)
	if v == No || row == nil {
		return v
	}
	if e != nil && e.excludes(rel, row) || g != nil && g.excludes(rel, row) {
		return No
	}
	return v
}

func impossible(tests []Test) bool {
	for i := range tests {
		if tests[i].impossible() {
			return true
		}
	}
	return false
}

// extent says which of the columns that a reference reads an update changed.
type extent byte

const (
	unread extent = iota
	tested        // some of Reads.Tested and no other
	read
)

func extentOf(r *Reads, c *change.Change) extent {
	if c.Old == nil {
		return read
	}
	found := unread
	if r.Columns == nil {
		for i := range c.New {
			if columnChanged(c, i) {
				found = max(found, r.extent(c.Relation.Columns[i].Name))
			}
		}
		return found
	}
	for _, name := range r.Columns {
		if columnChanged(c, c.Relation.Column(name)) {
			found = max(found, r.extent(name))
		}
	}
	return found
}

// extent returns how far an update of one column that is read goes.
func (r *Reads) extent(column string) extent {
	if slices.Contains(r.Tested, column) {
		return tested
	}
	return read
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
