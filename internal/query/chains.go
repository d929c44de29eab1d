package query

import (
	"slices"
	"strconv"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
)

// Chains. SELECT DISTINCT over joined tables whose columns are all of one of
// them, the end, shows each row of the end that others can be joined with. A
// chain is one row of each of the others that can. While it stands, its end is
// shown, whatever else is joined with it.
//
//   - A row of a table that is joined with the end by a unique index can show no
//     other end than that of its own values. If that end has a chain without the
//     row, the row says nothing new.
//   - Where every row of the end has a chain, all that can be shown is. Then no
//     row of the other tables says anything new, but for those that are in the
//     chains. A further row of the end could be joined with any of them, so of
//     the end every row counts, whatever keys there were.
//   - Where every end of which a table so joined has a row has a chain, the same
//     goes for the tables other than these two. Of that table, every row counts
//     whose end has no chain, whatever keys there were.
//
// A change of a row that is in a chain touches the answer. What is asked for is
// one chain for each end, under the same conditions as the query, how many ends
// there are, and how many of them the rows of a small table are joined with.

// chainPlan says how chains are found for a query.
type chainPlan struct {
	end    int // the reference whose rows are shown
	before int // one by whose rows the end is decided, or -1
	links  []chainLink
}

// chainLink is one of the other references.
type chainLink struct {
	ref  int
	same []match.KeyColumn // what decides the end; none: a row may have several
	key  []match.KeyColumn
	at   int // in a row of the statement, of the values of same and then of key
}

// values cuts the link's row out of chains, without what decides the end where
// that is of no concern.
func (l *chainLink) values(chains []change.Row, all bool) []change.Row {
	from, to := l.at, l.at+len(l.same)+len(l.key)
	if all {
		from += len(l.same)
	}
	out := make([]change.Row, 0, len(chains))
	for _, c := range chains {
		if len(c) >= to {
			out = append(out, c[from:to])
		}
	}
	return out
}

// The first columns of chains.
const (
	chainEnds   = iota // how many rows the end has
	chainBefore        // how many rows before has
	chainValues        // how many ends these name
	chainRows          // where those of the links begin
)

// refine adds what the chains say of each reference, and returns the one, or -1,
// of which rows without keys count as well.
func (p *chainPlan) refine(out map[int]*match.Witnesses, chains []change.Row) (open int) {
	if len(chains) == 0 {
		return -1
	}
	count := func(column int) int {
		n, err := strconv.Atoi(string(chains[0][column].Text))
		if err != nil {
			return -1
		}
		return n
	}
	n, all, most := len(chains), -1, -1
	if count(chainEnds) == n {
		all = p.end
	} else if count(chainBefore) <= MaxKeyRows && count(chainValues) == n {
		most = p.before
	}
	for i := range p.links {
		l := &p.links[i]
		switch {
		case all >= 0 || most >= 0 && most != l.ref:
			out[l.ref] = match.NewFixtures(nil, l.key, l.values(chains, true))
		case len(l.same) > 0:
			out[l.ref] = match.NewFixtures(l.same, l.key, l.values(chains, false))
		}
	}
	return max(all, most)
}

// leaves reports whether chains are why every row of a reference counts.
func (p *chainPlan) leaves(ref int, deps []match.Dependency, e *Endpoint) bool {
	return slices.ContainsFunc(p.links, func(l chainLink) bool {
		return l.ref != ref && (ref == p.end || ref == p.before) && slices.ContainsFunc(deps, func(d match.Dependency) bool {
			return d.Reads == e.Reads[l.ref] && d.Witnesses != nil && len(d.Witnesses.For) == 0
		})
	})
}

// chains makes the statement that finds chains.
func (a *analysis) chains(e *Endpoint, t *tree) {
	joins, ok := a.plainJoins(e)
	if !ok || len(a.refs) < 2 || len(a.refs) > maxPath {
		return
	}
	for _, end := range a.refs {
		p := &chainPlan{end: end.index, before: -1}
		if !a.shows(end, joins) || a.rowKey(end) == nil || t.ranks[end.index] == rankUnique {
			continue
		}
		for _, ref := range a.refs {
			l := chainLink{ref: ref.index, key: a.rowKey(ref), same: a.decides(ref, end, joins)}
			if ref == end {
				continue
			}
			if l.key == nil {
				return
			}
			if len(l.same) > 0 && p.before < 0 {
				p.before = l.ref
			}
			p.links = append(p.links, l)
		}
		before := len(e.keys)
		a.ask(e, keyStatement{single: a.chainStatement(e, p, joins), chain: p})
		if len(e.keys) > before {
			for _, l := range p.links {
				e.identified(l.ref, l.key)
			}
			return
		}
	}
}

// plainJoins returns the joins of a statement that is SELECT DISTINCT of columns
// over inner joins of tables, with conditions that can all be written exactly.
func (a *analysis) plainJoins(e *Endpoint) (joins []edge, ok bool) {
	l := a.levels[0]
	q := l.query
	if len(a.levels) != 1 || q == nil || len(q.List("distinctClause")) == 0 || q.Bool("hasDistinctOn") ||
		q.Child("limitCount") != nil || q.Child("limitOffset") != nil || q.Child("setOperations") != nil ||
		q.Bool("hasAggs") || q.Bool("hasWindowFuncs") || q.Bool("hasTargetSRFs") || len(q.List("groupClause")) > 0 ||
		len(q.List("groupingSets")) > 0 || q.Child("havingQual") != nil || len(q.List("rowMarks")) > 0 || len(l.top) != len(a.refs) {
		return nil, false
	}
	for n, nullable := range l.top {
		entry := l.lookup(n)
		if entry == nil || entry.ref == nil || nullable || entry.node.Child("tablesample") != nil || entry.ref.loose ||
			a.srv.secured(entry.ref.rel, entry.ref.reader) || !a.readable(entry.ref) {
			return nil, false
		}
	}
	r := renderer{a: a, aliases: map[int]string{}}
	for _, f := range e.filters {
		for _, p := range f.parts {
			for _, c := range p.cond.conjuncts() {
				if c.kind == condJoin && c.filtersCol && c.filtersOther {
					joins = append(joins, edge{c.col, c.other})
				} else if _, ok := r.condition(c, true); !ok {
					return nil, false
				}
			}
		}
	}
	return joins, true
}

// alike reports whether two columns that a join compares are equal only if they
// are shown alike.
func (a *analysis) alike(ed edge) bool {
	return a.withIdentity(nil, ed.from) != nil && a.withIdentity(nil, ed.to) != nil && ed.from.typ == ed.to.typ &&
		a.oneText(ed.from) && a.oneText(ed.to) && a.collation(ed.from) == a.collation(ed.to)
}

// shows reports whether a row of a reference decides all columns of the result.
func (a *analysis) shows(end *tableRef, joins []edge) bool {
	l := a.levels[0]
	for _, te := range l.query.Nodes("targetList") {
		v := te.Child("expr")
		if v == nil || v.Tag != "VAR" || v.Int("varlevelsup") != 0 {
			return false
		}
		c := a.resolve(l, l.top, v.Int("varno"), v.Int("varattno"))
		if c == nil || a.withIdentity(nil, c) == nil || !a.oneText(c) {
			return false
		}
		own := c.ref == end.index || slices.ContainsFunc(joins, func(ed edge) bool {
			return a.alike(ed) && (ed.from.key() == c.key() && ed.to.ref == end.index || ed.to.key() == c.key() && ed.from.ref == end.index)
		})
		if !own {
			return false
		}
	}
	return true
}

// decides returns the columns of a reference by which it is joined with one row
// of the end at most; nil if it may be with several.
func (a *analysis) decides(ref, end *tableRef, joins []edge) (same []match.KeyColumn) {
	fixed := map[string]bool{}
	for _, ed := range joins {
		if ed.from.ref == end.index {
			ed.from, ed.to = ed.to, ed.from
		}
		if ed.from.ref != ref.index || ed.to.ref != end.index || !a.alike(ed) {
			continue
		}
		fixed[ed.to.name] = true
		k := match.KeyColumn{Column: ed.from.name, Type: catalog.OID(ed.from.typ), Class: ed.from.class}
		if !slices.Contains(same, k) {
			same = append(same, k)
		}
	}
	for _, u := range a.uniques(end) {
		if len(u) > 0 && !slices.ContainsFunc(u, func(name string) bool { return !fixed[name] }) {
			return same
		}
	}
	return nil
}

// chainStatement asks for one chain for each end, behind the number of ends.
func (a *analysis) chainStatement(e *Endpoint, p *chainPlan, joins []edge) string {
	r := renderer{a: a, aliases: map[int]string{}}
	table := func(ref *tableRef) string {
		name := quoteName(ref.rel.schema) + "." + quoteName(ref.rel.name) + " AS " + r.aliases[ref.index]
		if !ref.entry.node.Bool("inh") {
			name = "ONLY " + name
		}
		return name
	}
	var tables, where []string
	for i, ref := range a.refs {
		r.aliases[ref.index] = "t" + strconv.Itoa(i)
		tables = append(tables, table(ref))
	}
	for _, f := range e.filters {
		for _, part := range f.parts {
			for _, c := range part.cond.conjuncts() {
				if c.kind != condJoin {
					s, _ := r.condition(c, true)
					where = append(where, s)
				}
			}
		}
	}
	for _, ed := range joins {
		where = append(where, a.equality(r, ed))
	}
	column := func(ref int, k match.KeyColumn) string { return r.aliases[ref] + "." + quoteName(k.Column) }
	var ends []string
	for _, k := range a.rowKey(a.refs[p.end]) {
		ends = append(ends, column(p.end, k))
	}
	some := func(ref int, columns ...string) string {
		sql := "(SELECT " + strings.Join(columns, ", ") + " FROM " + table(a.refs[ref])
		if conditions := a.conditionsOn(e, r, ref); len(conditions) > 0 {
			sql += " WHERE " + strings.Join(conditions, " AND ")
		}
		return sql + " LIMIT " + strconv.Itoa(MaxKeyRows+1) + ") AS n)"
	}
	columns := []string{"(SELECT pg_catalog.count(*) FROM " + some(p.end), "NULL", "NULL"}
	if i := slices.IndexFunc(p.links, func(l chainLink) bool { return l.ref == p.before }); i >= 0 {
		var names, same []string
		for j, k := range p.links[i].same {
			names = append(names, "c"+strconv.Itoa(j))
			same = append(same, column(p.before, k)+" AS "+names[j])
		}
		columns[chainBefore] = "(SELECT pg_catalog.count(*) FROM " + some(p.before)
		columns[chainValues] = "(SELECT pg_catalog.count(DISTINCT (" + strings.Join(names, ", ") + ")) FROM " + some(p.before, same...)
	}
	for i := range p.links {
		l := &p.links[i]
		l.at = len(columns)
		for _, k := range slices.Concat(l.same, l.key) {
			columns = append(columns, column(l.ref, k))
		}
	}
	return "SELECT DISTINCT ON (" + strings.Join(ends, ", ") + ") " + strings.Join(columns, ", ") + " FROM " + strings.Join(tables, ", ") +
		" WHERE " + strings.Join(append(where, "true"), " AND ") + " LIMIT " + strconv.Itoa(MaxKeyRows+1)
}
