package query

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// settled makes a connection with the settings of one that fills answers.
func settled(t testing.TB, db *pgtest.Database) *pgx.Conn {
	t.Helper()
	conn := db.Conn(t)
	for _, s := range Settings() {
		if _, err := conn.Exec(context.Background(), "SELECT set_config($1, $2, false)", s.Name, s.Value); err != nil {
			t.Fatal(err)
		}
	}
	return conn
}

// good values with their canonical form, and bad ones with the reason.
var paramCases = []struct {
	typ       string
	good, bad []string // value, result
}{
	{
		"smallint",
		[]string{"1", "1", "+007", "7", "-0", "0", "32767", "32767", "-32768", "-32768"},
		[]string{"32768", "is 32768, which is out of the range of a 16-bit integer", "", `is "", not an integer`},
	},
	{
		"integer",
		[]string{"42", "42", "-2147483648", "-2147483648"},
		[]string{
			"1.0", `is "1.0", not an integer`, " 1", `is " 1", not an integer`, "0x10", `is "0x10", not an integer`, "1_000", `is "1_000", not an integer`,
			"++1", `is "++1", not an integer`, "+-1", `is "+-1", not an integer`, "2147483648", "is 2147483648, which is out of the range of a 32-bit integer",
		},
	},
	{"bigint", []string{"9223372036854775807", "9223372036854775807"}, []string{"9223372036854775808", "is 9223372036854775808, which is out of the range of a 64-bit integer"}},
	{"oid", []string{"4294967295", "4294967295", "007", "7"}, []string{"-1", `is "-1", not an object id`}},
	{
		"boolean",
		[]string{"true", "t", "T", "t", "tru", "t", "yes", "t", "y", "t", "on", "t", "1", "t", " FALSE ", "f", "n", "f", "of", "f", "off", "f", "0", "f"},
		[]string{"", `is "", not a boolean; write true or false`, "o", `is "o", not a boolean; write true or false`, "2", `is "2", not a boolean; write true or false`},
	},
	{
		"numeric",
		[]string{
			"1", "1", "+01.50", "1.50", ".5", "0.5", "5.", "5", "-0.00", "0.00", "1e3", "1000", "1.5e-3", "0.0015", "12.345e1", "123.45", "1.2e5", "120000",
			"nan", "NaN", "inf", "Infinity", "-Infinity", "-Infinity", "-12e-1", "-1.2", "0e5", "0",
		},
		[]string{".", `is ".", not a number`, "1e", `is "1e", not a number`, "1e9999", "has too many digits", "0x1", `is "0x1", not a number`, " 1", `is " 1", not a number`},
	},
	{"real", []string{"0.1", "0.1", "1e10", "1e+10", "16777217", "1.6777216e+07"}, []string{"1e39", "is 1e39, which is out of the range of a 32-bit float"}},
	{
		"double precision",
		[]string{"0.1", "0.1", "1e300", "1e+300", "-Inf", "-Infinity", "NaN", "NaN", "0.10000000000000000001", "0.1"},
		[]string{"1e309", "is 1e309, which is out of the range of a 64-bit float", "1e-400", "is 1e-400, which is out of the range of a 64-bit float", "0x1p-2", `is "0x1p-2", not a number`},
	},
	{
		"uuid",
		[]string{"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "{a0eebc999c0b4ef8bb6d6bb9bd380a11}", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
		[]string{"a0eebc99", `is "a0eebc99", not a uuid`, "g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", `is "g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", not a uuid`},
	},
	{
		"date",
		[]string{"2026-02-28", "2026-02-28", "0001-01-01", "0001-01-01", "9999-12-31", "9999-12-31", "Infinity", "infinity", "-infinity", "-infinity"},
		[]string{
			"2026-02-29", `is "2026-02-29", not a date such as 2026-01-31`, "today", `is "today", not a date such as 2026-01-31`, "now", `is "now", not a date such as 2026-01-31`,
			"20260131", `is "20260131", not a date such as 2026-01-31`, "0000-01-01", `is "0000-01-01", not a date such as 2026-01-31`, "10000-01-01", `is "10000-01-01", not a date such as 2026-01-31`,
		},
	},
	{
		"timestamp without time zone",
		[]string{
			"2026-01-31T12:00:00", "2026-01-31T12:00:00", "2026-01-31 12:00", "2026-01-31T12:00:00", "2026-01-31", "2026-01-31T00:00:00",
			"2026-01-31t12:00:00.120000", "2026-01-31T12:00:00.12", "infinity", "infinity",
		},
		[]string{
			"2026-01-31T12:00:00Z", `is "2026-01-31T12:00:00Z", and a timestamp without time zone takes no zone`, "2026-01-31T24:00:00", `has the time of day "24:00:00", which is not between 00:00:00 and 23:59:59.999999`,
			"tomorrow", `is "tomorrow", not a timestamp such as 2026-01-31T12:00:00Z`, "2026-01-31T12:00:00.1234567", "has more than microseconds",
		},
	},
	{
		"timestamp with time zone",
		[]string{
			"2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00Z", "2026-01-31T12:00:00-0530", "2026-01-31T17:30:00Z",
			"2026-01-31T12:00:00+02", "2026-01-31T10:00:00Z", "2026-01-31 00:30:00.000001+01", "2026-01-30T23:30:00.000001Z", "2026-01-31T12:00", "2026-01-31T12:00:00Z", "2026-01-31", "2026-01-31T00:00:00Z",
		},
		[]string{
			"2026-01-31T12:00:00 02:00", `has the zone " 02:00", which is not Z or an offset such as +02:00; in a query string a + is written %2B`,
			"2026-01-31T12:00:00 Europe/Berlin", `has the zone " Europe/Berlin", which is not Z or an offset such as +02:00; in a query string a + is written %2B`,
			"2026-01-31T12:00:00+16:00", `has the zone "+16:00", which is out of range`, "now", `is "now", not a timestamp such as 2026-01-31T12:00:00Z`,
			"9999-12-31T23:59:59-01:00", `is "9999-12-31T23:59:59-01:00", not a timestamp such as 2026-01-31T12:00:00Z`,
		},
	},
	{"time without time zone", []string{"12:00", "12:00:00", "23:59:59.5", "23:59:59.5"}, []string{"now", `is "now", not a time such as 12:00:00`, "12:00Z", `is "12:00Z", and a time without time zone takes no zone`}},
	{"time with time zone", []string{"12:00Z", "12:00:00+00:00", "12:00:00-0530", "12:00:00-05:30", "12:00", "12:00:00+00:00"}, []string{"allballs", `is "allballs", not a time such as 12:00:00`}},
	{"text", []string{"", "", "a b", "a b", "now", "now", "é", "é"}, []string{"a\x00", "holds a zero byte, which text cannot", "\xff", "is not UTF-8"}},
	{"character varying", []string{" x ", " x "}, nil},
	{"mood", []string{"sad", "sad", "so so", "so so"}, []string{"Sad", `is "Sad", and mood has no such label`, "", `is "", and mood has no such label`}},
	{"positive", []string{"05", "5"}, []string{"x", `is "x", not an integer`}},
	{"jsonb", []string{`{"b":1, "a":[null]}`, `{"b":1, "a":[null]}`}, []string{"{", "is not valid JSON", "", "is not valid JSON"}},
	{"inet", []string{"10.0.0.1", "10.0.0.1"}, nil},
	{
		"integer[]",
		[]string{"{}", "{}", "{1,02, +3}", "{1,2,3}", " { NULL , null,-0 } ", "{NULL,NULL,0}"},
		[]string{
			"1,2", "is not an array such as {a,b}", "{a}", `has an element that is "a", not an integer`, "{1,}", `has an empty element; write "" for an empty text`,
			"{{1}}", "is an array of arrays, or has a brace that is not in quotes", "{1", "is not an array such as {a,b}", "", "is not an array such as {a,b}",
		},
	},
	{
		"text[]",
		[]string{`{a,"b c","","NULL",null,"q\"\\"}`, `{a,"b c","","NULL",NULL,"q\"\\"}`, `{\a, b c ,d\ }`, `{a,"b c","d "}`, `{n\ull}`, `{"null"}`, `{"a,b","{}"}`, `{"a,b","{}"}`},
		[]string{`{"a}`, "has a quoted element without an end", `{a"b}`, "has a quote inside an element", `{"a"b}`, "has text after a quoted element", `{a\}`, "ends in a backslash", "{a,,b}", `has an empty element; write "" for an empty text`},
	},
	{"mood[]", []string{`{sad,"so so"}`, `{sad,"so so"}`}, []string{"{x}", `has an element that is "x", and mood[] has no such label`}},
	{"timestamp with time zone[]", []string{"{2026-01-31T12:00:00+02:00,infinity}", "{2026-01-31T10:00:00Z,infinity}"}, []string{"{now}", `has an element that is "now", not a timestamp such as 2026-01-31T12:00:00Z`}},
}

// A canonical value is the value that Postgres would have read, and a datum of
// a parameter is that of the log's text.
func TestParamTypes(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, "CREATE PUBLICATION tidemark FOR ALL TABLES; CREATE TYPE mood AS ENUM ('sad', 'so so'); CREATE DOMAIN positive AS int CHECK (value > 0)")
	conn := settled(t, db)
	ctx := context.Background()
	for _, c := range paramCases {
		e, problems := endpointOf(t, conn, "SELECT :x::"+c.typ)
		if e == nil {
			t.Errorf("%s: %v", c.typ, problems)
			continue
		}
		p := &e.Params[0]
		if p.TypeName != c.typ {
			t.Errorf("%s is called %s", c.typ, p.TypeName)
		}
		for i := 0; i+1 < len(c.good); i += 2 {
			b, err := e.Bind(nil, url.Values{"x": {c.good[i]}})
			if err != nil {
				t.Errorf("%s %q: %v", c.typ, c.good[i], err)
				continue
			}
			if want := "/test?x=" + escape(c.good[i+1]); b.Key != want {
				t.Errorf("%s %q has the key %s, want %s", c.typ, c.good[i], b.Key, want)
			}
			var same bool
			var text string
			if err := conn.QueryRow(ctx, fmt.Sprintf("SELECT ($1::text)::%[1]s::text = ($2::text)::%[1]s::text, ($2::text)::%[1]s::text", c.typ),
				c.good[i], string(b.Args[0])).Scan(&same, &text); err != nil {
				t.Errorf("%s %q: %v", c.typ, c.good[i], err)
			} else if !same {
				t.Errorf("%s: Postgres reads %q and %q as different values", c.typ, c.good[i], b.Args[0])
			}
			if p.Class != match.ClassNone && !p.Array && p.base != oidFloat4 {
				ours, ok1 := match.ParseDatum(p.Class, b.Args[0])
				logged, ok2 := match.ParseDatum(p.Class, []byte(text))
				if !ok1 || !ok2 || ours != logged {
					t.Errorf("%s: %q is not the datum of %q", c.typ, b.Args[0], text)
				}
			}
			again, err := e.Bind(nil, url.Values{"x": {b.args[0].text}})
			if err != nil || again.Key != b.Key {
				t.Errorf("%s: what is sent, %q, is not canonical: %v", c.typ, b.args[0].text, err)
			}
		}
		for i := 0; i+1 < len(c.bad); i += 2 {
			_, err := e.Bind(nil, url.Values{"x": {c.bad[i]}})
			var pe *ParamError
			if !errors.As(err, &pe) || pe.Name != "x" || pe.Reason != c.bad[i+1] {
				t.Errorf("%s %q: got %v, want %s", c.typ, c.bad[i], err, c.bad[i+1])
			}
		}
	}
}

func TestBind(t *testing.T) {
	e := &Endpoint{
		Params: []Param{{Name: "z", base: oidInt4, Class: match.ClassInt}, {Name: "id", InPath: true, base: oidText}, {Name: "a", base: oidText}},
		byName: map[string]int{"z": 0, "id": 1, "a": 2},
	}
	e.Route, _ = parseRoute("/v1/a%20b/{id}")
	e.order = queryOrder(e.Params)
	path := map[string]string{"id": "x/y é"}
	b, err := e.Bind(path, url.Values{"z": {"+5"}, "a": {""}})
	if err != nil {
		t.Fatal(err)
	}
	if want := "/v1/a%20b/x%2Fy%20%C3%A9?a=&z=5"; b.Key != want {
		t.Errorf("key %s, want %s", b.Key, want)
	}
	if string(b.Args[0]) != "5" || string(b.Args[1]) != "x/y é" || b.Args[2] == nil || len(b.Args[2]) != 0 {
		t.Errorf("arguments %q", b.Args)
	}
	b, err = e.Bind(path, nil)
	if err != nil || b.Key != "/v1/a%20b/x%2Fy%20%C3%A9" || b.Args[0] != nil || b.Args[2] != nil {
		t.Errorf("without a query string: %v %v", b, err)
	}
	for _, c := range []struct {
		path  map[string]string
		query url.Values
		want  string
	}{
		{path, url.Values{"y": {"1"}}, "parameter y is not a parameter of this endpoint"},
		{path, url.Values{"a": {"1", "1"}}, "parameter a is given more than once"},
		{path, url.Values{"id": {"1"}}, "parameter id belongs to the path, not to the query string"},
		{path, url.Values{"z": {"x"}}, `parameter z is "x", not an integer`},
		{nil, nil, "parameter id is missing from the path"},
	} {
		if _, err := e.Bind(c.path, c.query); err == nil || err.Error() != c.want {
			t.Errorf("%v %v: got %v, want %s", c.path, c.query, err, c.want)
		}
	}
}

// Binding what a Key says yields the Key.
func TestKeyIsCanonical(t *testing.T) {
	types := []Param{
		{base: oidText},
		{base: oidInt8},
		{base: oidNumeric},
		{base: oidTimestamptz, Class: match.ClassTime},
		{base: oidBool},
		{base: oidText, Array: true},
		{base: oidFloat8},
		{base: oidUUID},
		{base: oidTimestamp, Class: match.ClassTime, Array: true},
		{base: oidTimetz},
	}
	samples := []string{
		"", "a b+c&d=e", "é/?#%", "+12", "-0", "1.50", "1e5", "nan", "2026-01-31T12:00:00.5+02:00", "2026-01-31", "t", "OFF",
		`{a,"b c",NULL}`, "{2026-01-31 12:00}", "{}", "infinity", "A0EEBC999C0B4EF8BB6D6BB9BD380A11", "12:00-03:30",
	}
	e := &Endpoint{byName: map[string]int{}}
	e.Route, _ = parseRoute("/x/{p0}")
	for i, p := range types {
		p.Name, p.InPath = "p"+strconv.Itoa(i), i == 0
		e.byName[p.Name] = i
		e.Params = append(e.Params, p)
	}
	e.order = queryOrder(e.Params)
	router := NewRouter([]*Endpoint{e})
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	bound := 0
	for range 5000 {
		path, query := map[string]string{"p0": samples[1+rnd.IntN(len(samples)-1)]}, url.Values{}
		for _, p := range e.Params[1:] {
			if v := samples[rnd.IntN(len(samples))]; rnd.IntN(3) == 0 {
				if _, _, err := p.parse(v); err == nil {
					query.Set(p.Name, v)
				}
			}
		}
		b, err := e.Bind(path, query)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		raw, rawQuery, _ := strings.Cut(b.Key, "?")
		got, args, ok := router.Match(raw)
		values, err := url.ParseQuery(rawQuery)
		if !ok || got != e || err != nil {
			t.Fatalf("seed %d: the key %s is no address: %v", seed, b.Key, err)
		}
		again, err := e.Bind(args, values)
		if err != nil || again.Key != b.Key {
			t.Fatalf("seed %d: %s becomes %v %v", seed, b.Key, again, err)
		}
		bound += len(values)
	}
	if bound < 1000 {
		t.Errorf("only %d values were bound", bound)
	}
}

func TestRouter(t *testing.T) {
	var endpoints []*Endpoint
	for _, path := range []string{"/", "/a", "/a/{x}", "/a/b", "/{x}/b/c", "/a/{x}/d", "/a%2Fb/c", "/v1/{x}/{y}"} {
		r, err := parseRoute(path)
		if err != nil {
			t.Fatal(err)
		}
		endpoints = append(endpoints, &Endpoint{Name: path, Route: r})
	}
	r := NewRouter(endpoints)
	for _, c := range []struct{ path, want string }{
		{"/", "/ map[]"},
		{"/a", "/a map[]"},
		{"/a/b", "/a/b map[]"},
		{"/a/c", "/a/{x} map[x:c]"},
		{"/a/b/c", "/{x}/b/c map[x:a]"},
		{"/a/b/d", "/a/{x}/d map[x:b]"},
		{"/z/b/c", "/{x}/b/c map[x:z]"},
		{"/%61/%62", "/a/b map[]"},
		{"/a/x%2Fy", "/a/{x} map[x:x/y]"},
		{"/a%2Fb/c", "/a%2Fb/c map[]"},
		{"/v1/1/%C3%A9", "/v1/{x}/{y} map[x:1 y:é]"},
		{"/a/%2e", "/a/{x} map[x:.]"},
		{"", ""},
		{"a", ""},
		{"/a/", ""},
		{"//", ""},
		{"/a//d", ""},
		{"/b", ""},
		{"/a/%zz", ""},
		{"/A", ""},
		{"/a/b/e", ""},
	} {
		got := ""
		if e, args, ok := r.Match(c.path); ok {
			got = fmt.Sprint(e.Name, " ", args)
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.path, got, c.want)
		}
		if r.Exists(c.path) != (c.want != "") {
			t.Errorf("%s: Exists says otherwise", c.path)
		}
	}
}
