package answer

// Stats are the store's sizes and counters.
type Stats struct {
	Entries, Bytes, MaxBytes int64
	Nodes                    int
	History                  int
	HistoryBytes             int64
	Unproven                 int
	Pins                     int
	Evictions, EvictedBytes  int64
	// Waiting are fills without a slot that somebody waits for, WaitingRefills
	// those that nobody does. Filling and FillingRefills are slots in use.
	Waiting, WaitingRefills, Filling, FillingRefills int
	Ended                                            map[string]int64 // versions ended or dropped, by reason
	Frozen                                           bool
}

// Stats returns the current figures.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	ended := make(map[string]int64, reasonCount)
	for i := range s.endedBy {
		ended[reasonNames[i]] = s.endedBy[i].Load()
	}
	waiting, busy := s.queue.load()
	return Stats{
		Waiting: waiting[demand], WaitingRefills: waiting[background], Filling: busy[demand], FillingRefills: busy[background],
		Ended:   ended,
		Entries: s.entries.Load(), Bytes: s.bytes.Load(), MaxBytes: s.opts.MaxMemory,
		Nodes: s.index.Len(), History: len(s.history.records), HistoryBytes: s.history.bytes,
		Unproven: len(s.history.unproven), Pins: len(s.pins),
		Evictions: s.evictions.Load(), EvictedBytes: s.evictedBytes.Load(), Frozen: s.frozen.Load(),
	}
}

// Description describes one answer in memory, for explanations.
type Description struct {
	// Current is the newest version, perhaps ended, or nil.
	Current *Version
	// Ended says why the last version that ended did; nil: none did.
	Ended *Reason
	Kept  int   // earlier versions
	Bytes int64 // with all that hangs from it
	// Nodes is how many places in the index stand for it, and Refined says that
	// they are of this very answer, and not of any with the same query.
	Nodes   int
	Refined bool
	// Followed says that the current version follows its rows without a query.
	Followed bool
	// Reads is how often a version is read before a change ends it, on average of
	// the recent ones; of one, no more than 100 count.
	Reads float64
}

// Describe describes an answer. It reports false when there is none.
func (s *Store) Describe(key string) (Description, bool) {
	e := s.find(key)
	if e == nil {
		return Description{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	var ended *Reason
	if e.past != nil {
		ended = e.past.why
	}
	return Description{
		Current: e.current.Load(), Ended: ended, Kept: len(e.kept()), Bytes: e.size.Load(), Nodes: e.nodes.Len(),
		Refined: e.refined, Followed: e.state != nil, Reads: float64(e.rate),
	}, true
}
