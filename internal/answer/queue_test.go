package answer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// queueOf returns a queue with no slots, to which jobs can be added and from
// which take takes them.
func queueOf(most, refills int) *queue {
	return &queue{slots: 0, most: most, refills: refills, launch: func([]*job, priority) {}}
}

func taken(q *queue, p priority) []string {
	var out []string
	for q.waiting[p] > 0 {
		name := ""
		for _, j := range q.take(p) {
			name += j.fill.entry.key
		}
		out = append(out, name)
	}
	return out
}

func jobOf(g *Group, key string, p priority, worth float32) *job {
	j := &job{group: g, priority: p, worth: worth}
	j.fill = &fill{entry: &Entry{key: key}}
	return j
}

func TestQueueOrder(t *testing.T) {
	a, b := &Group{Batch: 2}, &Group{}
	q := queueOf(100, 100)
	jobs := map[string]*job{}
	for _, key := range []string{"a1", "a2", "a3", "a4", "b1", "b2"} {
		g := a
		if key[0] == 'b' {
			g = b
		}
		jobs[key] = jobOf(g, key, demand, 0)
		if _, err := q.push(jobs[key]); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := taken(q, demand), []string{"a1a2", "b1", "a3a4", "b2"}; !slices.Equal(got, want) {
		t.Errorf("groups take turns: got %v, want %v", got, want)
	}
	for _, key := range []string{"a1", "a2", "a3", "b1"} {
		_, _ = q.push(jobs[key])
	}
	q.single(jobs["a2"])
	q.remove(jobs["b1"])
	if got, want := taken(q, demand), []string{"a1", "a2", "a3"}; !slices.Equal(got, want) {
		t.Errorf("one that is to be alone: got %v, want %v", got, want)
	}
	_, _ = q.push(jobs["a3"])
	_ = q.again(jobs["a1"])
	if got, want := taken(q, demand), []string{"a1a3"}; !slices.Equal(got, want) {
		t.Errorf("one that comes again goes first: got %v, want %v", got, want)
	}
	if q.waiting != [priorities]int{} {
		t.Errorf("the queue counts %v and is empty", q.waiting)
	}
}

func TestQueueBounds(t *testing.T) {
	g := &Group{}
	q := queueOf(2, 3)
	q.slots, q.busy[demand], q.took = 1, 1, time.Second
	for i := range 2 {
		if _, err := q.push(jobOf(g, fmt.Sprint(i), demand, 0)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := q.push(jobOf(g, "x", demand, 0))
	var over *OverloadedError
	if !errors.Is(err, ErrOverloaded) || !errors.As(err, &over) || over.RetryAfter != 2*time.Second {
		t.Errorf("the third was refused with %v", err)
	}
	jobs := []*job{jobOf(g, "5", background, 5), jobOf(g, "3", background, 3), jobOf(g, "4", background, 4)}
	for _, j := range jobs {
		if victim, err := q.push(j); victim != nil || err != nil {
			t.Fatal(victim, err)
		}
	}
	if _, err := q.push(jobOf(g, "2", background, 2)); !errors.Is(err, errNotWorth) {
		t.Errorf("what is worth less was taken: %v", err)
	}
	if victim, err := q.push(jobOf(g, "6", background, 6)); victim != jobs[1] || err != nil || victim.state != jobGone {
		t.Errorf("what is worth more put out %v: %v", victim, err)
	}
	if err := q.promote(jobs[0]); !errors.Is(err, ErrOverloaded) {
		t.Errorf("a promotion passed the bound: %v", err)
	}
	if err := q.promote(jobs[1]); !errors.Is(err, errGone) {
		t.Errorf("what is gone was promoted: %v", err)
	}
	q.take(demand)
	if err := q.promote(jobs[0]); err != nil {
		t.Error(err)
	}
	if got := taken(q, demand); !slices.Equal(got, []string{"1", "5"}) {
		t.Errorf("demand has %v", got)
	}
	if got := taken(q, background); !slices.Equal(got, []string{"4", "6"}) {
		t.Errorf("the background has %v", got)
	}
}

func TestFillsShareSlots(t *testing.T) {
	s := newStub(t, Options{Fills: 2, Queue: 50})
	s.group.Batch = 8
	s.locked(func() { s.gate = make(chan struct{}) })
	var wg sync.WaitGroup
	read := func(key string) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if r := s.serve(key); string(r.Version.Body) != key {
				t.Errorf("%s: got %s", key, r.Version.Body)
			}
		}()
	}
	for i := range 2 {
		read(fmt.Sprint("g", i))
		until(t, "the slots are taken one by one", func() bool { n, _ := s.filled(); return n == i+1 })
	}
	for i := 2; i < 42; i++ {
		read(fmt.Sprint("g", i))
		read(fmt.Sprint("g", i)) // joins
	}
	until(t, "all wait", func() bool { return s.store.Stats().Waiting == 40 })
	close(s.gate)
	wg.Wait()
	calls, answers := s.filled()
	// Seven, or some more where the first took so long that batches are smaller.
	if calls < 7 || calls > 20 || answers != 42 || s.most > 2 {
		t.Errorf("%d calls for %d answers, %d at once; want about 7 for 42, 2 at once", calls, answers, s.most)
	}
	if g := s.group; g.Fills.Load() != int64(calls) || g.Filled.Load() != 42 {
		t.Errorf("counted: %d fills, %d filled", g.Fills.Load(), g.Filled.Load())
	}
}

func TestOverload(t *testing.T) {
	s := newStub(t, Options{Fills: 1, Queue: 1})
	s.locked(func() { s.gate = make(chan struct{}) })
	ctx, cancel := context.WithCancel(context.Background())
	errs := make(chan error, 3)
	read := func(key string) {
		_, err := s.store.Serve(ctx, s.query(s.group, key), Need{})
		errs <- err
	}
	go read("g1")
	until(t, "one runs", func() bool { return s.store.Stats().Filling == 1 })
	go read("g2")
	until(t, "one waits", func() bool { return s.store.Stats().Waiting == 1 })
	read("g3")
	if err := <-errs; !errors.Is(err, ErrOverloaded) {
		t.Errorf("the third got %v", err)
	}
	if s.group.Shed.Load() != 1 || s.store.find("g3") != nil {
		t.Error("the third left something behind")
	}
	cancel() // nobody waits for the second any more
	for range 2 {
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	if st := s.store.Stats(); st.Waiting != 0 || s.store.find("g2") != nil {
		t.Errorf("a fill that nobody wants waits on: %+v", st)
	}
	close(s.gate)
	until(t, "the first is kept all the same", func() bool { return s.hit("g1") })
	if calls, _ := s.filled(); calls != 1 {
		t.Errorf("%d calls, want 1", calls)
	}
}

func TestFailedBatch(t *testing.T) {
	s := newStub(t, Options{Fills: 1})
	s.group.Batch = 10
	s.locked(func() { s.gate = make(chan struct{}) })
	bad := errors.New("bad")
	s.fail = func(keys []string) error {
		if slices.Contains(keys, "g3") {
			return bad
		}
		return nil
	}
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			key := fmt.Sprint("g", i)
			_, err := s.store.Serve(context.Background(), s.query(s.group, key), Need{})
			if want := map[bool]error{true: bad}[i == 3]; !errors.Is(err, want) {
				t.Errorf("%s: got %v", key, err)
			}
		}()
		if i == 0 {
			until(t, "one runs", func() bool { return s.store.Stats().Filling == 1 })
		}
	}
	until(t, "the others wait", func() bool { return s.store.Stats().Waiting == 5 })
	close(s.gate)
	wg.Wait()
	if calls, _ := s.filled(); calls != 1+1+5 {
		t.Errorf("%d calls, want 7: one, five together, and each of the five alone", calls)
	}
	if s.group.Errors.Load() != 1 {
		t.Errorf("%d errors counted", s.group.Errors.Load())
	}
}

func TestCloseEndsFills(t *testing.T) {
	s := newStub(t, Options{Fills: 1})
	s.locked(func() { s.gate = make(chan struct{}) })
	errs := make(chan error, 2)
	for i := range 2 {
		go func() {
			_, err := s.store.Serve(context.Background(), s.query(s.group, fmt.Sprint("g", i)), Need{})
			errs <- err
		}()
	}
	until(t, "one runs and one waits", func() bool { st := s.store.Stats(); return st.Filling == 1 && st.Waiting == 1 })
	s.store.Close()
	for range 2 {
		if err := <-errs; !errors.Is(err, ErrClosing) {
			t.Error(err)
		}
	}
	if _, err := s.store.Serve(context.Background(), s.query(s.group, "g9"), Need{}); !errors.Is(err, ErrClosing) {
		t.Errorf("after the end: %v", err)
	}
	s.store.Close()
}

func TestPinnedQueriesTakeSlots(t *testing.T) {
	s := newStub(t, Options{Fills: 1})
	gate := make(chan struct{})
	s.locked(func() { s.gate = gate })
	done := make(chan Reply)
	go func() { done <- s.serve("g1") }()
	until(t, "one runs", func() bool { return s.store.Stats().Filling == 1 })
	ctx, cancel := context.WithCancel(context.Background())
	errs := make(chan error)
	pinned := func(ctx context.Context) {
		_, err := s.store.fillAt(ctx, s.query(s.group, "g2"), &Pin{})
		errs <- err
	}
	go pinned(ctx)
	until(t, "one waits", func() bool { return s.store.Stats().Waiting == 1 })
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if st := s.store.Stats(); st.Waiting != 0 {
		t.Errorf("%d wait", st.Waiting)
	}
	go pinned(context.Background())
	until(t, "one waits again", func() bool { return s.store.Stats().Waiting == 1 })
	close(gate)
	<-done
	if err := <-errs; !errors.Is(err, ErrSnapshotExpired) {
		t.Error(err)
	}
	if st := s.store.Stats(); st.Filling != 0 {
		t.Errorf("%d slots are in use", st.Filling)
	}
}

// TestBatchTakesNoLonger bounds a batch by the time that one of its fills takes.
func TestBatchTakesNoLonger(t *testing.T) {
	g := &Group{Batch: 100}
	for _, c := range []struct {
		took time.Duration
		want int
	}{
		{0, firstBatch}, {time.Microsecond, 100}, {time.Millisecond, 50}, {20 * time.Millisecond, 2}, {time.Second, 1},
	} {
		if g.took = c.took; g.batch() != c.want {
			t.Errorf("fills of %v each: %d together, want %d", c.took, g.batch(), c.want)
		}
	}
	q := queueOf(100, 100)
	q.slots = 8
	g.running = [priorities]int{demand: 2}
	if g.took = time.Millisecond; !q.held(g, demand) || q.held(g, background) {
		t.Error("quick fills have more than a quarter of the slots, or keep the other priority waiting")
	}
	if g.took = time.Second; q.held(g, demand) {
		t.Error("slow fills wait for each other")
	}
}
