package answer

import (
	"strconv"
	"testing"
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
