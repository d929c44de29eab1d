// Package follow serves shapes of endpoints: whoever follows an answer gets its
// rows, and then how they change.
//
// An answer is followed once, however many follow it. The answer store tells when
// the version that is held ends; then the answer is read anew, as of a position
// not before that end, compared with the rows that were held, and the difference
// is appended to the answer's log: deletes, then updates, then inserts. Several
// changes may become one difference.
//
// Contract:
//
//   - A difference is appended at the position from which its version is true.
//     Positions of one handle grow. A difference is in the file before anybody is
//     given it.
//   - A batch that is up to date as of a position has every transaction up to
//     there: the version is watched, so its end is known here before the frontier
//     passes it, and the frontier is read before that is looked at.
//   - What cannot be read stays as it was: followers wait. A handle is over when
//     the endpoint returns other columns, when the log is another one, or when
//     what followers have is not known any more.
//   - A handle and an offset say what a client has. An offset that is not exactly
//     one that was given out, or that is no longer kept, is not continued.
//
// Rows are in the file of the answer (record.go), as newcomers of the handle get
// them and with what came since, so that a handle outlives the process, memory
// kept for it, and the loss of a slot, but not a crash of the machine: writing is
// not waited for, so nothing of before its start is gone on from. One hub at a time
// has the directory of these files.
//
// Locks, outermost first: Hub.mu, followed.mu, Hub.work.mu. The answer store calls
// with its own lock held, and then only Hub.work.mu is taken.
package follow

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemarkdb/tidemark/internal/answer"
	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/disk"
	"github.com/tidemarkdb/tidemark/internal/revision"
	"github.com/tidemarkdb/tidemark/internal/tally"
)

// ErrNoAnswer is what errors of a Host wrap that say that a key, which once was
// that of an answer, is none any more.
var ErrNoAnswer = errors.New("the endpoint has no such answer any more")

// Bound is an endpoint with its parameters.
type Bound struct {
	Key        string // canonical: what says so names the same answer
	Definition *Definition
}

// Reading is an answer as it was read.
type Reading struct {
	Definition *Definition
	Source     revision.Source
	Version    *answer.Version
	// At is a position at which the version is true.
	At revision.LSN
	// Exact is false if the version is not proven to be true at any position.
	Exact bool
}

// Host is what followers need of a tenant.
type Host interface {
	// Bind finds the answer that an escaped path and a raw query name.
	Bind(ctx context.Context, path, rawQuery string) (Bound, error)
	// Read returns the answer of a key, as of a position at or past notBefore. An
	// error wraps ErrNoAnswer if there will be none as things are.
	Read(ctx context.Context, key string, notBefore revision.LSN) (Reading, error)
	// Watch and Unwatch are those of answer.Store.
	Watch(key string, v *answer.Version, w answer.Watcher) bool
	Unwatch(key string, w answer.Watcher)
	// Frontier returns the frontier of the current epoch.
	Frontier() *revision.Frontier
}

// Options configure a Hub. Zero values mean the defaults named.
type Options struct {
	Host Host
	Dir  string // of the files of answers; made, and taken for this hub, when needed
	// ChunkBytes is about how much one batch has; 10,000.
	ChunkBytes int
	// LogBytes is how much of an answer's past is kept, at least, for those who
	// come back; 256 KiB. Of answers that are larger, it is as much as they are.
	LogBytes int64
	// MemoryBytes is how much of that is in memory; 32 KiB.
	MemoryBytes int
	// MaxFollowed is how many answers may be followed at a time; 100,000.
	MaxFollowed int
	// Workers is how many answers are read anew at a time; 128, so that many can
	// be computed by one query.
	Workers int
	// Keep is how long an answer that nobody asks for is followed; 10 min. KeepFile
	// is how long what its followers had is kept on disk; 24 h. MaxFiles bounds all
	// files together; 1 GiB.
	Keep, KeepFile time.Duration
	MaxFiles       int64
	Logger         *slog.Logger
}

// Hub follows the answers of one tenant. It implements live.Answers. Its methods
// are safe for concurrent use.
type Hub struct {
	opts  Options
	log   *slog.Logger
	tally *tally.Log
	// ctx is that of reading answers.
	ctx    context.Context
	cancel context.CancelFunc
	work   work

	mu     sync.Mutex
	closed bool
	byKey  map[string]*followed
	byID   map[string]*followed
	lock   *os.File // by which the directory is this hub's; nil until that is needed
	why    string   // it could not be taken, as was last said

	differences, messages, refreshes, failures atomic.Int64
}

// New returns a hub that follows nothing yet. Run looks after it.
func New(opts Options) *Hub {
	setDefault(&opts.ChunkBytes, 10_000)
	setDefault(&opts.LogBytes, 256<<10)
	setDefault(&opts.MemoryBytes, 32<<10)
	setDefault(&opts.MaxFollowed, 100_000)
	setDefault(&opts.Workers, 128)
	setDefault(&opts.Keep, 10*time.Minute)
	setDefault(&opts.KeepFile, 24*time.Hour)
	setDefault(&opts.MaxFiles, 1<<30)
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Hub{opts: opts, log: opts.Logger, tally: tally.New(opts.Logger), byKey: map[string]*followed{}, byID: map[string]*followed{}}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.work.most = opts.Workers
	return h
}

func setDefault[T int | int64 | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

// Run forgets what nobody has asked for in a while, until ctx ends.
func (h *Hub) Run(ctx context.Context) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	h.sweepFiles()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			h.sweep(time.Now())
			if n%60 == 0 {
				h.sweepFiles()
			}
		}
	}
}

// Close stops following and waits until nothing is read any more. What followers
// have stays in the files.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	all := make([]*followed, 0, len(h.byKey))
	for _, f := range h.byKey {
		all = append(all, f)
	}
	h.mu.Unlock()
	h.cancel()
	h.work.close()
	for _, f := range all {
		h.opts.Host.Unwatch(f.key, f)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lock != nil {
		h.lock.Close()
		h.lock = nil
	}
}

// take takes the directory, in which two processes would spoil each other's files.
// It is tried again by each who needs it. h.mu is held.
func (h *Hub) take() error {
	switch {
	case h.closed:
		return answer.ErrClosing
	case h.lock != nil:
		return nil
	}
	lock, err := disk.Lock(h.opts.Dir)
	if err == nil {
		if err = h.trust(lock); err == nil {
			h.lock, h.why = lock, ""
			return nil
		}
		lock.Close()
	}
	err = fmt.Errorf("%w: what followers of endpoints have is kept in %s: %w", live.ErrUnavailable, h.opts.Dir, err)
	if hint := disk.Hint(err); hint != "" {
		err = fmt.Errorf("%w (%s)", err, hint)
	}
	if h.why != err.Error() {
		h.why = err.Error()
		h.log.Error("endpoints cannot be followed", "err", err)
	}
	return err
}

// trust removes the files of before the machine was started: they are not made
// durable, and one that lost its end would have followers go on without what they
// were told. The lock says since when files are.
func (h *Hub) trust(lock *os.File) error {
	boot := disk.Boot()
	since, err := io.ReadAll(lock)
	if err != nil || boot != "" && string(since) == boot {
		return err
	}
	entries, err := os.ReadDir(h.opts.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == disk.LockName {
			continue
		}
		if err := os.RemoveAll(filepath.Join(h.opts.Dir, e.Name())); err != nil {
			return err
		}
	}
	if err := lock.Truncate(0); err != nil {
		return err
	}
	_, err = lock.WriteAt([]byte(boot), 0)
	return err
}

// Stats are figures of a hub.
type Stats struct {
	Answers     int   // that are followed
	Differences int64 // that were appended
	Messages    int64 // in them
	Refreshes   int64 // answers read anew
	Failures    int64 // of reading them
	// Why, if not empty, says why nothing could be followed when that was last tried.
	Why string
}

// Stats returns the current figures.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	n, why := len(h.byKey), h.why
	h.mu.Unlock()
	return Stats{
		Answers: n, Why: why, Differences: h.differences.Load(), Messages: h.messages.Load(),
		Refreshes: h.refreshes.Load(), Failures: h.failures.Load(),
	}
}

// failed says that an answer cannot be read: when the database is away, none can.
func (h *Hub) failed(f *followed, err error, after time.Duration) {
	h.tally.Warn("a followed answer could not be read; its followers wait", err, "answer", f.key, "after", after.Round(time.Millisecond))
}

// idOf returns what stands for a key in handles and names of files.
func idOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:8])
}

// Open implements live.Answers. Beside the errors of package live it returns
// those of the Host.
func (h *Hub) Open(ctx context.Context, path, rawQuery, handle string, account *string) (live.Shape, error) {
	for n := range maxOpens {
		b, err := h.opts.Host.Bind(ctx, path, rawQuery)
		if err != nil {
			return nil, err
		}
		topic, err := topicFor(b.Definition, account)
		if err != nil {
			return nil, err
		}
		f, err := h.follow(b)
		if err != nil {
			return nil, err
		}
		select {
		case <-f.ready:
		case <-h.ctx.Done():
			return nil, answer.ErrClosing
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if f.err != nil {
			return nil, f.err
		}
		s, err := f.open(b.Definition, handle, topic, n > 0)
		switch {
		case errors.Is(err, errOver):
			h.forget(f)
		case !errors.Is(err, errOther):
			return s, err
		}
	}
	return nil, fmt.Errorf("%w: the endpoint changes all the time", live.ErrUnavailable)
}

// maxOpens is how often an answer is looked for that comes and goes.
const maxOpens = 10

// topicFor returns what a subscriber follows of an endpoint's answers.
func topicFor(d *Definition, account *string) (string, error) {
	switch {
	case d.Volatile:
		return "", &live.RequestError{
			Message: "endpoint " + d.Name + " is volatile: its answer changes without a row changing, so it cannot be followed",
			Hint:    "read it without live, or take what changes with time out of the statement",
		}
	case account == nil:
		return "", nil
	case d.Account < 0:
		return "", &forbiddenError{d.Name}
	}
	return topicOf(*account), nil
}

// forbiddenError: the endpoint's rows are not told apart by account.
type forbiddenError struct{ endpoint string }

func (e *forbiddenError) Error() string {
	return live.ErrForbidden.Error() + ": endpoint " + e.endpoint + " does not say whose its rows are; name the column in its file with -- account:"
}

func (e *forbiddenError) Unwrap() error { return live.ErrForbidden }

// follow returns the followed answer of a key, beginning one if there is none.
func (h *Hub) follow(b Bound) (*followed, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.take(); err != nil {
		return nil, err
	}
	f := h.byKey[b.Key]
	if f != nil {
		f.used.Store(time.Now().UnixNano())
		return f, nil
	}
	if len(h.byKey) >= h.opts.MaxFollowed {
		return nil, errTooMany
	}
	id := idOf(b.Key)
	if h.byID[id] != nil {
		return nil, errTooMany // two keys with one hash: nobody will see it
	}
	f = newFollowed(h, b.Key, id)
	h.byKey[b.Key], h.byID[id] = f, f
	h.work.push(f, true)
	return f, nil
}

var errTooMany = fmt.Errorf("%w: too many answers are followed", live.ErrUnavailable)

// forget takes a followed answer out of memory.
func (h *Hub) forget(f *followed) {
	h.mu.Lock()
	if h.byKey[f.key] == f {
		delete(h.byKey, f.key)
		delete(h.byID, f.id)
	}
	h.mu.Unlock()
	h.opts.Host.Unwatch(f.key, f)
}

// Delete implements live.Answers: the next who opens the answer begins anew.
func (h *Hub) Delete(ctx context.Context, handle string) error {
	id, incarnation, _, ok := parseHandle(handle)
	if !ok {
		return live.ErrNoShape
	}
	h.mu.Lock()
	f := h.byID[id]
	if f == nil {
		defer h.mu.Unlock()
		return h.deleteFile(id, incarnation)
	}
	h.mu.Unlock()
	select {
	case <-f.ready:
	case <-h.ctx.Done():
		return answer.ErrClosing
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !f.end(incarnation, "it was deleted") {
		return live.ErrNoShape
	}
	h.forget(f)
	return nil
}
