package answer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// watchCount counts how often it is told.
type watchCount struct{ n atomic.Int64 }

func (w *watchCount) Ended() { w.n.Add(1) }

// TestWatch names what ends a version, and has each of them told.
func TestWatch(t *testing.T) {
	for name, end := range map[string]func(s *stub, v *Version){
		"a change": func(s *stub, _ *Version) { s.apply(s.transaction(update(1, 1, 2))) },
		"a truncation": func(s *stub, _ *Version) {
			s.apply(s.transaction(change.Change{Op: change.Truncate, Relation: modelRelation}))
		},
		"a definition":       func(s *stub, _ *Version) { s.apply(s.transaction(change.Change{Op: change.Define})) },
		"definitions":        func(s *stub, _ *Version) { s.store.Redefine() },
		"purge of the key":   func(s *stub, _ *Version) { s.store.PurgeKey("g1") },
		"purge of the group": func(s *stub, _ *Version) { s.store.PurgeGroup(s.group) },
		"purge of the table": func(s *stub, _ *Version) { s.store.PurgeTable(modelRelation.OID) },
		"purge of all":       func(s *stub, _ *Version) { s.store.PurgeAll() },
		"retirement":         func(s *stub, _ *Version) { s.store.Retire(s.group) },
		"an epoch":           func(s *stub, _ *Version) { s.store.Reset(revision.Source{}, s.end) },
		"another group": func(s *stub, _ *Version) {
			g := s.newGroup("g")
			if _, err := s.store.Serve(context.Background(), s.query(g, "g1"), Need{}); err != nil {
				s.t.Error(err)
			}
		},
		"its time to live": func(s *stub, v *Version) {
			s.store.opts.Now = func() time.Time { return v.Expires().Add(time.Second) }
			s.serve("g1")
		},
	} {
		s := newStub(t, Options{NoRefill: true})
		v := s.serve("g1").Version
		s.serve("g2")
		var w, other watchCount
		for range 2 {
			if !s.store.Watch("g1", v, &w) {
				t.Fatal("it is not open")
			}
		}
		if !s.store.Watch("g1", v, &other) || s.store.Watched() != 1 {
			t.Fatal("two cannot watch")
		}
		s.store.Unwatch("g1", &other)
		s.store.Unwatch("g1", &other)
		s.apply(s.transaction(update(2, 1, 2)))
		if w.n.Load() != 0 {
			t.Errorf("%s: it is told of another answer", name)
		}
		if end(s, v); w.n.Load() != 1 || other.n.Load() != 0 || s.store.Watched() != 0 {
			t.Errorf("%s: told %d and %d times, %d are watched", name, w.n.Load(), other.n.Load(), s.store.Watched())
		}
		if s.store.Watch("g1", v, &w) {
			t.Errorf("%s: what has ended can be watched", name)
		}
		if name != "retirement" {
			if v := s.serve("g1").Version; !s.store.Watch("g1", v, &w) {
				t.Errorf("%s: the next version cannot be watched", name)
			}
		}
		if s.store.Watch("g1", v, &w) || s.store.Watch("none", v, &w) {
			t.Errorf("%s: what is not there can be watched", name)
		}
	}
}

// TestWatchFollowed has a version that follows its rows superseded.
func TestWatchFollowed(t *testing.T) {
	s := newStub(t, Options{})
	s.total(func() int { return 1 })
	v := s.serve("g1").Version
	var w watchCount
	if !s.store.Watch("g1", v, &w) {
		t.Fatal("it is not open")
	}
	// To no effect.
	s.apply(s.transaction(update(1, 3, 4), update(1, 4, 3)))
	if w.n.Load() != 0 {
		t.Error("told of nothing")
	}
	s.apply(s.transaction(update(1, 1, 2)))
	r := s.serve("g1")
	if w.n.Load() != 1 || r.Version == v || r.Outcome != Hit {
		t.Errorf("told %d times, outcome %d", w.n.Load(), r.Outcome)
	}
	if s.store.Watch("g1", v, &w) || !s.store.Watch("g1", r.Version, &w) {
		t.Error("the wrong version is watched")
	}
}

// TestWatchedStay has memory run out: what is watched stays.
func TestWatchedStay(t *testing.T) {
	s := newStub(t, Options{MaxMemory: 100 * 1024})
	s.body = func(key string) string { return fmt.Sprintf("%01000d", 0) }
	var w watchCount
	for i := range 40 {
		key := fmt.Sprintf("g%d", i)
		if v := s.serve(key).Version; !s.store.Watch(key, v, &w) {
			t.Fatal("it is not open")
		}
	}
	for i := range 1000 {
		s.serve(fmt.Sprintf("g%d", 100+i))
	}
	for i := range 40 {
		if !s.hit(fmt.Sprintf("g%d", i)) {
			t.Errorf("answer %d has gone", i)
		}
	}
	if st := s.store.Stats(); st.Bytes > st.MaxBytes+2048 || st.Evictions == 0 || w.n.Load() != 0 {
		t.Errorf("%+v, told %d times", st, w.n.Load())
	}
	// All that there may be is watched, and more.
	for i := range 200 {
		key := fmt.Sprintf("g%d", 2000+i)
		if v := s.serve(key).Version; !s.store.Watch(key, v, &w) {
			t.Fatal("it is not open")
		}
	}
	for i := range 40 {
		s.store.Unwatch(fmt.Sprintf("g%d", i), &w)
	}
	s.serve("g5000")
	if n := s.store.Watched(); n != 200 || w.n.Load() != 0 {
		t.Errorf("%d are watched, told %d times", n, w.n.Load())
	}
	checkAccounts(t, s.store)
}

// follower checks what a watcher relies on: as long as it was not told, the
// version is true at every frontier that was read before that is looked at.
type follower struct {
	ended atomic.Bool
	from  int
}

func (f *follower) Ended() { f.ended.Store(true) }

// TestWatchIsInTime has one writer and many watchers.
func TestWatchIsInTime(t *testing.T) {
	s := newStub(t, Options{NoRefill: true})
	s.store.batch = 1
	s.store.between = func() {}
	var values [4]atomic.Int64        // as the database has them
	var ends [4][10_000]atomic.Uint64 // where each value ends
	s.body = func(key string) string { return fmt.Sprint(values[key[1]-'0'].Load()) }
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		r := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
		for ctx.Err() == nil {
			k := r.IntN(4)
			v := values[k].Load()
			if v+1 == int64(len(ends[k])) {
				return
			}
			s.mu.Lock()
			values[k].Add(1)
			s.end, s.xid = s.end+100, s.xid+1
			tx := &change.Transaction{XID: s.xid - 1, Commit: s.end - 10, End: s.end, Count: 1, Changes: []change.Change{update(k, int(v), int(v+1))}}
			s.mu.Unlock()
			ends[k][v].Store(uint64(tx.End))
			s.apply(tx)
			if r.IntN(50) == 0 {
				s.store.PurgeKey(fmt.Sprintf("g%d", k))
			}
		}
	})
	var looked atomic.Int64
	for n := range 4 {
		key := fmt.Sprintf("g%d", n)
		wg.Go(func() {
			for ctx.Err() == nil {
				r, err := s.store.Serve(context.Background(), s.query(s.group, key), Need{Level: revision.AtLeastAsFresh})
				if err != nil || !r.Exact {
					continue
				}
				f := &follower{}
				fmt.Sscan(string(r.Version.Body), &f.from)
				if !s.store.Watch(key, r.Version, f) {
					continue
				}
				for range 20 {
					at := s.store.Frontier().Load()
					if f.ended.Load() {
						break
					}
					if end := ends[n][f.from].Load(); end != 0 && uint64(at) >= end {
						t.Errorf("%s: value %d ended at %d, and is current at %d", key, f.from, end, at)
						return
					}
					looked.Add(1)
				}
				s.store.Unwatch(key, f)
			}
		})
	}
	wg.Wait()
	if looked.Load() == 0 || s.store.Watched() != 0 {
		t.Errorf("looked %d times, %d are watched", looked.Load(), s.store.Watched())
	}
}
