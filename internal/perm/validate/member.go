package validate

import (
	"maps"
	"slices"

	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// truth is whether somebody is a member, maybe standing for every caveat whose
// value is not looked at: an expected relation says that there is a caveat, not
// what it says today.
type truth uint8

const (
	no truth = iota
	maybe
	yes
)

func not(a truth) truth      { return yes - a }
func minus(a, b truth) truth { return min(a, not(b)) }

// group is a kind of subject.
type group struct{ typ, relation string }

// set is who has a relation or permission of an object.
type set map[group]*part

// part is the members of one kind. Those that a wildcard covers may be members
// by themselves too.
type part struct {
	one map[string]member
	all member           // the wildcard
	but map[string]truth // what the wildcard does not apply to
}

// member is whether, and by which relations.
type member struct {
	has  truth
	ways ways
}

// ways is a set of relations, written object#relation. It is never changed.
type ways []string

func (w ways) and(o ways) ways {
	all := slices.Concat(w, o)
	slices.Sort(all)
	return slices.Compact(all)
}

func (s set) part(g group) *part {
	p := s[g]
	if p == nil {
		p = &part{one: map[string]member{}, but: map[string]truth{}}
		s[g] = p
	}
	return p
}

// add puts one subject of a relationship in.
func (s set) add(subject tuple.Subject, has truth, way string) {
	p := s.part(group{subject.Type, subject.Relation})
	m := member{has, ways{way}}
	if subject.ID == tuple.Wildcard {
		p.all = m
	} else {
		p.one[subject.ID] = m
	}
}

// under is a set of which a caveat decides.
func under(s set) set {
	out := set{}
	for g, p := range s {
		q := out.part(g)
		for id, m := range p.one {
			q.one[id] = member{min(m.has, maybe), m.ways}
		}
		q.all, q.but = member{min(p.all.has, maybe), p.all.ways}, p.but
	}
	return out
}

// covers says whether the wildcard applies to an id.
func (p *part) covers(id string) truth { return minus(p.all.has, p.but[id]) }

// combine makes one set of two, part by part.
func combine(a, b set, how func(a, b, out *part)) set {
	out := set{}
	for _, s := range []set{a, b} {
		for g := range s {
			if out[g] == nil {
				how(a.part(g), b.part(g), out.part(g))
			}
		}
	}
	return out
}

func ids[A, B any](a map[string]A, b map[string]B) map[string]bool {
	all := map[string]bool{}
	for id := range a {
		all[id] = true
	}
	for id := range b {
		all[id] = true
	}
	return all
}

func union(a, b set) set {
	return combine(a, b, func(a, b, out *part) {
		for id := range ids(a.one, b.one) {
			x, y := a.one[id], b.one[id]
			out.one[id] = member{max(x.has, y.has), x.ways.and(y.ways)}
		}
		out.all = member{max(a.all.has, b.all.has), a.all.ways.and(b.all.ways)}
		for id := range ids(a.but, b.but) {
			// Neither covers it; one that is not there at all covers nothing.
			missing := min(max(a.but[id], not(a.all.has)), max(b.but[id], not(b.all.has)))
			if missing > no {
				out.but[id] = missing
			}
		}
	})
}

func intersection(a, b set) set {
	return combine(a, b, func(a, b, out *part) {
		for id := range ids(a.one, b.one) {
			x, y := a.one[id], b.one[id]
			has := max(min(x.has, max(y.has, b.covers(id))), min(y.has, a.covers(id)))
			if has == no {
				continue
			}
			by := x.ways.and(y.ways)
			if a.covers(id) > no {
				by = by.and(a.all.ways)
			}
			if b.covers(id) > no {
				by = by.and(b.all.ways)
			}
			out.one[id] = member{has, by}
		}
		if has := min(a.all.has, b.all.has); has > no {
			out.all = member{has, a.all.ways.and(b.all.ways)}
			for id := range ids(a.but, b.but) {
				out.but[id] = max(a.but[id], b.but[id])
			}
		}
	})
}

func exclusion(a, b set) set {
	return combine(a, b, func(a, b, out *part) {
		for id, x := range a.one {
			if has := minus(x.has, max(b.one[id].has, b.covers(id))); has > no {
				out.one[id] = member{has, x.ways}
			}
		}
		if a.all.has == no {
			return
		}
		if has := minus(a.all.has, b.all.has); has > no {
			out.all = member{has, a.all.ways}
			maps.Copy(out.but, a.but)
			for id, y := range b.one {
				if y.has > no {
					out.but[id] = max(out.but[id], y.has)
				}
			}
		}
		// What the other wildcard leaves alone stays, and that wildcard decides
		// nothing about it.
		for id := range b.but {
			has := minus(a.covers(id), max(b.one[id].has, b.covers(id)))
			if b.all.has > no && has > minus(out.all.has, out.but[id]) {
				x := out.one[id]
				out.one[id] = member{max(x.has, has), x.ways.and(a.all.ways)}
			}
		}
	})
}
