package query

import (
	"maps"
	"slices"

	"github.com/tidemarkdb/tidemark/internal/match"
)

// edge says that a row of one reference has an effect only together with rows
// of another one: to has to be one of the values that from has in them.
type edge struct{ from, to *columnRef }

// edges collects the joins that always hold.
func edges(filters []filter) []edge {
	var out []edge
	var collect func(c *condition)
	collect = func(c *condition) {
		switch c.kind {
		case condAnd, condIsTrue:
			for _, arg := range c.args {
				collect(arg)
			}
		case condJoin, condAmong:
			if c.col.ref == c.other.ref {
				return
			}
			if c.filtersOther {
				out = append(out, edge{c.col, c.other})
			}
			if c.filtersCol {
				out = append(out, edge{c.other, c.col})
			}
		}
	}
	for _, f := range filters {
		for _, p := range f.parts {
			collect(p.cond)
		}
	}
	return out
}

// rank says how well the conditions of a reference itself narrow it.
type rank int

const (
	rankNone     rank = iota
	rankSome          // some condition
	rankConstant      // equal to a constant
	rankOptional      // equal to a parameter, if that is given
	rankPage          // it orders a page
	rankList          // one of a list of parameters
	rankEqual         // equal to a parameter
	rankUnique        // one row
)

// tree says on which references the others hang: each on at most one, which
// hangs on none that hangs on it. The order is one in which every reference
// comes after that on which it hangs.
type tree struct {
	order []int
	above map[int][]edge // from one and the same reference
	// pinned are the columns that conditions compare with values themselves.
	pinned map[columnKey]bool
	ranks  []rank
}

type columnKey struct {
	ref  int
	name string
	part match.Part
}

func (c *columnRef) key() columnKey { return columnKey{c.ref, c.name, c.part} }

// grow begins with the references that conditions narrow best, and goes along
// the edges from there. Where the rows of a reference are restricted to those
// that meet rows of the one above, a row of either has an effect only if it
// passes all that is said of it, because the ones further up are restricted
// before the ones below: no reference hangs on itself.
func (a *analysis) grow(e *Endpoint) *tree {
	t := &tree{above: map[int][]edge{}, pinned: map[columnKey]bool{}, ranks: make([]rank, len(a.refs))}
	all := edges(e.filters)
	a.rankAll(e, t)
	for again := true; again; {
		again = false
		for _, ed := range all {
			if t.pinned[ed.from.key()] && !t.pinned[ed.to.key()] {
				t.pinned[ed.to.key()], again = true, true
			}
		}
	}
	if p := e.pages.edge; p != nil {
		t.ranks[p.ref] = max(t.ranks[p.ref], rankPage)
	}
	roots := make([]int, len(a.refs))
	for i := range roots {
		roots[i] = i
	}
	slices.SortStableFunc(roots, func(x, y int) int { return int(t.ranks[y] - t.ranks[x]) })
	seen := map[int]bool{}
	var queue []int
	for _, root := range roots {
		if t.ranks[root] == rankUnique {
			seen[root] = true
			queue = append(queue, root)
		}
	}
	t.spread(a, all, seen, queue)
	for _, root := range roots {
		if !seen[root] && t.ranks[root] > rankNone {
			seen[root] = true
			t.spread(a, all, seen, []int{root})
		}
	}
	return t
}

// spread visits what can be reached.
func (t *tree) spread(a *analysis, all []edge, seen map[int]bool, queue []int) {
	for ; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		t.order = append(t.order, at)
		if !a.readable(a.refs[at]) {
			continue
		}
		for _, ed := range all {
			to := ed.to.ref
			if ed.from.ref != at || seen[to] && (len(t.above[to]) == 0 || t.above[to][0].from.ref != at) {
				continue
			}
			// Two edges are about one row above, unless that is of several.
			if len(t.above[to]) > 0 && (ed.from.shared || t.above[to][0].from.shared) {
				continue
			}
			if !seen[to] {
				seen[to] = true
				queue = append(queue, to)
			}
			t.above[to] = append(t.above[to], ed)
		}
	}
}

// readable reports whether a statement of the session's own sees at least the
// rows of a reference that the endpoint does.
func (a *analysis) readable(ref *tableRef) bool {
	return !ref.loose && !a.srv.secured(ref.rel, a.srv.role)
}

// rankAll ranks every reference by the conditions that are about it alone.
func (a *analysis) rankAll(e *Endpoint, t *tree) {
	equal := map[int]map[string]bool{}
	for _, f := range e.filters {
		for _, p := range f.parts {
			a.rankPart(p.cond, t, equal)
		}
	}
	for ref, columns := range equal {
		for _, u := range a.uniques(a.refs[ref]) {
			if len(u) > 0 && !slices.ContainsFunc(u, func(name string) bool { return !columns[name] }) {
				t.ranks[ref] = rankUnique
			}
		}
	}
}

func (a *analysis) rankPart(c *condition, t *tree, equal map[int]map[string]bool) {
	if c.kind == condAnd || c.kind == condIsTrue {
		for _, arg := range c.args {
			a.rankPart(arg, t, equal)
		}
		return
	}
	ref := c.subject()
	if ref < 0 {
		return
	}
	r := rankSome
	switch {
	case c.col != nil && c.col.part.Kind != match.Whole:
		if c.kind == condCompare || c.kind == condIn || c.kind == condElement || c.kind == condContains {
			r = rankConstant
		}
	case c.kind == condCompare && c.strategy == btreeEqual:
		if r = rankConstant; c.right.variable() {
			r = rankEqual
		}
		t.pinned[c.col.key()] = true
		if equal[ref] == nil {
			equal[ref] = map[string]bool{}
		}
		equal[ref][c.col.name] = true
	case c.kind == condIn:
		if r = rankConstant; c.right.variable() {
			r = rankList
		}
		t.pinned[c.col.key()] = true
	case c.kind == condOr:
		for _, arg := range c.args {
			if arg.kind == condCompare && arg.strategy == btreeEqual || arg.kind == condIn {
				r = rankOptional
			}
		}
	}
	t.ranks[ref] = max(t.ranks[ref], r)
}

// variable reports whether a parameter decides a scalar.
func (s *scalar) variable() bool {
	return s != nil && (s.kind == scalarParam || slices.ContainsFunc(s.args, (*scalar).variable))
}

// uniques returns the lists of columns of which no two rows of a reference have
// the same values.
func (a *analysis) uniques(ref *tableRef) [][]string {
	if len(ref.tables) > 1 && ref.rel.kind != "p" {
		return nil // tables that inherit have indexes of their own
	}
	return slices.Collect(maps.Values(a.srv.uniques(ref.rel.oid)))
}

// path returns the references from a beginning to ref.
func (t *tree) path(ref int) []int {
	path := []int{ref}
	for len(t.above[path[0]]) > 0 && t.ranks[path[0]] != rankUnique {
		path = append([]int{t.above[path[0]][0].from.ref}, path...)
	}
	return path
}
