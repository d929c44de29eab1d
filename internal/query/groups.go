package query

import (
	"slices"
	"strconv"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/match"
)

// Groups. A nested query with ORDER BY and LIMIT shows the first rows of a table
// for each row around it, and has an edge for each of them. With d in the row
// around it, it sees the rows whose column equals d, in order, and stops after
// OFFSET and LIMIT of them. Where there are so many, the last of these is the end
// of the group of d: a version of a row that sorts after it is not among them and
// does not move them, as long as they stay. A change of one of them is of a row
// at or before the end, and touches the answer, which then ends. So does a change
// of which values there are for d, by what is known of the row around.
//
// That there are enough rows at or before the end has to be certain, so every
// condition of the nested query is written exactly, or there are no groups.

// maxGroupRow bounds LIMIT and OFFSET where ends of groups are asked for.
const maxGroupRow = 1 << 20

// groupPlan says which rows of one reference sort after the end of their group.
type groupPlan struct {
	ref           int
	same          []match.KeyColumn // what the rows of a group have in common
	order         []match.OrderColumn
	limit, offset *scalar // offset is nil where there is none
}

// groups makes the statements that find the ends of groups.
func (a *analysis) groups(e *Endpoint, t *tree) {
	for _, l := range a.levels {
		if l == a.levels[0] || l.query == nil {
			continue
		}
		if ref, _, _ := a.asked(l); ref != nil {
			continue // a witness says more
		}
		ref, joins, conditions := a.grouped(l)
		if ref == nil || t.ranks[ref.index] == rankUnique || e.pages.edge != nil && e.pages.edge.ref == ref.index {
			continue
		}
		g := &groupPlan{ref: ref.index, limit: a.scalar(l.frame, l.query.Child("limitCount"))}
		if g.limit == nil {
			continue
		}
		if offset := l.query.Child("limitOffset"); offset != nil {
			if g.offset = a.scalar(l.frame, offset); g.offset == nil {
				continue
			}
		}
		for _, o := range a.ordering(l) {
			if o.col.ref != ref.index {
				break
			}
			g.order = append(g.order, o.OrderColumn)
		}
		var same []*columnRef
		for _, j := range joins {
			same = append(same, j.to)
			g.same = append(g.same, match.KeyColumn{Column: j.to.name, Type: catalog.OID(j.to.typ), Class: j.to.class})
		}
		if len(g.order) == 0 || a.single(ref, same, conditions) {
			continue
		}
		a.ask(e, keyStatement{single: a.groupStatement(e, t, g, joins, conditions), group: g})
	}
}

// grouped returns the only table of a level that shows some rows of it in an
// order, the columns that have to equal some of rows around, and the other
// conditions; nil for other levels.
func (a *analysis) grouped(l *level) (ref *tableRef, joins []edge, conditions []*condition) {
	q := l.query
	if ref = a.alone(l); ref == nil || q.Child("limitCount") == nil || q.Int("limitOption") != 0 || len(q.List("distinctClause")) > 0 ||
		len(q.List("rowMarks")) > 0 {
		return nil, nil, nil
	}
	joins, conditions, ok := a.correlated(l, ref)
	if !ok {
		return nil, nil, nil
	}
	for i, j := range joins {
		if a.withIdentity(nil, j.to) == nil || j.from.ref != joins[0].from.ref {
			return nil, nil, nil
		}
		// Of one column that has to equal two, no group says both.
		if slices.ContainsFunc(joins[:i], func(o edge) bool { return o.to.key() == j.to.key() }) {
			return nil, nil, nil
		}
	}
	return ref, joins, conditions
}

// groupStatement asks for the end of the group of each value that rows around
// have.
func (a *analysis) groupStatement(e *Endpoint, t *tree, g *groupPlan, joins []edge, conditions []*condition) string {
	r := renderer{a: a, aliases: map[int]string{g.ref: "w"}}
	var columns, where, order []string
	for _, j := range joins {
		columns = append(columns, r.column(j.to))
	}
	for _, o := range g.order {
		column := "w." + quoteName(o.Column)
		columns = append(columns, column)
		if c := a.refs[g.ref].rel.named(o.Column); o.Class == match.ClassText && (c == nil || !a.srv.bytewise(c.collation)) {
			column += ` COLLATE "C"`
		}
		order = append(order, column+map[bool]string{false: " ASC", true: " DESC"}[o.Desc]+map[bool]string{false: " NULLS LAST", true: " NULLS FIRST"}[o.NullsFirst])
	}
	for _, c := range conditions {
		s, ok := r.condition(c, true)
		if !ok {
			return ""
		}
		where = append(where, s)
	}
	outer := ""
	if len(joins) > 0 {
		around, ok := a.around(e, t, joins)
		if !ok {
			return ""
		}
		outer = around + " AS k CROSS JOIN LATERAL "
		for i, j := range joins {
			value := "k.k" + strconv.Itoa(i)
			if a.collation(j.from) != a.collation(j.to) {
				value += ` COLLATE "C"`
			}
			// Under another collation more rows could be equal.
			where = append(where, "("+r.text(j.to)+comparisonOf(btreeEqual)+value+")")
		}
	}
	last := g.last(r)
	if last == "" {
		return ""
	}
	from := quoteName(a.refs[g.ref].rel.schema) + "." + quoteName(a.refs[g.ref].rel.name) + " AS w"
	if !a.refs[g.ref].entry.node.Bool("inh") {
		from = "ONLY " + from
	}
	sql := "SELECT " + strings.Join(columns, ", ") + " FROM " + from
	if len(where) > 0 {
		sql += " WHERE " + strings.Join(where, " AND ")
	}
	sql += " ORDER BY " + strings.Join(order, ", ") + last
	if outer == "" {
		return sql
	}
	return "SELECT w.* FROM " + outer + "(" + sql + ") AS w LIMIT " + strconv.Itoa(MaxKeyRows+1)
}

// around writes a query for the values that joins compare with, as k0, k1 ...
func (a *analysis) around(e *Endpoint, t *tree, joins []edge) (string, bool) {
	at := joins[0].from.ref
	path := t.path(at)
	if a.refs[at].loose || !a.readable(a.refs[at]) || a.costly(e, t, path) {
		return "", false
	}
	r := renderer{a: a, aliases: map[int]string{}}
	for i, ref := range path {
		r.aliases[ref] = "t" + strconv.Itoa(i)
	}
	var names, where []string
	for i, j := range joins {
		names = append(names, r.column(j.from)+" AS k"+strconv.Itoa(i))
		where = append(where, r.column(j.from)+" IS NOT NULL")
	}
	tables, conditions := a.along(e, t, r, path)
	return "(SELECT DISTINCT " + strings.Join(names, ", ") + " FROM " + tables + " WHERE " + strings.Join(append(conditions, where...), " AND ") + ")", true
}

// last writes the LIMIT of the last row that the nested query shows where it is
// full. There is none where parameters ask for all, or for none.
func (g *groupPlan) last(r renderer) string {
	if n, known := g.number(&Binding{}); known {
		if n < 1 || n > maxGroupRow {
			return ""
		}
		return " LIMIT 1 OFFSET " + strconv.Itoa(n-1)
	}
	limit, ok := r.scalar(g.limit)
	limit, offset := "CAST("+limit+" AS pg_catalog.int8)", "CAST(0 AS pg_catalog.int8)"
	if g.offset != nil {
		s, known := r.scalar(g.offset)
		offset, ok = "COALESCE(CAST("+s+" AS pg_catalog.int8), 0)", ok && known
	}
	within := func(s string, least int) string {
		return s + comparisonOf(btreeGreaterEqual) + strconv.Itoa(least) + " AND " + s + comparisonOf(btreeLessEqual) + strconv.Itoa(maxGroupRow)
	}
	if !ok {
		return ""
	}
	row := "CASE WHEN " + within(limit, 1) + " AND " + within(offset, 0) +
		" THEN " + limit + " OPERATOR(pg_catalog.+) " + offset + " OPERATOR(pg_catalog.-) 1 END"
	return " LIMIT CASE WHEN " + row + " IS NULL THEN 0 ELSE 1 END OFFSET " + row
}

// number returns which row is the last of a full page, counted from 1; 0 where
// none is.
func (g *groupPlan) number(b *Binding) (n int, known bool) {
	if n, known = b.count(g.limit); known && n > 0 && g.offset != nil {
		var offset int
		offset, known = b.count(g.offset)
		n += max(offset, 0)
	}
	return max(n, 0), known
}

// groupName describes the ends of the groups of a reference, "" where it has
// none.
func (e *Endpoint) groupName(ref int, b *Binding) string {
	for _, s := range e.keys {
		if s.group != nil && s.group.ref == ref {
			return s.group.describe(b)
		}
	}
	return ""
}

// describe says which row is the end of a group, or "" where none is.
func (g *groupPlan) describe(b *Binding) string {
	n, known := g.number(b)
	if !known || n < 1 || n > maxGroupRow {
		return ""
	}
	out := ordinal(n) + " row"
	if len(g.same) > 0 {
		out += " of its " + strings.Join(columnNames(g.same), ", ")
	}
	return out + " by " + orderName(g.order)
}

func ordinal(n int) string {
	suffix := "th"
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return strconv.Itoa(n) + suffix
}
