package answer

import "slices"

// Watcher is told that the version it watches is not known to be true any more.
type Watcher interface {
	// Ended is called once, however often it was asked for, with the store's lock held and before the
	// frontier passes what ended the version. It must be quick, and may not call the
	// store.
	Ended()
}

// Watch has w told when a version, which the answer named by key has now, ends,
// is followed by another, or is dropped. Until then it is true at the frontier,
// and the answer is not evicted. Watch reports false, and w is never told, if the
// version is not open any more.
func (s *Store) Watch(key string, v *Version, w Watcher) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(key)
	if e == nil || e.dead || e.group.retired.Load() || e.current.Load() != v || v.until() != 0 {
		return false
	}
	if s.watchers == nil {
		s.watchers = map[*Entry][]Watcher{}
	}
	if !slices.Contains(s.watchers[e], w) {
		s.watchers[e] = append(s.watchers[e], w)
	}
	e.flags.Or(watched)
	return true
}

// Unwatch takes back what Watch did, if w has not been told yet.
func (s *Store) Unwatch(key string, w Watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(key)
	if e == nil || e.flags.Load()&watched == 0 {
		return
	}
	all := s.watchers[e]
	if i := slices.Index(all, w); i >= 0 {
		all = slices.Delete(all, i, i+1)
	}
	if len(all) > 0 {
		s.watchers[e] = all
		return
	}
	delete(s.watchers, e)
	e.flags.And(^watched)
}

// Watched returns how many answers are watched.
func (s *Store) Watched() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.watchers)
}

// tell tells those who watch an entry's version that it is over. Where nobody
// does, it is one look at a flag. Store.mu is held.
func (s *Store) tell(e *Entry) {
	if e.flags.Load()&watched == 0 {
		return
	}
	all := s.watchers[e]
	delete(s.watchers, e)
	e.flags.And(^watched)
	for _, w := range all {
		w.Ended()
	}
}
