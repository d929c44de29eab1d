package table

import (
	"container/list"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Bounds of what one transaction may put into tails, and of what is done for it
// on the log's road. What is beyond is read from the kept log by those who follow
// what it touched.
const (
	maxHeld    = 1 << 20 // bytes of a transaction in the log
	maxChanges = 512     // of a transaction, for one shape
	maxVisits  = 1 << 20 // changes times shapes touched
	handOver   = 1024    // changes after which Hub.mu is given away
)

// record is a transaction of the recent past that tails refer to.
type record struct {
	xid   revision.XID
	end   revision.LSN
	bytes int64
	// skips are the places in changes that have no number, see keep.Number.
	skips []int
	// changes is nil once the record was dropped.
	changes atomic.Pointer[[]change.Change]
	// refs counts the touches that are to be evaluated, and who applies it.
	refs  atomic.Int32
	place *list.Element // of recent.held
}

// number returns the number of the change at a place.
func (r *record) number(at int) uint64 {
	n := at
	for _, s := range r.skips {
		if s >= at {
			break
		}
		n--
	}
	return uint64(n)
}

// recent is the records that tails refer to, within a budget.
type recent struct {
	mu    sync.Mutex
	held  list.List // of *record, oldest first
	bytes int64
}

// push adds a record, and drops the oldest that are beyond the budget.
func (r *recent) push(rec *record, budget int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec.place = r.held.PushBack(rec)
	r.bytes += rec.bytes
	for r.bytes > budget {
		r.drop(r.held.Front().Value.(*record)) // there is nothing else in it
	}
}

// release drops a record that nobody refers to any more.
func (r *recent) release(rec *record) {
	if rec.refs.Add(-1) == 0 {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.drop(rec)
	}
}

// drop drops a record, if it is held. mu is held.
func (r *recent) drop(rec *record) {
	if rec.changes.Swap(nil) != nil {
		r.bytes -= rec.bytes
		r.held.Remove(rec.place)
	}
}

// Connected says that a session of the log begins, after the host and the kept log
// know of it. Joined is what keep.Log.Continue said: the log goes on from what is
// kept.
func (h *Hub) Connected(source revision.Source, joined bool) {
	frontier := h.host.Frontier()
	h.mu.Lock()
	first := h.session.Load() == 0
	if !joined || !first && source != h.source {
		h.forget("the log does not continue")
	}
	if !joined || first || source != h.source {
		// What is kept beyond the frontier has been delivered once, and is going to
		// be again, the same.
		h.applied = max(frontier.Load(), h.log.End())
		h.source = source
		h.delivered = frontier.Load()
		h.suspects, h.suspected, h.since = nil, false, time.Now()
		h.settled.Store(uint64(frontier.Load()))
		h.visible.Swap(revision.NewFrontier(source, h.applied)).Fail(errSession)
	}
	h.session.Add(1)
	h.mu.Unlock()
	h.recheck()
}

// Apply takes one transaction of the log. What it touched becomes visible with
// Advance. It fails only if reading the transaction does.
func (h *Hub) Apply(tx *change.Transaction) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unseen = append(h.unseen, unseen{tx.XID, tx.End})
	delete(h.suspects, tx.XID)
	if tx.End <= h.applied {
		return nil
	}
	// From here on a shape that is registered is not to have this transaction in
	// its tail: it may miss the first changes.
	before := h.applied
	h.applied = tx.End
	h.seq++
	var rec *record
	if tx.Spilled == nil && tx.Bytes <= maxHeld {
		rec = &record{xid: tx.XID, end: tx.End, bytes: tx.Bytes + int64(len(tx.Changes))*128}
		rec.refs.Store(1)
	}
	a := applying{hub: h, tx: tx, rec: rec}
	at, visits := 0, 0
	visit := func(s *Shape, _ *match.Reads) {
		visits++
		if rec != nil {
			a.touch(s, at)
		} else {
			a.touch(s, at-a.skips)
		}
	}
	err := tx.Each(func(c *change.Change) error {
		switch {
		case c.Op != change.Define:
			a.op = c.Op
			if visits <= maxVisits || c.Op == change.Truncate {
				h.index.Touch(c, visit)
			} else {
				a.all(c.Relation.OID)
			}
		case c.Relation == nil:
			h.define(tx)
		default:
			a.skips++
			if rec != nil {
				rec.skips = append(rec.skips, at)
			}
		}
		if at++; at%handOver == 0 {
			h.mu.Unlock()
			h.mu.Lock()
		}
		return nil
	})
	if err != nil {
		// It comes again.
		clear(h.touched)
		h.touched, h.applied = h.touched[:0], before
		return err
	}
	a.finish()
	return nil
}

// applying is a transaction that is being applied.
type applying struct {
	hub   *Hub
	tx    *change.Transaction
	rec   *record // nil: it is too large to hold
	op    change.Op
	skips int                  // changes before this one that have no number
	seen  map[catalog.OID]bool // tables of which every shape counts as touched
}

// touch notes that the change at a place may touch a shape. Hub.mu is held.
func (a *applying) touch(s *Shape, at int) {
	h := a.hub
	if s.hit.seq != h.seq {
		s.hit = hit{seq: h.seq, at: s.hit.at[:0], cut: s.registered >= a.tx.End}
		h.touched = append(h.touched, s)
	}
	if a.op == change.Truncate && !s.inside(a.tx.XID, a.tx.End) {
		s.doomed.CompareAndSwap(0, uint64(a.tx.End))
	}
	switch n := len(s.hit.at); {
	case s.hit.cut || n > 0 && s.hit.at[n-1] == at:
	case n == maxChanges:
		s.hit.cut = true
	default:
		s.hit.at = append(s.hit.at, at)
	}
}

// all notes that a change of a table may touch any of its shapes.
func (a *applying) all(table catalog.OID) {
	if a.seen[table] {
		return
	}
	if a.seen == nil {
		a.seen = map[catalog.OID]bool{}
	}
	a.seen[table] = true
	a.hub.index.TouchTable(table, func(s *Shape, _ *match.Reads) {
		a.touch(s, 0)
		s.hit.cut = true
	})
}

// finish enters the transaction into the tails of what it touched.
func (a *applying) finish() {
	h := a.hub
	used := false
	for _, s := range h.touched {
		if h.shapes[s.handle] != s {
			continue // left memory while Hub.mu was away
		}
		if s.enter(a.tx, a.rec) {
			used = true
		}
		if !s.waking {
			s.waking = true
			h.wake = append(h.wake, s)
		}
	}
	clear(h.touched)
	h.touched = h.touched[:0]
	if used {
		a.rec.changes.Store(&a.tx.Changes)
		h.recent.push(a.rec, h.opts.MaxTail)
		h.recent.release(a.rec)
	}
}

// Advance makes visible what was applied up to a position, after the frontier of
// the host has passed it.
func (h *Hub) Advance(lsn revision.LSN) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.applied, h.delivered = max(h.applied, lsn), max(h.delivered, lsn)
	visible := h.visible.Load()
	visible.Advance(lsn)
	at := visible.Load()
	for _, s := range h.wake {
		s.waking = false
		s.rouse()
	}
	clear(h.wake)
	h.wake = h.wake[:0]
	for i := 0; i < len(h.late); {
		if h.late[i].snapshot.Upper > at {
			i++
			continue
		}
		h.late[i].rouse()
		h.late = append(h.late[:i], h.late[i+1:]...)
	}
}

// hit is what the transaction at hand does to a shape. Hub.mu guards it.
type hit struct {
	seq uint64
	at  []int // places of the changes; numbers, if the transaction is not held
	cut bool  // too many of them to hold, or some may be missing
}

// touch is one transaction that may touch a shape.
type touch struct {
	xid revision.XID
	end revision.LSN
	rec *record // nil once evaluated
	at  []int32 // places of the changes
	// What becomes of it, once somebody asks. Shape.mu guards done; the others are
	// immutable once it is true.
	done     bool
	messages []byte
	parts    []part
}

// part is one message of a touch.
type part struct {
	index uint64
	end   int // in messages, the separator excluded
}

// last returns the offset of the last message.
func (t *touch) last() live.Offset {
	return live.Offset{LSN: t.end, Index: t.parts[len(t.parts)-1].index}
}

// maxTouches bounds the tail of a shape that nobody reads.
const maxTouches = 1024

// enter adds the transaction at hand to a shape's tail, or moves the tail's
// beginning behind it. It reports whether the tail refers to the record. Hub.mu
// is held.
func (s *Shape) enter(tx *change.Transaction, rec *record) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.hit.cut || s.registered >= tx.End:
		s.cut(tx.End)
		return false
	case rec == nil:
		s.cut(tx.End)
		s.hint = hint{tx.End, make([]uint64, len(s.hit.at))}
		for i, n := range s.hit.at {
			s.hint.numbers[i] = uint64(n)
		}
		return false
	case len(s.tail) >= maxTouches:
		s.cut(tx.End)
		return false
	}
	t := &touch{xid: tx.XID, end: tx.End, rec: rec, at: make([]int32, len(s.hit.at))}
	for i, at := range s.hit.at {
		t.at[i] = int32(at)
	}
	rec.refs.Add(1)
	s.tail = append(s.tail, t)
	return true
}
