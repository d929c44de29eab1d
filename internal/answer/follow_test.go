package answer

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/patch"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// total makes the stub's answers sums over their row, at a value of now.
func (s *stub) total(value func() int) {
	row := func() (string, []patch.Row) {
		values := make([]int, 10)
		values[1] = value()
		body, rows := modelTotals.read(values, []int{1})
		return string(body), rows
	}
	s.body = func(string) string {
		body, _ := row()
		return body
	}
	s.state = func(key string) *patch.State {
		_, rows := row()
		return patch.Start(&patch.Bound{Plan: modelPlans[modelTotals], Tests: s.query(s.group, key).Deps[0].Tests, Limit: -1}, rows)
	}
}

func sum(v int) string { return fmt.Sprintf(`[{"n":1,"s":%d}]`, v) }

func TestFollow(t *testing.T) {
	s := newStub(t, Options{})
	s.total(func() int { return 1 })
	first := s.serve("g1")
	if d, _ := s.store.Describe("g1"); !d.Followed {
		t.Fatal("it is not followed")
	}
	old := s.store.Frontier().Load()
	tx := s.transaction(update(1, 1, 2), update(2, 0, 1), update(1, 2, 3))
	if err := s.store.Apply(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
	// Until the frontier moves, it is as of before.
	v, _, at, _ := s.store.Hit("g1", time.Now())
	if v != first.Version || at != old {
		t.Errorf("before the frontier moves, it is %v at %s", v, at)
	}
	s.store.Frontier().Advance(tx.End)
	r := s.serve("g1")
	if string(r.Version.Body) != sum(3) || r.Outcome != Hit || r.At != tx.End || r.Version.From != tx.End {
		t.Errorf("got %s at %s, outcome %d", r.Version.Body, r.At, r.Outcome)
	}
	if !r.Version.Expires().Equal(first.Version.Expires()) {
		t.Error("it lives longer than the query's result")
	}
	if from, to := first.Version.Interval(); from != old || to != tx.End || first.Version.Reason().Op != change.Update {
		t.Errorf("the one before is of [%s, %s): %v", from, to, first.Version.Reason())
	}
	at0, err := s.store.ServeAt(t.Context(), s.query(s.group, "g1"), old)
	if err != nil || at0.Version != first.Version {
		t.Errorf("as of before: %+v, %v", at0, err)
	}
	s.apply(s.transaction(update(1, 3, 4), update(1, 4, 3)))
	g := s.group
	if again := s.serve("g1"); again.Version != r.Version {
		t.Error("a transaction to no effect made another version")
	}
	if calls, _ := s.filled(); calls != 1 || g.Patched.Load() != 1 || g.Passed.Load() != 1 || g.Ended.Load() != 0 {
		t.Errorf("%d calls, %d patched, %d passed, %d ended", calls, g.Patched.Load(), g.Passed.Load(), g.Ended.Load())
	}
	for i := range 3 * maxKept {
		s.apply(s.transaction(update(1, 3+i, 4+i)))
		s.hit("g1")
	}
	if d, _ := s.store.Describe("g1"); d.Kept != maxKept {
		t.Errorf("%d versions are kept", d.Kept)
	}
	// What cannot be followed ends.
	s.store.opts.NoRefill = true
	s.apply(s.transaction(change.Change{Op: change.Truncate, Relation: modelRelation}))
	if s.hit("g1") || g.Ended.Load() != 1 {
		t.Error("it followed a truncation")
	}
	checkAccounts(t, s.store)
}

// TestFollowWhileApplied has a query's result catch up with a transaction of
// which Apply has matched one change and not the others yet.
func TestFollowWhileApplied(t *testing.T) {
	for _, before := range []string{"nothing in memory", "an older version in memory"} {
		s := newStub(t, Options{})
		s.store.batch = 1
		s.total(func() int { return 1 })
		if before != "nothing in memory" {
			s.serve("g1")
		}
		base := s.store.Frontier().Load()
		// The query is of before the transaction, so it is made first.
		s.gate = make(chan struct{})
		s.started = make(chan []string, 1)
		e := s.store.entry(s.query(s.group, "g1"))
		f, _, err := s.store.join(e, s.query(s.group, "g1"), true)
		if err != nil {
			t.Fatal(err)
		}
		<-s.started
		tx := s.transaction(update(1, 1, 2), update(1, 2, 3), update(1, 3, 4))
		n := 0
		s.store.between = func() {
			if n++; n != 1 {
				return
			}
			close(s.gate)
			until(t, "the result is stored", func() bool {
				v := e.current.Load()
				return v != nil && v.From == tx.End
			})
			if v, _, at, _ := s.store.Hit("g1", time.Now()); v == nil || at != base || string(v.Body) != sum(1) {
				t.Errorf("%s: while it is applied, it is %v at %s", before, v, at)
			}
		}
		s.apply(tx)
		<-f.done
		s.store.leave(f)
		r := s.serve("g1")
		if string(r.Version.Body) != sum(4) || r.At != tx.End {
			t.Errorf("%s: got %s at %s, want %s", before, r.Version.Body, r.At, sum(4))
		}
		if f.version.From != tx.End || f.err != nil {
			t.Errorf("%s: who waited got %v, %v", before, f.version, f.err)
		}
		checkAccounts(t, s.store)
	}
}

// TestFollowCannot names what is not followed although there is a state.
func TestFollowCannot(t *testing.T) {
	s := newStub(t, Options{NoRefill: true})
	s.total(func() int { return 1 })
	state := s.state("g1")
	body, found := state.Body()
	res := &Result{Body: body, Found: found, State: state}
	deps := s.query(s.group, "g1").Deps
	if followable(res, deps) != state {
		t.Error("it is not followed")
	}
	other := append(deps[:1:1], match.Dependency{Reads: &match.Reads{Tables: modelReads.Tables}})
	for name, got := range map[string]*patch.State{
		"two table references":      followable(res, other),
		"a body that the query has": followable(&Result{Body: []byte("x"), Found: true, State: state}, deps),
		"no such thing":             followable(&Result{Body: body, Found: false, State: state}, deps),
	} {
		if got != nil {
			t.Errorf("%s: it is followed", name)
		}
	}
	// A transaction that is not held in memory.
	s.serve("g1")
	tx := s.transaction()
	tx.Spilled = func(yield func(*change.Change) error) error {
		c := update(1, 1, 2)
		return yield(&c)
	}
	s.apply(tx)
	if s.hit("g1") {
		t.Error("a spilled transaction was followed")
	}
	// One that comes again.
	s.serve("g1")
	tx = s.transaction(update(1, 1, 2), update(1, 2, 1))
	s.apply(tx)
	if !s.hit("g1") || s.group.Passed.Load() != 1 {
		t.Error("it was not followed")
	}
	s.apply(tx)
	if s.hit("g1") {
		t.Error("a transaction was followed twice")
	}
	// One that would hold too many changes.
	s.serve("g1")
	var many []change.Change
	for i := range maxFollowed + 10 {
		many = append(many, update(1, i%100, (i+1)%100))
	}
	s.apply(s.transaction(many...))
	if s.hit("g1") {
		t.Error("more changes were held than may be")
	}
}

// TestFollowUnread shows that an answer nobody reads does not follow for ever.
func TestFollowUnread(t *testing.T) {
	s := newStub(t, Options{})
	s.total(func() int { return 1 })
	s.serve("g1")
	n := 1
	for ; n < 100; n++ {
		s.apply(s.transaction(update(1, n, n+1)))
		if s.store.find("g1").current.Load().until() != 0 {
			break
		}
	}
	if n < 5 || n == 100 {
		t.Errorf("it was followed through %d transactions", n)
	}
}

// BenchmarkApplyFollowed applies a transaction that touches followed answers.
func BenchmarkApplyFollowed(b *testing.B) {
	s := NewStore(Options{GCWindow: time.Hour}, revision.Source{}, 1000)
	defer s.Close()
	src := &stub{store: s, end: 1000, xid: 100}
	src.group = src.newGroup("g")
	src.total(func() int { return 1 })
	for range 3 {
		if _, err := s.Serve(b.Context(), src.query(src.group, "g1"), Need{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_ = s.Apply(b.Context(), src.transaction(update(1, 1+i%2, 2-i%2)))
		s.Frontier().Advance(src.end)
		s.Hit("g1", time.Now())
	}
}

func TestHitAllocatesNothing(t *testing.T) {
	s := newStub(t, Options{})
	s.serve("g1")
	now := time.Now()
	if n := testing.AllocsPerRun(100, func() { s.store.Hit("g1", now) }); n != 0 {
		t.Errorf("a hit allocates %v times", n)
	}
}

// TestOverhead holds the account of an answer's memory to the truth.
func TestOverhead(t *testing.T) {
	const n = 20_000
	measure := func(followed bool) (counted, true_ float64) {
		var before, after runtime.MemStats
		s := newStub(t, Options{MaxMemory: 1 << 40})
		if followed {
			s.total(func() int { return 1 })
		}
		s.serve("g0")
		runtime.GC()
		runtime.ReadMemStats(&before)
		from := s.store.bytes.Load()
		for i := 1; i <= n; i++ {
			s.serve(fmt.Sprint("g", i))
		}
		s.calls = nil
		runtime.GC()
		runtime.ReadMemStats(&after)
		counted = float64(s.store.bytes.Load()-from) / n
		return counted, float64(after.HeapAlloc-before.HeapAlloc) / n
	}
	for _, followed := range []bool{false, true} {
		counted, is := measure(followed)
		t.Logf("followed %v: %.0f bytes per answer are counted, %.0f taken", followed, counted, is)
		if counted < is {
			t.Errorf("followed %v: %.0f bytes per answer are counted, and %.0f taken", followed, counted, is)
		}
	}
}

func BenchmarkHit(b *testing.B) {
	s := NewStore(Options{}, revision.Source{}, 1000)
	defer s.Close()
	src := &stub{store: s, end: 1000, xid: 100, body: func(key string) string { return key }}
	src.group = src.newGroup("g")
	if _, err := s.Serve(b.Context(), src.query(src.group, "g1"), Need{}); err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s.Hit("g1", now)
		}
	})
}
