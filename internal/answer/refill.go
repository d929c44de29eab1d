package answer

import "time"

// The rule by which an answer that a change ended is computed again before
// somebody asks is that of Mao et al., "Revisiting Cache Freshness for Emerging
// Real-Time Applications" (HotNets 2024): a cache entry is worth an update rather
// than an invalidation if the reads expected before the next write would cost
// more as misses than the update does. The expectation is the average of the
// recent versions' reads. Costs are in fills: an update is one, a miss is one and
// a reader who waits for it, which counts as another.
//
// Following a change costs next to nothing, so only what is hardly ever read
// between two changes is left to a fill when somebody comes after all.
//
// An entry has one such fill at most, in the queue or running. Changes that come
// meanwhile begin none; when it is over, the rule is applied again.
const (
	missCost   = 2
	refillCost = 1
	followCost = 0.02
	// rateWeight is how much the last version counts in the average.
	rateWeight = 0.25
)

// rateReads takes the reads of a version that a change ended into its entry's
// average. Store.mu is held.
func (e *Entry) rateReads(v *Version) {
	if v.rated {
		return
	}
	v.rated = true
	n := float32(v.reads.Load())
	if !e.rated {
		e.rate, e.rated = n, true
		return
	}
	e.rate += (n - e.rate) * rateWeight
}

// worthFollowing reports whether an open version is to follow a change that
// touches it. Store.mu is held.
func (e *Entry) worthFollowing(v *Version, now time.Time) bool {
	return now.UnixNano() < v.expires && (!e.rated || e.rate*missCost > followCost)
}

// refillDelay is how long after the change the query waits at least: the log
// often brings a commit a little before a query can see it. Writes that come
// together cost one query, too.
const refillDelay = 5 * time.Millisecond

// worthRefilling reports whether a change ended the current version, and the
// answer is worth computing before somebody asks. Store.mu is held.
func (s *Store) worthRefilling(e *Entry) bool {
	v := e.current.Load()
	if e.dead || v == nil || v.until() == 0 || v.Reason().Cause != ByChange {
		return false
	}
	e.rateReads(v)
	g := e.group
	return !s.opts.NoRefill && g.Query != nil && !g.Volatile && !g.retired.Load() && e.rate*missCost > refillCost
}

// expect has an answer that a change ended computed again in a moment if that is
// worth it. Store.mu is held.
func (s *Store) expect(e *Entry) {
	if !s.worthRefilling(e) {
		return
	}
	if s.due = append(s.due, e); len(s.due) == 1 {
		s.refillTimer = time.AfterFunc(refillDelay, s.refillDue)
	}
}

// reconsider looks at an answer whose fill is over: a change may have ended it
// already.
func (s *Store) reconsider(e *Entry) {
	if v := e.current.Load(); v == nil || v.until() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expect(e)
}

func (s *Store) refillDue() {
	s.mu.Lock()
	defer s.mu.Unlock()
	due := s.due
	s.due = nil
	for i, e := range due {
		s.refill(e)
		if (i+1)%applyBatch == 0 {
			s.handOver()
		}
	}
}

// refill queues the fill of an answer that nobody has asked for since it ended.
// Store.mu is held.
func (s *Store) refill(e *Entry) {
	if !s.worthRefilling(e) {
		return
	}
	e.mu.Lock()
	if e.fill != nil {
		e.mu.Unlock()
		return
	}
	f := s.newFill(e, nil, background)
	f.wanted, f.refill = true, true
	f.job.worth = e.rate
	victim, err := s.queue.push(&f.job)
	if err == nil {
		e.fill = f
	} else {
		e.group.RefillsShed.Add(1)
	}
	e.mu.Unlock()
	if victim != nil {
		s.giveWay(victim.fill)
	}
}

// giveWay ends a fill that another one took the place of in the queue. Store.mu
// is held.
func (s *Store) giveWay(f *fill) {
	e := f.entry
	e.group.RefillsShed.Add(1)
	e.mu.Lock()
	f.err = ErrOverloaded
	e.release(f)
	e.mu.Unlock()
	if e.empty() {
		s.drop(e)
	}
}
