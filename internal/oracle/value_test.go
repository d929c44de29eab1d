package oracle

import (
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
	// alike says that equal values have one text. Of others, DISTINCT, GROUP BY,
	// min and max may show any.
	alike bool
	// ordered says that < makes sense to ask.
	ordered bool
	// summed says that sum() does not depend on the order of rows.
	summed bool
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
	kindLong    = &kind{name: "long", sql: "text", values: []string{"s", strings.Repeat("a", longA), strings.Repeat("b", longA)}, alike: true}
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

// value returns one of the kind's values.
func (k *kind) value(r *rand.Rand) string { return k.values[r.IntN(len(k.values))] }

// asked returns a value as a client may write it.
func (k *kind) asked(r *rand.Rand) string {
	if len(k.spelt) > 0 && r.IntN(6) == 0 {
		return k.spelt[r.IntN(len(k.spelt))]
	}
	return k.value(r)
}

// comparable says that = and ANY make sense to ask of the kind.
func (k *kind) comparable() bool { return k.name != "json" && k.name != "tags" }

// literal returns SQL for one of the kind's values.
func (k *kind) literal(r *rand.Rand) string { return constant(k.value(r), k.sql) }

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
