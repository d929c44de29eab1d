package engine

import (
	"context"
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// FoundSubject is a subject of a lookup's answer.
type FoundSubject struct {
	Found
	// Excluded are of a wildcard, the id "*": the objects to which it does not
	// apply, with Yes, or under a condition that is missing. Those that have the
	// permission, perhaps under another condition, are in the answer by themselves
	// too.
	Excluded []Found
}

// LookupSubjects answers which objects of a type, or those who have a relation
// or permission of such objects, have a permission of a resource: those for
// which Check says Yes or Conditional. If all objects of the type have it that
// are not excluded, a wildcard comes first; the rest is ordered by id.
//
// Errors are those of Check.
func LookupSubjects(ctx context.Context, v View, resource tuple.Object, permission, typ, relation string, given map[string]any, opts Options) ([]FoundSubject, error) {
	m, err := v.Model.resolve(resource.Type, permission)
	if err != nil {
		return nil, err
	}
	d, sm, err := v.Model.resolveSubject(typ, relation)
	if err != nil {
		return nil, err
	}
	r := v.request(ctx, given, opts.Depth)
	defer r.release()
	o := r.object(resource, noResource)
	r.setSubject(noSubject, d, sm)
	if !m.reach.has(int(r.kind)) {
		return nil, nil
	}
	g := &gathering{request: r, definition: d, member: sm, subjects: map[graph.ID]bool{}, certain: map[graph.ID]*node{}}
	if sm == nil {
		g.everyone = r.wildcard(d.index)
	}
	g.visit(m, o)
	if !m.relation() {
		g.visitSure(m, o)
	}
	if err := g.err; err != nil {
		return nil, err
	}
	return g.answer(m, o, resource)
}

// gathering collects the subjects that a permission of a resource mentions.
type gathering struct {
	*request
	definition *definition
	member     *member
	seen       memo // all that the permission rests on
	subjects   map[graph.ID]bool
	sure       memo // what is enough to have one leaf of the permission
	leaf       *node
	certain    map[graph.ID]*node // subjects that have it, and which leaf
	everyone   graph.ID
	err        error
}

// visit collects from a member of an object and from what it rests on.
func (g *gathering) visit(m *member, o graph.ID) {
	g.seen.reset()
	g.push(m, o)
	for i := 0; i < len(g.seen.entries) && g.err == nil; i++ {
		s := g.seen.entries[i].spot
		m := g.model.members[s.member()]
		if g.err = g.stopped(); m.relation() {
			g.relation(m, s.object())
		} else {
			g.expr(m, m.expr, s.object())
		}
	}
}

func (g *gathering) push(m *member, o graph.ID) {
	// What only takes away matters too: from a wildcard.
	if !m.reach.has(int(g.kind)) {
		return
	}
	if m == g.member {
		g.subjects[o] = true
	}
	g.seen.find(at(o, m.id))
}

func (g *gathering) relation(m *member, o graph.ID) {
	p := g.names.pairOf[m.id]
	if p == 0 || o >= lastObject {
		return
	}
	g.work++
	for edges := g.snap.Out(o, p); ; {
		e, ok := edges.Next()
		if !ok {
			return
		}
		if sub := e.Subject(); e.SubjectRelation() == 0 {
			if g.asksFor(m, sub) {
				if _, ok := g.traits(m, e); ok {
					g.subjects[sub] = true
				}
			}
		} else if id := g.memberOf(e.SubjectRelation()); m.takes(id) {
			if _, ok := g.traits(m, e); ok {
				g.push(g.model.members[id], sub)
			}
		}
	}
}

// asksFor reports whether the subject of a relationship without a subject's
// relation is what is looked for, and of a kind that the relation takes.
func (g *gathering) asksFor(m *member, sub graph.ID) bool {
	return g.member == nil && m.direct.has(g.definition.index) && sub != g.everyone && g.definitionOf(sub) == g.definition.index
}

func (g *gathering) expr(m *member, n *node, o graph.ID) {
	switch n.op {
	case opRef:
		g.push(n.member, o)
	case opSelf:
		if g.member == nil && m.definition == g.definition {
			g.subjects[o] = true
		}
	case opArrow, opAll:
		p := g.names.pairOf[n.relation.id]
		if p == 0 || o >= lastObject {
			return
		}
		g.work++
		for edges := g.snap.Out(o, p); ; {
			e, ok := edges.Next()
			if !ok {
				return
			}
			if t := g.target(n, e); t != nil {
				if _, ok := g.stands(n.relation, e); ok {
					g.push(t, e.Subject())
				}
			}
		}
	}
	for _, c := range n.children {
		g.expr(m, c, o)
	}
}

// visitSure collects the subjects that have a leaf of a permission for a reason that nothing can take away. About them less is left to
// ask.
func (g *gathering) visitSure(m *member, o graph.ID) {
	g.sure.reset()
	g.leaves(m, m.expr, o)
}

// leaves goes on from each leaf of the permission that is asked about.
func (g *gathering) leaves(m *member, n *node, o graph.ID) {
	switch n.op {
	case opExclusion:
		g.leaves(m, n.children[0], o)
		return
	case opUnion, opIntersection:
		for _, c := range n.children {
			g.leaves(m, c, o)
		}
		return
	}
	g.leaf = n
	from := len(g.sure.entries)
	g.sureExpr(m, n, o)
	for i := from; i < len(g.sure.entries) && g.err == nil; i++ {
		s := g.sure.entries[i].spot
		m := g.model.members[s.member()]
		if g.err = g.stopped(); m.relation() {
			g.sureRelation(m, s.object())
		} else {
			g.sureExpr(m, m.expr, s.object())
		}
	}
}

func (g *gathering) pushSure(m *member, o graph.ID) {
	if !m.reach.has(int(g.kind)) {
		return
	}
	if m == g.member && g.certain[o] == nil {
		g.certain[o] = g.leaf
	}
	g.sure.find(at(o, m.id))
}

func (g *gathering) sureExpr(m *member, n *node, o graph.ID) {
	switch n.op {
	case opUnion:
		for _, c := range n.children {
			g.sureExpr(m, c, o)
		}
	case opRef:
		g.pushSure(n.member, o)
	case opSelf:
		if g.member == nil && m.definition == g.definition && g.certain[o] == nil {
			g.certain[o] = g.leaf
		}
	case opArrow:
		p := g.names.pairOf[n.relation.id]
		if p == 0 || o >= lastObject {
			return
		}
		for edges := g.snap.Out(o, p); ; {
			e, ok := edges.Next()
			if !ok {
				return
			}
			if t := g.target(n, e); t != nil {
				if traits, ok := g.stands(n.relation, e); ok && traits == nil {
					g.pushSure(t, e.Subject())
				}
			}
		}
	}
}

func (g *gathering) sureRelation(m *member, o graph.ID) {
	p := g.names.pairOf[m.id]
	if p == 0 || o >= lastObject {
		return
	}
	for edges := g.snap.Out(o, p); ; {
		e, ok := edges.Next()
		if !ok {
			return
		}
		if traits, ok := g.traits(m, e); !ok || traits != nil {
			continue
		}
		if sub := e.Subject(); e.SubjectRelation() == 0 {
			if g.asksFor(m, sub) && g.certain[sub] == nil {
				g.certain[sub] = g.leaf
			}
		} else if id := g.memberOf(e.SubjectRelation()); m.takes(id) {
			g.pushSure(g.model.members[id], sub)
		}
	}
}

// answer asks about everybody who was mentioned, and about somebody who was not.
func (g *gathering) answer(m *member, o graph.ID, resource tuple.Object) ([]FoundSubject, error) {
	rest := no
	if g.member == nil && g.everyone != 0 {
		g.setSubject(noSubject, g.definition, nil)
		if rest = g.ask(m, o, 1); rest.has == failed {
			return nil, rest.err
		}
	}
	var out []FoundSubject
	var excluded []Found
	for sub := range g.subjects {
		g.setSubject(sub, g.definition, g.member)
		var v value
		if leaf := g.certain[sub]; leaf != nil && !(m == g.member && sub == o) {
			v = g.known(m.expr, leaf, o)
		} else {
			v = g.ask(m, o, 1)
		}
		if v.has == failed {
			return nil, v.err
		}
		if v.has == No && rest.has == No {
			continue
		}
		f := Found{ID: resource.ID, Has: v.has, Missing: v.fields()}
		if sub < lastObject {
			_, f.ID = g.snap.Name(sub)
		}
		if v.has != No {
			out = append(out, FoundSubject{Found: f})
		}
		switch {
		case v.has > rest.has || v.equal(rest):
		case v.has == Conditional && rest.has == Yes:
			excluded = append(excluded, f)
		default:
			excluded = append(excluded, Found{ID: f.ID, Has: Yes})
		}
	}
	if rest.has != No {
		slices.SortFunc(excluded, func(a, b Found) int { return strings.Compare(a.ID, b.ID) })
		out = append(out, FoundSubject{Found{tuple.Wildcard, rest.has, rest.fields()}, excluded})
	}
	slices.SortFunc(out, func(a, b FoundSubject) int { return strings.Compare(a.ID, b.ID) }) // no id is below "*"
	return out, nil
}
