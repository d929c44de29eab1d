package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// test returns a condition of one form over some column of an alias; any form
// for "".
func (k *composer) test(form string, s *source) string {
	if form == "" || form == "none" {
		// Mostly what is understood; now and then anything.
		if chance(k.Rand, 15) {
			return k.condition(s.rel, s.alias)
		}
		form = pick(k.Rand, []string{"equal", "equal", "literal", "any", "range", "bool", "null", "not null", "member", "element", "prefix", "above", "key"})
	}
	for range 60 {
		if t := k.tryTest(form, s, pick(k.Rand, s.table.cols)); t != "" {
			return t
		}
	}
	return k.condition(s.rel, s.alias)
}

func (k *composer) tryTest(form string, s *source, c *column) string {
	ref, kind := s.of(c), c.kind
	plain := kind.comparable() && kind != kindLong
	text := (kind.typ() == "text" || strings.HasPrefix(kind.sql, "varchar")) && !kind.folded
	switch {
	case form == "equal" && plain:
		return ref + " = " + k.param(kind)
	case form == "key" && strings.Contains(columnNames(s.table.key, "|")+"|", c.name):
		return ref + " = " + k.param(kind)
	case form == "literal" && plain:
		return ref + " = " + kind.literal(k.Rand)
	case form == "any" && plain:
		return ref + " = ANY(" + k.arrayParam(kind) + ")"
	case form == "list" && plain:
		return fmt.Sprintf("%s IN (%s, %s)", ref, k.param(kind), kind.literal(k.Rand))
	case form == "between" && kind.ordered:
		return fmt.Sprintf("%s BETWEEN %s AND %s", ref, k.param(kind), k.param(kind))
	case form == "range" && kind.ordered:
		return fmt.Sprintf("%s >= %s AND %s < %s", ref, k.param(kind), ref, k.param(kind))
	case form == "above" && kind.ordered:
		return ref + pick(k.Rand, []string{" > ", " >= ", " < ", " <= "}) + k.param(kind)
	case form == "prefix" && text:
		return ref + " LIKE " + k.param(kind) + " || '%'"
	case form == "like" && text:
		return ref + pick(k.Rand, []string{" LIKE 'a%'", " LIKE '%b'", " LIKE 'a_'", " ILIKE 'A%'", ` LIKE 'a\_%'`})
	case form == "null" && c.null:
		return ref + " IS NULL"
	case form == "not null" && c.null:
		return ref + " IS NOT NULL"
	case form == "bool" && kind.sql == "bool":
		return pick(k.Rand, []string{ref, "NOT " + ref, ref + " IS TRUE", ref + " IS NOT TRUE", ref + " IS FALSE", ref + " IS UNKNOWN", ref + " = " + k.param(kind)})
	case form == "element" && kind.array():
		return k.arrayCondition(kind, ref)
	case form == "member" && kind.sql == "jsonb":
		return k.jsonCondition(kind, ref)
	case form == "optional" && plain && kind.name != "varchar":
		p := k.paramOf(50, kind.asked)
		return fmt.Sprintf("(%s::%s IS NULL OR %s = %s)", p, kind.typ(), ref, p)
	case form == "or" && plain:
		return fmt.Sprintf("(%s = %s OR %s)", ref, k.param(kind), k.test("", s))
	case form == "not" && plain:
		return fmt.Sprintf(pick(k.Rand, []string{"NOT (%s = %s)", "%s <> %s", "%s IS DISTINCT FROM %s"}), ref, k.param(kind))
	case form == "row" && kind.ordered:
		key := s.table.key[0]
		return fmt.Sprintf("(%s, %s) > (%s, %s)", ref, s.of(key), k.param(kind), k.param(key.kind))
	case form == "two":
		return fmt.Sprintf("%s AND %s", k.test("equal", s), k.test("", s))
	}
	return ""
}

// statement puts everything together.
func (k *composer) statement() string {
	if k.cell["wrap"] == "union" || k.cell["wrap"] == "union all" {
		return k.setUnion()
	}
	where := ""
	if len(k.where) > 0 {
		where = " WHERE " + strings.Join(k.where, " AND ")
	}
	body := k.from + where
	window := k.window()
	g := k.grouped()
	switch k.cell["result"] {
	case "group", "having":
		having := ""
		if k.cell["result"] == "having" {
			having = " HAVING " + pick(k.Rand, []string{"count(*) > 1", "count(*) = " + k.paramOf(5, func(r *rand.Rand) string { return itoa(1 + r.IntN(3)) }) + "::int"})
		}
		return fmt.Sprintf("SELECT %s AS g, count(*) AS n%s %s GROUP BY 1%s%s%s", g, k.sums(), body, having, k.orderOf("1", "2 DESC, 1"), window)
	case "distinct":
		return fmt.Sprintf("SELECT DISTINCT %s AS g %s%s%s", g, body, k.orderOf("1", "1 DESC"), window)
	case "distinct rows":
		out, first, second := k.ofOne()
		return fmt.Sprintf("SELECT DISTINCT %s %s%s%s", out, body, k.orderOf(first, second), window)
	case "distinct on":
		return fmt.Sprintf("SELECT DISTINCT ON (%s) %s AS g, %s %s ORDER BY %s%s, %s%s", g, g, k.rows(), body, g,
			pick(k.Rand, []string{"", " DESC", " NULLS FIRST"}), strings.Join(k.order, ", "), window)
	}
	bounded := k.cell["limit"] != "none" || k.cell["offset"] != "none"
	rows := func(out string) string { return fmt.Sprintf("SELECT %s %s%s%s", out, body, k.totalOrder(), window) }
	aggregate := func(direct, value, over string) string {
		if bounded {
			return fmt.Sprintf("SELECT %s FROM (%s) s", over, rows(value+" AS v"))
		}
		return fmt.Sprintf("SELECT %s %s", direct, body)
	}
	switch k.cell["result"] {
	case "count":
		k.e.one = chance(k.Rand, 50)
		return aggregate("count(*) AS n", "1", "count(*) AS n")
	case "count column":
		c := k.nullable()
		return aggregate("count("+c+") AS n, count(*) AS a", c, "count(v) AS n, count(*) AS a")
	case "sum":
		c := k.summed()
		return aggregate("sum("+c+") AS n, count("+c+") AS c", c, "sum(v) AS n, count(v) AS c")
	case "least":
		c := k.least()
		return aggregate("min("+c+") AS a, max("+c+") AS z", c, "min(v) AS a, max(v) AS z")
	case "is there":
		k.e.one = true
		return fmt.Sprintf("SELECT EXISTS (%s) AS found", rows("1"))
	case "plain rows":
		s := k.near()
		if chance(k.Rand, 40) {
			return rows(s.alias + ".*")
		}
		return rows(columnNames(s.table.cols[:len(s.table.key)+k.IntN(len(s.table.cols)-len(s.table.key)+1)], s.alias+"."))
	}
	return rows(k.rows())
}

// setUnion joins the rows with those of another table.
func (k *composer) setUnion() string {
	o := k.next(pick(k.Rand, k.s.tables))
	k.e.unordered = k.cell["order"] == "none"
	where := ""
	if len(k.where) > 0 {
		where = " WHERE " + strings.Join(k.where, " AND ")
	}
	s := k.near()
	both := fmt.Sprintf("SELECT %s::text AS v, %s::text AS w %s%s %s SELECT %s::text, %s FROM %s %s WHERE %s",
		s.of(s.table.key[0]), k.far().of(k.far().table.key[0]), k.from, where, strings.ToUpper(k.cell["wrap"]),
		o.of(o.table.key[0]), pick(k.Rand, []string{"NULL", "'other'"}), o.rel.name, o.alias, k.test("", o))
	window := k.window()
	if k.cell["result"] == "one" {
		return fmt.Sprintf("SELECT * FROM (%s) u ORDER BY v, w LIMIT 1", both)
	}
	order := k.orderOf("1, 2", "2 DESC NULLS LAST, 1")
	switch k.cell["result"] {
	case "count", "count column", "sum", "least", "is there":
		k.e.unordered = false
		return fmt.Sprintf("SELECT count(*) AS n, count(w) AS c, min(v) AS a FROM (%s%s%s) u", both, order, window)
	case "group", "having":
		return fmt.Sprintf("SELECT v, count(*) AS n FROM (%s) u GROUP BY v%s%s", both, k.orderOf("1", "2 DESC, 1"), window)
	case "distinct", "distinct rows", "distinct on":
		return fmt.Sprintf("SELECT DISTINCT w AS v FROM (%s) u%s%s", both, k.orderOf("1", "1 DESC"), window)
	}
	return both + order + window
}

// orderOf orders by columns of the result; without an order answers are compared
// as sets.
func (k *composer) orderOf(first, second string) string {
	k.e.unordered = false
	switch k.cell["order"] {
	case "none":
		k.e.unordered = true
		return ""
	case "ties", "far", "rank desc":
		return " ORDER BY " + second
	case "nulls":
		return " ORDER BY " + first + " NULLS FIRST"
	case "nulls last":
		return " ORDER BY " + first + " DESC NULLS LAST"
	}
	return " ORDER BY " + first
}

// totalOrder ends with the keys of all aliases.
func (k *composer) totalOrder() string {
	k.e.unordered = k.cell["order"] == "none"
	s, how := k.near(), ""
	var c *column
	switch k.cell["order"] {
	case "none":
		return ""
	case "rank":
		c = k.ordered(s, false)
	case "rank desc":
		c, how = k.ordered(s, false), " DESC"
	case "nulls":
		c, how = k.ordered(s, false), pick(k.Rand, []string{" NULLS FIRST", " DESC NULLS FIRST"})
	case "nulls last":
		c, how = k.ordered(s, false), pick(k.Rand, []string{" DESC NULLS LAST", " NULLS LAST"})
	case "text":
		c, how = k.ordered(s, true), pick(k.Rand, []string{"", " DESC", ` COLLATE "C"`, ` COLLATE "C" DESC`})
	case "far":
		s = k.far()
		c = k.ordered(s, false)
	case "ties":
		a, b := k.ordered(s, false), k.ordered(s, true)
		if a != nil && b != nil {
			return fmt.Sprintf(" ORDER BY %s%s, %s, %s", s.of(a), pick(k.Rand, []string{"", " DESC"}), s.of(b), strings.Join(k.order, ", "))
		}
	}
	keys := strings.Join(k.order, ", ")
	if chance(k.Rand, 25) {
		keys = strings.Join(k.order, " DESC, ") + " DESC"
	}
	if c == nil {
		return " ORDER BY " + keys
	}
	return " ORDER BY " + s.of(c) + how + ", " + keys
}

// window returns LIMIT and OFFSET.
func (k *composer) window() string {
	out, most := "", 5
	if k.e.one {
		most = 2
	}
	count := func(r *rand.Rand) string { return itoa(r.IntN(most)) }
	switch k.cell["limit"] {
	case "constant":
		out = " LIMIT " + itoa(1+k.IntN(most-1))
	case "param":
		out = " LIMIT " + k.paramOf(0, count)
		if !k.e.one {
			k.e.params[len(k.e.params)-1].absent = 10
		}
	}
	switch k.cell["offset"] {
	case "constant":
		out += " OFFSET " + itoa(1+k.IntN(2))
	case "param":
		out += " OFFSET " + k.paramOf(10, func(r *rand.Rand) string { return itoa(r.IntN(4)) })
	}
	return out
}

// rows lists result columns: the keys, and some others.
func (k *composer) rows() string {
	var out []string
	for _, s := range k.walk {
		for i, c := range s.table.cols {
			if i < len(s.table.key) || chance(k.Rand, 30) {
				out = append(out, fmt.Sprintf("%s AS %s_%s", s.of(c), s.alias, c.name))
			}
		}
	}
	return strings.Join(append(out, k.extra...), ", ")
}

// column of some alias that satisfies a condition, as a reference.
func (k *composer) some(ok func(*column) bool) string {
	for range 60 {
		s := pick(k.Rand, k.walk)
		if c := pick(k.Rand, s.table.cols); ok(c) {
			return s.of(c)
		}
	}
	return "1"
}

func (k *composer) grouped() string {
	for range 60 {
		s := pick(k.Rand, []*source{k.near(), k.far()})
		if c := pick(k.Rand, s.table.cols); c.kind.alike && c.kind != kindLong {
			return s.of(c)
		}
	}
	return k.near().of(k.near().table.key[0])
}

// ofOne returns columns of one alias, of which equal values are shown alike, and
// two orders of them that are total.
func (k *composer) ofOne() (out, first, second string) {
	s := pick(k.Rand, []*source{k.near(), k.far(), k.far()})
	var names, down []string
	for i, c := range s.table.cols {
		switch {
		case !c.kind.alike || c.kind == kindLong || !c.kind.ordered:
		case i < len(s.table.key) && chance(k.Rand, 70), chance(k.Rand, 20), len(names) == 0 && i >= len(s.table.key):
			names, down = append(names, s.of(c)), append(down, s.of(c)+" DESC")
		}
	}
	if len(names) == 0 {
		names, down = []string{s.of(s.table.key[0])}, []string{s.of(s.table.key[0]) + " DESC"}
	}
	slices.Reverse(down)
	return strings.Join(names, ", "), strings.Join(names, ", "), strings.Join(down, ", ")
}

func (k *composer) nullable() string { return k.some(func(c *column) bool { return c.null }) }

func (k *composer) summed() string {
	return k.some(func(c *column) bool { return c.kind.summed })
}

func (k *composer) least() string {
	return k.some(func(c *column) bool {
		return c.kind.ordered && c.kind.alike && c.kind.sql != "uuid" && c.kind.sql != "bool"
	})
}

func (k *composer) sums() string {
	if chance(k.Rand, 50) {
		return ""
	}
	return fmt.Sprintf(", sum(%s) AS s, count(%s) AS c", k.summed(), k.nullable())
}
