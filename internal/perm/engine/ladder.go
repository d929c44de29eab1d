package engine

// ladder is how to climb from a subject to the sets of subjects that it is in,
// as far as those are relations, or unions of relations, without traits.
type ladder struct {
	from  map[kind][]*member     // relations to look up for a kind
	wild  [][]*member            // the same for all objects of a definition
	up    map[memberID][]*member // permissions that follow
	rests []*member              // the relations that it rests on
}

func (m *Model) findLadder() {
	for _, x := range m.members[1:] {
		x.fits = !x.traits
	}
	for changed := true; changed; {
		changed = false
		for _, x := range m.members[1:] {
			if !x.fits {
				continue
			}
			ok := x.relation() || onlyRefs(x.expr)
			for _, u := range x.usersets {
				ok = ok && u.fits
			}
			if !ok {
				x.fits, changed = false, true
			}
		}
	}
	var rungs bitset // what stands as a set of subjects somewhere, and what that rests on
	for _, x := range m.members[1:] {
		for _, u := range x.usersets {
			if u.fits {
				rungs.merge(u.needs)
			}
		}
	}
	l := ladder{from: map[kind][]*member{}, wild: make([][]*member, len(m.wild)), up: map[memberID][]*member{}}
	keep := func(list []*member) (kept []*member) {
		for _, x := range list {
			if rungs.has(int(x.id)) {
				kept = append(kept, x)
			}
		}
		return kept
	}
	for k, list := range m.from {
		if list = keep(list); len(list) > 0 {
			l.from[k] = list
		}
	}
	for d, list := range m.wild {
		l.wild[d] = keep(list)
	}
	for _, x := range m.members[1:] {
		x.flat = x.relation()
		for _, u := range x.usersets {
			x.flat = x.flat && u.fits
		}
		if !rungs.has(int(x.id)) {
			continue
		}
		if x.relation() {
			l.rests = append(l.rests, x)
			continue
		}
		var refs bitset
		refsOf(&refs, x.expr)
		for _, y := range m.members[1:] {
			if refs.has(int(y.id)) {
				l.up[y.id] = append(l.up[y.id], x)
			}
		}
	}
	m.climb = l
}

func onlyRefs(n *node) bool {
	switch n.op {
	case opNil:
		return true
	case opRef:
		return n.member.fits
	case opUnion:
		for _, c := range n.children {
			if !onlyRefs(c) {
				return false
			}
		}
		return true
	}
	return false
}

func refsOf(r *bitset, n *node) {
	if n.op == opRef {
		r.set(int(n.member.id))
	}
	for _, c := range n.children {
		refsOf(r, c)
	}
}
