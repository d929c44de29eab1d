package query

import (
	"slices"
	"strconv"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/match"
)

// idleAlong makes the statement for the rows of a reference that lead to nothing
// on a page which another one orders: a value of theirs that has no row there. A
// row that it gets there is one of the keys, and touches the answer. That goes
// for rows that lead nowhere else: by another column they would add keys of other
// references, which may be what restricts the rows of the page as well.
func (a *analysis) idleAlong(e *Endpoint, t *tree, from []edge, all []edge) {
	ed, p := from[0], e.pages.edge
	if len(from) != 1 || p == nil || p.notNull == 0 || p.ref != ed.to.ref || t.ranks[ed.from.ref] == rankUnique || t.pinned[ed.to.key()] ||
		ed.from.part.Kind != match.Whole || ed.from.shared || ed.to.shared || ed.from.nullable {
		return
	}
	back := func(o edge) bool { return o.from.key() == ed.to.key() && o.to.key() == ed.from.key() }
	if a.leadsElsewhere(t, ed, all) {
		return
	}
	path := t.path(ed.from.ref)
	// Compared by bytes alone, rows that are equal could be missed.
	if !slices.ContainsFunc(all, back) || a.collation(ed.from) != a.collation(ed.to) || !a.readable(a.refs[ed.to.ref]) || a.costly(e, t, path) {
		return
	}
	r := renderer{a: a, aliases: map[int]string{ed.to.ref: "o"}}
	for i, at := range path {
		r.aliases[at] = "t" + strconv.Itoa(i)
	}
	tables, where := a.along(e, t, r, path)
	other := a.refs[ed.to.ref]
	there := quoteName(other.rel.schema) + "." + quoteName(other.rel.name) + " AS o"
	if !other.entry.node.Bool("inh") {
		there = "ONLY " + there
	}
	// Of all rows with the value, whatever else they hold.
	alone := renderer{a: a, aliases: map[int]string{ed.to.ref: "o"}}
	inside := append(a.conditionsOn(e, r, ed.to.ref), a.equality(r, ed), alone.inside(p, len(e.Params)))
	where = append(where, r.column(ed.from)+" IS NOT NULL", "NOT EXISTS (SELECT FROM "+there+" WHERE "+strings.Join(inside, " AND ")+")")
	a.ask(e, keyStatement{
		single: "SELECT DISTINCT " + a.distinct(r.column(ed.from), ed.from) + " FROM " + tables + " WHERE " + strings.Join(where, " AND ") +
			" LIMIT " + strconv.Itoa(MaxKeyRows+1),
		idle: ed.from,
	})
}

// leadsElsewhere reports whether keys of any reference come from another column of
// the one that an edge comes from.
func (a *analysis) leadsElsewhere(t *tree, ed edge, all []edge) bool {
	at := slices.Index(t.order, ed.from.ref)
	return slices.ContainsFunc(all, func(o edge) bool {
		return o.from.ref == ed.from.ref && o.from.key() != ed.from.key() && slices.Index(t.order, o.to.ref) > at
	})
}
