package graph

import (
	"iter"
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// Filter selects relationships. Empty fields select everything.
type Filter struct {
	ResourceType, ResourceID, ResourceIDPrefix string
	Relation                                   string
	Subject                                    *SubjectFilter
	Now                                        int64 // Unix time in microseconds; what expired by then is left out. 0 leaves nothing out.
}

// SubjectFilter selects subjects. Empty fields select everything.
type SubjectFilter struct {
	Type, ID string
	Relation *string // to "": objects themselves
}

// Relationships returns those that a filter selects, each once, in an order that
// is the same for the same filter in every snapshot of an epoch. With after it
// starts behind that relationship, whether or not it is there; ErrPosition says
// that the snapshot knows no such place.
func (s *Snapshot) Relationships(f Filter, after *tuple.Relationship) (iter.Seq[tuple.Relationship], error) {
	w := s.walk(f)
	if after != nil {
		if err := w.startBehind(after); err != nil {
			return nil, err
		}
	}
	return func(yield func(tuple.Relationship) bool) {
		w.each(func(e Edge, t Trait) bool { return yield(s.relationship(e, t)) })
	}, nil
}

// Count returns how many relationships a filter selects.
func (s *Snapshot) Count(f Filter) int {
	n := 0
	w := s.walk(f)
	w.each(func(Edge, Trait) bool { n++; return true })
	return n
}

// Lookup returns all relationships that have a resource, relation and subject in
// common with one, in order.
func (s *Snapshot) Lookup(key tuple.Relationship) []tuple.Relationship {
	e, ok := s.resolve(&key)
	if !ok {
		return nil
	}
	edge, found := s.out.find(e.res, pack(e.rel, e.subRel, e.sub))
	if !found {
		return nil
	}
	alts := s.alternatives(e.res, edge)
	out := make([]tuple.Relationship, 0, alts.size())
	for i := range alts.size() {
		out = append(out, s.relationship(e, alts.at(i)))
	}
	return out
}

// relationship names an edge.
func (s *Snapshot) relationship(e Edge, t Trait) tuple.Relationship {
	r := tuple.Relationship{Caveat: t.Caveat, Context: t.ContextText, Expires: t.Expires}
	r.Resource.Type, r.Resource.ID = s.Name(e.res)
	r.Relation = s.pairs[e.rel].rel
	r.Subject.Type, r.Subject.ID = s.Name(e.sub)
	r.Subject.Relation = s.pairs[e.subRel].rel
	return r
}

// resolve returns the edge that a relationship would be.
func (s *Snapshot) resolve(r *tuple.Relationship) (Edge, bool) {
	e := Edge{snapshot: s}
	var ok [4]bool
	e.res, ok[0] = s.Object(r.Resource.Type, r.Resource.ID)
	e.rel, ok[1] = s.Pair(r.Resource.Type, r.Relation)
	e.sub, ok[2] = s.Object(r.Subject.Type, r.Subject.ID)
	e.subRel, ok[3] = 0, true
	if r.Subject.Relation != "" {
		e.subRel, ok[3] = s.Pair(r.Subject.Type, r.Subject.Relation)
	}
	return e, ok == [4]bool{true, true, true, true}
}

// walk is a way through a snapshot past everything that a filter selects: object
// by object from one side, and of each the edges in some spans.
type walk struct {
	s        *Snapshot
	f        Filter
	sub      SubjectFilter
	backward bool
	typ, id  string // of the objects gone through, where given

	resPairs []Pair // that the filter allows; with 0 in subPairs for none
	subPairs []Pair

	// where to start
	fromType  Type
	fromID    ID
	fromEdge  uint64
	fromTrait *Trait // behind this one, of the first edge
}

func (s *Snapshot) walk(f Filter) *walk {
	w := &walk{s: s, f: f}
	if f.Subject != nil {
		w.sub = *f.Subject
	}
	w.resPairs = s.pairsOf(f.ResourceType, f.Relation)
	switch rel := w.sub.Relation; {
	case rel == nil:
		w.subPairs = append([]Pair{0}, s.pairsOf(w.sub.Type, "")...)
	case *rel == "":
		w.subPairs = []Pair{0}
	default:
		w.subPairs = s.pairsOf(w.sub.Type, *rel)
	}
	w.typ, w.id = f.ResourceType, f.ResourceID
	if f.ResourceID == "" && (w.sub.ID != "" || f.ResourceType == "" && w.sub.Type != "") {
		w.backward = true
		w.typ, w.id = w.sub.Type, w.sub.ID
	}
	return w
}

// pairsOf returns the pairs of a type and relation, each of which may be empty
// for any, in order.
func (s *Snapshot) pairsOf(typ, rel string) []Pair {
	if typ != "" && rel != "" {
		if p, ok := s.Pair(typ, rel); ok {
			return []Pair{p}
		}
		return nil
	}
	var out []Pair
	for i, p := range s.pairs[1:] {
		if (typ == "" || p.typ == typ) && (rel == "" || p.rel == rel) {
			out = append(out, Pair(i+1))
		}
	}
	return out
}

// startBehind has the walk start behind a relationship.
func (w *walk) startBehind(r *tuple.Relationship) error {
	e, ok := w.s.resolve(r)
	if !ok {
		return ErrPosition
	}
	w.fromID, w.fromEdge = e.res, pack(e.rel, e.subRel, e.sub)
	if w.backward {
		w.fromID, w.fromEdge = e.sub, pack(e.subRel, e.rel, e.res)
	}
	w.fromType = w.s.TypeOf(w.fromID)
	w.fromTrait = &Trait{Caveat: r.Caveat, ContextText: r.Context, Expires: r.Expires}
	return nil
}

// each calls yield with the relationships, until it returns false.
func (w *walk) each(yield func(Edge, Trait) bool) {
	s := w.s
	if len(w.resPairs) == 0 || len(w.subPairs) == 0 {
		return
	}
	first, last := Type(1), Type(s.Types())
	if w.typ != "" {
		t, ok := s.Type(w.typ)
		if !ok {
			return
		}
		first, last = t, t
	}
	for t := int(max(first, w.fromType)); t <= int(last); t++ {
		from := ID(0)
		if Type(t) == w.fromType {
			from = w.fromID
		}
		within := w.spans(Type(t))
		if len(within) == 0 {
			continue
		}
		if w.id != "" {
			if o, ok := s.objects.find(Type(t), w.id); ok && o >= from && !w.object(o, within, yield) {
				return
			}
			continue
		}
		for o := range s.objects.of(Type(t), from) {
			if !w.object(o, within, yield) {
				return
			}
		}
	}
}

// object goes through the spans of an object's edges.
func (w *walk) object(o ID, spans []span, yield func(Edge, Trait) bool) bool {
	t := w.s.out
	if w.backward {
		t = w.s.in
	}
	if !t.has(o) || !w.backward && !strings.HasPrefix(w.s.objects.name(o), w.f.ResourceIDPrefix) {
		return true
	}
	var key uint64
	var behind *Trait
	if o == w.fromID {
		key, behind = w.fromEdge, w.fromTrait
	}
	for _, within := range spans {
		if within.hi < key {
			continue
		}
		within.lo = max(within.lo, key)
		if !w.span(o, within, key, behind, yield) {
			return false
		}
	}
	return true
}

// spans returns where the edges of an object of a type are that the filter
// selects, in order; there may be others between them.
func (w *walk) spans(t Type) []span {
	const few = 16
	firsts, seconds := w.resPairs, w.subPairs
	if w.backward {
		firsts, seconds = seconds, firsts
	}
	typ := w.s.types[t]
	firsts = slices.DeleteFunc(slices.Clone(firsts), func(p Pair) bool { return p != 0 && w.s.pairs[p].typ != typ })
	var out []span
	switch {
	case len(firsts) > few || w.id == "" && len(firsts) > 1:
		return []span{everything}
	case len(seconds) > few || w.id == "":
		for _, p := range firsts {
			out = append(out, under(p))
		}
		return out
	}
	other, exact := ID(0), !w.backward && w.sub.Type != "" && w.sub.ID != ""
	if exact {
		var ok bool
		if other, ok = w.s.Object(w.sub.Type, w.sub.ID); !ok {
			return nil
		}
	}
	for _, p := range firsts {
		for _, q := range seconds {
			if exact {
				lo := pack(p, q, other)
				out = append(out, span{lo, lo | marks})
				continue
			}
			out = append(out, underBoth(p, q))
		}
	}
	return out
}

// span goes through a span of an object's edges. Of the edge with the key it
// leaves out what is not behind a trait.
func (w *walk) span(o ID, within span, key uint64, behind *Trait, yield func(Edge, Trait) bool) bool {
	r := w.s.outward(o, within)
	if w.backward {
		r = w.s.inward(o, within)
	}
	for e, ok := r.Next(); ok; e, ok = r.Next() {
		if !w.selects(e) {
			continue
		}
		alts := e.alternatives()
		at := pack(e.rel, e.subRel, e.sub)
		if w.backward {
			at = pack(e.subRel, e.rel, e.res)
		}
		for i := range alts.size() {
			t := alts.at(i)
			if behind != nil && at == key && compareTraits(t, *behind) <= 0 {
				continue
			}
			if w.f.Now != 0 && t.Expires != 0 && t.Expires <= w.f.Now {
				continue
			}
			if !yield(e, t) {
				return false
			}
		}
	}
	return true
}

// selects reports whether the filter does, expiration aside.
func (w *walk) selects(e Edge) bool {
	s := w.s
	is := func(want, got string) bool { return want == "" || want == got }
	res, sub := s.pairs[e.rel], s.types[s.TypeOf(e.sub)]
	return is(w.f.ResourceType, res.typ) && is(w.f.Relation, res.rel) && is(w.sub.Type, sub) &&
		(w.sub.Relation == nil || *w.sub.Relation == s.pairs[e.subRel].rel) &&
		(w.f.ResourceID == "" || s.objects.name(e.res) == w.f.ResourceID) &&
		(w.f.ResourceIDPrefix == "" || strings.HasPrefix(s.objects.name(e.res), w.f.ResourceIDPrefix)) &&
		(w.sub.ID == "" || s.objects.name(e.sub) == w.sub.ID)
}
