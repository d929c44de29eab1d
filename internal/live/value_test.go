package live

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// sample is a type with an SQL expression for a random value of it.
type sample struct {
	ddl   string
	value func(rnd *rand.Rand) string
}

func literal1(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func oneOf(values ...string) func(*rand.Rand) string {
	return func(rnd *rand.Rand) string { return literal1(values[rnd.IntN(len(values))]) }
}

// between draws numbers of all sizes.
func between(bits int) func(*rand.Rand) string {
	return func(rnd *rand.Rand) string {
		n := int64(rnd.Uint64()) >> (64 - bits + rnd.IntN(bits))
		return fmt.Sprintf("'%d'", n)
	}
}

var alphabet = []rune("abAB01  \t\n\r\v\f\"\\{}()[],;:.'/%$éß漢😀\u2028\u00a0\x01\x7f<>&_-+")

func randomText(rnd *rand.Rand) string {
	if n := rnd.IntN(8); n < 4 {
		return []string{"", "null", "NULL", "NuLl"}[n]
	}
	var b strings.Builder
	for range rnd.IntN(12) {
		b.WriteRune(alphabet[rnd.IntN(len(alphabet))])
	}
	return b.String()
}

func textValue(rnd *rand.Rand) string { return literal1(randomText(rnd)) }

func timeValue(zone bool) func(*rand.Rand) string {
	return func(rnd *rand.Rand) string {
		switch rnd.IntN(8) {
		case 0:
			return "'infinity'"
		case 1:
			return "'-infinity'"
		}
		t := time.Date(rnd.IntN(12000)+1, time.Month(rnd.IntN(12)+1), rnd.IntN(28)+1, rnd.IntN(24), rnd.IntN(60), rnd.IntN(60), rnd.IntN(3)*rnd.IntN(1e9), time.UTC)
		s := t.Format("06-01-02 15:04:05.999999")[2:]
		s = fmt.Sprintf("%04d%s", t.Year(), s)
		if zone {
			s += fmt.Sprintf("%+03d:%02d", rnd.IntN(27)-12, rnd.IntN(2)*30)
		}
		if rnd.IntN(4) == 0 {
			s = fmt.Sprintf("%04d%s BC", rnd.IntN(4000)+1, s[strings.IndexByte(s, '-'):])
		}
		return literal1(s)
	}
}

func intervalValue(rnd *rand.Rand) string {
	if rnd.IntN(6) == 0 {
		return fmt.Sprintf("(%d * interval '1 microsecond')", int64(rnd.Uint64())>>(1+rnd.IntN(63)))
	}
	var parts []string
	for _, unit := range []string{"years", "months", "days", "hours", "mins", "secs"} {
		if rnd.IntN(2) == 0 {
			parts = append(parts, fmt.Sprintf("%s => %d", unit, (rnd.IntN(2001)-1000)>>rnd.IntN(11)))
		}
	}
	s := "make_interval(" + strings.Join(parts, ", ") + ")"
	if rnd.IntN(2) == 0 {
		return fmt.Sprintf("(%s + '%d microseconds'::interval)", s, (rnd.IntN(2e9)-1e9)>>rnd.IntN(31))
	}
	return s
}

func rangeOf(typ string, value func(*rand.Rand) string) func(*rand.Rand) string {
	return func(rnd *rand.Rand) string {
		a, b := value(rnd), value(rnd)
		switch rnd.IntN(8) {
		case 0:
			return "'empty'"
		case 1:
			a = "NULL"
		case 2:
			b = "NULL"
		}
		bounds := []string{"[]", "[)", "(]", "()"}[rnd.IntN(4)]
		return fmt.Sprintf("%[1]s(least(%[2]s::%[5]s, %[3]s), greatest(%[2]s::%[5]s, %[3]s), '%[4]s')", typ, a, b, bounds, elementOf[typ])
	}
}

var elementOf = map[string]string{
	"int4range": "int4", "int8range": "int8", "numrange": "numeric", "tsrange": "timestamp", "tstzrange": "timestamptz", "daterange": "date", "spanrange": "interval",
}

func multirangeOf(typ, of string, value func(*rand.Rand) string) func(*rand.Rand) string {
	return func(rnd *rand.Rand) string {
		parts := make([]string, rnd.IntN(4))
		for i := range parts {
			parts[i] = rangeOf(of, value)(rnd)
			if strings.HasPrefix(parts[i], "'") {
				parts[i] += "::" + of
			}
		}
		return typ + "(" + strings.Join(parts, ", ") + ")"
	}
}

// arrayOf draws arrays of one or two dimensions, never of elements that are
// arrays.
func arrayOf(s sample) sample {
	return sample{s.ddl + "[]", func(rnd *rand.Rand) string {
		list := func(n int) string {
			parts := make([]string, n)
			for i := range parts {
				if parts[i] = "NULL"; rnd.IntN(5) > 0 {
					parts[i] = s.value(rnd)
				}
				parts[i] += "::" + s.ddl
			}
			return "ARRAY[" + strings.Join(parts, ", ") + "]"
		}
		if rnd.IntN(5) > 0 || s.ddl == "json" || s.ddl == "jsonb" || strings.HasPrefix(strings.Trim(s.ddl, `"`), "spans") {
			return list(rnd.IntN(4)) + "::" + s.ddl + "[]"
		}
		n := rnd.IntN(2) + 1
		return "ARRAY[" + list(n) + ", " + list(n) + "]"
	}}
}

func composite(typ string, members ...sample) sample {
	return sample{typ, func(rnd *rand.Rand) string {
		parts := make([]string, len(members))
		for i, m := range members {
			if parts[i] = "NULL"; rnd.IntN(5) > 0 {
				parts[i] = m.value(rnd)
			}
			parts[i] += "::" + m.ddl
		}
		return "ROW(" + strings.Join(parts, ", ") + ")"
	}}
}

const sampleTypes = `
CREATE TYPE mood AS ENUM ('sad', 'ok', 'very "happy", {so}');
CREATE TYPE toned AS ENUM ('low', 'high');
CREATE FUNCTION toned_json(toned) RETURNS json IMMUTABLE LANGUAGE sql AS $$ SELECT json_build_object('tone', $1::text) $$;
CREATE CAST (toned AS json) WITH FUNCTION toned_json(toned);
CREATE DOMAIN age AS int4 CHECK (VALUE > -1000000);
CREATE DOMAIN older AS age;
CREATE DOMAIN code AS varchar(40);
CREATE DOMAIN span AS interval;
CREATE DOMAIN spans AS interval[];
CREATE DOMAIN "spans 2" AS spans;
CREATE TYPE spanrange AS RANGE (subtype = interval, multirange_type_name = spanmultirange);
CREATE TYPE pair AS (n int4, "the text" text);
CREATE TYPE lasting AS (n int4, d interval, t text, ds interval[]);
CREATE DOMAIN lasts AS lasting;
CREATE TYPE deep AS (x lasting, xs lasting[], r spanrange, y span, m spanmultirange, l lasts);`

var (
	intSample      = sample{"int4", between(32)}
	textSample     = sample{"text", textValue}
	intervalSample = sample{"interval", intervalValue}
	pairSample     = composite("pair", intSample, textSample)
	lastingSample  = composite("lasting", intSample, intervalSample, textSample, arrayOf(intervalSample))
	rangeSample    = sample{"spanrange", rangeOf("spanrange", intervalValue)}
	spansSample    = sample{"spanmultirange", multirangeOf("spanmultirange", "spanrange", intervalValue)}
)

// samples are types of every kind that there is, each also as an array.
func samples() []sample {
	hex := func(rnd *rand.Rand) string {
		b := make([]byte, rnd.IntN(6))
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return fmt.Sprintf(`'\x%x'`, b)
	}
	uuid := func(rnd *rand.Rand) string {
		return fmt.Sprintf("'%08x-%04x-%04x-%04x-%012x'", rnd.Uint32(), rnd.IntN(1<<16), rnd.IntN(1<<16), rnd.IntN(1<<16), rnd.Uint64()>>16)
	}
	float := func(rnd *rand.Rand) string {
		switch rnd.IntN(6) {
		case 0:
			return []string{"'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "'1e21'", "'1e-7'"}[rnd.IntN(6)]
		case 1:
			return fmt.Sprintf("'%d'", rnd.IntN(2000)-1000)
		}
		return fmt.Sprintf("'%g'", (rnd.Float64()-0.5)*[]float64{1e-30, 1, 1e9, 1e30}[rnd.IntN(4)])
	}
	jsonText := func(rnd *rand.Rand) string {
		word, _ := json.Marshal(randomText(rnd))
		word = []byte(strings.ReplaceAll(string(word), `\u0000`, ""))
		return literal1([]string{
			string(word), " 17 ", "1.50e+3", `{"a" :  [1,{"b":null}], "a":2 }`, "[1,\n\t2 ] ", "true", `[]`, `{}`, `[[1,2],[3]]`, `{"k": ` + string(word) + `}`,
		}[rnd.IntN(10)])
	}
	bits := func(rnd *rand.Rand) string { return fmt.Sprintf("B'%08b'", rnd.IntN(256)) }
	out := []sample{
		{"bool", oneOf("t", "f")},
		{"int2", between(16)},
		intSample,
		{"int8", between(64)},
		{"float4", float},
		{"float8", float},
		{"numeric", oneOf("0", "-0.00", "1.50", "NaN", "Infinity", "-Infinity", "12345678901234567890.123456789", "1e100", "1e-20")},
		{"numeric(9,2)", between(20)},
		{"money", between(30)},
		{"oid", oneOf("0", "4294967295")},
		{"xid8", oneOf("0", "18446744073709551615")},
		textSample,
		{"varchar(20)", textValue},
		{"bpchar(14)", textValue},
		{"name", textValue},
		{`"char"`, oneOf("", "a", `"`, `\`, "{", " ")},
		{"bytea", hex},
		{"uuid", uuid},
		{"json", jsonText},
		{"jsonb", jsonText},
		{"jsonpath", oneOf("$", `$."a b"[*] ? (@ > 1)`)},
		{"date", timeValue(false)},
		{"timestamp", timeValue(false)},
		{"timestamptz", timeValue(true)},
		{"timestamp(3)", timeValue(false)},
		{"timestamptz(0)", timeValue(true)},
		{"time", oneOf("00:00:00", "24:00:00", "10:11:12.5", "23:59:59.999999")},
		{"timetz", oneOf("00:00:00+00", "10:11:12.5-03:30", "24:00:00+15")},
		intervalSample,
		{"interval day to second(3)", intervalValue},
		{"inet", oneOf("10.0.0.1", "10.0.0.0/8", "::1/64")},
		{"cidr", oneOf("10.0.0.0/8", "2001:db8::/32")},
		{"macaddr", oneOf("08:00:2b:01:02:03")},
		{"macaddr8", oneOf("08:00:2b:01:02:03:04:05")},
		{"bit(8)", bits},
		{"varbit", bits},
		{"point", oneOf("(1,2)", "(-1e-9,NaN)")},
		{"line", oneOf("{1,2,3}")},
		{"lseg", oneOf("[(0,0),(1,1)]")},
		{"box", oneOf("(1,1),(0,0)")},
		{"path", oneOf("[(0,0),(1,1)]", "((0,0),(1,1))")},
		{"polygon", oneOf("((0,0),(1,1),(2,0))")},
		{"circle", oneOf("<(1,2),3>")},
		{"tsvector", oneOf("", "'a':1A 'b''c':2", `'x\y' z`)},
		{"tsquery", oneOf("'a' & !'b c'", "")},
		{"pg_lsn", oneOf("0/0", "FF/1A")},
		{"tid", oneOf("(0,1)")},
		{"regtype", oneOf("int4", "text[]")},
		{"int4range", rangeOf("int4range", between(32))},
		{"numrange", rangeOf("numrange", between(20))},
		{"daterange", rangeOf("daterange", timeValue(false))},
		{"tsrange", rangeOf("tsrange", timeValue(false))},
		{"tstzrange", rangeOf("tstzrange", timeValue(true))},
		rangeSample,
		{"tsmultirange", multirangeOf("tsmultirange", "tsrange", timeValue(false))},
		spansSample,
		{"mood", oneOf("sad", "ok", `very "happy", {so}`)},
		{"toned", oneOf("low", "high")},
		{"age", between(16)},
		{"older", between(16)},
		{"code", textValue},
		{"span", intervalValue},
		{"spans", arrayOf(intervalSample).value},
		{`"spans 2"`, arrayOf(intervalSample).value},
		pairSample, lastingSample,
		{"lasts", lastingSample.value},
		composite("deep", lastingSample, arrayOf(lastingSample), rangeSample, sample{"span", intervalValue}, spansSample, sample{"lasts", lastingSample.value}),
	}
	for _, s := range out {
		out = append(out, arrayOf(s))
	}
	return append(out, sample{"int2vector", oneOf("", "1", "1 -2 3")}, sample{"oidvector", oneOf("", "1", "1 2 4294967295")})
}

// texts reads a query's rows in text form; NULL is a nil slice.
func textRows(t testing.TB, conn *pgx.Conn, style, sql string) (out [][][]byte) {
	t.Helper()
	for _, s := range [][2]string{{"TimeZone", "UTC"}, {"DateStyle", "ISO, DMY"}, {"IntervalStyle", style}, {"bytea_output", "hex"}, {"extra_float_digits", "1"}} {
		if _, err := conn.Exec(context.Background(), "SELECT set_config($1, $2, false)", s[0], s[1]); err != nil {
			t.Fatal(err)
		}
	}
	results, err := conn.PgConn().Exec(context.Background(), sql).ReadAll()
	if err != nil {
		t.Fatalf("%v in %.2000s", err, sql)
	}
	return results[len(results)-1].Rows
}

func columnsOf(t testing.TB, conn *pgx.Conn, table string) ([]ColumnRow, []*Type) {
	t.Helper()
	ctx := context.Background()
	var oid uint32
	if err := conn.QueryRow(ctx, "SELECT $1::regclass::oid", table).Scan(&oid); err != nil {
		t.Fatal(err)
	}
	rows, _ := conn.Query(ctx, ColumnsSQL, oid)
	columns, err := pgx.CollectRows(rows, pgx.RowToStructByPos[ColumnRow])
	if err != nil {
		t.Fatal(err)
	}
	var oids []uint32
	for _, c := range columns {
		oids = append(oids, c.Type)
	}
	rows, _ = conn.Query(ctx, TypesSQL, oids)
	described, err := pgx.CollectRows(rows, pgx.RowToStructByPos[TypeRow])
	if err != nil {
		t.Fatal(err)
	}
	all, types := NewTypes(described), make([]*Type, len(columns))
	for i, c := range columns {
		if types[i], err = all.Type(catalog.OID(c.Type), c.Mod, c.Dims); err != nil {
			t.Fatal(err)
		}
	}
	return columns, types
}

// Columns that a primary key's index only carries along are not of the key.
func TestKeyColumns(t *testing.T) {
	conn := pgtest.DB(t).Conn(t)
	if _, err := conn.Exec(context.Background(), `CREATE TABLE k (a int, b int, c int, d int, PRIMARY KEY (c, a) INCLUDE (b))`); err != nil {
		t.Fatal(err)
	}
	columns, _ := columnsOf(t, conn, "k")
	for i, want := range []int32{2, 0, 1, 0} {
		if columns[i].Key != want {
			t.Errorf("column %s: %d, want %d", columns[i].Name, columns[i].Key, want)
		}
	}
}

// Random values of every kind of type: what the log says and what an answer says
// is given the form that Postgres prints with IntervalStyle iso_8601.
func TestValuesAsPostgresPrintsThem(t *testing.T) {
	conn := pgtest.DB(t).Conn(t)
	ctx := context.Background()
	all := samples()
	var ddl []string
	for i, s := range all {
		ddl = append(ddl, fmt.Sprintf("c%d %s", i, s.ddl))
	}
	if _, err := conn.Exec(ctx, sampleTypes+"CREATE TABLE v (id serial PRIMARY KEY, "+strings.Join(ddl, ", ")+")"); err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 150 {
		values := make([]string, len(all))
		for i, s := range all {
			if values[i] = "NULL"; rnd.IntN(12) > 0 {
				values[i] = s.value(rnd)
				if name, _, _ := strings.Cut(s.ddl, "("); !strings.HasSuffix(s.ddl, "]") { // an explicit cast cuts to the length
					values[i] = "(" + values[i] + ")::" + name + s.ddl[len(name):]
				}
			}
		}
		if _, err := conn.Exec(ctx, "INSERT INTO v VALUES (DEFAULT, "+strings.Join(values, ", ")+")"); err != nil {
			t.Fatalf("%v in %s", err, values)
		}
	}
	columns, types := columnsOf(t, conn, "v")
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	want := textRows(t, conn, "iso_8601", "SELECT * FROM v ORDER BY id")
	log := textRows(t, conn, "postgres", "SELECT * FROM v ORDER BY id")
	answer := textRows(t, conn, "postgres", "SELECT '[' || string_agg(row_to_json(v)::text, ',' ORDER BY id) || ']' FROM v")[0][0]

	n, differ, objects := 0, 0, 0
	err := SplitAnswer(answer, names, func(row [][]byte) error {
		for i, raw := range row {
			want, logged, typ := want[n][i], log[n][i], types[i]
			name := columns[i].Name
			if i > 0 {
				name += " " + all[i-1].ddl
			}
			if got := typ.AppendText([]byte("x"), logged); logged != nil && string(got) != "x"+string(want) {
				t.Errorf("%s: %q of the log is %q, not %q", name, logged, got[1:], want)
			}
			if got := typ.AppendText(nil, want); string(got) != string(want) {
				t.Errorf("%s: %q became %q", name, want, got)
			}
			if string(logged) != string(want) {
				differ++
			}
			got, null, err := typ.AppendAnswer([]byte("x"), raw)
			if err != nil || got[0] != 'x' {
				t.Fatalf("%s: %s: %v", name, raw, err)
			}
			got = got[1:]
			switch {
			case typ.InAnswer() != typ:
				objects++
				if string(raw) == "null" {
					raw = nil
				}
				if null != (want == nil) || string(got) != string(raw) || typ.InAnswer().Name != "json" {
					t.Errorf("%s: %s is %s", name, raw, got)
				}
			case null && typ.Name[0] == 'j' && string(want) == "null":
			case null != (want == nil) || string(got) != string(want):
				t.Errorf("%s: %s is %q, not %q (null %v)", name, raw, got, want, null)
			}
		}
		n++
		return nil
	})
	if err != nil || n != len(want) {
		t.Errorf("%d rows: %v", n, err)
	}
	if differ < 1000 || objects < 500 {
		t.Errorf("%d values had to be converted, %d were objects", differ, objects)
	}
	for i, c := range all {
		object := strings.Contains(" pair lasting lasts deep toned ", " "+strings.TrimSuffix(c.ddl, "[]")+" ")
		if got := types[i+1].InAnswer() == jsonType; got != object {
			t.Errorf("%s in answers is json: %v", c.ddl, got)
		}
	}
}

// Arrays that do not begin at 1 have their bounds in front.
func TestArraysWithBounds(t *testing.T) {
	conn := pgtest.DB(t).Conn(t)
	if _, err := conn.Exec(context.Background(), sampleTypes+`CREATE TYPE box_of AS (ds interval[]);
		CREATE TYPE listrange AS RANGE (subtype = _interval);
		CREATE TABLE v (a interval[], b lasting[], c box_of, d "spans 2"[], e listrange);
		INSERT INTO v VALUES ('[2:2][-1:0]={{1 day -1 hour,NULL}}', '[0:0]={"(1,1 day,x,\"{1 year,null}\")"}', ROW('[5:5]={1 hour}'::interval[]),
			ARRAY['[3:3]={1 year 2 hours}'::"spans 2"],
			listrange('[2:2]={1 hour}', '{1 day,-00:00:01.5}')),
			('{}', '{}', ROW('{}'::interval[]), '{}', listrange(NULL, '[2:2]={1 hour}', '()'))`); err != nil {
		t.Fatal(err)
	}
	_, types := columnsOf(t, conn, "v")
	want, log := textRows(t, conn, "iso_8601", "SELECT * FROM v"), textRows(t, conn, "postgres", "SELECT * FROM v")
	for n, row := range log {
		for i, text := range row {
			if got := types[i].AppendText(nil, text); string(got) != string(want[n][i]) {
				t.Errorf("%s is %s, not %s", text, got, want[n][i])
			}
		}
	}
}
