package engine

import (
	"math"

	"github.com/tidemarkdb/tidemark/internal/perm/graph"
)

// Answers are least fixpoints: whoever has a permission has it for a reason that
// ends in relationships. Sub-questions are asked depth first. One that comes up
// again below itself is taken as far as it is known, first as no, and everything
// found that way is provisional: the first question of such a cycle is asked
// again until nothing changes any more. A yes is never provisional, because more
// can only follow from what is known better. Exclusions are why: a cycle through
// what they subtract has no such meaning, and fails.

// top is above every place on the stack.
const top = math.MaxInt32

// ask answers whether the subject has a member of an object.
func (r *request) ask(m *member, o graph.ID, depth int) value {
	if r.tracing {
		return r.traced(m, o, depth)
	}
	return r.answer(m, o, depth)
}

func (r *request) answer(m *member, o graph.ID, depth int) value {
	if m.id == r.member && o == r.subject {
		return yes
	}
	if !m.reach.has(int(r.kind)) {
		return no
	}
	if depth > r.limit {
		return broken(&DepthError{Limit: r.limit})
	}
	if m.flat && (len(m.usersets) == 0 || r.climb() != nil) {
		return r.relation(m, o, depth)
	}
	i := r.memo.find(at(o, m.id))
	switch e := &r.memo.entries[i]; e.state {
	case done:
		if e.value.has == failed && depth < int(e.depth) {
			break // what was too deep there may not be here
		}
		r.met, r.recalled = r.met || e.traits, true
		return e.value
	case active:
		if e.denied != r.denied {
			return broken(&DepthError{Limit: r.limit, Negation: true})
		}
		r.low, r.met = min(r.low, e.index), r.met || e.traits
		return e.value
	case provisional:
		if e.value.has == failed && depth < int(e.depth) {
			e.state = fresh
			break
		}
		if r.depths[e.low] != r.denied {
			return broken(&DepthError{Limit: r.limit, Negation: true})
		}
		r.low, r.met = min(r.low, e.low), r.met || e.traits
		return e.value
	case fresh:
		if r.cache == nil || e.asked || r.tracing {
			break
		}
		e.asked = true
		if has, ok := r.cached(m, o, depth); ok {
			e.state, e.value = done, value{has: has}
			return e.value
		}
	}
	return r.open(m, o, i, depth)
}

// open evaluates the sub-question of an entry.
func (r *request) open(m *member, o graph.ID, i int32, depth int) value {
	low, met, grown, work := r.low, r.met, r.grown, r.work
	place, base := int32(len(r.depths)), len(r.trail)
	r.depths = append(r.depths, r.denied)
	e := &r.memo.entries[i]
	e.state, e.index, e.denied = active, place, r.denied
	r.grown = false
	for passes := 0; ; passes++ {
		r.low, r.met = top, false
		v := r.body(m, o, depth)
		e = &r.memo.entries[i]
		changed := !v.equal(e.value)
		e.value, e.traits, e.depth = v, r.met, int32(depth)
		if v.has == Yes {
			// What is below found its answer knowing less.
			r.reopen(base)
			r.low, r.grown = top, grown || changed
			break
		}
		if r.low < place {
			for _, t := range r.trail[base:] {
				below := &r.memo.entries[t]
				below.low = min(below.low, r.low)
			}
			e.state, e.low = provisional, r.low
			r.trail = append(r.trail, i)
			r.depths = r.depths[:place]
			r.low, r.met, r.grown = min(low, r.low), met || r.met, grown || r.grown || changed
			return v
		}
		if r.low == top || !changed && !r.grown {
			for _, t := range r.trail[base:] {
				below := &r.memo.entries[t]
				below.state, below.traits = done, below.traits || r.met
			}
			r.trail = r.trail[:base]
			r.grown = grown
			break
		}
		if passes > 3*len(r.memo.entries)+16 {
			v = broken(&DepthError{Limit: r.limit})
			e.value = v
			r.reopen(base)
			r.grown = grown
			break
		}
		r.reopen(base)
		r.grown = false
	}
	e.state = done
	v := e.value
	if r.cache != nil && !r.met {
		r.keep(m, o, v, depth, r.work-work)
	}
	r.depths = r.depths[:place]
	r.low, r.met = low, met || r.met
	return v
}

// reopen lets the provisional entries from base on be evaluated again, from what
// is known.
func (r *request) reopen(base int) {
	for _, t := range r.trail[base:] {
		r.memo.entries[t].state = fresh
	}
	r.trail = r.trail[:base]
}

func (r *request) body(m *member, o graph.ID, depth int) value {
	if err := r.stopped(); err != nil {
		return broken(err)
	}
	if m.relation() {
		return r.relation(m, o, depth)
	}
	return r.eval(m.expr, o, depth)
}

func (r *request) eval(n *node, o graph.ID, depth int) value {
	switch n.op {
	case opUnion:
		v := no
		for _, c := range n.children {
			if v = or(v, r.eval(c, o, depth)); v.has == Yes {
				break
			}
		}
		return v
	case opIntersection:
		v := yes
		for _, c := range n.children {
			if v = and(v, r.eval(c, o, depth)); v.has == No {
				break
			}
		}
		return v
	case opExclusion:
		v := r.eval(n.children[0], o, depth)
		if v.has == No {
			return no
		}
		return minus(v, r.subtracted(n.children[1], o, depth))
	case opRef:
		return r.ask(n.member, o, depth+1)
	case opArrow:
		return r.arrow(n, o, depth)
	case opAll:
		return r.all(n, o, depth)
	case opSelf:
		if r.member == 0 && o == r.subject {
			return yes
		}
	}
	return no
}

// subtracted evaluates what an exclusion takes away.
func (r *request) subtracted(n *node, o graph.ID, depth int) value {
	r.denied++
	v := r.eval(n, o, depth)
	r.denied--
	return v
}
