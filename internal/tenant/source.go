package tenant

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/answer"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/query"
)

type counter struct{ atomic.Int64 }

// Errors of a fill that callers test for.
var (
	// ErrStatementTimeout: the endpoint's statement ran too long.
	ErrStatementTimeout = errors.New("the statement ran longer than fill.statement_timeout")
	// ErrSeveralRows: an endpoint with `result: one` returned more than one row.
	ErrSeveralRows = errors.New("the endpoint promises one row, and the statement returned several")
	// ErrAnswerTooLarge: the answer is larger than one may be.
	ErrAnswerTooLarge = errors.New("the answer is too large")
)

// StatementError is an error that the database reported for an endpoint's
// statement.
type StatementError struct {
	Endpoint string
	// Parameter says that the values given are at fault, not the statement, and
	// Name whose value, if it is known.
	Parameter bool
	Name      string
	Err       *pgconn.PgError
}

func (e *StatementError) Error() string { return e.Err.Message }
func (e *StatementError) Unwrap() error { return e.Err }

// roleSettings are those, beside query.Settings, on which an answer may depend
// and which stay as they are for this role.
var roleSettings = []string{
	"lc_monetary", "lc_numeric", "lc_time", "default_text_search_config", "search_path", "xmlbinary",
}

// pinSettings fixes the settings of every connection, so that a later change of
// a default does not change answers behind the log's back.
func pinSettings(ctx context.Context, c *pgx.ConnConfig, timeout time.Duration) error {
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "tidemark"
	}
	c.RuntimeParams["client_encoding"] = "UTF8"
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDatabaseGone, withoutSecret(err))
	}
	defer closeConn(conn)
	for _, set := range query.Settings() {
		c.RuntimeParams[set.Name] = set.Value
	}
	for _, name := range roleSettings {
		var value string
		if err := conn.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(&value); err != nil {
			return fmt.Errorf("%w: %w", ErrDatabaseGone, err)
		}
		c.RuntimeParams[name] = value
	}
	c.RuntimeParams["statement_timeout"] = fmt.Sprint(timeout.Milliseconds())
	c.RuntimeParams["default_transaction_read_only"] = "on"
	return nil
}

// Names of the statements that every fill connection has prepared.
const (
	stmtBegin    = "tm_begin"
	stmtSnapshot = "tm_snapshot"
	stmtAfter    = "tm_after"
	stmtCommit   = "tm_commit"
)

func prepareFill(ctx context.Context, conn *pgx.Conn) error {
	for name, sql := range map[string]string{
		stmtBegin: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
		// The snapshot exists before the position is read, so whatever it holds
		// ends at or before that position.
		stmtSnapshot: `SELECT pg_current_snapshot()::text, pg_current_wal_insert_lsn()::text,
			pg_walfile_name(pg_current_wal_insert_lsn())`,
		// After the commit, so that it has a snapshot of its own.
		stmtAfter:  "SELECT pg_current_snapshot()::text, pg_current_wal_insert_lsn()::text",
		stmtCommit: "COMMIT",
	} {
		if _, err := conn.PgConn().Prepare(ctx, name, sql, nil); err != nil {
			return err
		}
	}
	system, err := systemID(ctx, conn)
	if err != nil {
		return err
	}
	conn.PgConn().CustomData()["tidemark"] = &fillConn{system: system, prepared: map[statement]string{}}
	return nil
}

// fillConn is what is known of one connection that fills.
type fillConn struct {
	system   uint64
	used     bool                 // by a fill before
	prepared map[statement]string // their names
}

// source fills one answer of one endpoint, alone or with others of its kind. It
// implements answer.Source.
type source struct {
	tenant  *Tenant
	binding *query.Binding
	tables  []match.Dependency // see filling.tables
}

// maxAnswer bounds the bytes of what one fill computes.
const maxAnswer = 64 << 20

func (s *source) Fill(ctx context.Context, queries []*answer.Query) ([]answer.Result, error) {
	sources := make([]*source, len(queries))
	for i, q := range queries {
		sources[i] = q.Source.(*source) // a group's queries are all of its endpoint
	}
	return s.run(ctx, sources, nil)
}

func (s *source) FillAt(ctx context.Context, p *answer.Pin) (answer.Result, error) {
	res, err := s.run(ctx, []*source{s}, p)
	if err == nil {
		// The names of snapshots begin anew when the server does, so that this one
		// may be another's.
		if res[0].Snapshot.String() != p.Snapshot.String() {
			return answer.Result{}, answer.ErrSnapshotExpired
		}
		return res[0], nil
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (pg.Code == "22023" || pg.Code == "42704") && strings.Contains(pg.Message, "snapshot") {
		return answer.Result{}, answer.ErrSnapshotExpired
	}
	return answer.Result{}, err
}

func (s *source) run(ctx context.Context, sources []*source, pin *answer.Pin) ([]answer.Result, error) {
	for attempts := 0; ; {
		conn, err := s.tenant.pool.Acquire(ctx)
		if err != nil {
			return nil, s.explain(ctx, err)
		}
		own := conn.Conn().PgConn().CustomData()["tidemark"].(*fillConn)
		if !own.used {
			// Any other may have died in the pool since, and says nothing of the server.
			attempts++
			own.used = true
		}
		f := newFilling(sources)
		err = f.run(ctx, conn.Conn().PgConn(), pin)
		if err != nil && !conn.Conn().IsClosed() && conn.Conn().PgConn().TxStatus() != 'I' {
			if _, rollback := conn.Conn().Exec(ctx, "ROLLBACK"); rollback != nil {
				closeConn(conn.Conn())
			}
		}
		if err != nil && attempts <= 3 && ctx.Err() == nil && retryable(err, conn.Conn().IsClosed()) {
			if !conn.Conn().IsClosed() {
				closeConn(conn.Conn()) // with its prepared statements
			}
			conn.Release()
			continue
		}
		if pg, is := dataException(err); is && len(sources) == 1 && !conn.Conn().IsClosed() {
			if name, pg, is := blame(ctx, conn.Conn().PgConn(), s.binding, pg); is {
				conn.Release()
				return nil, &StatementError{Endpoint: s.binding.Endpoint.Name, Parameter: true, Name: name, Err: pg}
			}
		}
		conn.Release()
		if err != nil {
			return nil, s.explain(ctx, err)
		}
		return f.results()
	}
}

// retryable says that a new connection may succeed: this one died, and a read
// may be repeated, or its prepared statement was overtaken by a change of a
// definition.
func retryable(err error, closed bool) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == "0A000" || pg.Code == "26000" || pg.Code == "57P01"
	}
	return closed
}

// explain sorts errors into those that say something to the client.
func (s *source) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		if errors.Is(err, ErrSeveralRows) || errors.Is(err, ErrAnswerTooLarge) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("%w: %w", ErrDatabaseGone, err)
	}
	switch {
	case pg.Code == "57014":
		return ErrStatementTimeout
	case strings.HasPrefix(pg.Code, "57P"), strings.HasPrefix(pg.Code, "53"), strings.HasPrefix(pg.Code, "08"):
		return fmt.Errorf("%w: %w", ErrDatabaseGone, err)
	case strings.HasPrefix(pg.Code, "42"):
		// It was analysed well, so a definition has changed since.
		s.tenant.replan.request()
	}
	return &StatementError{Endpoint: s.binding.Endpoint.Name, Err: pg}
}
