package table

import (
	"context"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/keep"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// After a restart, all followers come back with offsets of some time ago, and of
// most shapes nothing has changed since. Each would read the same log to find
// that out. So one who finds nothing in the first few transactions has the rest
// looked through in a pass over the log that serves all who wait.

// search is what one shape looks for: the first transaction that may touch it,
// after from and up to to.
type search struct {
	shape *Shape
	from  live.Offset
	to    revision.LSN
	node  match.Handle[*search]
	done  chan struct{}
	over  bool
	err   error
}

// catchUp has a stretch of the log looked through, and notes in the shape what of
// it is known to be nothing.
func (h *Hub) catchUp(ctx context.Context, sc *search) error {
	sc.done = make(chan struct{})
	h.passing.Lock()
	h.searches = append(h.searches, sc)
	if !h.passes {
		h.passes = true
		h.work.Go(h.pass)
	}
	h.passing.Unlock()
	select {
	case <-sc.done:
		return sc.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pass makes passes for as long as somebody wants one.
func (h *Hub) pass() {
	for {
		h.passing.Lock()
		all := h.searches
		h.searches = nil
		if len(all) == 0 {
			h.passes = false
			h.passing.Unlock()
			return
		}
		h.passing.Unlock()
		err := h.ctx.Err()
		if err == nil {
			err = h.passOnce(all)
		}
		for _, sc := range all {
			if !sc.over {
				sc.finish(sc.to, err)
			}
		}
	}
}

// finish ends a search that found nothing up to a position, or failed.
func (sc *search) finish(upTo revision.LSN, err error) {
	sc.over = true
	if sc.err = err; err == nil {
		s := sc.shape
		s.mu.Lock()
		s.setQuiet(quiet{sc.from, upTo})
		s.mu.Unlock()
	}
	close(sc.done)
}

// passOnce reads the log once for all searches.
func (h *Hub) passOnce(all []*search) error {
	index := match.NewIndex[*search]()
	tables := map[catalog.OID]bool{}
	after, to := all[0].from.LSN, all[0].to
	left := len(all)
	for _, sc := range all {
		index.Add(&sc.node, sc, sc.shape.def.deps)
		for t := range sc.shape.def.tables {
			tables[t] = true
		}
		after, to = min(after, sc.from.LSN), max(to, sc.to)
	}
	h.passed.Add(1)
	return h.log.Read(h.ctx, tables, after, to, func(tx *keep.Tx) (more bool, err error) {
		visit := func(sc *search, _ *match.Reads) {
			if sc.over || tx.End <= sc.from.LSN || tx.End > sc.to || sc.shape.inside(tx.XID, tx.End) {
				return
			}
			index.Remove(&sc.node)
			sc.finish(tx.End-1, nil)
			left--
		}
		err = tx.Each(0, tables, func(_ uint64, c *change.Change) (bool, error) {
			if c.Op != change.Define {
				index.Touch(c, visit)
			}
			return left > 0, nil
		})
		return left > 0, err
	})
}
