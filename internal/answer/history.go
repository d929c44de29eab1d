package answer

import (
	"sort"
	"time"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// record is one transaction of the recent past.
type record struct {
	xid     revision.XID
	commit  revision.LSN // where its commit record starts
	end     revision.LSN
	at      time.Time // when it was applied, by this process's clock
	session uint64    // in which it was applied
	changes []change.Change
	// tables stands for the changes where they are too many to keep: the tables
	// that they touched. all says that they touch everything.
	tables map[catalog.OID]bool
	all    bool
	// truncated are the tables that it emptied. Older snapshots see them empty
	// too, as they see changed definitions.
	truncated []catalog.OID
	bytes     int64
	proven    bool // every snapshot that may yet be compared with it holds it
}

func (r *record) affects(deps []match.Dependency) bool {
	if r.all {
		return true
	}
	for t := range r.tables {
		if match.ReadsTable(deps, t) {
			return true
		}
	}
	for i := range r.changes {
		if match.Affects(deps, &r.changes[i]) {
			return true
		}
	}
	return false
}

// touching returns the rows' changes that touch the dependencies, up to a number,
// or nil where they are not all known as such.
func (r *record) touching(deps []match.Dependency, most int) []*change.Change {
	if r.all || r.tables != nil {
		return nil
	}
	var out []*change.Change
	for i := range r.changes {
		c := &r.changes[i]
		if !match.Affects(deps, c) {
			continue
		}
		if c.Op == change.Truncate || c.Op == change.Define || len(out) >= most {
			return nil
		}
		out = append(out, c)
	}
	return out
}

// reason says how the transaction touches the dependencies.
func (r *record) reason(deps []match.Dependency) Reason {
	why := Reason{At: r.end, XID: r.xid}
	for i := range r.changes {
		c := &r.changes[i]
		for k := range deps {
			if !match.Affects(deps[k:k+1], c) {
				continue
			}
			why.Op = c.Op
			if c.Op == change.Define {
				why.Cause = ByDefinition
			} else {
				why.Table = deps[k].Reads.Name
			}
			return why
		}
	}
	return why
}

// tears reports whether the transaction shows in what a query reads at a
// snapshot that does not hold it: snapshots shield from rows that come and go,
// not from truncation, nor from changed definitions.
func (r *record) tears(deps []match.Dependency) bool {
	if r.all {
		return true
	}
	for _, t := range r.truncated {
		if match.ReadsTable(deps, t) {
			return true
		}
	}
	return false
}

// summarise replaces the changes by the tables that they touch.
func (r *record) summarise() {
	if r.changes == nil {
		return
	}
	if r.tables == nil {
		r.tables = map[catalog.OID]bool{}
	}
	for i := range r.changes {
		if rel := r.changes[i].Relation; rel != nil {
			r.tables[rel.OID] = true
		}
	}
	r.changes, r.bytes = nil, 0
}

// history is the recent past of the log: every transaction that ends after
// start, in order. It is guarded by Store.mu.
//
// A transaction must stay while some snapshot that will be compared with it may
// not hold it. Visibility in a primary is monotonic within a session: once one
// snapshot held a transaction, every snapshot taken later does. Fills are counted in two
// generations, as in epoch-based reclamation: a snapshot S proves what it holds
// once every fill that began before S was known is over.
type history struct {
	start   revision.LSN
	records []*record
	byXID   map[revision.XID]*record
	bytes   int64
	budget  int64 // of bytes; beyond it the oldest are summarised
	packed  int   // records before this index are summarised

	unproven  []*record
	candidate *revision.Snapshot
	gen       uint64
	inFlight  [2]int

	// definitions are the transactions that changed definitions and that some
	// plan may not have seen. Plans made before the session since have not seen
	// changes that nobody can name.
	definitions []*record
	since       uint64
}

func newHistory(start revision.LSN, budget int64) *history {
	return &history{start: start, byXID: map[revision.XID]*record{}, budget: budget}
}

func (h *history) push(r *record) {
	h.records = append(h.records, r)
	h.byXID[r.xid] = r
	h.unproven = append(h.unproven, r)
}

// charge counts what a record holds and summarises old ones over the budget.
func (h *history) charge(r *record, bytes int64) {
	r.bytes = bytes
	h.bytes += bytes
	for h.bytes > h.budget && h.packed < len(h.records) {
		old := h.records[h.packed]
		h.bytes -= old.bytes
		old.summarise()
		h.packed++
	}
}

// last returns where the newest transaction ends.
func (h *history) last() revision.LSN {
	if n := len(h.records); n > 0 {
		return h.records[n-1].end
	}
	return h.start
}

// after returns the records that end after p.
func (h *history) after(p revision.LSN) []*record {
	i := sort.Search(len(h.records), func(i int) bool { return h.records[i].end > p })
	return h.records[i:]
}

// firstTouch returns the first transaction in (from, to] that touches the
// dependencies; to 0 means up to now.
func (h *history) firstTouch(from, to revision.LSN, deps []match.Dependency) *record {
	for _, r := range h.after(from) {
		if to != 0 && r.end > to {
			return nil
		}
		if r.affects(deps) {
			return r
		}
	}
	return nil
}

// missing returns the first transaction up to p that a fresh snapshot does not
// hold and that touches the dependencies. The snapshot must belong to a fill
// that is counted as in flight.
func (h *history) missing(s *revision.Snapshot, p revision.LSN, deps []match.Dependency) *record {
	for _, r := range h.unproven {
		if r.end <= p && !s.Contains(r.xid) && r.affects(deps) {
			return r
		}
	}
	return nil
}

// torn reports whether a transaction of those given shows, as tears says, in a
// result that was computed at a snapshot and finished before a position.
func torn(records []*record, s *revision.Snapshot, after revision.LSN, deps []match.Dependency) bool {
	for _, r := range records {
		if r.end <= after && !s.Contains(r.xid) && r.tears(deps) {
			return true
		}
	}
	return false
}

// equal reports whether an answer computed at a snapshot is the answer at p:
// no transaction that only one of the two holds touches it. It says no where the
// history does not reach back far enough. The frontier must have passed p and
// the snapshot's upper bound.
func (h *history) equal(s *revision.Snapshot, p revision.LSN, deps []match.Dependency) bool {
	if p < h.start {
		return false
	}
	for _, r := range h.records {
		if s.Contains(r.xid) != (r.end <= p) && r.affects(deps) {
			return false
		}
	}
	return true
}

// begin counts a fill as in flight, to be ended with the number it returns.
func (h *history) begin() uint64 {
	h.inFlight[h.gen&1]++
	return h.gen
}

func (h *history) finish(gen uint64) {
	h.inFlight[gen&1]--
	h.settleProof()
}

// prove tells the history of a snapshot taken just now.
func (h *history) prove(s *revision.Snapshot) {
	if len(h.unproven) == 0 || h.candidate != nil {
		return
	}
	h.candidate = s
	h.gen++
	h.settleProof()
}

func (h *history) settleProof() {
	if h.candidate == nil || h.inFlight[(h.gen+1)&1] > 0 {
		return
	}
	left := h.unproven[:0]
	for _, r := range h.unproven {
		if h.candidate.Contains(r.xid) {
			r.proven = true
		} else {
			left = append(left, r)
		}
	}
	clear(h.unproven[len(left):])
	h.unproven, h.candidate = left, nil
}

// prune forgets what is older than the cutoff and needed by nobody.
func (h *history) prune(cutoff time.Time, pins []*Pin) {
	n := 0
scan:
	for _, r := range h.records {
		if !r.proven || r.at.After(cutoff) {
			break
		}
		for _, p := range pins {
			if !p.Snapshot.Contains(r.xid) {
				break scan
			}
		}
		n++
	}
	if n == 0 {
		return
	}
	for _, r := range h.records[:n] {
		h.start = r.end
		h.bytes -= r.bytes
		delete(h.byXID, r.xid)
	}
	h.records = append([]*record(nil), h.records[n:]...)
	h.packed = max(0, h.packed-n)
}

// Seen is what an analysis saw: a snapshot, and the session during which it was
// taken or one before.
type Seen struct {
	Snapshot revision.Snapshot
	Session  uint64
}

// lacks reports whether an analysis may not have seen a definition. A crash of
// the server may lie between two sessions. It gives the ids of what it undid
// again, so a snapshot says nothing of what a later session brings.
func (s *Seen) lacks(d *record) bool {
	return d.session > s.Session && ruleSession || !s.Snapshot.Contains(d.xid)
}

// outdated reports whether a definition changed up to p that a plan did not see.
func (h *history) outdated(planned *Seen, p revision.LSN) bool {
	if planned.Session < h.since {
		return true
	}
	for _, d := range h.definitions {
		if d.end <= p && planned.lacks(d) {
			return true
		}
	}
	return false
}

// forgetDefinitions drops those that every plan has seen.
func (h *history) forgetDefinitions(planned *Seen) {
	left := h.definitions[:0]
	for _, d := range h.definitions {
		if planned.lacks(d) {
			left = append(left, d)
		}
	}
	h.definitions = left
}
