package patch

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// session opens a connection whose text forms are those of the log.
func session(t testing.TB, db *pgtest.Database) *pgconn.PgConn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgconn.Connect(ctx, db.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	query(t, conn, `SET TimeZone = 'UTC'; SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres'; SET bytea_output = 'hex';
		SET extra_float_digits = 3`)
	return conn
}

// query runs statements by the simple protocol, which gives text, and returns
// the rows of the last.
func query(t testing.TB, conn *pgconn.PgConn, sql string) [][][]byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		t.Fatalf("%v\nin: %s", err, sql)
	}
	return results[len(results)-1].Rows
}

// samples are values of every type of which the JSON is known.
var samples = map[string][]string{
	"bool":        {"t", "f"},
	"int2":        {"0", "-32768", "32767"},
	"int4":        {"0", "-2147483648"},
	"int8":        {"9223372036854775807", "-9223372036854775808"},
	"oid":         {"0", "4294967295"},
	"xid":         {"7"},
	"cid":         {"7"},
	"tid":         {"(1,2)"},
	"xid8":        {"18446744073709551615"},
	"pg_lsn":      {"16/B374D848"},
	"float4":      {"0", "-0", "1.5", "1e30", "-1e-30", "3.4028235e38", "0.1", "NaN", "Infinity", "-Infinity", "16777217", "1e15"},
	"float8":      {"0", "-0", "1.5", "1e300", "0.1", "123456789012345678", "NaN", "Infinity", "-Infinity", "1e15", "5e-324"},
	"numeric":     {"0", "0.00", "-1.50", "1e40", "1e-20", "NaN", "Infinity", "-Infinity", "12345678901234567890.123456789"},
	"text":        {"", "a", "NULL", `"\/`, "\b\f\n\r\t\v\x01\x1f\x7f", "äöü€😀\u2028", "{}", "a,b", " ", "</script>", "'"},
	"varchar":     {"", "x\ny"},
	"bpchar":      {"", "x  ", "\t"},
	"name":        {"", "x\"y"},
	"bytea":       {`\x`, `\x00ff5c22`},
	"uuid":        {"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"},
	"bit":         {"1"},
	"varbit":      {"", "10110"},
	"json":        {"null", "1", ` { "a" : [ 1 , "x\"}" ] } `, "{\"b\":1,\n\"b\":2}", `"\u0000"`},
	"jsonb":       {"null", "1.50", `{"b":1,"a":[null,true,{"x":"y\n\"{"}]}`, `"ä"`},
	"date":        {"2000-02-29", "0001-01-01", "0044-03-15 BC", "5874897-12-31", "infinity", "-infinity"},
	"time":        {"00:00", "24:00", "12:34:56.000001"},
	"timetz":      {"12:34:56.7+05:30", "00:00Z"},
	"timestamp":   {"2000-01-01", "2000-01-01 12:34:56.789", "0001-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999", "infinity", "-infinity"},
	"timestamptz": {"2000-01-01 00:00+05:30", "2000-01-01 12:34:56.000001Z", "4713-01-01 00:00 BC", "infinity", "-infinity"},
	"interval":    {"0", "1 year -2 mons 3 days -04:05:06.7", "-1 day"},
	"inet":        {"10.0.0.1", "10.0.0.1/8", "::1"},
	"cidr":        {"10.0.0.0/8", "::/0"},
	"macaddr":     {"08:00:2b:01:02:03"},
	"macaddr8":    {"08:00:2b:01:02:03:04:05"},
	"point":       {"(1.5,-2e300)"},
	"lseg":        {"[(0,0),(1,1)]"},
	"path":        {"((0,0),(1,1))", "[(0,0),(1,1)]"},
	"box":         {"(1,1),(0,0)"},
	"polygon":     {"((0,0),(1,1),(0,1))"},
	"line":        {"{1,2,3}"},
	"circle":      {"<(0,0),1>"},
	"tsvector":    {`a:1 'b"c\\d':2`},
	"tsquery":     {"a & !b"},
	"jsonpath":    {`$."a"[*] ? (@ > 1)`},
	"int4range":   {"[1,5)", "empty", "(,)"},
	"int8range":   {"[1,5)"},
	"numrange":    {"[1.0,5.00)"},
	"daterange":   {"[2000-01-01,2001-01-01)"},
	"tsrange":     {"[2000-01-01,2001-01-01)"},
	"tstzrange":   {"[2000-01-01 00:00+02,)"},

	"int4multirange": {"{[1,2),[5,6)}"},
	"int8multirange": {"{}"},
	"nummultirange":  {"{[1.0,5.00)}"},
	"datemultirange": {"{[2000-01-01,2001-01-01)}"},
	"tsmultirange":   {"{[2000-01-01,2001-01-01)}"},
	"tstzmultirange": {"{[2000-01-01 00:00+02,)}"},
}

func literal(v string) string { return pgQuote(v) }

// TestValues writes every sample, alone and in arrays, and compares with
// row_to_json. Every type that Renders admits must have been there.
func TestValues(t *testing.T) {
	db := pgtest.DB(t)
	conn := session(t, db)
	seen := map[catalog.OID]bool{}
	check := func(oid catalog.OID, expr string) {
		t.Helper()
		seen[oid] = true
		row := query(t, conn, fmt.Sprintf(`SELECT v, row_to_json(r)::text FROM (SELECT %s AS v) r`, expr))[0]
		want := row[1][len(`{"v":`) : len(row[1])-1]
		if got, ok := appendValue(nil, formOf(oid, false), row[0]); !ok || string(got) != string(want) {
			t.Errorf("%s, in the log %s: %s, %v; want %s", expr, row[0], got, ok, want)
		}
	}
	for name, values := range samples {
		if db.Server.Version() < 14 && len(name) > 10 && name[len(name)-10:] == "multirange" {
			continue
		}
		r := query(t, conn, fmt.Sprintf(`SELECT oid::int8, typarray::int8 FROM pg_type WHERE oid = '%s'::regtype`, name))[0]
		oid, array := parseOID(t, r[0]), parseOID(t, r[1])
		if !Renders(oid, false) {
			t.Errorf("%s is not rendered", name)
			continue
		}
		list := "NULL"
		for _, v := range values {
			expr := literal(v) + "::" + name
			if name == "json" || name == "jsonb" {
				expr = literal(v) + "::text::" + name
			}
			check(oid, expr)
			list += ", " + expr
		}
		if !Renders(array, false) {
			continue
		}
		check(array, fmt.Sprintf("'{}'::%s[]", name))
		check(array, fmt.Sprintf("'{NULL}'::%s[]", name))
		check(array, fmt.Sprintf("ARRAY[%s]", list))
		check(array, fmt.Sprintf("ARRAY[[%s], [%s]]", list, list))
		check(array, fmt.Sprintf("array_fill((ARRAY[%s])[2], '{1,2,1}', '{0,-3,5}')", list))
	}
	for _, r := range query(t, conn, `SELECT oid::int8, typname FROM pg_type WHERE oid < 20000`) {
		if oid := parseOID(t, r[0]); Renders(oid, false) && !seen[oid] {
			t.Errorf("%s is rendered and has no sample", r[1])
		}
	}
	for oid := range catalog.OID(20000) {
		if Renders(oid, false) && !seen[oid] {
			t.Errorf("%d is rendered and has no sample", oid)
		}
	}
}

func TestUnknownText(t *testing.T) {
	for _, c := range []struct {
		f    form
		text string
	}{
		{formBool, "yes"},
		{formNumber, ""},
		{formNumber, "-"},
		{formNumber, "inf"},
		{formRaw, ""},
		{formTimestamp, "2000-01-01"},
		{formTimestamp, "01/02/2000 10:00"},
		{formTimestamp, "2000-01-01 10:00:00+00"},
		{formZoned, "2000-01-01 10:00:00"},
		{formZoned, "2000-01-01 10:00:00+02"},
		{formArray | formNumber, ""},
		{formArray | formNumber, "{1"},
		{formArray | formNumber, "{1,"},
		{formArray | formNumber, "{1,}"},
		{formArray | formNumber, "{1}x"},
		{formArray | formNumber, "{{1}"},
		{formArray | formNumber, "[1:2]"},
		{formArray | formNumber, "{{{{{{{1}}}}}}}"},
		{formArray | formText, `{"a}`},
		{formArray | formText, `{"a\`},
		{formArray | formBool, "{x}"},
		{formNone, "x"},
	} {
		if got, ok := appendValue(nil, c.f, []byte(c.text)); ok {
			t.Errorf("form %d of %q: %s", c.f, c.text, got)
		}
	}
}

func FuzzArray(f *testing.F) {
	f.Add([]byte(`[0:1]={{"a\"b",NULL},{c,""}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, elem := range []form{formText, formNumber, formBool, formRaw, formZoned} {
			appendArray(nil, elem, text)
		}
	})
}
