package engine

import "github.com/tidemarkdb/tidemark/internal/perm/graph"

// maxGroups bounds how many sets a subject may be in for climbing to pay.
const maxGroups = 1000

// groups are the sets of subjects that a subject is in, as far as a model's
// ladder leads.
type groups struct {
	spots []spot
	table []int32 // one more than the index in spots; nil while there are few
	// partial: there are too many, or traits are in the way. It is of no use.
	partial bool
}

const fewGroups = 12

func (g *groups) has(s spot) bool {
	if g.table == nil {
		for _, x := range g.spots {
			if x == s {
				return true
			}
		}
		return false
	}
	return g.table[g.slot(s)] != 0
}

func (g *groups) slot(s spot) uint64 {
	mask := uint64(len(g.table) - 1)
	i := s.scramble() & mask
	for g.table[i] != 0 && g.spots[g.table[i]-1] != s {
		i = (i + 1) & mask
	}
	return i
}

func (g *groups) add(s spot) {
	if g.has(s) {
		return
	}
	g.spots = append(g.spots, s)
	switch n := len(g.spots); {
	case g.table == nil && n > fewGroups || g.table != nil && 2*n > len(g.table):
		size := 64
		for size < 4*n {
			size *= 2
		}
		g.table = make([]int32, size)
		for i, x := range g.spots {
			g.table[g.slot(x)] = int32(i) + 1
		}
	case g.table != nil:
		g.table[g.slot(s)] = int32(n)
	}
}

// climb returns the sets that the subject is in, or nil where they cannot be
// told this way.
func (r *request) climb() *groups {
	if !r.climbed {
		r.climbed = true
		r.groups = r.findGroups()
	}
	if r.groups == nil || r.groups.partial {
		return nil
	}
	return r.groups
}

func (r *request) findGroups() *groups {
	if r.tracing {
		return nil
	}
	if r.cache == nil || r.subject >= lastObject {
		r.makeGroups()
		return &r.ladder
	}
	key, stamp := at(r.subject, r.member), r.stamp(r.model.climb.rests)
	if g := r.cache.groups(key, stamp); g != nil {
		return g
	}
	work := r.work
	if r.makeGroups(); !r.cache.eager && r.work-work < worthAsking {
		return &r.ladder
	}
	g := &groups{spots: append([]spot(nil), r.ladder.spots...), partial: r.ladder.partial}
	if r.ladder.table != nil {
		g.table = append([]int32(nil), r.ladder.table...)
	}
	r.cache.keepGroups(key, stamp, g)
	return g
}

// makeGroups climbs. The result is in r.ladder.
func (r *request) makeGroups() {
	g := &r.ladder
	g.spots, g.table, g.partial = g.spots[:0], nil, false
	l := &r.model.climb
	if r.member != 0 {
		r.rung(at(r.subject, r.member))
	} else {
		r.rungsFrom(l.from[r.kind], r.subject, 0)
	}
	if r.everyone != 0 {
		r.rungsFrom(l.wild[r.definition], r.everyone, 0)
	}
	for i, end, level := 0, len(g.spots), 1; i < len(g.spots) && !g.partial; i++ {
		if i == end {
			end = len(g.spots)
			if level++; level > r.limit {
				g.partial = true
			}
		}
		s := g.spots[i]
		if p := r.names.pairOf[s.member()]; p != 0 {
			r.rungsFrom(l.from[r.model.members[s.member()].kind(r.model)], s.object(), p)
		}
	}
	if g.partial {
		g.spots, g.table = g.spots[:0], nil
	}
}

// rung adds a set, and the permissions that follow from it.
func (r *request) rung(s spot) {
	if r.ladder.has(s) {
		return
	}
	r.ladder.add(s)
	for _, p := range r.model.climb.up[s.member()] {
		r.rung(at(s.object(), p.id))
	}
}

// rungsFrom adds the sets in which a subject is directly.
func (r *request) rungsFrom(relations []*member, sub graph.ID, subRel graph.Pair) {
	if sub >= lastObject {
		return
	}
	for _, m := range relations {
		p := r.names.pairOf[m.id]
		if p == 0 {
			continue
		}
		r.work++
		for edges := r.snap.In(sub, subRel, p); ; {
			e, ok := edges.Next()
			if !ok {
				break
			}
			traits, ok := r.traits(m, e)
			if !ok {
				continue
			}
			if traits != nil || len(r.ladder.spots) > maxGroups {
				r.ladder.partial = true
				return
			}
			r.rung(at(e.Resource(), m.id))
		}
	}
}
