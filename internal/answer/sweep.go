package answer

import (
	"context"
	"slices"
	"time"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/match"
)

// endedEntry says that a version of an entry ended, whose memory is given back
// after the window. It does not hold the version, which may go earlier.
type endedEntry struct {
	entry *Entry
	at    int64 // Unix nanoseconds
}

// endedQueue is a first-in, first-out queue. Versions enter it as they end.
type endedQueue struct {
	items []endedEntry
	head  int
}

func (q *endedQueue) push(e *Entry, v *Version) {
	q.items = append(q.items, endedEntry{e, v.endedAt()})
}

func (q *endedQueue) peek() (endedEntry, bool) {
	if q.head == len(q.items) {
		return endedEntry{}, false
	}
	return q.items[q.head], true
}

func (q *endedQueue) pop() {
	q.items[q.head] = endedEntry{}
	if q.head++; q.head > 1024 && q.head*2 > len(q.items) {
		q.items = append([]endedEntry(nil), q.items[q.head:]...)
		q.head = 0
	}
}

// sweepBatch bounds how long the lock is held at a time.
const sweepBatch = 1000

// Sweep forgets ended versions and history older than the window. The owner
// calls it about once a second.
func (s *Store) Sweep() {
	cutoff := s.opts.Now().Add(-s.opts.GCWindow)
	for s.sweepSome(cutoff) {
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history.prune(cutoff, s.pins)
}

func (s *Store) sweepSome(cutoff time.Time) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range sweepBatch {
		item, ok := s.ended.peek()
		if !ok || item.at > cutoff.UnixNano() {
			return false
		}
		s.ended.pop()
		s.forget(item.entry, item.at)
	}
	return true
}

// forget drops an entry's versions that ended by then. Store.mu is held.
func (s *Store) forget(e *Entry, by int64) {
	if e.dead {
		return
	}
	e.mu.Lock()
	freed := int64(0)
	over := func(v *Version) bool {
		at := v.endedAt()
		if at == 0 || at > by {
			return false
		}
		freed += versionSize(v)
		return true
	}
	if p := e.past; p != nil {
		if p.kept = slices.DeleteFunc(p.kept, over); len(p.kept) == 0 {
			p.kept = nil
		}
	}
	if v := e.current.Load(); v != nil && over(v) {
		e.current.Store(nil)
	}
	e.mu.Unlock()
	s.resize(e, -freed)
	if e.empty() {
		s.drop(e)
	}
}

// Bounds of the earlier versions of one answer: one that follows its rows has a
// new version with every write. The bytes are counted as if all were as large as
// the last.
const (
	maxKept      = 128
	maxKeptBytes = 4 << 20
)

// retain keeps a version that ended beside the current one. Store.mu is held.
func (s *Store) retain(e *Entry, v *Version) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.ended()
	if n := int64(len(p.kept)); n >= maxKept || n > 0 && n*versionSize(v) >= maxKeptBytes {
		s.resize(e, -versionSize(p.kept[0]))
		p.kept = slices.Delete(p.kept, 0, 1)
	}
	p.kept = append(p.kept, v)
}

// Retire drops all answers of a group, and those that come later.
func (s *Store) Retire(g *Group) int {
	g.retired.Store(true)
	return s.purge(func(e *Entry) bool { return e.group == g })
}

// PurgeKey drops one answer.
func (s *Store) PurgeKey(key string) int {
	e := s.find(key)
	if e == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.poison(e)
	s.drop(e)
	s.endedBy[ByPurge].Add(1)
	return 1
}

// PurgeGroup drops the answers of a group.
func (s *Store) PurgeGroup(g *Group) int {
	return s.purge(func(e *Entry) bool { return e.group == g })
}

// PurgeTable drops the answers that read a table.
func (s *Store) PurgeTable(table catalog.OID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*Entry
	s.index.TouchTable(table, func(e *Entry, _ *match.Reads) { found = append(found, e) })
	n := 0
	for _, e := range found {
		if !e.dead {
			n++
		}
		s.poison(e)
		s.drop(e)
	}
	s.endedBy[ByPurge].Add(int64(n))
	return n
}

// PurgeAll drops every answer.
func (s *Store) PurgeAll() int { return s.purge(func(*Entry) bool { return true }) }

func (s *Store) purge(which func(*Entry) bool) int {
	n := 0
	for i := range s.shards {
		sh := &s.shards[i]
		var found []*Entry
		sh.mu.RLock()
		for e := range sh.all {
			if which(e) {
				found = append(found, e)
			}
		}
		sh.mu.RUnlock()
		s.mu.Lock()
		for _, e := range found {
			s.poison(e)
			s.drop(e)
		}
		s.mu.Unlock()
		n += len(found)
	}
	s.endedBy[ByPurge].Add(int64(n))
	return n
}

// dropAll empties the store. Store.mu is held.
func (s *Store) dropAll(why Cause) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.RLock()
		found := make([]*Entry, 0, sh.len())
		for e := range sh.all {
			found = append(found, e)
		}
		sh.mu.RUnlock()
		for _, e := range found {
			s.poison(e)
			s.drop(e)
		}
		s.endedBy[why].Add(int64(len(found)))
	}
	s.ended = endedQueue{}
}

// poison keeps a fill under way from being stored.
func (s *Store) poison(e *Entry) {
	e.mu.Lock()
	if e.fill != nil {
		e.fill.poisoned.Store(true)
	}
	e.mu.Unlock()
}

// abandon drops an entry's fill if it waits for its turn and nobody waits for
// it. e.mu is held.
func (s *Store) abandon(e *Entry) {
	if f := e.fill; f != nil && f.waiters == 0 && s.queue.remove(&f.job) {
		f.err = context.Canceled
		e.release(f)
	}
}

// AddPin makes a pinned snapshot available to exact reads.
func (s *Store) AddPin(p *Pin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pins = append(s.pins, p)
}

// RemovePin forgets a pin.
func (s *Store) RemovePin(p *Pin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.pins, p); i >= 0 {
		s.pins = slices.Delete(s.pins, i, i+1)
	}
}
