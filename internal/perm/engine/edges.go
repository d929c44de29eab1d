package engine

import "github.com/tidemarkdb/tidemark/internal/perm/graph"

// relation evaluates a relation: relationships with the subject itself, with all
// objects of its type, and with sets that it is in.
func (r *request) relation(m *member, o graph.ID, depth int) value {
	p := r.names.pairOf[m.id]
	if p == 0 || o >= lastObject {
		return no
	}
	v := no
	if r.member != 0 {
		if r.subjectPair != 0 && m.takes(r.member) {
			v = r.edge(o, p, r.subject, r.subjectPair)
		}
	} else {
		if m.direct.has(r.definition) {
			v = r.edge(o, p, r.subject, 0)
		}
		if v.has != Yes && r.everyone != 0 && m.wildcard.has(r.definition) {
			v = or(v, r.edge(o, p, r.everyone, 0))
		}
	}
	if v.has == Yes || len(m.usersets) == 0 {
		return v
	}
	edges := r.snap.Usersets(o, p)
	r.work++
	if edges.Len() == 0 {
		return v
	}
	var in *groups
	if !r.tracing {
		in = r.climb()
	}
	if m.flat && in != nil && edges.Len() > 4*len(in.spots) {
		for _, s := range in.spots {
			if u := s.member(); m.takes(u) && r.names.pairOf[u] != 0 {
				if v = or(v, r.edge(o, p, s.object(), r.names.pairOf[u])); v.has == Yes {
					return v
				}
			}
		}
		return v
	}
	for {
		e, ok := edges.Next()
		if !ok {
			return v
		}
		id := r.memberOf(e.SubjectRelation())
		if id == 0 || !m.takes(id) {
			continue
		}
		u := r.model.members[id]
		if in != nil && u.fits && !in.has(at(e.Subject(), id)) {
			continue
		}
		w := r.qualify(e.Traits())
		if w.has == No {
			continue
		}
		if in == nil || !u.fits {
			w = and(w, r.ask(u, e.Subject(), depth+1))
		}
		if v = or(v, w); v.has == Yes {
			return v
		}
	}
}

// edge says whether a relationship is there and holds.
func (r *request) edge(o graph.ID, p graph.Pair, sub graph.ID, subRel graph.Pair) value {
	if sub >= lastObject {
		return no
	}
	r.work++
	found, traits := r.snap.Find(o, p, sub, subRel)
	if !found {
		return no
	}
	return r.qualify(traits)
}

// arrow evaluates a->b.
func (r *request) arrow(n *node, o graph.ID, depth int) value {
	p := r.names.pairOf[n.relation.id]
	if p == 0 || o >= lastObject {
		return no
	}
	v := no
	r.work++
	for edges := r.snap.Out(o, p); ; {
		e, ok := edges.Next()
		if !ok {
			return v
		}
		t := r.target(n, e)
		if t == nil {
			continue
		}
		q := r.qualify(e.Traits())
		if q.has == No {
			continue
		}
		if v = or(v, and(q, r.ask(t, e.Subject(), depth+1))); v.has == Yes {
			return v
		}
	}
}

// all evaluates a.all(b): over nobody it is no, and a relationship whose caveat
// does not hold denies too.
func (r *request) all(n *node, o graph.ID, depth int) value {
	p := r.names.pairOf[n.relation.id]
	if p == 0 || o >= lastObject {
		return no
	}
	v, any := yes, false
	r.work++
	for edges := r.snap.Out(o, p); ; {
		e, ok := edges.Next()
		if !ok {
			break
		}
		traits := e.Traits()
		if r.expired(traits) || !r.admits(n.relation, e) {
			continue
		}
		any = true
		t := r.target(n, e)
		if t == nil {
			return no
		}
		v = and(v, r.qualify(traits))
		if v.has != No {
			v = and(v, r.ask(t, e.Subject(), depth+1))
		}
		if v.has == No {
			return no
		}
	}
	if !any {
		return no
	}
	return v
}

// expired reports whether every alternative of a relationship has ended.
func (r *request) expired(traits []graph.Trait) bool {
	for i := range traits {
		if t := &traits[i]; t.Expires == 0 || t.Expires > r.now {
			return false
		}
	}
	r.met = r.met || traits != nil
	return traits != nil
}

// admits reports whether the schema lets an edge's subject stand in a relation.
func (r *request) admits(m *member, e graph.Edge) bool {
	if p := e.SubjectRelation(); p != 0 {
		return m.takes(r.memberOf(p))
	}
	d := r.definitionOf(e.Subject())
	return d >= 0 && (m.direct.has(d) || m.wildcard.has(d))
}

// target returns what an arrow asks of an edge's subject; nil: nothing. All
// objects of a type have nothing in common that could be asked for.
func (r *request) target(n *node, e graph.Edge) *member {
	if p := e.SubjectRelation(); p != 0 {
		id := r.memberOf(p)
		if !n.relation.takes(id) {
			return nil
		}
		return n.targets[r.model.members[id].definition.index]
	}
	d := r.definitionOf(e.Subject())
	if d < 0 || !n.relation.direct.has(d) {
		return nil
	}
	t := n.targets[d]
	if t != nil && n.relation.wildcard.has(d) && e.Subject() == r.wildcard(t.definition) {
		return nil
	}
	return t
}

// memberOf returns the member that a pair stands for, or 0.
func (r *request) memberOf(p graph.Pair) memberID {
	if int(p) >= len(r.names.memberOf) {
		return 0
	}
	return r.names.memberOf[p]
}

// definitionOf returns the definition of an object by its index, or -1.
func (r *request) definitionOf(o graph.ID) int {
	t := r.snap.TypeOf(o)
	if int(t) >= len(r.names.definitions) {
		return -1
	}
	return r.names.definitions[t]
}
