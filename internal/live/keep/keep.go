// Package keep is the kept log: the recent changes of the tables that are
// followed, decoded, on disk, in the order of commits.
//
// The promise is that of Begin and End: every wanted transaction with
// Begin < tx.End <= End is in the log, whole. A process that is killed loses
// nothing that was appended. What a loss of power takes, or damage, is a suffix
// or a prefix of the log, never something in between, and Open moves End back
// or Begin forward accordingly; what Sync returned stays at or before End.
// Where a session of the log begins behind End, Continue drops everything:
// a gap is not kept.
//
// The log is a row of segments, each readable alone. Append, Cover, Continue
// and Restart are called by one goroutine; everything else may be called at any
// time by any. Nothing is written outside of the directory, which one process
// holds at a time.
package keep

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/live/disk"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Errors that callers test for.
var (
	// ErrTrimmed: the log no longer holds what comes after the position.
	ErrTrimmed = errors.New("the kept log does not go back that far")
	// ErrLocked: another process holds the directory.
	ErrLocked = disk.ErrLocked
	// ErrDamaged: what was read is not what was written.
	ErrDamaged = errors.New("the kept log is damaged")
	// ErrClosed: the log was closed.
	ErrClosed = errors.New("the kept log is closed")
	// ErrStopped: an append failed, and nothing after it may be appended before
	// it, or before Continue or Restart.
	ErrStopped = errors.New("the kept log stopped at a failed write")
)

// Error is a failure of the disk, with the directory and what to do.
type Error struct {
	Op   string // "open", "append", "sync", "read", "begin anew"
	Dir  string
	Hint string // may be empty
	Err  error
}

func (e *Error) Error() string {
	s := fmt.Sprintf("kept log in %s: %s: %v", e.Dir, e.Op, e.Err)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Options of a log.
type Options struct {
	Dir string
	// MaxBytes bounds the log on disk, default 1 GiB. A transaction that does not
	// fit behind what its segment holds is not kept: the log begins anew after it.
	MaxBytes int64
	// SegmentBytes is after how many bytes a new segment begins, default 16 MiB;
	// at least MaxBytes/256, since every segment is an open file, and at most MaxBytes/4.
	SegmentBytes int64
	Logger       *slog.Logger
}

func (o *Options) defaults() {
	if o.MaxBytes <= 0 {
		o.MaxBytes = 1 << 30
	}
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = 16 << 20
	}
	o.SegmentBytes = max(min(o.SegmentBytes, o.MaxBytes/4), o.MaxBytes/256)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Log is a kept log.
type Log struct {
	o    Options
	lock *os.File

	// writing is held by whoever changes files; syncing, inside it or alone, by
	// whoever makes them durable; mu, innermost, guards what readers look at and
	// is never held over input or output.
	writing sync.Mutex
	syncing sync.Mutex
	mu      sync.RWMutex

	// Under writing.
	a     appender
	known relations
	next  uint64 // number of the next segment
	// write is (*os.File).WriteAt, but for tests.
	write func(f *os.File, b []byte, off int64) (int, error)
	fsync func(f *os.File) error // Sync, likewise; under syncing

	// Under mu; changed only under writing, too, except for end and damaged.
	source     revision.Source
	segments   []*segment
	generation uint64 // counts how often the log began anew
	begin, end revision.LSN
	recorded   revision.LSN // the end of the log, by what is written
	synced     revision.LSN // the same, by what is durable
	total      int64
	newFiles   bool         // since the directory was last made durable
	failed     revision.LSN // of the transaction that could not be appended, or 0
	failure    error
	damaged    bool // some segment is
	closed     bool
}

// Open opens the log in a directory, which is made if need be, and brings it
// back to its last whole transaction. It reads all of it.
func Open(o Options) (*Log, error) {
	o.defaults()
	l := &Log{o: o, write: (*os.File).WriteAt, fsync: (*os.File).Sync, known: relations{}}
	lock, err := disk.Lock(o.Dir)
	if err != nil {
		return nil, l.fail("open", err)
	}
	l.lock = lock
	if err := l.recover(); err != nil {
		for _, s := range l.segments {
			s.f.Close()
		}
		lock.Close()
		return nil, l.fail("open", err)
	}
	return l, nil
}

// fail wraps an error of the disk.
func (l *Log) fail(op string, err error) error {
	var e *Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return &Error{Op: op, Dir: l.o.Dir, Hint: disk.Hint(err), Err: err}
}

// Continue is called when a session of the log begins, of which every transaction
// that ends after start is going to be passed to Append: those that the session
// passes over, because they were applied before, must not end after start. It
// keeps what is there if nothing is missing in between, and says so. Otherwise,
// and after a failed write, the log begins anew at start.
func (l *Log) Continue(source revision.Source, start revision.LSN) (joined bool, err error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	if l.source == source && len(l.segments) > 0 && l.end >= start && !l.closed && l.failure == nil {
		l.mu.Unlock()
		return true, nil
	}
	l.mu.Unlock()
	return false, l.restart(source, start)
}

// Restart drops everything and begins anew: every wanted transaction that ends
// after at is going to be appended.
func (l *Log) Restart(source revision.Source, at revision.LSN) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.restart(source, at)
}

func (l *Log) restart(source revision.Source, at revision.LSN) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	old := l.segments
	l.segments, l.source, l.total = nil, source, 0
	l.begin, l.end, l.recorded, l.synced = at, at, at, 0
	l.generation++
	l.failed, l.failure, l.damaged = 0, nil, false
	l.mu.Unlock()
	// Oldest first: what a crash in between leaves is a log without its beginning.
	for _, s := range old {
		l.discard(s)
	}
	if _, err := l.roll(true); err != nil {
		l.stop(at+1, err)
		return l.fail("begin anew", err)
	}
	return nil
}

// stop keeps transactions from being appended after one that could not be.
func (l *Log) stop(at revision.LSN, err error) {
	l.mu.Lock()
	l.failed, l.failure = at, err
	l.mu.Unlock()
}

// Cover says that every wanted transaction that ends at or before lsn has been
// appended. It is ignored after a failed append.
func (l *Log) Cover(lsn revision.LSN) {
	l.mu.Lock()
	if l.failure == nil && !l.closed && lsn > l.end {
		l.end = lsn
	}
	l.mu.Unlock()
}

// Begin and End are where the log begins and ends: every wanted transaction with
// Begin < tx.End <= End is in it.
func (l *Log) Begin() revision.LSN {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.begin
}

// End is where the log ends.
func (l *Log) End() revision.LSN {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.end
}

// Source is the log that is kept; the zero Source before the first Continue of
// an empty one.
func (l *Log) Source() revision.Source {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.source
}

// Size returns how many bytes the log has on disk.
func (l *Log) Size() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.total
}

// Middle returns a position with about half of MaxBytes of log after it, or
// Begin while the log is smaller: who stands before it should move on.
func (l *Log) Middle() revision.LSN {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var after int64
	for i := len(l.segments) - 1; i > 0; i-- {
		if after += l.segments[i].size; after >= l.o.MaxBytes/2 {
			return l.segments[i].begin
		}
	}
	return l.begin
}

// Close lets go of the directory. What was appended stays; it is not made
// durable. Readers under way fail or finish.
func (l *Log) Close() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	segments := l.segments
	l.segments = nil
	l.mu.Unlock()
	for _, s := range segments {
		l.release(s)
	}
	return l.lock.Close()
}

// relations holds one description for all that are the same, so that readers
// can compare pointers, and how many segments have it.
type relations map[catalog.OID][]*known

type known struct {
	rel  *catalog.Relation
	uses int
}

// hold returns the description to use for rel, for one more segment.
func (r relations) hold(rel *catalog.Relation) *catalog.Relation {
	for _, k := range r[rel.OID] {
		if k.rel.SameShape(rel) {
			k.uses++
			return k.rel
		}
	}
	r[rel.OID] = append(r[rel.OID], &known{rel, 1})
	return rel
}

// drop undoes hold.
func (r relations) drop(rel *catalog.Relation) {
	list := r[rel.OID]
	for i, k := range list {
		if k.rel != rel {
			continue
		}
		if k.uses--; k.uses == 0 {
			if list = append(list[:i], list[i+1:]...); len(list) == 0 {
				delete(r, rel.OID)
			} else {
				r[rel.OID] = list
			}
		}
		return
	}
}
