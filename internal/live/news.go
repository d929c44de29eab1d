package live

import (
	"slices"
	"sync"
)

// Watcher waits for News without a goroutine.
type Watcher interface {
	// Wake is called when the news is told, perhaps with locks held that the log
	// needs. It must be quick, and may not call a shape.
	Wake()
}

// News tells all who wait for one thing that it has come, once. Its zero value
// is ready; a nil one has nobody who waits.
type News struct {
	mu       sync.Mutex
	told     bool
	done     chan struct{} // nil: nobody has asked for it
	watchers []Watcher
}

// Done returns a channel that is closed when the news is told; nil for nil.
func (n *News) Done() <-chan struct{} {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.done == nil {
		n.done = make(chan struct{})
		if n.told {
			close(n.done)
		}
	}
	return n.done
}

// Watch has w woken when the news is told. If it has been told already, Watch
// reports false, and w is not woken.
func (n *News) Watch(w Watcher) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.told {
		return false
	}
	n.watchers = append(n.watchers, w)
	return true
}

// Unwatch takes back what Watch did. A watcher that is being woken may be so
// after it has returned.
func (n *News) Unwatch(w Watcher) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := slices.Index(n.watchers, w); i >= 0 {
		n.watchers = slices.Delete(n.watchers, i, i+1)
	}
}

// Tell tells the news.
func (n *News) Tell() {
	if n == nil {
		return
	}
	n.mu.Lock()
	n.told = true
	if n.done != nil {
		close(n.done)
	}
	watchers := n.watchers
	n.watchers = nil
	n.mu.Unlock()
	for _, w := range watchers {
		w.Wake()
	}
}
