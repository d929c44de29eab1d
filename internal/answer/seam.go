package answer

import (
	"context"
	"time"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/patch"
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
	r.session = s.session
	delete(s.unknown, t.XID)
	repeated := t.End <= s.history.last()
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
	follow := &s.following
	defer follow.reset()
	follow.never = t.Spilled != nil || repeated
	visit := func(e *Entry, reads *match.Reads) {
		v := e.current.Load()
		row := c.Op != change.Define && c.Op != change.Truncate
		if v != nil && v.From >= t.End && row && ruleInside {
			return // stored while the lock was away, with all of t in it
		}
		if v != nil && e.worthFollowing(v, now) && follow.add(e, v, c, reads) {
			return
		}
		s.end(e, t.Commit, t.End, now, reason(t, c, reads))
		follow.ended = append(follow.ended, e)
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
		if n++; n%s.batch == 0 {
			s.handOver()
		}
		return nil
	})
	for i := range follow.items {
		item := &follow.items[i]
		if s.follow(t, item, now); item.version.until() != 0 {
			follow.ended = append(follow.ended, item.entry)
		}
		if (i+1)%followBatch == 0 {
			s.handOver()
		}
	}
	for i, e := range follow.ended {
		s.expect(e)
		if (i+1)%applyBatch == 0 {
			s.handOver()
		}
	}
	if defined {
		s.history.definitions = append(s.history.definitions, r)
	}
	return err
}

// handOver gives Store.mu to those who wait for it.
func (s *Store) handOver() {
	s.mu.Unlock()
	if s.between != nil {
		s.between()
	}
	s.mu.Lock()
}

func reason(t *change.Transaction, c *change.Change, reads *match.Reads) Reason {
	r := Reason{Table: reads.Name, Op: c.Op, At: t.End, XID: t.XID}
	if c.Op == change.Define {
		r.Cause = ByDefinition
	}
	return r
}

// end closes an entry's current version. Store.mu is held.
func (s *Store) end(e *Entry, last, to revision.LSN, now time.Time, r Reason) {
	v := e.current.Load()
	s.unregister(e)
	if v == nil || !v.end(last, to, now, r) {
		return
	}
	s.tell(e)
	why := v.Reason()
	s.resize(e, endOverhead)
	e.explain(why)
	e.group.ended(why)
	s.endedBy[r.Cause].Add(1)
	s.ended.push(e, v)
}

// Redefine drops every answer: definitions changed at a time that nobody knows.
// Plans from before do not count any more.
func (s *Store) Redefine() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session++
	s.history.since = s.session
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
func (s *Store) settle(f *fill, q *Query, session uint64, res *Result) (*Version, settled) {
	v := resultVersion(res, q, s.opts.Now())
	s.mu.Lock()
	defer s.mu.Unlock()
	deps, how := s.place(v, q, session, res)
	if how != settledOpen {
		return v, how
	}
	versions, state := []*Version{v}, followable(res, deps)
	if state != nil {
		v.Body, _ = state.Body() // the same bytes, held once
	}
	if ruleOrder {
		versions, state = s.catchUp(v, deps, state)
	}
	s.install(f, versions, deps, res.Deps != nil, state)
	f.entry.group.Patched.Add(int64(len(versions) - 1))
	v = versions[len(versions)-1]
	if v.until() != 0 {
		return v, settledClosed
	}
	return v, settledOpen
}

// place finds where in the log a result is true. Open means from v.From on, as
// far as it has not been compared with what came later; closed means that v has
// its end. It returns the result's own dependencies. Store.mu is held.
func (s *Store) place(v *Version, q *Query, session uint64, res *Result) ([]match.Dependency, settled) {
	if session != s.session && ruleSession || res.Source != s.Frontier().Source {
		return nil, settledUnknown
	}
	s.history.prove(&res.Snapshot)
	if s.outdated(q, res.Upper) {
		return nil, settledOutdated
	}
	// Whole tables are a question for what holds at every snapshot; which of
	// their rows matter, for this one's.
	if !s.knows(&res.Snapshot, q.Deps) ||
		ruleTorn && torn(s.history.unproven, &res.Snapshot, res.After, q.Deps) {
		return nil, settledUnknown
	}
	deps := res.Deps
	if deps == nil {
		deps = q.Deps
	}
	v.From = res.Upper
	lost := s.history.missing(&res.Snapshot, res.Upper, deps)
	if lost == nil || !ruleCompare {
		return deps, settledOpen
	}
	// The log brought a transaction that the query could not see yet. The answer
	// is that of the moment before, unless something later is in it.
	before := lost.commit
	for _, r := range s.history.after(before) {
		if r.end <= res.Upper && res.Snapshot.Contains(r.xid) && r.affects(deps) {
			return nil, settledUnknown
		}
	}
	if before < s.history.start {
		return nil, settledUnknown
	}
	v.From = before
	v.end(lost.commit, lost.end, lost.at, lost.reason(deps))
	return deps, settledClosed
}

// install makes the last of versions its entry's current one; the others came
// before it. Store.mu is held.
func (s *Store) install(f *fill, versions []*Version, deps []match.Dependency, refined bool, state *patch.State) {
	e := f.entry
	if e.dead || f.poisoned.Load() || e.group.retired.Load() {
		return
	}
	first, last := versions[0], versions[len(versions)-1]
	old := e.current.Load()
	open := last.until() == 0
	if old != nil && (old.From > first.From || !open && old.until() == 0 && first.filled < old.expires) {
		return // what is there is newer, or still true
	}
	s.unregister(e)
	if old != nil {
		// Refilled because its time was over, or to no purpose: nothing ended it.
		if old.end(first.From, first.From, first.Filled(), Reason{Cause: ByTTL, At: first.From}) {
			s.endedBy[ByTTL].Add(1)
			s.resize(e, endOverhead)
			e.explain(old.Reason())
			s.ended.push(e, old)
		} else if why := old.Reason(); why.Cause == ByChange {
			e.group.compared(why, old.Found == first.Found && old.tag == first.tag)
		}
		s.retain(e, old)
	}
	for _, v := range versions {
		s.resize(e, versionSize(v))
		if v.until() != 0 {
			e.explain(v.Reason())
			s.ended.push(e, v)
		}
		if v != last {
			s.retain(e, v)
		}
	}
	e.current.Store(last)
	s.tell(e)
	if open {
		s.register(e, deps, state)
		e.refined = refined
	}
	s.evict()
}

// Connected begins a session in the same epoch. What fills under way saw may
// never have been made durable, so they begin again.
func (s *Store) Connected() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session++
	// The ids of transactions that a crash undid are given again, so a snapshot
	// from before it says nothing of those that come now.
	s.history.candidate = nil
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

// Reset begins a new epoch: nothing from before is kept, and plans from before do
// not count any more.
func (s *Store) Reset(source revision.Source, at revision.LSN) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session++
	s.history = newHistory(at, s.opts.HistoryMemory)
	s.history.since = s.session
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

// ForgetDefinitions says that every plan that is not retired has seen this much.
func (s *Store) ForgetDefinitions(planned *Seen) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history.forgetDefinitions(planned)
}

// Outdated reports whether a definition changed that an analysis did not see.
func (s *Store) Outdated(planned *Seen) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.history.outdated(planned, ^revision.LSN(0))
}

// outdated reports whether a definition changed up to p that the plan of a query
// did not see. What every plan has seen is forgotten, and with it what retired
// ones have not. Store.mu is held.
func (s *Store) outdated(q *Query, p revision.LSN) bool {
	return q.Group.retired.Load() || s.history.outdated(q.Planned, p)
}

// Session returns the number of the present session with the log. It grows
// whenever the log is lost or found. Whoever takes a snapshot reads it before.
func (s *Store) Session() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.session
}

// Prove tells the store of a snapshot taken just now, so that it can forget. One
// of an earlier session does not count: it may be from before a crash, and hold
// by their ids what was undone and what is not.
func (s *Store) Prove(session uint64, snap *revision.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if session == s.session || !ruleSession {
		s.history.prove(snap)
	}
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
