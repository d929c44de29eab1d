package tenant

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/feed"
	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/keep"
	"github.com/tidemarkdb/tidemark/internal/live/rules"
	"github.com/tidemarkdb/tidemark/internal/live/table"
	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// LiveOptions configure what may be followed.
type LiveOptions struct {
	Dir         string // what has to outlive the process; made when it is needed
	Tables      string // file that says which tables may be followed; empty: none
	MaxLog      int64  // bytes of the kept log; 1 GiB
	ChunkSize   int    // bytes of a batch, about
	AllowDelete bool
	Connections int // that read snapshots of tables; 4
}

// tableHub serves shapes of tables from the kept log.
type tableHub interface {
	live.Tables
	// Connected says that the log is written again; unless it has joined what was
	// kept, every shape is over.
	Connected(source revision.Source, joined bool)
	Apply(tx *change.Transaction) error
	Advance(lsn revision.LSN)
	Status() table.Status
	SetRules(rules []table.Rule)
	Recheck()
	Run(ctx context.Context)
	Close()
}

// followedTables keeps the log of what is published, and has shapes of tables
// served from it.
//
// A failure of the disk holds nothing up: from then on nothing is appended, shapes
// are refused with the reason, and the log is begun anew, where the feed then is,
// as soon as that works. What it had is gone, so followers begin again.
type followedTables struct {
	t       *Tenant
	o       LiveOptions
	pool    *pgxpool.Pool
	hurry   func() // asks the log for what it has
	makeHub func(*keep.Log) (tableHub, error)
	made    chan struct{} // closed once there is a hub
	rules   atomic.Pointer[[]table.Rule]
	suspect atomic.Bool // a definition changed, and with it maybe what is published

	opening sync.Mutex // held by who opens the log, outermost
	// writing is held by who writes the log, and guards what follows.
	writing sync.Mutex
	log     *keep.Log // nil until it could be opened
	hub     tableHub
	session feed.Session
	seen    revision.LSN // every transaction up to here has been offered
	now     membership   // what is published
	kept    *membership  // the same, as it is written down; nil: that has not been looked at
	torn    bool         // the log has begun anew, and the hub does not know
	// why, if not empty, says why the log has to begin anew, and not before
	// notBefore: what has come back into the publication has changes that the log
	// never brings.
	why       string
	notBefore revision.LSN

	mu      sync.Mutex // innermost
	failure error      // why tables cannot be followed; nil: they can
	since   time.Time
	first   chan struct{} // closed once they can since the start
}

var errNotConnected = fmt.Errorf("%w: the log has not been reached since the start", live.ErrUnavailable)

// openTables prepares what is followed of tables.
func (t *Tenant) openTables(ctx context.Context) error {
	o := t.opts.Live
	if o == nil || o.Tables == "" {
		return nil
	}
	file, err := rules.Load(o.Tables)
	if err != nil {
		return err
	}
	config, err := pgxpool.ParseConfig(t.opts.Database)
	if err != nil {
		return fmt.Errorf("database: %w", withoutSecret(err))
	}
	config.ConnConfig = t.config.Copy()
	config.ConnConfig.RuntimeParams["statement_timeout"] = "0" // a large table takes as long as it takes
	// To compile what is asked of the catalogue takes a hundred times as long as to answer it.
	config.ConnConfig.RuntimeParams["jit"] = "off"
	config.MaxConns = 4
	if o.Connections > 0 {
		config.MaxConns = int32(o.Connections)
	}
	f := &followedTables{
		t: t, o: *o, made: make(chan struct{}), first: make(chan struct{}), failure: errNotConnected, since: time.Now(),
		hurry: func() { t.feed.RequestReply() },
	}
	if f.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	f.rules.Store(tableRules(file))
	tableOptions := table.Options{
		Host: (*permissionHost)(t), Pool: f.pool, Dir: o.Dir,
		ChunkBytes: o.ChunkSize, AllowDelete: o.AllowDelete, Query: query.Options{Publication: t.opts.Publication}, Logger: t.log,
	}
	if !t.triggers.Load() {
		tableOptions.PollInterval = t.opts.PollInterval
	}
	f.makeHub = func(log *keep.Log) (tableHub, error) {
		tableOptions.Log, tableOptions.Rules = log, *f.rules.Load()
		return table.New(tableOptions)
	}
	t.tables = f
	f.open()
	return nil
}

// open opens the log, if that has not been done, and reports whether it is open.
// All of it is read, which may take a while.
func (f *followedTables) open() bool {
	f.opening.Lock()
	defer f.opening.Unlock()
	if f.log != nil {
		return true
	}
	log, err := keep.Open(keep.Options{Dir: filepath.Join(f.o.Dir, "log"), MaxBytes: f.o.MaxLog, Logger: f.t.log})
	var hub tableHub
	if err == nil {
		if hub, err = f.makeHub(log); err != nil {
			log.Close()
		}
	}
	if err != nil {
		f.fail(err)
		return false
	}
	f.writing.Lock()
	f.log, f.hub = log, hub
	f.writing.Unlock()
	close(f.made)
	return true
}

// fail refuses shapes from here on.
func (f *followedTables) fail(err error) {
	if !errors.Is(err, live.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", live.ErrUnavailable, err)
	}
	f.mu.Lock()
	was := f.failure
	f.failure = err
	if was == nil {
		f.since = time.Now()
	}
	f.mu.Unlock()
	if was == nil || was.Error() != err.Error() {
		f.t.log.Error("tables cannot be followed", "err", err)
	}
}

// await says why tables cannot be followed. Until the log is reached, which takes
// a moment after the start, it waits instead: a client that is told to come back
// does so a second later at the earliest.
func (f *followedTables) await(ctx context.Context) error {
	err := f.failed()
	if !errors.Is(err, errNotConnected) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, f.t.opts.WaitTimeout)
	defer cancel()
	select {
	case <-f.first:
	case <-ctx.Done():
	}
	return f.failed()
}

func (f *followedTables) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failure
}

// lockPatience is how long a session waits for the process before this one to let
// go of the log. That ends later than its slot is free.
const lockPatience = 3 * time.Second

// connected begins a session. The reason is why it does not continue the one
// before, in this process; empty if it does or is the first.
func (f *followedTables) connected(ctx context.Context, s feed.Session, reason string) error {
	now, err := readMembership(ctx, f.pool, f.t.opts.Publication)
	if err != nil {
		return err
	}
	for end := time.Now().Add(lockPatience); !f.open() && errors.Is(f.failed(), keep.ErrLocked) && time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	f.writing.Lock()
	defer f.writing.Unlock()
	if reason != "" {
		f.why = reason
		if f.now.left(now) != "" {
			f.notBefore = now.at
		}
	}
	f.session, f.seen, f.now = s, s.Start, now
	f.attach()
	return nil
}

// attach has the log go on, or begin anew, where the feed is.
func (f *followedTables) attach() {
	if f.log == nil || f.session.Epoch == 0 {
		return
	}
	if f.why == "" {
		f.why = f.broken()
	}
	var joined bool
	var err error
	switch {
	case f.why == "":
		joined, err = f.log.Continue(f.session.Source, f.seen)
	case f.notBefore > f.seen:
		f.hurry()
		err = fmt.Errorf("%w: %s, and the log is behind that", live.ErrUnavailable, f.why)
	default:
		f.t.log.Warn("the kept log begins anew", "reason", f.why, "at", f.seen)
		err = f.log.Restart(f.session.Source, f.seen)
	}
	if err == nil {
		// Should the next step fail, the log joins up with its new beginning.
		f.torn = f.torn || !joined
		err = f.remember(f.now)
	}
	if err != nil {
		f.fail(err)
		return
	}
	joined = !f.torn
	f.why, f.notBefore, f.torn = "", 0, false
	f.hub.Connected(f.session.Source, joined)
	f.hub.Advance(f.seen)
	f.mu.Lock()
	f.failure, f.since = nil, time.Now()
	select {
	case <-f.first:
	default:
		close(f.first)
	}
	f.mu.Unlock()
	f.t.log.Info("tables can be followed", "from", f.log.Begin(), "joined", joined)
}

// broken says why the log does not join up with what is kept, apart from where
// that ends.
func (f *followedTables) broken() string {
	if f.log.Source() == (revision.Source{}) {
		return "" // there is none
	}
	if f.log.End() > max(f.session.Written, f.seen) {
		return "the database has not written as much as is kept of its log"
	}
	if f.kept == nil {
		if was, known := loadMembership(f.o.Dir); known {
			f.kept = &was
		}
	}
	why := "it is not known what the publication had when the log was kept"
	if f.kept != nil {
		why = f.kept.left(f.now)
	}
	if why != "" {
		f.notBefore = f.now.at
	}
	return why
}

// remember writes down what is published, if that is not so already.
func (f *followedTables) remember(m membership) error {
	if f.kept != nil && f.kept.same(m) {
		return nil
	}
	if err := m.save(f.o.Dir); err != nil {
		return err
	}
	f.kept = &m
	return nil
}

// apply takes a transaction, before the frontier passes it.
func (f *followedTables) apply(tx *change.Transaction) {
	f.writing.Lock()
	defer f.writing.Unlock()
	if f.failed() == nil {
		err := f.log.Append(tx, kept)
		if err == nil {
			if err = f.hub.Apply(tx); err != nil {
				f.why = err.Error() // the log joins up, and the shapes do not
			}
		}
		if err != nil {
			f.fail(err)
		}
	}
	f.seen = max(f.seen, tx.End)
}

// kept reports whether changes of a relation are kept. Any table that is
// published may be one that is followed, now or after it was renamed or attached
// to another; ours are not.
func kept(rel *catalog.Relation) bool { return rel.Schema != "tidemark" }

// cover says that the log has everything up to a position, before the frontier does.
func (f *followedTables) cover(lsn revision.LSN) {
	f.writing.Lock()
	defer f.writing.Unlock()
	f.seen = max(f.seen, lsn)
	if f.failed() == nil {
		f.log.Cover(lsn)
	}
}

// advance follows the frontier.
func (f *followedTables) advance(lsn revision.LSN) {
	f.writing.Lock()
	defer f.writing.Unlock()
	if f.failed() == nil {
		f.hub.Advance(lsn)
	}
}

// flush makes what is kept durable and returns up to where it is. While nothing
// can be kept, nothing is held back for it.
func (f *followedTables) flush() (revision.LSN, error) {
	f.writing.Lock()
	log, seen := f.log, f.seen
	f.writing.Unlock()
	// What was offered before the failure is looked at is gone, if there is one.
	if f.failed() != nil {
		return seen, nil
	}
	at, err := log.Sync()
	if err != nil {
		f.fail(err)
	}
	return at, err
}

// run tries again what failed, and looks whether tables have left the publication.
func (f *followedTables) run(ctx context.Context) {
	tick := 0
	every(ctx, time.Second, func() {
		if f.failed() != nil && f.open() {
			f.writing.Lock()
			if f.failed() != nil {
				f.attach()
			}
			f.writing.Unlock()
		}
		if tick++; f.suspect.Swap(false) || !f.t.triggers.Load() || tick%10 == 0 {
			f.look(ctx)
		}
	})
}

// recheck has the definitions of tables looked at.
func (f *followedTables) recheck() {
	f.suspect.Store(true)
	f.writing.Lock()
	hub := f.hub
	f.writing.Unlock()
	if hub != nil {
		hub.Recheck()
	}
}

// look compares what is published with what the log has.
func (f *followedTables) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, f.t.opts.WaitTimeout)
	defer cancel()
	now, err := readMembership(ctx, f.pool, f.t.opts.Publication)
	if err != nil {
		f.suspect.Store(true)
		return
	}
	f.writing.Lock()
	defer f.writing.Unlock()
	if f.failed() != nil || now.same(f.now) {
		return
	}
	was := f.now
	f.now = now
	if left := was.left(now); left != "" {
		f.why, f.notBefore = left, now.at
		f.fail(fmt.Errorf("%w: %s", live.ErrUnavailable, left))
	} else if err := f.remember(now); err != nil {
		f.fail(err)
	}
}

// serve runs the hub once there is one.
func (f *followedTables) serve(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-f.made:
		f.hub.Run(ctx)
	}
}

func (f *followedTables) close() {
	if f.hub != nil {
		f.hub.Close()
	}
	if f.log != nil {
		if err := f.log.Close(); err != nil {
			f.t.log.Warn("the kept log was not closed in good order", "err", err)
		}
	}
	f.pool.Close()
}
