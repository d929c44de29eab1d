package patch

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
)

// notes is the table of these tests: id bigint, at timestamptz, kind text, note
// text, price numeric(8,2), n int.
var notes = &catalog.Relation{OID: 100, Schema: "public", Name: "notes", Columns: []catalog.Column{
	{Name: "id", Type: 20, Key: true},
	{Name: "at", Type: 1184},
	{Name: "kind", Type: 25},
	{Name: "note", Type: 25},
	{Name: "price", Type: 1700},
	{Name: "n", Type: 23},
}}

// text makes a row of a text with blanks between the values: ~ is null, ? absent.
func text(s string) change.Row {
	if s == "" {
		return nil
	}
	var row change.Row
	for _, f := range strings.Fields(s) {
		switch f {
		case "~":
			row = append(row, change.Value{Kind: change.Null})
		case "?":
			row = append(row, change.Value{})
		default:
			row = append(row, change.Value{Kind: change.Text, Text: []byte(strings.ReplaceAll(f, "_", " "))})
		}
	}
	return row
}

func event(op change.Op, old, after string) *change.Change {
	return &change.Change{Op: op, Relation: notes, Old: text(old), New: text(after)}
}

func inserted(row string) *change.Change       { return event(change.Insert, "", row) }
func deleted(row string) *change.Change        { return event(change.Delete, row, "") }
func updated(old, after string) *change.Change { return event(change.Update, old, after) }
func on(r *catalog.Relation, c *change.Change) *change.Change {
	c.Relation = r
	return c
}

var (
	noteReads = &match.Reads{Tables: []catalog.OID{100}, Name: "public.notes"}
	noteKey   = []match.KeyColumn{{Column: "id", Type: 20, Class: match.ClassInt}}
	noteTest  = match.Test{Column: "kind", Type: 25, Class: match.ClassText, Op: match.Equal, Values: []match.Datum{datum(match.ClassText, "a")}}
	newest    = []match.OrderColumn{
		{Column: "at", Type: 1184, Class: match.ClassTime, Desc: true, NullsFirst: true},
		{Column: "id", Type: 20, Class: match.ClassInt},
	}
)

func datum(class match.Class, s string) match.Datum {
	d, ok := match.ParseDatum(class, []byte(s))
	if !ok {
		panic(s)
	}
	return d
}

func plainColumn(name string, typ catalog.OID) Column {
	return Column{Name: name, Column: name, Type: typ, Base: typ}
}

// noteList returns a list of the ids and notes of kind a, the newest first, limit 2
// and slack 1, in which are the ids given.
func noteList(t testing.TB, ids ...int) *State {
	b := &Bound{
		Plan:  &Plan{Reads: noteReads, Columns: []Column{plainColumn("id", 20), plainColumn("note", 25)}, Order: newest, Key: noteKey},
		Tests: []match.Test{noteTest}, Limit: 2, Slack: 1,
	}
	var rows []Row
	for _, id := range ids {
		rows = append(rows, Row{
			JSON:   fmt.Appendf(nil, `{"id":%d,"note":"n%d"}`, id, id),
			Hidden: text(fmt.Sprintf("2000-01-0%d_00:00:00+00 %d %d", 9-id, id, id)),
		})
	}
	return mustStart(t, b, rows)
}

func mustStart(t testing.TB, b *Bound, rows []Row) *State {
	t.Helper()
	s := Start(b, rows)
	if s == nil {
		t.Fatal("cannot start")
	}
	return s
}

// note is a row of the table with the day that noteList gives it.
func note(id int, kind string) string {
	return fmt.Sprintf("%d 2000-01-0%d_00:00:00+00 %s n%d ~ ~", id, 9-id, kind, id)
}

func TestFollowList(t *testing.T) {
	type changes []*change.Change
	list := []int{2, 4, 6} // the end is 6
	moved := func(at string, typ catalog.OID) *catalog.Relation {
		r := *notes
		r.Columns = []catalog.Column{{Name: "n", Type: 23}, {Name: "note", Type: 25}, {Name: at, Type: typ}, {Name: "kind", Type: 25}, {Name: "id", Type: 20}}
		return &r
	}
	other := &catalog.Relation{OID: 7, Schema: "public", Name: "other"}
	const same, refused = "same", "refused"
	for _, c := range []struct {
		name    string
		ids     []int
		changes changes
		want    string // the ids shown
	}{
		{"nothing", list, nil, same},
		{"other table", list, changes{on(other, inserted("1")), on(other, event(change.Truncate, "", ""))}, same},
		{"truncate", list, changes{event(change.Truncate, "", "")}, refused},
		{"definition", list, changes{event(change.Define, "", "")}, refused},
		{"definition of something", list, changes{on(nil, event(change.Define, "", ""))}, refused},
		{"width", list, changes{inserted("1")}, refused},
		{"other positions", list, changes{on(moved("at", 1184), inserted("5 n1 2000-01-08_00:00:00+00 a 1"))}, "1 2"},
		{"missing column", list, changes{on(moved("then", 1184), inserted("5 n1 2000-01-08_00:00:00+00 a 1"))}, refused},
		{"other type", list, changes{on(moved("at", 1114), inserted("5 n1 2000-01-08_00:00:00+00 a 1"))}, refused},

		{"insert first", list, changes{inserted(note(1, "a"))}, "1 2"},
		{"insert between", list, changes{inserted(note(3, "a"))}, "2 3"},
		{"insert in slack", list, changes{inserted(note(5, "a"))}, same},
		{"insert behind the end", list, changes{inserted(note(7, "a"))}, same},
		{"insert of another kind", list, changes{inserted(note(1, "b"))}, same},
		{"insert without a kind", list, changes{inserted(note(1, "~"))}, same},
		{"insert of who knows", list, changes{inserted(note(1, "?"))}, refused},
		{"insert without time", list, changes{inserted("1 ~ a n1 ~ ~")}, "1 2"},
		{"insert at who knows", list, changes{inserted("1 ? a n1 ~ ~")}, refused},
		{"insert in the wrong style", list, changes{inserted("1 01/02/2000 a n1 ~ ~")}, refused},
		{"insert without note", list, changes{inserted("1 2000-01-08_00:00:00+00 a ? ~ ~")}, refused},
		{"insert behind without note", list, changes{inserted("8 2000-01-01_00:00:00+00 a ? ~ ~")}, same},
		{"insert of a known key", list, changes{inserted("4 2000-01-08_00:00:00+00 a n4 ~ ~")}, refused},
		{"insert at the end of all", []int{2}, changes{inserted(note(8, "a"))}, "2 8"},

		{"delete first", list, changes{deleted(note(2, "a"))}, "4 6"},
		{"delete by key", list, changes{deleted("2 ? ? ? ? ?")}, "4 6"},
		{"delete in slack", list, changes{deleted("6 ? ? ? ? ?")}, same},
		{"delete too many", list, changes{deleted("6 ? ? ? ? ?"), deleted("2 ? ? ? ? ?")}, refused},
		{"delete all of all", []int{2, 4}, changes{deleted("4 ? ? ? ? ?"), deleted("2 ? ? ? ? ?")}, ""},
		{"delete of an unknown row", list, changes{deleted("5 ? ? ? ? ?")}, same},
		{"delete behind the end", list, changes{deleted(note(7, "a"))}, same},
		{"delete of another kind", list, changes{deleted(note(5, "b"))}, same},
		{"delete of one that must be there", list, changes{deleted(note(5, "a"))}, refused},
		{"delete behind the end of all", []int{2, 4}, changes{deleted(note(7, "a"))}, refused},
		{"delete without key", list, changes{deleted("? ? a ? ? ?")}, refused},
		{"delete of one that is different", list, changes{deleted("2 2000-01-01_00:00:00+00 ? ? ? ?")}, refused},

		{"update of a note", list, changes{updated("2 ? ? ? ? ?", "2 2000-01-07_00:00:00+00 a N ~ ~")}, "2=N 4"},
		{"update of the rest", list, changes{updated("2 ? ? ? ? ?", "2 2000-01-07_00:00:00+00 a n2 1.00 ~")}, same},
		{"update without note", list, changes{updated("2 ? ? ? ? ?", "2 2000-01-04_00:00:00+00 a ? ~ ~")}, "4 2"},
		{"update of an unknown row without note", list, changes{updated("3 ? ? ? ? ?", "3 2000-01-08_00:00:00+00 a ? ~ ~")}, refused},
		{"update of kind", list, changes{updated("2 ? ? ? ? ?", note(2, "b"))}, "4 6"},
		{"update to kind", list, changes{updated("3 ? ? ? ? ?", note(3, "a"))}, "2 3"},
		{"update of key", list, changes{updated("2 ? ? ? ? ?", "1 2000-01-07_00:00:00+00 a n1 ~ ~")}, "1 4"},
		{"update to behind the end", list, changes{updated("2 ? ? ? ? ?", "2 2000-01-01_00:00:00+00 a n2 ~ ~")}, "4 6"},
		{"update from behind the end", list, changes{updated("7 ? ? ? ? ?", "7 2000-01-08_00:00:00+00 a n7 ~ ~")}, "7 2"},
		{"update of nothing known", list, changes{{Op: change.Update, Relation: notes, New: text(note(2, "a"))}}, refused},

		{"there and back", list, changes{deleted("2 ? ? ? ? ?"), inserted(note(2, "a"))}, same},
		{"short in between", list, changes{deleted("2 ? ? ? ? ?"), deleted("4 ? ? ? ? ?"), inserted(note(1, "a"))}, "1 6"},
		{"the end stays", list, changes{deleted("6 ? ? ? ? ?"), inserted(note(5, "a")), deleted("2 ? ? ? ? ?")}, "4 5"},
		{"the end itself again", list, changes{deleted("6 ? ? ? ? ?"), inserted(note(6, "a")), deleted("2 ? ? ? ? ?")}, "4 6"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := noteList(t, c.ids...)
			before, _ := s.Body()
			next, changed, ok := s.Follow(c.changes)
			if !ok {
				if c.want != refused {
					t.Error("refused")
				}
				return
			}
			body, found := next.Body()
			for _, id := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9} {
				full := fmt.Sprintf(`{"id":%d,"note":"n%d"}`, id, id)
				body = []byte(strings.ReplaceAll(string(body), full, fmt.Sprint(id)))
			}
			body = []byte(strings.ReplaceAll(string(body), `{"id":2,"note":"N"}`, "2=N"))
			got := strings.ReplaceAll(strings.Trim(string(body), "[]"), ",", " ")
			want := c.want
			if want == same {
				want = strings.Trim(fmt.Sprint(c.ids[:min(2, len(c.ids))]), "[]")
			}
			if got != want || !found || changed != (c.want != same) {
				t.Errorf("from %s to %s, changed %v; want %s", before, body, changed, c.want)
			}
		})
	}
}

// What lies between the last row and the end is known from one state to the next.
func TestEndStays(t *testing.T) {
	s := noteList(t, 2, 4, 6)
	for i, c := range []*change.Change{
		deleted("6 ? ? ? ? ?"), updated("4 ? ? ? ? ?", note(4, "a")), inserted(note(5, "a")), inserted(note(7, "a")), deleted("2 ? ? ? ? ?"),
	} {
		next, _, ok := s.Follow([]*change.Change{c})
		if !ok {
			t.Fatalf("refused change %d", i)
		}
		s = next
	}
	if body, _ := s.Body(); string(body) != `[{"id":4,"note":"n4"},{"id":5,"note":"n5"}]` {
		t.Errorf("%s", body)
	}
	if _, _, ok := s.Follow([]*change.Change{deleted("5 ? ? ? ? ?")}); ok {
		t.Error("followed to a row behind the end")
	}
}

// The end moves to the last row that is kept, and rows behind it are forgotten.
func TestTrim(t *testing.T) {
	s := noteList(t, 2, 4, 6)
	var changes []*change.Change
	for i := range 1000 {
		changes = append(changes, inserted(fmt.Sprintf("%d 2001-01-01_00:00:00.%06d+00 a x ~ ~", 1000+i, i)))
	}
	next, changed, ok := s.Follow(changes)
	if body, _ := next.Body(); !ok || !changed || string(body) != `[{"id":1999,"note":"x"},{"id":1998,"note":"x"}]` {
		t.Fatalf("%s, %v, %v", body, changed, ok)
	}
	// Only 1997 is known behind the page.
	next, _, ok = next.Follow([]*change.Change{deleted("1999 ? ? ? ? ?"), deleted("1995 ? ? ? ? ?")})
	if body, _ := next.Body(); !ok || string(body) != `[{"id":1998,"note":"x"},{"id":1997,"note":"x"}]` {
		t.Fatalf("%s, %v", body, ok)
	}
	if _, _, ok = next.Follow([]*change.Change{deleted("1998 ? ? ? ? ?")}); ok {
		t.Error("followed to a row that is not known")
	}
}

func TestFollowLookup(t *testing.T) {
	for _, one := range []bool{false, true} {
		b := &Bound{
			Plan:  &Plan{Reads: noteReads, Columns: []Column{plainColumn("note", 25)}, Key: noteKey, One: one},
			Tests: []match.Test{noteTest}, Limit: -1,
		}
		s := mustStart(t, b, nil)
		step := func(want string, c *change.Change) {
			t.Helper()
			next, changed, ok := s.Follow([]*change.Change{c})
			body, found := next.Body()
			if !one {
				want = "[" + want + "]"
			}
			if !ok || !changed || string(body) != want || found != (len(want) > 0) {
				t.Fatalf("%s, found %v, %v, %v; want %s", body, found, changed, ok, want)
			}
			s = next
		}
		step(`{"note":"n2"}`, inserted(note(2, "a")))
		step(`{"note":"n3"}`, updated("2 ? ? ? ? ?", note(3, "a")))
		step("", deleted("3 ? ? ? ? ?"))
		step(`{"note":"n2"}`, inserted(note(2, "a")))
		if _, _, ok := s.Follow([]*change.Change{inserted(note(3, "a"))}); ok {
			t.Error("a second row was followed")
		}
		if _, _, ok := s.Follow([]*change.Change{deleted(note(3, "a"))}); ok {
			t.Error("the deletion of a second row was followed")
		}
		if next, changed, ok := s.Follow([]*change.Change{deleted("3 ? ? ? ? ?")}); !ok || changed || next != s {
			t.Errorf("%v, %v, %v", next == s, changed, ok)
		}
	}
}

func TestStartRefuses(t *testing.T) {
	plan := func() *Plan {
		return &Plan{Reads: noteReads, Columns: []Column{plainColumn("id", 20)}, Order: newest, Key: noteKey}
	}
	row := func(hidden string) Row { return Row{JSON: []byte(`{"id":1}`), Hidden: text(hidden)} }
	early, late := row("2000-01-01_00:00:00+00 1 1"), row("2000-01-02_00:00:00+00 2 2")
	for name, c := range map[string]struct {
		bound Bound
		rows  []Row
		edit  func(p *Plan)
	}{
		"order":            {Bound{Limit: 5}, []Row{early, late}, nil},
		"tie":              {Bound{Limit: 5}, []Row{late, late}, nil},
		"more than all":    {Bound{Limit: 1}, []Row{late, early}, nil},
		"hidden missing":   {Bound{Limit: 5}, []Row{row("2000-01-01_00:00:00+00 1")}, nil},
		"hidden absent":    {Bound{Limit: 5}, []Row{row("? 1 1")}, nil},
		"hidden style":     {Bound{Limit: 5}, []Row{row("01/01/2000 1 1")}, nil},
		"no JSON":          {Bound{Limit: 5}, []Row{{Hidden: early.Hidden}}, nil},
		"limit 0":          {Bound{Slack: 5}, nil, nil},
		"huge":             {Bound{Limit: 1 << 40, Offset: 1}, nil, nil},
		"negative":         {Bound{Limit: 5, Offset: -1}, nil, nil},
		"one of two":       {Bound{Limit: 5}, []Row{late, early}, func(p *Plan) { p.One = true }},
		"type":             {Bound{Limit: 5}, nil, func(p *Plan) { p.Columns[0].Base = 790 }},
		"no columns":       {Bound{Limit: 5}, nil, func(p *Plan) { p.Columns = nil }},
		"no key":           {Bound{Limit: 5}, nil, func(p *Plan) { p.Key = nil }},
		"key not in order": {Bound{Limit: 5}, nil, func(p *Plan) { p.Order = newest[:1] }},
		"lookup of two":    {Bound{Limit: -1}, []Row{row("1"), row("2")}, func(p *Plan) { p.Order = nil }},
		"lookup offset":    {Bound{Limit: -1, Offset: 1}, nil, func(p *Plan) { p.Order = nil }},
	} {
		b := c.bound
		if b.Plan = plan(); c.edit != nil {
			c.edit(b.Plan)
		}
		if Start(&b, c.rows) != nil {
			t.Errorf("%s: started", name)
		}
	}
	if Start(&Bound{Plan: plan(), Limit: 2}, []Row{late, early}) == nil {
		t.Error("cannot start what is right")
	}
}

func totalsPlan(one bool) *Plan {
	return &Plan{Reads: noteReads, One: one, Aggregates: []Aggregate{
		{Name: "all", Kind: CountRows},
		{Name: "prices", Kind: Count, Column: "price", Type: 1700, Base: 1700},
		{Name: "sum", Kind: Sum, Column: "price", Type: 1700, Base: 1700, Scale: 2},
		{Name: "n", Kind: Sum, Column: "n", Type: 23, Base: 23},
	}}
}

func TestFollowTotals(t *testing.T) {
	const before = `{"all":3,"prices":2,"sum":1.50,"n":9223372036854775806}`
	for _, c := range []struct {
		name    string
		changes []*change.Change
		want    string // "" is refused
	}{
		{"insert", []*change.Change{inserted("9 ~ a ~ -2.25 ~")}, `{"all":4,"prices":3,"sum":-0.75,"n":9223372036854775806}`},
		{"other kind", []*change.Change{inserted("9 ~ b ~ -2.25 ~")}, before},
		{"null", []*change.Change{inserted("9 ~ a ~ ~ ~")}, `{"all":4,"prices":2,"sum":1.50,"n":9223372036854775806}`},
		{"update", []*change.Change{updated("9 ~ a ~ ~ 9223372036854775806", "9 ~ a ~ 0.01 ~")}, `{"all":3,"prices":3,"sum":1.51,"n":null}`},
		{
			"all gone",
			[]*change.Change{deleted("9 ~ a ~ 1.00 9223372036854775806"), deleted("8 ~ a ~ 0.50 ~"), deleted("7 ~ a ~ ~ ~")},
			`{"all":0,"prices":0,"sum":null,"n":null}`,
		},
		{"update of nothing", []*change.Change{updated("9 ~ a ~ 1.00 ~", "9 ~ a x 1.00 ~")}, before},
		{"more gone than was", []*change.Change{deleted("9 ~ a ~ 1.00 9223372036854775806"), deleted("8 ~ a ~ 0.50 ~"), deleted("7 ~ a ~ ~ ~"), deleted("6 ~ a ~ ~ ~")}, ""},
		{"rest without values", []*change.Change{deleted("9 ~ a ~ 1.00 ~"), deleted("8 ~ a ~ 0.51 ~")}, ""},
		{"out of range", []*change.Change{inserted("9 ~ a ~ ~ 2")}, ""},
		{"not a number", []*change.Change{inserted("9 ~ a ~ NaN ~")}, ""},
		{"other scale", []*change.Change{inserted("9 ~ a ~ 1.0 ~")}, ""},
		{"unknown kind", []*change.Change{deleted("9 ? ? ? ? ?")}, ""},
		{"unknown price", []*change.Change{deleted("9 ? a ? ? 1")}, ""},
		{"truncate", []*change.Change{event(change.Truncate, "", "")}, ""},
	} {
		for _, one := range []bool{false, true} {
			b := &Bound{Plan: totalsPlan(one), Tests: []match.Test{noteTest}, Limit: -1}
			s := mustStart(t, b, []Row{{JSON: []byte(before), Hidden: text("3 2 2 1")}})
			next, changed, ok := s.Follow(c.changes)
			if !ok {
				if c.want != "" {
					t.Errorf("%s: refused", c.name)
				}
				continue
			}
			want := c.want
			if !one {
				want = "[" + want + "]"
			}
			if body, found := next.Body(); string(body) != want || !found || changed != (c.want != before) {
				t.Errorf("%s: %s, changed %v; want %s", c.name, body, changed, want)
			}
		}
	}
}

func TestStartTotalsRefuses(t *testing.T) {
	for name, c := range map[string]struct{ json, hidden string }{
		"NaN":             {`{"all":3,"prices":2,"sum":"NaN","n":1}`, "3 2 2 1"},
		"other scale":     {`{"all":3,"prices":2,"sum":1.5,"n":1}`, "3 2 2 1"},
		"other name":      {`{"some":3,"prices":2,"sum":1.50,"n":1}`, "3 2 2 1"},
		"other count":     {`{"all":4,"prices":2,"sum":1.50,"n":1}`, "3 2 2 1"},
		"sum of nothing":  {`{"all":3,"prices":2,"sum":1.50,"n":1}`, "3 2 0 1"},
		"null with count": {`{"all":3,"prices":2,"sum":null,"n":1}`, "3 2 2 1"},
		"count missing":   {`{"all":3,"prices":2,"sum":1.50,"n":1}`, "3 2 2"},
		"count null":      {`{"all":3,"prices":2,"sum":1.50,"n":1}`, "3 2 2 ~"},
		"end":             {`{"all":3,"prices":2,"sum":1.50,"n":1`, "3 2 2 1"},
	} {
		if Start(&Bound{Plan: totalsPlan(true), Limit: -1}, []Row{{JSON: []byte(c.json), Hidden: text(c.hidden)}}) != nil {
			t.Errorf("%s: started", name)
		}
	}
}

func TestMember(t *testing.T) {
	heads := (&Plan{Columns: []Column{plainColumn("a", 114), plainColumn(`b"`, 25), plainColumn("a", 23)}}).heads()
	object := []byte(`{"a": { "x" : [ "}\"," ] } ,"b\"":"y,\\","a":null}`)
	for i, want := range []string{` { "x" : [ "}\"," ] } `, `"y,\\"`, "null"} {
		if got, ok := member(heads, i, object); !ok || string(got) != want {
			t.Errorf("%d: %s, %v; want %s", i, got, ok, want)
		}
	}
	for _, broken := range []string{"", "{", `{"x":1}`, `{"a":`, `{"a":"x`, `{"a":"x\`, `{"a":[`} {
		if got, ok := member(heads, 0, []byte(broken)); ok {
			t.Errorf("%s: %s", broken, got)
		}
	}
}

// page returns a list of 20 rows and 10 more, in order of time.
func page(t testing.TB) *State {
	p := &Plan{
		Reads: noteReads, Order: newest, Key: noteKey,
		Columns: []Column{plainColumn("id", 20), plainColumn("at", 1184), plainColumn("kind", 25), plainColumn("note", 25), plainColumn("price", 1700)},
	}
	var rows []Row
	for i := range 30 {
		row := text(fmt.Sprintf("%d 2000-01-01_00:%02d:00.123456+00 a %s 1.50 ~", 1000+i, 59-i, strings.Repeat("x", 100)))
		l := list{Bound: &Bound{Plan: p}}
		json, _ := l.render(p.newLayout(notes), row, nil)
		rows = append(rows, Row{JSON: json, Hidden: []change.Value{row[1], row[0], row[0]}})
	}
	return mustStart(t, &Bound{Plan: p, Tests: []match.Test{noteTest}, Limit: 20, Slack: 10}, rows)
}

func TestSize(t *testing.T) {
	s := page(t)
	extra := s.Size()
	for _, h := range func() []held { l := new(list); l.load(s); return l.rows[20:] }() {
		extra -= int64(len(h.json)) // the JSON of the slack is nowhere else
	}
	if per := extra / 30; per > 60 {
		t.Errorf("%d bytes per row beside the JSON, %d in all", per, extra)
	}
}

func BenchmarkFollow(b *testing.B) {
	s := page(b)
	row := func(id int, minute, text string) string {
		return fmt.Sprintf("%d 2000-01-01_00:%s:00.123456+00 a %s 1.50 ~", id, minute, text)
	}
	for _, c := range []struct {
		name    string
		changes []*change.Change
	}{
		{"insert", []*change.Change{inserted(row(5000, "59", "hello"))}},
		{"update", []*change.Change{updated("1010 ? ? ? ? ?", row(1010, "49", "hello"))}},
		{"behind", []*change.Change{inserted(row(5000, "01", "hello"))}},
		{"slack", []*change.Change{deleted("1025 ? ? ? ? ?")}},
		{"unknown", []*change.Change{deleted("7 ? ? ? ? ?")}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, ok := s.Follow(c.changes); !ok {
					b.Fatal("refused")
				}
			}
		})
	}
	b.Run("totals", func(b *testing.B) {
		s := mustStart(b, &Bound{Plan: totalsPlan(true), Tests: []match.Test{noteTest}, Limit: -1},
			[]Row{{JSON: []byte(`{"all":3,"prices":2,"sum":1.50,"n":7}`), Hidden: text("3 2 2 1")}})
		changes := []*change.Change{inserted("9 ~ a ~ -2.25 5")}
		b.ReportAllocs()
		for b.Loop() {
			if _, _, ok := s.Follow(changes); !ok {
				b.Fatal("refused")
			}
		}
	})
}
