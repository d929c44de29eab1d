package graph

import "iter"

// Snapshot is one version of a graph. It never changes.
type Snapshot struct {
	*vocabulary
	graph      *Graph
	objects    *objects
	seq, epoch uint64
	size       int
	changed    []uint64 // by Pair
	out        tree     // from resources, with notes
	in         tree     // from subjects
}

// Graph returns the graph that the snapshot is a version of.
func (s *Snapshot) Graph() *Graph { return s.graph }

// Seq numbers the versions of a graph.
func (s *Snapshot) Seq() uint64 { return s.seq }

// Epoch says which numbering of objects the snapshot has: the IDs of two
// snapshots of a graph mean the same objects if and only if their epochs are
// equal. Types and Pairs mean the same in every epoch.
func (s *Snapshot) Epoch() uint64 { return s.epoch }

// Changed returns the Seq of the version in which the relationships of a pair
// last changed, or 0 for a pair that came later. A new epoch is a change of all.
func (s *Snapshot) Changed(p Pair) uint64 {
	if int(p) >= len(s.changed) {
		return 0
	}
	return s.changed[p]
}

// Len returns how many different relationships there are.
func (s *Snapshot) Len() int { return s.size }

// Object returns the number of an object. A false says that no relationship
// names it; a true does not say that one does.
func (s *Snapshot) Object(typ, id string) (ID, bool) {
	t, ok := s.typeIDs[typ]
	if !ok {
		return 0, false
	}
	return s.objects.find(t, id)
}

// Name returns the type and id of an object of this snapshot's epoch.
func (s *Snapshot) Name(o ID) (typ, id string) { return s.types[s.TypeOf(o)], s.objects.name(o) }

// TypeOf returns the type of an object.
func (s *Snapshot) TypeOf(o ID) Type { return s.objects.blocks[o>>blockBits].typ }

// Type returns the number of a type that an object has.
func (s *Snapshot) Type(name string) (Type, bool) {
	t, ok := s.typeIDs[name]
	return t, ok
}

// TypeName returns the name of a type.
func (s *Snapshot) TypeName(t Type) string { return s.types[t] }

// Types returns how many types are numbered: all of 1 to Types().
func (s *Snapshot) Types() int { return len(s.types) - 1 }

// Pair returns the number of a relation of a type.
func (s *Snapshot) Pair(typ, rel string) (Pair, bool) {
	p, ok := s.pairIDs[pairName{typ, rel}]
	return p, ok
}

// PairName returns what a pair stands for.
func (s *Snapshot) PairName(p Pair) (typ, rel string) { return s.pairs[p].typ, s.pairs[p].rel }

// Pairs returns how many pairs are numbered: all of 1 to Pairs(). What was found
// out about pairs by name holds until this changes.
func (s *Snapshot) Pairs() int { return len(s.pairs) - 1 }

// Find looks for relationships of a resource, relation and subject, whose
// relation subRel is 0 for the object itself. Traits are the alternatives under
// which it holds; nil says that it holds unconditionally.
func (s *Snapshot) Find(res ID, rel Pair, sub ID, subRel Pair) (found bool, traits []Trait) {
	e, found := s.out.find(res, pack(rel, subRel, sub))
	if !found || e&qualified == 0 {
		return found, nil
	}
	return true, s.alternatives(res, e).visible()
}

// Qualified returns the alternatives with a caveat or an expiration, also of
// what holds unconditionally as well.
func (s *Snapshot) Qualified(res ID, rel Pair, sub ID, subRel Pair) []Trait {
	e, found := s.out.find(res, pack(rel, subRel, sub))
	if !found {
		return nil
	}
	return s.alternatives(res, e).traits
}

// alternatives returns those of an edge from a resource.
func (s *Snapshot) alternatives(res ID, e uint64) *alternatives {
	if e&qualified == 0 {
		return once
	}
	return s.out.note(res, e&^marks)
}

// named reports whether a relationship names an object.
func (s *Snapshot) named(o ID) bool { return s.out.has(o) || s.in.has(o) }

// Out returns the edges of a resource's relation, ordered by the subject's
// relation and ID.
func (s *Snapshot) Out(res ID, rel Pair) Range { return s.outward(res, under(rel)) }

// Direct returns those of Out whose subject is an object itself.
func (s *Snapshot) Direct(res ID, rel Pair) Range { return s.outward(res, underBoth(rel, 0)) }

// Usersets returns those of Out whose subject has a relation.
func (s *Snapshot) Usersets(res ID, rel Pair) Range {
	return s.outward(res, span{pack(rel, 1, 0), under(rel).hi})
}

// In returns the edges to a subject, ordered by relation and the resource's ID.
// A rel of 0 means every relation; a subRel of 0 the object itself.
func (s *Snapshot) In(sub ID, subRel, rel Pair) Range {
	if rel == 0 {
		return s.inward(sub, under(subRel))
	}
	return s.inward(sub, underBoth(subRel, rel))
}

func (s *Snapshot) outward(res ID, within span) (r Range) {
	r.snapshot, r.object = s, res
	r.edges, r.wide = s.out.edges(res)
	r.narrow(within)
	return r
}

func (s *Snapshot) inward(sub ID, within span) (r Range) {
	r.snapshot, r.object, r.backward = s, sub, true
	r.edges, r.wide = s.in.edges(sub)
	r.narrow(within)
	return r
}

// Range is edges of a snapshot in order. It is a value: a copy goes on from
// where the original was.
type Range struct {
	snapshot *Snapshot
	object   ID
	backward bool     // the object is the subject
	edges    []uint64 // what comes next
	wide     *node    // where there may be more
	more     span     // of that
}

// narrow leaves what is within a span.
func (r *Range) narrow(within span) {
	if r.wide != nil {
		r.more = within
		r.load()
		return
	}
	r.edges = r.edges[search(r.edges, within.lo):]
	r.edges = r.edges[:behind(r.edges, within.hi)]
}

// load goes on to the next leaf.
func (r *Range) load() {
	l, i := r.wide.seek(r.more.lo)
	if l == nil {
		r.wide = nil
		return
	}
	edges := l.edges[i:]
	r.edges = edges[:behind(edges, r.more.hi)]
	if len(r.edges) < len(edges) {
		r.wide = nil
		return
	}
	last := edges[len(edges)-1] | marks
	if last == r.more.hi {
		r.wide = nil
		return
	}
	r.more.lo = last + 1
}

// Next returns the next edge, or false at the end.
func (r *Range) Next() (Edge, bool) {
	if len(r.edges) == 0 {
		if r.wide != nil {
			r.load()
		}
		if len(r.edges) == 0 {
			return Edge{}, false
		}
	}
	e := r.edges[0]
	r.edges = r.edges[1:]
	return r.edge(e), true
}

func (r *Range) edge(e uint64) Edge {
	first, second, o := unpack(e)
	if r.backward {
		return Edge{r.snapshot, o, r.object, second, first, e&qualified != 0}
	}
	return Edge{r.snapshot, r.object, o, first, second, e&qualified != 0}
}

// Len returns how many edges are left.
func (r *Range) Len() int {
	n := len(r.edges)
	if r.wide != nil {
		n += r.wide.rank(r.more.hi)
		if r.more.lo > 0 {
			n -= r.wide.rank(r.more.lo - 1)
		}
	}
	return n
}

// Edge is the relationships of one resource, relation and subject.
type Edge struct {
	snapshot    *Snapshot
	res, sub    ID
	rel, subRel Pair
	qualified   bool
}

// Resource returns the object that the relationship is about.
func (e Edge) Resource() ID { return e.res }

// Relation returns the relation of the resource.
func (e Edge) Relation() Pair { return e.rel }

// Subject returns the object that stands in the relation.
func (e Edge) Subject() ID { return e.sub }

// SubjectRelation returns the relation to the subject, or 0 for the object itself.
func (e Edge) SubjectRelation() Pair { return e.subRel }

// Traits returns the alternatives under which the edge holds, or nil if it
// holds unconditionally.
func (e Edge) Traits() []Trait {
	if !e.qualified {
		return nil
	}
	return e.alternatives().visible()
}

func (e Edge) alternatives() *alternatives {
	if !e.qualified {
		return once
	}
	return e.snapshot.out.note(e.res, pack(e.rel, e.subRel, e.sub))
}

// Objects returns the objects of a type that a relationship names, on either
// side, in the order of their IDs and behind after.
func (s *Snapshot) Objects(t Type, after ID) iter.Seq[ID] {
	return func(yield func(ID) bool) {
		for o := range s.objects.of(t, after+1) {
			if s.named(o) && !yield(o) {
				return
			}
		}
	}
}
