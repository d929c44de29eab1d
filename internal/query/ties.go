package query

import "github.com/tidemarkdb/tidemark/internal/match"

// Ties reports whether the statement may cut between rows that its ORDER BY does
// not tell apart. Two runs at one snapshot can then give different rows.
func (e *Endpoint) Ties() bool { return e.ties }

// cuts reports whether any query of the endpoint keeps some rows of an order
// that is not known to be total.
func (a *analysis) cuts(e *Endpoint) bool {
	var held []*condition
	for _, f := range e.filters {
		for _, p := range f.parts {
			held = append(held, p.cond.conjuncts()...)
		}
	}
	for _, l := range a.levels {
		q := l.query
		if q == nil || q.Child("limitCount") == nil && q.Child("limitOffset") == nil && !q.Bool("hasDistinctOn") {
			continue
		}
		if !a.total(l, held) {
			return true
		}
	}
	return false
}

type refColumn struct {
	ref  int
	name string
}

// total reports whether no two rows of a level have the same place in its order:
// the order holds, or a join or one value for all decides, a primary key of
// every table in FROM.
func (a *analysis) total(l *level, held []*condition) bool {
	q := l.query
	if q.Child("setOperations") != nil || q.Bool("hasTargetSRFs") || len(q.List("groupingSets")) > 0 {
		return false
	}
	fixed := map[refColumn]bool{}
	placed := map[int]bool{} // target entries by their reference
	for _, o := range a.ordering(l) {
		fixed[refColumn{o.col.ref, o.col.name}] = true
		placed[o.target] = true
	}
	if q.Bool("hasAggs") || len(q.List("groupClause")) > 0 {
		for _, g := range q.Nodes("groupClause") {
			if !placed[g.Int("tleSortGroupRef")] {
				return false
			}
		}
		return true
	}
	for again := true; again; {
		again = false
		for _, c := range held {
			if c.col == nil || c.col.part.Kind != match.Whole || c.other != nil && c.other.part.Kind != match.Whole {
				continue
			}
			x := refColumn{c.col.ref, c.col.name}
			switch {
			case c.kind == condCompare && c.strategy == btreeEqual && !fixed[x]:
				fixed[x], again = true, true
			case c.kind == condJoin:
				y := refColumn{c.other.ref, c.other.name}
				if fixed[x] != fixed[y] {
					fixed[x], fixed[y], again = true, true, true
				}
			}
		}
		for _, ref := range a.refs {
			if a.keyFixed(ref, fixed) {
				for _, c := range ref.rel.columns {
					if at := (refColumn{ref.index, c.name}); !fixed[at] {
						fixed[at], again = true, true
					}
				}
			}
		}
	}
	for n := range l.top {
		e := l.lookup(n)
		if e == nil || e.ref == nil || !a.keyFixed(e.ref, fixed) {
			return false
		}
	}
	return len(l.top) > 0
}

func (a *analysis) keyFixed(ref *tableRef, fixed map[refColumn]bool) bool {
	key := a.primaryKey(ref.rel)
	for _, number := range key {
		c := ref.rel.column(number)
		if c == nil || !fixed[refColumn{ref.index, c.name}] {
			return false
		}
	}
	// Tables that inherit have keys of their own; partitions share one.
	return len(key) > 0 && (len(ref.tables) == 1 || ref.rel.kind == "p")
}
