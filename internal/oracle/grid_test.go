package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
)

// feature is one way in which queries differ, with its forms.
type feature struct {
	name  string
	forms []string
}

// grid is what endpoints are made of: one form of each feature.
//
// The forms of join are hops from one alias to the next: u to the row that one
// refers to, d to those that refer to it, s along a reference to the same table,
// c along one of two columns, v by values that are no keys. A capital letter is
// a LEFT JOIN, F a FULL JOIN.
var grid = []feature{
	{"join", []string{"", "u", "d", "uu", "dd", "ud", "du", "uuu", "ddd", "s", "ss", "c", "v", "U", "D", "UU", "DD", "uD", "Du", "Dd", "S", "C", "V", "F"}},
	{"at", []string{"near", "far"}}, // of the walk, the filter is
	{"filter", []string{
		"equal", "literal", "any", "list", "between", "range", "above", "prefix", "like", "null", "not null", "bool", "key",
		"element", "member", "optional", "or", "not", "row", "two", "none",
	}},
	{"side", []string{"where", "on", "missing", "present"}}, // what is asked of the last alias
	{"sub", []string{"none", "exists", "not exists", "in", "not in", "deep exists", "deep not exists", "nested", "or exists", "two"}},
	{"order", []string{"none", "key", "rank", "rank desc", "nulls", "nulls last", "text", "ties", "far"}},
	{"limit", []string{"none", "constant", "param"}},
	{"offset", []string{"none", "constant", "param"}},
	{"result", []string{"rows", "plain rows", "one", "count", "count column", "sum", "least", "group", "having", "distinct", "distinct rows", "distinct on", "is there"}},
	{"wrap", []string{"none", "view", "derived", "cte", "materialized", "cte twice", "union", "union all", "lateral", "scalar"}},
}

// cell is one form of each feature, by the feature's name.
type cell map[string]string

func (c cell) String() string {
	s := ""
	for _, f := range grid {
		s += fmt.Sprintf("%s=%s ", f.name, c[f.name])
	}
	return s
}

type pair struct{ a, b string }

// coverage remembers which pairs of forms there were.
type coverage struct {
	mu   sync.Mutex
	seen map[pair]int
}

// drawn is what all runs of this process have drawn together.
var drawn = &coverage{seen: map[pair]int{}}

func (c cell) pairs() []pair {
	var all []pair
	for i, f := range grid {
		for _, g := range grid[i+1:] {
			all = append(all, pair{f.name + "=" + c[f.name], g.name + "=" + c[g.name]})
		}
	}
	return all
}

// normal puts right what has no meaning: it is the form that the query will have.
func (c cell) normal() cell {
	if c["result"] == "one" || c["limit"] != "none" || c["offset"] != "none" || c["result"] == "distinct on" {
		if c["order"] == "none" {
			c["order"] = "key" // which rows there are has to be certain
		}
	}
	if c["result"] == "one" && c["limit"] == "none" {
		c["limit"] = "constant"
	}
	if c["join"] == "" {
		c["at"] = "near"
		if c["side"] != "where" {
			c["side"] = "where"
		}
		if c["order"] == "far" {
			c["order"] = "ties"
		}
	}
	if c["filter"] == "none" && c["side"] == "on" {
		c["side"] = "where"
	}
	if c["result"] == "plain rows" && (c["wrap"] == "lateral" || c["wrap"] == "scalar") {
		c["result"] = "rows"
	}
	return c
}

// randomCell draws a cell.
func randomCell(r *rand.Rand) cell {
	c := cell{}
	for _, f := range grid {
		c[f.name] = pick(r, f.forms)
	}
	return c.normal()
}

// simpleCell draws a cell that differs from the plainest in a few features. What
// is simple is followed most closely.
func simpleCell(r *rand.Rand) cell {
	c := cell{}
	for _, f := range grid {
		c[f.name] = f.forms[0]
	}
	for _, i := range r.Perm(len(grid))[:2+r.IntN(4)] {
		c[grid[i].name] = pick(r, grid[i].forms)
	}
	if chance(r, 40) {
		for name, form := range pick(r, precise) {
			c[name] = form
		}
	}
	return c.normal()
}

// precise are forms of which answers are followed by what single rows lead to:
// by witnesses, chains, the values of a page, and keys that its order cuts.
var precise = []cell{
	{"sub": "in", "order": "rank", "limit": "constant"},
	{"sub": "in", "order": "key", "limit": "param"},
	{"sub": "exists", "order": "rank desc", "limit": "constant", "result": "plain rows"},
	{"sub": "exists"},
	{"sub": "not exists"},
	{"join": "u", "result": "distinct rows"},
	{"join": "uu", "result": "distinct rows"},
	{"join": "ud", "at": "near", "result": "distinct rows"},
	{"join": "d", "result": "distinct rows"},
	{"join": "du", "result": "distinct rows"},
	{"result": "distinct"},
	{"join": "d", "order": "far", "limit": "constant"},
	{"join": "du", "order": "far", "limit": "constant"},
}

// drawSimple returns a simple cell.
func (cov *coverage) drawSimple(r *rand.Rand) cell {
	c := simpleCell(r)
	cov.mu.Lock()
	defer cov.mu.Unlock()
	for _, p := range c.pairs() {
		cov.seen[p]++
	}
	return c
}

// draw returns a cell with many pairs that there were not, or few times.
func (cov *coverage) draw(r *rand.Rand) cell {
	cov.mu.Lock()
	defer cov.mu.Unlock()
	var best cell
	most := -1
	for range 24 {
		c := randomCell(r)
		n := 0
		for _, p := range c.pairs() {
			if cov.seen[p] == 0 {
				n++
			}
		}
		if n > most {
			best, most = c, n
		}
	}
	for _, p := range best.pairs() {
		cov.seen[p]++
	}
	return best
}

// possible are all pairs that a normal cell can have.
func possible() map[pair]bool {
	all := map[pair]bool{}
	for i, f := range grid {
		for j, g := range grid[i+1:] {
			for _, x := range f.forms {
				for _, y := range g.forms {
					if attainable(i, x, i+1+j, y) {
						all[pair{f.name + "=" + x, g.name + "=" + y}] = true
					}
				}
			}
		}
	}
	return all
}

// attainable says that some cell keeps both forms when it is made normal.
func attainable(i int, x string, j int, y string) bool {
	for _, join := range []string{"u", ""} {
		for _, order := range []string{"key", "none"} {
			c := cell{"join": join, "at": "near", "filter": "equal", "side": "where", "sub": "none", "order": order, "limit": "none", "offset": "none", "result": "rows", "wrap": "none"}
			c[grid[i].name], c[grid[j].name] = x, y
			if c.normal(); c[grid[i].name] == x && c[grid[j].name] == y {
				return true
			}
		}
	}
	return false
}

// missing returns the pairs that were never drawn.
func (cov *coverage) missing() (of int, none []pair) {
	cov.mu.Lock()
	defer cov.mu.Unlock()
	all := possible()
	for p := range all {
		if cov.seen[p] == 0 {
			none = append(none, p)
		}
	}
	slices.SortFunc(none, func(p, q pair) int { return slices.Compare([]string{p.a, p.b}, []string{q.a, q.b}) })
	return len(all), none
}
