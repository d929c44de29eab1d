package follow

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidemarkdb/tidemark/internal/live"
)

// TestRandomly has everything happen at once, and compares what each client has
// with what the answer was at the position that the batch names.
func TestRandomly(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	h := newHost(t)
	var paused atomic.Int64
	h.pause = func() {
		if paused.Add(1)%7 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	var failing atomic.Int64
	h.fail = func(string) error {
		if failing.Add(1)%23 == 0 {
			return errors.New("a fault")
		}
		return nil
	}
	var watching atomic.Int64
	h.watching = func(key string) {
		if n := watching.Add(1); n%5 == 0 {
			h.set(key, []item{{int(n), "a", "just now"}})
		}
	}
	keys := []string{"/a", "/b?x=1", "/c"}
	for _, k := range keys {
		h.set(k, nil)
	}
	hub := New(Options{Host: h, Dir: t.TempDir(), ChunkBytes: 300, LogBytes: 5000, MemoryBytes: 700, Keep: 5 * time.Millisecond, Workers: 2})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for w := range 2 {
		r := rand.New(rand.NewPCG(uint64(w), uint64(time.Now().UnixNano())))
		wg.Go(func() {
			own := map[string][]item{}
			for ctx.Err() == nil {
				k := keys[w]
				if w == 1 {
					k = keys[1+r.IntN(2)]
				}
				own[k] = randomItems(r, own[k])
				h.set(k, own[k])
				if r.IntN(3) == 0 {
					time.Sleep(time.Duration(r.IntN(3000)) * time.Microsecond)
				}
				if r.IntN(5) == 0 {
					h.pass()
				}
			}
		})
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			hub.sweep(time.Now())
			time.Sleep(3 * time.Millisecond)
		}
	})
	var polls, begun atomic.Int64
	for n := range 8 {
		r := rand.New(rand.NewPCG(uint64(n), uint64(time.Now().UnixNano())))
		wg.Go(func() {
			account := []*string{nil, ptr("a"), ptr("b")}[n%3]
			c := newClient(h, keys[r.IntN(len(keys))], account)
			for ctx.Err() == nil {
				polls.Add(1)
				_, err := c.poll(hub)
				switch {
				case errors.Is(err, live.ErrUnavailable), err != nil && strings.Contains(err.Error(), "a fault"):
				case err != nil:
					t.Errorf("%s %v: %v", c.key, account, err)
					return
				}
				switch r.IntN(40) {
				case 0:
					time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond)
				case 1:
					if r.IntN(4) == 0 && c.handle != "" {
						_ = hub.Delete(ctx, c.handle)
					}
				case 2:
					begun.Add(int64(len(c.gone)))
					c = newClient(h, keys[r.IntN(len(keys))], account)
				default:
					s, err := hub.Open(ctx, keyPath(c.key), keyQuery(c.key), c.handle, account)
					if err != nil || s.Handle() != c.handle {
						continue
					}
					if changed := s.Changed(c.offset); changed != nil {
						select {
						case <-changed.Done():
						case <-ctx.Done():
						case <-time.After(10 * time.Millisecond):
						}
					}
				}
			}
		})
	}
	wg.Wait()
	hub.Close()
	if h.watched() != 0 {
		t.Errorf("%d are watched at the end", h.watched())
	}
	t.Logf("%d polls, %+v, begun again %d times", polls.Load(), hub.Stats(), begun.Load())
}

func ptr[T any](v T) *T { return &v }
