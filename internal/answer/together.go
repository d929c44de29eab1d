package answer

import (
	"context"
	"errors"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// togetherRounds is how often answers that do not hold at one position are asked
// for again before they are read at a position that is given.
const (
	togetherRounds    = 3
	maxTogetherRounds = 30
)

// ServeTogether answers several queries as of one position: every reply is exact
// there, and the position is one that the level allows. Volatile answers have no
// positions, so one is only served alone.
//
// Each is served by itself first. If their intervals have a position in common,
// that is the one. Else those that ended before the newest began are asked for
// again, and then all are read exactly as of the newest. If no snapshot of that
// is left either, it begins anew, until it is ErrNotFresh.
func (s *Store) ServeTogether(ctx context.Context, qs []*Query, need Need) ([]Reply, error) {
	for _, q := range qs {
		if q.Volatile && (len(qs) > 1 || need.Level == revision.AtExactSnapshot) {
			return nil, ErrVolatile
		}
	}
	replies := make([]Reply, len(qs))
	if need.Level == revision.AtExactSnapshot {
		return replies, s.serveAllAt(ctx, qs, replies, need.Position)
	}
	if len(qs) == 1 {
		var err error
		replies[0], err = s.Serve(ctx, qs[0], need)
		return replies, err
	}
	if need.Unreached {
		// What the database says right now is of no position.
		if err := s.Frontier().Wait(ctx, need.Position); err != nil {
			return nil, err
		}
		need.Unreached = false
	}
	again := make([]bool, len(qs))
	for i := range again {
		again[i] = true
	}
	ask := need
	for round := 1; ; round++ {
		for i, q := range qs {
			if !again[i] {
				continue
			}
			var err error
			if replies[i], err = s.serveExact(ctx, q, ask); err != nil {
				return nil, err
			}
		}
		at, ok := s.common(qs, replies, again)
		if ok {
			for i := range replies {
				replies[i].At = at
			}
			return replies, nil
		}
		ask = Need{Level: revision.AtLeastAsFresh, Position: max(need.Position, at)}
		if err := s.Frontier().Wait(ctx, ask.Position); err != nil {
			return nil, err
		}
		if round%togetherRounds != 0 {
			continue
		}
		err := s.serveAllAt(ctx, qs, replies, ask.Position)
		if err == nil || !errors.Is(err, ErrSnapshotExpired) {
			return replies, err
		}
		if round >= maxTogetherRounds {
			return nil, ErrNotFresh
		}
		for i := range again {
			again[i] = true
		}
	}
}

// serveExact is Serve for those who cannot use what is not proven.
func (s *Store) serveExact(ctx context.Context, q *Query, need Need) (Reply, error) {
	r, err := s.Serve(ctx, q, need)
	if err != nil || r.Exact {
		return r, err
	}
	return s.Serve(ctx, q, Need{Level: revision.AtLeastAsFresh, Position: max(need.Position, s.Frontier().Load())})
}

func (s *Store) serveAllAt(ctx context.Context, qs []*Query, replies []Reply, p revision.LSN) error {
	for i, q := range qs {
		var err error
		if replies[i], err = s.ServeAt(ctx, q, p); err != nil {
			return err
		}
	}
	return nil
}

// common returns the newest position at which all replies hold. Without one it
// marks those that ended too early, and returns the position from which they are
// to hold.
func (s *Store) common(qs []*Query, replies []Reply, ended []bool) (revision.LSN, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	frontier := s.Frontier().Load()
	from, until := revision.LSN(0), frontier
	last := make([]revision.LSN, len(qs))
	for i := range replies {
		last[i] = s.lastAt(qs[i], &replies[i], frontier)
		until = min(until, last[i])
		from = max(from, replies[i].Version.From)
	}
	fits := true
	for i := range replies {
		ended[i] = last[i] < from
		fits = fits && s.equalVersion(replies[i].Version, qs[i].Deps, until)
	}
	if fits {
		return until, true
	}
	return from, false
}

// lastAt returns the last position up to the frontier at which a reply's version
// is known to hold. Store.mu is held.
func (s *Store) lastAt(q *Query, r *Reply, frontier revision.LSN) revision.LSN {
	v := r.Version
	if v.until() != 0 {
		return max(v.last(), r.At)
	}
	// Nobody ends a version that is not in the store any more.
	if e := s.find(q.Key); e != nil && e.current.Load() == v {
		return max(frontier, r.At)
	}
	return r.At
}
