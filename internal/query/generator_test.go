package query

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// generator makes random queries over the schema of the oracle. Values come
// from small sets, so that rows and conditions meet often.
type generator struct {
	rnd     *rand.Rand
	params  map[string]string // name to type
	aliases int
}

// named is a column that an expression may use.
type named struct{ name, typ string }

var tableColumns = map[string][]named{
	"a":       {{"id", "int"}, {"k", "int"}, {"v", "int"}, {"s", "text"}, {"b", "bool"}, {"d", "date"}},
	"a_child": {{"id", "int"}, {"k", "int"}, {"v", "int"}, {"s", "text"}, {"b", "bool"}, {"d", "date"}, {"extra", "int"}},
	"b":       {{"id", "int"}, {"a_id", "int"}, {"k", "int8"}, {"n", "numeric"}, {"s", "text"}, {"b", "bool"}},
	"secret":  {{"id", "int"}, {"k", "int"}, {"s", "text"}},
}

var viewColumns = map[string][]named{
	"v_plain":  {{"id", "int"}, {"k", "int"}, {"label", "text"}},
	"v_join":   {{"id", "int"}, {"k", "int8"}, {"n", "numeric"}, {"s", "text"}, {"bid", "int"}},
	"v_group":  {{"k", "int"}, {"id", "int"}, {"s", "text"}},
	"v_limit":  {{"id", "int"}, {"a_id", "int"}, {"n", "numeric"}, {"s", "text"}},
	"v_first":  {{"k", "int"}, {"id", "int"}, {"s", "text"}},
	"v_rank":   {{"k", "int"}, {"id", "int"}, {"v", "int"}},
	"v_union":  {{"id", "int"}, {"k", "int"}, {"s", "text"}},
	"v_nested": {{"id", "int"}, {"label", "text"}, {"n", "numeric"}},
}

var viewNames = []string{"v_plain", "v_join", "v_group", "v_limit", "v_first", "v_rank", "v_union", "v_nested"}

func (g *generator) choose(options ...string) string { return options[g.rnd.IntN(len(options))] }

func (g *generator) pick(cols []named) named { return cols[g.rnd.IntN(len(cols))] }

// value is a value in text form.
func (g *generator) value(typ string) string {
	switch typ {
	case "int", "int8":
		return g.choose("0", "1", "1", "2")
	case "text":
		return g.choose("a", "a", "b")
	case "bool":
		return g.choose("true", "false")
	case "date":
		return g.choose("2026-01-01", "2026-01-02", "2026-01-03")
	case "numeric":
		return g.choose("0", "1", "1.50", "2")
	case "int[]":
		return g.choose("{}", "{1}", "{0,2}", "{1,NULL}", "{2,1,2}")
	case "text[]":
		return g.choose("{}", "{a}", "{b,a}", "{a,NULL}")
	}
	panic(typ)
}

func (g *generator) literal(typ string, nullable bool) string {
	if nullable && g.rnd.IntN(8) == 0 {
		return "NULL"
	}
	return "'" + g.value(typ) + "'::" + typ
}

func (g *generator) row(table string) string {
	var out []string
	for _, c := range tableColumns[table] {
		out = append(out, g.literal(c.typ, true))
	}
	return strings.Join(out, ", ")
}

// change is a statement that changes one row and returns it as it was and as it
// is, or nothing.
func (g *generator) change(table string) string {
	one := fmt.Sprintf("WITH x AS (SELECT ctid AS at, to_jsonb(x.*) AS j FROM ONLY %s x ORDER BY ctid OFFSET %d LIMIT 1) ", table, g.rnd.IntN(5))
	switch g.rnd.IntN(4) {
	case 0:
		return fmt.Sprintf("INSERT INTO %s VALUES (%s) RETURNING NULL::jsonb, to_jsonb(%[1]s.*)", table, g.row(table))
	case 1:
		return one + fmt.Sprintf("DELETE FROM ONLY %s USING x WHERE ctid = at RETURNING j, NULL::jsonb", table)
	}
	col := g.pick(tableColumns[table])
	return one + fmt.Sprintf("UPDATE ONLY %s SET %s = %s FROM x WHERE ctid = at RETURNING j, to_jsonb(%[1]s.*)", table, col.name, g.literal(col.typ, true))
}

// scalar is a constant, a parameter, or a mixture.
func (g *generator) scalar(typ string) string {
	switch g.rnd.IntN(6) {
	case 0, 1:
		return g.param(typ)
	case 2:
		return fmt.Sprintf("coalesce(%s, %s)", g.param(typ), g.literal(typ, true))
	case 3:
		if typ == "numeric" || typ == "int8" {
			return g.literal("int", true)
		}
	}
	return g.literal(typ, true)
}

func (g *generator) param(typ string) string {
	if g.params == nil {
		g.params = map[string]string{}
	}
	name := fmt.Sprintf("p%d_%s", g.rnd.IntN(2), strings.TrimSuffix(typ, "[]"))
	if strings.HasSuffix(typ, "[]") {
		name += "s"
	}
	g.params[name] = typ
	return ":" + name + "::" + typ
}

func (g *generator) alias() string {
	g.aliases++
	return fmt.Sprintf("t%d", g.aliases)
}

// source is one item of FROM and the columns that it offers; outer are those
// that a LATERAL item may mention.
func (g *generator) source(depth int, outer []named) (string, []named) {
	alias := g.alias()
	qualify := func(cols []named) []named { return qualified(alias, cols) }
	switch n := g.rnd.IntN(14); {
	case n < 7 || depth <= 0:
		table := g.choose("a", "a", "b", "b", "a_child", "secret")
		if g.rnd.IntN(8) == 0 {
			return "ONLY " + table + " " + alias, qualify(tableColumns[table])
		}
		return table + " " + alias, qualify(tableColumns[table])
	case n < 11:
		view := g.choose(viewNames...)
		return view + " " + alias, qualify(viewColumns[view])
	case n == 11:
		arg := g.scalar("int")
		if col, ok := g.ofType(outer, "int"); ok && g.rnd.IntN(2) == 0 {
			arg = col
		}
		return "f_set(" + arg + ") " + alias, qualify(tableColumns["a"])
	default:
		sql, cols := g.selectOf(depth-1, outer)
		return "LATERAL (" + sql + ") " + alias, qualify(cols)
	}
}

func (g *generator) ofType(cols []named, typ string) (string, bool) {
	var fit []named
	for _, c := range cols {
		if c.typ == typ {
			fit = append(fit, c)
		}
	}
	if len(fit) == 0 {
		return "", false
	}
	return g.pick(fit).name, true
}

// from is a FROM clause.
func (g *generator) from(depth int, outer []named) (string, []named) {
	sql, cols := g.source(depth, outer)
	for range []int{0, 0, 1, 1, 2}[g.rnd.IntN(5)] {
		kind := g.choose(", ", " JOIN ", " JOIN ", " LEFT JOIN ", " LEFT JOIN ", " RIGHT JOIN ", " FULL JOIN ")
		beside := append(append([]named(nil), outer...), cols...)
		if kind == " RIGHT JOIN " || kind == " FULL JOIN " {
			beside = outer // LATERAL may not look across these
		}
		item, more := g.source(depth-1, beside)
		on := ""
		if kind != ", " {
			// FULL JOIN takes equalities only.
			on = " ON " + g.equality(cols, more)
			if kind != " FULL JOIN " && g.rnd.IntN(2) == 0 {
				on += " AND " + g.condition(depth-1, append(append([]named(nil), cols...), more...), outer)
			}
		}
		if kind == ", " {
			// A comma binds less than JOIN; CROSS JOIN does not.
			kind = " CROSS JOIN "
		}
		sql += kind + item + on
		cols = append(append([]named(nil), cols...), more...)
	}
	return sql, cols
}

func (g *generator) equality(left, right []named) string {
	for range 8 {
		l := g.pick(left)
		if r, ok := g.ofType(right, l.typ); ok {
			return l.name + " = " + r
		}
	}
	return g.choose("true", "true", "false")
}

// selectOf is a SELECT without ORDER BY of its own, unless it has a limit.
func (g *generator) selectOf(depth int, outer []named) (string, []named) {
	from, cols := g.from(depth, outer)
	where := ""
	if g.rnd.IntN(5) > 0 {
		where = " WHERE " + g.condition(depth, cols, outer)
	}
	var exprs []string
	var out []named
	add := func(expr, typ string) {
		name := fmt.Sprintf("c%d", len(out))
		exprs = append(exprs, expr+" AS "+name)
		out = append(out, named{name, typ})
	}
	form := g.rnd.IntN(8)
	if form == 0 {
		c := g.pick(cols)
		add(c.name, c.typ)
		add("count(*)::int", "int")
		add("max("+g.orNumber(cols)+")", "int")
		return "SELECT " + strings.Join(exprs, ", ") + " FROM " + from + where + " GROUP BY " + c.name +
			g.choose("", "", " HAVING count(*) > 1"), out
	}
	if form == 1 {
		add("count(*)::int", "int")
		add("sum("+g.orNumber(cols)+")::int", "int")
		return "SELECT " + strings.Join(exprs, ", ") + " FROM " + from + where, out
	}
	for range 1 + g.rnd.IntN(3) {
		c := g.pick(cols)
		add(c.name, c.typ)
	}
	if depth > 0 && g.rnd.IntN(4) == 0 {
		inner, innerCols := g.from(depth-1, nil)
		add("(SELECT max("+g.orNumber(innerCols)+") FROM "+inner+" WHERE "+g.condition(depth-1, innerCols, cols)+")", "int")
	}
	if depth > 0 && g.rnd.IntN(8) == 0 {
		add("f_one("+g.orNumber(cols)+", "+g.scalar("text")+")::int", "int")
	}
	if g.rnd.IntN(8) == 0 {
		add("row_number() OVER (ORDER BY "+strings.Join(bare(exprs), ", ")+")::int", "int")
	}
	sql := "SELECT "
	all := make([]string, len(out))
	for i := range out {
		all[i] = fmt.Sprint(i + 1)
	}
	switch form {
	case 2:
		sql += "DISTINCT "
	case 3:
		return sql + "DISTINCT ON (1) " + strings.Join(exprs, ", ") + " FROM " + from + where + " ORDER BY " + strings.Join(all, ", "), out
	}
	sql += strings.Join(exprs, ", ") + " FROM " + from + where
	if form == 4 {
		sql += " ORDER BY " + strings.Join(all, ", ") + " LIMIT " + g.choose("1", "2", "3", g.param("int")) + g.choose("", " OFFSET 1")
	}
	return sql, out
}

func bare(exprs []string) []string {
	out := make([]string, len(exprs))
	for i, e := range exprs {
		out[i] = e[:strings.LastIndex(e, " AS ")]
	}
	return out
}

// orNumber is an integer column, or a number where there is none.
func (g *generator) orNumber(cols []named) string {
	if c, ok := g.ofType(cols, "int"); ok {
		return c
	}
	return "1"
}

// simple is a query over one view, table or subquery with few conditions: what
// a mistake in one rule shows in most often.
func (g *generator) simple() string {
	var with, from string
	var cols []named
	switch alias := g.alias(); g.rnd.IntN(5) {
	case 4:
		// One WITH query, used twice.
		table := g.choose("a", "b", "v_plain")
		cols = tableColumns[table]
		if cols == nil {
			cols = viewColumns[table]
		}
		with = "WITH w AS (SELECT * FROM " + table + ") "
		from, cols = "w "+alias+", w "+alias+"x", append(qualified(alias, cols), qualified(alias+"x", cols)...)
	case 0, 1:
		view := g.choose(viewNames...)
		from, cols = view+" "+alias, qualified(alias, viewColumns[view])
	case 2:
		from, cols = g.selectOf(1, nil)
		from, cols = "("+from+") "+alias, qualified(alias, cols)
	default:
		from, cols = g.source(0, nil)
	}
	if g.rnd.IntN(3) == 0 {
		item, more := g.source(0, nil)
		if with != "" {
			from = "(" + strings.Replace(from, ",", " CROSS JOIN", 1) + ")"
		}
		kind, on := g.choose(" JOIN ", " LEFT JOIN ", " RIGHT JOIN ", " FULL JOIN "), g.equality(cols, more)
		if kind != " FULL JOIN " && g.rnd.IntN(2) == 0 {
			on += " AND " + g.fixed(on, append(append([]named(nil), cols...), more...))
		}
		from += kind + item + " ON " + on
		cols = append(append([]named(nil), cols...), more...)
	}
	var exprs, where []string
	for _, c := range cols {
		exprs = append(exprs, c.name)
	}
	if g.rnd.IntN(4) == 0 {
		item, inner := g.source(0, nil)
		on := g.equality(cols, inner)
		exprs = append(exprs, g.choose("", "NOT ")+"EXISTS (SELECT 1 FROM "+item+" WHERE "+on+" AND "+g.fixed(on, inner)+")")
	}
	for range 1 + g.rnd.IntN(2) {
		c := g.pick(cols)
		switch g.rnd.IntN(4) {
		case 0, 1:
			where = append(where, c.name+" = "+g.literal(c.typ, false))
		case 2:
			where = append(where, c.name+g.choose(" IS NULL", " IS NOT NULL"))
		default:
			where = append(where, g.leaf(cols, nil))
		}
	}
	return with + "SELECT " + strings.Join(exprs, ", ") + " FROM " + from + " WHERE " + strings.Join(where, g.choose(" AND ", " AND ", " OR "))
}

// fixed compares a column with a constant: often one of those in an equality.
func (g *generator) fixed(equality string, cols []named) string {
	c := g.pick(cols)
	for range 5 {
		if strings.Contains(equality, c.name) {
			break
		}
		c = g.pick(cols)
	}
	return c.name + " = " + g.literal(c.typ, false)
}

// statement is a whole query.
func (g *generator) statement() string {
	if g.rnd.IntN(2) == 0 {
		return g.simple()
	}
	switch g.rnd.IntN(8) {
	case 0:
		l, _ := g.selectOf(1, nil)
		r, rc := g.selectOf(1, nil)
		op := g.choose(" UNION ", " UNION ALL ", " EXCEPT ", " INTERSECT ")
		return "SELECT c0::text FROM (" + l + ") x" + op + "SELECT " + g.pick(rc).name + "::text FROM (" + r + ") y WHERE " +
			g.condition(0, qualified("y", rc), nil)
	case 1:
		inner, cols := g.selectOf(1, nil)
		uses := "w x"
		all := qualified("x", cols)
		if g.rnd.IntN(2) == 0 {
			uses = "w x, w y"
			all = append(all, qualified("y", cols)...)
		}
		return "WITH w AS " + g.choose("", "MATERIALIZED ", "NOT MATERIALIZED ") + "(" + inner + ") SELECT * FROM " + uses + " WHERE " + g.condition(1, all, nil)
	}
	sql, cols := g.selectOf(2, nil)
	if g.rnd.IntN(3) == 0 {
		all := qualified("x", cols)
		return "SELECT " + g.pick(all).name + " FROM (" + sql + ") x WHERE " + g.condition(1, all, nil)
	}
	return sql
}

func qualified(alias string, cols []named) []named {
	out := make([]named, len(cols))
	for i, c := range cols {
		out[i] = named{alias + "." + c.name, c.typ}
	}
	return out
}
