package revision

import (
	"container/heap"
	"context"
	"sync"
	"sync/atomic"
)

// Frontier is the position up to which the log has been wholly applied in this
// process, and those who wait for it to pass a position. Reading it is free of
// locks.
type Frontier struct {
	// Source is the log that the frontier moves along. Another log has another
	// frontier.
	Source Source

	lsn atomic.Uint64

	mu      sync.Mutex
	waiters waiters
	highest LSN // waited for, while waiters is not empty
	err     error
	wanted  chan struct{}
}

// NewFrontier returns a frontier at lsn of a log.
func NewFrontier(of Source, lsn LSN) *Frontier {
	f := &Frontier{Source: of, wanted: make(chan struct{}, 1)}
	f.lsn.Store(uint64(lsn))
	return f
}

// Load returns the frontier.
func (f *Frontier) Load() LSN { return LSN(f.lsn.Load()) }

// Advance moves the frontier forward and wakes those whom it passes. A position
// behind it is ignored. Everything up to lsn must have been applied.
func (f *Frontier) Advance(lsn LSN) {
	if lsn <= f.Load() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if lsn <= f.Load() {
		return
	}
	// Stored under the lock, so that a waiter that found the old value is in
	// the heap before this looks there.
	f.lsn.Store(uint64(lsn))
	for len(f.waiters) > 0 && f.waiters[0].lsn <= lsn {
		w := heap.Pop(&f.waiters).(*waiter)
		close(w.done)
	}
}

// Fail ends every wait, present and to come, with err.
func (f *Frontier) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
	for _, w := range f.waiters {
		w.index = -1
		close(w.done)
	}
	f.waiters = nil
}

// Wait returns nil once the frontier is at or past lsn, or the error of ctx or
// of Fail.
func (f *Frontier) Wait(ctx context.Context, lsn LSN) error {
	if f.Load() >= lsn {
		return nil
	}
	f.mu.Lock()
	if f.err != nil {
		defer f.mu.Unlock()
		return f.err
	}
	if f.Load() >= lsn {
		f.mu.Unlock()
		return nil
	}
	w := &waiter{lsn: lsn, done: make(chan struct{})}
	if len(f.waiters) == 0 || lsn > f.highest {
		f.highest = lsn
	}
	heap.Push(&f.waiters, w)
	f.mu.Unlock()
	select {
	case f.wanted <- struct{}{}:
	default:
	}
	select {
	case <-w.done:
	case <-ctx.Done():
		f.mu.Lock()
		if w.index >= 0 {
			heap.Remove(&f.waiters, w.index)
		}
		f.mu.Unlock()
	}
	if f.Load() >= lsn {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	return ctx.Err()
}

// Wanted delivers a value when somebody begins to wait.
func (f *Frontier) Wanted() <-chan struct{} { return f.wanted }

// Highest returns the highest position that somebody waits for, and whether
// anybody does.
func (f *Frontier) Highest() (LSN, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.highest, len(f.waiters) > 0
}

type waiter struct {
	lsn   LSN
	done  chan struct{}
	index int // in the heap, -1 when it is in it no more
}

type waiters []*waiter

func (w waiters) Len() int           { return len(w) }
func (w waiters) Less(i, j int) bool { return w[i].lsn < w[j].lsn }
func (w waiters) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].index, w[j].index = i, j
}

func (w *waiters) Push(x any) {
	e := x.(*waiter)
	e.index = len(*w)
	*w = append(*w, e)
}

func (w *waiters) Pop() any {
	old := *w
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*w = old[:len(old)-1]
	e.index = -1
	return e
}
