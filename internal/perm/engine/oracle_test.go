package engine_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// The oracle knows every (object, member) of a small universe and computes them
// all at once for one subject, again and again until nothing changes: first
// with everything denied that an exclusion subtracts, then with everything that
// this might allow, in turn, until both meet. Where they do not meet, a
// permission depends on its own opposite.

// verdict is a truth, 0 no, 1 conditional, 2 yes, and for conditional the set of
// missing fields.
type verdict struct {
	truth  int
	fields uint32
}

var fieldNames = []string{"x", "y", "z"}

// caveatText and caveatRules say the same, once for the schema and once for the
// oracle.
const caveatText = `caveat isone(x int) {
	x == 1
}

caveat less(y int, z int) {
	y < z
}

`

func caveatRule(name string, get func(string) (int, bool)) verdict {
	truth := func(b bool) verdict {
		if b {
			return verdict{truth: 2}
		}
		return verdict{}
	}
	missing := verdict{truth: 1}
	need := func(field string) int {
		v, ok := get(field)
		if !ok {
			missing.fields |= 1 << slices.Index(fieldNames, field)
		}
		return v
	}
	switch name {
	case "isone":
		x := need("x")
		if missing.fields != 0 {
			return missing
		}
		return truth(x == 1)
	case "less":
		y, z := need("y"), need("z")
		if missing.fields != 0 {
			return missing
		}
		return truth(y < z)
	}
	panic(name)
}

func either(a, b verdict) verdict {
	switch {
	case a.truth == 2 || b.truth == 2:
		return verdict{truth: 2}
	case a.truth == b.truth:
		return verdict{a.truth, a.fields | b.fields}
	case a.truth > b.truth:
		return a
	}
	return b
}

func negation(a verdict) verdict { return verdict{2 - a.truth, a.fields} }

func all(a, b verdict) verdict { return negation(either(negation(a), negation(b))) }

// place is an object and the name of a member.
type place struct {
	object tuple.Object
	member string
}

type oracle struct {
	schema  *schema.Schema
	byPlace map[place][]tuple.Relationship
	now     time.Time
	given   map[string]any
	subject tuple.Subject
	places  []place
}

func newOracle(s *schema.Schema, objects []tuple.Object, rels []tuple.Relationship, now time.Time, given map[string]any, subject tuple.Subject) *oracle {
	o := &oracle{schema: s, byPlace: map[place][]tuple.Relationship{}, now: now, given: given, subject: subject}
	for _, r := range rels {
		if !r.Expired(now) && fits(s, r) {
			p := place{r.Resource, r.Relation}
			o.byPlace[p] = append(o.byPlace[p], r)
		}
	}
	for _, x := range objects {
		d := s.Definition(x.Type)
		for _, r := range d.Relations {
			o.places = append(o.places, place{x, r.Name})
		}
		for _, p := range d.Permissions {
			o.places = append(o.places, place{x, p.Name})
		}
	}
	return o
}

// fits reports whether a relation takes a relationship exactly as it is.
func fits(s *schema.Schema, r tuple.Relationship) bool {
	d := s.Definition(r.Resource.Type)
	if d == nil {
		return false
	}
	rel, _ := d.Member(r.Relation)
	if rel == nil {
		return false
	}
	says := fmt.Sprint(r.Subject.Type, r.Subject.Relation, r.Subject.ID == "*", r.Caveat, r.Expires > 0)
	for _, t := range rel.Types {
		if says == fmt.Sprint(t.Type, t.Relation, t.Wildcard, t.Caveat, t.Expiration) {
			return true
		}
	}
	return false
}

type verdicts map[place]verdict

// trait says whether what qualifies a relationship holds.
func (o *oracle) trait(r tuple.Relationship) verdict {
	if r.Caveat == "" {
		return verdict{truth: 2}
	}
	stored := map[string]int{}
	if r.Context != "" {
		if err := json.Unmarshal([]byte(r.Context), &stored); err != nil {
			panic(err)
		}
	}
	return caveatRule(r.Caveat, func(field string) (int, bool) {
		if v, ok := stored[field]; ok {
			return v, true
		}
		v, ok := o.given[field].(float64)
		return int(v), ok
	})
}

// step computes one place from others: what counts for it from pos, what counts
// against it from neg.
func (o *oracle) step(p place, pos, neg verdicts) verdict {
	if p.object == o.subject.Object && p.member == o.subject.Relation {
		return verdict{truth: 2}
	}
	_, permission := o.schema.Definition(p.object.Type).Member(p.member)
	if permission != nil {
		return o.expr(permission.Expr, p.object, pos, neg)
	}
	var v verdict
	for s, q := range o.alternatives(p) {
		switch {
		case s.Relation != "":
			v = either(v, all(q, pos[place{s.Object, s.Relation}]))
		case s == o.subject, s.ID == tuple.Wildcard && s.Type == o.subject.Type && o.subject.Relation == "":
			v = either(v, q)
		}
	}
	return v
}

// alternatives says for every subject of a relation whether a relationship holds.
func (o *oracle) alternatives(p place) map[tuple.Subject]verdict {
	found := map[tuple.Subject]verdict{}
	for _, r := range o.byPlace[p] {
		found[r.Subject] = either(found[r.Subject], o.trait(r))
	}
	return found
}

func (o *oracle) expr(e schema.Expr, x tuple.Object, pos, neg verdicts) verdict {
	var v verdict
	switch e := e.(type) {
	case schema.Union:
		for _, c := range e.Children {
			v = either(v, o.expr(c, x, pos, neg))
		}
	case schema.Intersection:
		v.truth = 2
		for _, c := range e.Children {
			v = all(v, o.expr(c, x, pos, neg))
		}
	case schema.Exclusion:
		v = all(o.expr(e.Base, x, pos, neg), negation(o.expr(e.Subtracted, x, neg, pos)))
	case schema.Ref:
		v = pos[place{x, e.Name}]
	case schema.Self:
		if o.subject == (tuple.Subject{Object: x}) {
			v.truth = 2
		}
	case schema.Arrow:
		v = o.arrow(e, x, pos)
	}
	return v
}

func (o *oracle) arrow(e schema.Arrow, x tuple.Object, pos verdicts) verdict {
	alternatives := o.alternatives(place{x, e.Relation})
	every, some := verdict{truth: 2}, verdict{}
	for s, q := range alternatives {
		there := verdict{}
		if s.ID != tuple.Wildcard && o.schema.Definition(s.Type).Has(e.Target) {
			there = pos[place{s.Object, e.Target}]
		}
		every, some = all(every, all(q, there)), either(some, all(q, there))
	}
	switch {
	case e.Kind != schema.ArrowAll:
		return some
	case len(alternatives) == 0:
		return verdict{}
	}
	return every
}

// least is the least fixpoint with what counts against given.
func (o *oracle) least(neg verdicts) verdicts {
	pos := verdicts{}
	for changed := true; changed; {
		changed = false
		for _, p := range o.places {
			if v := o.step(p, pos, neg); v.truth > pos[p].truth {
				pos[p], changed = verdict{truth: v.truth}, true
			}
		}
	}
	return pos
}

// solve returns every place's verdict, and the places that have none.
func (o *oracle) solve() (verdicts, map[place]bool) {
	low := verdicts{}
	var high verdicts
	for {
		high = o.least(low)
		next := o.least(high)
		same := true
		for _, p := range o.places {
			same = same && next[p].truth == low[p].truth
		}
		low = next
		if same {
			break
		}
	}
	undefined := map[place]bool{}
	for _, p := range o.places {
		undefined[p] = low[p].truth != high[p].truth
	}
	for changed := true; changed; {
		changed = false
		for _, p := range o.places {
			v := o.step(p, low, low)
			if v.truth == 1 && low[p].truth == 1 && v.fields|low[p].fields != low[p].fields {
				low[p], changed = verdict{1, v.fields | low[p].fields}, true
			}
		}
	}
	return low, undefined
}

// opposed returns the places from which a cycle through the subtracted side of
// an exclusion can be reached: only there may the engine not know.
func (o *oracle) opposed() map[place]bool {
	type edge struct {
		to     place
		denied bool
	}
	edges := map[place][]edge{}
	var walk func(from place, e schema.Expr, denied bool)
	walk = func(from place, e schema.Expr, denied bool) {
		switch e := e.(type) {
		case schema.Union:
			for _, c := range e.Children {
				walk(from, c, denied)
			}
		case schema.Intersection:
			for _, c := range e.Children {
				walk(from, c, denied)
			}
		case schema.Exclusion:
			walk(from, e.Base, denied)
			walk(from, e.Subtracted, true)
		case schema.Ref:
			edges[from] = append(edges[from], edge{place{from.object, e.Name}, denied})
		case schema.Arrow:
			for _, r := range o.byPlace[place{from.object, e.Relation}] {
				edges[from] = append(edges[from], edge{place{r.Subject.Object, e.Target}, denied})
			}
		}
	}
	for _, p := range o.places {
		if _, permission := o.schema.Definition(p.object.Type).Member(p.member); permission != nil {
			walk(p, permission.Expr, false)
			continue
		}
		for _, r := range o.byPlace[p] {
			if r.Subject.Relation != "" {
				edges[p] = append(edges[p], edge{place{r.Subject.Object, r.Subject.Relation}, false})
			}
		}
	}
	reach := map[place]map[place]bool{}
	for _, p := range o.places {
		seen := map[place]bool{}
		for todo := []place{p}; len(todo) > 0; {
			x := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			for _, e := range edges[x] {
				if !seen[e.to] {
					seen[e.to] = true
					todo = append(todo, e.to)
				}
			}
		}
		reach[p] = seen
	}
	bad := map[place]bool{}
	for _, p := range o.places {
		for _, e := range edges[p] {
			if e.denied && (reach[e.to][p] || e.to == p) {
				bad[p] = true
			}
		}
	}
	out := map[place]bool{}
	for _, p := range o.places {
		out[p] = bad[p]
		for q := range reach[p] {
			out[p] = out[p] || bad[q]
		}
	}
	return out
}

func (v verdict) missing() []string {
	var names []string
	for i, n := range fieldNames {
		if v.fields&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return names
}

func (v verdict) String() string {
	return fmt.Sprintf("%s %v", []string{"no", "conditional", "yes"}[v.truth], v.missing())
}
