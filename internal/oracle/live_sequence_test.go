package oracle

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// sequence compares what came since the last time with what the log has: all of
// it up to a position if the follower is up to date there, else the first part.
func (r *reading) sequence(upTo revision.LSN, whole bool) {
	if r.sh.rel == nil || r.handle == "" {
		return
	}
	all := r.j.wanted[r.sh]
	if r.next < 0 && !r.locate(all, upTo, whole) {
		return
	}
	var x *exchange
	n := 0
	for r.next < len(all) && all[r.next].end <= upTo && (whole || n < len(r.pending)) {
		tx := all[r.next]
		r.next++
		if r.snap != nil && inside(r.snap, tx.xid) {
			continue
		}
		if r.early(tx) && (n == len(r.pending) || r.pending[n].lsn != tx.end) {
			continue
		}
		for _, w := range tx.messages {
			if n == len(r.pending) {
				if whole {
					r.fail(x, "a change is missing", "%s of transaction %d, which ends at %d, up to %d", w, tx.xid, uint64(tx.end), uint64(upTo))
				}
				r.pending = nil
				return
			}
			g := r.pending[n]
			x = g.x
			n++
			if what := w.differs(g, tx.commit); what != "" {
				r.fail(x, "the sequence is not that of the log", "the %s differs\ngot  %s of %s with %s instead of %s, at %d, transaction %d\nwant %s at %d, transaction %d", what, g.m.Headers.Operation, *g.m.Key,
					short(row(g.m.Value).text()), short(row(g.m.Old).text()), uint64(g.lsn), g.xid, w, uint64(tx.end), tx.xid)
				r.pending = nil
				return
			}
		}
	}
	if n < len(r.pending) {
		g := r.pending[n]
		there := ""
		for i := range r.j.log {
			if r.j.log[i].end == g.lsn {
				there = fmt.Sprintf("the log has there %v", r.j.log[i].changes)
			}
		}
		r.fail(g.x, "a change is not in the log", "%s of %s, at %d, transaction %d, snapshot %v\n%s", g.m.Headers.Operation, *g.m.Key, uint64(g.lsn), g.xid, r.snap, short(there))
	}
	r.pending = nil
}

// locate finds where a follower without a snapshot began: not after what was
// committed later than its first answer.
func (r *reading) locate(all []wantedTx, upTo revision.LSN, whole bool) bool {
	from := upTo + 1
	switch {
	case len(r.pending) > 0:
		from = r.pending[0].lsn
	case !whole:
		return false
	}
	for r.next = 0; r.next < len(all) && all[r.next].end < from; r.next++ {
		tx := r.j.byEnd[all[r.next].end]
		if tx != nil && tx.sent.After(r.first) && len(all[r.next].messages) > 0 {
			r.fail(nil, "a change is missing at the beginning", "of %s\nand the first answer came at %s", tx, clock(r.first))
		}
	}
	return true
}

// early reports whether a transaction may have been seen by who looked before a
// follower of changes alone began: it begins with those that were not, in the order
// in which they became visible, which is none of the log.
func (r *reading) early(tx wantedTx) bool {
	known := r.j.byEnd[tx.end]
	return r.sh.changesOnly && !r.heard && known != nil && known.sent.Before(r.first)
}

// differs says in what a message is not as wanted.
func (w *wanted) differs(g received, tx commit) string {
	same := func(a, b row) bool { return maps.EqualFunc(a, b, sameValue) }
	switch {
	case g.lsn != tx.end:
		return "position"
	case g.xid != tx.xid:
		return "transaction"
	case g.m.Headers.Operation != w.operation:
		return "operation"
	case *g.m.Key != w.key:
		return "key"
	case !same(g.m.Value, w.value):
		return "value"
	case !same(g.m.Old, w.old):
		return "old value"
	}
	return ""
}

func snapshotOf(m *liveMessage) *revision.Snapshot {
	number := func(s string) revision.XID {
		n, _ := strconv.ParseUint(s, 10, 64) // a wrong one is noticed by what it lets through
		return revision.XID(n)
	}
	s := &revision.Snapshot{Xmin: number(m.Headers.Xmin), Xmax: number(m.Headers.Xmax)}
	for _, x := range m.Headers.Xip {
		s.Xip = append(s.Xip, number(x))
	}
	return s
}

// inside reports whether a snapshot saw a transaction.
func inside(s *revision.Snapshot, xid uint32) bool {
	x := revision.XID(xid)
	return x < s.Xmin || x < s.Xmax && !slices.Contains(s.Xip, x)
}
