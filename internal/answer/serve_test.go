package answer

import (
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// TestJoinedFillIsNotOlder has a request join a fill whose query ran before the
// log brought a change that the request came after.
func TestJoinedFillIsNotOlder(t *testing.T) {
	s := newStub(t, Options{})
	value := 1
	s.body = func(string) string { return strconv.Itoa(value) }
	s.locked(func() { s.gate, s.started = make(chan struct{}), make(chan []string, 8) })
	first := make(chan Reply, 1)
	go func() { first <- s.serve("g1") }()
	<-s.started
	// The query has run and is on its way back. Now the log brings a change.
	tx := s.transaction(update(1, 1, 2))
	s.locked(func() { value = 2 })
	s.apply(tx)
	second := make(chan Reply, 1)
	go func() { second <- s.serve("g1") }()
	until(t, "the second request waits", func() bool {
		e := s.store.find("g1")
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.fill != nil && e.fill.waiters == 2
	})
	close(s.gate)
	<-first // either is right: the change came while it waited
	if got := <-second; string(got.Version.Body) != "2" || got.At < tx.End {
		t.Errorf("%s at %s, though the log had brought %s before the request", got.Version.Body, got.At, tx.End)
	}
}

// TestStaleFromTheEnd has a fill come back long after the log brought what ended
// its answer: that is how stale it is, not how long ago it came back.
func TestStaleFromTheEnd(t *testing.T) {
	var clock atomic.Int64
	clock.Store(time.Now().UnixNano())
	s := newStub(t, Options{Now: func() time.Time { return time.Unix(0, clock.Load()) }})
	value := 1
	s.body = func(string) string { return strconv.Itoa(value) }
	gate, started := make(chan struct{}), make(chan []string, 8)
	s.locked(func() { s.gate, s.started = gate, started })
	first := make(chan Reply, 1)
	go func() { first <- s.serve("g1") }()
	<-started
	tx := s.transaction(update(1, 1, 2))
	s.locked(func() { value, s.gate = 2, nil })
	s.apply(tx)
	clock.Add(int64(time.Second))
	close(gate)
	<-first
	for _, limit := range []time.Duration{100 * time.Millisecond, 900 * time.Millisecond} {
		r, err := s.store.Serve(t.Context(), s.query(s.group, "g1"), Need{Level: revision.MinimizeLatency, MaxStaleness: limit})
		if err != nil || string(r.Version.Body) != "2" {
			t.Errorf("within %v: %s as of %s, %v, which ended a second before", limit, r.Version.Body, r.At, err)
		}
	}
}
