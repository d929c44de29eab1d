package match

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// postgres is a session that returns values as the log writes them.
type postgres struct {
	t    testing.TB
	conn *pgconn.PgConn
}

func connect(t testing.TB) postgres {
	c := postgres{t, pgtest.DB(t).Conn(t).PgConn()}
	c.query("SET datestyle = ISO")
	c.query("SET timezone = UTC")
	c.query("SET extra_float_digits = 3")
	return c
}

// query runs a statement; parameters are text, nil being null.
func (c postgres) query(sql string, args ...any) [][]change.Value {
	c.t.Helper()
	params := make([][]byte, len(args))
	for i, a := range args {
		switch a := a.(type) {
		case string:
			params[i] = []byte(a)
		case []string:
			params[i] = []byte(arrayText(a))
		}
	}
	res := c.conn.ExecParams(context.Background(), sql, params, nil, nil, nil).Read()
	if res.Err != nil {
		c.t.Fatalf("%s: %v", sql, res.Err)
	}
	rows := make([][]change.Value, len(res.Rows))
	for i, row := range res.Rows {
		for _, v := range row {
			if v == nil {
				rows[i] = append(rows[i], nullValue)
			} else {
				rows[i] = append(rows[i], change.Value{Kind: change.Text, Text: v})
			}
		}
	}
	return rows
}

func arrayText(all []string) string {
	quoted := make([]string, len(all))
	for i, s := range all {
		quoted[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
	}
	return "{" + strings.Join(quoted, ",") + "}"
}

// random returns a source of repeatable numbers, and logs how to repeat them.
func random(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

func pick[E any](r *rand.Rand, from ...E) E { return from[r.IntN(len(from))] }

// datumTypes are the types of each class, and how their values look.
var datumTypes = []struct {
	name  string
	class Class
	make  func(*rand.Rand) string
}{
	{"boolean", ClassBool, func(r *rand.Rand) string { return pick(r, "t", "f") }},
	{"smallint", ClassInt, func(r *rand.Rand) string { return strconv.Itoa(int(int16(r.Uint64()))) }},
	{"bigint", ClassInt, func(r *rand.Rand) string { return strconv.FormatInt(int64(r.Uint64())>>r.IntN(64), 10) }},
	{"oid", ClassInt, func(r *rand.Rand) string { return strconv.FormatUint(uint64(r.Uint32()), 10) }},
	{"numeric", ClassNumeric, randomNumeric},
	{"numeric(20,4)", ClassNumeric, func(r *rand.Rand) string { return fmt.Sprintf("%d.%d", r.IntN(200)-100, r.IntN(3)) }},
	{"real", ClassFloat, randomFloat},
	{"double precision", ClassFloat, randomFloat},
	{"text", ClassText, randomText},
	{"varchar", ClassText, randomText},
	{"name", ClassText, randomText},
	{"character(6)", ClassBPChar, func(r *rand.Rand) string { return string([]rune(randomText(r) + "      ")[:6]) }},
	{"uuid", ClassUUID, func(r *rand.Rand) string {
		return fmt.Sprintf("%08x-0000-%04x-0000-00000000000%d", r.Uint32()>>r.IntN(32), r.IntN(1<<16), r.IntN(3))
	}},
	{"date", ClassDate, func(r *rand.Rand) string {
		return pick(r, "infinity", "-infinity", randomDay(r), randomDay(r), randomDay(r))
	}},
	{"timestamp", ClassTime, randomTime},
	{"timestamptz", ClassTime, randomTime},
}

func randomNumeric(r *rand.Rand) string {
	if r.IntN(12) == 0 {
		return pick(r, "NaN", "Infinity", "-Infinity", "0", "-0.00", "0.000")
	}
	s := strconv.Itoa(r.IntN(pick(r, 2, 30, 2000)))
	if r.IntN(3) > 0 {
		s += "." + strings.Repeat("0", r.IntN(3)) + strconv.Itoa(r.IntN(pick(r, 2, 200))) + strings.Repeat("0", r.IntN(3))
	}
	if r.IntN(20) == 0 {
		s = strings.Repeat("9", r.IntN(40)) + s
	}
	return pick(r, "", "-") + s
}

func randomFloat(r *rand.Rand) string {
	switch r.IntN(4) {
	case 0:
		return pick(r, "NaN", "Infinity", "-Infinity", "0", "-0", "1e-30", "-1e30", "0.1")
	case 1:
		return strconv.Itoa(r.IntN(5) - 2)
	}
	return strconv.FormatFloat(r.NormFloat64()*pick(r, 1e-20, 1, 1e20), 'g', -1, 64)
}

func randomText(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(5) {
		b.WriteString(pick(r, "a", "B", "b", "_", " ", "é", "\U0001F600", "z", "0", `"`, `\`, ","))
	}
	return b.String()
}

func randomDay(r *rand.Rand) string {
	return time.Date(pick(r, 1, 1969, 1970, 2026, 9999), 1, 1+r.IntN(400), 0, 0, 0, 0, time.UTC).AddDate(0, 0, -35).Format("2006-01-02")
}

func randomTime(r *rand.Rand) string {
	if r.IntN(8) == 0 {
		return pick(r, "infinity", "-infinity")
	}
	day := strings.Replace(randomDay(r), "0000-", "0001-", 1)
	return day + fmt.Sprintf(" %02d:00:0%d", r.IntN(24), r.IntN(3)) + pick(r, "", ".5", ".500001", ".000001")
}

// TestDatumPostgres compares the order and equality of values with Postgres's.
func TestDatumPostgres(t *testing.T) {
	pg, r := connect(t), random(t)
	for _, typ := range datumTypes {
		t.Run(typ.name, func(t *testing.T) {
			var texts []string
			for range 60 {
				s := typ.make(r)
				if !strings.HasPrefix(s, "0000-") {
					texts = append(texts, s)
				}
			}
			collate := ""
			if typ.class == ClassText || typ.class == ClassBPChar {
				collate = ` COLLATE "C"`
			}
			rows := pg.query(fmt.Sprintf(`WITH v AS MATERIALIZED (SELECT x::%s AS v FROM unnest($1::text[]) x)
				SELECT a.v, b.v, CASE WHEN a.v%[2]s < b.v%[2]s THEN -1 WHEN a.v%[2]s = b.v%[2]s THEN 0 ELSE 1 END FROM v a, v b`, typ.name, collate), texts)
			unknown := 0
			for _, row := range rows {
				a, ok1 := ParseDatum(typ.class, row[0].Text)
				b, ok2 := ParseDatum(typ.class, row[1].Text)
				if !ok1 || !ok2 {
					unknown++
					continue
				}
				want, _ := strconv.Atoi(string(row[2].Text))
				if got := a.Compare(b); got != want || (a == b) != (want == 0) {
					t.Fatalf("%s against %s: %d, equal %v; Postgres says %d", row[0].Text, row[1].Text, got, a == b, want)
				}
				ha, _ := hashText(hashSeed, typ.class, row[0].Text)
				if hb := b.hash(hashSeed); (ha == hb) != (want == 0) {
					t.Fatalf("%s and %s: equal hashes: %v", row[0].Text, row[1].Text, ha == hb)
				}
				if v, ok := viewDatum(typ.class, row[0].Text); !ok || v != a {
					t.Fatalf("%s: a view differs", row[0].Text)
				}
			}
			if unknown > 0 {
				t.Errorf("%d of %d pairs were not understood", unknown, len(rows))
			}
		})
	}
}

func randomJSON(r *rand.Rand, depth int) any {
	switch n := r.IntN(10); {
	case n < 3 && depth > 0:
		m := map[string]any{}
		for range r.IntN(4) {
			m[pick(r, "a", "b", "é", `q"\`, "1", "a b", "", "tab\t", "\x01")] = randomJSON(r, depth-1)
		}
		return m
	case n == 3 && depth > 0:
		list := []any{}
		for range r.IntN(4) {
			list = append(list, randomJSON(r, depth-1))
		}
		return list
	case n == 4:
		return nil
	case n == 5:
		return r.IntN(2) == 0
	case n == 6:
		return json.Number(pick(r, "1", "1.50", "-0.0", "1e5", "12345678901234567890.5"))
	}
	return pick(r, "", "plain", `say "}, {" \`, "\n\t\b\f\r\x02", "é\U0001F600", "null", "\u2028<>&")
}

// TestMemberPostgres compares the members of jsonb values with #>> and ->>.
func TestMemberPostgres(t *testing.T) {
	pg, r := connect(t), random(t)
	known, null := 0, 0
	for range 3000 {
		doc, _ := json.Marshal(randomJSON(r, 3))
		if r.IntN(4) > 0 {
			doc, _ = json.Marshal(map[string]any{"a": randomJSON(r, 3), "b": randomJSON(r, 2), "1": 5, `q"\`: "x"})
		}
		var path []string
		for range 1 + r.IntN(3) {
			path = append(path, pick(r, "a", "b", "a", "b", "é", `q"\`, "1", "0", "-1", "a1", "1a", "a b", "", "tab\t", "\x01"))
		}
		arrows := "$1::jsonb"
		args := []any{string(doc), path}
		for i, name := range path {
			args = append(args, name)
			arrows += pick(r, " -> ", "->") + fmt.Sprintf("$%d::text", i+3)
		}
		at := strings.LastIndex(arrows, "->")
		arrows = arrows[:at] + "->>" + arrows[at+2:]
		row := pg.query("SELECT $1::jsonb, $1::jsonb #>> $2::text[], "+arrows, args...)[0]
		part := Part{Kind: Member, Path: strings.Join(path, "\x00") + "\x00"}
		got := part.of(row[0])
		if got.Kind == change.Absent {
			if !slices.ContainsFunc(path, func(n string) bool { return n == "1" || n == "0" || n == "-1" }) {
				t.Errorf("%q of %s is unknown", path, row[0].Text)
			}
			continue
		}
		known++
		if got.Kind == change.Null {
			null++
		}
		for _, want := range row[1:] {
			if !got.Equal(want) {
				t.Fatalf("%q of %s: %q, want %q", path, row[0].Text, got.Text, want.Text)
			}
		}
	}
	if known < 2000 || known-null < 150 {
		t.Errorf("%d known values, %d of them null: too few to show anything", known, null)
	}
}

// TestElementPostgres compares tests over elements with = ANY and others.
func TestElementPostgres(t *testing.T) {
	pg, r := connect(t), random(t)
	counts := [3]int{}
	for _, typ := range datumTypes {
		typ.name = strings.TrimSuffix(typ.name, "(6)")
		if typ.class == ClassBPChar {
			continue // the element type loses its length in the cast below
		}
		for range 60 {
			var all []string
			for range r.IntN(5) {
				s := typ.make(r)
				if strings.HasPrefix(s, "0000-") {
					s = "2026-01-01"
				}
				s = arrayText([]string{s})
				all = append(all, pick(r, s[1:len(s)-1], s[1:len(s)-1], s[1:len(s)-1], "NULL"))
			}
			text := "{" + strings.Join(all, ",") + "}"
			switch n := len(all); {
			case n > 0 && r.IntN(4) == 0:
				text = fmt.Sprintf("[3:%d]=%s", n+2, text)
			case n > 0 && r.IntN(3) == 0:
				text = "{" + text + "," + text + "}"
			}
			needle := typ.make(r)
			if len(all) > 0 && r.IntN(3) == 0 {
				needle = strings.TrimSuffix(strings.TrimPrefix(strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(pick(r, all...)), `"`), `"`)
			}
			if needle == "NULL" || strings.HasPrefix(needle, "0000-") {
				continue
			}
			collate := ""
			if typ.class == ClassText {
				collate = ` COLLATE "C"`
			}
			row := pg.query(fmt.Sprintf(`SELECT $1::%s[], $2::%[1]s, $2::%[1]s%s = ANY($1::%[1]s[]), $2::%[1]s%[2]s <= ANY($1::%[1]s[])`, typ.name, collate), text, needle)[0]
			d, ok := ParseDatum(typ.class, row[1].Text)
			if !ok {
				t.Fatalf("%s: %s is not understood", typ.name, row[1].Text)
			}
			for i, test := range []Test{{Op: Equal, Values: []Datum{d}}, {Op: Range, Lo: Bound{Set: true, Inclusive: true, Value: d}}} {
				test.Part.Kind, test.Class = Element, typ.class
				got := test.eval(row[0])
				counts[got]++
				if want := verdict(string(row[2+i].Text) == "t"); got != want {
					t.Fatalf("%s: %s and %s: test %d says %d, Postgres %d", typ.name, row[0].Text, row[1].Text, i, got, want)
				}
			}
		}
	}
	if counts[No] < 100 || counts[Yes] < 100 {
		t.Errorf("too few of a kind: %v", counts)
	}
}

// TestNotEqualPostgres compares tests with <> and NOT IN.
func TestNotEqualPostgres(t *testing.T) {
	pg, r := connect(t), random(t)
	counts := [3]int{}
	for _, typ := range datumTypes {
		draw := func() string {
			s := typ.make(r)
			if strings.HasPrefix(s, "0000-") {
				return "2026-01-01"
			}
			return s
		}
		collate := ""
		if typ.class == ClassText || typ.class == ClassBPChar {
			collate = ` COLLATE "C"`
		}
		for range 40 {
			value, first, second := draw(), draw(), draw()
			if r.IntN(2) == 0 {
				second = value
			}
			args := []any{value, first, second}
			if r.IntN(8) == 0 {
				args[0] = nil
			}
			row := pg.query(fmt.Sprintf(`SELECT $1::%s, $2::%[1]s, $3::%[1]s, $1::%[1]s%s <> $3::%[1]s, $1::%[1]s%[2]s NOT IN ($2::%[1]s, $3::%[1]s)`, typ.name, collate), args...)[0]
			a, ok1 := ParseDatum(typ.class, row[1].Text)
			b, ok2 := ParseDatum(typ.class, row[2].Text)
			if !ok1 || !ok2 {
				t.Fatalf("%s: %s or %s is not understood", typ.name, row[1].Text, row[2].Text)
			}
			for i, values := range [][]Datum{{b}, {a, b}} {
				test := Test{Class: typ.class, Op: NotEqual, Values: values}
				got := test.eval(row[0])
				counts[got]++
				if want := verdict(string(row[3+i].Text) == "t"); got != want {
					t.Fatalf("%s: %s and %s, %s: test %d says %d, Postgres %d", typ.name, row[0].Text, row[1].Text, row[2].Text, i, got, want)
				}
			}
		}
	}
	if counts[No] < 100 || counts[Yes] < 100 {
		t.Errorf("too few of a kind: %v", counts)
	}
}

// TestComparePlacesPostgres compares places with the order of ORDER BY.
func TestComparePlacesPostgres(t *testing.T) {
	pg, r := connect(t), random(t)
	pg.query(`CREATE TEMP TABLE p (a int, b text COLLATE "C", c numeric)`)
	for range 60 {
		null := func(s string) any {
			if r.IntN(5) == 0 {
				return nil
			}
			return s
		}
		pg.query("INSERT INTO p VALUES ($1, $2, $3)", null(strconv.Itoa(r.IntN(3))), null(randomText(r)), null(randomNumeric(r)))
	}
	for n := range 64 {
		order := []OrderColumn{{Column: "a", Type: 23, Class: ClassInt}, {Column: "b", Type: 25, Class: ClassText}, {Column: "c", Type: 1700, Class: ClassNumeric}}
		r.Shuffle(3, func(i, j int) { order[i], order[j] = order[j], order[i] })
		var by []string
		for i := range order {
			c := &order[i]
			c.Desc, c.NullsFirst = n>>(2*i)&1 == 1, n>>(2*i)&2 == 2
			sql := c.Column
			if c.Desc {
				sql += " DESC"
			}
			if c.NullsFirst != c.Desc {
				sql += map[bool]string{true: " NULLS FIRST", false: " NULLS LAST"}[c.NullsFirst]
			}
			by = append(by, sql)
		}
		rel := &catalog.Relation{Columns: []catalog.Column{{Name: "a", Type: 23}, {Name: "b", Type: 25}, {Name: "c", Type: 1700}}}
		rows := pg.query("SELECT a, b, c, dense_rank() OVER (ORDER BY " + strings.Join(by, ", ") + ") FROM p")
		places := make([][]Place, len(rows))
		for i, row := range rows {
			for _, c := range order {
				p, ok := PlaceOf(c, row[rel.Column(c.Column)])
				if !ok {
					t.Fatalf("%s of %v is unknown", c.Column, row)
				}
				places[i] = append(places[i], p)
			}
		}
		rank := func(i int) int { n, _ := strconv.Atoi(string(rows[i][3].Text)); return n }
		for i := range rows {
			for j := range rows {
				want := rank(i) - rank(j)
				if got := ComparePlaces(order, places[i], places[j]); got < 0 != (want < 0) || got > 0 != (want > 0) {
					t.Fatalf("by %v: %v against %v: %d, want %d", by, rows[i], rows[j], got, want)
				}
				e := &Edge{Order: order, Last: places[j]}
				if e.excludes(rel, rows[i][:3]) != (want > 0) {
					t.Fatalf("by %v: %v is not on its side of the edge %v", by, rows[i], rows[j])
				}
			}
		}
	}
}
