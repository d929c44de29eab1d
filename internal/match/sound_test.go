package match

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
)

var soundRelation = &catalog.Relation{OID: 7, Schema: "public", Name: "t", Columns: []catalog.Column{
	{Name: "id", Type: 23}, {Name: "a", Type: 23}, {Name: "b", Type: 25}, {Name: "c", Type: 1700}, {Name: "j", Type: 3802}, {Name: "tags", Type: 1009},
}}

// soundParts are what a WHERE clause compares, in SQL with %s for the operator
// and its operand, and in tests.
var soundParts = []struct {
	sql, cast string
	test      Test
	values    []string
}{
	{"a %s", "int", Test{Column: "a", Type: 23, Class: ClassInt}, []string{"0", "1", "2", "3"}},
	{`b COLLATE "C" %s`, "text", Test{Column: "b", Type: 25, Class: ClassText}, []string{"x", "xa", "y", ""}},
	{"c %s", "numeric", Test{Column: "c", Type: 1700, Class: ClassNumeric}, []string{"0", "1.5", "-2", "NaN"}},
	{`(j ->> 'k') COLLATE "C" %s`, "text", Test{Column: "j", Type: 3802, Part: Part{Member, "k\x00"}, Class: ClassText}, []string{"x", "2", `q"`}},
	{`(j #>> '{o,n}')::numeric %s`, "numeric", Test{Column: "j", Type: 3802, Part: Part{Member, "o\x00n\x00"}, Class: ClassNumeric}, []string{"1", "2"}},
	{"%s ANY (tags)", "text", Test{Column: "tags", Type: 1009, Part: Part{Kind: Element}, Class: ClassText}, []string{"x", "y", "z z"}},
}

// soundTest makes a test and the condition that it stands for.
func soundTest(r *rand.Rand) (Test, string) {
	p := soundParts[r.IntN(len(soundParts))]
	t := p.test
	value := func() (Datum, string) {
		s := pick(r, p.values...)
		d, _ := ParseDatum(t.Class, []byte(s))
		return d, "'" + s + "'::" + p.cast
	}
	d, s := value()
	if t.Part.Kind == Element {
		t.Values = []Datum{d}
		return t, fmt.Sprintf(p.sql, s+" =")
	}
	switch t.Op = Op(r.IntN(6)); t.Op {
	case Equal:
		t.Values = []Datum{d}
		return t, fmt.Sprintf(p.sql, "= "+s)
	case In:
		e, s2 := value()
		t.Values = []Datum{d, e}
		return t, fmt.Sprintf(p.sql, "IN ("+s+", "+s2+")")
	case NotEqual:
		t.Values = []Datum{d}
		if r.IntN(2) == 0 {
			return t, fmt.Sprintf(p.sql, "<> "+s)
		}
		e, s2 := value()
		t.Values = append(t.Values, e)
		return t, fmt.Sprintf(p.sql, "NOT IN ("+s+", "+s2+")")
	case Range:
		if r.IntN(2) == 0 {
			t.Lo = Bound{true, true, d}
			return t, fmt.Sprintf(p.sql, ">= "+s)
		}
		t.Hi = Bound{true, false, d}
		return t, fmt.Sprintf(p.sql, "< "+s)
	case IsNull:
		return t, fmt.Sprintf(p.sql, "IS NULL")
	}
	return t, fmt.Sprintf(p.sql, "IS NOT NULL")
}

// soundQuery is a query with what its answer depends on.
type soundQuery struct {
	sql, where string
	dep        Dependency
	limit      int
	key        []KeyColumn // of witnesses
	certain    bool        // that a row which passes the tests is one
	ends       string      // finds the ends of groups
	result     string
	affected   bool // by a change since the result
	handle     *Handle[*soundQuery]
}

func newSoundQuery(r *rand.Rand) *soundQuery {
	q := &soundQuery{dep: Dependency{Exact: true}, certain: r.IntN(4) > 0}
	var conditions, tested []string
	for range r.IntN(3) {
		t, sql := soundTest(r)
		q.dep.Tests, conditions, tested = append(q.dep.Tests, t), append(conditions, sql), append(tested, t.Column)
	}
	q.where = strings.Join(append(conditions, "true"), " AND ")
	var shown []string
	switch r.IntN(5) {
	case 4:
		shown = []string{"id", "a", "b", "c"}
		order, sql := soundOrder(r)
		n, offset := 1+r.IntN(3), r.IntN(2)
		q.dep.Groups = &Groups{For: []KeyColumn{{"a", 23, ClassInt}}, Order: order[:1+r.IntN(2)]}
		page := "SELECT a, c, id, b FROM t WHERE a = k AND " + q.where + sql
		q.sql = fmt.Sprintf("SELECT k, l.* FROM generate_series(0, 3) k LEFT JOIN LATERAL (%s LIMIT %d OFFSET %d) l ON true ORDER BY k, l.c, l.id", page, n, offset)
		list := "l.a, l.c, l.id"
		if len(q.dep.Groups.Order) == 1 {
			list = "l.a, l.c"
		}
		q.ends = fmt.Sprintf("SELECT %s FROM generate_series(0, 3) k CROSS JOIN LATERAL (%s LIMIT 1 OFFSET %d) l", list, page, offset+n-1)
	case 0:
		q.sql = "SELECT count(*) FROM t WHERE " + q.where
	case 1:
		shown = []string{"id", "a", "c"}
		q.limit = 1 + r.IntN(4)
		order, sql := soundOrder(r)
		q.dep.Edge = &Edge{Order: order}
		q.sql = fmt.Sprintf("SELECT c, id, a FROM t WHERE %s%s LIMIT %d", q.where, sql, q.limit)
	case 2:
		shown = []string{"a"}
		q.key = []KeyColumn{{"a", 23, ClassInt}}
		q.sql = "SELECT k FROM generate_series(0, 3) k WHERE EXISTS (SELECT FROM t WHERE a = k AND " + q.where + ")"
	default:
		shown = []string{"a", "c"}
		q.key = []KeyColumn{{"a", 23, ClassInt}, {"c", 1700, ClassNumeric}}
		q.sql = "SELECT DISTINCT a, round(c, 0) FROM t WHERE " + q.where + " ORDER BY 1, 2"
	}
	reads := &Reads{Tables: []catalog.OID{7}, Name: "t", Columns: append(slices.Clone(tested), shown...)}
	reads.Tested = slices.DeleteFunc(tested, func(c string) bool { return slices.Contains(shown, c) })
	q.dep.Reads = reads
	return q
}

// soundOrder is the order of a page, and what says so.
func soundOrder(r *rand.Rand) ([]OrderColumn, string) {
	o := OrderColumn{"c", 1700, ClassNumeric, r.IntN(2) == 0, r.IntN(2) == 0}
	return []OrderColumn{o, {"id", 23, ClassInt, false, false}}, fmt.Sprintf(" ORDER BY c %s NULLS %s, id",
		map[bool]string{true: "DESC", false: "ASC"}[o.Desc], map[bool]string{true: "FIRST", false: "LAST"}[o.NullsFirst])
}

// run computes the answer, and refines its dependency.
func (q *soundQuery) run(pg postgres) string {
	rows := pg.query(q.sql)
	if q.limit > 0 {
		e := &Edge{Order: q.dep.Edge.Order}
		if len(rows) == q.limit {
			for i, c := range e.Order {
				p, _ := PlaceOf(c, rows[len(rows)-1][i])
				e.Last = append(e.Last, p)
			}
		}
		q.dep.Edge = e
	}
	if q.ends != "" {
		var found []change.Row
		for _, row := range pg.query(q.ends) {
			found = append(found, row)
		}
		q.dep.Groups = NewGroups(q.dep.Groups.For, q.dep.Groups.Order, found)
	}
	if q.key != nil {
		var cols []string
		for _, k := range q.key {
			cols = append(cols, k.Column)
		}
		list := strings.Join(cols, ", ")
		var found []change.Row
		for _, row := range pg.query("SELECT " + list + ", id FROM t WHERE " + q.where) {
			found = append(found, row)
		}
		q.dep.Witnesses = NewWitnesses(q.key, []KeyColumn{{"id", 23, ClassInt}}, found, q.certain)
	}
	return show(rows...)
}

// again computes the answer, and leaves its dependency.
func (q *soundQuery) again(pg postgres) string { return show(pg.query(q.sql)...) }

func show[R ~[]change.Value](rows ...R) string {
	var b strings.Builder
	for _, row := range rows {
		for _, v := range row {
			fmt.Fprintf(&b, "%d%q ", v.Kind, v.Text)
		}
		b.WriteString("; ")
	}
	return b.String()
}

func (c postgres) randomChange(r *rand.Rand) *change.Change {
	null := func(s string) string {
		if r.IntN(6) == 0 {
			return "NULL"
		}
		return "'" + s + "'"
	}
	value := map[string]func() string{
		"a": func() string { return null(strconv.Itoa(r.IntN(4))) },
		"b": func() string { return null(pick(r, "", "x", "xa", "xb", "y", "yy")) },
		"c": func() string { return null(pick(r, "0", "1.5", "1.50", "-2", "NaN", "100")) },
		"j": func() string {
			return null(pick(r, `{}`, `{"k":"x"}`, `{"k":"q\""}`, `{"k":2,"o":{"n":1}}`, `{"k":null,"o":{"n":"2.0"}}`, `[]`, `"x"`))
		},
		"tags": func() string { return null(pick(r, `{}`, `{x}`, `{x,y}`, `{y,NULL}`, `{"z z",x}`)) },
	}
	first := func(rows [][]change.Value) change.Row {
		if len(rows) == 0 {
			return nil
		}
		return rows[0]
	}
	ch := &change.Change{Relation: soundRelation}
	n := r.IntN(10)
	var old change.Row
	if n >= 3 {
		if old = first(c.query("SELECT * FROM t ORDER BY random() LIMIT 1")); old == nil {
			n = 0
		}
	}
	switch {
	case n < 3:
		ch.Op = change.Insert
		ch.New = first(c.query(fmt.Sprintf("INSERT INTO t SELECT coalesce(max(id), 0) + 1, %s, %s, %s, %s, %s FROM t RETURNING *",
			value["a"](), value["b"](), value["c"](), value["j"](), value["tags"]())))
	case n < 5:
		ch.Op, ch.Old = change.Delete, old
		c.query("DELETE FROM t WHERE id = " + string(old[0].Text))
	default:
		col := pick(r, "a", "b", "c", "j", "tags")
		ch.Op, ch.Old = change.Update, old
		ch.New = first(c.query(fmt.Sprintf("UPDATE t SET %s = %s WHERE id = %s RETURNING *", col, value[col](), old[0].Text)))
	}
	return ch
}

// TestSoundPostgres changes rows of a table and runs queries before and after:
// an answer that changed must have been touched, by Affects and by the index.
func TestSoundPostgres(t *testing.T) {
	pg, r := connect(t), random(t)
	pg.query(`CREATE TEMP TABLE t (id int PRIMARY KEY, a int, b text, c numeric, j jsonb, tags text[])`)
	for range 12 {
		pg.randomChange(r)
	}
	var queries [16]*soundQuery
	var same, spared, kept, changed int
	ix := NewIndex[*soundQuery]()
	for range 250 {
		n := r.IntN(len(queries))
		if q := queries[n]; q != nil && q.handle != nil {
			ix.Remove(q.handle)
		}
		queries[n] = nil
		for i := range queries {
			if queries[i] == nil {
				queries[i] = newSoundQuery(r)
			}
			if q := queries[i]; q.handle == nil {
				q.result, q.affected = q.run(pg), false
				q.handle = ix.with(q, []Dependency{q.dep})
			}
		}
		found := map[*soundQuery]bool{}
		var changes []*change.Change
		for range 1 + r.IntN(2) {
			c := pg.randomChange(r)
			changes = append(changes, c)
			ix.Touch(c, func(q *soundQuery, _ *Reads) { found[q] = true })
			for _, q := range queries {
				q.affected = q.affected || Affects([]Dependency{q.dep}, c)
			}
		}
		for _, q := range queries {
			before, dep := q.result, q.dep
			now := q.again(pg)
			switch {
			case now != before && (!q.affected || !found[q]):
				for _, c := range changes {
					t.Logf("%s\n%s\n%s", c.Op, show(c.Old), show(c.New))
				}
				t.Fatalf("%s\nwas %s\nis  %s\naffected %v, found %v: %+v", q.sql, before, now, q.affected, found[q], dep)
			case now != before:
				changed++
			case found[q]:
				same++
			default:
				same++
				spared++
				if q.affected {
					kept++
				}
			}
			if q.affected && !found[q] && q.key == nil {
				t.Fatalf("%s: the index did not find it", q.sql)
			}
			if found[q] {
				ix.Remove(q.handle)
				q.handle = nil
			}
		}
	}
	t.Logf("%d answers changed; of %d that did not, %d were spared, %d because of another witness", changed, same, spared, kept)
	if changed < 100 || spared*10 < same*7 || kept < 10 {
		t.Error("too little changed, or too little was spared")
	}
}
