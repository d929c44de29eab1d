package engine

import (
	"context"

	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// Options of a question.
type Options struct {
	// Depth is how many levels are followed; 0: DefaultDepth.
	Depth int
	// Trace asks for the way to the answer. Such a question is answered without
	// shortcuts.
	Trace bool
}

// Result is the answer to a check.
type Result struct {
	Has     Has
	Missing []string // of Conditional: the context that would decide it, in order; not to be changed
	Trace   *Trace   // if asked for, even with an error
}

// Check answers whether a subject has a relation or permission of a resource.
// Context is what the request gives to caveats.
//
// The error is a *schema.UnknownError, a *WildcardError, a *DepthError, a
// *CaveatError, or the context's.
func Check(ctx context.Context, v View, resource tuple.Object, permission string, subject tuple.Subject, given map[string]any, opts Options) (Result, error) {
	m, err := v.Model.resolve(resource.Type, permission)
	if err != nil {
		return Result{}, err
	}
	d, sm, err := v.Model.resolveSubject(subject.Type, subject.Relation)
	if err != nil {
		return Result{}, err
	}
	if subject.ID == tuple.Wildcard {
		return Result{}, &WildcardError{Field: "subject"}
	}
	r := v.request(ctx, given, opts.Depth)
	defer r.release()
	o, s := r.object(resource, noResource), r.object(subject.Object, noSubject)
	if resource == subject.Object {
		s = o
	}
	r.setSubject(s, d, sm)
	r.asked = question{o, resource, subject.Object}
	if opts.Trace {
		return r.checkTraced(m, o)
	}
	a := r.ask(m, o, 1)
	return Result{Has: a.has, Missing: a.fields()}.orError(a)
}

func (res Result) orError(v value) (Result, error) {
	if v.has == failed {
		return Result{Trace: res.Trace}, v.err
	}
	return res, nil
}

// object returns the number of an object, or what stands for one that has none.
func (r *request) object(o tuple.Object, none graph.ID) graph.ID {
	if id, ok := r.snap.Object(o.Type, o.ID); ok {
		return id
	}
	return none
}
