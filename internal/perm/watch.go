package perm

import (
	"context"
	"sort"
	"time"

	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Change is one relationship's change as watchers see it: what it is now, or,
// if Deleted, what it was.
type Change struct {
	Deleted bool
	tuple.Relationship
}

// Event is one transaction as watchers see it.
type Event struct {
	LSN      revision.LSN
	At       time.Time
	Schema   bool // the schema changed
	Changes  []Change
	Metadata string
}

// effects compares what updates touched before and after them.
func effects(before, after *graph.Snapshot, updates []graph.Update) []Change {
	seen := make(map[tuple.Relationship]bool, len(updates))
	var out []Change
	for i := range updates {
		key := updates[i].Relationship.Key()
		if seen[key] {
			continue
		}
		seen[key] = true
		was, is := before.Lookup(key), after.Lookup(key)
		switch {
		case len(is) == 0:
			for _, r := range was {
				out = append(out, Change{Deleted: true, Relationship: r})
			}
		case !same(was, is):
			for _, r := range is {
				out = append(out, Change{Relationship: r})
			}
		}
	}
	return out
}

// same reports whether two sets of qualifications are equal.
func same(a, b []tuple.Relationship) bool {
	if len(a) != len(b) {
		return false
	}
	for _, x := range a {
		found := false
		for _, y := range b {
			found = found || x == y
		}
		if !found {
			return false
		}
	}
	return true
}

// Cursor reads events in order from a position.
type Cursor struct {
	state *State
	after revision.LSN
}

// CursorAt returns a cursor over the events after a position, or ErrBehind.
func (s *State) CursorAt(after revision.LSN) (*Cursor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.past.entries) == 0 {
		return nil, ErrLoading
	}
	if after < s.past.dropped {
		return nil, ErrBehind
	}
	return &Cursor{state: s, after: after}, nil
}

// Next returns the events that have come since the last call, and without any a
// channel that is closed when there may be more. ErrBehind means that some are
// not kept any more.
func (c *Cursor) Next() ([]Event, <-chan struct{}, error) {
	s := c.state
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.past.entries) == 0 || c.after < s.past.dropped {
		return nil, nil, ErrBehind
	}
	i := sort.Search(len(s.past.entries), func(i int) bool { return s.past.entries[i].event.LSN > c.after })
	const most = 1000
	var out []Event
	for ; i < len(s.past.entries) && len(out) < most; i++ {
		out = append(out, s.past.entries[i].event)
	}
	if len(out) > 0 {
		c.after = out[len(out)-1].LSN
		return out, nil, nil
	}
	return nil, s.wake, nil
}

// Wait waits until there may be more events.
func Wait(ctx context.Context, more <-chan struct{}) error {
	select {
	case <-more:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
