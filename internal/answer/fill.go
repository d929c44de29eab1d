package answer

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// fill is one computation of an answer, shared by all who wait for it. It runs
// on a goroutine of the store's, so that no waiter's end is its end.
type fill struct {
	entry   *Entry
	query   *Query
	began   time.Time
	session uint64

	poisoned atomic.Bool // purged while under way: not to be stored

	proofBy time.Time // set with the first result

	mu sync.Mutex
	// latest is the newest result, proven or not; news is closed when there is a
	// newer one.
	latest *attempt
	news   chan struct{}

	done    chan struct{} // closed when version and err are set
	version *Version
	err     error
}

// attempt is one run of a fill's query.
type attempt struct {
	began  time.Time
	result Result
	// past is the result as a version, if it is proven, but only of a moment
	// before the query: the log is ahead of what the query could see.
	past *Version
}

func (f *fill) tell(a *attempt) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.latest = a
	close(f.news)
	f.news = make(chan struct{})
}

func (f *fill) newest() (*attempt, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.latest, f.news
}

// join returns the fill under way for an entry, starting one when there is none.
func (s *Store) join(e *Entry, q *Query) (f *fill, joined bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fill != nil {
		return e.fill, true
	}
	f = &fill{
		entry: e, query: q, began: s.opts.Now(),
		news: make(chan struct{}), done: make(chan struct{}),
	}
	e.fill = f
	e.filling.Store(true)
	s.fills.Add(1)
	go s.run(f)
	return f, false
}

// ErrClosing means that the store is shutting down.
var ErrClosing = errors.New("shutting down")

func (s *Store) run(f *fill) {
	defer s.fills.Done()
	ctx, cancel := context.WithTimeoutCause(s.ctx, s.opts.FillTimeout, ErrNotFresh)
	defer cancel()
	f.version, f.err = s.compute(ctx, f)
	if f.err != nil && s.ctx.Err() != nil {
		f.err = ErrClosing
	}
	if f.err != nil {
		f.query.Group.Errors.Add(1)
	}
	e := f.entry
	e.mu.Lock()
	e.fill = nil
	empty := e.current.Load() == nil && len(e.kept) == 0
	e.filling.Store(false)
	e.mu.Unlock()
	close(f.done)
	if empty {
		s.discard(e)
	}
}

// discard drops an entry that holds nothing.
func (s *Store) discard(e *Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.mu.Lock()
	empty := e.fill == nil && e.current.Load() == nil && len(e.kept) == 0
	e.mu.Unlock()
	if empty {
		s.drop(e)
	}
}

// Bounds of the pause before a query is repeated because its result could not
// be placed: what it lacked is about to become visible.
const (
	minPause = time.Millisecond
	maxPause = 100 * time.Millisecond
)

func (s *Store) compute(ctx context.Context, f *fill) (*Version, error) {
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		a, v, how, err := s.attempt(ctx, f)
		if err != nil {
			return nil, err
		}
		switch how {
		case settledOutdated:
			return nil, ErrPlanOutdated
		case settledOpen:
			return v, nil
		case settledClosed:
			// True of a moment at or after the one when the query began, unless
			// the log was ahead of what the query could see.
			if v.From >= a.result.Upper {
				return v, nil
			}
			f.tell(&attempt{a.began, a.result, v})
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
		if s.opts.Now().After(f.proofBy) {
			return nil, ErrNotFresh
		}
	}
}

func (s *Store) attempt(ctx context.Context, f *fill) (*attempt, *Version, settled, error) {
	s.mu.Lock()
	f.session = s.session
	h := s.history
	gen := h.begin()
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		h.finish(gen)
		s.mu.Unlock()
	}()
	f.query.Group.Fills.Add(1)
	a := &attempt{began: s.opts.Now()}
	var err error
	if a.result, err = f.query.Source.Fill(ctx); err != nil {
		return nil, nil, settledUnknown, err
	}
	if f.proofBy.IsZero() {
		f.proofBy = s.opts.Now().Add(s.opts.ProofTimeout)
	}
	f.tell(a)
	ctx, cancel := context.WithDeadlineCause(ctx, f.proofBy, ErrNotFresh)
	defer cancel()
	if !ruleWait {
		// Nothing waits.
	} else if err := s.Frontier().Wait(ctx, a.result.After); err != nil {
		if errors.Is(err, ErrEpoch) {
			return a, nil, settledUnknown, nil
		}
		return nil, nil, settledUnknown, context.Cause(ctx)
	}
	v, how := s.settle(f, &a.result)
	return a, v, how, nil
}

func newVersion(res *Result, q *Query, now time.Time) *Version {
	v := &Version{Body: res.Body, Found: res.Found, Filled: now, expires: now.Add(q.TTL).UnixNano()}
	v.ETag[0] = etag(res.Body)
	v.Length[0] = strconv.Itoa(len(res.Body))
	return v
}

// rawVersion wraps a result that no position is proven for.
func rawVersion(res *Result, q *Query, now time.Time) *Version {
	v := newVersion(res, q, now)
	v.From = res.Upper
	v.to.Store(uint64(res.Upper) + 1)
	return v
}

// etag returns a strong validator: 120 bits of SHA-256, so that equal tags mean
// equal bodies, in every process.
func etag(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:15]) + `"`
}

// acceptance says which unproven result a request may be given.
type acceptance struct {
	any   bool         // whatever the database says
	since time.Time    // from a query that began no earlier; zero: none
	xid   revision.XID // from a snapshot that this transaction is over in; 0: none
}

func (a *acceptance) accepts(r *attempt) bool {
	switch {
	case r == nil:
		return false
	case a.any:
		return true
	case !a.since.IsZero():
		return !r.began.Before(a.since)
	case a.xid != 0:
		return r.result.Snapshot.Contains(a.xid)
	}
	return false
}
