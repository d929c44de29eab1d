package answer

import (
	"bytes"
	"time"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/patch"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Bounds of what is followed without a query; what is beyond them ends.
const (
	// maxFollowed bounds the changes that are held for the states of all answers
	// that one transaction touches.
	maxFollowed = 1 << 16
	// followBatch is how many answers follow before the lock is given away.
	followBatch = 64
	// maxFollowedBody bounds an answer that follows: its validator is computed
	// under the lock that Apply holds.
	maxFollowedBody = 1 << 20
	// maxCaughtUp bounds the transactions that a new result is taken through, and
	// maxCaughtUpChanges their changes.
	maxCaughtUp        = 64
	maxCaughtUpChanges = 4096
)

// touched is an open version that follows its rows, and the changes of the
// transaction being applied that touch it.
type touched struct {
	entry       *Entry
	version     *Version
	reads       *match.Reads // through which the first of the changes does
	first, last int32        // of the changes, in following.changes
}

// touching is a change that touches a version, and the next that does, or -1.
type touching struct {
	change *change.Change
	next   int32
}

// following collects what one transaction touches among the answers that follow
// their rows, and what it ends. The store has one, so that a transaction need not
// allocate it.
type following struct {
	// never says that none is: the transaction is too large to hold, or it was
	// applied before, so that a state may hold it already.
	never   bool
	items   []touched
	changes []touching
	scratch []*change.Change // of the item that follows
	ended   []*Entry
}

// reset makes it fit for another transaction.
func (f *following) reset() {
	*f = following{items: reuse(f.items), changes: reuse(f.changes), scratch: reuse(f.scratch), ended: reuse(f.ended)}
}

// keptCap bounds what one transaction leaves for the next.
const keptCap = 1 << 12

func reuse[E any](s []E) []E {
	if cap(s) > keptCap {
		return nil
	}
	clear(s)
	return s[:0]
}

// of returns the changes that touch an item's version.
func (f *following) of(item *touched) []*change.Change {
	f.scratch = f.scratch[:0]
	for i := item.first; i >= 0; i = f.changes[i].next {
		f.scratch = append(f.scratch, f.changes[i].change)
	}
	return f.scratch
}

// add holds a change for an entry's current version until the transaction is
// over. It reports false where that cannot be: then the version must end.
// Store.mu is held.
func (f *following) add(e *Entry, v *Version, c *change.Change, reads *match.Reads) bool {
	row := c.Op == change.Insert || c.Op == change.Update || c.Op == change.Delete
	if e.state == nil || f.never || !row || len(f.changes) >= maxFollowed {
		return false
	}
	last := int32(len(f.changes))
	i := int(e.at)
	switch {
	case i >= len(f.items) || f.items[i].entry != e:
		e.at = uint32(len(f.items))
		f.items = append(f.items, touched{e, v, reads, last, last})
	case f.items[i].version != v:
		// Stored while the transaction was being applied, and compared with all
		// of it: it is not touched, whatever the index says.
		f.items[i] = touched{e, v, reads, last, last}
	default:
		item := &f.items[i]
		if f.changes[item.last].change == c {
			return true
		}
		f.changes[item.last].next = last
		item.last = last
	}
	f.changes = append(f.changes, touching{c, -1})
	return true
}

// follow takes one touched version through the whole transaction. Store.mu is
// held.
func (s *Store) follow(t *change.Transaction, item *touched, now time.Time) {
	e, v := item.entry, item.version
	if e.dead || e.current.Load() != v || v.until() != 0 || e.state == nil {
		return // replaced or ended since, by what has compared it with all of t
	}
	changes := s.following.of(item)
	next, changed, ok := step(e.state, changes)
	switch {
	case !ok:
		s.end(e, t.Commit, t.End, now, reason(t, changes[0], item.reads))
		return
	case !changed:
		s.restate(e, next)
		e.group.Passed.Add(1)
		return
	}
	// The old version is in its place before the new one is in its own: until the
	// frontier has passed the transaction, readers need it.
	v.end(t.Commit, t.End, now, reason(t, changes[0], item.reads))
	s.supersede(e, v)
	nv := patchedVersion(next, v, t.End, now)
	e.current.Store(nv)
	s.tell(e)
	s.resize(e, versionSize(nv))
	s.restate(e, next)
	e.group.Patched.Add(1)
	s.evict()
}

// step takes a state through the changes of one transaction.
func step(state *patch.State, changes []*change.Change) (next *patch.State, changed, ok bool) {
	next, changed, ok = state.Follow(changes)
	if !ok || next == nil {
		return nil, false, false
	}
	body, _ := next.Body()
	return next, changed, len(body) <= maxFollowedBody
}

// supersede keeps a version that ended because the next one is there. Store.mu
// is held.
func (s *Store) supersede(e *Entry, v *Version) {
	s.resize(e, endOverhead)
	e.explain(v.Reason())
	e.rateReads(v)
	s.ended.push(e, v)
	s.retain(e, v)
}

// patchedVersion returns the version that a state says comes after another. It
// lives as long as the query's result that both come from.
func patchedVersion(state *patch.State, before *Version, from revision.LSN, now time.Time) *Version {
	body, found := state.Body()
	v := newVersion(body, found, now, before.expires)
	v.From = from
	return v
}

// followable returns the state of a result if it may be kept with the answer: it
// has to say what the query said, of one table reference, for it is told of the
// changes of one only. Witnesses and groups are those of the result, not of what comes
// after it.
func followable(res *Result, deps []match.Dependency) *patch.State {
	if res.State == nil || len(deps) == 0 || len(res.Body) > maxFollowedBody {
		return nil
	}
	for i := range deps {
		if deps[i].Reads != deps[0].Reads || deps[i].Witnesses != nil || deps[i].Groups != nil {
			return nil
		}
	}
	if body, found := res.State.Body(); found != res.Found || !bytes.Equal(body, res.Body) {
		return nil
	}
	return res.State
}

// catchUp takes a version, which is the result of a query, through the
// transactions that came after it. It returns the versions that it became, of
// which the last is open if it could follow all, and the last state.
// Store.mu is held.
func (s *Store) catchUp(v *Version, deps []match.Dependency, state *patch.State) ([]*Version, *patch.State) {
	versions := []*Version{v}
	transactions, held := 0, 0
	for _, r := range s.history.after(v.From) {
		if !r.affects(deps) {
			continue
		}
		var changes []*change.Change
		if transactions++; state != nil && transactions <= maxCaughtUp {
			changes = r.touching(deps, maxCaughtUpChanges-held)
		}
		held += len(changes)
		var next *patch.State
		changed, ok := false, false
		if len(changes) > 0 {
			next, changed, ok = step(state, changes)
		}
		if !ok {
			v.end(r.commit, r.end, r.at, r.reason(deps))
			return versions, nil
		}
		state = next
		if changed {
			v.end(r.commit, r.end, r.at, r.reason(deps))
			v = patchedVersion(state, v, r.end, v.Filled())
			versions = append(versions, v)
		}
	}
	return versions, state
}
