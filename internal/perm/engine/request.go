package engine

import (
	"context"
	"sync"
	"time"

	"github.com/tidemarkdb/tidemark/internal/perm/caveat"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// DefaultDepth is how many levels are followed if nothing else is said.
const DefaultDepth = 50

// View is what a question is asked of.
type View struct {
	Model    *Model
	Snapshot *graph.Snapshot
	Now      time.Time // which relationships have expired
	Cache    *Cache    // or nil
}

// Objects that no relationship names have no number in a graph. The one that is
// asked about and the one that asks get these.
const (
	noResource graph.ID = 1<<32 - 1 - iota
	noSubject
	lastObject
)

// request answers sub-questions about one subject. It is used by one goroutine.
type request struct {
	ctx      context.Context
	model    *Model
	snap     *graph.Snapshot
	names    *names
	cache    *generation
	now      int64
	context  map[string]any
	limit    int
	tracing  bool
	trace    *Trace // of the sub-question that is being asked
	caveats  map[caveatKey]value
	anywhere map[int]graph.ID // by definition: its wildcard

	asked       question
	subject     graph.ID
	subjectPair graph.Pair
	member      memberID // the subject's relation
	kind        kind
	definition  int
	everyone    graph.ID // the subject's wildcard, or 0
	groups      *groups  // that the subject is in
	climbed     bool
	ladder      groups // groups are made here

	stamps   []uint64 // by member, one more than the stamp; 0: not known
	memo     memo
	trail    []int32 // the entries that are provisional, in the order of their completion
	depths   []int32 // by place on the stack: denied of the entry that is there
	low      int32   // the lowest place on the stack that was met since it was reset
	denied   int32
	recalled bool // the last answer had been found before
	met      bool // traits were met since it was reset
	grown    bool // a provisional answer changed since it was reset
	work     int  // how much the graph was asked
	poll     int  // the work after which to look whether anybody still waits
}

// question names the objects that a request is about, which may have no numbers.
type question struct {
	id                graph.ID // of the resource
	resource, subject tuple.Object
}

type caveatKey struct{ name, context string }

var requests = sync.Pool{New: func() any { return &request{} }}

func (v View) request(ctx context.Context, given map[string]any, depth int) *request {
	r := requests.Get().(*request)
	r.ctx, r.model, r.snap, r.now, r.context = ctx, v.Model, v.Snapshot, v.Now.UnixMicro(), given
	r.names = v.Model.named(v.Snapshot)
	if r.limit = depth; depth <= 0 {
		r.limit = DefaultDepth
	}
	if v.Cache != nil {
		r.cache = v.Cache.generation(v.Model, v.Snapshot)
	}
	r.memo.reset()
	return r
}

// release gives the request back. Nothing of it may be used afterwards.
func (r *request) release() {
	clear(r.anywhere)
	clear(r.caveats)
	*r = request{anywhere: r.anywhere, caveats: r.caveats, memo: r.memo, trail: r.trail[:0], depths: r.depths[:0], ladder: r.ladder, stamps: r.stamps[:0]}
	requests.Put(r)
}

// setSubject says whom sub-questions are about. What was found out about another
// subject is forgotten.
func (r *request) setSubject(id graph.ID, d *definition, m *member) {
	r.subject, r.definition, r.member, r.subjectPair = id, d.index, 0, 0
	r.kind, r.everyone = kind(d.index), 0
	r.groups, r.climbed = nil, false
	if m != nil {
		r.member, r.subjectPair, r.kind = m.id, r.names.pairOf[m.id], m.kind(r.model)
	} else if len(r.model.wild[d.index]) > 0 {
		r.everyone = r.wildcard(d.index)
	}
	r.memo.reset()
	r.trail, r.depths = r.trail[:0], r.depths[:0]
	r.low, r.denied, r.met, r.grown = top, 0, false, false
}

// wildcard returns the number of all objects of a definition, or 0.
func (r *request) wildcard(definition int) graph.ID {
	if id, ok := r.anywhere[definition]; ok {
		return id
	}
	if r.anywhere == nil {
		r.anywhere = map[int]graph.ID{}
	}
	id, _ := r.snap.Object(r.model.schema.Definitions[definition].Name, tuple.Wildcard)
	r.anywhere[definition] = id
	return id
}

// resolve finds a member of a definition by name.
func (m *Model) resolve(typ, name string) (*member, error) {
	d := m.definitions[typ]
	if d == nil {
		return nil, &schema.UnknownError{Definition: typ}
	}
	x := d.members[name]
	if x == nil {
		return nil, &schema.UnknownError{Definition: typ, Member: name}
	}
	return x, nil
}

// resolveSubject finds what kind of subject is meant; the member is nil for
// objects themselves.
func (m *Model) resolveSubject(typ, relation string) (*definition, *member, error) {
	d := m.definitions[typ]
	if d == nil {
		return nil, nil, &schema.UnknownError{Definition: typ}
	}
	if relation == "" {
		return d, nil, nil
	}
	x := d.members[relation]
	if x == nil {
		return nil, nil, &schema.UnknownError{Definition: typ, Member: relation}
	}
	return d, x, nil
}

// stopped says, now and then, that nobody waits for the answer any more.
func (r *request) stopped() error {
	if r.work < r.poll {
		return nil
	}
	if err := context.Cause(r.ctx); err != nil {
		return err
	}
	r.poll = r.work + 1<<12
	return nil
}

// qualify says whether alternatives of a relationship hold.
func (r *request) qualify(traits []graph.Trait) value {
	if traits == nil {
		return yes
	}
	r.met = true
	v := no
	for i := range traits {
		t := &traits[i]
		if t.Expires != 0 && t.Expires <= r.now {
			continue
		}
		if v = or(v, r.condition(t)); v.has == Yes {
			break
		}
	}
	return v
}

// condition evaluates the caveat of a relationship.
func (r *request) condition(t *graph.Trait) value {
	if t.Caveat == "" {
		return yes
	}
	key := caveatKey{t.Caveat, t.ContextText}
	if v, ok := r.caveats[key]; ok {
		if r.tracing {
			r.traceCaveat(t, v)
		}
		return v
	}
	v := r.evaluate(t)
	if r.caveats == nil {
		r.caveats = map[caveatKey]value{}
	}
	if v.has != failed {
		r.caveats[key] = v
	}
	if r.tracing {
		r.traceCaveat(t, v)
	}
	return v
}

func (r *request) evaluate(t *graph.Trait) value {
	result, err := r.model.schema.Caveat(t.Caveat).Program.Eval(t.Context, r.context)
	if err != nil {
		return broken(&CaveatError{Caveat: t.Caveat, Err: err})
	}
	switch result.Outcome {
	case caveat.True:
		return yes
	case caveat.False:
		return no
	}
	return conditional(result.Fields)
}
