package engine

import (
	"context"

	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// Operation says how the children of a tree make the whole.
type Operation uint8

// The operations of a tree.
const (
	Leaf         Operation = iota // no children, but subjects
	Union                         // of all children
	Intersection                  // of all children
	Exclusion                     // the first child without the others
)

// Tree is who has a relation or permission of an object, as the schema composes
// it. Sets of subjects in the leaves are not expanded.
type Tree struct {
	Object    tuple.Object
	Name      string // of the relation or permission that the tree is a part of
	Operation Operation
	Children  []*Tree
	Subjects  []DirectSubject // of a Leaf, those without a relation first
	// Traits are under which a child counts that an arrow leads to; nil: it
	// counts unconditionally.
	Traits []graph.Trait
}

// DirectSubject is the subject of a relationship.
type DirectSubject struct {
	tuple.Subject
	Traits []graph.Trait // the alternatives under which it holds; nil: unconditionally
}

// Expand returns the tree of a relation or permission of an object, down to its
// relations. Expired relationships are not in it.
//
// The error is a *schema.UnknownError, a *DepthError or the context's.
func Expand(ctx context.Context, v View, resource tuple.Object, permission string, opts Options) (*Tree, error) {
	m, err := v.Model.resolve(resource.Type, permission)
	if err != nil {
		return nil, err
	}
	r := v.request(ctx, nil, opts.Depth)
	defer r.release()
	o := r.object(resource, noResource)
	r.asked = question{id: o, resource: resource}
	return r.expand(m, o, 1)
}

func (r *request) expand(m *member, o graph.ID, depth int) (*Tree, error) {
	if depth > r.limit {
		return nil, &DepthError{Limit: r.limit}
	}
	if err := r.stopped(); err != nil {
		return nil, err
	}
	if m.relation() {
		return r.leaf(m, o), nil
	}
	t, err := r.expandNode(m, m.expr, o, depth)
	if err == nil && m.expr.op != opUnion && m.expr.op != opIntersection && m.expr.op != opExclusion {
		t = &Tree{Object: r.nameOf(o), Name: m.name, Operation: Union, Children: []*Tree{t}}
	}
	return t, err
}

func (r *request) leaf(m *member, o graph.ID) *Tree {
	t := &Tree{Object: r.nameOf(o), Name: m.name}
	p := r.names.pairOf[m.id]
	if p == 0 || o >= lastObject {
		return t
	}
	r.work++
	for edges := r.snap.Out(o, p); ; {
		e, ok := edges.Next()
		if !ok {
			return t
		}
		traits, ok := r.current(m, e)
		if !ok {
			continue
		}
		s := DirectSubject{Traits: traits}
		s.Type, s.ID = r.snap.Name(e.Subject())
		if q := e.SubjectRelation(); q != 0 {
			_, s.Relation = r.snap.PairName(q)
		}
		t.Subjects = append(t.Subjects, s)
	}
}

// current returns the alternatives of an edge that count and have not ended, and
// whether there are any or none is needed.
func (r *request) current(m *member, e graph.Edge) ([]graph.Trait, bool) {
	traits, ok := r.stands(m, e)
	if !ok {
		return nil, false
	}
	var left []graph.Trait
	for _, t := range traits {
		if t.Expires == 0 || t.Expires > r.now {
			left = append(left, t)
		}
	}
	return left, traits == nil || left != nil
}

func (r *request) expandNode(m *member, n *node, o graph.ID, depth int) (*Tree, error) {
	t := &Tree{Object: r.nameOf(o), Name: m.name}
	switch n.op {
	case opRef:
		return r.expand(n.member, o, depth+1)
	case opSelf:
		t.Subjects = []DirectSubject{{Subject: tuple.Subject{Object: t.Object}}}
		return t, nil
	case opUnion:
		t.Operation = Union
	case opIntersection:
		t.Operation = Intersection
	case opExclusion:
		t.Operation = Exclusion
	case opArrow, opAll:
		return r.expandArrow(t, n, o, depth)
	}
	for _, c := range n.children {
		child, err := r.expandNode(m, c, o, depth)
		if err != nil {
			return nil, err
		}
		t.Children = append(t.Children, child)
	}
	return t, nil
}

func (r *request) expandArrow(t *Tree, n *node, o graph.ID, depth int) (*Tree, error) {
	t.Operation = Union
	if n.op == opAll {
		t.Operation = Intersection
	}
	p := r.names.pairOf[n.relation.id]
	if p == 0 || o >= lastObject {
		return t, nil
	}
	r.work++
	for edges := r.snap.Out(o, p); ; {
		e, ok := edges.Next()
		if !ok {
			return t, nil
		}
		traits, ok := r.current(n.relation, e)
		if !ok {
			continue
		}
		child := &Tree{Object: t.Object, Name: t.Name}
		if to := r.target(n, e); to != nil {
			var err error
			if child, err = r.expand(to, e.Subject(), depth+1); err != nil {
				return nil, err
			}
		}
		child.Traits = traits
		t.Children = append(t.Children, child)
	}
}
