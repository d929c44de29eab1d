package answer

import (
	"context"
	"errors"
	"time"

	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Need is what a request asks of the answer, once the gate has resolved its
// level and the frontier has passed Position.
type Need struct {
	Level    revision.Level
	Position revision.LSN
	// XID is the transaction that an at_least_as_fresh token names.
	XID revision.XID
	// MaxStaleness allows minimize_latency a version that ended no longer ago.
	MaxStaleness time.Duration
	// Unreached says that the frontier did not reach Position in time; only what
	// the database itself says can still do.
	Unreached bool
}

// Hit returns the current version of the answer named by key, and the position
// that it is served as of, if minimize_latency may have it.
// The frontier is the one that the position belongs to. The key is not kept.
func (s *Store) Hit(key string, now time.Time) (*Version, *Entry, revision.LSN, *revision.Frontier) {
	if s.frozen.Load() {
		return nil, nil, 0, nil
	}
	f := s.Frontier()
	e := s.find(key)
	if e == nil || e.group.retired.Load() {
		return nil, nil, 0, nil
	}
	v, at := currentAt(f, e)
	if v == nil || now.UnixNano() >= v.expires {
		return nil, nil, 0, nil
	}
	if !e.visited.Load() {
		e.visited.Store(true)
	}
	e.group.Hits.Add(1)
	return v, e, at, f
}

// currentAt returns the current version if it is true at the frontier, and the
// position at which it is served.
func currentAt(f *revision.Frontier, e *Entry) (*Version, revision.LSN) {
	for {
		// The frontier is read first: what has not ended by then is true there.
		at := f.Load()
		v := e.current.Load()
		switch {
		case v == nil:
			return nil, 0
		case at < v.From:
			// Stored since the frontier was read, which has passed it.
			continue
		case !v.TrueAt(at):
			return nil, 0
		}
		return v, at
	}
}

// Serve answers a query at minimize_latency, at_least_as_fresh or
// fully_consistent. The frontier has passed need.Position unless need.Unreached.
func (s *Store) Serve(ctx context.Context, q *Query, need Need) (Reply, error) {
	began := s.opts.Now()
	accept := acceptance{xid: need.XID}
	switch need.Level {
	case revision.MinimizeLatency:
		accept.any = true
	case revision.FullyConsistent:
		accept.since = began
	}
	var ended *Reason
	joinedAny := false
	for {
		e := s.entry(q)
		if r, ok := s.fromMemory(e, q, need); ok {
			return r, nil
		}
		if v := e.current.Load(); v != nil {
			ended = s.why(v)
			if need.Level == revision.MinimizeLatency && s.staleAllowed(v, need.MaxStaleness) {
				s.join(e, q)
				q.Group.Stale.Add(1)
				return Reply{Version: v, At: revision.LSN(v.last.Load()), Exact: true, Outcome: Stale, Ended: ended}, nil
			}
		}
		f, joined := s.join(e, q)
		joinedAny = joinedAny || joined
		v, exact, err := s.await(ctx, f, need, &accept)
		if err != nil {
			return Reply{}, err
		}
		if v == nil {
			continue // another fill is needed, begun later
		}
		q.Group.Misses.Add(1)
		r := Reply{
			Version: v, At: v.From, Exact: exact, Outcome: Filled, Ended: ended, Joined: joinedAny,
			Stored: exact && e.current.Load() == v,
		}
		if r.Stored {
			if cur, at := currentAt(s.Frontier(), e); cur == v {
				r.At = at
			}
		}
		return r, nil
	}
}

func (s *Store) fromMemory(e *Entry, q *Query, need Need) (Reply, bool) {
	if need.Unreached || q.Volatile && need.Level != revision.MinimizeLatency ||
		need.Level == revision.MinimizeLatency && s.frozen.Load() {
		return Reply{}, false
	}
	v, at := currentAt(s.Frontier(), e)
	if v == nil || at < need.Position || s.opts.Now().UnixNano() >= v.expires {
		return Reply{}, false
	}
	if !e.visited.Load() {
		e.visited.Store(true)
	}
	q.Group.Hits.Add(1)
	return Reply{Version: v, At: at, Exact: !q.Volatile, Outcome: Hit}, true
}

func (s *Store) why(v *Version) *Reason {
	if r := v.Reason(); r != nil {
		return r
	}
	if s.opts.Now().UnixNano() >= v.expires {
		return &Reason{Cause: ByTTL}
	}
	return nil
}

func (s *Store) staleAllowed(v *Version, limit time.Duration) bool {
	at := v.endedAt.Load()
	return limit > 0 && at != 0 && !s.frozen.Load() && s.opts.Now().Sub(time.Unix(0, at)) <= limit
}

// await waits for a fill. It returns nil without an error when the fill's result
// does not do for this request and another one must be begun.
func (s *Store) await(ctx context.Context, f *fill, need Need, accept *acceptance) (v *Version, exact bool, err error) {
	patience := time.NewTimer(s.opts.Patience)
	defer patience.Stop()
	late := need.Unreached
	for {
		latest, news := f.newest()
		if late && accept.accepts(latest) {
			// The proof takes long; what the database said does for some.
			v, exact := s.unproven(f, latest, need)
			return v, exact, nil
		}
		select {
		case <-f.done:
			return s.finished(f, need, accept)
		case <-ctx.Done():
			if latest, _ := f.newest(); accept.accepts(latest) {
				v, exact := s.unproven(f, latest, need)
				return v, exact, nil
			}
			return nil, false, context.Cause(ctx)
		case <-patience.C:
			late = true
		case <-news:
		}
	}
}

// finished judges a fill that is over.
func (s *Store) finished(f *fill, need Need, accept *acceptance) (v *Version, exact bool, err error) {
	latest, _ := f.newest()
	switch {
	case errors.Is(f.err, ErrNotFresh) && accept.accepts(latest):
		v, exact := s.unproven(f, latest, need)
		return v, exact, nil
	case errors.Is(f.err, ErrNotFresh) && f.began.Before(accept.since):
		return nil, false, nil
	case f.err != nil:
		return nil, false, f.err
	case f.query.Volatile && need.Level != revision.MinimizeLatency && f.began.Before(accept.since):
		return nil, false, nil
	case f.version.From < need.Position && accept.accepts(latest):
		v, exact := s.unproven(f, latest, need)
		return v, exact, nil
	case f.version.From < need.Position:
		return nil, false, nil
	}
	return f.version, !f.query.Volatile, nil
}

// unproven returns what an attempt said, and whether it is exact at its position.
// A position before the one that was asked for is not told: a client that went
// on from there would go back in time.
func (s *Store) unproven(f *fill, a *attempt, need Need) (*Version, bool) {
	if a.past != nil && a.past.From >= need.Position {
		return a.past, true
	}
	return rawVersion(&a.result, f.query, s.opts.Now()), false
}

// ServeAt answers a query exactly as of p, which the frontier has passed.
func (s *Store) ServeAt(ctx context.Context, q *Query, p revision.LSN) (Reply, error) {
	if q.Volatile {
		return Reply{}, ErrVolatile
	}
	e := s.entry(q)
	v, pins, unchanged, err := s.lookAt(e, q, p)
	switch {
	case err != nil:
		return Reply{}, err
	case v != nil:
		q.Group.Hits.Add(1)
		return Reply{Version: v, At: p, Exact: true, Outcome: Hit}, nil
	case unchanged:
		// Nothing touched it since: the answer of now is the answer of then.
		r, err := s.Serve(ctx, q, Need{Level: revision.AtLeastAsFresh, Position: p})
		if err != nil {
			return Reply{}, err
		}
		s.mu.Lock()
		same := s.equalVersion(r.Version, q.Deps, p)
		s.mu.Unlock()
		if same {
			r.At = p
			return r, nil
		}
		if _, pins, _, err = s.lookAt(e, q, p); err != nil {
			return Reply{}, err
		}
	}
	for _, pin := range pins {
		res, err := q.Source.FillAt(ctx, pin)
		if err != nil {
			if errors.Is(err, ErrSnapshotExpired) {
				continue
			}
			return Reply{}, err
		}
		// What the snapshot does not shield from may have come meanwhile.
		if err := s.Frontier().Wait(ctx, res.After); err != nil {
			return Reply{}, err
		}
		s.mu.Lock()
		bad := torn(s.history.records, &pin.Snapshot, res.After, q.Deps) || s.history.outdated(q.Planned, res.After)
		s.mu.Unlock()
		if bad {
			continue
		}
		q.Group.Misses.Add(1)
		return Reply{Version: s.keep(e, q, &res, p), At: p, Exact: true, Outcome: Pinned}, nil
	}
	return Reply{}, ErrSnapshotExpired
}

// lookAt finds a kept version that is true at p, or else the pins whose
// snapshots give the same answer, nearest first, and whether nothing has touched
// the answer since p.
func (s *Store) lookAt(e *Entry, q *Query, p revision.LSN) (*Version, []*Pin, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p < s.history.start || s.history.outdated(q.Planned, s.Frontier().Load()) {
		if p < s.history.start {
			return nil, nil, false, ErrSnapshotExpired
		}
		return nil, nil, false, ErrPlanOutdated
	}
	e.mu.Lock()
	versions := append([]*Version{}, e.kept...)
	e.mu.Unlock()
	if v := e.current.Load(); v != nil {
		versions = append(versions, v)
	}
	for _, v := range versions {
		if s.equalVersion(v, q.Deps, p) {
			return v, nil, false, nil
		}
	}
	frontier := s.Frontier().Load()
	var pins []*Pin
	for _, pin := range s.pins {
		if pin.Source == s.Frontier().Source && pin.Upper <= frontier && s.knows(&pin.Snapshot, q.Deps) &&
			s.history.equal(&pin.Snapshot, p, q.Deps) && !torn(s.history.records, &pin.Snapshot, ^revision.LSN(0), q.Deps) {
			pins = append(pins, pin)
		}
	}
	return nil, pins, s.history.firstTouch(p, 0, q.Deps) == nil, nil
}

// knows reports whether a snapshot lacks no transaction that may have been
// delivered before this process read the log. Store.mu is held.
func (s *Store) knows(snap *revision.Snapshot, deps []match.Dependency) bool {
	for _, x := range snap.Xip {
		for _, table := range s.unknown[x] {
			if match.ReadsTable(deps, table) {
				return false
			}
		}
	}
	return true
}

// equalVersion reports whether a version is the answer at p. Store.mu is held.
func (s *Store) equalVersion(v *Version, deps []match.Dependency, p revision.LSN) bool {
	from, to := v.Interval()
	if to != 0 && p >= to {
		return false
	}
	if p >= from {
		return true
	}
	return p >= s.history.start && s.history.firstTouch(p, from, deps) == nil
}

// keep stores an answer that is known at one position only.
func (s *Store) keep(e *Entry, q *Query, res *Result, p revision.LSN) *Version {
	now := s.opts.Now()
	v := newVersion(res, q, now)
	v.From = p
	v.end(p, p+1, now, &Reason{Cause: BySnapshot, At: p})
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.dead {
		return v
	}
	e.mu.Lock()
	e.kept = append(e.kept, v)
	e.mu.Unlock()
	s.resize(e, versionSize(v))
	s.ended.push(endedVersion{e, v})
	s.evict()
	return v
}
