package answer

import (
	"context"
	"errors"
	"slices"

	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

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
		res, err := s.fillAt(ctx, q, pin)
		if err != nil {
			if errors.Is(err, ErrSnapshotExpired) {
				continue
			}
			return Reply{}, err
		}
		// What the snapshot does not shield from may have come meanwhile. And after a
		// crash of the server, another snapshot may have the name of this one and hold
		// the same ids, of which the log brings some only now.
		if err := s.Frontier().Wait(ctx, res.After); err != nil {
			return Reply{}, err
		}
		s.mu.Lock()
		// The history reaches back as far as a pin needs, while it is there.
		bad := !slices.Contains(s.pins, pin) || torn(s.history.records, &pin.Snapshot, res.After, q.Deps) || s.outdated(q, res.After) ||
			!s.history.equal(&pin.Snapshot, p, q.Deps)
		s.mu.Unlock()
		if bad {
			continue
		}
		q.Group.Misses.Add(1)
		return Reply{Version: s.keep(e, q, &res, p), At: p, Exact: true, Outcome: Pinned}, nil
	}
	return Reply{}, ErrSnapshotExpired
}

// fillAt computes an answer at a pinned snapshot, when it has a slot.
func (s *Store) fillAt(ctx context.Context, q *Query, pin *Pin) (Result, error) {
	j := &job{group: q.Group, start: make(chan struct{})}
	if _, err := s.queue.push(j); err != nil {
		if errors.Is(err, ErrOverloaded) {
			q.Group.Shed.Add(1)
		}
		return Result{}, err
	}
	var err error
	select {
	case <-j.start:
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-s.ctx.Done():
		err = ErrClosing
	}
	if err != nil {
		if s.queue.remove(j) {
			return Result{}, err
		}
		select {
		case <-j.start:
			s.queue.release(q.Group, demand, 0, 0)
		default: // taken out by Close
		}
		return Result{}, err
	}
	q.Group.Fills.Add(1)
	began := s.opts.Now()
	res, err := q.Source.FillAt(ctx, pin)
	s.queue.release(q.Group, demand, s.opts.Now().Sub(began), 1)
	if err == nil {
		q.Group.Filled.Add(1)
	}
	return res, err
}

// lookAt finds a kept version that is true at p, or else the pins whose
// snapshots give the same answer, nearest first, and whether nothing has touched
// the answer since p.
func (s *Store) lookAt(e *Entry, q *Query, p revision.LSN) (*Version, []*Pin, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p < s.history.start || s.outdated(q, s.Frontier().Load()) {
		if p < s.history.start {
			return nil, nil, false, ErrSnapshotExpired
		}
		return nil, nil, false, ErrPlanOutdated
	}
	e.mu.Lock()
	versions := append([]*Version{}, e.kept()...)
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
	v := resultVersion(res, q, now)
	v.From = p
	v.end(p, p+1, now, Reason{Cause: BySnapshot, At: p})
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.dead {
		return v
	}
	s.resize(e, versionSize(v))
	s.ended.push(e, v)
	s.retain(e, v)
	s.evict()
	return v
}
