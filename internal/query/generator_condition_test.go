package query

import "fmt"

// condition is a boolean expression. It is mostly about cols; outer are
// columns of queries further out.
func (g *generator) condition(depth int, cols, outer []named) string {
	switch n := g.rnd.IntN(10); {
	case depth < -2:
	case n < 4:
		return "(" + g.condition(depth-1, cols, outer) + g.choose(" AND ", " AND ", " AND ", " OR ") + g.condition(depth-1, cols, outer) + ")"
	case n == 4:
		if g.rnd.IntN(3) == 0 {
			return "NOT (" + g.condition(depth-1, cols, outer) + ")"
		}
	case n == 5:
		if depth > 0 {
			return g.nested(depth, cols, outer)
		}
	}
	return g.leaf(cols, outer)
}

// nested is a condition with a query inside.
func (g *generator) nested(depth int, cols, outer []named) string {
	around := append(append([]named(nil), outer...), cols...)
	from, inner := g.from(depth-1, nil)
	where := g.condition(depth-1, inner, around)
	c := g.pick(cols)
	if col, ok := g.ofType(inner, c.typ); ok {
		switch g.rnd.IntN(4) {
		case 0:
			return c.name + g.choose(" IN (", " NOT IN (") + "SELECT " + col + " FROM " + from + " WHERE " + where + ")"
		case 1:
			return c.name + " = (SELECT max(" + col + "::text)::" + c.typ + " FROM " + from + " WHERE " + where + ")"
		default:
			where = col + " = " + c.name + " AND " + where
		}
	}
	return g.choose("", "NOT ") + "EXISTS (SELECT 1 FROM " + from + " WHERE " + where + ")"
}

func (g *generator) leaf(cols, outer []named) string {
	c := g.pick(cols)
	x := c.name
	op := g.choose("=", "=", "=", "=", "<", "<=", ">", ">=", "<>")
	switch g.rnd.IntN(17) {
	case 0, 1, 2:
		return fmt.Sprintf("%s %s %s", x, op, g.scalar(c.typ))
	case 3:
		return fmt.Sprintf("%s %s %s", g.scalar(c.typ), op, x)
	case 4:
		return fmt.Sprintf("%s %s (%s, %s)", x, g.choose("IN", "NOT IN"), g.scalar(c.typ), g.scalar(c.typ))
	case 5:
		any := g.choose("= ANY", "= ANY", "= ANY", "<> ALL", "<> ALL", "<> ANY", "= ALL")
		if c.typ == "int" || c.typ == "text" {
			return fmt.Sprintf("%s %s (%s)", x, any, g.choose(g.param(c.typ+"[]"), g.literal(c.typ+"[]", false)))
		}
		return fmt.Sprintf("%s %s (ARRAY[%s, %s])", x, any, g.literal(c.typ, true), g.literal(c.typ, true))
	case 6:
		return fmt.Sprintf("%s BETWEEN %s AND %s", x, g.scalar(c.typ), g.scalar(c.typ))
	case 7:
		return x + g.choose(" IS NULL", " IS NOT NULL")
	case 8:
		p := g.param(c.typ)
		return fmt.Sprintf("(%s IS NULL OR %s = %s)", p, x, p)
	case 9:
		return fmt.Sprintf("%s = coalesce(%s, %s)", x, g.param(c.typ), x)
	case 10:
		return fmt.Sprintf("%s %s %s", g.scalar(c.typ), op, g.scalar(c.typ))
	case 11:
		if b, ok := g.ofType(cols, "bool"); ok {
			return g.choose("", "NOT ") + b + g.choose("", "", " IS TRUE", " IS FALSE", " IS NOT TRUE")
		}
		return g.choose("true", "false", "NULL::bool", g.param("bool"))
	case 12:
		if o, ok := g.ofType(outer, c.typ); ok {
			return fmt.Sprintf("%s %s %s", x, op, o)
		}
		o, _ := g.ofType(cols, c.typ)
		return fmt.Sprintf("%s %s %s", x, op, o)
	case 13:
		d := g.pick(cols)
		return fmt.Sprintf("(%s, %s) %s (%s, %s)", x, d.name, op, g.scalar(c.typ), g.scalar(d.typ))
	case 14:
		p := g.param(c.typ)
		return fmt.Sprintf("CASE WHEN %s IS NULL THEN %s ELSE %s %s %s END", p, g.choose("true", "false"), x, op, p)
	case 15:
		return fmt.Sprintf("coalesce(%s, %s) %s %s", x, g.literal(c.typ, false), op, g.scalar(c.typ))
	}
	return fmt.Sprintf("(%s %s %s) IS NOT NULL", x, op, g.scalar(c.typ))
}
