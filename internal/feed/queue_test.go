package feed

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/tidemarkdb/tidemark/internal/replication"
)

func TestQueueEnds(t *testing.T) {
	stop := errors.New("stop")
	synctest.Test(t, func(t *testing.T) {
		for _, end := range []func(*queue){func(q *queue) { q.close(stop) }, func(q *queue) { q.abort(stop) }} {
			q := newQueue(100)
			taken := make(chan error, 1)
			go func() { _, err := q.take(nil); taken <- err }()
			synctest.Wait()
			end(q)
			if err := <-taken; !errors.Is(err, stop) {
				t.Errorf("take: %v", err)
			}
			if _, ok := q.put(replication.Batch{}, true, nil); ok {
				t.Error("put after the end")
			}
			q.close(errors.New("later"))
			if _, err := q.take(nil); !errors.Is(err, stop) {
				t.Errorf("the first reason is lost: %v", err)
			}
		}
	})
}

// Nothing is handed back before the taker has come for the first time, nor
// while it is at work; otherwise everything that waits is.
func TestQueueHandsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(100)
		put := func(urgent bool) int {
			own, ok := q.put(replication.Batch{}, urgent, nil)
			if !ok {
				t.Fatal("the queue ended")
			}
			return len(own)
		}
		taken := make(chan int)
		work := make(chan struct{})
		go func() {
			for {
				b, err := q.take(nil)
				if err != nil {
					close(taken)
					return
				}
				taken <- len(b)
				<-work
			}
		}()
		synctest.Wait()
		q.mu.Lock()
		q.busy = true // as if it had not come yet
		q.mu.Unlock()
		if n := put(false) + put(true); n != 0 {
			t.Errorf("%d handed back too early", n)
		}
		if n := <-taken; n != 2 {
			t.Errorf("took %d", n)
		}
		if n := put(true); n != 0 {
			t.Errorf("%d handed back while the taker is at work", n)
		}
		work <- struct{}{}
		if n := <-taken; n != 1 {
			t.Errorf("took %d", n)
		}
		work <- struct{}{}
		synctest.Wait()
		if n := put(false); n != 0 {
			t.Errorf("%d handed back for nothing", n)
		}
		if n := put(true); n != 2 {
			t.Errorf("%d handed back", n)
		}
		q.close(errors.New("stop"))
		<-taken
	})
}
