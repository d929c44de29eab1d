package answer

import (
	"context"
	"time"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// applyBatch is how many changes of one transaction are matched before the lock
// is given to waiting fills for a moment.
const applyBatch = 1024

// Apply enters one transaction: it is in the history before any of its changes
// is matched, so a fill that finishes in between sees it one way or the other.
// The caller advances the frontier afterwards.
func (s *Store) Apply(_ context.Context, t *change.Transaction) error {
	now := s.opts.Now()
	r := &record{xid: t.XID, commit: t.Commit, end: t.End, at: now}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.unknown, t.XID)
	s.history.push(r)
	if t.Spilled == nil {
		// Whole from the start: a fill finishing between batches compares all.
		r.changes = t.Changes
		s.history.charge(r, t.Bytes+int64(len(t.Changes))*128)
	} else {
		r.tables = map[catalog.OID]bool{}
	}
	defined := false
	var c *change.Change
	visit := func(e *Entry, reads *match.Reads) {
		s.end(e, t.Commit, t.End, now, reason(t, c, reads))
	}
	n := 0
	err := t.Each(func(each *change.Change) error {
		c = each
		if c.Op == change.Define {
			defined = defined || c.Relation == nil
			r.all = r.all || c.Relation == nil
		}
		if c.Op == change.Truncate {
			r.truncated = append(r.truncated, c.Relation.OID)
		}
		if t.Spilled != nil && c.Relation != nil {
			r.tables[c.Relation.OID] = true
		}
		s.index.Touch(c, visit)
		if n++; n%applyBatch == 0 {
			s.mu.Unlock()
			s.mu.Lock()
		}
		return nil
	})
	if defined {
		s.history.definitions = append(s.history.definitions, r)
	}
	return err
}

func reason(t *change.Transaction, c *change.Change, reads *match.Reads) *Reason {
	r := &Reason{Table: reads.Name, Op: c.Op, At: t.End, XID: t.XID}
	if c.Op == change.Define {
		r.Cause = ByDefinition
	}
	return r
}

// end closes an entry's current version. Store.mu is held.
func (s *Store) end(e *Entry, last, to revision.LSN, now time.Time, r *Reason) {
	v := e.current.Load()
	s.unregister(e)
	if v == nil || !v.end(last, to, now, r) {
		return
	}
	e.group.Ended.Add(1)
	s.endedBy[r.Cause].Add(1)
	s.ended.push(endedVersion{e, v})
}

// Redefine drops every answer: definitions changed at a time that nobody knows.
func (s *Store) Redefine() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session++
	s.dropAll(ByDefinition)
}

// settled is what became of a result.
type settled byte

const (
	settledOpen    settled = iota // stored, true until further notice
	settledClosed                 // true of an interval that is over
	settledUnknown                // no position can be proven: ask again later
	settledOutdated
)

// settle compares a result with the history and stores it if it is still true.
// The frontier has passed the position at which the query was done.
func (s *Store) settle(f *fill, res *Result) (*Version, settled) {
	q := f.query
	v := newVersion(res, q, s.opts.Now())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history.prove(&res.Snapshot)
	if f.session != s.session || res.Source != s.Frontier().Source {
		return nil, settledUnknown
	}
	if s.history.outdated(q.Planned, res.Upper) {
		return nil, settledOutdated
	}
	for _, x := range res.Snapshot.Xip {
		for _, table := range s.unknown[x] {
			if match.ReadsTable(q.Deps, table) {
				return nil, settledUnknown
			}
		}
	}
	if ruleTorn && torn(s.history.unproven, &res.Snapshot, res.After, q.Deps) {
		return nil, settledUnknown
	}
	v.From = res.Upper
	if lost := s.history.missing(&res.Snapshot, res.Upper, q.Deps); ruleCompare && lost != nil {
		// The log brought a transaction that the query could not see yet. The
		// answer is that of the moment before, unless something later is in it.
		before := lost.commit
		for _, r := range s.history.after(before) {
			if r.end <= res.Upper && res.Snapshot.Contains(r.xid) && r.affects(q.Deps) {
				return nil, settledUnknown
			}
		}
		if before < s.history.start {
			return nil, settledUnknown
		}
		v.From = before
		v.end(lost.commit, lost.end, v.Filled, lostReason(lost))
		return v, settledClosed
	}
	if next := s.history.firstTouch(res.Upper, 0, q.Deps); ruleOrder && next != nil {
		v.end(next.commit, next.end, v.Filled, lostReason(next))
	}
	s.install(f, v)
	if v.to.Load() != 0 {
		return v, settledClosed
	}
	return v, settledOpen
}

func lostReason(r *record) *Reason {
	return &Reason{At: r.end, XID: r.xid}
}

// install makes v its entry's current version. Store.mu is held.
func (s *Store) install(f *fill, v *Version) {
	e := f.entry
	if e.dead || f.poisoned.Load() || e.group.retired.Load() {
		return
	}
	old := e.current.Load()
	if old != nil && old.From > v.From {
		return
	}
	s.unregister(e)
	if old != nil {
		// Refilled because its time was over, or to no purpose: nothing ended it.
		if old.end(v.From, v.From, v.Filled, &Reason{Cause: ByTTL, At: v.From}) {
			s.endedBy[ByTTL].Add(1)
			s.ended.push(endedVersion{e, old})
		}
		e.mu.Lock()
		e.kept = append(e.kept, old)
		e.mu.Unlock()
	}
	e.current.Store(v)
	s.resize(e, versionSize(v))
	if v.to.Load() == 0 {
		e.nodes = s.index.Add(e, f.query.Deps)
		s.resize(e, nodeOverhead*int64(len(e.nodes)))
	} else {
		s.ended.push(endedVersion{e, v})
	}
	s.evict()
}

// Connected begins a session in the same epoch. What fills under way saw may
// never have been made durable, so they begin again.
func (s *Store) Connected() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session++
	s.frozen.Store(false)
}

// Disconnected says that the log is not followed for the moment.
func (s *Store) Disconnected() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session++
}

// Freeze says whether the log has been silent for so long that what is cached
// no longer counts as current.
func (s *Store) Freeze(frozen bool) { s.frozen.Store(frozen) }

// Reset begins a new epoch: nothing from before is kept.
func (s *Store) Reset(source revision.Source, at revision.LSN) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session++
	s.history = newHistory(at, s.opts.HistoryMemory)
	s.unknown = map[revision.XID][]catalog.OID{}
	s.pins = nil
	s.dropAll(ByEpoch)
	old := s.frontier.Swap(revision.NewFrontier(source, at))
	old.Fail(ErrEpoch)
	s.frozen.Store(false)
}

// SetUnknown names transactions that were under way when the session began and
// of which the log may have been read before: they may commit without being
// delivered. Answers over their tables cannot be proven while they last.
func (s *Store) SetUnknown(unknown map[revision.XID][]catalog.OID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unknown = unknown
}

// KeepUnknown forgets the unknown transactions that keep does not name, and
// returns how many are left.
func (s *Store) KeepUnknown(keep func(revision.XID) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for x := range s.unknown {
		if !keep(x) {
			delete(s.unknown, x)
		}
	}
	return len(s.unknown)
}

// ForgetDefinitions says that every plan has seen what this snapshot holds.
func (s *Store) ForgetDefinitions(planned *revision.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history.forgetDefinitions(planned)
}

// Outdated reports whether a definition changed that an analysis at this
// snapshot did not see.
func (s *Store) Outdated(planned *revision.Snapshot) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.history.outdated(planned, ^revision.LSN(0))
}

// Prove tells the store of a snapshot taken just now, so that it can forget.
func (s *Store) Prove(snap *revision.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history.prove(snap)
}

// Unproven returns how many transactions wait to be seen by a snapshot.
func (s *Store) Unproven() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.history.unproven)
}

// Committed returns where a transaction of the recent past ended.
func (s *Store) Committed(x revision.XID) (revision.LSN, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.history.byXID[x]
	if !ok {
		return 0, false
	}
	return r.end, true
}
