// Package postgres keeps relationships in the tables of one database and follows
// them through its log.
//
// Calls write to tables of the tidemark schema in one transaction each. Rows of
// the application's own tables mean relationships as a mapping says. Both reach
// the graph through the log alone: at the start by COPY at one snapshot, to
// which the log is stitched, then transaction by transaction through Apply.
//
// The host calls Forget, Connected and Apply one at a time, in the order of the
// log, and moves its frontier over a transaction only after Apply has returned.
// Everything else may be called by any goroutine.
package postgres

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

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/engine"
	"github.com/tidemarkdb/tidemark/internal/perm/mapping"
	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Host is the tenant, as far as permissions need it.
type Host interface {
	// Pass waits until the frontier satisfies a requirement.
	Pass(ctx context.Context, req revision.Requirement) (revision.Passage, error)
	// Frontier is of the epoch that is followed now.
	Frontier() *revision.Frontier
	// Ask asks the primary where it stands.
	Ask(ctx context.Context) (revision.Position, error)
	// Silent reports whether the log has been silent for too long to go by.
	Silent() bool
	// Hurry asks the log for what it has.
	Hurry()
	// Token names a position of the log that is followed.
	Token(lsn revision.LSN) string
	// Lacks reports whether a snapshot lacks a transaction on some of the tables
	// that the log may have delivered before this process began to read it.
	Lacks(snap *revision.Snapshot, tables map[catalog.OID]bool) bool
}

// Options configure a backend.
type Options struct {
	Config      *pgx.ConnConfig // for loading
	Pool        *pgxpool.Pool   // for writes
	Host        Host
	Mapping     *mapping.Mapping // nil: none
	Window      time.Duration    // how long versions are kept
	WaitTimeout time.Duration
	// PollInterval is how often the definitions of mapped tables are compared, in
	// case the log does not tell of their changes.
	PollInterval time.Duration
	Log          *slog.Logger
}

// cacheBytes is for sub-answers that outlive requests.
const cacheBytes = 32 << 20

// Backend implements perm.Backend.
type Backend struct {
	opts  Options
	host  Host
	pool  *pgxpool.Pool
	state *perm.State
	cache *engine.Cache
	log   *slog.Logger

	loading  loading
	failure  atomic.Pointer[error]
	work     chan struct{} // wakes the loader
	imports  chan struct{} // has an element for each that is under way
	ignored  atomic.Int64  // rows of the log that are no relationship
	watchers atomic.Int64  // that have not ended

	// mu orders Apply and the loader.
	mu      sync.Mutex
	decoder decoder
	bound   *bound  // nil until the mapped tables were looked at
	stitch  *stitch // nil: the state follows the log
	suspect uint64  // counts reasons to look at the mapped tables again
	paused  bool    // until that is done
	applied revision.LSN
	// unseen are transactions on the tables that the log has delivered and that a
	// query may not see yet, because they wait for a synchronous standby.
	unseen []revision.XID
}

// New returns a backend whose state is loading. Run loads it once the log is
// followed.
func New(opts Options) *Backend {
	return &Backend{
		opts: opts, host: opts.Host, pool: opts.Pool, log: opts.Log,
		state: perm.NewState(opts.Window), cache: engine.NewCache(cacheBytes), work: make(chan struct{}, 1),
		imports: make(chan struct{}, max(1, opts.Pool.Config().MaxConns/2)),
	}
}

// Errors that callers test for.
var (
	// ErrSilent: the log says nothing, so nobody knows what is stale.
	ErrSilent error = unavailable{errors.New("the log has been silent for too long to answer from it")}
	// ErrDatabase: the database could not do what was asked.
	ErrDatabase = errors.New("the database failed")
)

// View implements perm.Backend.
func (b *Backend) View(ctx context.Context, req revision.Requirement) (perm.View, error) {
	if req.Level == revision.MinimizeLatency && !b.host.Silent() {
		// What nearly every request comes to, without a deadline.
		frontier := b.host.Frontier()
		if view, err := b.current(frontier); err == nil && b.host.Frontier() == frontier {
			return view, view.Broken
		}
	}
	if req.Level == revision.FullyConsistent {
		// The gate bounds this in time by itself, and the log has mostly been applied
		// that far.
		frontier := b.host.Frontier()
		if pass, err := b.host.Pass(ctx, req); err == nil && !pass.Unreached {
			if view, err := b.current(frontier); err == nil && b.host.Frontier() == frontier {
				return view, view.Broken
			}
		}
	}
	view, err := b.view(ctx, req)
	if err == nil && view.Broken != nil {
		err = view.Broken
	}
	return view, err
}

// view is View without a judgement about the schema.
func (b *Backend) view(ctx context.Context, req revision.Requirement) (perm.View, error) {
	ctx, cancel := context.WithTimeout(ctx, b.opts.WaitTimeout)
	defer cancel()
	for {
		frontier := b.host.Frontier()
		view, err := b.viewOf(ctx, frontier, req)
		if b.host.Frontier() != frontier || errors.Is(err, errPaused) {
			continue // another log began meanwhile, or a load
		}
		return view, err
	}
}

// errPaused: the state went while somebody was about to read it.
var errPaused = errors.New("paused")

func (b *Backend) viewOf(ctx context.Context, frontier *revision.Frontier, req revision.Requirement) (perm.View, error) {
	if req.Level == revision.MinimizeLatency {
		if b.host.Silent() {
			return perm.View{}, ErrSilent
		}
		return b.now(ctx, frontier)
	}
	pass, err := b.host.Pass(ctx, req)
	if err != nil {
		return perm.View{}, err
	}
	if pass.Unreached {
		if err := frontier.Wait(ctx, pass.Position); err != nil {
			if ctx.Err() != nil {
				err = revision.ErrNotReached
			}
			return perm.View{}, err
		}
	}
	if req.Level != revision.AtExactSnapshot {
		return b.now(ctx, frontier)
	}
	if err := b.loaded(ctx); err != nil {
		return perm.View{}, err
	}
	v, err := b.state.At(pass.Position)
	if errors.Is(err, perm.ErrLoading) {
		err = errPaused
	}
	return perm.View{Version: v, Token: b.host.Token(pass.Position), Cache: b.cache}, err
}

// now returns the current version, which holds everything up to the frontier.
func (b *Backend) now(ctx context.Context, frontier *revision.Frontier) (perm.View, error) {
	if err := b.loaded(ctx); err != nil {
		return perm.View{}, err
	}
	return b.current(frontier)
}

func (b *Backend) current(frontier *revision.Frontier) (perm.View, error) {
	// In this order: what the frontier has passed is in the version. If the version
	// is newer, nothing of permissions lies between.
	at := frontier.Load()
	v, err := b.state.Current()
	if err != nil {
		return perm.View{}, errPaused
	}
	return perm.View{Version: v, Token: b.host.Token(max(at, v.LSN)), Cache: b.cache}, nil
}

// newest returns the version that a write is validated against: the current one,
// or one that holds everything that is committed now.
func (b *Backend) newest(ctx context.Context, fully bool) (*perm.Version, error) {
	req := revision.Requirement{}
	if fully || b.host.Silent() {
		req.Level = revision.FullyConsistent
	}
	view, err := b.view(ctx, req)
	return view.Version, err
}

// Watch implements perm.Backend.
func (b *Backend) Watch(ctx context.Context, token string) (*perm.Cursor, error) {
	req := revision.Requirement{Level: revision.FullyConsistent}
	if token != "" {
		t, err := revision.ParseToken(token)
		if err != nil {
			return nil, err
		}
		req = revision.Requirement{Level: revision.AtLeastAsFresh, Token: t}
	}
	watching := ctx
	ctx, cancel := context.WithTimeout(ctx, b.opts.WaitTimeout)
	defer cancel()
	for {
		frontier := b.host.Frontier()
		pass, err := b.host.Pass(ctx, req)
		if err == nil {
			err = b.loaded(ctx)
		}
		if b.host.Frontier() != frontier {
			continue
		}
		if err != nil {
			return nil, err
		}
		cursor, err := b.state.CursorAt(pass.Position)
		if errors.Is(err, perm.ErrLoading) && ctx.Err() == nil {
			continue
		}
		if err == nil {
			b.watchers.Add(1)
			context.AfterFunc(watching, func() { b.watchers.Add(-1) })
		}
		return cursor, err
	}
}

// Through implements perm.Backend.
func (b *Backend) Through() revision.LSN { return b.host.Frontier().Load() }

// Token implements perm.Backend.
func (b *Backend) Token(lsn revision.LSN) string { return b.host.Token(lsn) }

// Parse implements perm.Backend.
func (b *Backend) Parse(token string) (revision.Token, error) { return revision.ParseToken(token) }

// Mapped implements perm.Backend.
func (b *Backend) Mapped(typ, relation string) bool {
	return b.opts.Mapping != nil && b.opts.Mapping.Mapped(typ, relation)
}

// Status says how permissions are.
type Status struct {
	Loaded        bool
	Relationships int   // in memory
	Read          int64 // so far, while they are being loaded
	SchemaVersion int64
	Ignored       int64 // rows of the log that are no relationship
	Watchers      int64
	Kept          perm.Stats
	Err           error // of the last attempt to load, or what is wrong with the schema
}

// Status returns how permissions are now.
func (b *Backend) Status() Status {
	s := Status{Read: b.loading.read.Load(), Ignored: b.ignored.Load(), Watchers: b.watchers.Load(), Kept: b.state.Stats()}
	if err := b.failure.Load(); err != nil {
		s.Err = *err
	}
	if v, err := b.state.Current(); err == nil {
		s.Loaded, s.Relationships, s.SchemaVersion = true, v.Graph.Len(), v.SchemaVersion
		if v.Broken != nil {
			s.Err = v.Broken
		}
	}
	return s
}

// writable says whether a call may make an update.
func (b *Backend) writable(v *perm.Version, u perm.Update) error {
	if b.Mapped(u.Resource.Type, u.Relation) {
		return &perm.MappedError{Type: u.Resource.Type, Relation: u.Relation}
	}
	return perm.Fits(v.Schema, u)
}

// fitsMapping says whether what the mapping yields fits a schema.
func (b *Backend) fitsMapping(sch *schema.Schema) error {
	if b.opts.Mapping == nil {
		return nil
	}
	if problems := b.opts.Mapping.Check(sch); len(problems) > 0 {
		return fmt.Errorf("%w: %w", perm.ErrMappingUnfit, problems)
	}
	return nil
}

// databaseError names the database as the one that failed, where it did.
func databaseError(err error) error {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		err := fmt.Errorf("%w: %s (SQLSTATE %s)", ErrDatabase, pgErr.Message, pgErr.Code)
		// Connections, resources, an operator: the same may succeed later.
		if class := pgErr.Code[:min(2, len(pgErr.Code))]; class == "08" || class == "53" || class == "57" {
			return unavailable{err}
		}
		return err
	}
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) {
		return unavailable{fmt.Errorf("%w: it cannot be reached", ErrDatabase)}
	}
	return err
}

// unavailable is an error that may go away by itself.
type unavailable struct{ error }

func (u unavailable) Unwrap() error { return u.error }

// Unavailable says so to faces.
func (unavailable) Unavailable() bool { return true }
