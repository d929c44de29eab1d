package answer

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// undone is the id of a transaction that a crash undoes, and that is given again.
const undone = revision.XID(150)

// crash is what a store hears of a crash of the server.
func (s *stub) crash() {
	s.store.Disconnected()
	s.store.Connected()
}

// reused is the transaction that the id of the undone one is given to.
func (s *stub) reused(changes ...change.Change) *change.Transaction {
	t := s.transaction(changes...)
	t.XID = undone
	return t
}

// holding makes the snapshots of queries hold the undone transaction, or not.
func (s *stub) holding(it bool) {
	s.locked(func() {
		s.xid = undone
		if it {
			s.xid++
		}
	})
}

// TestUndoneTransactionIsNotTheNext asks for a transaction by its id while a
// query waits for its proof that saw another by the same id.
func TestUndoneTransactionIsNotTheNext(t *testing.T) {
	s := newStub(t, Options{Patience: time.Millisecond})
	s.holding(true)
	s.body = func(string) string { return "with the undone" }
	first := s.end
	s.locked(func() { s.end += 200 }) // where the log has not come yet
	serve := func(position revision.LSN, patience time.Duration) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		r, err := s.store.Serve(ctx, s.query(s.group, "g1"), Need{Level: revision.AtLeastAsFresh, Position: position, XID: undone})
		if err != nil {
			return "", err
		}
		if r.Exact {
			t.Errorf("%s is proven", r.Version.Body)
		}
		return string(r.Version.Body), nil
	}
	if got, err := serve(first, time.Second); err != nil || got != "with the undone" {
		t.Fatalf("before the crash: %s, %v", got, err)
	}
	s.crash()
	s.locked(func() {
		s.end = first
		s.body = func(string) string { return "with the next" }
	})
	next := s.reused(update(1, 1, 2))
	s.apply(next)
	if got, err := serve(next.End, 50*time.Millisecond); err == nil {
		t.Fatalf("after the crash, before another query: %s, want none", got)
	}
	// Another query, which waits for its proof likewise.
	s.holding(true)
	s.locked(func() { s.end = first + 1000 })
	s.store.Frontier().Advance(first + 200)
	if got, err := serve(next.End, 5*time.Second); err != nil || got != "with the next" {
		t.Fatalf("after another query: %s, %v", got, err)
	}
}

// TestUndoneTransactionIsNoProof has snapshots from before a crash arrive after
// it: they do not say that every snapshot holds what has their ids now.
func TestUndoneTransactionIsNoProof(t *testing.T) {
	s := newStub(t, Options{})
	s.holding(true)
	s.locked(func() {
		s.started = make(chan []string, 1)
		s.gate = make(chan struct{})
	})
	session := s.store.Session()
	late := revision.Snapshot{Xmin: undone + 1, Xmax: undone + 1}
	done := make(chan Reply)
	go func() { done <- s.serve("g1") }()
	<-s.started
	s.crash()
	s.apply(s.reused(update(2, 1, 2)))
	s.store.Prove(session, &late)
	if n := s.store.Unproven(); n != 1 {
		t.Errorf("after a snapshot from before the crash, %d transactions are not proven, want 1", n)
	}
	s.holding(false) // the log was first
	s.gate <- struct{}{}
	<-s.started
	s.gate <- struct{}{}
	<-done
	if n := s.store.Unproven(); n != 1 {
		t.Errorf("after a query from before the crash, %d transactions are not proven", n)
	}
	s.store.Prove(s.store.Session(), &late)
	if n := s.store.Unproven(); n != 0 {
		t.Errorf("after a snapshot that holds it, %d transactions are not proven", n)
	}
}

// TestUndoneTransactionIsNoDefinition changes a definition by a transaction with
// the id of one that the plan saw and that a crash undid.
func TestUndoneTransactionIsNoDefinition(t *testing.T) {
	s := newStub(t, Options{GCWindow: time.Hour})
	snap := revision.Snapshot{Xmin: undone + 1, Xmax: undone + 1}
	old := &Seen{snap, s.store.Session()}
	serve := func(planned *Seen) error {
		q := s.query(s.group, "g1")
		q.Planned = planned
		_, err := s.store.Serve(t.Context(), q, Need{})
		_, exact := s.store.ServeAt(t.Context(), q, s.store.Frontier().Load())
		if errors.Is(err, ErrPlanOutdated) != errors.Is(exact, ErrPlanOutdated) {
			t.Errorf("served: %v; exactly: %v", err, exact)
		}
		return err
	}
	if err := serve(old); err != nil {
		t.Fatal(err)
	}
	s.crash()
	if s.store.Outdated(old) {
		t.Error("a crash alone makes the plan outdated")
	}
	s.apply(s.reused(change.Change{Op: change.Define}))
	s.holding(true)
	if !s.store.Outdated(old) || !errors.Is(serve(old), ErrPlanOutdated) {
		t.Error("the plan counts as having seen the definition, want that it does not")
	}
	s.store.ForgetDefinitions(old)
	now := &Seen{snap, s.store.Session()}
	if s.store.Outdated(now) || !s.store.Outdated(old) {
		t.Error("it is not the session that decides")
	}
	s.store.ForgetDefinitions(now)
	if err := serve(now); err != nil {
		t.Error(err)
	}
	// Nobody knows which transaction it was, or the log does not go back to it.
	for what, change := range map[string]func(){
		"a definition of an unknown time": s.store.Redefine,
		"another log":                     func() { s.store.Reset(revision.Source{}, s.end) },
	} {
		before := &Seen{snap, s.store.Session()}
		change()
		if !s.store.Outdated(before) {
			t.Errorf("%s: the plan counts as having seen it", what)
		}
		if s.store.Outdated(&Seen{snap, s.store.Session()}) {
			t.Errorf("%s: so it does for ever", what)
		}
	}
	// What a retired plan has not seen may be forgotten.
	now = &Seen{snap, s.store.Session()}
	s.store.Retire(s.group)
	if err := serve(now); !errors.Is(err, ErrPlanOutdated) {
		t.Errorf("a retired plan: %v", err)
	}
}

// reread is a stub whose pinned snapshots can be read, after something else.
type reread struct {
	*stub
	first func()
}

func (s reread) FillAt(_ context.Context, p *Pin) (Result, error) {
	s.first()
	return Result{Body: []byte("read"), Found: true, Snapshot: p.Snapshot, Upper: p.Upper, After: s.store.Frontier().Load()}, nil
}

// TestUndoneTransactionIsNotPinned reads a snapshot that has the name and the ids
// of one from before a crash, and holds what the log brings only then.
func TestUndoneTransactionIsNotPinned(t *testing.T) {
	for _, late := range []bool{false, true} {
		s := newStub(t, Options{})
		p := s.end
		s.store.AddPin(&Pin{Snapshot: revision.Snapshot{Xmin: undone + 1, Xmax: undone + 1}, Upper: p, Taken: time.Now()})
		s.locked(func() { s.xid = undone + 1 })
		s.apply(s.transaction(update(1, 1, 2))) // so that the snapshot is needed
		q := s.query(s.group, "g1")
		q.Source = reread{s, func() {
			if late {
				s.apply(s.reused(update(1, 2, 3)))
			}
		}}
		r, err := s.store.ServeAt(t.Context(), q, p)
		switch {
		case late && !errors.Is(err, ErrSnapshotExpired):
			t.Errorf("got %+v, %v, want that it is expired", r, err)
		case !late && (err != nil || string(r.Version.Body) != "read" || r.At != p):
			t.Errorf("got %+v, %v", r, err)
		}
	}
}
