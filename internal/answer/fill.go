package answer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// fill is one computation of an answer, shared by all who wait for it. It is in
// the queue until it gets a slot, and on a goroutine of the store's from then on:
// no waiter's end is its end, unless it is still in the queue and was the last.
type fill struct {
	job   job
	entry *Entry
	began time.Time
	audit *AuditResult // set: compare the result and store nothing

	poisoned atomic.Bool // purged while under way: not to be stored

	// Of the goroutine that runs it.
	deadline time.Time // set with the first slot
	proofBy  time.Time // set with the first result
	pause    time.Duration

	// Guarded by entry.mu. A fill that nobody asked for has no query until it
	// runs or somebody does.
	query   *Query
	waiters int
	wanted  bool // even if nobody waits
	refill  bool // begun before somebody asked

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
	began   time.Time
	session uint64 // in which it began
	result  Result
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

func (s *Store) newFill(e *Entry, q *Query, p priority) *fill {
	f := &fill{entry: e, query: q, began: s.opts.Now(), news: make(chan struct{}), done: make(chan struct{})}
	f.job = job{group: e.group, fill: f, priority: p}
	return f
}

// join returns the fill under way for an entry, beginning one when there is
// none. One who waits for it calls leave afterwards.
func (s *Store) join(e *Entry, q *Query, waits bool) (f *fill, joined bool, err error) {
	e.mu.Lock()
	if f = e.fill; f != nil {
		err = s.queue.promote(&f.job)
		joined = err == nil
	}
	if f == nil || errors.Is(err, errGone) {
		f = s.newFill(e, q, demand)
		if _, err = s.queue.push(&f.job); err == nil {
			e.fill = f
		}
	}
	if err == nil {
		if f.query == nil {
			f.query = q
		}
		if waits {
			f.waiters++
		} else {
			f.wanted = true
		}
		e.flags.Or(filling)
	}
	e.mu.Unlock()
	if err != nil {
		if errors.Is(err, ErrOverloaded) {
			q.Group.Shed.Add(1)
		}
		s.discard(e)
		return nil, false, err
	}
	return f, joined, nil
}

// leave says that one who joined waits no longer. A fill that still waits for
// its turn and that nobody else wants is dropped.
func (s *Store) leave(f *fill) {
	e := f.entry
	e.mu.Lock()
	f.waiters--
	dropped := f.waiters == 0 && !f.wanted && s.queue.remove(&f.job)
	if dropped {
		f.err = context.Canceled
		e.release(f)
	}
	e.mu.Unlock()
	if dropped {
		s.discard(e)
	}
}

// release takes a fill that is over from its entry. e.mu is held.
func (e *Entry) release(f *fill) {
	if e.fill == f {
		e.fill = nil
		e.flags.And(^filling)
	}
	close(f.done)
}

// ErrClosing means that the store is shutting down.
var ErrClosing = errors.New("shutting down")

// launch runs jobs that got a slot together. queue.mu is held.
func (s *Store) launch(jobs []*job, p priority) {
	if jobs[0].fill == nil {
		close(jobs[0].start)
		return
	}
	s.fills.Add(1)
	go func() {
		defer s.fills.Done()
		s.run(jobs, p)
	}()
}

// run computes answers with one call of their source, gives the slot back, and
// waits until each is proven, or begins it again.
func (s *Store) run(jobs []*job, p priority) {
	fills := make([]*fill, 0, len(jobs))
	queries := make([]*Query, 0, len(jobs))
	var deadline time.Time
	for _, j := range jobs {
		f := j.fill
		q, err := f.resolve()
		if err != nil {
			s.finish(f, nil, err)
			continue
		}
		if f.deadline.IsZero() {
			f.deadline = s.opts.Now().Add(s.opts.FillTimeout)
		}
		if f.deadline.After(deadline) {
			deadline = f.deadline
		}
		fills, queries = append(fills, f), append(queries, q)
	}
	if len(fills) == 0 {
		s.queue.release(jobs[0].group, p, 0, 0)
		return
	}
	ctx, cancel := context.WithDeadlineCause(s.ctx, deadline, ErrNotFresh)
	defer cancel()
	s.mu.Lock()
	session := s.session
	h := s.history
	gen := h.begin()
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		h.finish(gen)
		s.mu.Unlock()
	}()
	g := jobs[0].group
	g.Fills.Add(1)
	began := s.opts.Now()
	results, err := queries[0].Source.Fill(ctx, queries)
	s.queue.release(g, p, s.opts.Now().Sub(began), len(fills))
	if err == nil && len(results) != len(queries) {
		err = fmt.Errorf("the source of %s gave %d results for %d queries", g.Name, len(results), len(queries))
	}
	if err != nil {
		s.failed(fills, err)
		return
	}
	g.Filled.Add(int64(len(fills)))
	s.settleAll(ctx, session, began, fills, queries, results)
}

// resolve returns the fill's query, making it where nobody has asked.
func (f *fill) resolve() (*Query, error) {
	e := f.entry
	e.mu.Lock()
	q := f.query
	if e.fill == f {
		e.flags.Or(filling)
	}
	e.mu.Unlock()
	if q != nil {
		return q, nil
	}
	q, err := e.group.Query(e.key)
	if err != nil {
		return nil, err
	}
	if q.Key != e.key || q.Group != e.group {
		return nil, ErrPlanOutdated
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if f.query == nil {
		f.query = q
	}
	return f.query, nil
}

// failed ends fills whose source failed. Of several, each that somebody waits
// for is tried alone: the fault may be another's.
func (s *Store) failed(fills []*fill, err error) {
	for _, f := range fills {
		if len(fills) > 1 && s.ctx.Err() == nil && s.queue.single(&f.job) == demand {
			s.again(f)
		} else {
			s.finish(f, nil, err)
		}
	}
}

// settleAll waits until results can be placed in the log, and settles each.
func (s *Store) settleAll(ctx context.Context, session uint64, began time.Time, fills []*fill, queries []*Query, results []Result) {
	now := s.opts.Now()
	var after revision.LSN
	var by time.Time
	attempts := make([]*attempt, len(fills))
	for i, f := range fills {
		if f.proofBy.IsZero() {
			f.proofBy = now.Add(s.opts.ProofTimeout)
		}
		if f.proofBy.After(by) {
			by = f.proofBy
		}
		after = max(after, results[i].After)
		attempts[i] = &attempt{began: began, session: session, result: results[i]}
		f.tell(attempts[i])
	}
	ctx, cancel := context.WithDeadlineCause(ctx, by, ErrNotFresh)
	defer cancel()
	if !ruleWait {
		// Nothing waits.
	} else if err := s.Frontier().Wait(ctx, after); err != nil {
		for _, f := range fills {
			if errors.Is(err, ErrEpoch) {
				s.repeat(f)
			} else {
				s.finish(f, nil, context.Cause(ctx))
			}
		}
		return
	}
	for i, f := range fills {
		s.judge(ctx, f, queries[i], session, attempts[i])
	}
}

// judge settles one result and ends its fill, or has it computed again.
func (s *Store) judge(ctx context.Context, f *fill, q *Query, session uint64, a *attempt) {
	if f.audit != nil {
		if s.settleAudit(f.audit, q, session, &a.result) {
			s.finish(f, nil, nil)
		} else {
			s.repeat(f)
		}
		return
	}
	v, how := s.settle(f, q, session, &a.result)
	switch how {
	case settledOutdated:
		s.finish(f, nil, ErrPlanOutdated)
		return
	case settledOpen, settledClosed:
		// True of a moment at or after the one when the query began, unless the
		// log was ahead of what the query could see.
		if v.From < a.result.Upper {
			f.tell(&attempt{a.began, a.session, a.result, v})
			break
		}
		// One that followed a transaction which is being applied is true a little
		// later.
		var err error
		if ruleWait {
			err = s.Frontier().Wait(ctx, v.From)
		}
		switch {
		case err == nil:
			s.finish(f, v, nil)
			return
		case !errors.Is(err, ErrEpoch):
			s.finish(f, nil, context.Cause(ctx))
			return
		}
	}
	s.repeat(f)
}

// Bounds of the pause before a query is repeated because its result could not
// be placed: what it lacked is about to become visible.
const (
	minPause = time.Millisecond
	maxPause = 100 * time.Millisecond
)

// repeat has a fill computed again after a pause, without its slot.
func (s *Store) repeat(f *fill) {
	f.pause = min(max(2*f.pause, minPause), maxPause)
	at := s.opts.Now().Add(f.pause)
	if at.After(f.deadline) || !f.proofBy.IsZero() && at.After(f.proofBy) {
		s.finish(f, nil, ErrNotFresh)
		return
	}
	s.fills.Add(1)
	time.AfterFunc(f.pause, func() {
		defer s.fills.Done()
		s.again(f)
	})
}

// again puts a fill that had a slot back into the queue.
func (s *Store) again(f *fill) {
	e := f.entry
	e.mu.Lock()
	unwanted := f.waiters == 0 && !f.wanted
	var err error
	if unwanted {
		f.err = context.Canceled
		e.release(f)
	} else {
		err = s.queue.again(&f.job)
	}
	e.mu.Unlock()
	switch {
	case unwanted:
		s.discard(e)
	case err != nil:
		s.finish(f, nil, err)
	}
}

// finish ends a fill, and looks at once whether its answer is worth another.
func (s *Store) finish(f *fill, v *Version, err error) {
	if err != nil && s.ctx.Err() != nil {
		err = ErrClosing
	}
	f.version, f.err = v, err
	e := f.entry
	e.mu.Lock()
	waiters, refill := f.waiters, f.refill
	if v != nil {
		v.reads.Add(uint32(waiters))
	}
	empty := e.current.Load() == nil && len(e.kept()) == 0
	e.release(f)
	e.mu.Unlock()
	g := e.group
	switch {
	case f.audit != nil:
	case err != nil && refill && waiters == 0:
		g.RefillErrors.Add(1)
	case err != nil:
		g.Errors.Add(1)
	case refill:
		g.Refills.Add(1)
	}
	if empty {
		s.discard(e)
	} else if v != nil {
		s.reconsider(e)
	}
}

// discard drops an entry that holds nothing.
func (s *Store) discard(e *Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.empty() {
		s.drop(e)
	}
}

// empty reports whether an entry holds nothing, and nothing is on its way to it.
func (e *Entry) empty() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.fill == nil && e.current.Load() == nil && len(e.kept()) == 0
}
