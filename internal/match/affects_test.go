package match

import (
	"strconv"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
)

// small is a table (id int, a bigint, b text, n bigint).
var small = &catalog.Relation{OID: 7, Schema: "public", Name: "t", Columns: []catalog.Column{
	{Name: "id", Type: 23}, {Name: "a", Type: 20}, {Name: "b", Type: 25}, {Name: "n", Type: 20},
}}

// smallRow reads "1 2 x -": a value for each column, - for null and ? for one
// that is not known. "" is no row.
func smallRow(s string) change.Row {
	var row change.Row
	for _, f := range strings.Fields(s) {
		switch f {
		case "-":
			row = append(row, nullValue)
		case "?":
			row = append(row, unknownValue)
		default:
			row = append(row, textValue(f))
		}
	}
	return row
}

func smallChange(op change.Op, before, after string) *change.Change {
	return &change.Change{Op: op, Relation: small, Old: smallRow(before), New: smallRow(after)}
}

func datum(class Class, s string) Datum {
	d, ok := ParseDatum(class, []byte(s))
	if !ok {
		panic(s)
	}
	return d
}

func intTest(column string, op Op, values ...string) Test {
	t := Test{Column: column, Type: 20, Class: ClassInt, Op: op}
	for _, v := range values {
		t.Values = append(t.Values, datum(ClassInt, v))
	}
	return t
}

func TestAffects(t *testing.T) {
	all := &Reads{Tables: []catalog.OID{7}, Columns: []string{"id", "a", "b"}, Tested: []string{"a"}}
	equal := Dependency{Reads: all, Exact: true, Tests: []Test{intTest("a", Equal, "5")}}
	inexact := Dependency{Reads: all, Tests: equal.Tests}
	keys := []KeyColumn{{"id", 23, ClassInt}}
	seen := Dependency{Reads: all, Witnesses: NewFixtures([]KeyColumn{{"b", 25, ClassText}}, keys, []change.Row{
		{textValue("x"), textValue("1")}, {textValue("x"), textValue("2")}, {nullValue, textValue("3")},
	})}
	page := Dependency{Reads: all, Edge: &Edge{
		Order: []OrderColumn{{"a", 20, ClassInt, true, false}, {"id", 23, ClassInt, false, false}},
		Last:  []Place{{Value: datum(ClassInt, "5")}},
	}}
	grouped := Dependency{Reads: all, Groups: NewGroups([]KeyColumn{{"b", 25, ClassText}},
		[]OrderColumn{{"a", 20, ClassInt, true, true}, {"id", 23, ClassInt, false, false}}, []change.Row{
			{textValue("x"), textValue("5"), textValue("3")},
			{textValue("y"), nullValue, textValue("1")},
			{textValue("z"), textValue("q"), textValue("1")},
			{nullValue, textValue("5"), textValue("3")},
			{textValue("w"), textValue("5")},
		})}
	one := Dependency{Reads: all, Groups: NewGroups(nil, []OrderColumn{{"a", 20, ClassInt, false, false}}, []change.Row{{textValue("5")}})}
	empty := Dependency{Reads: all, Groups: NewGroups(nil, []OrderColumn{{"a", 20, ClassInt, false, false}}, nil)}
	nothing := Dependency{Reads: all, Tests: []Test{intTest("a", In)}}
	others := Dependency{Reads: all, Exact: true, Tests: []Test{intTest("a", NotEqual, "5", "6")}}
	for _, tt := range []struct {
		name          string
		d             Dependency
		op            change.Op
		before, after string
		want          bool
	}{
		{"comes to pass", equal, 'U', "1 4 x -", "1 5 x -", true},
		{"ceases to pass", equal, 'U', "1 5 x -", "1 4 x -", true},
		{"never passes", equal, 'U', "1 3 x -", "1 4 x -", false},
		{"the same value in another form", inexact, 'U', "1 5 x -", "1 05 x -", true},
		{"what is read changes", equal, 'U', "1 5 x -", "1 5 y -", true},
		{"what is not read changes", equal, 'U', "1 5 x 1", "1 5 x 2", false},
		{"an unknown version", equal, 'U', "1 ? x -", "1 5 x -", true},
		{"two unknown versions", equal, 'U', "1 ? x -", "1 ? x -", false},
		{"an unreadable value", equal, 'U', "1 q x -", "1 r x -", true},
		{"no old version", equal, 'U', "", "1 4 x -", true},
		{"passes", equal, 'I', "", "1 5 x -", true},
		{"null", equal, 'I', "", "1 - x -", false},
		{"passed", equal, 'D', "1 5 x -", "", true},
		{"emptied", equal, 'T', "", "", true},

		{"another row of a witness", seen, 'I', "", "9 0 x -", false},
		{"another row of a witness goes", seen, 'D', "9 0 x -", "", false},
		{"a witness goes", seen, 'D', "1 0 x -", "", true},
		{"the second of two witnesses goes", seen, 'D', "2 0 x -", "", true},
		{"no witness", seen, 'I', "", "9 0 y -", true},
		{"longer than a witness", seen, 'I', "", "9 0 xx -", true},
		{"null has no witness", seen, 'I', "", "9 0 - -", true},
		{"an unknown key", seen, 'I', "", "? 0 x -", true},
		{"away from a witness", seen, 'U', "9 0 x -", "9 0 y -", true},
		{"a row takes a witness's key", seen, 'U', "9 0 x -", "1 0 x -", true},

		{"before the edge", page, 'I', "", "1 6 x -", true},
		{"at the edge", page, 'I', "", "9 5 x -", true},
		{"behind the edge", page, 'I', "", "1 4 x -", false},
		{"null behind the edge", page, 'I', "", "1 - x -", false},
		{"unknown place", page, 'I', "", "1 ? x -", true},
		{"over the edge", page, 'U', "1 4 x -", "1 6 x -", true},
		{"behind it all the time", page, 'U', "1 4 x -", "1 3 x -", false},

		{"before the end of its group", grouped, 'I', "", "1 6 x -", true},
		{"at the end of its group", grouped, 'D', "3 5 x -", "", true},
		{"behind the end of its group", grouped, 'I', "", "4 5 x -", false},
		{"far behind the end of its group", grouped, 'D', "1 4 x -", "", false},
		{"a null before the end of its group", grouped, 'I', "", "1 - x -", true},
		{"ties with a null at the end", grouped, 'D', "1 - y -", "", true},
		{"behind a null at the end", grouped, 'I', "", "2 - y -", false},
		{"a group whose end is not understood", grouped, 'I', "", "9 1 z -", true},
		{"a group whose end is not told", grouped, 'I', "", "9 1 w -", true},
		{"a group that is not full", grouped, 'I', "", "9 1 v -", true},
		{"no group", grouped, 'I', "", "9 1 - -", true},
		{"an unknown group", grouped, 'I', "", "9 1 ? -", true},
		{"unknown place in a group", grouped, 'I', "", "9 ? x -", true},
		{"a tie that an unknown value decides", grouped, 'I', "", "? 5 x -", true},
		{"to another group, behind both", grouped, 'U', "9 4 x -", "9 - y -", false},
		{"to a group that is not full", grouped, 'U', "9 4 x -", "9 4 v -", true},
		{"over the end of its group", grouped, 'U', "9 4 x -", "9 6 x -", true},
		{"before the end of all", one, 'I', "", "1 4 - -", true},
		{"at the end of all", one, 'I', "", "1 5 - -", true},
		{"behind the end of all", one, 'I', "", "1 6 - -", false},
		{"all are not enough", empty, 'I', "", "1 6 - -", true},
		{"emptied groups", grouped, 'T', "", "", true},

		{"one of those that do not pass", others, 'I', "", "1 6 x -", false},
		{"none of those that do not pass", others, 'I', "", "1 7 x -", true},
		{"null is none of them, and does not pass", others, 'D', "1 - x -", "", false},
		{"unknown may be none of them", others, 'D', "1 ? x -", "", true},
		{"from one that does not pass to the other", others, 'U', "1 5 x -", "1 6 x -", false},
		{"from one that does not pass to one that does", others, 'U', "1 5 x -", "1 7 x -", true},
		{"among those that pass", others, 'U', "1 4 x -", "1 7 x -", false},

		{"no value passes", nothing, 'I', "", "1 4 x -", false},
		{"no value passes, not an unknown one", nothing, 'D', "? ? ? ?", "", false},
		{"no value passes, emptied", nothing, 'T', "", "", false},
		{"no value passes, defined anew", nothing, 'S', "", "", true},
	} {
		c := smallChange(tt.op, tt.before, tt.after)
		if got := Affects([]Dependency{tt.d}, c); got != tt.want {
			t.Errorf("%s: affects %v", tt.name, got)
		}
		ix := NewIndex[string]()
		ix.with("", []Dependency{tt.d})
		found := false
		ix.Touch(c, func(string, *Reads) { found = true })
		if found != tt.want {
			t.Errorf("%s: found %v", tt.name, found)
		}
	}
}

// TestCollision updates a row from one pair of values to another with the same
// hash, of which only one passes.
func TestCollision(t *testing.T) {
	reads := &Reads{Tables: []catalog.OID{7}, Columns: []string{"a", "n"}, Tested: []string{"a", "n"}}
	d := Dependency{Reads: reads, Exact: true, Tests: []Test{intTest("a", Equal, "1"), intTest("n", Equal, "7")}}
	h := func(s string) uint64 { return datum(ClassInt, s).hash(hashSeed) }
	other := strconv.FormatInt(int64(h("1")^h("2")^7), 10)
	if datum(ClassInt, other).hash(h("2")) != datum(ClassInt, "7").hash(h("1")) {
		t.Fatal("the values do not collide")
	}
	ix := NewIndex[int]()
	ix.with(1, []Dependency{d})
	c := smallChange('U', "1 1 x 7", "1 2 x "+other)
	found := 0
	ix.Touch(c, func(int, *Reads) { found++ })
	if !Affects([]Dependency{d}, c) || found != 1 {
		t.Errorf("affects %v, found %d times", Affects([]Dependency{d}, c), found)
	}
}

// TestSameKey compares elements of one hash, as two versions of a row have them.
func TestSameKey(t *testing.T) {
	a, b := []byte("a"), []byte("b")
	one := side{keys: distinct([]sideKey{{hash: 2, element: a}, {hash: 1, element: a}, {hash: 2, element: a}})}
	both := side{keys: distinct([]sideKey{{hash: 2, element: a}, {hash: 1, element: a}, {hash: 2, element: b}})}
	other := side{keys: distinct([]sideKey{{hash: 2, element: b}, {hash: 1, element: a}})}
	if !one.sameKey(&one, 2) || !both.sameKey(&other, 1) || both.sameKey(&one, 2) || one.sameKey(&both, 2) || one.sameKey(&other, 2) {
		t.Error("elements of one hash are taken for one another")
	}
}

func TestIndexOwnersWithoutRows(t *testing.T) {
	reads := &Reads{Tables: []catalog.OID{7}, Name: "t"}
	ix := NewIndex[string]()
	none := ix.with("no dependency", nil)
	empty := ix.with("no value", []Dependency{{Reads: reads, Tests: []Test{intTest("a", In)}}})
	for _, tt := range []struct {
		name  string
		touch func(func(string, *Reads))
		want  string
	}{
		{"a definition", func(v func(string, *Reads)) { ix.Touch(&change.Change{Op: change.Define}, v) }, "no dependency, no value"},
		{"the table's definition", func(v func(string, *Reads)) { ix.Touch(smallChange('S', "", ""), v) }, "no value"},
		{"truncation", func(v func(string, *Reads)) { ix.Touch(smallChange('T', "", ""), v) }, ""},
		{"a row", func(v func(string, *Reads)) { ix.Touch(smallChange('I', "", "1 1 1 1"), v) }, ""},
		{"the table", func(v func(string, *Reads)) { ix.TouchTable(7, v) }, "no value"},
	} {
		found := map[string]bool{}
		tt.touch(func(o string, r *Reads) {
			if r == nil {
				t.Errorf("%s: no table reference", tt.name)
			}
			found[o] = true
		})
		var names []string
		for _, o := range []string{"no dependency", "no value"} {
			if found[o] {
				names = append(names, o)
			}
		}
		if got := strings.Join(names, ", "); got != tt.want {
			t.Errorf("%s finds %q, want %q", tt.name, got, tt.want)
		}
	}
	ix.Remove(none)
	ix.Remove(none)
	ix.Remove(empty)
	ix.Remove(&Handle[string]{})
	if ix.Len() != 0 || len(ix.shapes) != 0 || len(ix.tables) != 0 {
		t.Error("something is left")
	}
}

// TestVisitRemoves removes and adds owners while a change visits them.
func TestVisitRemoves(t *testing.T) {
	reads := &Reads{Tables: []catalog.OID{7}, Name: "t"}
	deps := []Dependency{{Reads: reads, Tests: []Test{intTest("a", Equal, "5")}}, {Reads: reads, Tests: []Test{intTest("a", In, "5", "6")}}}
	ix := NewIndex[int]()
	held := map[int]*Handle[int]{}
	for i := range 10 {
		held[i] = ix.with(i, deps)
	}
	visits := map[int]int{}
	ix.Touch(smallChange('I', "", "1 5 x -"), func(o int, _ *Reads) {
		visits[o]++
		ix.Remove(held[o])
		if o > 0 && o < 10 {
			ix.Remove(held[o-1])
		}
		held[o+100] = ix.with(o+100, deps)
	})
	for o, n := range visits {
		if n > 1 || o >= 100 {
			t.Errorf("owner %d was visited %d times", o, n)
		}
	}
	if len(visits) == 0 || visits[0]+visits[9] == 0 {
		t.Errorf("visited %v", visits)
	}
}

// TestManyValues finds an owner by each of a thousand keys, and by none beside
// them, whether they are indexed or not.
func TestManyValues(t *testing.T) {
	reads := &Reads{Tables: []catalog.OID{7}, Name: "t"}
	var even []string
	for i := range 1000 {
		even = append(even, strconv.Itoa(2*i))
	}
	for name, tt := range map[string]struct {
		nodes int
		tests []Test
	}{
		"one list":         {1000, []Test{intTest("a", In, even...)}},
		"with an equality": {1000, []Test{intTest("n", Equal, "3"), intTest("a", In, even...)}},
		"two lists":        {1000, []Test{intTest("n", In, even[:5]...), intTest("a", In, even...)}},
		"two short lists":  {25, []Test{intTest("n", In, even[:5]...), intTest("a", In, even[:5]...)}},
		"too many":         {1, []Test{intTest("a", In, append(even, even[:25]...)...)}},
		"with a range": {1000, []Test{
			intTest("a", In, even...),
			{Column: "n", Type: 20, Class: ClassInt, Op: Range, Lo: Bound{Set: true, Value: datum(ClassInt, "2")}},
		}},
	} {
		ix := NewIndex[int]()
		deps := []Dependency{{Reads: reads, Tests: tt.tests}}
		h := ix.with(1, deps)
		if h.Len() != tt.nodes || ix.Len() != tt.nodes || h.Size() < int64(tt.nodes)*40 {
			t.Errorf("%s: %d nodes, %d bytes", name, h.Len(), h.Size())
		}
		for i := range 2002 {
			for _, n := range []string{"2", "3", "4"} {
				c := smallChange('I', "", "1 "+strconv.Itoa(i)+" x "+n)
				found := false
				ix.Touch(c, func(int, *Reads) { found = true })
				if want := Affects(deps, c); found != want || found && i%2 == 1 {
					t.Fatalf("%s: a = %d, n = %s: found %v, affects %v", name, i, n, found, want)
				}
			}
		}
	}
}
