package livetest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// values are some of each built-in type, as literals.
var values = map[string][]string{
	"bool": {"t", "f"}, "bytea": {`\x00ff10`, `\x`}, `"char"`: {"x", ""}, "name": {"a name", "ü"},
	"int8": {"-9223372036854775808", "9007199254740993"}, "int2": {"-32768", "7"}, "int4": {"2147483647", "0"},
	"text":  {`quote " back \ slash , { } NULL`, "", "line\nfeed\ttab \x01 ü 🌊", "null"},
	"oid":   {"4294967295"},
	"json":  {`{"b": 1,  "a": [1.50, null, "\u00e9\n"]}`, "1.0e2", `"x"`, "null"},
	"jsonb": {`{"b": 1,  "a": [1.50, null, "é\n"]}`, "1e2", "12345678901234567890.10"},
	"xml":   {"<a b=\"c\">d</a>"},
	"point": {"(1.5,-2)"}, "lseg": {"[(0,0),(1,1)]"}, "path": {"((0,0),(1,1))", "[(0,0),(1,2)]"}, "box": {"(1,1),(0,0)"}, "polygon": {"((0,0),(1,1),(1,0))"}, "line": {"{1,2,3}"}, "circle": {"<(1,2),3.25>"},
	"float4":  {"0.1", "1e-30", "NaN", "-Infinity", "16777216", "1.1754944e-38"},
	"float8":  {"0.1", "1e300", "NaN", "Infinity", "-0", "123456789.12345678", "5e-324"},
	"money":   {"12.34", "-1234567.89"},
	"macaddr": {"08:00:2b:01:02:03"}, "macaddr8": {"08:00:2b:01:02:03:04:05"},
	"inet": {"192.168.0.1/24", "::1", "10.0.0.1"}, "cidr": {"10.1.0.0/16", "2001:db8::/32"},
	"bpchar": {"ab  ", "x"}, "char(5)": {"ab"}, "varchar": {"v", ""}, "varchar(7)": {"1234567"},
	"date": {"2026-02-01", "infinity", "-infinity", "0044-03-15 BC", "9999-12-31"},
	"time": {"12:34:56.789", "24:00:00", "00:00"}, "time(2)": {"12:34:56.789"}, "timetz": {"12:34:56.7+02", "00:00-11:30"},
	"timestamp":                 {"2026-02-01 12:34:56.123456", "infinity", "0044-03-15 12:00 BC", "99999-01-01"},
	"timestamptz":               {"2026-07-01 12:34:56.5+02", "-infinity", "1066-10-14 09:00:00 BC", "2026-01-01 00:00:00+00"},
	"interval":                  {"1 year 2 mons 3 days 04:05:06.789", "-1 day", "0", "-1 year -2 mons +3 days -04:05:06", "00:00:00.000001", "1000000:00:00", "1 mon -1 day"},
	"interval day to second(3)": {"3 days 04:05:06.7891"},
	"bit(5)":                    {"10101"}, "bit": {"1"}, "varbit": {"101", ""},
	"numeric": {"1.50", "-0.000000000000000000001", "NaN", "123456789012345678901234567890.12", "0", "1e10"}, "numeric(10,3)": {"1.5"},
	"uuid":     {"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"},
	"tsvector": {"'a':1 'fat':2B,4C 'cat''s'"}, "tsquery": {"'fat' & ( 'rat' | !'cat' )"},
	"jsonpath":  {`$."a"[*]?(@ > 1)`},
	"int4range": {"[1,5]", "empty", "(,3)"}, "int8range": {"[1,5)"}, "numrange": {"(1.5,2.50]"}, "daterange": {"[2026-01-01,2026-02-01]"},
	"tsrange": {"[2026-01-01 00:00,2026-02-01 12:00)"}, "tstzrange": {"[2026-01-01 00:00+02,)"},
	"int4multirange": {"{[1,3),[5,9)}"}, "int8multirange": {"{}"}, "nummultirange": {"{[1.0,2.5]}"}, "datemultirange": {"{[2026-01-01,2026-02-01)}"},
	"tsmultirange": {"{[2026-01-01 00:00,2026-02-01 12:00)}"}, "tstzmultirange": {"{[2026-01-01 00:00+02,)}"},
	"regclass": {"pg_class"}, "regtype": {"integer", "pg_catalog.\"char\""}, "regproc": {"pg_catalog.now"}, "regprocedure": {"abs(integer)"}, "regoper": {"||/"}, "regoperator": {"+(integer,integer)"},
	"regrole": {"pg_monitor"}, "regnamespace": {"pg_catalog"}, "regconfig": {"english"}, "regdictionary": {"simple"}, "regcollation": {`"C"`},
	"pg_lsn": {"16/B374D848"}, "tid": {"(1,2)"}, "xid": {"4294967295"}, "xid8": {"18446744073709551615"}, "cid": {"7"},
	"pg_snapshot": {"10:20:10,14,15"}, "txid_snapshot": {"10:20:10,14,15"},
	"int2vector": {"1 2 3"}, "oidvector": {"1 2"}, "refcursor": {"c"}, "aclitem": {"postgres=r/postgres"}, "gtsvector": nil,
	"mood": {"it's", "so so", "a,b"}, "posint": {"5"}, "texts": {"{a,NULL,\"b c\"}"}, "span": {"01:02:03"}, "spans": {"{01:02:03,\"1 mon\"}"},
	"pair": {`(1,"x, ""y""")`, "(,)"}, "trip": {`("(1,a)",02:00:00,"{1,2}")`}, "posintrange": {"[1,5)"},
}

const ownTypes = `
	CREATE TYPE mood AS ENUM ('it''s', 'so so', 'a,b');
	CREATE DOMAIN posint AS int CHECK (VALUE > 0);
	CREATE DOMAIN texts AS text[];
	CREATE DOMAIN span AS interval;
	CREATE DOMAIN spans AS interval[];
	CREATE TYPE pair AS (a int, b text);
	CREATE TYPE trip AS (p pair, i interval, l int[]);
	CREATE TYPE posintrange AS RANGE (subtype = int8);`

// typeTable is a table with a column of each type and of its arrays.
type typeTable struct {
	columns []string // as in its definition, by their number
	rows    int
}

// make makes it in a database, of the types that the server has.
func (tt *typeTable) make(t testing.TB, db *pgtest.Database, rng *rand.Rand) {
	t.Helper()
	db.Exec(t, ownTypes)
	b := newBook(t, db)
	has := map[string]bool{}
	for _, r := range b.read("SELECT typname FROM pg_type WHERE typtype <> 'p' AND typcategory <> 'A'") {
		has[r["typname"].(string)] = true
	}
	// Values of the other ones cannot be made: they are the system's own.
	for _, r := range b.read(`SELECT format_type(oid, NULL) AS name, typname FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace
		AND typtype IN ('b', 'd', 'e', 'm', 'r') AND typcategory <> 'A' AND typname !~ '^pg_(node_tree|ndistinct|dependencies|mcv_list|brin|ddl_command)'`) {
		_, ok := values[r["typname"].(string)]
		if _, quoted := values[r["name"].(string)]; !ok && !quoted {
			t.Errorf("type %s is not tried", r["typname"])
		}
	}
	// A server may be built without it.
	_, err := b.reader.PgConn().Exec(context.Background(), "SELECT '<a/>'::xml").ReadAll()
	has["xml"] = err == nil
	literals := [][]string{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		base, _, _ := strings.Cut(strings.Trim(name, `"`), "(")
		base, _, _ = strings.Cut(base, " ")
		if base == "char" && name != `"char"` {
			base = "bpchar"
		}
		if values[name] == nil || !has[base] {
			continue
		}
		lists := []string{name}
		if base != "int2vector" && base != "oidvector" && name != "texts" && name != "spans" {
			lists = append(lists, name+"[]")
		}
		for _, typ := range lists {
			tt.columns = append(tt.columns, fmt.Sprintf("c%d %s", len(tt.columns), typ))
			these := []string{}
			for _, v := range values[name] {
				literal := "'" + strings.ReplaceAll(v, "'", "''") + "'"
				if typ != name {
					literal = []string{
						fmt.Sprintf("ARRAY[%s, NULL, %[1]s]::%s", literal, typ), fmt.Sprintf("ARRAY[[%s, %[1]s], [NULL, %[1]s]]::%s", literal, typ),
						"'{}'", fmt.Sprintf("ARRAY[%s]::%s", literal, typ),
					}[rng.IntN(4)]
				}
				these = append(these, literal)
			}
			literals = append(literals, these)
			tt.rows = max(tt.rows, len(these))
		}
	}
	b.do("CREATE TABLE types (id int PRIMARY KEY, %s)", strings.Join(tt.columns, ", "))
	b.do("INSERT INTO types (id) VALUES (0)")
	for row := range tt.rows {
		list := []string{fmt.Sprint(row + 1)}
		for _, l := range literals {
			list = append(list, l[row%len(l)])
		}
		b.do("INSERT INTO types VALUES (%s)", strings.Join(list, ", "))
	}
}

// types compares the text of every type with what Postgres prints, from the
// snapshot and from the log.
func types() scenario {
	tt := &typeTable{}
	return scenario{name: "types", prepare: tt.make, run: func(t *testing.T, w *world) {
		b := newBook(t, w.db)
		r := w.reader(map[string]string{"table": "types", "replica": "full"}, "Tidemark-Consistency", "fully_consistent")
		compare := func(from string, messages []message) {
			t.Helper()
			want, n := map[any]map[string]any{}, 0
			for _, r := range b.read("SELECT * FROM types") {
				want[r["id"]] = r
			}
			for _, m := range messages {
				if m.Value == nil || m.Headers.Operation == "delete" {
					continue
				}
				n++
				row := want[m.Value["id"]]
				for i, c := range tt.columns {
					name, _, _ := strings.Cut(c, " ")
					if v, ok := m.Value[name]; !ok || v != row[name] {
						t.Errorf("%s: column %s of row %v is %q, Postgres prints %q", from, tt.columns[i], m.Value["id"], v, row[name])
					}
				}
			}
			if n != tt.rows+1 {
				t.Errorf("%s: %d rows of %d", from, n, tt.rows+1)
			}
		}
		compare("the snapshot", r.next())
		b.do("UPDATE types SET id = id + 1000")
		compare("the log", r.next())
	}}
}

// parsed has the client parse values by the schema that it is told.
var parsed = scenario{
	name: "parsed values", schema: `CREATE DOMAIN counted AS int; CREATE TYPE colour AS ENUM ('red', 'dark blue');
	CREATE TABLE parsed (id int PRIMARY KEY, i8 int8, b bool, f float8, j jsonb, a int[], aa text[], ab bool[], d counted, e colour, ea colour[], v varchar(9) NOT NULL, n numeric(6,2), da timestamptz[]);
	INSERT INTO parsed VALUES (1, 9007199254740993, true, 1.5, '{"a": [1, null]}', '{1,NULL,3}', '{{"a b",c},{NULL,"\""}}', '{t,f,NULL}', 7, 'dark blue', '{red,"dark blue"}', 'v', 1.5, '{2026-01-01 00:00+02}');
	INSERT INTO parsed (id, v) VALUES (2, '')`,
	run: func(t *testing.T, w *world) {
		f := w.follow(t, nil, following{params: map[string]any{"table": "parsed", "replica": "full"}, typed: true})
		f.until("the rows", func() bool { return len(f.rows) == 2 })
		want := `{"a":[1,null,3],"aa":[["a b","c"],[null,"\""]],"ab":[true,false,null],"b":true,"d":7,"da":["2025-12-31 22:00:00+00"],"e":"dark blue","ea":["red","dark blue"],"f":1.5,"i8":{"bigint":"9007199254740993"},"id":%s,"j":{"a":[1,null]},"n":"1.50","v":"v"}`
		look := func(id string) {
			t.Helper()
			f.mu.Lock()
			defer f.mu.Unlock()
			if s := f.state(); !strings.Contains(s, fmt.Sprintf(want, id)) {
				t.Errorf("the client makes of it\n%s\nwant\n"+want, s, id)
			}
		}
		look("1")
		w.db.Exec(t, "UPDATE parsed SET id = 3 WHERE id = 1")
		f.until("the change", func() bool { return strings.Contains(f.state(), `"id":3`) })
		look("3")
	},
}
