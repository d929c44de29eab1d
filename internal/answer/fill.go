package answer

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
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

	// raw is the latest result, proven or not. rawReady is closed when the
	// first is there.
	raw      atomic.Pointer[Result]
	rawReady chan struct{}
	proofBy  time.Time // set with the first result
	// past is the latest result that is proven, but only of a moment before the
	// query: the log is ahead of what the query could see.
	past atomic.Pointer[Version]

	done    chan struct{} // closed when version and err are set
	version *Version
	err     error
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
		rawReady: make(chan struct{}), done: make(chan struct{}),
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
		v, how, err := s.attempt(ctx, f)
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
			if v.From >= f.raw.Load().Upper {
				return v, nil
			}
			f.past.Store(v)
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

func (s *Store) attempt(ctx context.Context, f *fill) (*Version, settled, error) {
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
	res, err := f.query.Source.Fill(ctx)
	if err != nil {
		return nil, settledUnknown, err
	}
	if f.raw.Swap(&res) == nil {
		f.proofBy = s.opts.Now().Add(s.opts.ProofTimeout)
		close(f.rawReady)
	}
	ctx, cancel := context.WithDeadlineCause(ctx, f.proofBy, ErrNotFresh)
	defer cancel()
	if !ruleWait {
		// Nothing waits.
	} else if err := s.Frontier().Wait(ctx, res.Upper); err != nil {
		if errors.Is(err, ErrEpoch) {
			return nil, settledUnknown, nil
		}
		return nil, settledUnknown, context.Cause(ctx)
	}
	v, how := s.settle(f, &res)
	return v, how, nil
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

func (a *acceptance) accepts(f *fill, res *Result) bool {
	switch {
	case a.any:
		return true
	case !a.since.IsZero():
		return !f.began.Before(a.since)
	case a.xid != 0:
		return res.Snapshot.Contains(a.xid)
	}
	return false
}
