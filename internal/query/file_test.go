package query

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func parse(t testing.TB, text string) *File {
	t.Helper()
	f, problems := ParseFile("dir/orders.sql", []byte(text))
	if problems != nil {
		t.Fatalf("%s: %v", text, problems)
	}
	return f
}

func TestParseFile(t *testing.T) {
	f := parse(t, `-- GET /v1/users/{id}/orders
-- The orders of one user, newest first. note: not a key
-- ttl: 90m   (default 24h)
-- result: one
/* ttl: 1h */

SELECT id FROM orders -- of :nobody
WHERE user_id = :id AND (:status::text IS NULL OR status = :status)
LIMIT coalesce(:limit::int, 50); -- done :x
`)
	want := "SELECT id FROM orders -- of :nobody\nWHERE user_id = $1 AND ($2::text IS NULL OR status = $2)\nLIMIT coalesce($3::int, 50)"
	if f.SQL != want {
		t.Errorf("SQL\n%s\nwant\n%s", f.SQL, want)
	}
	if d := cmp.Diff([]string{"id", "status", "limit"}, f.Params); d != "" {
		t.Error(d)
	}
	if f.Name != "orders" || f.TTL != 90*time.Minute || !f.One || f.Volatile {
		t.Errorf("header read as %+v", f)
	}
	if d := cmp.Diff(Route{"/v1/users/{id}/orders", []Segment{{Literal: "v1"}, {Literal: "users"}, {Param: "id"}, {Literal: "orders"}}}, f.Route); d != "" {
		t.Error(d)
	}
	for text, want := range map[string]time.Duration{"7d": 168 * time.Hour, "2w": 336 * time.Hour, "1w1d12h": 204 * time.Hour} {
		if f, problems := ParseFile("x.sql", []byte("-- GET /x\n-- ttl: "+text+"\nSELECT 1")); len(problems) > 0 || f.TTL != want {
			t.Errorf("ttl: %s was read as %v, %v", text, f, problems)
		}
	}
	for _, at := range []struct {
		text      string
		line, col int
	}{{"SELECT", 7, 1}, {"user_id", 8, 7}, {"$1", 8, 17}, {" AND", 8, 20}, {"$2 IS", 8, 0}, {"50", 9, 29}} {
		pos := strings.Index(f.SQL, at.text)
		if pos < 0 {
			continue
		}
		if line, col := f.Position(pos); line != at.line || col != at.col {
			t.Errorf("%q is at %d:%d, want %d:%d", at.text, line, col, at.line, at.col)
		}
	}
}

// Where a colon is, and where it is not, a parameter.
func TestParameters(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`SELECT :a, :b, :a`, `SELECT $1, $2, $1`},
		{`SELECT ':a', E'\':a', e'\\' , U&':a', N':a', B':a'`, ``},
		{`SELECT 'it''s :a'`, ``},
		{`SELECT ":a", U&":a", "x"":a"`, ``},
		{`SELECT $$:a$$, $t$ :a $$ :a $t$`, ``},
		{`SELECT 1 /* :a /* :a */ :a */ -- :a`, `SELECT 1`},
		{`SELECT 1 /* :a /* :a */ :a */ + :b`, `SELECT 1 /* :a /* :a */ :a */ + $1`},
		{`SELECT x::int, f(a := 1), y:::b`, `SELECT x::int, f(a := 1), y::$1`},
		{`SELECT a[1:n], a[:i], a[:i:j], a[b:c], ARRAY[:x, :y]`, `SELECT a[1:n], a[$1], a[$1:j], a[b:c], ARRAY[$2, $3]`},
		{`SELECT a[1 : :n], (ARRAY[1])[f(x):g(y)], m['k':'l']`, `SELECT a[1 : $1], (ARRAY[1])[f(x):g(y)], m['k':'l']`},
		{`SELECT:a,1:b`, `SELECT $1,1 $2`},
		{`SELECT x=:a-:b*-:c`, `SELECT x=$1-$2*-$3`},
		{`SELECT a$1$, :b`, `SELECT a$1$, $1`},
		{`SELECT :_x1, : y, :1, :é`, `SELECT $1, : y, :1, :é`},
		{`SELECT '{"a": 1}' @> :a::jsonb`, `SELECT '{"a": 1}' @> $1::jsonb`},
		{"SELECT E'a\\'\n:a', :b", "SELECT E'a\\'\n:a', $1"},
	} {
		want := c.want
		if want == "" {
			want = c.in
		}
		if got := parse(t, "-- GET /x\n"+c.in).SQL; got != want {
			t.Errorf("%s\nbecame %s\nwant   %s", c.in, got, want)
		}
	}
}

func TestParseFileProblems(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", "dir/orders.sql:1: the file has no route; begin the file with a line such as -- GET /v1/users/{id}\n" +
			"dir/orders.sql:1: the file has no statement; write a SELECT below the header"},
		{"SELECT 1", "dir/orders.sql:1: the file has no route; begin the file with a line such as -- GET /v1/users/{id}"},
		{"-- the orders\n-- GET /x\nSELECT 1", "dir/orders.sql:1: the first comment line is not a route; write -- GET /v1/users/{id} in the first line"},
		{"-- POST /x\nSELECT 1", "dir/orders.sql:1: the method is POST, and endpoints are read with GET (HEAD comes with it); write -- GET /v1/users/{id} in the first line"},
		{"-- GET /x//y\nSELECT 1", `dir/orders.sql:1: the path "/x//y" has an empty segment`},
		{"-- GET /x/\nSELECT 1", `dir/orders.sql:1: the path "/x/" has an empty segment`},
		{"-- GET /{a}/{a}\nSELECT :a", "dir/orders.sql:1: the path names {a} twice"},
		{"-- GET /x{a}\nSELECT :a", `dir/orders.sql:1: the segment "x{a}" is neither a literal nor a parameter: {name} has to be the whole segment`},
		{"-- GET /{1a}\nSELECT 1", `dir/orders.sql:1: "{1a}" is not a path parameter: a name is letters, digits and _, and does not begin with a digit`},
		{"-- GET /é\nSELECT 1", `dir/orders.sql:1: the character "é" cannot stand in a path`},
		{"-- GET /a/../b\nSELECT 1", `dir/orders.sql:1: a path cannot have the segment ".."`},
		{"-- GET /_status\nSELECT 1", "dir/orders.sql:1: paths that begin with /_status are tidemark's own; choose another first segment"},
		{"-- GET /x\nSELECT :tidemark_a", "dir/orders.sql:2: parameter names that begin with tidemark are tidemark's own; choose another name"},
		{"-- GET /{id}\nSELECT 1", "dir/orders.sql:1: the path has {id}, and the statement does not use :id; use :id in the statement or take it out of the path"},
		{"-- GET /x\n-- ttl: soon\n-- result: some\n-- volatile: yes\nSELECT 1", `dir/orders.sql:2: "soon" is not a time to live; write a duration such as 30s, 12h, 7d or 2w` + "\n" +
			`dir/orders.sql:3: "some" is not a result; write one or many` + "\n" +
			`dir/orders.sql:4: "yes" is not an answer to volatile; write volatile: ok, or take the line out`},
		{"-- GET /x\n-- tll: 1h\n-- reslut: one\n-- volatil: ok\n-- max-age: 1h\n-- author: me\nSELECT 1", `dir/orders.sql:2: unknown key "tll"; did you mean ttl?` + "\n" +
			`dir/orders.sql:3: unknown key "reslut"; did you mean result?` + "\n" + `dir/orders.sql:4: unknown key "volatil"; did you mean volatile?` + "\n" +
			`dir/orders.sql:5: unknown key "max-age"; did you mean ttl?`},
		{"-- GET /x\n-- ttl: 1h\n-- ttl: 2h\nSELECT 1", "dir/orders.sql:3: ttl is given twice; keep one of them"},
		{"-- GET /x\n-- volatile: ok\nSELECT now()", "dir/orders.sql:1: volatile: ok needs a ttl in the file, because nothing else ends such an answer; add a line such as -- ttl: 30s"},
		{"-- GET /x\nSELECT 1\n-- ttl: 1h\n", "dir/orders.sql:3: ttl is set below the beginning of the statement; move the line above the statement"},
		{"-- GET /x\nSELECT $1", "dir/orders.sql:2: $1 is a numbered parameter; write :name, and the parameter comes from the path or the query string"},
		{"-- GET /x\nSELECT 1;\n\nSELECT 2", "dir/orders.sql:4: an endpoint is one statement, and another begins here; keep one SELECT per file"},
		{"-- GET /x\nSELECT 'a", "dir/orders.sql:2: this string has no end"},
		{"-- GET /x\nSELECT \"a", "dir/orders.sql:2: this quoted name has no end"},
		{"-- GET /x\nSELECT 1\n/* /* */", "dir/orders.sql:3: this comment has no end"},
		{"-- GET /x\nSELECT $a$ $b$", "dir/orders.sql:2: this dollar-quoted string has no end"},
		{"-- GET /x\nSELECT '\xff'", "dir/orders.sql:2: the file is not UTF-8 text; save the file as UTF-8"},
		{"-- GET /x\n;;\n", "dir/orders.sql:1: the file has no statement; write a SELECT below the header"},
	} {
		f, problems := ParseFile("dir/orders.sql", []byte(c.in))
		var lines []string
		for _, p := range problems {
			lines = append(lines, p.String())
		}
		if got := strings.Join(lines, "\n"); got != c.want {
			t.Errorf("%q\ngot  %s\nwant %s", c.in, got, c.want)
		}
		if f != nil {
			t.Errorf("%q has problems and a file", c.in)
		}
	}
}

func TestLoadDir(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("b.sql", "-- GET /b/{y}\nSELECT :y::int")
	write("a/a.sql", "-- GET /b/{x}\nSELECT :x::int")
	write("a/lit.sql", "-- GET /b/lit\nSELECT 1")
	write("c/b.sql", "-- GET /c\nSELECT 1")
	write("bad.sql", "SELECT 1")
	write("README.md", "no endpoint")
	write(".git/x.sql", "no endpoint")
	files, problems := LoadDir(dir)
	var names, lines []string
	for _, f := range files {
		names = append(names, f.Name)
	}
	for _, p := range problems {
		lines = append(lines, strings.ReplaceAll(p.String(), dir, "."))
	}
	if d := cmp.Diff([]string{"a", "lit", "b", "b"}, names); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{
		"./b.sql:1: GET /b/{y} matches the same paths as GET /b/{x} in ./a/a.sql; change one of the two paths",
		"./bad.sql:1: the file has no route; begin the file with a line such as -- GET /v1/users/{id}",
		"./c/b.sql: the endpoint has the same name as ./b.sql; rename one of the two files: the name of a file is the name of its endpoint",
	}, lines); d != "" {
		t.Error(d)
	}
	if _, problems := LoadDir(filepath.Join(dir, "none")); len(problems) != 1 {
		t.Errorf("a missing folder yields %v", problems)
	}
}

// Whatever a file holds, text outside parameters stays as it is, and every
// position is inside the file.
func FuzzParseFile(f *testing.F) {
	for _, s := range []string{
		"-- GET /x/{a}\n-- ttl: 1h\nSELECT :a, ':b', \"c:d\", $$:e$$, x::int, a[1:b] /* :f */ -- :g\n;",
		"-- GET /x\nSELECT E'\\':a', U&'\\0061', :a:::b", "-- GET /\nSELECT$1", "--GET /x\r\nSELECT:a\r\n",
		"/*", "'", "$a$", "-- GET /%41/{é}\n:a:a", "-- GET /x\nSELECT '\xc3\xa9' || :a",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		file, problems := ParseFile("x.sql", src)
		for _, p := range problems {
			if p.Line < 0 || p.Line > strings.Count(string(src), "\n")+1 || p.Message == "" {
				t.Fatalf("problem %+v", p)
			}
		}
		if file == nil {
			if len(problems) == 0 {
				t.Fatal("neither a file nor a problem")
			}
			return
		}
		// Put the names back: what results is part of the file.
		var b strings.Builder
		last := 0
		for _, s := range file.segments {
			if s.n > 0 {
				if file.SQL[s.pos:s.pos+s.n] != string(src[s.src:s.src+s.n]) {
					t.Fatalf("%q was changed into %q", src[s.src:s.src+s.n], file.SQL[s.pos:s.pos+s.n])
				}
				b.WriteString(file.SQL[s.pos : s.pos+s.n])
				last = s.pos + s.n
				continue
			}
			n := 0
			rest := file.SQL[s.pos+1:]
			for i := 0; i < len(rest) && rest[i] >= '0' && rest[i] <= '9'; i++ {
				n = n*10 + int(rest[i]-'0')
			}
			if file.SQL[s.pos] != '$' || n < 1 || n > len(file.Params) {
				t.Fatalf("no parameter at %d of %q", s.pos, file.SQL)
			}
			if gap := file.SQL[last:s.pos]; gap != "" && gap != " " {
				t.Fatalf("%q appeared", gap)
			}
			b.WriteString(":" + file.Params[n-1])
			last = s.pos + len("$"+strconv.Itoa(n))
		}
		if got := b.String(); !strings.Contains(string(src), got) {
			t.Fatalf("%q is not part of %q", got, src)
		}
		for i := range len(file.SQL) + 1 {
			file.Position(i)
		}
		again, problems := ParseFile("x.sql", []byte("-- GET /again\n"+b.String()))
		if again == nil || again.SQL != file.SQL {
			t.Fatalf("read again, %q becomes %v %v", b.String(), again, problems)
		}
	})
}
