package engine

import (
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// Trace is how the answer to a sub-question was found.
type Trace struct {
	Resource   tuple.Object
	Name       string // of the relation or permission
	Permission bool   // whether it is one
	Subject    tuple.Subject
	Has        Has
	Missing    []string
	// Cached: the sub-question had been answered before, in another place.
	Cached  bool
	Caveats []CaveatTrace // that were evaluated for it
	Sub     []*Trace
	Err     error // why there is no answer
}

// CaveatTrace is an evaluation of a caveat.
type CaveatTrace struct {
	Name       string
	Expression string
	Context    map[string]any // stored and given; what is stored wins
	Has        Has
	Missing    []string
}

// checkTraced answers a question together with the way to the answer.
func (r *request) checkTraced(m *member, o graph.ID) (Result, error) {
	r.tracing = true
	root := &Trace{}
	r.trace = root
	v := r.ask(m, o, 1)
	return Result{Has: v.has, Missing: v.fields(), Trace: root.Sub[0]}.orError(v)
}

// traced answers a sub-question and notes it.
func (r *request) traced(m *member, o graph.ID, depth int) value {
	parent := r.trace
	t := &Trace{Name: m.name, Permission: !m.relation()}
	t.Resource = r.nameOf(o)
	t.Subject.Object = r.nameOf(r.subject)
	if r.member != 0 {
		t.Subject.Relation = r.model.members[r.member].name
	}
	parent.Sub = append(parent.Sub, t)
	r.trace = t
	r.recalled = false
	v := r.answer(m, o, depth)
	r.trace = parent
	t.Has, t.Missing, t.Cached = v.has, v.fields(), r.recalled
	r.recalled = false
	if v.has == failed {
		t.Has, t.Err = No, v.err
	}
	return v
}

// nameOf returns an object's name; unnamed objects are those of the question.
func (r *request) nameOf(o graph.ID) tuple.Object {
	switch o {
	case r.asked.id:
		return r.asked.resource
	case r.subject:
		return r.asked.subject
	}
	typ, id := r.snap.Name(o)
	return tuple.Object{Type: typ, ID: id}
}

// traceCaveat notes an evaluation.
func (r *request) traceCaveat(t *graph.Trait, v value) {
	c := CaveatTrace{Name: t.Caveat, Has: v.has, Missing: v.fields(), Context: map[string]any{}}
	def := r.model.schema.Caveat(t.Caveat)
	c.Expression = def.Expression
	for _, p := range def.Parameters {
		if x, ok := t.Context[p.Name]; ok {
			c.Context[p.Name] = x
		} else if x, ok := r.context[p.Name]; ok {
			c.Context[p.Name] = x
		}
	}
	if v.has == failed {
		c.Has = No
	}
	r.trace.Caveats = append(r.trace.Caveats, c)
}
