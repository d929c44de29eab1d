// Package table serves shapes of tables: some rows of one table, then every change
// of them, in the order of commits.
//
// A shape is made at one snapshot of Postgres and followed in the kept log, which
// all shapes share: one that nothing touches costs nothing. A handle names a
// definition and a snapshot. What it promises to whoever begins at live.Start and
// asks on with the offset that it was given last:
//
//   - Its rows are those of one snapshot. Then come, for each transaction that is
//     not inside the snapshot, in the order of the log, what it did to rows of the
//     shape: all of it, once, nothing merged. So at an UpToDate batch the rows are
//     those that Postgres has at its position.
//   - An offset is good for as long as the handle is, in any process, within what
//     the log keeps. Beyond that, and when the table is truncated or redefined in
//     a way that shows in the shape, there is a GoneError, and never a gap.
//
// Snapshots and log meet as ARCHITECTURE.md says under "The seam": only
// transaction ids say what is inside. The log is read from before the first
// transaction that the snapshot lacks. Up to the upper bound of the snapshot those
// inside are passed over; behind it there are none. Nothing that a crash of the
// database could take back is in a snapshot that is kept: the log has to pass it
// within one session first.
//
// Visible is what the host has advanced over. Nobody is given anything beyond,
// nor beyond a change of definitions until the catalogue says that the shape is
// what it was: see Shape.limit.
//
// A shape that is followed has a tail: what touches it after Shape.from, in
// memory. It is complete because Apply shows every change to an index in which
// the shape stood when its from was taken, under one lock; what does not fit moves
// from, and readers go to the kept log instead. Nothing is lost between Next and
// Changed: both look at the tail under Shape.mu, Apply enters a touch before the
// host advances, and Advance moves the visible position before it closes the
// channels of the touched under the same lock.
//
// Durable before what: the rows of a snapshot before its handle is given out; the
// kept log before Postgres may forget, which is the host's to see to. After a
// crash of the machine the log may lack what followers have seen. It comes again,
// the same, and they wait.
//
// Locks, outermost first: Hub.checking and Hub.settling (held over questions to the
// database), Hub.mu, Shape.mu. Apply and Advance take the latter two, for a time
// that does not grow with the shapes that they do not touch, ask nobody, and read no
// disk but that of a transaction too large for memory. Hub.names and the small
// ones in other types are innermost.
//
// The package decides no consistency level, and knows nothing of HTTP.
package table

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/keep"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Rule lets a table be followed.
type Rule struct {
	Schema string
	Table  string // "": every table of Schema, also those made later
	// Where is a condition that every row meets, and Columns are the only ones
	// that a client may name; nil: all. Account is the column that says whose a
	// row is.
	Where   string
	Columns []string
	Account string
}

// Host is the tenant, as far as shapes need it.
type Host interface {
	// Frontier is of the epoch that is followed now.
	Frontier() *revision.Frontier
	// Lacks reports whether a snapshot lacks a transaction on some of the tables
	// that the log may have delivered before this process began to read it.
	Lacks(snap *revision.Snapshot, tables map[catalog.OID]bool) bool
	// Hurry asks the log for what it has.
	Hurry()
}

// Options configure a hub. Log, Host, Pool and Dir are required.
type Options struct {
	Log  *keep.Log
	Host Host
	// Pool leads to the primary, with the settings with which query.Analyze works.
	// Snapshots take half of its connections at most, so it has two or more.
	Pool  *pgxpool.Pool
	Dir   string // of the handles; made if need be
	Rules []Rule

	ChunkBytes  int   // of messages in a batch, about; 10,000
	MaxTail     int64 // bytes of tails in memory; 64 MiB
	AllowDelete bool
	Query       query.Options

	PollInterval time.Duration // between looks at definitions, in case the log does not tell; 10 s
	Idle         time.Duration // after which a shape leaves memory; 2 min
	Unused       time.Duration // after which a handle ends; 24 h
	WaitTimeout  time.Duration // for what a snapshot has to wait for; 30 s
	MaxFiles     int64         // bytes of handles on disk, the least recently used end first; 8 GiB

	Logger *slog.Logger
}

func (o *Options) defaults() {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.PollInterval, 10*time.Second)
	def(&o.Idle, 2*time.Minute)
	def(&o.Unused, 24*time.Hour)
	def(&o.WaitTimeout, 30*time.Second)
	if o.ChunkBytes <= 0 {
		o.ChunkBytes = 10_000
	}
	if o.MaxTail <= 0 {
		o.MaxTail = 64 << 20
	}
	if o.MaxFiles <= 0 {
		o.MaxFiles = 8 << 30
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Hub serves the shapes of one database's tables. It implements live.Tables.
//
// The host calls Connected, Apply and Advance one at a time, in the order of the
// log, after it has done the same to the kept log. Everything else may be called
// by any goroutine.
type Hub struct {
	opts Options
	log  *keep.Log
	host Host
	pool *pgxpool.Pool
	note *slog.Logger

	ctx    context.Context // of snapshots under way
	cancel context.CancelFunc
	work   sync.WaitGroup
	making,
	copying chan struct{} // have an element for each handle that is being made, for each whose rows are being read
	readers,
	asking chan struct{} // for each reader of the kept log, for each question to the database

	session atomic.Uint64 // counts connections to the log; 0: none yet
	visible atomic.Pointer[revision.Frontier]
	// defined counts what may have changed a definition. It grows before the
	// frontier passes the change.
	defined atomic.Uint64
	rules   atomic.Pointer[[]Rule]
	world   atomic.Pointer[world]
	check   chan struct{} // wakes the checker

	checking sync.Mutex // one look at all definitions at a time
	settling sync.Mutex
	settled  atomic.Uint64 // see settle.go

	mu      sync.Mutex
	source  revision.Source
	applied revision.LSN
	index   *match.Index[*Shape]
	shapes  map[string]*Shape   // in memory, by handle
	handles map[string][]string // of each definition, by its hash, oldest first
	touched []*Shape            // by the transaction at hand
	wake    []*Shape            // by what is applied and not visible
	late    []*Shape            // whose upper bound is not visible
	recent  recent
	unseen  []unseen // delivered, and perhaps not visible to queries
	// suspects are listed when they are needed first after since.
	suspects  map[revision.XID][]catalog.OID
	suspected bool
	since     time.Time
	// delivered is up to where this process has been given the log.
	delivered  revision.LSN
	lastHandle uint64
	doomed     []string // handles of another log, whose files are to be removed
	makes      map[string]*making
	seq        uint64 // of transactions applied

	names names
	looks looks

	scan     int // maxScanned
	passing  sync.Mutex
	searches []*search // that wait for a pass over the log
	passes   bool      // somebody makes them

	told    sync.Mutex
	defines []define // that have not been looked at

	// Counters.
	created, batches, fromLog, passed atomic.Int64
	tailBytes                         atomic.Int64
}

var _ live.Tables = (*Hub)(nil)

// New returns a hub with the handles that are in its directory. It serves nothing
// before Connected.
func New(o Options) (*Hub, error) {
	o.defaults()
	if o.Log == nil || o.Host == nil || o.Pool == nil || o.Dir == "" {
		return nil, errors.New("shapes of tables need a log, a host, a pool and a directory")
	}
	conns := int(o.Pool.Config().MaxConns)
	h := &Hub{
		opts: o, log: o.Log, host: o.Host, pool: o.Pool, note: o.Logger,
		making: make(chan struct{}, maxMaking), copying: make(chan struct{}, max(1, conns/2)), asking: make(chan struct{}, max(1, conns-conns/2)),
		readers: make(chan struct{}, 8), check: make(chan struct{}, 1), scan: maxScanned,
		index: match.NewIndex[*Shape](), shapes: map[string]*Shape{}, makes: map[string]*making{},
	}
	h.rules.Store(&o.Rules)
	h.names.reset()
	h.visible.Store(revision.NewFrontier(revision.Source{}, 0))
	h.ctx, h.cancel = context.WithCancel(context.Background())
	var err error
	if h.handles, err = h.openDir(); err != nil {
		h.cancel()
		return nil, fmt.Errorf("shapes of tables: %w", err)
	}
	return h, nil
}

// Run keeps shapes right and memory and disk bounded, until ctx ends.
func (h *Hub) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, loop := range []func(context.Context){h.checkLoop, h.settleLoop, h.sweepLoop} {
		wg.Go(func() { loop(ctx) })
	}
	wg.Wait()
}

// Close ends what is under way. Handles stay.
func (h *Hub) Close() {
	h.cancel()
	h.work.Wait()
}

// Status says how shapes are.
type Status struct {
	Shapes    int   // in memory
	Handles   int   // on disk
	TailBytes int64 // of messages in memory
	Created   int64
	Batches   int64 // made; what is shared counts once
	FromLog   int64 // readings of the kept log for one shape
	Passes    int64 // and for many
}

// Status returns how shapes are now.
func (h *Hub) Status() Status {
	s := Status{
		TailBytes: h.tailBytes.Load(), Created: h.created.Load(), Batches: h.batches.Load(), FromLog: h.fromLog.Load(),
		Passes: h.passed.Load(),
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s.Shapes = len(h.shapes)
	for _, list := range h.handles {
		s.Handles += len(list)
	}
	return s
}

// pause waits, or returns the error of ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func unavailable(format string, args ...any) error {
	return fmt.Errorf("%w: %w", live.ErrUnavailable, fmt.Errorf(format, args...))
}
