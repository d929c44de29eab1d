// Package graph keeps relationships as a graph for permission questions: objects
// are numbered, and edges are found from either end.
//
// A Graph has one writer; each Apply makes a new Snapshot and leaves the earlier
// ones as they are, sharing with them what has not changed. Snapshots are read
// by any number of goroutines without locks. The package is pure.
package graph

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// ID numbers an object within one epoch of a graph. 0 is no object.
type ID uint32

// Type numbers an object type. 0 is no type. Numbers are never reused.
type Type uint16

// Pair numbers a relation of a type, such as document#viewer. 0 is none, which
// as a subject's relation means the object itself. Numbers are never reused.
type Pair uint16

// Op is what an Update does.
type Op uint8

const (
	Add    Op = iota // one more of the relationship
	Remove           // one fewer
)

// Update adds a relationship, or takes one away.
type Update struct {
	Op           Op
	Relationship tuple.Relationship
}

var (
	// ErrAbsent says that an update removes a relationship that is not there.
	ErrAbsent = errors.New("the relationship is not there")
	// ErrFull says that a graph cannot number another object, type or relation.
	ErrFull = errors.New("the graph is full")
	// ErrPosition says that a reading cannot go on after a relationship whose
	// names the snapshot does not know.
	ErrPosition = errors.New("the snapshot does not know the position")
)

// Graph is the writer's end. But for Snapshot, its methods are called by one
// goroutine at a time.
type Graph struct {
	current atomic.Pointer[Snapshot]

	names  names
	traits traits
	live   int // objects that an edge has

	// room to work in
	edit     editor
	steps    []step
	outward  []change
	inward   []change
	touching []ID
}

// New returns an empty graph.
func New() *Graph {
	g := &Graph{names: newNames()}
	g.publish(&Snapshot{})
	return g
}

// Snapshot returns the newest version. It may be called by any goroutine.
func (g *Graph) Snapshot() *Snapshot { return g.current.Load() }

// publish makes a version the newest, with the names of now.
func (g *Graph) publish(s *Snapshot) *Snapshot {
	s.graph = g
	s.objects, s.vocabulary = g.names.version()
	if n := len(s.pairs); len(s.changed) < n {
		s.changed = append(slices.Clip(s.changed), make([]uint64, n-len(s.changed))...)
	}
	g.current.Store(s)
	return s
}

// names is the writer's numbering.
type names struct {
	objects    objects
	text       *strings.Builder // of objects
	vocabulary *vocabulary
	// what readers have of these, while it is as new
	versionObjects    *objects
	versionVocabulary *vocabulary
}

func newNames() names {
	return names{objects: newObjects(), text: &strings.Builder{}, vocabulary: newVocabulary()}
}

func (n *names) version() (*objects, *vocabulary) {
	if n.versionObjects == nil || n.versionObjects.used != n.objects.used {
		n.versionObjects = n.objects.version()
	}
	n.versionVocabulary = n.vocabulary
	return n.versionObjects, n.versionVocabulary
}

// own makes the vocabulary one that may be changed.
func (n *names) own() {
	if n.vocabulary == n.versionVocabulary {
		n.vocabulary = n.vocabulary.clone()
	}
}

func (n *names) object(o *tuple.Object) (ID, error) {
	t, ok := n.vocabulary.typeIDs[o.Type]
	if !ok {
		n.own()
		var err error
		if t, err = n.vocabulary.addType(o.Type); err != nil {
			return 0, err
		}
	}
	return n.objects.intern(n.text, t, o.ID)
}

func (n *names) pair(typ, rel string) (Pair, error) {
	if p, ok := n.vocabulary.pairIDs[pairName{typ, rel}]; ok {
		return p, nil
	}
	n.own()
	return n.vocabulary.addPair(typ, rel)
}

// row is a relationship in numbers.
type row struct {
	res, sub    ID
	rel, subRel Pair
}

func (n *names) row(r *tuple.Relationship) (w row, err error) {
	if w.res, err = n.object(&r.Resource); err != nil {
		return w, err
	}
	if w.sub, err = n.object(&r.Subject.Object); err != nil {
		return w, err
	}
	if w.rel, err = n.pair(r.Resource.Type, r.Relation); err != nil {
		return w, err
	}
	if r.Subject.Relation != "" {
		w.subRel, err = n.pair(r.Subject.Type, r.Subject.Relation)
	}
	return w, err
}

// step is an update in numbers.
type step struct {
	res   ID
	key   uint64
	n     int
	alts  *alternatives
	index int // of the update
}

// Apply makes all updates, in their order, and returns the version after them. A
// relationship that is added twice is there until it is removed twice. With an
// error nothing has happened.
func (g *Graph) Apply(updates []Update) (*Snapshot, error) {
	old := g.current.Load()
	next := &Snapshot{seq: old.seq + 1, epoch: old.epoch, size: old.size, changed: old.changed}
	if err := g.resolve(updates, g.names.row); err != nil {
		return nil, err
	}
	if len(updates) > 0 {
		next.changed = make([]uint64, len(g.names.vocabulary.pairs))
		copy(next.changed, old.changed)
	}

	if err := g.change(old, next, updates); err != nil {
		return nil, err
	}
	slices.Sort(g.touching)
	for _, o := range slices.Compact(g.touching) {
		if was, is := old.named(o), next.named(o); is && !was {
			g.live++
		} else if was && !is {
			g.live--
		}
	}
	g.tidy()
	return g.publish(next), nil
}

// tidy lets go of what was worked with, and of room that only a large Apply needs.
func (g *Graph) tidy() {
	const most = 1 << 14
	if cap(g.steps) > most {
		g.steps, g.outward, g.inward, g.touching = nil, nil, nil, nil
		return
	}
	clear(g.steps)
	clear(g.outward)
}

// change makes the resolved steps of updates in next, which comes after old.
func (g *Graph) change(old, next *Snapshot, updates []Update) error {
	g.outward, g.inward, g.touching = g.outward[:0], g.inward[:0], g.touching[:0]
	for steps := g.steps; len(steps) > 0; {
		n := 1
		for n < len(steps) && steps[n].res == steps[0].res && steps[n].key == steps[0].key {
			n++
		}
		if failed, ok := g.alter(old, next, steps[:n]); !ok {
			return fmt.Errorf("%s: %w", updates[failed].Relationship, ErrAbsent)
		}
		steps = steps[n:]
	}
	slices.SortFunc(g.inward, func(a, b change) int {
		return cmp.Or(cmp.Compare(a.object, b.object), cmp.Compare(a.edge, b.edge))
	})
	next.out = old.out.with(&g.edit, g.outward)
	next.in = old.in.with(&g.edit, g.inward)
	return nil
}

// resolve makes steps of updates, ordered by edge and then as they were given.
func (g *Graph) resolve(updates []Update, number func(*tuple.Relationship) (row, error)) error {
	g.steps = g.steps[:0]
	for i := range updates {
		r := &updates[i].Relationship
		w, err := number(r)
		if err != nil {
			return err
		}
		alts, err := g.traits.of(r)
		if err != nil {
			return err
		}
		n := 1
		if updates[i].Op == Remove {
			n = -1
		}
		g.steps = append(g.steps, step{w.res, pack(w.rel, w.subRel, w.sub), n, alts, i})
	}
	slices.SortFunc(g.steps, func(a, b step) int {
		return cmp.Or(cmp.Compare(a.res, b.res), cmp.Compare(a.key, b.key), cmp.Compare(a.index, b.index))
	})
	return nil
}

// alter works out what steps of one edge come to. Where there is nothing to
// remove it returns the index of the update.
func (g *Graph) alter(old, next *Snapshot, steps []step) (failed int, ok bool) {
	res, key := steps[0].res, steps[0].key
	was, before := none, uint64(0)
	if e, found := old.out.find(res, key); found {
		was, before = old.alternatives(res, e), e
	}
	is := was
	for i := range steps {
		if is, ok = is.plus(steps[i].alts, steps[i].n); !ok {
			return steps[i].index, false
		}
	}
	rel, subRel, sub := unpack(key)
	c := change{object: res, edge: key}
	switch {
	case is.size() == 0 && was == none:
		return 0, true
	case is.size() == 0:
		c.remove = true
	case is.free != 1 || len(is.traits) > 0:
		c.edge |= qualified
		c.alts = is
	}
	if !is.same(was) {
		next.changed[rel] = next.seq
		next.size += is.size() - was.size()
	}
	g.outward = append(g.outward, c)
	if c.remove || was == none || c.edge != before {
		g.inward = append(g.inward, change{object: sub, remove: c.remove, edge: pack(subRel, rel, res) | c.edge&marks})
		g.touching = append(g.touching, res, sub)
	}
	return 0, true
}
