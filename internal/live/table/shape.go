package table

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/keep"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Shape is one handle: a definition, a snapshot, and what came after. It
// implements live.Shape.
type Shape struct {
	hub      *Hub
	handle   string
	def      *definition
	snapshot *snapshot

	// Hub.mu guards these. registered is where the log was when the shape entered
	// the index.
	node       match.Handle[*Shape]
	hit        hit
	waking     bool
	registered revision.LSN

	checked checked

	doomed atomic.Uint64 // where the table was truncated, or 0
	used   atomic.Int64  // Unix seconds
	grown  atomic.Int64  // bytes of messages that came after the snapshot, as far as they were made

	mu     sync.Mutex
	over   *live.GoneError // the handle has ended
	asleep bool            // it is not in the index
	// tail holds every message after from that has been applied, and perhaps
	// touches that come to nothing. Those beyond limit are not for anybody yet.
	tail []*touch
	from live.Offset
	// quiet is a stretch without messages: none after from, up to to.
	quiet quiet
	hint  hint
	news  *live.News // told when there may be more; nil if nobody waits
	// evaluating is closed when touches that somebody evaluates are done.
	evaluating chan struct{}
	reading    map[live.Offset]*reading
	made       [4]madeBatch
	madeNext   int
}

type quiet struct {
	from live.Offset
	to   revision.LSN
}

// hint names the changes of a large transaction that may touch the shape.
type hint struct {
	end     revision.LSN
	numbers []uint64
}

// reading is a batch that somebody makes from the kept log.
type reading struct {
	done chan struct{}
	err  error
}

type madeBatch struct {
	after live.Offset
	batch *live.Batch
}

var _ live.Shape = (*Shape)(nil)

// Handle implements live.Shape.
func (s *Shape) Handle() string { return s.handle }

// Schema implements live.Shape.
func (s *Shape) Schema() string { return s.def.encoding.schema }

// inside reports whether a transaction is in the snapshot.
func (s *Shape) inside(xid revision.XID, end revision.LSN) bool {
	return end <= s.snapshot.Upper && s.snapshot.Snapshot.Contains(xid)
}

// limit returns the position up to which the shape may be told: what is visible,
// but not beyond a change of definitions that has not been looked at.
func (s *Shape) limit() revision.LSN {
	// In this order: Apply counts a definition before the frontier passes it.
	at := s.hub.visible.Load().Load()
	seen := s.def.table.seen.Load()
	if seen >= s.hub.defined.Load() {
		return at
	}
	return min(at, s.hub.before(seen))
}

// gone returns the error for one who cannot go on, if that is so. mu is held.
func (s *Shape) gone() error {
	if s.over != nil {
		return s.over
	}
	if at := revision.LSN(s.doomed.Load()); at != 0 && at <= s.hub.visible.Load().Load() {
		return errTruncated
	}
	return nil
}

// Reasons for which a handle ends.
var (
	errTruncated = errors.New("the table was truncated")
	errRedefined = errors.New("the table was redefined")
	errDamaged   = errors.New("its rows on disk are damaged")
	errSession   = errors.New("the log does not continue")
)

// ends reports whether an error is one for which the handle ends.
func ends(err error) bool {
	return errors.Is(err, errTruncated) || errors.Is(err, errRedefined) || errors.Is(err, errDamaged)
}

// place returns the chunk of the snapshot that comes after an offset, or -1 and
// the place in the log.
func (s *Shape) place(after live.Offset) (chunk int, at live.Offset, err error) {
	first := live.Offset{LSN: s.snapshot.First, Index: live.Whole}
	switch chunks := uint64(s.snapshot.Chunks); {
	case after == live.Start:
		return 0, first, nil
	case after.LSN == 0 && after.Index+1 < chunks:
		return int(after.Index) + 1, first, nil
	case after.LSN == 0 && after.Index+1 == chunks:
		return -1, first, nil
	case after.LSN != 0 && after.Compare(first) < 0:
		// It is of another handle: between the two something would be missing.
		return -1, first, &live.GoneError{Reason: "the offset is from before it began"}
	case after.LSN == 0:
		return -1, first, &live.GoneError{Reason: "there is no such offset in it"}
	}
	return -1, after, nil
}

// Next implements live.Shape.
func (s *Shape) Next(ctx context.Context, after live.Offset) (*live.Batch, error) {
	s = s.awake()
	b, err := s.next(ctx, after)
	if err == nil {
		return b, nil
	}
	return nil, s.failed(err)
}

// failed ends the handle where an error says so, and returns what the client is
// told.
func (s *Shape) failed(err error) error {
	switch {
	case ends(err):
		return s.hub.end(s, err.Error())
	case errors.Is(err, keep.ErrTrimmed):
		return &live.GoneError{Reason: "the offset is older than what is kept"}
	case errors.Is(err, keep.ErrClosed), errors.Is(err, keep.ErrDamaged), errors.Is(err, keep.ErrStopped):
		return unavailable("%w", err)
	}
	var disk *keep.Error
	if errors.As(err, &disk) {
		return unavailable("%w", err)
	}
	return err
}

func (s *Shape) next(ctx context.Context, after live.Offset) (*live.Batch, error) {
	chunk, at, err := s.place(after)
	if err != nil {
		return nil, err
	}
	if chunk >= 0 {
		s.mu.Lock()
		err := s.gone()
		s.mu.Unlock()
		if err != nil {
			return nil, err
		}
		return s.chunk(chunk)
	}
	b := builder{shape: s, after: after, at: at}
	return b.build(ctx)
}

// chunk returns a chunk of the snapshot.
func (s *Shape) chunk(n int) (*live.Batch, error) {
	messages, err := s.hub.readChunk(s.snapshot, n)
	if err != nil {
		return nil, err
	}
	s.hub.batches.Add(1)
	return &live.Batch{
		Messages: messages, End: live.Offset{Index: uint64(n)},
		SnapshotEnd: n == s.snapshot.Chunks-1 && !s.def.ChangesOnly,
	}, nil
}

// Changed implements live.Shape.
func (s *Shape) Changed(after live.Offset) *live.News {
	chunk, at, err := s.place(after)
	if err != nil || chunk >= 0 {
		return nil
	}
	for {
		s = s.awake()
		s.mu.Lock()
		if !s.asleep || s.over != nil {
			break
		}
		s.mu.Unlock() // it left memory just now, and would not be woken
	}
	defer s.mu.Unlock()
	if s.gone() != nil {
		return nil
	}
	if limit := s.limit(); limit >= s.snapshot.Upper && !s.silent(at, limit) {
		return nil
	}
	if s.news == nil {
		s.news = &live.News{}
	}
	return s.news
}

// silent reports whether it is known that there is no message after an offset, up
// to a position. mu is held.
func (s *Shape) silent(at live.Offset, limit revision.LSN) bool {
	if limit <= at.LSN && (limit < at.LSN || at.Index == live.Whole) {
		return true
	}
	if at.Compare(s.from) < 0 {
		return at.Compare(s.quiet.from) >= 0 && limit <= s.quiet.to
	}
	for i := s.search(at); i < len(s.tail) && s.tail[i].end <= limit; i++ {
		if t := s.tail[i]; !t.done || len(t.parts) > 0 && t.last().Compare(at) > 0 {
			return false
		}
	}
	return true
}

// rouse wakes who waits for news.
func (s *Shape) rouse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rouseLocked()
}

func (s *Shape) rouseLocked() {
	s.news.Tell()
	s.news = nil
}

// Last implements live.Shape. Every transaction at or before the offset is seen by
// whatever is asked of Postgres from then on, so that the rows of a Subset and
// what follows the offset leave nothing out.
func (s *Shape) Last(ctx context.Context) (live.Offset, error) {
	s = s.awake()
	s.mu.Lock()
	err := s.gone()
	at := s.limit()
	s.mu.Unlock()
	if err != nil {
		return live.Offset{}, s.failed(err)
	}
	if at < s.snapshot.Upper {
		if err := s.hub.reach(ctx, s.snapshot.Upper); err != nil {
			return live.Offset{}, err
		}
		at = s.snapshot.Upper
	}
	seen, err := s.hub.seen(ctx, s.def.tables, at)
	if err != nil {
		return live.Offset{}, s.failed(err)
	}
	return live.Offset{LSN: max(seen, s.snapshot.First), Index: live.Whole}, nil
}

// awake notes that the shape is used, and returns the one to use in its place if
// it has left memory.
func (s *Shape) awake() *Shape {
	now := time.Now().Unix()
	if s.used.Load() != now {
		s.used.Store(now)
	}
	s.mu.Lock()
	asleep := s.asleep && s.over == nil
	s.mu.Unlock()
	if !asleep {
		return s
	}
	return s.hub.adopt(s)
}
