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
			v = r.edge(m, o, p, r.kind, r.subject, r.subjectPair)
		}
	} else {
		if m.direct.has(r.definition) {
			v = r.edge(m, o, p, r.kind, r.subject, 0)
		}
		if v.has != Yes && r.everyone != 0 && m.wildcard.has(r.definition) {
			v = or(v, r.edge(m, o, p, everyone(r.definition), r.everyone, 0))
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
				if v = or(v, r.edge(m, o, p, r.model.members[u].kind(r.model), s.object(), r.names.pairOf[u])); v.has == Yes {
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
		traits := e.Traits()
		if traits != nil || m.strict {
			if traits, ok = r.stands(m, e); !ok {
				continue
			}
		}
		w := r.qualify(traits)
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

// edge says whether a relationship is there and holds, whose subject is of a kind
// that the relation takes.
func (r *request) edge(m *member, o graph.ID, p graph.Pair, k kind, sub graph.ID, subRel graph.Pair) value {
	if sub >= lastObject {
		return no
	}
	r.work++
	found, traits := r.snap.Find(o, p, sub, subRel)
	switch {
	case !found:
		return no
	case traits == nil && !m.strict:
		return yes
	}
	if traits, found = r.fitting(m.termsOf(k), traits, o, p, sub, subRel); !found {
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
		traits := e.Traits()
		if traits != nil || n.relation.strict {
			if traits, ok = r.stands(n.relation, e); !ok {
				continue
			}
		}
		q := r.qualify(traits)
		if q.has == No {
			continue
		}
		w := r.ask(t, e.Subject(), depth+1)
		if w.has == failed {
			// Nobody has anything of all objects of a type, so whether those may
			// stand here matters to nothing else.
			if _, ok := r.stands(n.relation, e); !ok {
				continue
			}
		}
		if v = or(v, and(q, w)); v.has == Yes {
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
		traits, ok := r.stands(n.relation, e)
		if !ok || r.expired(traits) {
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

// target returns what an arrow asks of an edge's subject; nil: nothing. All
// objects of a type have nothing in common that could be asked for; whether they
// may stand there, where each of them may, is left to stands.
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
	if t != nil && n.relation.wildcard.has(d) && e.Subject() == r.wildcard(d) {
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
