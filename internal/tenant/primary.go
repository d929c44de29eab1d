package tenant

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/answer"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// primary asks the database where it stands. All who ask before a question is
// sent share it. It has a connection of its own, so that no fill delays it.
type primary struct {
	config *pgx.ConnConfig
	store  *answer.Store
	log    *slog.Logger

	wake chan struct{}

	// conn and the system that it leads to belong to run.
	conn   *pgx.Conn
	system uint64

	mu   sync.Mutex
	next *question // not sent yet

	flushMu    sync.Mutex // one flush at a time; guards what follows
	flushConn  *pgx.Conn  // kept for the next one
	flushed    revision.LSN
	flushError time.Time // when a flush failed last

	asked, flushes counter
}

type question struct {
	done chan struct{}
	pos  revision.Position
	err  error
}

// ErrDatabaseGone means that the database could not be asked.
var ErrDatabaseGone error = gone{}

type gone struct{}

func (gone) Error() string { return "the database cannot be reached" }

// Unavailable tells faces that the same may succeed later.
func (gone) Unavailable() bool { return true }

func newPrimary(config *pgx.ConnConfig, store *answer.Store, log *slog.Logger) *primary {
	return &primary{config: config, store: store, log: log, wake: make(chan struct{}, 1)}
}

// Ask implements revision.Primary.
func (p *primary) Ask(ctx context.Context) (revision.Position, error) {
	p.mu.Lock()
	q := p.next
	if q == nil {
		q = &question{done: make(chan struct{})}
		p.next = q
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
	p.mu.Unlock()
	select {
	case <-q.done:
		return q.pos, q.err
	case <-ctx.Done():
		return revision.Position{}, fmt.Errorf("%w: %w", ErrDatabaseGone, context.Cause(ctx))
	}
}

func (p *primary) reset() {
	p.flushMu.Lock()
	p.flushed = 0
	p.flushMu.Unlock()
}

func (p *primary) run(ctx context.Context) {
	defer func() {
		if p.conn != nil {
			closeConn(p.conn)
		}
		p.flushMu.Lock()
		if p.flushConn != nil {
			closeConn(p.flushConn)
			p.flushConn = nil
		}
		p.flushMu.Unlock()
		p.mu.Lock()
		if p.next != nil {
			p.next.err = ErrDatabaseGone
			close(p.next.done)
			p.next = nil
		}
		p.mu.Unlock()
	}()
	// The first to ask should not have to wait for a connection.
	session := p.store.Session()
	if pos, err := p.ask(ctx); err == nil {
		p.store.Prove(session, &pos.Snapshot)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
		p.mu.Lock()
		q := p.next
		p.next = nil
		p.mu.Unlock()
		if q == nil {
			continue
		}
		p.asked.Add(1)
		session := p.store.Session()
		q.pos, q.err = p.ask(ctx)
		if q.err == nil {
			p.store.Prove(session, &q.pos.Snapshot)
		}
		close(q.done)
	}
}

// askTimeout bounds one question; a database that takes longer counts as gone.
const askTimeout = 3 * time.Second

func (p *primary) ask(ctx context.Context) (pos revision.Position, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	// An old connection may have died since it was last used; a new one not.
	for fresh := false; !fresh; {
		if fresh = p.conn == nil || p.conn.IsClosed(); fresh {
			if p.conn, err = pgx.ConnectConfig(ctx, p.config); err != nil {
				p.conn = nil
				break
			}
			p.system, err = systemID(ctx, p.conn)
		}
		if err == nil {
			pos, err = askPosition(ctx, p.conn, p.system)
		}
		if err == nil {
			return pos, nil
		}
		closeConn(p.conn)
		p.conn = nil
	}
	return revision.Position{}, fmt.Errorf("%w: %w", ErrDatabaseGone, withoutSecret(err))
}

// systemID asks a connection for the identity of its cluster, which lasts as
// long as the connection.
func systemID(ctx context.Context, conn *pgx.Conn) (uint64, error) {
	var system int64
	err := conn.QueryRow(ctx, "SELECT system_identifier FROM pg_control_system()").Scan(&system)
	return uint64(system), err
}

// parseTimeline reads the timeline from the name of a log file.
func parseTimeline(file string) (uint32, error) {
	if len(file) < 8 {
		return 0, fmt.Errorf("%q is not the name of a log file", file)
	}
	n, err := strconv.ParseUint(file[:8], 16, 32)
	return uint32(n), err
}

// askPosition reads the snapshot before the positions: what the snapshot holds
// ends at or before Insert.
func askPosition(ctx context.Context, conn *pgx.Conn, system uint64) (revision.Position, error) {
	pos := revision.Position{Source: revision.Source{SystemID: system}}
	var snap, insert, flush, file string
	err := conn.QueryRow(ctx, `SELECT pg_current_snapshot()::text, pg_current_wal_insert_lsn()::text,
		pg_current_wal_flush_lsn()::text, pg_walfile_name(pg_current_wal_insert_lsn())`).Scan(&snap, &insert, &flush, &file)
	if err != nil {
		return pos, err
	}
	if pos.Snapshot, err = revision.ParseSnapshot(snap); err != nil {
		return pos, err
	}
	if pos.Insert, err = revision.ParseLSN(insert); err != nil {
		return pos, err
	}
	if pos.Source.Timeline, err = parseTimeline(file); err != nil {
		return pos, err
	}
	pos.Flush, err = revision.ParseLSN(flush)
	return pos, err
}

// flushFor makes the log durable up to lsn where it is written but not flushed:
// commits with synchronous_commit=off, or unfinished work of others below it. A
// commit of our own is the only way to have that done at once. It is a
// transaction that changes nothing.
func (p *primary) flushFor(ctx context.Context, lsn revision.LSN) {
	p.flushMu.Lock()
	defer p.flushMu.Unlock()
	if p.flushed >= lsn || time.Since(p.flushError) < time.Second {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	pos, err := p.Ask(ctx)
	if err != nil || pos.Insert < lsn {
		return
	}
	if pos.Flush >= lsn {
		p.flushed = pos.Flush
		return
	}
	if err := p.flush(ctx); err != nil {
		p.flushError = time.Now()
		p.log.Warn("the log could not be flushed; waits last until the database does so itself", "err", err)
		return
	}
	p.flushes.Add(1)
	p.flushed = pos.Insert
}

func (p *primary) flush(ctx context.Context) (err error) {
	if p.flushConn == nil || p.flushConn.IsClosed() {
		if p.flushConn, err = pgx.ConnectConfig(ctx, p.config); err != nil {
			p.flushConn = nil
			return err
		}
	}
	_, err = p.flushConn.Exec(ctx, `BEGIN READ WRITE;
		SET LOCAL synchronous_commit TO local;
		SELECT pg_logical_emit_message(true, 'tidemark.flush', '');
		COMMIT`, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		closeConn(p.flushConn)
		p.flushConn = nil
	}
	return err
}

// closeConn closes a connection whatever became of the caller's context.
func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // nothing is lost with it
}
