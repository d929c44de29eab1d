package query

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// pageGenerator writes random pages of item, owner and part, whose order is
// total, and rows for them.
type pageGenerator struct {
	rnd  *rand.Rand
	last string // the id that the next inserted row takes
}

func (g *pageGenerator) choose(of ...string) string { return of[g.rnd.IntN(len(of))] }

func (g *pageGenerator) maybe(s string) string { return g.choose("", s) }

// id is one that a row may have.
func (g *pageGenerator) id() string {
	g.last = fmt.Sprint(1 + g.rnd.IntN(16))
	return g.last
}

func (g *pageGenerator) freeID() string { return fmt.Sprint(1 + g.rnd.IntN(30)) }

// value is a random value of a column, as SQL.
func (g *pageGenerator) value(column string) string {
	if column != "a" && column != "day" && g.rnd.IntN(6) == 0 {
		return "NULL"
	}
	switch column {
	case "owner", "grp", "boss":
		return g.choose("1", "2", "3", "4")
	case "a":
		return g.choose("1", "2", "3", "4", "5")
	case "b":
		return g.choose("-5", "0", "7", "9007199254740993", "9007199254740992")
	case "n":
		return g.choose("1.50", "-2.25", "0", "10", "9.99", "'NaN'")
	case "f":
		return g.choose("0.1", "-0.0", "0", "1e300", "'NaN'", "'-Infinity'", "0.30000000000000004")
	case "u":
		return "'" + g.choose("00000000-0000-0000-0000-000000000001", "ffffffff-0000-0000-0000-000000000000", "7f000000-0000-0000-0000-000000000000") + "'"
	case "d":
		return "'" + g.choose("2020-01-01", "2020-01-02", "1999-12-31", "infinity") + "'"
	case "day":
		return "'" + g.choose("2020-01-01", "2020-01-02", "2020-01-03") + "'"
	case "ts", "tz":
		return "'" + g.choose("2020-01-01 00:00:00", "2020-01-01 00:00:00.000001", "1999-12-31 23:59:59.5", "infinity", "-infinity") + "'"
	case "t", "name":
		return g.choose("''", "'a'", "'B'", "'ab'", "'é'", "'z'", `E'\t"\\'`)
	case "bo":
		return g.choose("true", "false")
	case "m":
		return g.choose("'sad'", "'ok'", "'happy'")
	case "p":
		return g.choose("1", "2", "3")
	case "tags":
		return g.choose("'{}'", "'{a,\"b c\",NULL}'")
	case "js":
		return g.choose(`'{"a": 1, "b": [true, null]}'`, `'"x"'`)
	}
	panic(column)
}

// row is a new row with the id that was drawn last.
func (g *pageGenerator) row(table string) []string {
	out := []string{g.last}
	columns := map[string][]string{
		"owner": {"grp", "name", "boss"},
		"part":  {"day", "a", "t"},
		"item":  {"owner", "a", "b", "n", "f", "u", "d", "ts", "tz", "t", "bo", "m", "p", "tags", "js"},
	}[table]
	for _, c := range columns {
		out = append(out, g.value(c))
	}
	return out
}

// fill returns what puts rows into the tables.
func (g *pageGenerator) fill() []string {
	var out []string
	for _, table := range []string{"item", "item", "owner", "part"} {
		for range 4 + g.rnd.IntN(6) {
			g.id()
			out = append(out, "INSERT INTO "+table+" VALUES ("+strings.Join(g.row(table), ", ")+") ON CONFLICT DO NOTHING")
		}
	}
	return out
}

// argument is a random value of a parameter of a URL.
func (g *pageGenerator) argument(name string) (string, bool) {
	switch name {
	case "lim":
		return g.choose("1", "2", "3", "5", "40"), g.rnd.IntN(6) > 0
	case "off":
		return g.choose("0", "1", "2"), g.rnd.IntN(3) > 0
	case "id":
		return fmt.Sprint(1 + g.rnd.IntN(16)), g.rnd.IntN(8) > 0
	case "s":
		return g.choose("", "a", "B", "é", `{,"\`), g.rnd.IntN(5) > 0
	case "list":
		return g.choose("{}", "{1}", "{1,2,NULL}", "{3,4}"), g.rnd.IntN(5) > 0
	case "mood":
		return g.choose("sad", "ok"), g.rnd.IntN(5) > 0
	case "pos":
		return g.choose("1", "2"), true
	case "day":
		return g.choose("2020-01-01", "2020-01-02"), g.rnd.IntN(4) > 0
	case "when":
		return g.choose("2020-01-01", "1999-12-31T23:59:59.5Z"), g.rnd.IntN(5) > 0
	}
	return g.choose("1", "2", "3", "4"), g.rnd.IntN(5) > 0
}

// condition is about item i.
func (g *pageGenerator) condition() string {
	one := func() string {
		return g.choose("i.owner = :x", "i.owner = :x", "i.a > :y", "i.a = :x", "i.a BETWEEN 1 AND :y", "i.t = :s", "i.bo", "NOT i.bo", "i.b IS NULL",
			"i.n >= 0", "i.id <> :x", "i.a NOT IN (1, :y)", "i.owner <> ALL (:list::int[])", "NOT (i.t = :s)", "i.m <> :mood", "NOT (i.a IN (3, :x))", "i.bo <> true", "lower(i.t) = :s", "i.a IN (1, 2, :y)", "(:x::int IS NULL OR i.owner = :x)", "i.owner = ANY (:list::int[])",
			"i.m = :mood", "i.p = :pos::positive", "i.tz <= :when", "i.d IS NOT NULL", "(i.a = 1 OR i.a = :x)", "true")
	}
	out := one()
	for g.rnd.IntN(2) == 0 {
		out += g.choose(" AND ", " AND ", " AND ", " OR ") + one()
	}
	return out
}

// order is an ORDER BY over columns of an alias that ends in what makes it
// total.
func (g *pageGenerator) order(alias string, columns []string, total ...string) string {
	var parts []string
	for range g.rnd.IntN(3) {
		expr := alias + g.choose(columns...)
		if len(columns) != 2 && g.rnd.IntN(12) == 0 {
			expr = "coalesce(" + alias + "id, 2)"
		}
		parts = append(parts, expr)
	}
	parts = append(parts, total...)
	for i := range parts {
		parts[i] += g.choose("", " ASC", " DESC", " DESC") + g.choose("", " NULLS FIRST", " NULLS LAST")
	}
	return " ORDER BY " + strings.Join(parts, ", ")
}

func (g *pageGenerator) limit() string {
	limit := g.choose(" LIMIT 1", " LIMIT 2", " LIMIT 3", " LIMIT 5", " LIMIT :lim", " LIMIT :lim", " LIMIT :lim::int", " FETCH FIRST 2 ROWS ONLY", "")
	offset := g.choose("", "", " OFFSET 1", " OFFSET :off")
	if limit != "" && !strings.HasPrefix(limit, " FETCH") && g.rnd.IntN(6) == 0 {
		return offset + limit
	}
	if strings.HasPrefix(limit, " FETCH") {
		return offset + limit
	}
	return limit + offset
}

// some are random columns of an alias, apart from each other.
func (g *pageGenerator) some(alias string, columns []string, n int) []string {
	out := slices.Clone(columns)
	g.rnd.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	out = out[:n]
	for i := range out {
		out[i] = alias + out[i]
	}
	return out
}

func (g *pageGenerator) statement() string {
	all := append(slices.Clone(pageColumns), "m", "tags", "js")
	list := func(extra ...string) string {
		return strings.Join(append(g.some("i.", all, 1+g.rnd.IntN(4)), extra...), ", ")
	}
	item := g.choose("item", "item", "item", "v_item", "v_owned", "(SELECT * FROM item WHERE a < 5)", "w")
	with := ""
	if item == "w" {
		with = "WITH w AS " + g.maybe("MATERIALIZED ") + "(SELECT * FROM item WHERE a <> 3" + g.maybe(" AND owner = :x") + ") "
	}
	switch g.rnd.IntN(16) {
	case 0, 1, 2, 3:
		// One table, mostly to be followed.
		one := ""
		limit := g.limit()
		if limit == " LIMIT 1" {
			one = g.maybe("-- result: one\n")
		}
		where := g.choose("", " WHERE i.owner = :x", " WHERE i.owner = :x AND i.a > :y", " WHERE i.m = :mood", " WHERE i.owner <> ALL (:list::int[])", " WHERE "+g.condition())
		return one + "SELECT " + g.choose(list(), list(), "*") + " FROM item i" + where + g.order("i.", pageColumns, "i.id") + limit
	case 4:
		// Some by a key of two columns.
		if g.rnd.IntN(2) == 0 {
			// Rows with the same place are the same.
			return "SELECT id, t FROM part WHERE " + g.choose("day = :day", "(:day::date IS NULL OR day = :day)") + g.choose(" ORDER BY t, id", " ORDER BY id, t DESC") + g.limit()
		}
		return "SELECT id, t, day FROM part" + g.choose("", " WHERE a = :y") + g.order("", []string{"a", "t", "day"}, g.choose("id, day", "day, id")) + g.limit()
	case 5:
		one := g.maybe("-- result: one\n")
		return one + "SELECT " + list() + " FROM item i WHERE i.id = :id" + g.choose("", " AND i.owner = :x", " LIMIT 1")
	case 6:
		return "SELECT count(*) AS n, count(i.b) AS nb, sum(i.a) AS sa, sum(i.owner) AS so, sum(b) AS sb" + g.choose("", ", sum(n) AS sn", ", max(a) AS ma") +
			" FROM item i" + g.choose("", " WHERE i.owner = :x", " WHERE "+g.condition())
	case 7:
		join := g.choose(" JOIN ", " LEFT JOIN ", " RIGHT JOIN ", " FULL JOIN ")
		from := g.choose("i.", "w.")
		columns := pageColumns
		if from == "w." {
			columns = []string{"id", "grp", "name"}
		}
		return "SELECT i.id AS i, w.id AS w, w.name FROM item i" + join + "owner w ON w.id = i.owner WHERE " + g.condition() +
			g.order(from, columns, "i.id", "w.id") + g.limit()
	case 8:
		columns := g.some("", pageColumns, 2)
		return "SELECT DISTINCT i." + strings.Join(columns, ", i.") + " FROM item i WHERE " + g.condition() + g.order("i.", columns, "i."+columns[0], "i."+columns[1]) + g.limit()
	case 9:
		columns := g.some("i.", pageColumns, 2)
		if g.rnd.IntN(3) == 0 {
			key := g.choose("i", "i", "w")
			return "SELECT " + key + ".id, count(*), max(w.name), sum(i.a) FROM item i" + g.choose(" JOIN ", " LEFT JOIN ") + "owner w ON w.id " + g.choose("=", "<") + " i.owner GROUP BY " +
				key + ".id" + g.order(key+".", map[string][]string{"i": pageColumns, "w": {"id", "grp", "name"}}[key], key+".id") + g.limit()
		}
		return "SELECT " + g.maybe(columns[1]+" AS k, ") + "count(*), sum(i.b) FROM item i WHERE " + g.condition() + " GROUP BY " + strings.Join(columns, ", ") +
			g.maybe(" HAVING count(*) > 1 OR max(i.a) > 3") + g.choose(" ORDER BY ", " ORDER BY ", " ORDER BY count(*) DESC, ") + columns[0] + g.maybe(" DESC") + ", " + columns[1] + g.limit()
	case 10:
		return "SELECT i.id, i.t, (SELECT count(*) FROM item j WHERE j.owner = i.owner AND j.a < i.a) AS less FROM item i WHERE " +
			g.maybe("NOT ") + "EXISTS (SELECT 1 FROM item k WHERE k.owner = i.owner AND k.a = :y)" + g.order("i.", pageColumns, "i.id") + g.limit()
	case 11:
		return "SELECT i.id AS i, j.id AS j, j.t FROM item i" + g.choose(" JOIN ", " LEFT JOIN ") + "item j ON j.owner = i.owner AND j." + g.choose("a > i.a", "id <> i.id") + g.choose("", " WHERE i.id = :id") +
			g.order(g.choose("i.", "j."), pageColumns, "i.id", "j.id") + g.limit()
	case 13:
		// Those that look at all rows, or have an order of their own.
		switch g.rnd.IntN(4) {
		case 0:
			return "SELECT i.id, rank() OVER (ORDER BY i." + g.choose(pageColumns...) + " DESC), count(*) OVER () FROM item i" + g.order("i.", pageColumns, "i.id") + g.limit()
		case 1:
			return "SELECT DISTINCT ON (i.a) i.a, i.id, i.t FROM item i ORDER BY i.a" + g.maybe(" DESC") + ", i." + g.choose(pageColumns...) + g.maybe(" DESC") + ", i.id" + g.limit()
		case 2:
			return "SELECT i.id, i.a FROM item i WHERE i.owner = :x UNION SELECT w.id, w.grp FROM owner w ORDER BY 2 DESC, 1" + g.limit()
		}
		return "SELECT i.id, i.a, generate_series(1, i.a) AS n FROM item i ORDER BY i.a, i.id, n" + g.limit()
	case 12:
		return "SELECT w.name, l.id FROM owner w" + g.choose(" JOIN ", " LEFT JOIN ") + "LATERAL (SELECT j.id, j.a FROM item j WHERE j.owner = w.id" +
			g.choose("", " ORDER BY j.a, j.id LIMIT 1") + ") l" + " ON true" + g.order(g.choose("w.", "l."), []string{"id"}, "w.id", "l.id") + g.limit()
	}
	return with + "SELECT " + list() + " FROM " + item + " i WHERE " + g.condition() + g.order("i.", pageColumns, "i.id") + g.limit()
}
