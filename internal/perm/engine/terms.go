package engine

import (
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/schema"
)

// terms are what relationships of a relation with one kind of subject may say. A
// relationship that says anything else is not there.
type terms struct {
	kind      kind
	plain     bool // neither caveat nor expiration
	qualified []qualification
}

// qualification is what a relationship may have besides its subject.
type qualification struct {
	caveat     string
	expiration bool
}

func (q qualification) plain() bool { return q == qualification{} }

// allow adds what one of a relation's types allows.
func (x *member) allow(k kind, t schema.AllowedType) {
	of := x.termsOf(k)
	if of == nil {
		x.terms = append(x.terms, terms{kind: k})
		of = &x.terms[len(x.terms)-1]
	}
	if q := (qualification{t.Caveat, t.Expiration}); q.plain() {
		of.plain = true
	} else {
		of.qualified = append(of.qualified, q)
	}
}

// termsOf returns the terms for a kind of subject, or nil if there are none.
func (x *member) termsOf(k kind) *terms {
	for i := range x.terms {
		if x.terms[i].kind == k {
			return &x.terms[i]
		}
	}
	return nil
}

func (t *terms) allows(trait *graph.Trait) bool {
	q := qualification{trait.Caveat, trait.Expires != 0}
	if q.plain() {
		return t.plain
	}
	for _, allowed := range t.qualified {
		if allowed == q {
			return true
		}
	}
	return false
}

// fitting returns those of an edge's alternatives that the terms allow, nil if it
// holds unconditionally, and whether anything is left. The traits are those that
// the graph gives for the edge.
func (r *request) fitting(t *terms, traits []graph.Trait, res graph.ID, rel graph.Pair, sub graph.ID, subRel graph.Pair) ([]graph.Trait, bool) {
	switch {
	case t == nil:
		return nil, false
	case traits == nil && t.plain:
		return nil, true
	case traits == nil:
		// What holds unconditionally does not count, and hides what may.
		traits = r.snap.Qualified(res, rel, sub, subRel)
	}
	for i := range traits {
		if t.allows(&traits[i]) {
			continue
		}
		left := append([]graph.Trait(nil), traits[:i]...)
		for k := i + 1; k < len(traits); k++ {
			if t.allows(&traits[k]) {
				left = append(left, traits[k])
			}
		}
		return left, left != nil
	}
	return traits, len(traits) > 0
}

// traits returns under what an edge of a relation counts, nil if unconditionally,
// and whether it does at all. It is for kinds of subject that the relation takes.
func (r *request) traits(m *member, e graph.Edge) ([]graph.Trait, bool) {
	if e.Traits() == nil && !m.strict {
		return nil, true
	}
	return r.stands(m, e)
}

// stands is traits for an edge with any kind of subject.
func (r *request) stands(m *member, e graph.Edge) ([]graph.Trait, bool) {
	return r.fitting(m.termsOf(r.kindOf(e)), e.Traits(), e.Resource(), e.Relation(), e.Subject(), e.SubjectRelation())
}

// kindOf returns what kind of subject an edge has. What the schema does not know
// is of a kind that no relation takes.
func (r *request) kindOf(e graph.Edge) kind {
	if p := e.SubjectRelation(); p != 0 {
		if id := r.memberOf(p); id != 0 {
			return r.model.members[id].kind(r.model)
		}
		return kind(len(r.model.definitions)) // of the member that is none
	}
	d := r.definitionOf(e.Subject())
	switch {
	case d < 0:
		return kind(len(r.model.definitions))
	case e.Subject() == r.wildcard(d):
		return everyone(d)
	}
	return kind(d)
}
