package oracle

import (
	"fmt"
	"strings"
)

// shapes are the forms of queries. Each returns "" where the schema has nothing
// for it. All results have one order, because answers are compared as bytes.
var shapes = []func(*builder) string{
	list, list, list, count, groups, having, join, leftJoin, selfJoin, fullJoin, exists, exists, inSubquery, union,
	distinct, cte, window, lateral, scalarSubquery, callSet, callNumber, fold, recursive, except, aggregate, byKey, constants,
}

// byKey looks one row up, with the key in the path.
func byKey(b *builder) string {
	rel := b.relation()
	var tests []string
	b.e.route = "/" + b.e.name
	for _, c := range rel.key {
		p := &param{name: "k_" + c.name, inPath: true, value: c.kind.asked}
		b.e.params = append(b.e.params, p)
		b.e.route += "/{" + p.name + "}"
		tests = append(tests, fmt.Sprintf("x.%s = :%s", c.name, p.name))
	}
	b.e.one = true
	return fmt.Sprintf("SELECT %s FROM %s x WHERE %s", b.output(rel, "x"), rel.name, strings.Join(tests, " AND "))
}

func list(b *builder) string {
	rel := b.relation()
	return fmt.Sprintf("SELECT %s FROM %s x WHERE %s%s%s", b.output(rel, "x"), rel.name, b.where(rel, "x"), b.order(rel, "x"), b.limit())
}

func count(b *builder) string {
	rel := b.relation()
	b.e.one = true
	return fmt.Sprintf("SELECT count(*) AS n FROM %s x WHERE %s", rel.name, b.where(rel, "x"))
}

func aggregate(b *builder) string {
	rel := b.relation()
	out := []string{"count(*) AS n", "count(DISTINCT x." + rel.key[0].name + ") AS d"}
	for i, c := range rel.cols {
		switch {
		case c.kind.summed && c.kind.alike:
			out = append(out, fmt.Sprintf("sum(x.%s) AS s%d, max(x.%s) FILTER (WHERE x.%s IS NOT NULL) AS m%d", c.name, i, c.name, rel.key[0].name, i))
		case c.kind.summed:
			out = append(out, fmt.Sprintf("avg(x.%s) AS a%d", c.name, i))
		case c.kind.sql == "bool":
			out = append(out, fmt.Sprintf("bool_or(x.%s) AS o%d", c.name, i))
		case c.kind.alike && c.kind != kindLong && !c.kind.array():
			out = append(out, fmt.Sprintf("array_agg(x.%s ORDER BY %s) AS g%d", c.name, columnNames(rel.key, "x."), i))
		}
	}
	return fmt.Sprintf("SELECT %s FROM %s x WHERE %s", strings.Join(out, ", "), rel.name, b.where(rel, "x"))
}

func groups(b *builder) string {
	rel := b.relation()
	c := b.column(rel, func(k *kind) bool { return k.alike })
	return fmt.Sprintf("SELECT x.%s, count(*) AS n, min(x.%s::text) AS least FROM %s x WHERE %s GROUP BY x.%s ORDER BY x.%s NULLS FIRST%s",
		c.name, rel.key[0].name, rel.name, b.where(rel, "x"), c.name, c.name, b.limit())
}

func having(b *builder) string {
	rel := b.relation()
	c := b.column(rel, func(k *kind) bool { return k.alike })
	return fmt.Sprintf("SELECT x.%s AS c, count(*) AS n FROM %s x GROUP BY x.%s HAVING count(*) > 1 AND (%s) IS NOT FALSE ORDER BY 1 NULLS LAST",
		c.name, rel.name, c.name, "x."+c.name+" = "+b.param(c.kind))
}

// reference picks a relation with a column that holds another one's ids.
func (b *builder) reference() (from *relation, by *column, to *relation) {
	for range 40 {
		from = b.relation()
		for _, c := range from.cols {
			if c.refs == nil || !chance(b.Rand, 60) {
				continue
			}
			for _, o := range b.s.read {
				if o.name == c.refs.name {
					return from, c, o
				}
			}
		}
	}
	return nil, nil, nil
}

func join(b *builder) string {
	from, by, to := b.reference()
	if from == nil {
		return ""
	}
	where := b.where(from, "x")
	if chance(b.Rand, 60) {
		where = b.where(to, "y")
	}
	return fmt.Sprintf("SELECT %s, %s FROM %s x JOIN %s y ON y.%s = x.%s WHERE %s ORDER BY %s%s",
		columnNames(from.cols, "x."), columnNames(to.cols, "y."), from.name, to.name, to.key[0].name, by.name, where,
		columnNames(from.key, "x."), b.limit())
}

func leftJoin(b *builder) string {
	from, by, to := b.reference()
	if from == nil {
		return ""
	}
	on := ""
	if chance(b.Rand, 50) {
		on = " AND (" + b.condition(to, "y") + ")"
	}
	return fmt.Sprintf("SELECT %s, %s FROM %s x LEFT JOIN %s y ON y.%s = x.%s%s WHERE %s ORDER BY %s",
		columnNames(from.key, "x."), columnNames(to.cols, "y."), from.name, to.name, to.key[0].name, by.name, on,
		b.where(from, "x"), columnNames(from.key, "x."))
}

func fullJoin(b *builder) string {
	from, by, to := b.reference()
	if from == nil {
		return ""
	}
	return fmt.Sprintf("SELECT %s, %s FROM %s x FULL JOIN (SELECT * FROM %s z WHERE %s) y ON y.%s = x.%s ORDER BY %s, %s",
		columnNames(from.key, "x."), columnNames(to.key, "y."), from.name, to.name, b.where(to, "z"), to.key[0].name, by.name,
		columnNames(from.key, "x."), columnNames(to.key, "y."))
}

func selfJoin(b *builder) string {
	rel := b.relation()
	c := b.column(rel, func(k *kind) bool { return k.alike && k.comparable() })
	if c == nil {
		return ""
	}
	return fmt.Sprintf("SELECT %s, %s FROM %s x JOIN %s y USING (%s) WHERE %s ORDER BY %s, %s LIMIT 6",
		columnNames(rel.key, "x."), columnNames(rel.key, "y."), rel.name, rel.name, c.name,
		b.where(rel, "x"), columnNames(rel.key, "x."), columnNames(rel.key, "y."))
}

func exists(b *builder) string {
	from, by, to := b.reference()
	if from == nil {
		return ""
	}
	not := pick(b.Rand, []string{"", "NOT "})
	if chance(b.Rand, 50) {
		return fmt.Sprintf("SELECT %s FROM %s x WHERE %sEXISTS (SELECT 1 FROM %s y WHERE y.%s = x.%s AND (%s))%s",
			b.output(to, "x"), to.name, not, from.name, by.name, to.key[0].name, b.where(from, "y"), b.order(to, "x"))
	}
	return fmt.Sprintf("SELECT %s FROM %s x WHERE (%s) AND %sEXISTS (SELECT FROM %s y WHERE y.%s = x.%s AND (%s))%s",
		b.output(from, "x"), from.name, b.where(from, "x"), not, to.name, to.key[0].name, by.name, b.where(to, "y"), b.order(from, "x"))
}

func inSubquery(b *builder) string {
	from, by, to := b.reference()
	if from == nil {
		return ""
	}
	return fmt.Sprintf("SELECT %s FROM %s x WHERE x.%s %sIN (SELECT y.%s FROM %s y WHERE %s AND y.%s IS NOT NULL)%s%s",
		b.output(to, "x"), to.name, to.key[0].name, pick(b.Rand, []string{"", "NOT "}), by.name, from.name, b.where(from, "y"), by.name,
		b.order(to, "x"), b.limit())
}

func (b *builder) setOperation(op string) string {
	rel, other := b.relation(), b.relation()
	return fmt.Sprintf("SELECT x.%s::text AS v, 1 AS n FROM %s x WHERE %s %s SELECT y.%s::text, 1 FROM %s y WHERE %s ORDER BY 1, 2",
		rel.key[0].name, rel.name, b.where(rel, "x"), op, other.key[0].name, other.name, b.where(other, "y"))
}

func union(b *builder) string { return b.setOperation(pick(b.Rand, []string{"UNION", "UNION ALL"})) }

func except(b *builder) string { return b.setOperation(pick(b.Rand, []string{"EXCEPT", "INTERSECT"})) }

func distinct(b *builder) string {
	rel := b.relation()
	c := b.column(rel, func(k *kind) bool { return k.alike })
	if chance(b.Rand, 40) {
		return fmt.Sprintf("SELECT DISTINCT ON (x.%s) x.%s, %s FROM %s x WHERE %s ORDER BY x.%s, %s",
			c.name, c.name, columnNames(rel.key, "x."), rel.name, b.where(rel, "x"), c.name, columnNames(rel.key, "x."))
	}
	return fmt.Sprintf("SELECT DISTINCT x.%s FROM %s x WHERE %s ORDER BY 1%s", c.name, rel.name, b.where(rel, "x"), b.limit())
}

func cte(b *builder) string {
	rel := b.relation()
	return fmt.Sprintf("WITH w AS %s(SELECT x.* FROM %s x WHERE %s) SELECT %s, (SELECT count(*) FROM w) AS n FROM w WHERE %s%s",
		pick(b.Rand, []string{"", "MATERIALIZED ", "NOT MATERIALIZED "}), rel.name, b.where(rel, "x"), b.output(rel, "w"),
		b.condition(rel, "w"), b.order(rel, "w"))
}

func recursive(b *builder) string {
	from, by, _ := b.reference()
	if from == nil || from.key[0].kind.sql != "int" {
		return ""
	}
	return fmt.Sprintf("WITH RECURSIVE w(id, depth) AS (SELECT x.%s, 0 FROM %s x WHERE %s UNION SELECT y.%s, w.depth + 1 FROM w JOIN %s y ON y.%s = w.id WHERE w.depth < 3) SELECT id, depth FROM w ORDER BY 1, 2",
		from.key[0].name, from.name, b.where(from, "x"), from.key[0].name, from.name, by.name)
}

func window(b *builder) string {
	rel := b.relation()
	c := b.column(rel, func(k *kind) bool { return k.alike })
	return fmt.Sprintf("SELECT %s, row_number() OVER (PARTITION BY x.%s ORDER BY %s) AS n, count(*) OVER () AS total FROM %s x WHERE %s ORDER BY %s",
		columnNames(rel.key, "x."), c.name, columnNames(rel.key, "x."), rel.name, b.where(rel, "x"), columnNames(rel.key, "x."))
}

func lateral(b *builder) string {
	from, by, to := b.reference()
	if from == nil {
		return ""
	}
	return fmt.Sprintf("SELECT %s, y.* FROM %s x, LATERAL (SELECT z.* FROM %s z WHERE z.%s = x.%s AND (%s)%s LIMIT 2) y ORDER BY %s, %s",
		columnNames(to.key, "x."), to.name, from.name, by.name, to.key[0].name, b.where(from, "z"), b.order(from, "z"),
		columnNames(to.key, "x."), columnNames(from.key, "y."))
}

func scalarSubquery(b *builder) string {
	from, by, to := b.reference()
	if from == nil {
		return ""
	}
	return fmt.Sprintf("SELECT %s, (SELECT count(*) FROM %s y WHERE y.%s = x.%s AND (%s)) AS n FROM %s x WHERE %s%s",
		columnNames(to.key, "x."), from.name, by.name, to.key[0].name, b.condition(from, "y"), to.name, b.where(to, "x"), b.order(to, "x"))
}

func callSet(b *builder) string {
	for _, f := range b.s.functions {
		if f.set != nil {
			rel := &relation{f.name, f.set.cols, f.set.key}
			return fmt.Sprintf("SELECT %s FROM %s(%s) x%s", b.output(rel, "x"), f.name, b.param(f.arg.kind), b.order(rel, "x"))
		}
	}
	return ""
}

func callNumber(b *builder) string {
	for _, f := range b.s.functions {
		if f.set == nil {
			rel := b.relation()
			return fmt.Sprintf("SELECT %s, %s(%s) AS n FROM %s x WHERE %s%s", columnNames(rel.key, "x."), f.name, b.param(f.arg.kind),
				rel.name, b.where(rel, "x"), b.order(rel, "x"))
		}
	}
	return ""
}

// fold makes one row of JSON from many.
func fold(b *builder) string {
	rel := b.relation()
	b.e.one = true
	return fmt.Sprintf("SELECT coalesce(json_agg(row_to_json(x)%s), '[]') AS items FROM %s x WHERE %s", b.order(rel, "x"), rel.name, b.where(rel, "x"))
}

// constants has conditions that no parameter takes part in, and that cannot hold
// at times.
func constants(b *builder) string {
	rel := b.relation()
	return fmt.Sprintf("SELECT %s FROM %s x WHERE %s AND %s > %s%s", b.output(rel, "x"), rel.name, b.where(rel, "x"),
		b.paramOf(20, kindPart.asked)+"::int", itoa(b.IntN(3)), b.order(rel, "x"))
}
