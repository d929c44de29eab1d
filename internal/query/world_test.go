package query

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// world is a schema with queries over it.
type world struct {
	name, schema string
	reader       string // the role
	tables       []string
	columns      map[string][]named
	// query makes a query.
	query func(rnd *rand.Rand) randomQuery
	needs []string // mechanisms that have to be used
}

// randomQuery is a query with the types of its parameters.
type randomQuery struct {
	sql     string
	params  map[string]string
	shapes  []string
	ordered bool
	value   func(typ string) string // in text form
	literal func(typ string) string
	row     func(table string) string
}

var worlds = []world{
	{"shop", shopSchema, "none", shopTables, shopColumns, func(rnd *rand.Rand) randomQuery {
		g := &shop{rnd: rnd}
		return randomQuery{g.statement(), g.params, g.shapes, g.ordered, g.value, g.literal, g.row}
	}, nil},
	{"chosen", shopSchema, "none", shopTables, shopColumns, func(rnd *rand.Rand) randomQuery {
		g := &shop{rnd: rnd, params: map[string]string{}}
		sql := chosen[rnd.IntN(len(chosen))]
		g.ordered = strings.Contains(sql, "-- ordered")
		sql = chosenParam.ReplaceAllStringFunc(sql, func(m string) string {
			g.params[m[2:]] = m[2:]
			return m + "::" + sqlType(m[2:])
		})
		return randomQuery{sql, g.params, nil, g.ordered, g.value, g.literal, g.row}
	}, nil},
	{"distinct", shopSchema, "none", []string{"org", "usr", "proj", "member", "task", "task", "usr"}, shopColumns, func(rnd *rand.Rand) randomQuery {
		g := &shop{rnd: rnd, params: map[string]string{}}
		return randomQuery{g.distinct(), g.params, nil, false, g.value, g.literal, g.row}
	}, []string{"chains"}},
	{"asked", shopSchema, "none", []string{"task", "task", "task", "task", "task", "task", "task", "task", "proj", "usr"}, shopColumns, func(rnd *rand.Rand) randomQuery {
		g := &shop{rnd: rnd, params: map[string]string{}, most: 9}
		return randomQuery{g.asked(), g.params, nil, false, g.value, g.literal, g.row}
	}, []string{"a witness less", "a witness more"}},
	{"members", shopSchema, "none", []string{"usr", "usr", "usr", "member", "proj", "task", "task", "task", "task"}, shopColumns, func(rnd *rand.Rand) randomQuery {
		g := &shop{rnd: rnd, params: map[string]string{}}
		return randomQuery{g.ofMembers(), g.params, nil, true, g.value, g.literal, g.row}
	}, []string{"idle values"}},
	{"two ways", shopSchema, "none", []string{"member", "task", "proj", "usr", "member", "task", "task"}, shopColumns, func(rnd *rand.Rand) randomQuery {
		g := &shop{rnd: rnd, params: map[string]string{}, most: 8}
		return randomQuery{g.inTwoWays(), g.params, nil, true, g.value, g.literal, g.row}
	}, nil},
	{"in turn", shopSchema, "none", []string{"usr", "usr", "usr", "member", "proj", "task", "task", "task", "task"}, shopColumns, func(rnd *rand.Rand) randomQuery {
		g := &shop{rnd: rnd, params: map[string]string{}, most: 8}
		return randomQuery{g.inTurn(), g.params, nil, true, g.value, g.literal, g.row}
	}, []string{"further tables of the order"}},
	{"nested", nestedSchema, "none", []string{"node", "leaf", "leaf_child", "leaf"}, nestedColumns, func(rnd *rand.Rand) randomQuery {
		g := &nested{rnd: rnd}
		return g.statement()
	}, nil},
	{"views", oracleSchema + attemptsFunction, "oracle_reader", []string{"a", "a", "b", "b", "a_child", "secret"}, tableColumns, func(rnd *rand.Rand) randomQuery {
		g := &generator{rnd: rnd}
		return randomQuery{g.statement(), g.params, nil, false, g.value, func(typ string) string { return g.literal(typ, false) }, g.row}
	}, nil},
}

// change is a statement that changes one row. Many of them go in circles, as the
// rows of applications do: a row that was deleted comes back as it was, and one
// that is updated gets what another row has, in several columns at once.
func (w *world) change(q *randomQuery, rnd *rand.Rand, table string) string {
	columns := w.columns[table]
	one := fmt.Sprintf("WITH x AS (SELECT ctid AS at, %s AS j FROM ONLY %s x ORDER BY ctid OFFSET %d LIMIT 1)",
		textArray("x", columns), table, rnd.IntN(6))
	after := textArray(table, columns)
	gone := "refine." + table
	switch rnd.IntN(11) {
	case 0:
		return fmt.Sprintf("INSERT INTO %s VALUES (%s) RETURNING NULL::text[], %s", table, q.row(table), after)
	case 1, 10:
		// What it is joined by is what a row of another table has.
		other := w.tables[rnd.IntN(len(w.tables))]
		var values []string
		for _, c := range columns {
			v := q.literal(c.typ)
			if c.name != "id" && slices.Contains(w.columns[other], c) {
				v = "y." + c.name
			}
			values = append(values, v)
		}
		return fmt.Sprintf("INSERT INTO %s SELECT %s FROM (SELECT * FROM ONLY %s ORDER BY ctid DESC OFFSET %d LIMIT 1) y RETURNING NULL::text[], %s",
			table, strings.Join(values, ", "), other, rnd.IntN(3), after)
	case 2, 3:
		return one + fmt.Sprintf(`, gone AS (DELETE FROM ONLY %[1]s USING x WHERE %[1]s.ctid = at RETURNING %[1]s.*)
			SELECT j, NULL::text[] FROM x, gone WHERE set_config('%[2]s', row_to_json(gone)::text, true) <> ''`, table, gone)
	case 4, 5:
		return fmt.Sprintf(`INSERT INTO %[1]s SELECT (json_populate_record(NULL::%[1]s, g::json)).* FROM nullif(current_setting('%[2]s', true), '') g
			WHERE g IS NOT NULL RETURNING NULL::text[], %[3]s`, table, gone, after)
	}
	n, other := 1+rnd.IntN(2), false
	if rnd.IntN(3) == 0 {
		n, other = 1+rnd.IntN(len(columns)), true
		one += fmt.Sprintf(", y AS (SELECT * FROM ONLY %s y ORDER BY ctid OFFSET %d LIMIT 1)", table, rnd.IntN(6))
	}
	var set []string
	for _, i := range rnd.Perm(len(columns))[:n] {
		v := "NULL"
		switch {
		case other && rnd.IntN(3) > 0:
			v = "y." + columns[i].name
		case rnd.IntN(10) > 0:
			v = q.literal(columns[i].typ)
		}
		set = append(set, columns[i].name+" = "+v)
	}
	from := "x"
	if other {
		from = "x, y"
	}
	return one + fmt.Sprintf(" UPDATE ONLY %[1]s SET %[2]s FROM %[3]s WHERE %[1]s.ctid = at RETURNING j, %[4]s", table, strings.Join(set, ", "), from, after)
}
