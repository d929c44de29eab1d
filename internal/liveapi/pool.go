package liveapi

import (
	"runtime"
	"sync"
)

// pool runs what is to be done soon, by a bounded number of goroutines. A few of
// them stay when there is nothing to do: they have their stacks grown.
type pool struct {
	most, spare int

	mu      sync.Mutex
	more    sync.Cond // for those who stay
	queue   []func()
	running int
	idle    int // of those running, and not called
	closed  bool
}

func newPool(most int) *pool {
	p := &pool{most: most, spare: runtime.GOMAXPROCS(0)}
	p.more.L = &p.mu
	return p
}

// do has f called soon. It does not block.
func (p *pool) do(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = append(p.queue, f)
	switch {
	case p.idle > 0:
		p.idle--
		p.more.Signal()
	case p.running < p.most:
		p.running++
		go p.run()
	}
}

func (p *pool) run() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for len(p.queue) == 0 {
			if p.closed || p.idle >= p.spare {
				p.running--
				return
			}
			p.idle++
			p.more.Wait()
		}
		f := p.queue[0]
		p.queue[0] = nil
		if p.queue = p.queue[1:]; len(p.queue) == 0 {
			p.queue = nil
		}
		p.mu.Unlock()
		f()
		p.mu.Lock()
	}
}

// close lets nobody stay. What comes later is still done.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.idle = 0
	p.more.Broadcast()
}
