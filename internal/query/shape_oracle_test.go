package query

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

var (
	shapeSeed  = flag.Uint64("shape-seed", 0, "run the condition of this seed only")
	shapeCount = flag.Int("shape-conditions", 600, "how many random conditions of shapes to try")
)

const shapeSchema = `
	CREATE SCHEMA "Odd ""one.";
	SET search_path = "Odd ""one.", public;
	CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy', 'a,"b');
	CREATE TYPE pair AS (x int, "Y z" text);
	CREATE DOMAIN small AS int CHECK (VALUE < 1000);
	CREATE DOMAIN word AS varchar(5) CHECK (VALUE <> 'no');
	CREATE DOMAIN ints AS int[] CHECK (array_length(VALUE, 1) < 9);
	CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
	CREATE TABLE "T ""able" (
		k int, gone text, s text, "Q ""x" text, v varchar(9), c char(3), i2 int2, i4 int, i8 int8, n numeric, n2 numeric(6,2), f4 float4, f8 float8,
		b bool, d date, ts timestamp, tz timestamptz, u uuid, m mood, sm small, w word, j jsonb, js json, raw bytea, iv interval,
		ip inet, bits varbit, a int[], ta text[], ad ints, p pair, ps pair[], o oid, tm time, r int4range, ch "char", nm name, pt point,
		tsv tsvector, x xml, mo money, nd text COLLATE nocase, cl text COLLATE "C", g int GENERATED ALWAYS AS (i4 % 7) STORED) PARTITION BY RANGE (k);
	ALTER TABLE "T ""able" DROP COLUMN gone;
	CREATE TABLE t1 PARTITION OF "T ""able" FOR VALUES FROM (MINVALUE) TO (30);
	CREATE TABLE t2 (LIKE "T ""able" INCLUDING ALL);`

// shapeValues are texts that the input functions of columns read. Those behind
// rowsOnly are not for conditions.
var shapeValues = map[string][]string{
	"s":    {"a", "b", "ab", "a b", "", "x'y", `"`, `\`, "ä", "NULL", "%", "a_b", "(", "$1", "{a}", "a\nb"},
	`Q "x`: {"a", "b", `"q"`, `\"`, "(,)"},
	"v":    {"a", "a ", "abc", `"`},
	"c":    {"a", "abc", "ab", ""},
	"i2":   {"0", "-1", "7", "2"},
	"i4":   {"0", "1", "2", "2147483647", "-5"},
	"i8":   {"0", "2", "9223372036854775807", "-9223372036854775808"},
	"n":    {"0", "1.50", "1.5", "-0.0", "1e20", "12345678901234567890.123", "NaN", "Infinity"},
	"n2":   {"0", "1.5", "-1", "1234.56"},
	"f4":   {"0", "1.1", "1e20", "-0", "NaN"},
	"f8":   {"0", "1.1", "0.30000000000000004", "1e20", "1e-7", "-0", "NaN", "-Infinity"},
	"b":    {"t", "f", "true", "no"},
	"d":    {"2020-01-01", "1970-01-01", "infinity", "-infinity", "9999-12-31", "0001-01-01", rowsOnly, "0044-03-15 BC", "12345-06-07", "10000-01-01"},
	"ts":   {"2020-01-01", "1970-01-01 00:00:00", "2020-01-01 10:11:12.123456", "infinity", "2020-01-01T10:11:12.123456Z", rowsOnly, "0044-03-15 BC", "12345-06-07 01:02:03.4"},
	"tz":   {"2020-01-01T00:00:00Z", "1969-12-31 23:59:59.999999+00", "2020-01-01 10:11:12.5+02", "infinity", "-infinity", rowsOnly, "0044-03-15 BC", "10000-01-01+00"},
	"u":    {"11111111-2222-3333-4444-555555555555", "aaaaaaaa-2222-3333-4444-555555555555", "AAAAAAAA-2222-3333-4444-555555555555"},
	"m":    {"sad", "ok", "happy", `a,"b`},
	"sm":   {"3", "4"},
	"w":    {"a", "abc", ""},
	"j":    {`{"b":[1,2.50,{"x":null}],"a":"ä<&"}`, `{"a": 1}`, `{"a": "x"}`, `{"a": null}`, `null`, `"t"`, `17`, `[]`, `{"a": {"b": "x"}}`, `{"a": "\"\\\n"}`},
	"js":   {`{"a": "x"}`, ` {"a":"x" , "a":"y"}`, `null`, `"t"`, `[1 ,2]`, `{"a": "\u00e4"}`, `"\ud83d"`},
	"raw":  {`\xdeadbeef`, ``, `\x5c22`},
	"iv":   {"1 day 02:03:04", "0", "-1 mons +3 days -04:05:06.789", "1 year"},
	"ip":   {"10.0.0.1", "10.0.0.0/8", "::1"},
	"bits": {"101", ""},
	"a":    {"{1,2}", "{}", "{NULL}", "{2,NULL,7}", rowsOnly, "{{1,2},{3,4}}", "[2:3]={1,7}"},
	"ta":   {"{a,b}", "{}", `{"a b",NULL,"NULL"}`, `{"\"","\\"}`, `{ab}`},
	"ad":   {"{1}", "{2,3}"},
	"p":    {`(1,a)`, `(,)`, `(2,"x ""y"", \\")`, `(,"")`},
	"ps":   {`{"(1,a)"}`, `{}`, `{"(2,\"x y\")",NULL}`},
	"o":    {"5", "4294967295"},
	"tm":   {"10:11:12", rowsOnly, "24:00:00"},
	"r":    {"[1,5)", "empty", "[3,]"},
	"ch":   {"a", "", `"`},
	"nm":   {"a", "b c"},
	"pt":   {"(1,2)"},
	"tsv":  {"'a' 'b'", ""},
	"x":    {"<a>x</a>", "y<b/>"},
	"mo":   {"1.50", "-3"},
	"nd":   {"a", "A", "b"},
	"cl":   {"a", "A", "b", "ab", "ä"},
	"k":    {"1", "2", "29", "30", "31", "55"},
}

const rowsOnly = "\x00"

// literals are the values that conditions use.
func literals(column string) []string {
	v := shapeValues[column]
	if i := slices.Index(v, rowsOnly); i >= 0 {
		return v[:i]
	}
	return v
}

// shapeTest makes a random condition, in two forms: with parameters, and with
// constants in their places.
type shapeTest struct {
	rnd    *rand.Rand
	fixed  bool // no parameters
	params []string
}

func (g *shapeTest) pick(from ...string) string { return from[g.rnd.IntN(len(from))] }

func name(column string) string {
	if column == `Q "x` {
		return `"Q ""x"`
	}
	return column
}

// value is one of a column, as a constant or a parameter.
func (g *shapeTest) value(column string) string {
	return g.constant(g.pick(literals(column)...))
}

func (g *shapeTest) constant(text string) string {
	if g.fixed || g.rnd.IntN(2) == 0 {
		return quoteText(text)
	}
	g.params = append(g.params, text)
	return "$" + strconv.Itoa(len(g.params)) + " "
}

var equalColumns = []string{
	"k", "s", `Q "x`, "v", "c", "i2", "i4", "i8", "n", "n2", "f4", "f8", "b", "d", "ts", "tz", "u", "m", "sm", "w", "j", "raw", "iv",
	"ip", "bits", "a", "ta", "ad", "p", "o", "tm", "r", "nm", "tsv", "mo", "nd", "cl",
}

var commonColumns = []string{"k", "s", `Q "x`, "v", "c", "i2", "i4", "i8", "n", "n2", "f8", "b", "d", "ts", "tz", "u", "m", "sm", "w", "o", "cl"}

func (g *shapeTest) leaf() string {
	c := g.pick(commonColumns...)
	if g.rnd.IntN(3) == 0 {
		c = g.pick(equalColumns...)
	}
	x := name(c)
	op := g.pick("=", "=", "=", "<>", "<", "<=", ">", ">=")
	switch g.rnd.IntN(24) {
	case 0, 1, 2, 3, 4:
		return fmt.Sprintf("%s %s %s", x, op, g.value(c))
	case 5:
		return fmt.Sprintf("%s %s %s", g.value(c), op, x)
	case 6, 7:
		return fmt.Sprintf("%s %s (%s, %s)", x, g.pick("IN", "NOT IN"), g.value(c), g.value(c))
	case 8:
		return fmt.Sprintf("%s %sBETWEEN %s AND %s", x, g.pick("", "NOT "), g.value(c), g.value(c))
	case 9, 10:
		return g.pick(x, x, name(g.pick("j", "js", "p", "ps", "a", "x", "pt", "iv"))) + g.pick(" IS NULL", " IS NOT NULL")
	case 11:
		return fmt.Sprintf("%s IS %sDISTINCT FROM %s", x, g.pick("", "NOT "), g.value(c))
	case 12:
		return g.pick("b", "NOT b", "b IS TRUE", "b IS NOT TRUE", "b IS UNKNOWN", "b = true", "true", "NULL", "false")
	case 13:
		return fmt.Sprintf("%s %sLIKE %s", g.pick("s", "v", `"Q ""x"`, "cl", "w"), g.pick("", "NOT "), g.constant(g.pick("a%", "%b", "ab", "a_", `a\_%`, "%", "", "ä%")))
	case 14:
		return fmt.Sprintf("%s %s %s", g.pick("i4", "i8", "i2", "k"), g.pick("= ANY (", "<> ALL (", "<> ANY ("), g.constant(g.pick("{1,2}", "{}", "{NULL,0}", "{7}"))+")")
	case 15:
		return fmt.Sprintf("%s %s %s", g.pick("s", "v", "m"), g.pick("= ANY (", "<> ALL ("), g.constant(g.pick("{sad,ok}", "{}", `{happy,"a,\"b"}`))+")")
	case 16:
		return fmt.Sprintf("%s = ANY (%s)", g.constant(g.pick("1", "2", "7")), g.pick("a", "ad"))
	case 17:
		return fmt.Sprintf("a %s %s", g.pick("@>", "&&", "<@"), g.constant(g.pick("{1}", "{2,7}", "{}")))
	case 18:
		return fmt.Sprintf("j %s %s %s", g.pick("->> 'a'", "->> 'b'", "#>> '{a,b}'"), g.pick("=", "<>"), g.constant(g.pick("x", "1", `"\`)))
	case 19, 20:
		return g.other()
	case 21:
		return fmt.Sprintf("(%s, k) %s (%s, %s)", x, op, g.value(c), g.value("k"))
	case 22:
		return fmt.Sprintf("%s %s %s", g.pick("i4", "i2", "k", "n"), op, g.pick("i8", "i4", "o::int8", "n2"))
	}
	return fmt.Sprintf("CASE WHEN %s IS NULL THEN %s ELSE %s %s %s END", x, g.pick("true", "false", "NULL"), x, op, g.value(c))
}

// other is of what only Postgres can tell. Constants are between two ¤.
func (g *shapeTest) other() string {
	template := g.pick(
		"lower(s) = ¤ab¤", "length(s) > 1", "i4::int8 + i2 > 3", "i4 / nullif(i2, 0) = 1", "s || v = ¤aa¤", "coalesce(s, v) = 'a'",
		"(p).x = 1", `(p)."Y z" = ¤a¤`, "ps[1].x IS NOT NULL", "a[1] = 1", "iv > '1 hour'", "iv::text = '1 year'", "js::text = ¤ {\"a\":\"x\" , \"a\":\"y\"}¤",
		"js::text LIKE '%x%'", "raw > ¤\\x00¤", "ip << '10.0.0.0/8'", "r @> 3", "ch = 'a'", "x::text LIKE '%x%'", "mo > '0'", "tsv @@ 'a'",
		"tz > ts", "tz::date = ¤2020-01-01¤", "to_char(ts, 'YYYY') = '2020'", "nd = 'a'", "s ~ ¤^a¤", "s ILIKE ¤A%¤",
		"j @> ¤{\"a\": 1}¤", "j ? 'a'", "j::text LIKE '%a%'", "upper(m::text) = 'OK'", "m > 'sad'", "greatest(i4, i2) = 2", "pt[0] = 1",
		`"T ""able".i4 = 2`, "s COLLATE \"C\" < 'b'", "array_length(ta, 1) = 2", "'a b' = ANY (ta)", "octet_length(c) = 3", "ch::text = ''",
		"n::text = ¤1.50¤", "f8::text = '1e+20'", "b::text = 'true'", "row(i4, i2) IS NULL", "exp(n2) > 2", "NULLIF(i4, 2) = 1", "d + 0 = '2020-01-01'",
		"starts_with(s, ¤a¤)", "s ^@ 'a'", "w::text = 'a'", "p = ROW(1, 'a')::pair", "ps @> ARRAY[ROW(1, 'a')::pair]", "tm > '10:00'",
	)
	before, rest, found := strings.Cut(template, "¤")
	if !found {
		return template
	}
	text, after, _ := strings.Cut(rest, "¤")
	return before + g.constant(text) + after
}

func (g *shapeTest) condition(depth int) string {
	if depth == 0 || g.rnd.IntN(3) == 0 {
		return g.leaf()
	}
	switch g.rnd.IntN(6) {
	case 0:
		return "NOT (" + g.condition(depth-1) + ")"
	case 1:
		return "((" + g.condition(depth-1) + ") IS " + g.pick("TRUE", "NOT TRUE", "FALSE", "UNKNOWN") + ")"
	case 2, 3:
		return "(" + g.condition(depth-1) + " OR " + g.condition(depth-1) + ")"
	}
	return g.condition(depth-1) + " AND (" + g.condition(depth-1) + ")"
}

// naive puts constants into the places of parameters.
func naive(where string, params []string) string {
	for i, p := range params {
		where = strings.Replace(where, "$"+strconv.Itoa(i+1)+" ", quoteText(p), 1)
	}
	return where
}

// shapeWorld is the table with rows, as the log describes them.
type shapeWorld struct {
	conn *pgx.Conn
	rows map[string]ShapeRow // by what tells rows apart: their place
}

func newShapeWorld(t *testing.T, rnd *rand.Rand) *shapeWorld {
	t.Helper()
	db := pgtest.DB(t)
	w := &shapeWorld{conn: db.Conn(t), rows: map[string]ShapeRow{}}
	w.exec(t, shapeSchema)
	w.exec(t, `ALTER TABLE t2 DROP COLUMN cl`)
	w.exec(t, `ALTER TABLE t2 ADD COLUMN cl text COLLATE "C"`)
	w.exec(t, `ALTER TABLE "T ""able" ATTACH PARTITION t2 FOR VALUES FROM (30) TO (MAXVALUE)`)
	for _, s := range ShapeSettings() {
		w.exec(t, "SET "+s.Name+" = '"+s.Value+"'")
	}
	for i := range 80 {
		var names, values []string
		for _, c := range slices.Sorted(func(yield func(string) bool) {
			for c := range shapeValues {
				if !yield(c) {
					return
				}
			}
		}) {
			all := slices.DeleteFunc(slices.Clone(shapeValues[c]), func(v string) bool { return v == rowsOnly })
			switch {
			case len(all) == 0:
				continue
			case c == "k":
				values = append(values, strconv.Itoa(i%60))
			case rnd.IntN(6) == 0:
				values = append(values, "NULL")
			default:
				values = append(values, quoteText(all[rnd.IntN(len(all))]))
			}
			names = append(names, name(c))
		}
		w.exec(t, fmt.Sprintf(`INSERT INTO "T ""able" (%s) VALUES (%s)`, strings.Join(names, ", "), strings.Join(values, ", ")))
	}
	// The log is written by a session with the settings of fills.
	w.exec(t, "SET IntervalStyle = postgres")
	for _, table := range []string{"t1", "t2"} {
		w.load(t, table)
	}
	w.exec(t, "SET IntervalStyle = iso_8601")
	return w
}

func (w *shapeWorld) exec(t *testing.T, sql string) {
	t.Helper()
	if _, err := w.conn.Exec(context.Background(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// load reads the rows of a table as the log has them: without what is generated.
func (w *shapeWorld) load(t *testing.T, table string) {
	t.Helper()
	rel := &catalog.Relation{Name: table, Identity: catalog.IdentityFull}
	rows, err := w.conn.Query(context.Background(), `SELECT attname, atttypid FROM pg_attribute
		WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum`, table)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var c catalog.Column
		var oid uint32
		if err := rows.Scan(&c.Name, &oid); err != nil {
			t.Fatal(err)
		}
		c.Type, c.Key = catalog.OID(oid), true
		rel.Columns = append(rel.Columns, c)
	}
	columns := []string{"tableoid::regclass::text || ctid::text"}
	for _, c := range rel.Columns {
		columns = append(columns, quoteName(c.Name))
	}
	result := w.conn.PgConn().ExecParams(context.Background(), "SELECT "+strings.Join(columns, ", ")+" FROM "+table, nil, nil, nil, nil).Read()
	if result.Err != nil {
		t.Fatal(result.Err)
	}
	for _, r := range result.Rows {
		row := ShapeRow{Relation: rel}
		for _, v := range r[1:] {
			value := change.Value{Kind: change.Null}
			if v != nil {
				value = change.Value{Kind: change.Text, Text: v}
			}
			row.Row = append(row.Row, value)
		}
		w.rows[string(r[0])] = row
	}
}

// selected returns which rows a condition selects.
func (w *shapeWorld) selected(where string, args [][]byte, types []uint32) (map[string]bool, error) {
	result := w.conn.PgConn().ExecParams(context.Background(),
		`SELECT tableoid::regclass::text || ctid::text FROM "Odd ""one."."T ""able" WHERE `+where, args, types, nil, nil).Read()
	out := map[string]bool{}
	for _, r := range result.Rows {
		out[string(r[0])] = true
	}
	return out, result.Err
}

// TestShapeOracle holds what is said of a shape's rows to Postgres, which is asked
// the condition with constants in place of the parameters.
func TestShapeOracle(t *testing.T) {
	seeds := []uint64{*shapeSeed}
	if *shapeSeed == 0 {
		seeds = nil
		first := rand.Uint64()
		t.Logf("first seed %d", first)
		for i := range *shapeCount {
			seeds = append(seeds, first+uint64(i))
		}
	}
	w := newShapeWorld(t, rand.New(rand.NewPCG(1, 2)))
	n := map[string]int{}
	for _, seed := range seeds {
		w.try(t, rand.New(rand.NewPCG(seed, 3)), n)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Log(n)
	if *shapeSeed == 0 && (n["refused"] > n["served"]/8 || n["decided"] < n["served"]/4 || n["undecided"] < n["served"]/8 ||
		n["narrowed"] < n["served"]/8 || n["rows in"] == 0 || n["told without being decided"] == 0) {
		t.Error("the random conditions test too little")
	}
}

func (w *shapeWorld) try(t *testing.T, rnd *rand.Rand, n map[string]int) {
	t.Helper()
	ctx := context.Background()
	g := &shapeTest{rnd: rnd}
	text := ShapeText{Table: `"Odd ""one."."T ""able"`, Where: g.condition(rnd.IntN(4))}
	text.Params = len(g.params)
	want := "(" + naive(text.Where, g.params) + ")"
	if rnd.IntN(3) == 0 {
		text.Fixed = (&shapeTest{rnd: rnd, fixed: true}).condition(1)
		want += " AND (" + text.Fixed + ")"
	}
	account := ""
	if rnd.IntN(4) == 0 {
		text.Account = g.pick("i4", "s", `Q "x`, "u")
		account = g.pick(literals(text.Account)...)
		want += " AND " + name(text.Account) + " = " + quoteText(account)
	}
	inside, wrong := w.selected(want, nil, nil)
	c, problems, err := AnalyzeShape(ctx, w.conn, text, Options{SkipPublication: true})
	if err != nil {
		t.Fatalf("%+v: %v", text, err)
	}
	if c == nil {
		n["refused"]++
		if wrong == nil {
			n["refused alone"]++
			t.Logf("%s: %v", text.Where, problems)
		}
		return
	}
	bind := func() (*ShapeRows, error) {
		if text.Account != "" {
			return c.BindAccount(account, g.params)
		}
		return c.Bind(g.params)
	}
	r, err := bind()
	if err != nil {
		n["not bound"]++
		if wrong == nil {
			t.Errorf("%+v %q: %v", text, g.params, err)
		}
		return
	}
	n["served"]++
	if r.Decided() {
		n["decided"]++
	} else {
		n["undecided"]++
	}
	if wrong != nil {
		// A guard keeps some errors away.
		n["failed"]++
		return
	}
	where, args, types := r.SQL()
	got, err := w.selected(where, args, types)
	if err != nil || len(got) != len(inside) {
		t.Errorf("%+v %q: %s selects %d rows and not %d (%v)", text, g.params, where, len(got), len(inside), err)
		return
	}
	w.judge(t, fmt.Sprintf("%+v %q", text, g.params), r, inside, rnd, n)
}

// judge compares what is said of every row.
func (w *shapeWorld) judge(t *testing.T, what string, r *ShapeRows, inside map[string]bool, rnd *rand.Rand, n map[string]int) {
	t.Helper()
	deps := r.Deps()
	for _, d := range deps {
		if len(d.Tests) > 0 {
			n["narrowed"]++
			break
		}
	}
	var rows []ShapeRow
	var places []string
	for place, row := range w.rows {
		rows, places = append(rows, row), append(places, place)
		v := r.Pass(row.Relation, row.Row)
		switch {
		case v == match.Unknown && r.Decided():
			t.Errorf("%s: it is decided, but not for %s", what, place)
		case v != match.Unknown && (v == match.Yes) != inside[place]:
			t.Errorf("%s: %s is %v, and Postgres says %v", what, place, v, inside[place])
		case v != match.Unknown && !r.Decided():
			n["told without being decided"]++
		}
		// Less known, the same or unknown.
		less := slices.Clone(row.Row)
		for range 1 + rnd.IntN(5) {
			less[rnd.IntN(len(less))] = change.Value{}
		}
		if v := r.Pass(row.Relation, less); v != match.Unknown && (v == match.Yes) != inside[place] {
			t.Errorf("%s: %s with less known is %v, and Postgres says %v", what, place, v, inside[place])
		}
		admitted := slices.ContainsFunc(deps, func(d match.Dependency) bool { return match.Eval(d.Tests, row.Relation, row.Row) != match.No })
		switch {
		case inside[place] && !admitted:
			t.Errorf("%s: no dependency admits %s", what, place)
		case inside[place]:
			n["rows in"]++
		case !admitted:
			n["rows passed over"]++
		}
	}
	told, err := r.Evaluate(context.Background(), w.conn.PgConn(), rows)
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	for i, place := range places {
		if told[i] != inside[place] {
			t.Errorf("%s: %s is evaluated to %v, and Postgres says %v", what, place, told[i], inside[place])
		}
	}
}
