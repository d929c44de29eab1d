package match

import (
	"fmt"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
)

var testRelation = &catalog.Relation{OID: 7, Schema: "public", Name: "t", Columns: []catalog.Column{
	{Name: "id", Type: 23, Key: true}, {Name: "a", Type: 23}, {Name: "b", Type: 25}, {Name: "c", Type: 1700}, {Name: "d", Type: 1184},
}}

var testClasses = []Class{ClassInt, ClassInt, ClassText, ClassNumeric, ClassTime}

func drawText(t *rapid.T, col int, label string) string {
	n := rapid.IntRange(0, 4).Draw(t, label)
	switch testClasses[col] {
	case ClassText:
		return string(rune('a' + n))
	case ClassNumeric:
		return []string{"0", "1.50", "1.5", "-2", "10.25"}[n]
	case ClassTime:
		return fmt.Sprintf("2026-01-0%d 00:00:00+00", n+1)
	}
	return strconv.Itoa(n)
}

func drawDatum(t *rapid.T, col int, label string) Datum {
	d, ok := ParseDatum(testClasses[col], []byte(drawText(t, col, label)))
	if !ok {
		t.Fatalf("column %d: not parsed", col)
	}
	return d
}

func drawDependency(t *rapid.T, reads []*Reads) Dependency {
	d := Dependency{Reads: rapid.SampledFrom(reads).Draw(t, "reads")}
	for range rapid.IntRange(0, 3).Draw(t, "tests") {
		col := rapid.IntRange(0, 4).Draw(t, "column")
		test := Test{
			Column: testRelation.Columns[col].Name, Type: testRelation.Columns[col].Type, Class: testClasses[col],
			Op: Op(rapid.IntRange(0, 4).Draw(t, "op")),
		}
		switch test.Op {
		case Equal:
			test.Values = []Datum{drawDatum(t, col, "value")}
		case In:
			for range rapid.IntRange(0, 3).Draw(t, "values") {
				test.Values = append(test.Values, drawDatum(t, col, "value"))
			}
		case Range:
			if !test.Class.Ordered() {
				test.Op = NotNull
				break
			}
			for _, b := range []*Bound{&test.Lo, &test.Hi} {
				if rapid.Bool().Draw(t, "set") {
					*b = Bound{true, rapid.Bool().Draw(t, "inclusive"), drawDatum(t, col, "bound")}
				}
			}
		}
		d.Tests = append(d.Tests, test)
	}
	return d
}

func drawRow(t *rapid.T, absent bool) change.Row {
	row := make(change.Row, len(testRelation.Columns))
	for i := range row {
		switch n := rapid.IntRange(0, 9).Draw(t, "kind"); {
		case n == 0:
			row[i].Kind = change.Null
		case n == 1 && absent:
		default:
			row[i] = change.Value{Kind: change.Text, Text: []byte(drawText(t, i, "text"))}
		}
	}
	return row
}

func drawChange(t *rapid.T) *change.Change {
	c := &change.Change{Relation: testRelation}
	switch rapid.IntRange(0, 9).Draw(t, "change") {
	case 0:
		c.Op = change.Truncate
	case 1, 2:
		c.Op, c.New = change.Insert, drawRow(t, false)
	case 3, 4:
		c.Op, c.Old = change.Delete, drawRow(t, true)
	default:
		c.Op, c.Old, c.New = change.Update, drawRow(t, true), drawRow(t, false)
		for i := range c.New {
			if rapid.IntRange(0, 1).Draw(t, "same") == 0 {
				c.New[i] = c.Old[i] // absent: an unchanged TOAST value
			}
		}
	}
	return c
}

// TestIndexAgreesWithAffects registers and removes random dependencies and
// compares what changes touch with Affects, which has no index. The index may
// find more only where a value that it hashes is unknown.
func TestIndexAgreesWithAffects(t *testing.T) {
	reads := []*Reads{
		{Tables: []catalog.OID{7}, Name: "t"},
		{Tables: []catalog.OID{6, 7}, Name: "parent", Columns: []string{"id", "a"}},
		{Tables: []catalog.OID{7}, Name: "t", Columns: []string{"b", "c", "d"}},
		{Tables: []catalog.OID{8}, Name: "u"},
		{Tables: []catalog.OID{7}, Name: "t", Columns: []string{"generated"}},
	}
	rapid.Check(t, func(t *rapid.T) {
		ix := NewIndex[int]()
		deps := map[int][]Dependency{}
		nodes := map[int][]*Node[int]{}
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
				for range rapid.IntRange(1, 3).Draw(t, "dependencies") {
					deps[step] = append(deps[step], drawDependency(t, reads))
				}
				nodes[step] = ix.Add(step, deps[step])
			}
			c := drawChange(t)
			found := map[int]bool{}
			ix.Touch(c, func(o int, _ *Reads) { found[o] = true })
			for o, d := range deps {
				want := Affects(d, c)
				if want && !found[o] {
					t.Fatalf("%s of %v → %v touches %+v; the index did not find it", c.Op, c.Old, c.New, d)
				}
				if found[o] && !want && known(c) {
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

func known(c *change.Change) bool {
	for _, row := range []change.Row{c.Old, c.New} {
		for _, v := range row {
			if v.Kind == change.Absent {
				return false
			}
		}
	}
	return true
}

func BenchmarkTouch(b *testing.B) {
	for _, n := range []int{1_000, 1_000_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			ix := NewIndex[int]()
			reads := &Reads{Tables: []catalog.OID{7}, Name: "t", Columns: []string{"id", "a", "b"}}
			for i := range n {
				d, _ := ParseDatum(ClassInt, []byte(strconv.Itoa(i)))
				ix.Add(i, []Dependency{{Reads: reads, Tests: []Test{{Column: "a", Type: 23, Class: ClassInt, Op: Equal, Values: []Datum{d}}}}})
			}
			text := func(s string) change.Value { return change.Value{Kind: change.Text, Text: []byte(s)} }
			c := &change.Change{
				Op: change.Update, Relation: testRelation,
				Old: change.Row{text("1"), text("500"), text("x"), text("1"), text("2026-01-01 00:00:00+00")},
				New: change.Row{text("1"), text("501"), text("x"), text("1"), text("2026-01-01 00:00:00+00")},
			}
			found := 0
			b.ReportAllocs()
			for b.Loop() {
				ix.Touch(c, func(int, *Reads) { found++ })
			}
			if found == 0 {
				b.Fatal("nothing was found")
			}
		})
	}
}
