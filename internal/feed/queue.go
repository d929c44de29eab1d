package feed

import (
	"sync"

	"github.com/tidemarkdb/tidemark/internal/replication"
)

// wakeBytes is how much may wait before the taker is woken without an urgent
// reason: rows are of no use before the commit that follows them.
const wakeBytes = 64 << 10

// queue carries batches from the goroutine that reads the connection to the
// one that applies. It is bounded in bytes: half of the bound is for what
// waits, the other half for what was taken last, until the next take. Put waits
// when there is no room, which in the end makes the server wait.
//
// As long as little comes in and the taker has nothing to do, put hands the
// batches back for the reader to apply itself: to wake another goroutine for
// every small transaction costs more than to apply it. The taker cannot run at
// that time, because there is nothing to take until the next put.
type queue struct {
	half int // of the bound

	mu     sync.Mutex
	ready  sync.Cond // for take
	room   sync.Cond // for put
	items  []replication.Batch
	bytes  int   // in items
	taken  int   // bytes of the last take
	busy   bool  // the taker has what it took, or has not come yet
	urgent bool  // the taker has been woken
	err    error // set once: no more comes
}

func newQueue(limit int) *queue {
	q := &queue{half: limit / 2, busy: true}
	q.ready.L, q.room.L = &q.mu, &q.mu
	return q
}

// put hands on a batch. Urgent says that there is something in it to act on.
// What it returns, in the storage of into, is for the caller to apply before
// the next put. Ok is false when nobody takes any more.
func (q *queue) put(b replication.Batch, urgent bool, into []replication.Batch) (own []replication.Batch, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := b.Len()
	for q.err == nil && q.bytes > 0 && q.bytes+n > q.half {
		q.wake()
		q.room.Wait()
	}
	if q.err != nil {
		b.Release()
		return nil, false
	}
	if last := len(q.items) - 1; last < 0 || !q.items[last].Extend(b) {
		q.items = append(q.items, b)
	}
	q.bytes += n
	switch {
	case urgent && !q.busy && !q.urgent && q.bytes < wakeBytes:
		own = q.items
		q.items, q.bytes = into[:0], 0
	case urgent || q.bytes >= wakeBytes:
		q.wake()
	}
	return own, true
}

func (q *queue) wake() {
	if !q.urgent {
		q.urgent = true
		q.ready.Signal()
	}
}

// take returns all that waits, in the storage of into, whose batches must have
// been released. After close it first returns what is left, then the error.
func (q *queue) take(into []replication.Batch) ([]replication.Batch, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken, q.busy = 0, false
	for q.err == nil && !q.urgent {
		q.ready.Wait()
	}
	if len(q.items) == 0 && q.err != nil {
		return nil, q.err
	}
	out := q.items
	q.items = into[:0]
	q.taken, q.bytes, q.busy, q.urgent = q.bytes, 0, true, false
	q.room.Signal()
	return out, nil
}

// close says that nothing more comes; what is in the queue still counts.
func (q *queue) close(err error) { q.end(err, false) }

// abort drops what is in the queue.
func (q *queue) abort(err error) { q.end(err, true) }

func (q *queue) end(err error, drop bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
	}
	if drop {
		for i := range q.items {
			q.items[i].Release()
		}
		q.items, q.bytes = nil, 0
	}
	q.ready.Broadcast()
	q.room.Broadcast()
}

func (q *queue) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes + q.taken
}
