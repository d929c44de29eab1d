package query

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// A constant in a condition becomes the datum that the log's text for the same
// value has.
func TestConstants(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE PUBLICATION tidemark FOR ALL TABLES; CREATE TYPE mood AS ENUM ('sad', 'so so');
		CREATE TABLE t (b bool, i2 int2, i4 int4, i8 int8, o oid, f8 float8, n numeric, s text, v varchar(9), c char(4), nm name, u uuid, d date,
			ts timestamp, tz timestamptz, m mood)`)
	conn := settled(t, db)
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	digits := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteByte(byte('0' + rnd.IntN(10)))
		}
		return b.String()
	}
	values := map[string][]string{
		"b": {"t", "f"}, "i2": {"0", "-32768", "32767"}, "i4": {"-1", "2147483647", "-2147483648"},
		"i8": {"-1", "9223372036854775807", "-9223372036854775808", "4294967296"}, "o": {"0", "4294967295"},
		"f8": {"0", "-0", "0.1", "-1e-300", "1.7976931348623157e308", "5e-324", "NaN", "Infinity", "-Infinity"},
		"n":  {"0", "-0.00", "NaN", "Infinity", "-Infinity", "1", "-1", "0.0001", "10000", "99999999", "0.00000001", "1e100", "1e-100", "123456789.987654321", "1.10"},
		"s":  {"", "x", "it''s", "é", strings.Repeat("long ", 60)}, "v": {"abc", ""}, "c": {"ab", "abcd", ""}, "nm": {"me", ""},
		"u": {"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}, "d": {"2026-01-31", "0001-01-01", "9999-12-31", "1999-12-31", "infinity", "-infinity"},
		"ts": {"2026-01-31 01:02:03.000004", "0001-01-01", "1999-12-31 23:59:59.999999", "infinity"},
		"tz": {"2026-01-31 01:02:03+05", "9999-12-31 23:59:59.999999+00", "-infinity"}, "m": {"sad", "so so"},
	}
	for range 60 {
		sign := []string{"", "-"}[rnd.IntN(2)]
		values["n"] = append(values["n"], sign+digits(1+rnd.IntN(30))+"."+digits(rnd.IntN(30)), fmt.Sprintf("%s%se%d", sign, digits(1+rnd.IntN(9)), rnd.IntN(120)-60))
		values["f8"] = append(values["f8"], fmt.Sprint(rnd.NormFloat64()*1e9), fmt.Sprint(rnd.Float64()))
		values["i8"] = append(values["i8"], fmt.Sprint(int64(rnd.Uint64())))
	}
	check := func(col, condition string, literals []string) {
		t.Helper()
		e, problems := endpointOf(t, conn, "SELECT 1 FROM t WHERE "+condition)
		if e == nil {
			t.Fatalf("seed %d: %s: %v", seed, condition, problems)
		}
		b, err := e.Bind(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		deps := b.Deps()
		if len(deps) != 1 || len(deps[0].Tests) != 1 {
			t.Fatalf("seed %d: %s has the dependencies %v", seed, condition, deps)
		}
		test := deps[0].Tests[0]
		var want []match.Datum
		for _, l := range literals {
			var text string
			if err := conn.QueryRow(context.Background(), fmt.Sprintf("SELECT (row_to_json(x)->'%[1]s')#>>'{}' FROM (SELECT (jsonb_populate_record(NULL::t, jsonb_build_object('%[1]s', '%[2]s'))).%[1]s) x", col, l)).Scan(&text); err != nil {
				t.Fatal(err)
			}
			d, ok := match.ParseDatum(test.Class, []byte(strings.Replace(strings.Replace(text, "T", " ", 1), "+00:00", "+00", 1)))
			if !ok {
				t.Fatalf("no datum for %q", text)
			}
			want = append(want, d)
		}
		want = uniqueData(want)
		if len(want) != len(test.Values) {
			t.Fatalf("seed %d: %s: %v, want %v", seed, condition, test.Values, want)
		}
		for i := range want {
			if want[i] != test.Values[i] {
				t.Errorf("seed %d: %s: %v, want %v", seed, condition, test.Values[i], want[i])
			}
		}
	}
	for col, list := range values {
		for i, v := range list {
			check(col, fmt.Sprintf("%s = '%s'", col, v), []string{v})
			if i%3 == 0 && col != "o" && col != "nm" {
				var elems []string
				for _, v := range list {
					elems = append(elems, `"`+strings.ReplaceAll(v, `\`, `\\`)+`"`)
				}
				check(col, fmt.Sprintf("%s = ANY ('{%s,NULL}')", col, strings.Join(elems, ",")), list)
			}
		}
	}
}
