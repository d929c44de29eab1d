package answer

import (
	"context"
	"errors"
	"slices"
	"time"

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
	if e == nil || e.group.Guarded || e.group.retired.Load() {
		return nil, nil, 0, nil
	}
	v, at := currentAt(f, e)
	if v == nil || now.UnixNano() >= v.expires {
		return nil, nil, 0, nil
	}
	e.visit()
	v.read()
	e.group.Hits.Add(1)
	return v, e, at, f
}

// currentAt returns the version that is true at the frontier, and the position
// at which it is served.
func currentAt(f *revision.Frontier, e *Entry) (*Version, revision.LSN) {
	for {
		// The frontier is read first: what has not ended by then is true there.
		at := f.Load()
		v := e.current.Load()
		switch {
		case v == nil:
			return nil, 0
		case at < v.From:
			// Either the frontier has passed it since, or it begins with the
			// transaction that is being applied; then the one before still holds.
			if v = e.before(at); v != nil {
				return v, at
			}
			if f.Load() > at {
				continue
			}
			return nil, 0
		case !v.TrueAt(at):
			return nil, 0
		}
		return v, at
	}
}

// before returns the kept version that is true at a position, or nil.
func (e *Entry) before(at revision.LSN) *Version {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, v := range slices.Backward(e.kept()) {
		if v.TrueAt(at) {
			return v
		}
	}
	return nil
}

// Serve answers a query at minimize_latency, at_least_as_fresh or
// fully_consistent. The frontier has passed need.Position unless need.Unreached.
func (s *Store) Serve(ctx context.Context, q *Query, need Need) (Reply, error) {
	accept := acceptance{xid: need.XID}
	if accept.xid != 0 {
		accept.session = s.Session()
	}
	switch need.Level {
	case revision.MinimizeLatency:
		// A fill that was begun before may lack what the log has brought since.
		accept.since = s.opts.Now()
		if !need.Unreached {
			need.Position = max(need.Position, s.Frontier().Load())
		}
	case revision.FullyConsistent:
		accept.since = s.opts.Now()
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
				// Refused where too much waits: then it stays stale for a while.
				if _, _, err := s.join(e, q, false); err == nil || errors.Is(err, ErrOverloaded) {
					q.Group.Stale.Add(1)
					return Reply{Version: v, At: v.last(), Exact: true, Outcome: Stale, Ended: ended}, nil
				}
			}
		}
		f, joined, err := s.join(e, q, true)
		if err != nil {
			return Reply{}, err
		}
		joinedAny = joinedAny || joined
		v, exact, err := s.await(ctx, f, q, need, &accept)
		s.leave(f)
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
	e.visit()
	v.read()
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
	at := v.endedAt()
	return limit > 0 && at != 0 && !s.frozen.Load() && s.opts.Now().Sub(time.Unix(0, at)) <= limit
}

// await waits for a fill. It returns nil without an error when the fill's result
// does not do for this request and another one must be begun.
func (s *Store) await(ctx context.Context, f *fill, q *Query, need Need, accept *acceptance) (v *Version, exact bool, err error) {
	patience := time.NewTimer(s.opts.Patience)
	defer patience.Stop()
	late := need.Unreached
	for {
		latest, news := f.newest()
		if late && accept.accepts(latest) {
			// The proof takes long; what the database said does for some.
			v, exact := s.unproven(q, latest, need)
			return v, exact, nil
		}
		select {
		case <-f.done:
			return s.finished(f, q, need, accept)
		case <-ctx.Done():
			if latest, _ := f.newest(); accept.accepts(latest) {
				v, exact := s.unproven(q, latest, need)
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
func (s *Store) finished(f *fill, q *Query, need Need, accept *acceptance) (v *Version, exact bool, err error) {
	latest, _ := f.newest()
	switch {
	case errors.Is(f.err, ErrNotFresh) && accept.accepts(latest):
		v, exact := s.unproven(q, latest, need)
		return v, exact, nil
	case errors.Is(f.err, ErrNotFresh) && f.began.Before(accept.since):
		return nil, false, nil
	case f.err != nil:
		return nil, false, f.err
	case q.Volatile && need.Level != revision.MinimizeLatency && latest.began.Before(accept.since):
		return nil, false, nil
	case f.version.From < need.Position && accept.accepts(latest):
		v, exact := s.unproven(q, latest, need)
		return v, exact, nil
	case f.version.From < need.Position:
		return nil, false, nil
	}
	return f.version, !q.Volatile, nil
}

// unproven returns what an attempt said, and whether it is exact at its position.
// A position before the one that was asked for is not told: a client that went
// on from there would go back in time.
func (s *Store) unproven(q *Query, a *attempt, need Need) (*Version, bool) {
	if a.past != nil && a.past.From >= need.Position {
		return a.past, true
	}
	return rawVersion(&a.result, q, s.opts.Now()), false
}

// acceptance says which unproven result a request may be given.
type acceptance struct {
	since time.Time    // from a query that began no earlier; zero: none
	xid   revision.XID // from a snapshot that this transaction is over in; 0: none
	// session is that in which the log had brought xid: an earlier snapshot may
	// hold another transaction by this id, which a crash undid.
	session uint64
}

func (a *acceptance) accepts(r *attempt) bool {
	switch {
	case r == nil:
		return false
	case !a.since.IsZero():
		return !r.began.Before(a.since)
	case a.xid != 0:
		return (r.session >= a.session || !ruleSession) && r.result.Snapshot.Contains(a.xid)
	}
	return false
}
