package live

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// row makes a row of texts; "~" is NULL and "?" absent.
func row(values ...string) change.Row {
	var r change.Row
	for _, v := range values {
		switch v {
		case "~":
			r = append(r, change.Value{Kind: change.Null})
		case "?":
			r = append(r, change.Value{})
		default:
			r = append(r, change.Value{Kind: change.Text, Text: []byte(v)})
		}
	}
	return r
}

func encoder(t testing.TB, full bool, columns ...Column) *Encoder {
	t.Helper()
	e, err := NewEncoder("public", "items", columns, full)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

var items = []Column{{Name: "id", Key: 1}, {Name: "title"}, {Name: "note"}}

func TestMessages(t *testing.T) {
	part, full := encoder(t, false, items...), encoder(t, true, items...)
	h := Head{At: Offset{LSN: 0x1234, Index: 6}, XID: 5<<32 + 77}
	const head = `"relation":["public","items"],"lsn":"4660","op_position":6,"txids":[77]}}`
	const next = `"relation":["public","items"],"lsn":"4660","op_position":7,"txids":[77]}}`
	const key = `{"key":"\"public\".\"items\"/\"1\"","value":`
	a, b := row("1", "a", "~"), row("1", "b", "~")
	for _, c := range []struct {
		name     string
		e        *Encoder
		old, new change.Row
		was, is  bool
		want     []string
	}{
		{"insert", part, nil, a, false, true, []string{key + `{"id":"1","title":"a","note":null},"headers":{"operation":"insert",` + head}},
		{"insert, full", full, nil, a, false, true, []string{key + `{"id":"1","title":"a","note":null},"headers":{"operation":"insert",` + head}},
		{"update", part, a, b, true, true, []string{key + `{"id":"1","title":"b"},"headers":{"operation":"update",` + head}},
		{"update, full", full, a, b, true, true, []string{key + `{"id":"1","title":"b","note":null},"old_value":{"title":"a"},"headers":{"operation":"update",` + head}},
		{"to null", part, row("1", "a", "n"), a, true, true, []string{key + `{"id":"1","note":null},"headers":{"operation":"update",` + head}},
		{"to null, full", full, row("1", "a", "n"), a, true, true, []string{key + `{"id":"1","title":"a","note":null},"old_value":{"note":"n"},"headers":{"operation":"update",` + head}},
		{"nothing", part, a, a, true, true, nil},
		{"nothing, full", full, a, a, true, true, nil},
		{"outside", part, a, b, false, false, nil},
		{"enters", part, a, b, false, true, []string{key + `{"id":"1","title":"b","note":null},"headers":{"operation":"insert",` + head}},
		{"leaves", part, a, b, true, false, []string{key + `{"id":"1"},"headers":{"operation":"delete",` + head}},
		{"leaves, full", full, a, b, true, false, []string{key + `{"id":"1","title":"a","note":null},"headers":{"operation":"delete",` + head}},
		{"delete", part, a, nil, true, false, []string{key + `{"id":"1"},"headers":{"operation":"delete",` + head}},
		{"new key", part, row("0", "a", "~"), a, true, true, []string{
			`{"key":"\"public\".\"items\"/\"0\"","value":{"id":"0"},"headers":{"operation":"delete",` + head,
			key + `{"id":"1","title":"a","note":null},"headers":{"operation":"insert",` + next,
		}},
	} {
		got, n, err := c.e.AppendChange(nil, h, nil, c.old, c.new, c.was, c.is)
		if want := strings.Join(c.want, ",\n"); err != nil || n != len(c.want) || string(got) != want {
			t.Errorf("%s: %d (%v)\n%s\nnot\n%s", c.name, n, err, got, want)
		}
		// Whatever comes before stays, and a comma comes between.
		got, _, _ = c.e.AppendChange([]byte("{}"), h, nil, c.old, c.new, c.was, c.is)
		if want := strings.Join(append([]string{"{}"}, c.want...), ",\n"); string(got) != want {
			t.Errorf("%s after another:\n%s", c.name, got)
		}
	}

	got, err := part.AppendSnapshot(nil, nil, a, 0)
	if want := key + `{"id":"1","title":"a","note":null},"headers":{"operation":"insert","relation":["public","items"]}}`; err != nil || string(got) != want {
		t.Errorf("snapshot: %s (%v)", got, err)
	}
	got, err = part.AppendMarked([]byte("{}"), nil, a, 0, 4000000000)
	if want := "{},\n" + key + `{"id":"1","title":"a","note":null},"headers":{"operation":"insert","relation":["public","items"],"snapshot_mark":4000000000}}`; err != nil || string(got) != want {
		t.Errorf("subset: %s (%v)", got, err)
	}
	got, _ = part.AppendInsert(nil, Head{At: h.At, Twin: 2}, nil, a)
	if want := `{"key":"\"public\".\"items\"/\"1\"/2","value":{"id":"1","title":"a","note":null},"headers":{"operation":"insert","relation":["public","items"],"lsn":"4660","op_position":6}}`; string(got) != want {
		t.Errorf("a twin: %s", got)
	}
	if got, want := string(MarkLast(got)), `"op_position":6,"last":true}}`; !strings.HasSuffix(got, want) {
		t.Errorf("the last one: %s", got)
	}
}

func TestWhatTheLogDoesNotSay(t *testing.T) {
	e := encoder(t, false, items...)
	for _, rows := range [][2]change.Row{
		{row("1", "a", "b"), row("1", "a", "?")},
		{row("1", "a", "?"), row("1", "a", "b")},
		{row("1", "?", "b"), row("1", "?", "c")},
		{row("?", "a", "b"), row("1", "a", "b")},
		{row("1", "a"), row("1", "a", "b")},
		{nil, row("1", "a", "b")},
	} {
		if got, n, err := e.AppendUpdate([]byte("x"), Head{}, nil, rows[0], rows[1]); err == nil || n != 0 || string(got) != "x" {
			t.Errorf("%v: %s", rows, got)
		}
	}
	if got, err := e.AppendInsert([]byte("x"), Head{}, nil, row("1", "?", "a")); err == nil || string(got) != "x" {
		t.Errorf("%s", got)
	}
	if got, err := e.AppendDelete([]byte("x"), Head{}, nil, row("?", "a", "a")); err == nil || string(got) != "x" {
		t.Errorf("%s", got)
	}
	if got, err := e.AppendMarked([]byte("x"), nil, row("?", "a", "a"), 0, 1); err == nil || string(got) != "x" {
		t.Errorf("%s", got)
	}
	if got, err := e.AppendDelete(nil, Head{}, nil, row("1", "?", "?")); err != nil || len(got) == 0 {
		t.Errorf("a delete needs the key alone: %v", err)
	}
	if _, err := NewEncoder("s", "t", []Column{{Name: "a", Key: 2}}, false); err == nil {
		t.Error("a key without its first column")
	}
	if _, err := e.Layout(&catalog.Relation{Columns: []catalog.Column{{Name: "id"}, {Name: "title"}}}); err == nil {
		t.Error("a relation that lacks a column")
	}
	at, err := e.Layout(&catalog.Relation{Columns: []catalog.Column{{Name: "note"}, {Name: "x"}, {Name: "title"}, {Name: "id"}}})
	if err != nil || !slices.Equal(at, []int{3, 2, 0}) {
		t.Errorf("%v (%v)", at, err)
	}
}

func TestKeys(t *testing.T) {
	for _, c := range []struct {
		schema, table string
		row           change.Row
		want          string
	}{
		{"public", "items", row("1", "2"), `"public"."items"/"1"/"2"`},
		{"a.b", "c/d", row("x/y", "~"), `"a..b"."c//d"/"x//y"/_`},
		{`q"`, "t", row("", `"\`), `"q""."t"/""/""\"`},
		{"s", "t", row("/", "//"), `"s"."t"/"//"/"////"`},
		{"s", "t", row("~", "_"), `"s"."t"/_/"_"`},
	} {
		e, err := NewEncoder(c.schema, c.table, []Column{{Name: "b", Key: 1}, {Name: "a", Key: 2}}, false)
		if err != nil {
			t.Fatal(err)
		}
		b, err := e.AppendDelete(nil, Head{}, nil, c.row)
		if err != nil {
			t.Fatal(err)
		}
		var m struct{ Key string }
		if err := json.Unmarshal(b, &m); err != nil || m.Key != c.want {
			t.Errorf("%s is the key, not %s (%v)", m.Key, c.want, err)
		}
		own, err := e.Key([]byte(`"`), nil, c.row, 0)
		var key string
		if err := json.Unmarshal(append(own, '"'), &key); err != nil || key != m.Key {
			t.Errorf("%s by itself, %s in a message (%v)", own, m.Key, err)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// Two rows have one key only if the values of their keys are equal.
func TestKeysDiffer(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	e := encoder(t, false, Column{Name: "a", Key: 1}, Column{Name: "b", Key: 2})
	of := map[string]string{}
	for range 20000 {
		var parts [2]string
		for i := range parts {
			for range rnd.IntN(4) {
				parts[i] += string(`/"_1\~`[rnd.IntN(6)])
			}
		}
		r := row(parts[0], parts[1])
		twin := uint64(rnd.IntN(2))
		key, err := e.Key(nil, nil, r, twin)
		if err != nil {
			t.Fatal(err)
		}
		is := fmt.Sprintf("%q %d", parts, twin)
		if was, ok := of[string(key)]; ok && was != is {
			t.Fatalf("%s and %s have the key %s", was, is, key)
		}
		of[string(key)] = is
	}
}

// message is one as encoding/json reads it.
type message struct {
	Key      string
	Value    map[string]*string
	OldValue map[string]*string `json:"old_value"`
	Headers  struct {
		Operation, Control string
		Relation           []string
		LSN                string
		OpPosition         uint64 `json:"op_position"`
		Txids              []uint32
		Last               bool
	}
}

func decode(t testing.TB, messages []byte) (out []message) {
	t.Helper()
	if err := json.Unmarshal(AppendBody(nil, messages), &out); err != nil {
		t.Fatalf("%v in %s", err, messages)
	}
	return out
}

// A client that applies the messages of random changes holds the rows that are
// in the shape, as they are.
func TestClientHoldsTheRows(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		full := rnd.IntN(2) == 0
		columns := []Column{{Name: "k1", Key: 1 + rnd.IntN(2)}, {Name: "v"}, {Name: "k2"}, {Name: `na"me`}, {Name: "v"}}
		columns[2].Key = 3 - columns[0].Key
		e := encoder(t, full, columns...)
		at := rnd.Perm(7)[:5] // the relation has more columns, in another order
		random := func() change.Row {
			r := make(change.Row, 7)
			for i := range r {
				if r[i].Kind = change.Null; rnd.IntN(5) > 0 {
					r[i] = change.Value{Kind: change.Text, Text: []byte(texts[rnd.IntN(4)])}
				}
			}
			return r
		}
		key := func(r change.Row) string { return fmt.Sprint(r[at[0]], r[at[2]]) }
		in := func(r change.Row) bool { return r != nil && (len(r[at[1]].Text)+len(r[at[3]].Text))%2 == 0 }
		seen := func(r change.Row) map[string]*string {
			out := map[string]*string{}
			for i, c := range columns {
				out[c.Name] = nil
				if v := r[at[i]]; v.Kind == change.Text {
					s := string(v.Text)
					out[c.Name] = &s
				}
			}
			return out
		}

		rows, client := map[string]change.Row{}, map[string]map[string]*string{}
		for lsn := revision.LSN(8); lsn < 800; lsn += 8 {
			var b []byte
			var last Offset
			count := 0
			for index := range uint64(1 + rnd.IntN(4)) {
				var old, row change.Row
				if names := slices.Sorted(maps.Keys(rows)); len(names) > 0 && rnd.IntN(3) > 0 {
					old = rows[names[rnd.IntN(len(names))]]
				}
				if old == nil || rnd.IntN(4) > 0 {
					row = random()
				}
				if row != nil && old != nil && rnd.IntN(2) == 0 {
					row[at[0]], row[at[2]] = old[at[0]], old[at[2]]
				}
				if row != nil && rows[key(row)] != nil && (old == nil || key(old) != key(row)) {
					continue // the key is taken
				}
				if old != nil {
					delete(rows, key(old))
				}
				if row != nil {
					rows[key(row)] = row
				}
				h := Head{At: Offset{LSN: lsn, Index: 2 * index}, XID: revision.XID(lsn)}
				var n int
				var err error
				if b, n, err = e.AppendChange(b, h, at, old, row, in(old), in(row)); err != nil {
					t.Fatal(err)
				}
				count += n
			}
			if count > 0 {
				b = MarkLast(b)
			}
			if bytes.Count(b, []byte("\n")) != max(count-1, 0) {
				t.Fatalf("a line feed in %q", b)
			}
			got := decode(t, b)
			if len(got) != count {
				t.Fatalf("%d messages, not %d", len(got), count)
			}
			for i, m := range got {
				o := Offset{LSN: lsn, Index: m.Headers.OpPosition}
				if last.Compare(o) >= 0 && i > 0 || m.Headers.LSN != fmt.Sprint(uint64(lsn)) || !slices.Equal(m.Headers.Txids, []uint32{uint32(lsn)}) ||
					!slices.Equal(m.Headers.Relation, []string{"public", "items"}) || m.Headers.Last != (i == len(got)-1) {
					t.Fatalf("headers %+v after %s", m.Headers, last)
				}
				last = o
				was, known := client[m.Key]
				switch m.Headers.Operation {
				case "insert":
					if known || len(m.Value) != 4 {
						t.Fatalf("inserts %v over %v", m, was)
					}
					client[m.Key] = m.Value
				case "update":
					if !known || full != (len(m.Value) == 4 && len(m.OldValue) > 0) {
						t.Fatalf("updates %v to %+v", was, m)
					}
					for name, v := range m.OldValue {
						if !same(was[name], v) || same(v, m.Value[name]) {
							t.Fatalf("the old value of %s is said to be %v, which was %v and is %v", name, v, was[name], m.Value[name])
						}
					}
					for name, v := range m.Value {
						if _, said := m.OldValue[name]; full && !said && !same(was[name], v) || !full && name[0] != 'k' && same(was[name], v) {
							t.Fatalf("%s of %+v, which was %v", name, m, was)
						}
						was[name] = v
					}
				case "delete":
					if !known || full && !maps.EqualFunc(was, m.Value, same) || !full && len(m.Value) != 2 {
						t.Fatalf("deletes %v with %v", was, m.Value)
					}
					for name, v := range m.Value {
						if !same(v, was[name]) {
							t.Fatalf("deletes %v with %v", was, m.Value)
						}
					}
					delete(client, m.Key)
				}
			}
			want := map[string]map[string]*string{}
			for _, r := range rows {
				if in(r) {
					var k string
					raw, err := e.Key([]byte{'"'}, at, r, 0)
					if err != nil || json.Unmarshal(append(raw, '"'), &k) != nil {
						t.Fatal(err)
					}
					want[k] = seen(r)
				}
			}
			if !maps.EqualFunc(client, want, func(a, b map[string]*string) bool { return maps.EqualFunc(a, b, same) }) {
				t.Fatalf("seed %d: the client holds\n%v\nnot\n%v", seed, client, want)
			}
		}
	}
}

func same(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }

func TestEncodingAllocatesNothing(t *testing.T) {
	interval := &Type{OID: intervalOID, Name: "interval", Kind: 'b', Mod: -1, delim: ',', interval: true}
	for _, full := range []bool{false, true} {
		e := encoder(t, full, append([]Column{{Name: "span", Type: interval}}, items...)...)
		old, row := row("1 day", "1/2", "some\ntext é", "~"), row("2 days -00:00:01.5", "1/2", "other \xff text", "x")
		other := slices.Clone(row)
		other[1].Text = []byte("2")
		b := make([]byte, 0, 4096)
		if n := testing.AllocsPerRun(100, func() {
			out, _, _ := e.AppendUpdate(b, Head{XID: 1}, nil, old, row)
			out, _, _ = e.AppendUpdate(out, Head{XID: 1}, nil, old, other)
			out, _ = e.AppendInsert(out, Head{XID: 1}, nil, row)
			out, _ = e.AppendDelete(out, Head{XID: 1}, nil, row)
			out, _ = e.AppendMarked(out, nil, row, 0, 3)
			_ = MarkLast(out)
		}); n > 0 {
			t.Errorf("full %v: %.0f allocations", full, n)
		}
	}
}

func BenchmarkUpdate(b *testing.B) {
	e := encoder(b, false, items...)
	old, row := row("17", "a title of some words", "~"), row("17", "another title of some words", "a note")
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, n, err := e.AppendUpdate(buf, Head{XID: 1}, nil, old, row); n != 1 || err != nil {
			b.Fatal(n, err)
		}
	}
}
