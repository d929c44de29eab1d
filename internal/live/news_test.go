package live_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/live"
)

type sleeper struct{ woken atomic.Int32 }

func (s *sleeper) Wake() { s.woken.Add(1) }

func TestNews(t *testing.T) {
	var nobody *live.News
	nobody.Tell()
	if nobody.Done() != nil {
		t.Error("one for whom nobody waits can come")
	}
	n := &live.News{}
	early, a, b := n.Done(), &sleeper{}, &sleeper{}
	for _, s := range []*sleeper{a, b} {
		if !n.Watch(s) {
			t.Error("it was not told yet")
		}
	}
	select {
	case <-early:
		t.Error("closed before it was told")
	default:
	}
	n.Unwatch(a)
	n.Unwatch(a)
	n.Tell()
	<-early
	<-n.Done()
	if n.Watch(a) {
		t.Error("it was told before")
	}
	if a.woken.Load() != 0 || b.woken.Load() != 1 {
		t.Errorf("woken %d and %d times, want 0 and 1", a.woken.Load(), b.woken.Load())
	}
}

// Whoever watches is woken or told that it is too late, never both and never
// neither.
func TestNewsRace(t *testing.T) {
	for range 2000 {
		n := &live.News{}
		all := make([]sleeper, 4)
		watched := make([]bool, len(all))
		var wg sync.WaitGroup
		for i := range all {
			wg.Go(func() { watched[i] = n.Watch(&all[i]) })
		}
		wg.Go(n.Tell)
		wg.Wait()
		<-n.Done()
		for i := range all {
			if got := all[i].woken.Load() == 1; got != watched[i] {
				t.Fatalf("watched %v, woken %d times", watched[i], all[i].woken.Load())
			}
		}
	}
}
