package liveapi

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/liveapi/liveapitest"
)

// Everything is done once, by no more than so many at a time, also while those
// that stay are called from many sides; and what blocks holds back no other while
// there is room.
func TestPool(t *testing.T) {
	const most = 8
	p := newPool(most)
	var done, busy, peak atomic.Int64
	var wg, all sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := range 500 {
				all.Add(1)
				p.do(func() {
					defer all.Done()
					n := busy.Add(1)
					for old := peak.Load(); n > old && !peak.CompareAndSwap(old, n); old = peak.Load() {
					}
					if i%50 == 0 {
						time.Sleep(time.Millisecond)
					}
					done.Add(1)
					busy.Add(-1)
				})
				if i%10 == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	wg.Wait()
	all.Wait()
	if done.Load() != 16*500 || peak.Load() > most || peak.Load() < 2 {
		t.Errorf("%d done, %d at a time", done.Load(), peak.Load())
	}
	for range 200 {
		var ready sync.WaitGroup
		release := make(chan struct{})
		for range most {
			ready.Add(1)
			all.Add(1)
			p.do(func() {
				defer all.Done()
				ready.Done()
				<-release
			})
		}
		ready.Wait() // each has a goroutine, although none ends
		close(release)
		all.Wait()
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		p.mu.Lock()
		running, idle := p.running, p.idle
		p.mu.Unlock()
		if running == idle && idle <= p.spare {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d run, %d of them have nothing to do", running, idle)
		}
	}
	p.close()
	last := make(chan struct{})
	p.do(func() { close(last) })
	<-last
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		p.mu.Lock()
		running := p.running
		p.mu.Unlock()
		if running == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d stay after the end", running)
		}
	}
}

// A place that everybody has left is not held by the shape whose news it waited
// for.
func TestLeftPlaceIsLetGo(t *testing.T) {
	var u hub
	u.init(&Handler{})
	news := &live.News{}
	left := func() weak.Pointer[group] {
		g := &group{hub: &u, place: place{shape: liveapitest.NewShape("a", 1)}}
		u.groups[g.spot()] = g
		g.await(news)
		u.close(g)
		return weak.Make(g)
	}()
	runtime.GC()
	if left.Value() != nil {
		t.Error("it is still held")
	}
	runtime.KeepAlive(news)
	runtime.KeepAlive(&u)
}
