// Package tenant wires the parts of one source database together: the feed, the
// answer store, the gate, the endpoints and the connections that fill answers.
//
// A transaction enters at Apply and nowhere else. Its parts see it in this
// order: the store (history, then the answers that it touches), permissions, the
// kept log and the shapes of tables, then the frontier, which wakes those who wait,
// and the followers. Faces read through Hit and Read, and follow through Tables and
// Answers.
//
// Open acquires, Run blocks and owns every goroutine, Close gives back.
package tenant

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/tidemarkdb/tidemark/internal/answer"
	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/feed"
	"github.com/tidemarkdb/tidemark/internal/live/follow"
	"github.com/tidemarkdb/tidemark/internal/perm/postgres"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Options configure a tenant.
type Options struct {
	Database    string // connection string
	Endpoints   string // folder of .sql files
	Slot        string
	Publication string

	WaitTimeout  time.Duration
	MaxStaleness time.Duration
	GCWindow     time.Duration
	Quantization time.Duration // between pinned snapshots

	MaxMemory        int64
	TTL              time.Duration
	FillConnections  int
	StatementTimeout time.Duration
	Queue            int  // fills that may wait for a connection; 10,000
	Batch            int  // answers that one fill may compute; 100
	NoRefill         bool // leave what a change ended to the next reader
	AuditPerMinute   int  // answers compared with the database in the background
	// PollInterval is how often definitions are compared where the database has
	// no event trigger that reports them; 1 s.
	PollInterval time.Duration
	// GuardAccounts keeps answers with an account column, which hold the rows of all
	// accounts, for those whose context has Trust.
	GuardAccounts bool
	// Permissions are off if nil.
	Permissions *PermissionOptions
	// Live is what may be followed; nothing if nil.
	Live *LiveOptions

	Logger *slog.Logger
}

// Tenant is one source database, served.
type Tenant struct {
	opts Options
	log  *slog.Logger

	pool    *pgxpool.Pool // fills; bounded by FillConnections
	config  *pgx.ConnConfig
	feed    *feed.Feed
	store   *answer.Store
	primary *primary
	audits  auditor

	perms    *postgres.Backend // nil: permissions are off
	permPool *pgxpool.Pool     // their writes

	tables  *followedTables // nil: none may be followed
	answers *follow.Hub     // nil: none may be followed

	endpoints atomic.Pointer[endpointSet]
	replan    replanner
	triggers  atomic.Bool // definition changes arrive through the log

	tokens  tokenCache
	session atomic.Pointer[session]
	heard   atomic.Int64 // Unix nanoseconds: when the log last said anything
	silent  atomic.Bool  // for longer than the wait timeout
	applied atomic.Int64 // transactions
	changes atomic.Int64
	last    atomic.Pointer[lastCommit]
	pinned  atomic.Int64 // value of applied when the newest pin was taken

	relations map[catalog.OID]*catalog.Relation // seen in the log; Apply's goroutine only
	closed    sync.Once
}

// session is what is known of the log being followed.
type session struct {
	feed.Session
	connected bool
	since     time.Time
	err       error
}

type lastCommit struct {
	committed, applied time.Time
	end                revision.LSN
}

// ErrStarting means that the log has not been reached yet since the start.
var ErrStarting = errors.New("the log is not being followed yet")

// Open connects to the database, analyses the endpoints and checks that the
// tables they read are published. It returns *ProblemsError when files are at
// fault.
func Open(ctx context.Context, opts Options) (*Tenant, error) {
	setDefaults(&opts)
	poolConfig, err := pgxpool.ParseConfig(opts.Database)
	if err != nil {
		return nil, fmt.Errorf("database: %w", withoutSecret(err))
	}
	config := poolConfig.ConnConfig
	if config.ValidateConnect == nil {
		// Of several hosts the primary is meant: a standby's snapshots do not say
		// what is in progress.
		config.ValidateConnect = validatePrimary
	}
	if err := pinSettings(ctx, config, opts.StatementTimeout); err != nil {
		return nil, err
	}
	poolConfig.MaxConns = int32(opts.FillConnections)
	poolConfig.AfterConnect = prepareFill
	t := &Tenant{opts: opts, log: opts.Logger, config: config, relations: map[catalog.OID]*catalog.Relation{}}
	t.replan.wake = make(chan struct{}, 1)
	if t.pool, err = pgxpool.NewWithConfig(ctx, poolConfig); err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	if err := t.open(ctx); err != nil {
		t.pool.Close()
		return nil, err
	}
	return t, nil
}

func (t *Tenant) open(ctx context.Context) error {
	source, err := t.identify(ctx)
	if err != nil {
		return err
	}
	set, err := t.load(ctx)
	if err != nil {
		return err
	}
	t.endpoints.Store(set)
	t.store = answer.NewStore(answer.Options{
		MaxMemory: t.opts.MaxMemory, GCWindow: t.opts.GCWindow,
		FillTimeout: t.opts.StatementTimeout + t.opts.WaitTimeout, ProofTimeout: t.opts.WaitTimeout,
		Patience: patience,
		Fills:    t.opts.FillConnections, Queue: t.opts.Queue, NoRefill: t.opts.NoRefill,
	}, source, 0)
	t.store.Freeze(true) // nothing counts as current before the log is followed
	t.primary = newPrimary(t.config, t.store, t.log)
	logConfig, err := pgconn.ParseConfig(t.opts.Database)
	if err != nil {
		return fmt.Errorf("database: %w", withoutSecret(err))
	}
	if logConfig.ValidateConnect == nil {
		logConfig.ValidateConnect = validatePrimary
	}
	if err := t.openPermissions(ctx); err != nil {
		return err
	}
	if err := t.openTables(ctx); err != nil {
		return err
	}
	t.openAnswers()
	var flush func() (revision.LSN, error)
	if t.tables != nil {
		flush = t.tables.flush
	}
	t.feed = feed.New(feed.Options{
		Config: logConfig, Slot: t.opts.Slot, Publication: t.opts.Publication, CreateSlot: true, Flush: flush, Logger: t.log,
	}, t)
	return nil
}

// validatePrimary accepts a connection to a primary. It asks by the simple
// protocol, which is all that a replication connection speaks.
func validatePrimary(ctx context.Context, conn *pgconn.PgConn) error {
	results, err := conn.Exec(ctx, "SELECT pg_is_in_recovery()").ReadAll()
	if err != nil {
		return err
	}
	if len(results) == 1 && len(results[0].Rows) == 1 && string(results[0].Rows[0][0]) == "t" {
		return errors.New("the server is a standby; tidemark follows the primary")
	}
	return nil
}

// identify asks the database which log it writes.
func (t *Tenant) identify(ctx context.Context) (revision.Source, error) {
	conn, err := pgx.ConnectConfig(ctx, t.config)
	if err != nil {
		return revision.Source{}, fmt.Errorf("%w: %w", ErrDatabaseGone, withoutSecret(err))
	}
	defer closeConn(conn)
	var recovery bool
	var walLevel string
	err = conn.QueryRow(ctx, "SELECT pg_is_in_recovery(), current_setting('wal_level')").Scan(&recovery, &walLevel)
	switch {
	case err != nil:
		return revision.Source{}, fmt.Errorf("%w: %w", ErrDatabaseGone, err)
	case recovery:
		return revision.Source{}, errors.New("the database is a standby: tidemark follows the primary; point database at it")
	case walLevel != "logical":
		return revision.Source{}, fmt.Errorf("wal_level is %s and must be logical: ALTER SYSTEM SET wal_level = logical, then restart Postgres", walLevel)
	}
	system, err := systemID(ctx, conn)
	if err != nil {
		return revision.Source{}, fmt.Errorf("%w: %w", ErrDatabaseGone, err)
	}
	pos, err := askPosition(ctx, conn, system)
	if err != nil {
		return revision.Source{}, fmt.Errorf("%w: %w", ErrDatabaseGone, err)
	}
	return pos.Source, nil
}

// patience is how long a request that the database itself may answer waits for
// the log instead.
const patience = 250 * time.Millisecond

func setDefaults(o *Options) {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.WaitTimeout, 5*time.Second)
	def(&o.Quantization, 5*time.Second)
	def(&o.TTL, 24*time.Hour)
	def(&o.StatementTimeout, 10*time.Second)
	def(&o.PollInterval, time.Second)
	if o.FillConnections == 0 {
		o.FillConnections = 8
	}
	if o.Batch == 0 {
		o.Batch = 100
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Run follows the log until ctx ends. It returns nil then, and an error only if
// the log can never be followed as things are.
func (t *Tenant) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return t.feed.Run(ctx) })
	loops := []func(context.Context){
		t.primary.run, t.nudge, t.watch, t.sweep, t.pin, t.poll, t.replanLoop, t.resolveUnknown, t.auditLoop,
		t.runPermissions,
	}
	if t.tables != nil {
		loops = append(loops, t.tables.run, t.tables.serve)
	}
	if t.answers != nil {
		loops = append(loops, t.answers.Run)
	}
	for _, loop := range loops {
		g.Go(func() error {
			loop(ctx)
			return nil
		})
	}
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Close ends fills and gives connections back. Run must have returned.
func (t *Tenant) Close() {
	t.closed.Do(func() {
		if t.tables != nil {
			t.tables.close()
		}
		if t.answers != nil {
			t.answers.Close()
		}
		t.store.Close()
		t.pool.Close()
		if t.permPool != nil {
			t.permPool.Close()
		}
	})
}

// sweep forgets what is too old, and asks for a snapshot where the store needs
// one to be able to forget.
func (t *Tenant) sweep(ctx context.Context) {
	every(ctx, time.Second, func() {
		t.store.Sweep()
		if t.store.Unproven() == 0 {
			return
		}
		ask, cancel := context.WithTimeout(ctx, t.opts.WaitTimeout)
		defer cancel()
		if _, err := t.primary.Ask(ask); err != nil {
			t.log.Debug("no snapshot for the history", "err", err)
		}
	})
}

// watch freezes the cache when the log is silent for longer than the wait
// timeout, and thaws it when it speaks again.
func (t *Tenant) watch(ctx context.Context) {
	every(ctx, 250*time.Millisecond, func() {
		s := t.session.Load()
		if s == nil {
			return
		}
		silent := t.silence()
		if s.connected && silent > time.Second {
			t.feed.RequestReply()
		}
		t.silent.Store(silent > t.opts.WaitTimeout)
		t.store.Freeze(silent > t.opts.WaitTimeout)
	})
}

// silence returns how long ago the log was last heard, a keepalive that says
// nothing new included.
func (t *Tenant) silence() time.Duration {
	at := time.Unix(0, t.heard.Load())
	if last := t.feed.Status().LastMessage; last.After(at) {
		at = last
	}
	return time.Since(at)
}

// nudge keeps waits for the frontier short. It asks the log's sender for its
// position, and where the position waited for is not on disk yet, because it
// belongs to unflushed work of others, has the database flush it.
func (t *Tenant) nudge(ctx context.Context) {
	for {
		frontier := t.store.Frontier()
		select {
		case <-ctx.Done():
			return
		case <-frontier.Wanted():
		case <-time.After(time.Second):
			continue // the frontier may be that of a new epoch
		}
		for pause := time.Millisecond; ctx.Err() == nil && frontier == t.store.Frontier(); pause = min(2*pause, 100*time.Millisecond) {
			want, waiting := frontier.Highest()
			if !waiting {
				break
			}
			t.feed.RequestReply()
			short, cancel := context.WithTimeout(ctx, pause)
			err := frontier.Wait(short, want)
			cancel()
			if err == nil {
				continue
			}
			t.primary.flushFor(ctx, want)
		}
	}
}

// every calls f at an interval until ctx ends.
func every(ctx context.Context, interval time.Duration, f func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f()
		}
	}
}
