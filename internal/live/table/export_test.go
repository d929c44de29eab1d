package table

import (
	"slices"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Sweep sweeps as if so much time had passed, twice.
func (h *Hub) Sweep(later time.Duration, mark revision.LSN) {
	h.sweep(time.Now().Add(later), mark)
}

// Clean cleans the disk as if so much time had passed.
func (h *Hub) Clean(later time.Duration) { h.clean(time.Now().Add(later)) }

// Visible returns the position that is visible.
func (h *Hub) Visible() revision.LSN { return h.visible.Load().Load() }

// Settle moves the settled position on, and returns it.
func (h *Hub) Settle() (revision.LSN, error) {
	err := h.settle(h.ctx)
	return revision.LSN(h.settled.Load()), err
}

// SetScan sets how many transactions one shape reads alone. It comes first.
func (h *Hub) SetScan(n int) { h.scan = n }

// Recent returns how many transactions are held for tails, and their bytes.
func (h *Hub) Recent() (n int, bytes int64) {
	h.recent.mu.Lock()
	defer h.recent.mu.Unlock()
	return h.recent.held.Len(), h.recent.bytes
}

// A transaction is held until it was evaluated for all whom it touched, or until
// there is no room for it.
func TestRecent(t *testing.T) {
	var r recent
	var all []*record
	push := func(refs int32) {
		rec := &record{bytes: 10}
		rec.changes.Store(&[]change.Change{})
		rec.refs.Store(refs)
		r.push(rec, 30)
		all = append(all, rec)
	}
	check := func(want ...int) {
		t.Helper()
		var got []*record
		for place := r.held.Front(); place != nil; place = place.Next() {
			got = append(got, place.Value.(*record))
		}
		if len(got) != len(want) || r.bytes != int64(10*len(want)) {
			t.Fatalf("%d records with %d bytes; want %v", len(got), r.bytes, want)
		}
		for i, rec := range all {
			if held := slices.Contains(want, i); held != (rec.changes.Load() != nil) || held != slices.Contains(got, rec) {
				t.Fatalf("record %d is held: %v, want %v", i, !held, held)
			}
		}
	}
	for range 3 {
		push(2)
	}
	check(0, 1, 2)
	r.release(all[1])
	check(0, 1, 2)
	r.release(all[1])
	check(0, 2)
	push(1)
	check(0, 2, 3)
	push(1)
	check(2, 3, 4) // without room for the oldest
	r.release(all[0])
	r.release(all[0]) // whose touches find out
	check(2, 3, 4)
	r.release(all[4])
	check(2, 3)
	r.release(all[3])
	r.release(all[2])
	r.release(all[2])
	check()
	push(1)
	check(5)
}
