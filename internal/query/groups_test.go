package query

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// The ends of groups are those of one answer, as long as they are all known and
// its parameters limit the page.
func TestRefineGroups(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, nestedSchema+`INSERT INTO node VALUES (1, 1), (2, 1), (3, 2);
		INSERT INTO leaf (id, node, a) SELECT g, CASE WHEN g < 6 THEN 1 WHEN g < 8 THEN 2 ELSE 3 END, g / 2 FROM generate_series(1, 20) g`)
	conn := settled(t, db)
	e, problems := endpointOf(t, conn, `SELECT o.id, l.id AS leaf FROM node o CROSS JOIN LATERAL
		(SELECT x.id FROM leaf x WHERE x.node = o.id ORDER BY x.a DESC, x.id LIMIT :lim OFFSET :off) l WHERE o.grp = 1`)
	if e == nil {
		t.Fatal(problems)
	}
	for _, c := range []struct {
		lim, off string
		rows     string // node, a and id of the last row of each full page
		explain  string
	}{
		{"2", "", "1 2 5; 2 3 7", "2nd row of its node by a desc, id"},
		{"1", "1", "1 2 5; 2 3 7", "2nd row of its node by a desc, id"},
		{"2", "1", "1 1 2", "3rd row of its node by a desc, id"},
		{"9", "12", "", "21st row of its node by a desc, id"},
		{"0", "", "", ""},
		{"", "1", "", ""},
		{"9223372036854775807", "9223372036854775807", "", ""},
	} {
		values := url.Values{}
		for name, v := range map[string]string{"lim": c.lim, "off": c.off} {
			if v != "" {
				values.Set(name, v)
			}
		}
		b, err := e.Bind(nil, values)
		if err != nil {
			t.Fatal(err)
		}
		deps, placed, keys := refined(t, conn, b)
		at := -1
		for i, s := range e.keys {
			if s.group != nil {
				at = i
			}
		}
		var ends []string
		for _, row := range keys[at].Rows {
			ends = append(ends, fmt.Sprintf("%s %s %s", row[0].Text, row[1].Text, row[2].Text))
		}
		slices.Sort(ends)
		if got := strings.Join(ends, "; "); got != c.rows {
			t.Errorf("limit %q offset %q: groups end at %q, want %q", c.lim, c.off, got, c.rows)
		}
		var groups []string
		for _, x := range e.ExplainDeps(deps, b) {
			if x.Group != "" {
				groups = append(groups, x.Group)
			}
		}
		if strings.Join(groups, "; ") != c.explain {
			t.Errorf("limit %q offset %q: explained as %q, want %q", c.lim, c.off, groups, c.explain)
		}
		keys[at] = KeyRows{Rows: []change.Row{textRow("1", "2", "5")}, Cut: true}
		for _, d := range b.Refine(placed, keys) {
			if d.Groups != nil {
				t.Error("a result that was cut short makes groups")
			}
		}
	}
}

func TestOrdinal(t *testing.T) {
	for n, want := range map[int]string{1: "1st", 2: "2nd", 3: "3rd", 4: "4th", 11: "11th", 12: "12th", 13: "13th", 21: "21st", 112: "112th"} {
		if got := ordinal(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}

// cut keeps the first rows of a nested query, in an order that decides what they
// hold; without limits, any number of them.
func (g *shop) cut(cols []col, limits ...string) string {
	var order []string
	for range g.rnd.IntN(3) {
		order = append(order, g.pick(cols).String()+g.choose("", " DESC", " ASC")+g.choose("", " NULLS FIRST", " NULLS LAST"))
	}
	for _, c := range cols {
		order = append(order, c.String()+g.choose("", "", " DESC"))
	}
	if len(limits) == 0 {
		limits = []string{"1", "2", "2", "3", g.param("int"), g.literal("int")}
	}
	limit := " LIMIT " + g.choose(limits...)
	offset := g.choose("", "", "", " OFFSET 1", " OFFSET "+g.param("int"))
	if g.one(6) {
		limit, offset = offset, limit
	}
	return " ORDER BY " + strings.Join(order, ", ") + limit + offset
}

// nestedPage is an expression with the first rows of a linked table.
func (g *shop) nestedPage(table, alias, on string, cols []col) string {
	from := " FROM " + table + " " + alias + " WHERE " + on
	if g.one(2) {
		from += " AND " + g.filter(cols)
	}
	if g.one(8) {
		from = " FROM " + table + " " + alias + g.choose("", " WHERE "+g.filter(cols))
	}
	if g.one(2) {
		return "(SELECT " + g.pick(cols).String() + from + g.cut(cols, "1") + ")"
	}
	return "ARRAY(SELECT " + g.pick(cols).String() + "::text" + from + g.cut(cols) + ")"
}

const nestedSchema = `
	CREATE PUBLICATION tidemark FOR ALL TABLES;
	CREATE TABLE node (id int PRIMARY KEY, grp int, a int, s text COLLATE "C", n numeric);
	CREATE TABLE leaf (id int PRIMARY KEY, node int, grp bigint, a int NOT NULL, n numeric, f float8, s text COLLATE "C", t text COLLATE "POSIX", d date, b bool);
	CREATE TABLE leaf_child (PRIMARY KEY (id)) INHERITS (leaf);
	CREATE VIEW v_first AS SELECT id, node, s FROM leaf ORDER BY a DESC, id LIMIT 3;
	CREATE FUNCTION f_first(x int, y int) RETURNS SETOF leaf LANGUAGE sql STABLE AS 'SELECT * FROM leaf WHERE node = x ORDER BY n DESC, id LIMIT y';
	ALTER TABLE node REPLICA IDENTITY FULL; ALTER TABLE leaf REPLICA IDENTITY FULL; ALTER TABLE leaf_child REPLICA IDENTITY FULL;` + attemptsFunction

var leafColumns = []named{
	{"id", "key"}, {"node", "int"}, {"grp", "int"}, {"a", "int"}, {"n", "numeric"}, {"f", "float8"}, {"s", "text"}, {"t", "text"}, {"d", "date"}, {"b", "bool"},
}

var nestedColumns = map[string][]named{
	"node": {{"id", "int"}, {"grp", "int"}, {"a", "int"}, {"s", "text"}, {"n", "numeric"}},
	"leaf": leafColumns, "leaf_child": append([]named{{"id", "child"}}, leafColumns[1:]...),
}

// nested makes queries whose nested queries keep the first rows of leaf for each
// node, and few values, so that there are ties and groups of every size.
type nested struct {
	rnd    *rand.Rand
	params map[string]string
}

func (g *nested) choose(options ...string) string { return options[g.rnd.IntN(len(options))] }

func (g *nested) value(typ string) string {
	switch typ {
	case "key":
		return fmt.Sprint(1 + g.rnd.IntN(18))
	case "child":
		return fmt.Sprint(31 + g.rnd.IntN(6))
	case "int":
		return g.choose("1", "1", "2", "3")
	case "lim":
		return g.choose("0", "1", "1", "2", "3", "5000000")
	case "text":
		return g.choose("a", "B", "ab", "é")
	case "numeric":
		return g.choose("1", "1.0", "1.50", "-2", "NaN")
	case "float8":
		return g.choose("0", "-0", "1.5", "NaN")
	case "date":
		return g.choose("2026-01-01", "2026-01-02", "infinity")
	case "bool":
		return g.choose("true", "false")
	}
	panic(typ)
}

func (g *nested) literal(typ string) string {
	v := "'" + g.value(typ) + "'"
	if typ == "key" || typ == "child" {
		return v + "::int"
	}
	return v + "::" + typ
}

func (g *nested) row(table string) string {
	var out []string
	for i, c := range nestedColumns[table] {
		v := g.literal(c.typ)
		if i > 0 && c.name != "a" && g.rnd.IntN(7) == 0 {
			v = "NULL"
		}
		out = append(out, v)
	}
	return strings.Join(out, ", ")
}

func (g *nested) param(typ string) string {
	name := fmt.Sprintf("%s%d", typ, g.rnd.IntN(2))
	g.params[name] = typ
	return ":" + name + "::" + map[string]string{"lim": g.choose("int", "bigint")}[typ] + map[string]string{"int": "int", "text": "text"}[typ]
}

// page is what follows SELECT of a nested query about leaf x and node o.
func (g *nested) page(x string, most ...string) string {
	where := g.choose(x+".node = o.id", x+".node = o.id", "o.id = "+x+".node", x+".grp = o.grp", x+".s = o.s", x+".n = o.n", x+".t = o.s COLLATE \"C\"",
		x+".node = o.id AND "+x+".a = o.a", x+".node = o.id AND "+x+".node = o.grp", x+".node = "+g.param("int"), "true")
	for range g.rnd.IntN(3) {
		where += " AND " + g.choose(x+".b", "NOT "+x+".b", x+".a > 1", x+".a <> "+g.param("int"), x+".n IS NOT NULL", x+".s = "+g.param("text"), "("+x+".a = 1 OR "+x+".b)",
			x+".a IN (1, "+g.param("int")+")", "lower("+x+".s) = 'a'", x+".a <= o.a", x+".d = '2026-01-01'", x+".n > 0", "("+g.param("int")+" IS NULL OR "+x+".a >= 2)")
	}
	var order []string
	for range g.rnd.IntN(3) {
		c := x + "." + leafColumns[1+g.rnd.IntN(9)].name
		if g.rnd.IntN(8) == 0 {
			c = g.choose("coalesce("+x+".n, 0)", "lower("+x+".s)", x+".s COLLATE \"C\"", x+".a + 0")
		}
		order = append(order, c+g.choose("", " DESC", " DESC")+g.choose("", "", " NULLS FIRST", " NULLS LAST"))
	}
	order = append(order, x+".id"+g.choose("", " DESC"))
	if len(most) == 0 {
		most = []string{"1", "2", "2", "3", g.param("lim")}
	}
	limit, offset := " LIMIT "+g.choose(most...), g.choose("", "", "", " OFFSET 1", " OFFSET "+g.param("lim"))
	if g.rnd.IntN(6) == 0 {
		limit, offset = offset, limit
	}
	return " FROM " + g.choose("", "", "ONLY ") + "leaf " + x + " WHERE " + where + " ORDER BY " + strings.Join(order, ", ") + limit + offset
}

func (g *nested) statement() randomQuery {
	g.params = map[string]string{}
	show := func(x string) string { return x + ".id, " + x + "." + leafColumns[g.rnd.IntN(10)].name }
	targets, from := []string{"o.id", g.choose("o.a", "o.s")}, "node o"
	if g.rnd.IntN(5) == 0 {
		from += " JOIN node p ON p.id = o.a"
		targets = append(targets, "p.s")
	}
	for i := range 1 + g.rnd.IntN(2) {
		x := fmt.Sprintf("x%d", i)
		switch g.rnd.IntN(6) {
		case 0, 1:
			from += " CROSS JOIN LATERAL (SELECT " + show(x) + " AS v" + g.page(x) + ") l" + x
			targets = append(targets, "l"+x+".id", "l"+x+".v")
		case 2, 3:
			from += " LEFT JOIN LATERAL (SELECT " + show(x) + " AS v" + g.page(x) + ") l" + x + g.choose(" ON true", " ON l"+x+".id > 4")
			targets = append(targets, "l"+x+".id", "l"+x+".v")
		case 4:
			targets = append(targets, "(SELECT "+x+"."+leafColumns[g.rnd.IntN(10)].name+g.page(x, "1")+")")
		default:
			targets = append(targets, "ARRAY(SELECT "+x+".id"+g.page(x)+")")
		}
	}
	switch g.rnd.IntN(10) {
	case 0:
		from += " LEFT JOIN v_first v ON v.node = o.id"
		targets = append(targets, "v.id")
	case 1:
		from += " LEFT JOIN LATERAL f_first(" + g.choose("o.id", "o.a", g.param("int")) + ", " + g.choose("2", g.param("lim")+"::int") + ") v ON true"
		targets = append(targets, "v.id")
	}
	where := g.choose(" WHERE o.grp = "+g.param("int"), " WHERE o.id = "+g.param("int"), " WHERE o.a IN (1, "+g.param("int")+")", " WHERE o.s = "+g.param("text"), "")
	sql := "SELECT " + strings.Join(targets, ", ") + " FROM " + from + where
	return randomQuery{sql, g.params, nil, false, g.value, g.literal, g.row}
}
