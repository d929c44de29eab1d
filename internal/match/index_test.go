package match

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
)

var testRelation = &catalog.Relation{OID: 7, Schema: "public", Name: "t", Columns: []catalog.Column{
	{Name: "id", Type: 23, Key: true},
	{Name: "a", Type: 23},
	{Name: "b", Type: 25},
	{Name: "c", Type: 1700},
	{Name: "d", Type: 1184},
	{Name: "j", Type: 3802},
	{Name: "tags", Type: 1009},
}}

// otherRelation is the same table as it may be after a migration.
var otherRelation = &catalog.Relation{OID: 7, Schema: "public", Name: "t", Columns: []catalog.Column{
	{Name: "tags", Type: 1009}, {Name: "id", Type: 23, Key: true}, {Name: "a", Type: 20}, {Name: "c", Type: 1700}, {Name: "j", Type: 3802},
}}

// testParts are what the tests are about.
var testParts = []struct {
	column string
	typ    catalog.OID
	part   Part
	class  Class
}{
	{"id", 23, Part{}, ClassInt},
	{"a", 23, Part{}, ClassInt},
	{"b", 25, Part{}, ClassText},
	{"c", 1700, Part{}, ClassNumeric},
	{"d", 1184, Part{}, ClassTime},
	{"j", 3802, Part{Kind: Member, Path: "k\x00"}, ClassText},
	{"j", 3802, Part{Kind: Member, Path: "o\x00n\x00"}, ClassInt},
	{"tags", 1009, Part{Kind: Element}, ClassText},
}

func drawText(t *rapid.T, class Class, label string) string {
	n := rapid.IntRange(0, 4).Draw(t, label)
	switch class {
	case ClassText:
		return string(rune('a' + n))
	case ClassNumeric:
		return []string{"0", "1.50", "1.5", "-2", "10.25"}[n]
	case ClassTime:
		return fmt.Sprintf("2026-01-0%d 00:00:00+00", n+1)
	}
	return strconv.Itoa(n)
}

func drawDatum(t *rapid.T, class Class, label string) Datum {
	d, ok := ParseDatum(class, []byte(drawText(t, class, label)))
	if !ok {
		t.Fatalf("class %d: not parsed", class)
	}
	return d
}

func drawTest(t *rapid.T) Test {
	p := rapid.SampledFrom(testParts).Draw(t, "part")
	test := Test{Column: p.column, Type: p.typ, Part: p.part, Class: p.class, Op: Op(rapid.IntRange(0, 5).Draw(t, "op"))}
	if test.Op == NotEqual && p.part.Kind == Element {
		test.Op = In
	}
	switch test.Op {
	case Equal:
		test.Values = []Datum{drawDatum(t, p.class, "value")}
	case In, NotEqual:
		for range rapid.SampledFrom([]int{0, 1, 2, 3, 3, 40}).Draw(t, "values") {
			test.Values = append(test.Values, drawDatum(t, p.class, "value"))
		}
		if rapid.Bool().Draw(t, "sorted") {
			test.Sort()
		}
	case Range:
		for _, b := range []*Bound{&test.Lo, &test.Hi} {
			if rapid.Bool().Draw(t, "set") {
				*b = Bound{true, rapid.Bool().Draw(t, "inclusive"), drawDatum(t, p.class, "bound")}
			}
		}
	}
	return test
}

func drawDependency(t *rapid.T, reads []*Reads) Dependency {
	d := Dependency{Reads: rapid.SampledFrom(reads).Draw(t, "reads"), Exact: rapid.Bool().Draw(t, "exact")}
	for range rapid.IntRange(0, 3).Draw(t, "tests") {
		d.Tests = append(d.Tests, drawTest(t))
	}
	if rapid.IntRange(0, 3).Draw(t, "edge") == 0 {
		d.Edge = &Edge{Order: []OrderColumn{{"d", 1184, ClassTime, rapid.Bool().Draw(t, "desc"), rapid.Bool().Draw(t, "first")}, {"id", 23, ClassInt, false, false}}}
		d.Edge.Last = []Place{{Value: drawDatum(t, ClassTime, "edge")}, {Value: drawDatum(t, ClassInt, "edge")}}
		d.Edge.Last = d.Edge.Last[:rapid.IntRange(1, 2).Draw(t, "columns")]
	}
	if rapid.IntRange(0, 3).Draw(t, "witnesses") == 0 {
		var rows []change.Row
		for range rapid.IntRange(0, 4).Draw(t, "rows") {
			rows = append(rows, change.Row{textValue(drawText(t, ClassTime, "d")), textValue(drawText(t, ClassInt, "id"))})
		}
		// Of witnesses that may go the index keeps count, and Affects does not.
		d.Witnesses = NewFixtures([]KeyColumn{{"d", 1184, ClassTime}}, []KeyColumn{{"id", 23, ClassInt}}, rows)
	}
	if rapid.IntRange(0, 3).Draw(t, "groups") == 0 {
		var rows []change.Row
		for range rapid.IntRange(0, 4).Draw(t, "rows") {
			rows = append(rows, change.Row{textValue(drawText(t, ClassInt, "a")), textValue(drawText(t, ClassNumeric, "c")), textValue(drawText(t, ClassInt, "id"))})
		}
		n := rapid.IntRange(0, 1).Draw(t, "for")
		order := []OrderColumn{{"a", 23, ClassInt, rapid.Bool().Draw(t, "desc"), rapid.Bool().Draw(t, "first")}, {"c", 1700, ClassNumeric, false, false}, {"id", 23, ClassInt, false, false}}
		d.Groups = NewGroups([]KeyColumn{{"a", 23, ClassInt}}[:n], order[n:], rows)
	}
	return d
}

func textValue(s string) change.Value { return change.Value{Kind: change.Text, Text: []byte(s)} }

func drawValue(t *rapid.T, c catalog.Column) change.Value {
	switch c.Type {
	case 25:
		return textValue(drawText(t, ClassText, "text"))
	case 1700:
		return textValue(drawText(t, ClassNumeric, "numeric"))
	case 1184:
		return textValue(drawText(t, ClassTime, "time"))
	case 3802:
		s := rapid.SampledFrom([]string{`{}`, `{"k": "a"}`, `{"k": "\u0062", "o": {"n": 2}}`, `{"k": null, "o": {"n": "3"}}`, `{"k": "c", "o": [1]}`, `[1]`, `{"o": {"n": 1.5}}`}).Draw(t, "json")
		return textValue(s)
	case 1009:
		var all []string
		for range rapid.IntRange(0, 3).Draw(t, "elements") {
			all = append(all, rapid.SampledFrom([]string{"a", "b", `"c"`, "NULL", `"\"d"`}).Draw(t, "element"))
		}
		return textValue("{" + strings.Join(all, ",") + "}")
	}
	return textValue(drawText(t, ClassInt, "int"))
}

func drawRow(t *rapid.T, rel *catalog.Relation, absent bool) change.Row {
	row := make(change.Row, len(rel.Columns))
	for i := range row {
		switch n := rapid.IntRange(0, 9).Draw(t, "kind"); {
		case n == 0:
			row[i].Kind = change.Null
		case n == 1 && absent:
		default:
			row[i] = drawValue(t, rel.Columns[i])
		}
	}
	return row
}

func drawChange(t *rapid.T) *change.Change {
	rel := testRelation
	if rapid.IntRange(0, 9).Draw(t, "relation") == 0 {
		rel = otherRelation
	}
	c := &change.Change{Relation: rel}
	switch rapid.IntRange(0, 12).Draw(t, "change") {
	case 0:
		c.Op = rapid.SampledFrom([]change.Op{change.Truncate, change.Define}).Draw(t, "whole")
	case 1:
		c.Op, c.Relation = change.Define, nil
	case 2, 3:
		c.Op, c.New = change.Insert, drawRow(t, rel, false)
	case 4, 5:
		c.Op, c.Old = change.Delete, drawRow(t, rel, true)
	case 6:
		c.Op, c.New = change.Update, drawRow(t, rel, true)
	default:
		c.Op, c.Old, c.New = change.Update, drawRow(t, rel, true), drawRow(t, rel, false)
		keep := rapid.IntRange(1, 7).Draw(t, "keep")
		for i := range c.New {
			if rapid.IntRange(0, 7).Draw(t, "same") <= keep {
				c.New[i] = c.Old[i] // absent: an unchanged TOAST value
			}
		}
	}
	return c
}

// with registers an owner under a Handle of its own.
func (ix *Index[T]) with(owner T, deps []Dependency) *Handle[T] {
	h := new(Handle[T])
	ix.Add(h, owner, deps)
	return h
}

// TestIndexAgreesWithAffects registers and removes random dependencies and
// compares what changes touch with Affects, which has no index. The index may
// find more only where a value that it hashes is unknown, where it cannot know
// that two values of one hash are equal, or that a row that leaves one value of
// an IN list goes to another.
func TestIndexAgreesWithAffects(t *testing.T) {
	reads := []*Reads{
		{Tables: []catalog.OID{7}, Name: "t", Tested: []string{"a", "b", "tags"}},
		{Tables: []catalog.OID{6, 7}, Name: "parent", Columns: []string{"id", "a", "d"}, Tested: []string{"a"}},
		{Tables: []catalog.OID{7}, Name: "t", Columns: []string{"id", "a", "b", "c", "d", "j"}, Tested: []string{"c", "j", "b"}},
		{Tables: []catalog.OID{8}, Name: "u"},
		{Tables: []catalog.OID{7}, Name: "t", Columns: []string{"generated", "b", "id", "d"}, Tested: []string{"generated"}},
	}
	rapid.Check(t, func(t *rapid.T) {
		ix := NewIndex[int]()
		deps := map[int][]Dependency{}
		nodes := map[int]*Handle[int]{}
		for step := range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch {
			case len(deps) > 0 && rapid.IntRange(0, 3).Draw(t, "what") == 0:
				owners := make([]int, 0, len(deps))
				for o := range deps {
					owners = append(owners, o)
				}
				slices.Sort(owners)
				o := rapid.SampledFrom(owners).Draw(t, "owner")
				ix.Remove(nodes[o])
				delete(deps, o)
				delete(nodes, o)
			default:
				deps[step] = []Dependency{}
				for range rapid.IntRange(0, 3).Draw(t, "dependencies") {
					deps[step] = append(deps[step], drawDependency(t, reads))
				}
				nodes[step] = ix.with(step, deps[step])
			}
			c := drawChange(t)
			found := map[int]bool{}
			ix.Touch(c, func(o int, _ *Reads) { found[o] = true })
			for o, d := range deps {
				want := Affects(d, c)
				if want && !found[o] {
					t.Fatalf("%s of %v → %v touches %+v; the index did not find it", c.Op, c.Old, c.New, d)
				}
				if found[o] && !want && known(c) && !moved(d, c) {
					t.Fatalf("%s of %v → %v does not touch %+v; the index found it", c.Op, c.Old, c.New, d)
				}
			}
			for o := range found {
				if deps[o] == nil {
					t.Fatalf("owner %d was removed and found", o)
				}
			}
		}
		for o := range deps {
			ix.Remove(nodes[o])
		}
		if ix.Len() != 0 || len(ix.shapes) != 0 || len(ix.tables) != 0 {
			t.Fatalf("%d nodes, %d shapes, %d tables are left", ix.Len(), len(ix.shapes), len(ix.tables))
		}
	})
}

// known reports whether the change says everything of what the tests are about.
func known(c *change.Change) bool {
	if c.Relation != testRelation || c.Op == change.Update && c.Old == nil {
		return c.Relation == nil
	}
	for _, v := range slices.Concat(c.Old, c.New) {
		if v.Kind == change.Absent || string(v.Text) == `{"o": {"n": 1.5}}` {
			return false
		}
	}
	return true
}

// moved reports whether the change is an update of a row that an exact
// dependency tells by tests with several values, or that has a value in another
// form than before.
func moved(deps []Dependency, c *change.Change) bool {
	return c.Op == change.Update && slices.ContainsFunc(deps, func(d Dependency) bool {
		return d.Exact && (slices.ContainsFunc(d.Tests, func(t Test) bool {
			return t.Op == In
		}) || c.Relation.Column("c") >= 0 && slices.ContainsFunc(d.Tests, func(t Test) bool { return t.Class == ClassNumeric }))
	})
}
