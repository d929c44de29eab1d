package match

import (
	"maps"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
)

// TestWitnessesKeepCount holds an index that is shown one change after the other
// to what EXISTS says of each group. The index knows some of the rows at first;
// it must notice when a group has none left, or has one where it had none.
func TestWitnessesKeepCount(t *testing.T) {
	rel := &catalog.Relation{OID: 7, Name: "t", Columns: []catalog.Column{{Name: "id", Type: 23}, {Name: "g", Type: 23}, {Name: "b", Type: 25}}}
	reads := &Reads{Tables: []catalog.OID{7}, Columns: []string{"id", "g", "b"}, Tested: []string{"b"}}
	group, key := []KeyColumn{{"g", 23, ClassInt}}, []KeyColumn{{"id", 23, ClassInt}}
	type row struct{ g, b string }
	var spared, needless int
	rapid.Check(t, func(t *rapid.T) {
		exact, indexed, certain := rapid.Bool().Draw(t, "exact"), rapid.Bool().Draw(t, "indexed"), rapid.Bool().Draw(t, "certain")
		number := func(most int, label string) string { return strconv.Itoa(rapid.IntRange(0, most).Draw(t, label)) }
		draw := func() row { return row{number(2, "g"), rapid.SampledFrom([]string{"x", "x", "y"}).Draw(t, "b")} }
		rows := map[string]row{}
		for range rapid.IntRange(0, 8).Draw(t, "rows") {
			rows[number(7, "id")] = draw()
		}
		groups := func() map[string]bool {
			out := map[string]bool{}
			for _, r := range rows {
				if r.b == "x" {
					out[r.g] = true
				}
			}
			return out
		}
		image := func(id string, r row) change.Row { return change.Row{textValue(id), textValue(r.g), textValue(r.b)} }
		ix, h, want := NewIndex[int](), (*Handle[int])(nil), map[string]bool(nil)
		touched := true
		for range rapid.IntRange(1, 30).Draw(t, "changes") {
			if touched {
				if h != nil {
					ix.Remove(h)
				}
				var known []change.Row
				seen := map[string]int{}
				for _, id := range slices.Sorted(maps.Keys(rows)) {
					r := rows[id]
					if most := rapid.IntRange(1, MaxWitnesses+1).Draw(t, "most"); r.b == "x" && seen[r.g] < most {
						seen[r.g]++
						known = append(known, change.Row{textValue(r.g), textValue(id)})
					}
				}
				d := Dependency{Reads: reads, Exact: exact, Witnesses: NewWitnesses(group, key, known, certain)}
				d.Tests = []Test{{Column: "b", Type: 25, Class: ClassText, Op: Equal, Values: []Datum{datum(ClassText, "x")}}}
				if !indexed {
					d.Tests[0].Op, d.Tests[0].Values = NotEqual, []Datum{datum(ClassText, "y")}
				}
				h, want, touched = ix.with(1, []Dependency{d}), groups(), false
			}
			id := number(7, "id")
			old, there := rows[id]
			c := &change.Change{Relation: rel, Op: change.Insert}
			now := draw()
			switch {
			case there && rapid.Bool().Draw(t, "delete"):
				c.Op, c.Old = change.Delete, image(id, old)
				delete(rows, id)
			case there:
				c.Op, c.Old = change.Update, image(id, old)
				delete(rows, id)
				if to := number(7, "to"); rows[to] == (row{}) {
					id = to
				}
				rows[id] = now
				c.New = image(id, now)
			default:
				rows[id] = now
				c.New = image(id, now)
			}
			ix.Touch(c, func(int, *Reads) { touched = true })
			switch changed := !maps.Equal(groups(), want); {
			case changed && !touched:
				t.Fatalf("%s of %s → %s: there are %v and were %v", c.Op, show(c.Old), show(c.New), groups(), want)
			case changed:
			case touched:
				needless++
			default:
				spared++
			}
		}
	})
	t.Logf("touched for nothing %d times, spared %d", needless, spared)
	if spared < 4*needless {
		t.Error("too little is spared")
	}
}

// A row is taken for a witness only where it certainly is one, and only for
// witnesses of which that is known.
func TestWitnessesAppointed(t *testing.T) {
	rel := &catalog.Relation{OID: 7, Name: "t", Columns: []catalog.Column{{Name: "id", Type: 23}, {Name: "g", Type: 23}, {Name: "b", Type: 25}}}
	reads := &Reads{Tables: []catalog.OID{7}}
	group, key := []KeyColumn{{"g", 23, ClassInt}}, []KeyColumn{{"id", 23, ClassInt}}
	first := []change.Row{{textValue("1"), textValue("1")}}
	image := func(id string, b change.Value) change.Row { return change.Row{textValue(id), textValue("1"), b} }
	test := Test{Column: "b", Type: 25, Class: ClassText, Op: Equal, Values: []Datum{datum(ClassText, "x")}}
	for _, c := range []struct {
		name  string
		w     *Witnesses
		b     change.Value
		spare bool
	}{
		{"another witness", NewWitnesses(group, key, first, true), textValue("x"), true},
		{"an unknown value", NewWitnesses(group, key, first, true), change.Value{}, false},
		{"a row that fails a test", NewWitnesses(group, key, first, true), textValue("y"), false},
		{"tests that do not say all", NewWitnesses(group, key, first, false), textValue("x"), false},
		{"rows of other tables are needed", NewFixtures(group, key, first), textValue("x"), false},
	} {
		ix := NewIndex[int]()
		h := ix.with(1, []Dependency{{Reads: reads, Tests: []Test{test}, Witnesses: c.w}})
		before, touched := h.Size(), false
		visit := func(int, *Reads) { touched = true }
		if ix.Touch(&change.Change{Relation: rel, Op: change.Insert, New: image("2", c.b)}, visit); touched {
			t.Errorf("%s: a row beside a witness counts", c.name)
		}
		if ix.Touch(&change.Change{Relation: rel, Op: change.Delete, Old: image("1", textValue("x"))}, visit); touched == c.spare {
			t.Errorf("%s: spared is %v, want %v", c.name, !touched, c.spare)
		}
		if c.w.Size() > before || len(c.w.rows) != 1 {
			t.Errorf("%s: the dependency itself has changed", c.name)
		}
		if l := h.first.limits; l.size() > before {
			t.Errorf("%s: %d bytes are held, %d were counted", c.name, l.size(), before)
		}
	}
	// A hash says less than the test behind it.
	ix := NewIndex[int]()
	h := ix.with(1, []Dependency{{Reads: reads, Tests: []Test{test}, Witnesses: NewWitnesses(group, key, first, true)}})
	if hashed := h.first.limits.hashed; len(hashed) != 1 || hashed[0].Column != "b" {
		t.Errorf("a witness has to pass %+v beside what a hash says", hashed)
	}
}
