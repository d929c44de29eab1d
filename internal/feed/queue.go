package feed

import (
	"sync"

	"github.com/tidemarkdb/tidemark/internal/replication"
)

// wakeBytes is how much may wait before the taker is woken without an urgent
// reason: rows are of no use before the commit that follows them.
const wakeBytes = 64 << 10

// queue carries batches from the goroutine that reads the connection to the
// one that applies. It is bounded in bytes, counting what was taken last until
// the next take: put waits when it is full, which in the end makes the server
// wait.
type queue struct {
	limit int

	mu     sync.Mutex
	ready  sync.Cond // for take
	room   sync.Cond // for put
	items  []replication.Batch
	bytes  int // in items
	taken  int // bytes of the last take
	urgent bool
	err    error // set once: no more comes
}

func newQueue(limit int) *queue {
	q := &queue{limit: limit}
	q.ready.L, q.room.L = &q.mu, &q.mu
	return q
}

// put hands on a batch and reports false when nobody takes any more. Urgent
// says that there is something in it to act on.
func (q *queue) put(b replication.Batch, urgent bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := b.Len()
	for q.err == nil && q.bytes+q.taken > 0 && q.bytes+q.taken+n > q.limit {
		if !q.urgent {
			q.urgent = true
			q.ready.Signal()
		}
		q.room.Wait()
	}
	if q.err != nil {
		b.Release()
		return false
	}
	if last := len(q.items) - 1; last < 0 || !q.items[last].Extend(b) {
		q.items = append(q.items, b)
	}
	q.bytes += n
	if urgent || q.bytes >= wakeBytes {
		q.urgent = true
		q.ready.Signal()
	}
	return true
}

// take returns all that waits, in the storage of into, whose batches must have
// been released. After close it first returns what is left, then the error.
func (q *queue) take(into []replication.Batch) ([]replication.Batch, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.taken > 0 {
		q.taken = 0
		q.room.Signal()
	}
	for q.err == nil && !q.urgent {
		q.ready.Wait()
	}
	if len(q.items) == 0 && q.err != nil {
		return nil, q.err
	}
	out := q.items
	q.items = into[:0]
	q.taken, q.bytes, q.urgent = q.bytes, 0, false
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
