package tuple

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func obj(typ, id string) Object { return Object{Type: typ, ID: id} }

func TestParse(t *testing.T) {
	plain := Relationship{Resource: obj("doc", "plan"), Relation: "viewer", Subject: Subject{Object: obj("user", "ana")}}
	with := func(f func(*Relationship)) Relationship {
		r := plain
		f(&r)
		return r
	}
	end := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	for _, c := range []struct {
		text string
		want Relationship
		out  string // what String gives where it is not the text
	}{
		{"doc:plan#viewer@user:ana", plain, ""},
		{"  doc:plan#viewer@user:ana\t\n", plain, "doc:plan#viewer@user:ana"},
		{"doc:plan#viewer@user:ana#...", plain, "doc:plan#viewer@user:ana"},
		{"doc:plan#viewer@user:*", with(func(r *Relationship) { r.Subject.ID = "*" }), ""},
		{"doc:plan#viewer@user:*#...", with(func(r *Relationship) { r.Subject.ID = "*" }), "doc:plan#viewer@user:*"},
		{"doc:plan#viewer@group:eng#member", with(func(r *Relationship) {
			r.Subject = Subject{Object: obj("group", "eng"), Relation: "member"}
		}), ""},
		{"org1/doc:a/_|-=+Z#viewer@user:ana", with(func(r *Relationship) { r.Resource = obj("org1/doc", "a/_|-=+Z") }), ""},
		{"doc:plan#viewer@user:ana[hours]", with(func(r *Relationship) { r.Caveat = "hours" }), ""},
		{"doc:plan#viewer@user:ana[hours:{}]", with(func(r *Relationship) { r.Caveat = "hours" }), "doc:plan#viewer@user:ana[hours]"},
		{`doc:plan#viewer@user:ana[hours:{ "b" : [1.0, "]}" ], "a":{"z":1e3,"y":null} }]`, with(func(r *Relationship) {
			r.Caveat, r.Context = "hours", `{"a":{"y":null,"z":1e3},"b":[1.0,"]}"]}`
		}), `doc:plan#viewer@user:ana[hours:{"a":{"y":null,"z":1e3},"b":[1.0,"]}"]}]`},
		{"doc:plan#viewer@user:ana[hours][expiration:2030-01-01T00:00:00Z]", with(func(r *Relationship) {
			r.Caveat, r.Expires = "hours", end
		}), ""},
		{"doc:plan#viewer@user:ana[expiration:2030-01-01T02:00:00.000001999+02:00]", with(func(r *Relationship) {
			r.Expires = end + 1
		}), "doc:plan#viewer@user:ana[expiration:2030-01-01T00:00:00.000001Z]"},
		{
			"doc:plan#viewer@user:ana[expiration:1970-01-01T00:00:00Z]", with(func(r *Relationship) { r.Expires = -1 }),
			"doc:plan#viewer@user:ana[expiration:1969-12-31T23:59:59.999999Z]",
		},
		{`doc:plan#viewer@user:ana[expiration:{"a":1}][expiration:2030-01-01T00:00:00Z]`, with(func(r *Relationship) {
			r.Caveat, r.Context, r.Expires = "expiration", `{"a":1}`, end
		}), ""},
	} {
		got, err := Parse(c.text)
		if err != nil || got != c.want {
			t.Errorf("Parse(%s) = %+v, %v; want %+v", c.text, got, err, c.want)
		}
		if c.out == "" {
			c.out = c.text
		}
		if got.String() != c.out {
			t.Errorf("Parse(%s).String() = %s, want %s", c.text, got, c.out)
		}
		if err := got.Check(); err != nil {
			t.Errorf("Check(%s) = %v", c.text, err)
		}
	}
}

func TestParseErrors(t *testing.T) {
	long := strings.Repeat("x", 1025)
	for _, c := range []struct {
		text   string
		column int
		says   string
	}{
		{"", 1, "a resource type is expected, not the end"},
		{"  :plan", 3, "a resource type is expected, not ':'"},
		{"do:plan#viewer@user:ana", 1, `"do" is not the name of a type`},
		{"doc_:plan#viewer@user:ana", 1, "not the name of a type"},
		{"/doc:plan#viewer@user:ana", 1, "not the name of a type"},
		{"Doc:plan#viewer@user:ana", 1, "expected, not 'D'"},
		{"doc", 4, `":" is expected after the type, not the end`},
		{"doc:#viewer@user:ana", 5, "an object id is expected"},
		{"doc:*#viewer@user:ana", 1, "a resource cannot be a wildcard"},
		{"doc:plan viewer", 9, `"#" is expected after the resource, not ' '`},
		{"doc:pläne#viewer@user:ana", 7, "not 'ä'"},
		{"doc:" + long + "#viewer@user:ana", 5, "1025 characters; 1024 are the most"},
		{"doc:plan#...@user:ana", 10, "not the name of a relation"},
		{"doc:plan#viewer", 16, `"@" is expected after the relation`},
		{"doc:plan#viewer@user", 21, `":" is expected after the type`},
		{"doc:plan#viewer@user:*#member", 24, "a wildcard subject has no relation"},
		{"doc:plan#viewer@user:a*", 23, "unexpected '*'"},
		{"doc:plan#viewer@user:**", 23, "unexpected '*'"},
		{"doc:plan#viewer@user:ana#", 26, "a subject relation is expected"},
		{"doc:plan#viewer@user:ana#....", 29, "unexpected '.'"},
		{"doc:plan#viewer@user:ana []", 25, "unexpected ' '"},
		{"doc:plan#viewer@user:ana[]", 26, "a caveat name is expected, not ']'"},
		{"doc:plan#viewer@user:ana[hours", 31, `"]" is expected after the caveat`},
		{"doc:plan#viewer@user:ana[hours:]", 32, "not JSON"},
		{"doc:plan#viewer@user:ana[hours:[1]]", 32, "not a JSON object"},
		{`doc:plan#viewer@user:ana[hours:{"a":1]`, 32, "not JSON"},
		{`doc:plan#viewer@user:ana[hours:{"a":1}`, 39, `"]" is expected`},
		{"doc:plan#viewer@user:ana[hours:{\"a\":\"\xff\"}]", 32, "not UTF-8"},
		{`doc:plan#viewer@user:ana[hours:{"a":"\u0000"}]`, 32, "U+0000"},
		{"doc:plan#viewer@user:ana[hours][hours]", 32, "only an expiration may follow"},
		{"doc:plan#viewer@user:ana[expiration:2030-01-01T00:00:00Z][hours]", 58, "unexpected '['"},
		{"doc:plan#viewer@user:ana[expiration:soon]", 37, `"soon" is not a time`},
		{"doc:plan#viewer@user:ana[expiration:2030-01-01T00:00:00Z", 37, "no closing bracket"},
		{"doc:plan#viewer@user:ana[expiration:0000-01-01T00:00:00Z]", 37, "between the years 1 and 9999"},
	} {
		_, err := Parse(c.text)
		var e *ParseError
		if !errors.As(err, &e) || e.Column != c.column || !strings.Contains(e.Message, c.says) {
			t.Errorf("Parse(%.80s): %v; want column %d: …%s…", c.text, err, c.column, c.says)
		}
	}
	if _, err := Parse("doc:" + long[:1024] + "#viewer@user:ana"); err != nil {
		t.Error("an id of 1,024 bytes:", err)
	}
}

func TestParseParts(t *testing.T) {
	if o, err := ParseObject(" doc:plan "); err != nil || o != obj("doc", "plan") {
		t.Error(o, err)
	}
	if _, err := ParseObject("doc:plan#viewer"); err == nil || !strings.Contains(err.Error(), "column 9") {
		t.Error(err)
	}
	if s, err := ParseSubject("group:eng#member"); err != nil || s != (Subject{Object: obj("group", "eng"), Relation: "member"}) {
		t.Error(s, err)
	}
	if _, err := ParseSubject("group:eng#member@"); err == nil {
		t.Error("a subject with something behind it")
	}
}

func TestParseWith(t *testing.T) {
	key := Relationship{Resource: obj("doc", "plan"), Relation: "view", Subject: Subject{Object: obj("user", "ana")}}
	for text, want := range map[string]string{
		"doc:plan#view@user:ana":                        "",
		`doc:plan#view@user:ana with {"b":1, "a": "x"}`: `{"a":"x","b":1}`,
		"doc:plan#view@user:ana#... with\t{}":           "",
		`doc:plan#view@user:ana  with{"a":[]} `:         `{"a":[]}`,
	} {
		if r, context, err := ParseWith(text); err != nil || r != key || context != want {
			t.Errorf("ParseWith(%s) = %v, %s, %v", text, r, context, err)
		}
	}
	for _, text := range []string{
		"doc:plan#view@user:ana with", "doc:plan#view@user:ana with 1", "doc:plan#view@user:ana if {}", "doc:plan#view@user:anawith {}x",
		"doc:plan#view@user:ana with {} {}", "doc:plan#view@user:ana[hours] with {}", "doc:plan#view@user:ana{}", "doc:plan#view",
	} {
		var e *ParseError
		if _, _, err := ParseWith(text); !errors.As(err, &e) {
			t.Errorf("ParseWith(%s): %v", text, err)
		}
	}
}

func TestNames(t *testing.T) {
	name := func(n int) string { return strings.Repeat("a", n) }
	for text, ok := range map[string]bool{
		"doc": true, "do": false, "1oc": false, "_oc": false, "do_": false, "d_c": true, "do1": true, "dOc": false, "": false,
		name(64): true, name(65): false, name(63) + "/doc": true, name(64) + "/doc": false, "a/doc": false, "abc/": false, "abc//doc": false,
		name(63) + "/" + name(64): true, name(60) + "/abc/" + name(64): false,
	} {
		if err := CheckType(text); (err == nil) != ok {
			t.Errorf("CheckType(%q) = %v", text, err)
		}
		if err := CheckRelation(text); (err == nil) != (ok && !strings.Contains(text, "/")) {
			t.Errorf("CheckRelation(%q) = %v", text, err)
		}
	}
	for text, ok := range map[string]bool{"*": true, "**": false, "": false, "a b": false, "a\x00": false, "é": false, "A/_|-=+9": true, "a:b": false, "a.b": false} {
		if err := CheckID(text); (err == nil) != ok {
			t.Errorf("CheckID(%q) = %v", text, err)
		}
	}
	for text, ok := range map[string]bool{"": false, "a": true, "-a": false, "_a-|/": true, "a=": false, name(128): true, name(129): false} {
		if err := CheckCaveat(text); (err == nil) != ok {
			t.Errorf("CheckCaveat(%q) = %v", text, err)
		}
	}
}

func TestCanonical(t *testing.T) {
	for text, want := range map[string]string{
		"": "", " {} ": "", `{"b":1,"a":2}`: `{"a":2,"b":1}`, `{"a":1,"a":2}`: `{"a":2}`, `{"a":1.50E+2}`: `{"a":1.50E+2}`,
		`{"a":12345678901234567890.5}`: `{"a":12345678901234567890.5}`, `{"a":"<&\u0061\/"}`: `{"a":"<&a/"}`,
		`{"a":"\\u0000"}`: `{"a":"\\u0000"}`,
	} {
		if got, err := Canonical([]byte(text)); err != nil || got != want {
			t.Errorf("Canonical(%s) = %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"null", "1", "[]", `"a"`, "{", `{"a":1}x`, `{"a":1}{}`, "{\"a\":\"\xff\"}", `{"a":"\u0000"}`, `{"\u0000":1}`, `{"a":"\\\u0000"}`} {
		if got, err := Canonical([]byte(text)); err == nil {
			t.Errorf("Canonical(%s) = %s", text, got)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.50,{"b":null}],"z":"\u2028<"}`, `{"a":1,"a":2}`, "{}", `{"\ud800":1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Canonical(text)
		if err != nil {
			return
		}
		again, err := Canonical([]byte(c))
		if err != nil || again != c {
			t.Fatalf("Canonical(%q) = %q, and of that %q, %v", text, c, again, err)
		}
		var want, got map[string]any
		if len(text) > 0 && json.Unmarshal(text, &want) == nil && len(want) > 0 {
			if err := json.Unmarshal([]byte(c), &got); err != nil || !reflect.DeepEqual(want, got) {
				t.Fatalf("Canonical(%q) = %q, another value", text, c)
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"doc:plan#viewer@user:ana", "a/doc:plan#viewer@group:eng#member", `doc:plan#viewer@user:*[hours:{"a":[1]}][expiration:2030-01-01T00:00:00.5Z]`,
		"doc:plan#viewer@user:ana#...", `doc:plan#view@user:ana with {"a":1}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var e *ParseError
		r, err := Parse(text)
		if err == nil {
			if err := r.Check(); err != nil {
				t.Fatalf("Parse(%q) = %v, which Check refuses: %v", text, r, err)
			}
			again, err := Parse(r.String())
			if err != nil || again != r {
				t.Fatalf("%q is %+v, whose text %q is %+v, %v", text, r, r, again, err)
			}
		} else if !errors.As(err, &e) || e.Column < 1 || e.Column > len(text)+1 {
			t.Fatalf("Parse(%q): %v", text, err)
		}
		if r, context, err := ParseWith(text); err == nil {
			if context != "" {
				context = " with " + context
			}
			if again, _, err := ParseWith(r.String() + context); err != nil || again != r {
				t.Fatalf("ParseWith(%q) = %v, and again %v, %v", text, r, again, err)
			}
		} else if !errors.As(err, &e) {
			t.Fatalf("ParseWith(%q): %v", text, err)
		}
	})
}

// What is made of any valid parts comes back from its text.
func TestRoundTrip(t *testing.T) {
	object := rapid.Custom(func(t *rapid.T) Object {
		return Object{
			Type: rapid.StringMatching(`([a-z][a-z0-9_]{1,8}[a-z0-9]/){0,2}[a-z][a-z0-9_]{1,8}[a-z0-9]`).Draw(t, "type"),
			ID:   rapid.StringMatching(`[a-zA-Z0-9/_|\-=+]{1,20}`).Draw(t, "id"),
		}
	})
	relation := rapid.StringMatching(`[a-z][a-z0-9_]{1,10}[a-z0-9]`)
	value := rapid.MapOf(rapid.String(), rapid.OneOf(rapid.String().AsAny(), rapid.Float64().AsAny(), rapid.SliceOf(rapid.Int()).AsAny(), rapid.Bool().AsAny()))
	rapid.Check(t, func(t *rapid.T) {
		r := Relationship{Resource: object.Draw(t, "resource"), Relation: relation.Draw(t, "relation")}
		r.Subject.Object = object.Draw(t, "subject")
		switch rapid.IntRange(0, 2).Draw(t, "kind") {
		case 0:
			r.Subject.Relation = relation.Draw(t, "subject relation")
		case 1:
			r.Subject.ID = Wildcard
		}
		if rapid.Bool().Draw(t, "caveated") {
			r.Caveat = rapid.StringMatching(`[a-zA-Z0-9_][a-zA-Z0-9/_|\-]{0,10}`).Draw(t, "caveat")
			text, err := json.Marshal(value.Draw(t, "context"))
			if err == nil {
				r.Context, err = Canonical(text)
			}
			if err != nil && !strings.Contains(err.Error(), "U+0000") {
				t.Fatal(err)
			}
		}
		if rapid.Bool().Draw(t, "ends") {
			at := time.Unix(rapid.Int64Range(-62135596800, 253402300799).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns"))
			r.Expires = Expiration(at)
		}
		if err := r.Check(); err != nil {
			t.Fatal(err)
		}
		if got, err := Parse(r.String()); err != nil || got != r {
			t.Fatalf("%s: %+v, %v; want %+v", r, got, err, r)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("document:firstdoc#viewer@group:engineering#member"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCanonical(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Canonical([]byte(`{"tz":"Europe/Berlin","level":3}`)); err != nil {
			b.Fatal(err)
		}
	}
}
