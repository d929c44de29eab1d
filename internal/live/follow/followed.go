package follow

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemarkdb/tidemark/internal/answer"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// How the version that is held stands.
const (
	stateEnded   uint32 = iota // or nobody tells when it does
	stateAsking                // on its way to being watched
	stateCurrent               // watched: true at the frontier
)

// followed is one answer that is followed, for all who do.
type followed struct {
	hub     *Hub
	key, id string
	ready   chan struct{} // closed once it can be opened, or not
	err     error         // why it cannot; set before
	state   atomic.Uint32
	used    atomic.Int64 // Unix nanoseconds

	place place // guarded by work.mu

	// Of the one who refreshes.
	failed int // times in a row
	missed int // times in a row that a version could not be watched

	mu          sync.Mutex
	def         *Definition
	source      revision.Source
	incarnation string
	gone        *live.GoneError // it is over
	resting     bool            // it left memory; another may be there

	// The rows as of the version that is held: its body, or what a file says.
	body    []byte
	rows    *table
	version *answer.Version
	at      revision.LSN // at which they are known to be true

	file      file
	snapshots []snapshot // oldest first
	next      uint64     // number of the next
	renewed   time.Time  // when one was made for those who have to begin again
	first     uint64     // index of the first message of the next difference

	// The log: in the file from begin on, in memory from memory on, up to last.
	begin, memory, last live.Offset
	entries             []*entry
	bytes               int
	appended, recalled  int64 // when, Unix nanoseconds

	changed *live.News // told with the next difference; nil: nobody waits
	settled *live.News // told when the answer has been read; nil: nobody waits
	topics  map[string]*topic
	tip     tip // of the whole answer
}

// topic is what is known of one account that follows.
type topic struct {
	last    live.Offset // of its last message in memory, or where memory begins
	changed *live.News
	tip     tip
	used    int64
}

func newFollowed(h *Hub, key, id string) *followed {
	f := &followed{hub: h, key: key, id: id, ready: make(chan struct{})}
	f.file.path = filepath.Join(h.opts.Dir, id)
	f.used.Store(time.Now().UnixNano())
	return f
}

// Ended implements answer.Watcher.
func (f *followed) Ended() {
	f.state.Store(stateEnded)
	f.hub.work.push(f, false)
}

// isReady reports whether the answer could be opened.
func (f *followed) isReady() bool {
	select {
	case <-f.ready:
		return true
	default:
		return false
	}
}

// begun lets those go on who wait for the answer to be opened.
func (f *followed) begun(err error) {
	if f.isReady() {
		return
	}
	f.err = err
	if err != nil {
		f.hub.forget(f)
	}
	close(f.ready)
}

// Bounds of the pause after an answer could not be read.
const (
	minPause = 100 * time.Millisecond
	maxPause = 5 * time.Second
)

// refresh reads the answer anew and tells followers what is different. It
// reports whether it has to be read again, and after which pause.
func (f *followed) refresh() (again bool, pause time.Duration) {
	began := time.Now()
	took, err := f.read()
	switch {
	case err == nil:
		f.failed = 0
		f.begun(nil)
		if f.state.Load() == stateCurrent {
			return false, 0
		}
		// One that changes all the time is followed in larger steps, so that it
		// takes a part of one processor only. One that is never kept in memory is
		// read now and then.
		pause = min(3*took, 250*time.Millisecond)
		if f.missed > 3 {
			pause = max(pause, min(time.Millisecond<<min(f.missed-4, 10), time.Second))
		}
		return true, pause
	case errors.Is(err, errOver):
		f.begun(nil)
		return false, 0
	case f.hub.ctx.Err() != nil:
		f.begun(answer.ErrClosing)
		return false, 0
	}
	f.hub.failures.Add(1)
	if !f.isReady() {
		f.begun(err) // it would have to be told as of a position of the past
		return false, 0
	}
	f.failed++
	f.hub.failed(f, err, time.Since(began))
	return true, min(minPause<<min(f.failed-1, 10), maxPause)
}

// errOver means that there is nothing more to be done for it.
var errOver = errors.New("it is followed no more")

// read brings the rows to a newer version, and has it watched. took is the time
// that this process was busy with it.
func (f *followed) read() (took time.Duration, err error) {
	h := f.hub
	f.mu.Lock()
	if f.gone != nil || f.resting {
		f.mu.Unlock()
		return 0, errOver
	}
	known := f.version != nil || f.rows != nil
	f.mu.Unlock()
	if f.state.Load() == stateCurrent {
		return 0, nil
	}
	if !known {
		if err := f.load(); err != nil {
			return 0, err
		}
	}
	f.mu.Lock()
	notBefore := f.at
	if f.version != nil {
		_, to := f.version.Interval()
		notBefore = max(notBefore, to)
	}
	f.mu.Unlock()
	r, err := h.opts.Host.Read(h.ctx, f.key, notBefore)
	switch {
	case errors.Is(err, ErrNoAnswer):
		if !f.isReady() {
			return 0, err
		}
		f.end("", err.Error())
		return 0, errOver
	case errors.Is(err, revision.ErrFutureToken):
		f.end("", "the log ends before what was followed")
		return 0, errOver
	case err != nil:
		return 0, err
	case !r.Exact:
		return 0, fmt.Errorf("%w: its position could not be proven", answer.ErrNotFresh)
	}
	h.refreshes.Add(1)
	start := time.Now()
	err = f.take(&r)
	took = time.Since(start)
	if err != nil {
		return took, err
	}
	f.state.Store(stateAsking)
	if h.opts.Host.Watch(f.key, r.Version, f) {
		f.state.CompareAndSwap(stateAsking, stateCurrent)
		f.missed = 0
	} else {
		f.state.Store(stateEnded)
		f.missed++
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.resting || f.gone != nil {
		// It was let go of meanwhile, by one who found nothing to unwatch.
		h.opts.Host.Unwatch(f.key, f)
		return took, errOver
	}
	f.settled.Tell()
	f.settled = nil
	return took, nil
}

// load reads what followers had before. Without that, the answer begins anew.
func (f *followed) load() error {
	bound, err := f.hub.opts.Host.Bind(f.hub.ctx, keyPath(f.key), keyQuery(f.key))
	if err != nil {
		return err
	}
	l, err := f.file.load(f.key, bound.Definition)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			f.hub.log.Warn("what followers of an answer had cannot be read; they begin anew", "answer", f.key, "err", err)
		}
		return nil
	}
	if l.source != f.hub.opts.Host.Frontier().Source {
		return nil // of another log
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.def, f.source, f.incarnation = bound.Definition, l.source, l.incarnation
	f.rows, f.snapshots = l.rows, l.snapshots
	// The file may have lost its end. So nothing that comes has a name that was
	// given before, although it be at the same position.
	f.next = l.next + 1 + uint64(mathrand.Uint32())
	f.first = 1 + uint64(mathrand.Uint32())
	f.begin, f.memory, f.last, f.at = l.begin, l.last, l.last, l.last.LSN
	return nil
}

// take makes a reading the version that is held.
func (f *followed) take(r *Reading) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone != nil || f.resting {
		return errOver
	}
	v := r.Version
	if f.def == nil {
		return f.start(r)
	}
	if f.def != r.Definition && f.def.print != r.Definition.print {
		f.over(otherColumns)
		return errOver
	}
	f.def = r.Definition
	if f.source != r.Source {
		f.over(anotherLog)
		return errOver
	}
	from := f.rows
	if f.version != nil {
		if f.version == v || string(f.body) == string(v.Body) {
			f.hold(r)
			return nil
		}
		var err error
		if from, err = f.def.parse(f.body); err != nil {
			return err
		}
	}
	to, err := f.def.parse(v.Body)
	if err != nil {
		return err
	}
	var xid revision.XID
	if f.version != nil {
		if _, ended := f.version.Interval(); ended == v.From {
			if why := f.version.Reason(); why != nil && why.Cause == answer.ByChange && why.At == v.From {
				xid = why.XID // the difference is this transaction's alone
			}
		}
	}
	if steps := f.def.difference(from, to); len(steps) > 0 {
		e, steps, err := f.def.encode(steps, live.Offset{LSN: v.From, Index: f.first}, xid)
		if err != nil {
			return err
		}
		if e.count > 0 {
			if v.From <= f.last.LSN || v.From < f.at {
				f.over("the log went back")
				return errOver
			}
			f.append(e, steps, xid, to)
		}
	}
	f.hold(r)
	return nil
}

// hold makes a version the one whose rows are held. f.mu is held.
func (f *followed) hold(r *Reading) {
	f.version, f.body, f.rows = r.Version, r.Version.Body, nil
	f.at = max(f.at, r.Version.From, r.At)
}

// start begins to follow with the rows of a reading. f.mu is held.
func (f *followed) start(r *Reading) error {
	rows, err := r.Definition.parse(r.Version.Body)
	if err != nil {
		return err
	}
	// A row that cannot be told to anybody is found before somebody waits for it.
	var row change.Row
	var buf []byte
	for i := range rows.len() {
		if row, buf, err = r.Definition.text(rows.row(i), row, buf); err != nil {
			return err
		}
	}
	var random [4]byte
	if _, err := rand.Read(random[:]); err != nil {
		return err
	}
	f.def, f.source, f.incarnation = r.Definition, r.Source, hex.EncodeToString(random[:])
	f.begin = live.Offset{LSN: r.Version.From}
	f.memory, f.last, f.next = f.begin, f.begin, 0
	if err := f.rewrite(rows); err != nil {
		f.def = nil
		return fmt.Errorf("%w: %w", live.ErrUnavailable, err)
	}
	f.hold(r)
	return nil
}

// Why handles are over.
const (
	anotherLog   = "the log is another one"
	otherColumns = "the endpoint returns other columns"
)

// over ends the answer for all who follow it. f.mu is held.
func (f *followed) over(reason string) {
	if f.gone != nil || f.resting {
		return // its file may be another's
	}
	f.gone = &live.GoneError{Reason: reason}
	f.wake()
	f.file.remove()
}

// wake ends all waiting, when there is nothing to wait for any more. f.mu is held.
func (f *followed) wake() {
	f.state.Store(stateEnded)
	f.changed.Tell()
	f.settled.Tell()
	f.changed, f.settled = nil, nil
	for _, t := range f.topics {
		t.changed.Tell()
		t.changed = nil
	}
}

// end is over for those who do not hold the lock. With an incarnation it reports
// false, and does nothing, if that is another one.
func (f *followed) end(incarnation, reason string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone != nil || incarnation != "" && incarnation != f.incarnation {
		return false
	}
	f.over(reason)
	return true
}

// now returns a position as of which the last difference leaves nothing out. f.mu
// is held.
func (f *followed) now() revision.LSN {
	// The frontier is read first: what has not ended by then is true there.
	frontier := f.hub.opts.Host.Frontier()
	at := frontier.Load()
	if f.state.Load() == stateCurrent && frontier.Source == f.source && at > f.at {
		f.at = at
	}
	return f.at
}

// reach waits until a position is one as of which followers can be up to date.
func (f *followed) reach(ctx context.Context, p revision.LSN) error {
	for {
		f.mu.Lock()
		switch {
		case f.gone != nil || f.resting:
			f.mu.Unlock()
			return nil // Next says so
		case f.now() >= p:
			f.mu.Unlock()
			return nil
		}
		current := f.state.Load() == stateCurrent
		if f.settled == nil {
			f.settled = &live.News{}
		}
		settled := f.settled
		f.mu.Unlock()
		if current {
			if err := f.hub.opts.Host.Frontier().Wait(ctx, p); err != nil && !errors.Is(err, answer.ErrEpoch) {
				return err
			}
			if f.state.Load() == stateCurrent {
				continue
			}
		}
		select {
		case <-settled.Done():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
