package oracle

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// kind is a type of column with the few values that it takes here. Few, so that
// writers meet each other and readers meet their changes.
type kind struct {
	name   string
	sql    string
	values []string // in the text form of the type
	spelt  []string // further spellings that a client may use
	held   []string // further values that rows may have, and no client asks for
	// alike says that equal values have one text. Of others, DISTINCT, GROUP BY,
	// min and max may show any.
	alike bool
	// ordered says that < makes sense to ask.
	ordered bool
	// summed says that sum() does not depend on the order of rows.
	summed bool
	// folded says that equality is that of a collation, for which there is no LIKE.
	folded bool
	cast   string // another type that values can be compared through, or ""
}

const (
	longA = 2600 // bytes: stored outside the row
	keys  = 12   // ids are 1..keys, and those of an inheriting table 101..
)

func numbers(from, to int) []string {
	var out []string
	for i := from; i <= to; i++ {
		out = append(out, itoa(i))
	}
	return out
}

func uuidOf(n int) string {
	return "0000000" + itoa(n%10) + "-0000-4000-8000-00000000000" + itoa(n/10)
}

func uuids(n int) []string {
	var out []string
	for i := range n {
		out = append(out, uuidOf(i+1))
	}
	return out
}

var (
	kindKey     = &kind{name: "key", sql: "int", values: numbers(1, keys), spelt: []string{"+3", "007", "99"}, alike: true, ordered: true, summed: true, cast: "bigint"}
	kindBigKey  = &kind{name: "bigkey", sql: "bigint", values: numbers(1, keys), spelt: []string{"+3", "9007199254740993"}, alike: true, ordered: true, summed: true, cast: "numeric"}
	kindUUIDKey = &kind{name: "uuidkey", sql: "uuid", values: uuids(keys), spelt: []string{strings.ToUpper(uuidOf(2))}, alike: true, ordered: true}
	kindPart    = &kind{name: "part", sql: "int", values: numbers(0, 3), alike: true, ordered: true, summed: true}
	kindRef     = &kind{name: "ref", sql: "int", values: numbers(1, keys), alike: true, ordered: true, summed: true, cast: "bigint"}
	// kindRank has more values than the others, so that rows change their places
	// around the end of a page.
	kindRank = &kind{name: "order", sql: "int", values: numbers(-3, 20), alike: true, ordered: true, summed: true}
	kindLong = &kind{name: "long", sql: "text", values: []string{"s", strings.Repeat("a", longA), strings.Repeat("b", longA)}, alike: true}
)

// kinds are those that a column picks from.
var kinds = []*kind{
	{name: "int", sql: "int", values: numbers(0, 5), spelt: []string{"-0", "+4", "03"}, alike: true, ordered: true, summed: true, cast: "numeric"},
	{name: "int", sql: "int", values: numbers(0, 5), alike: true, ordered: true, summed: true, cast: "bigint"},
	{name: "bigint", sql: "bigint", values: []string{"-1", "0", "1", "2", "9007199254740993"}, alike: true, ordered: true, summed: true, cast: "int8"},
	{name: "text", sql: "text", values: []string{"a", "b", "c", "d", "e", "", "ä\"\\'", "x y"}, spelt: []string{"A", "a "}, alike: true, ordered: true},
	{name: "text", sql: "text", values: []string{"a", "b", "c", "d", "e"}, alike: true, ordered: true, cast: "varchar"},
	{name: "varchar", sql: "varchar(8)", values: []string{"a", "b", "ab", "a b", "null", "{}"}, alike: true, ordered: true, cast: "text"},
	{name: "char", sql: "char(4)", values: []string{"a", "b", "ab", ""}, spelt: []string{"a  "}, alike: true, ordered: true},
	{name: "numeric", sql: "numeric", values: []string{"0", "1", "1.5", "1.50", "2.25", "-3", "NaN"}, spelt: []string{"1.500", "15e-1", "+1"}, ordered: true, summed: true},
	{name: "decimal", sql: "numeric(8,2)", values: []string{"0.00", "1.50", "2.25"}, spelt: []string{"1.5", ".0"}, alike: true, ordered: true, summed: true},
	{name: "bool", sql: "bool", values: []string{"true", "false"}, spelt: []string{"t", "off", "1", "yes"}, alike: true},
	{name: "bool", sql: "bool", values: []string{"true", "false"}, alike: true},
	{name: "uuid", sql: "uuid", values: uuids(5), spelt: []string{strings.ToUpper(uuidOf(2)), "{" + uuidOf(3) + "}"}, alike: true, ordered: true},
	{name: "date", sql: "date", values: []string{"2024-01-01", "2024-01-02", "2024-02-29", "infinity"}, alike: true, ordered: true, cast: "timestamp"},
	{
		name: "timestamptz", sql: "timestamptz", values: []string{"2024-01-01 00:00:00+00", "2024-01-01 10:30:00.5+00", "2024-06-30 23:59:59+00"},
		spelt: []string{"2024-01-01T02:00:00+02:00", "2024-01-01T00:00:00Z"}, alike: true, ordered: true,
	},
	{name: "timestamp", sql: "timestamp", values: []string{"2024-01-01 00:00:00", "2024-01-01 10:30:00.25", "2024-06-30 23:59:59"}, spelt: []string{"2024-01-01T00:00:00"}, alike: true, ordered: true},
	{name: "float8", sql: "float8", values: []string{"0", "-0", "1.5", "0.1", "1e+100", "NaN", "-Infinity"}, spelt: []string{"1.50", "15e-1"}, ordered: true},
	{name: "mood", sql: "mood", values: []string{"sad", "ok", "happy"}, alike: true, ordered: true},
	{name: "tags", sql: "text[]", values: []string{"{}", "{a}", "{a,b}", "{b,c,NULL}"}, alike: true},
	{name: "json", sql: "jsonb", values: []string{`{"a": 1, "b": "x"}`, `{"a": 2}`, `[]`, `[1, {"a": 1}]`, `"a"`}},
	kindLong,
}

// collations stand for those that a server may lack: where it does, they order
// by bytes.
var collations = []string{
	collation("oracle_en", "locale = 'en-u-kn-true'"),
	collation("oracle_ci", "locale = 'und-u-ks-level2', deterministic = false"),
}

func collation(name, options string) string {
	return fmt.Sprintf(`DO $$ BEGIN CREATE COLLATION %s (provider = icu, %s);
		EXCEPTION WHEN OTHERS THEN CREATE COLLATION %s FROM "C"; END $$`, name, options, name)
}

// further are kinds beside those in kinds, whose order or equality is not that
// of their bytes.
var further = []*kind{
	{name: "sorted", sql: `text COLLATE "C"`, values: []string{"a", "B", "b", "ab", "a%", "a_", "é", ""}, alike: true, ordered: true, cast: "varchar"},
	{name: "natural", sql: "text COLLATE oracle_en", values: []string{"a", "B", "b", "ab", "a2", "a10", "é", ""}, alike: true, ordered: true},
	{name: "folded", sql: "text COLLATE oracle_ci", values: []string{"a", "A", "b", "B", "ab", "AB"}, spelt: []string{"aB"}, ordered: true, folded: true},
	{name: "numbers", sql: "int[]", values: []string{"{}", "{1}", "{1,2}", "{2,3,NULL}"}, held: []string{"{{1,2},{3,4}}", "[0:1]={1,2}"}, alike: true},
	{name: "flags", sql: "jsonb", values: []string{`{"a": "x", "b": {"c": "1"}}`, `{"a": "y"}`, `{"a": null, "b": {"c": 1}}`, `{"a": true}`, `{"b": {}}`, `["a"]`, `null`}},
	{name: "small", sql: "smallint", values: numbers(0, 4), alike: true, ordered: true, summed: true, cast: "int"},
}

// value returns one of the kind's values.
func (k *kind) value(r *rand.Rand) string { return k.values[r.IntN(len(k.values))] }

// stored returns a value of a row.
func (k *kind) stored(r *rand.Rand) string {
	if n := r.IntN(len(k.values) + len(k.held)); n >= len(k.values) {
		return k.held[n-len(k.values)]
	}
	return k.value(r)
}

// asked returns a value as a client may write it.
func (k *kind) asked(r *rand.Rand) string {
	if len(k.spelt) > 0 && r.IntN(6) == 0 {
		return k.spelt[r.IntN(len(k.spelt))]
	}
	return k.value(r)
}

// comparable says that = and ANY make sense to ask of the kind.
func (k *kind) comparable() bool { return k.sql != "jsonb" && !k.array() }

func (k *kind) array() bool { return strings.HasSuffix(k.sql, "[]") }

// typ is the type alone.
func (k *kind) typ() string {
	t, _, _ := strings.Cut(k.sql, " COLLATE ")
	return t
}

// literal returns SQL for one of the kind's values.
func (k *kind) literal(r *rand.Rand) string { return constant(k.value(r), k.typ()) }

func constant(text, typ string) string { return quote(text) + "::" + typ }

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// array returns the text of an array of values.
func array(items []string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, it := range items {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(it) + `"`)
	}
	return b.String() + "}"
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func chance(r *rand.Rand, percent int) bool { return r.IntN(100) < percent }
