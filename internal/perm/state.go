package perm

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemarkdb/tidemark/internal/perm/engine"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// State holds the current version and the recent past. One goroutine applies;
// any number read.
type State struct {
	window  time.Duration
	current atomic.Pointer[Version] // nil while loading or paused

	// The applier's.
	graph *graph.Graph
	tip   *Version // nil while loading

	mu      sync.Mutex // guards what follows
	paused  bool
	past    past
	wake    chan struct{} // closed when an event comes or the state begins anew
	waiting map[revision.XID]chan revision.LSN

	again replays

	compactAbove int // objects that may be numbered before those without a relationship count
}

// NewState returns a state that is still loading. Versions are kept for the
// window after they ended, and at most about 256 MiB of the past.
func NewState(window time.Duration) *State {
	return &State{
		window: window, past: past{limit: maxPast}, compactAbove: 1 << 20,
		wake: make(chan struct{}), waiting: map[revision.XID]chan revision.LSN{},
	}
}

// Start is what a state begins with.
type Start struct {
	Graph         *graph.Graph
	Schema        *string // nil: none was written
	SchemaVersion int64
	Counters      map[string]graph.Filter
}

// Begin makes what was loaded the state as of a position. What was before is
// forgotten.
func (s *State) Begin(at revision.LSN, with Start) {
	v := &Version{LSN: at, Graph: with.Graph.Snapshot(), Counters: with.Counters, Order: rand.Uint64()}
	v.setSchema(with.Schema, with.SchemaVersion)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.graph, s.tip, s.paused = with.Graph, v, false
	s.past.begin(v)
	s.current.Store(v)
	s.signal()
}

// Begun returns a channel that is closed when something changes: a state that
// was loading may have begun.
func (s *State) Begun() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wake
}

// End makes the state one that is loading.
func (s *State) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current.Store(nil)
	s.graph, s.tip, s.paused = nil, nil, false
	s.past.end()
	s.again.forget()
	s.signal()
}

// Pause lets nobody read until Resume, as if the state were loading; what is
// applied meanwhile counts.
func (s *State) Pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = true
	s.current.Store(nil)
}

// Resume ends a pause.
func (s *State) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = false
	s.current.Store(s.tip)
	s.signal()
}

func (s *State) signal() {
	close(s.wake)
	s.wake = make(chan struct{})
}

// setSchema compiles a schema. One that does not compile, which no call lets in,
// leaves the version broken.
func (v *Version) setSchema(text *string, version int64) {
	v.Schema, v.SchemaVersion, v.Broken = nil, version, nil
	if text == nil {
		v.Model = engine.Compile(&schema.Schema{})
		return
	}
	sch, err := schema.Parse(*text)
	if err != nil {
		v.Broken = fmt.Errorf("%w: %w", ErrBrokenSchema, err)
		v.Model = engine.Compile(&schema.Schema{})
		return
	}
	v.Schema, v.Model = sch, engine.Compile(sch)
}

// Apply takes the next transaction. It must come in log order, and not before
// Begin. With an error nothing has happened.
func (s *State) Apply(d *Delta) error {
	old := s.tip
	v := *old
	v.LSN = d.End
	e := entry{
		event:   Event{LSN: d.End, At: d.At, Metadata: d.Metadata, Schema: d.Schema != nil},
		updates: d.Updates,
	}
	if len(d.Updates) > 0 {
		snap, err := s.graph.Apply(d.Updates)
		if err != nil {
			return err
		}
		v.Graph = snap
		e.event.Changes = effects(old.Graph, snap, d.Updates)
	}
	if d.Schema != nil {
		v.setSchema(d.Schema, d.SchemaVersion)
	}
	if len(d.Counters) > 0 {
		v.Counters = maps.Clone(v.Counters)
		if v.Counters == nil {
			v.Counters = map[string]graph.Filter{}
		}
		for name, f := range d.Counters {
			if f == nil {
				delete(v.Counters, name)
			} else {
				v.Counters[name] = *f
			}
		}
	}
	if orphans, objects := s.graph.Orphans(); objects > s.compactAbove && orphans > objects/2 {
		// Where it fails, the graph goes on as it is.
		if snap, err := s.graph.Compact(); err == nil {
			v.Graph = snap
		}
	}
	e.version = v
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.past.push(e, now)
	s.tip = &v
	if !s.paused {
		s.current.Store(&v)
	}
	s.past.forget(now.Add(-s.window))
	s.signal()
	if w := s.waiting[d.XID]; w != nil {
		delete(s.waiting, d.XID)
		w <- d.End
	}
	return nil
}

// Sweep drops what became too old while nothing was applied.
func (s *State) Sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.past.forget(now.Add(-s.window))
}

// Current returns the newest version, or ErrLoading.
func (s *State) Current() (*Version, error) {
	if v := s.current.Load(); v != nil {
		return v, nil
	}
	return nil, ErrLoading
}

// At returns the version as of a position that has been applied.
func (s *State) At(lsn revision.LSN) (*Version, error) {
	v := s.current.Load()
	switch {
	case v == nil:
		return nil, ErrLoading
	case v.LSN <= lsn:
		return v, nil
	}
	s.mu.Lock()
	v, way, ok := s.past.at(lsn)
	s.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("%w: it is of %s, and versions are kept for %s", ErrExpired, lsn, s.window)
	}
	if way == nil {
		return v, nil
	}
	return s.again.make(v, way)
}

// Stats says what is kept.
type Stats struct {
	Versions int   // that can be asked for
	Events   int   // that watchers can still be told
	Bytes    int64 // of both, about
}

// Stats returns what is kept.
func (s *State) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.past.entries)
	return Stats{Versions: n - s.past.aged, Events: max(0, n-1), Bytes: s.past.bytes}
}

// Await returns a channel that gets the position at which a transaction was
// applied, and a function that gives up.
func (s *State) Await(xid revision.XID) (<-chan revision.LSN, func()) {
	c := make(chan revision.LSN, 1)
	s.mu.Lock()
	s.waiting[xid] = c
	s.mu.Unlock()
	return c, func() {
		s.mu.Lock()
		delete(s.waiting, xid)
		s.mu.Unlock()
	}
}
