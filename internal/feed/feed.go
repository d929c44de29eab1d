// Package feed follows the log of one database through a durable slot and
// hands every committed transaction to a Sink, in commit order, once.
//
// The contract:
//
//   - Nothing is acknowledged to Postgres before the Sink's call that covers
//     it has returned nil, nor before Options.Flush has said that it is durable.
//     A crash of this process or of the server therefore loses nothing; what was
//     not acknowledged comes again.
//   - Within one epoch every transaction is applied exactly once by this
//     process, whatever connections and servers do in between. When that
//     cannot be promised, because the slot was lost or re-created or the log is
//     another one, the epoch grows and the Session says why.
//   - The frontier that the Sink sees moves only forward within an epoch, and
//     only over transactions that have been applied.
//   - Memory is bounded: the queue between reading and applying in bytes, open
//     transactions by moving to disk.
//
// Run owns every goroutine: one reads the connection, and calls the Sink for
// what is small as long as the Sink keeps up; Run's own calls it for the rest;
// one sends status updates, so that a slow Sink never makes the server give
// the connection up; and one calls Flush, for the same reason. RequestReply and Status may be called from anywhere at any
// time.
//
// The feed does not create or alter publications.
package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/replication"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Options say which log to follow and how. DSN or Config, Slot and Publication
// are required; the other zero values are useful.
type Options struct {
	DSN    string
	Config *pgconn.Config // instead of DSN

	Slot        string
	Publication string
	// CreateSlot makes a missing slot, and replaces one that is lost. Without it
	// both are errors, retried until somebody has seen to it.
	CreateSlot bool

	Logger *slog.Logger // nil discards

	// SpillDir is where large transactions go; it is created. Default: a
	// directory "tidemark" below the system's one for temporary files.
	SpillDir string
	// MemoryLimit bounds, in bytes, the transactions that are held in memory
	// before their commit. Default 64 MiB.
	MemoryLimit int64
	// TransactionBytes and TransactionChanges bound what one transaction may
	// hold in memory and be handed on as Transaction.Changes. Defaults 16 MiB,
	// or a quarter of MemoryLimit if that is less, and 50,000.
	TransactionBytes   int64
	TransactionChanges int
	// QueueBytes bounds what was read and not yet applied. Default 8 MiB.
	QueueBytes int

	// Flush, if not nil, makes what was applied durable and returns up to where
	// it is; nothing beyond that is acknowledged. It is called about as often as
	// acknowledgements are sent, and may take its time. An error holds nothing
	// back: whoever keeps what was applied has to know then that it is lost, and
	// begin anew.
	Flush func() (revision.LSN, error)

	// StatusInterval is how often an acknowledgement is sent, at most. Default
	// one second; less where wal_sender_timeout demands it.
	StatusInterval time.Duration
	// ReplyTimeout is how long the server may stay silent after it was asked for
	// a reply. The default follows wal_sender_timeout: a walsender in the middle
	// of a large transaction listens only every half of it. One minute if that
	// is off.
	ReplyTimeout time.Duration
	// MinBackoff and MaxBackoff bound the wait between attempts. Defaults 100 ms
	// and 10 s.
	MinBackoff, MaxBackoff time.Duration
}

func (o Options) withDefaults() (Options, error) {
	if o.Config == nil {
		cfg, err := pgconn.ParseConfig(o.DSN)
		if err != nil {
			return o, fmt.Errorf("connection string: %w", err)
		}
		// One connection string serves the whole process, and what it says to
		// connection pools a server would refuse.
		maps.DeleteFunc(cfg.RuntimeParams, func(name, _ string) bool {
			switch name {
			case "default_query_exec_mode", "statement_cache_capacity", "description_cache_capacity":
				return true
			}
			return strings.HasPrefix(name, "pool_")
		})
		o.Config = cfg
	}
	if err := replication.CheckSlotName(o.Slot); err != nil {
		return o, err
	}
	if err := replication.CheckPublicationName(o.Publication); err != nil {
		return o, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.SpillDir == "" {
		o.SpillDir = filepath.Join(os.TempDir(), "tidemark")
	}
	orDefault(&o.MemoryLimit, 64<<20)
	orDefault(&o.TransactionBytes, min(16<<20, o.MemoryLimit/4))
	orDefault(&o.TransactionChanges, 50_000)
	orDefault(&o.QueueBytes, 8<<20)
	orDefault(&o.StatusInterval, time.Second)
	orDefault(&o.MinBackoff, 100*time.Millisecond)
	orDefault(&o.MaxBackoff, 10*time.Second)
	if o.MaxBackoff < o.MinBackoff {
		return o, fmt.Errorf("the longest backoff %v is below the shortest %v", o.MaxBackoff, o.MinBackoff)
	}
	return o, nil
}

func orDefault[T int | int64 | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// Feed follows one slot. New makes one; Run may be called once.
type Feed struct {
	opts   Options
	sink   Sink
	log    *slog.Logger
	dir    spillDir
	status statusBoard
	// replies holds a token while somebody waits for the server's reply.
	replies chan struct{}

	// What follows belongs to Run's goroutine and outlives sessions.

	memory memory
	known  map[catalog.OID]*catalog.Relation
}

// memory is what this process knows of the log that it followed.
type memory struct {
	connected   bool // a session has reached the Sink
	source      revision.Source
	publication uint32       // OID, 0 before it was seen
	covered     revision.LSN // applied up to here, in this epoch
	epoch       uint64
	reason      string // of the epoch
	// gap says why the next session cannot join up with what came before.
	gap string
	// stale says that the slot is older than the publication: decoding from it
	// fails for ever.
	stale bool
}

// New returns a feed that Run starts.
func New(opts Options, sink Sink) *Feed {
	return &Feed{
		opts: opts, sink: sink,
		replies: make(chan struct{}, 1),
		known:   make(map[catalog.OID]*catalog.Relation),
	}
}

// Run follows the log until ctx ends, and then returns nil. It reconnects for
// ever; what is wrong meanwhile is in Status and in the log. Only options that
// cannot work end it with an error.
func (f *Feed) Run(ctx context.Context) error {
	opts, err := f.opts.withDefaults()
	if err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	f.opts, f.log = opts, opts.Logger.With("slot", opts.Slot)
	f.dir.path, f.dir.prefix = opts.SpillDir, "spill-"+opts.Slot+"-"
	f.status.init(opts)
	if err := f.dir.clean(); err != nil {
		f.log.Warn("cannot remove left-over files of large transactions", "dir", opts.SpillDir, "err", err)
	}
	backoff := opts.MinBackoff
	for ctx.Err() == nil {
		progress, err := f.session(ctx)
		if ctx.Err() != nil {
			break
		}
		if progress {
			backoff = opts.MinBackoff
		}
		wait := backoff/2 + rand.N(backoff/2+1)
		f.report(err, wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		backoff = min(2*backoff, f.longestBackoff(err))
	}
	f.status.set(StateStopped, "")
	return nil
}

// longestBackoff keeps a feed that waits its turn close behind the one that
// holds the slot.
func (f *Feed) longestBackoff(err error) time.Duration {
	if errors.Is(err, ErrSlotActive) {
		return max(f.opts.MinBackoff, min(time.Second, f.opts.MaxBackoff))
	}
	return f.opts.MaxBackoff
}

func (f *Feed) report(err error, wait time.Duration) {
	state, level := StateFailed, slog.LevelWarn
	if errors.Is(err, ErrSlotActive) {
		state = StateWaitingForSlot
		if f.status.state() == state {
			level = slog.LevelDebug // said once
		}
	}
	f.status.failed(state, err)
	f.log.Log(context.Background(), level, "not following the log", "state", state, "err", err, "retry_in", wait.Round(time.Millisecond))
}

// RequestReply asks the server how far it has decoded, so that an idle
// frontier moves at once. It returns immediately, costs next to nothing, and
// may be called by many at a time: requests are merged and sent at most once
// in askPace.
func (f *Feed) RequestReply() {
	select {
	case f.replies <- struct{}{}:
	default:
	}
}

// Status returns what is known now.
func (f *Feed) Status() Status { return f.status.read(&f.dir) }
