package answer

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

func TestRefillBeforeAnyoneAsks(t *testing.T) {
	s := newStub(t, Options{})
	s.serve("g1")
	for range 5 {
		s.serve("g1")
	}
	s.serve("g2") // read once: by the one who had it computed
	s.store.find("g2").rate, s.store.find("g2").rated = 0, true
	s.locked(func() { s.body = func(string) string { return "new" } })
	s.apply(s.transaction(update(1, 0, 1), update(2, 0, 1)))
	until(t, "it is back", func() bool { return s.hit("g1") && s.group.Refills.Load() > 0 })
	if _, answers := s.filled(); answers != 3 || s.hit("g2") {
		t.Errorf("%d answers were computed, want 3: what is hardly read waits for a reader", answers)
	}
	g := s.group
	if g.Refills.Load() != 1 || g.Compared.Load() != 1 || g.Vain.Load() != 0 {
		t.Errorf("%d refills, %d compared, %d vain", g.Refills.Load(), g.Compared.Load(), g.Vain.Load())
	}
	s.apply(s.transaction(update(1, 1, 2)))
	until(t, "it is back again", func() bool { return s.hit("g1") })
	want := []CauseCount{{Table: "s.t", Op: change.Update, Ended: 3, Compared: 2, Vain: 1}}
	if got := g.Causes(); !slices.Equal(got, want) {
		t.Errorf("causes: got %+v, want %+v", got, want)
	}
	d, ok := s.store.Describe("g1")
	if !ok || d.Ended == nil || d.Ended.Op != change.Update || d.Current.until() != 0 || d.Reads < 3 {
		t.Errorf("described: %+v", d)
	}
}

// TestRefillStops shows that an answer nobody reads is given up after a few
// changes.
func TestRefillStops(t *testing.T) {
	s := newStub(t, Options{})
	for range 3 {
		s.serve("g1")
	}
	n := 0
	for ; n < 50; n++ {
		_, before := s.filled()
		s.apply(s.transaction(update(1, n, n+1)))
		if e := s.store.find("g1"); e.rate*missCost <= refillCost {
			break
		}
		until(t, "it is back", func() bool {
			_, answers := s.filled()
			v := s.store.find("g1").current.Load()
			return answers == before+1 && v.until() == 0 && s.store.find("g1").flags.Load()&filling == 0
		})
	}
	if n == 0 || n == 50 {
		t.Errorf("given up after %d changes", n)
	}
}

// TestRefillStorm shows that a change which touches 10,000 answers that are all
// read often costs a bounded number of queries, in a quarter of the slots.
func TestRefillStorm(t *testing.T) {
	// On a clock that stands, no fill takes long: batches are bounded by time.
	now := time.Now()
	s := newStub(t, Options{Fills: 8, Refills: 1000, Now: func() time.Time { return now }})
	s.group.Batch = 100
	const n = 10_000
	for i := range n {
		s.serve(fmt.Sprint("g", i))
		s.hit(fmt.Sprint("g", i))
	}
	favourite := "g7777"
	for range 10 {
		s.hit(favourite)
	}
	before, _ := s.filled()
	s.locked(func() { s.gate = make(chan struct{}) })
	s.locked(func() { s.started = make(chan []string, 100) })
	s.locked(func() { s.most = 0 })
	s.apply(s.transaction(change.Change{Op: change.Truncate, Relation: modelRelation}))
	until(t, "1000 wait and 2 run", func() bool {
		st := s.store.Stats()
		return st.WaitingRefills == 1000 && st.FillingRefills == 2 && s.group.RefillsShed.Load() > n-1300
	})
	// Somebody who asks has a slot at once.
	<-s.started
	<-s.started
	done := make(chan Reply)
	go func() { done <- s.serve("g9999") }()
	if asked := <-s.started; !slices.Equal(asked, []string{"g9999"}) {
		t.Errorf("somebody waits for g9999 and %v was begun", asked)
	}
	close(s.gate)
	<-done
	until(t, "the queue is empty", func() bool { st := s.store.Stats(); return st.WaitingRefills+st.FillingRefills == 0 })
	calls, _ := s.filled()
	s.mu.Lock()
	most := s.most
	s.mu.Unlock()
	if calls -= before; calls > 15 || most > 3 {
		t.Errorf("it took %d calls, %d at once", calls, most)
	}
	until(t, "what is read most is back", func() bool { return s.hit(favourite) })
	if shed := s.group.RefillsShed.Load(); shed < n-1200 || shed > n-1000 {
		t.Errorf("%d were left to their readers", shed)
	}
	// One of those.
	if r := s.serve("g0"); r.Version == nil {
		t.Error("nothing")
	}
	checkAccounts(t, s.store)
}

// TestRefillBurst shows that writes which come faster than a refill cost one
// more query, not one each.
func TestRefillBurst(t *testing.T) {
	s := newStub(t, Options{})
	for range 20 {
		s.serve("g1")
	}
	s.locked(func() { s.gate = make(chan struct{}) })
	for i := range 1000 {
		s.apply(s.transaction(update(1, i, i+1)))
	}
	if calls, _ := s.filled(); calls > 2 {
		t.Errorf("%d calls while the first is not over", calls)
	}
	close(s.gate)
	until(t, "it is back", func() bool { return s.hit("g1") })
	if calls, _ := s.filled(); calls > 4 {
		t.Errorf("%d calls for the burst", calls)
	}
}

func TestStalePromotes(t *testing.T) {
	s := newStub(t, Options{Fills: 1})
	for range 5 {
		s.serve("g1")
		s.serve("g2")
	}
	s.locked(func() { s.gate = make(chan struct{}) })
	s.apply(s.transaction(update(1, 0, 1), update(2, 0, 1)))
	until(t, "one runs and one waits", func() bool { st := s.store.Stats(); return st.FillingRefills == 1 && st.WaitingRefills == 1 })
	r, err := s.store.Serve(t.Context(), s.query(s.group, "g2"), Need{Level: revision.MinimizeLatency, MaxStaleness: 1e12})
	if err != nil || r.Outcome != Stale {
		t.Errorf("got %+v, %v", r, err)
	}
	if st := s.store.Stats(); st.Waiting != 1 || st.WaitingRefills != 0 {
		t.Errorf("its refill is not wanted more than before: %+v", st)
	}
	close(s.gate)
	until(t, "both are back", func() bool { return s.hit("g1") && s.hit("g2") })
}
