package memory

import (
	"errors"
	"sync"
	"time"
)

// Stores gives every key a store of its own, which begins empty and which nobody
// else sees. There are only so many: one more takes the place of the one that
// nobody has used for longest, if that is long enough ago, and is refused
// otherwise. No store is taken from a test that is under way.
type Stores struct {
	max    int
	idle   time.Duration
	window time.Duration
	now    func() time.Time

	mu    sync.Mutex
	byKey map[string]*store
}

type store struct {
	*Backend
	used time.Time
}

// ErrTooMany: there is no room for another store.
var ErrTooMany = errors.New("too many stores are in use")

// NewStores returns stores of which there are at most max, each with the window
// of New. One unused for longer than idle may be dropped.
func NewStores(most int, idle, window time.Duration) *Stores {
	return &Stores{max: most, idle: idle, window: window, now: time.Now, byKey: map[string]*store{}}
}

// Open returns the store of a key, or ErrTooMany.
func (s *Stores) Open(key string) (*Backend, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if st := s.byKey[key]; st != nil {
		st.used = now
		return st.Backend, nil
	}
	if len(s.byKey) >= s.max {
		oldest := ""
		for k, st := range s.byKey {
			if oldest == "" || st.used.Before(s.byKey[oldest].used) {
				oldest = k
			}
		}
		if now.Sub(s.byKey[oldest].used) < s.idle {
			return nil, ErrTooMany
		}
		delete(s.byKey, oldest)
	}
	st := &store{New(s.window), now}
	s.byKey[key] = st
	return st.Backend, nil
}
