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
	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/revision"
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
	// Parameter says that the values given are at fault, not the statement.
	Parameter bool
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
		stmtAfter:  "SELECT pg_current_wal_insert_lsn()::text",
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
	conn.PgConn().CustomData()["tidemark"] = &fillConn{system: system, prepared: map[*query.Endpoint]string{}}
	return nil
}

// fillConn is what is known of one connection that fills.
type fillConn struct {
	system   uint64
	prepared map[*query.Endpoint]string // statement names
}

// source fills one answer of one endpoint. It implements answer.Source.
type source struct {
	tenant  *Tenant
	binding *query.Binding
}

// maxAnswer bounds one answer's bytes.
const maxAnswer = 64 << 20

func (s *source) Fill(ctx context.Context) (answer.Result, error) {
	return s.run(ctx, nil)
}

func (s *source) FillAt(ctx context.Context, p *answer.Pin) (answer.Result, error) {
	res, err := s.run(ctx, p)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (pg.Code == "22023" || pg.Code == "42704") && strings.Contains(pg.Message, "snapshot") {
		return res, answer.ErrSnapshotExpired
	}
	return res, err
}

func (s *source) run(ctx context.Context, pin *answer.Pin) (answer.Result, error) {
	for attempt := 0; ; attempt++ {
		conn, err := s.tenant.pool.Acquire(ctx)
		if err != nil {
			return answer.Result{}, s.explain(ctx, err)
		}
		res, err := s.runOn(ctx, conn.Conn().PgConn(), pin)
		if err != nil && !conn.Conn().IsClosed() && conn.Conn().PgConn().TxStatus() != 'I' {
			if _, rollback := conn.Conn().Exec(ctx, "ROLLBACK"); rollback != nil {
				closeConn(conn.Conn())
			}
		}
		if err != nil && attempt < 3 && ctx.Err() == nil && retryable(err, conn.Conn().IsClosed()) {
			if !conn.Conn().IsClosed() {
				closeConn(conn.Conn()) // with its prepared statements
			}
			conn.Release()
			continue
		}
		conn.Release()
		return res, s.explain(ctx, err)
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

func (s *source) runOn(ctx context.Context, conn *pgconn.PgConn, pin *answer.Pin) (answer.Result, error) {
	ep := s.binding.Endpoint
	own := conn.CustomData()["tidemark"].(*fillConn) // set by prepareFill
	name, err := s.prepare(ctx, conn, own)
	if err != nil {
		return answer.Result{}, err
	}
	var b pgconn.Batch
	b.ExecPrepared(stmtBegin, nil, nil, nil)
	if pin != nil {
		b.ExecParams("SET TRANSACTION SNAPSHOT "+quoteLiteral(pin.ID), nil, nil, nil, nil)
	}
	b.ExecPrepared(stmtSnapshot, nil, nil, nil)
	b.ExecPrepared(name, s.binding.Args, nil, nil)
	b.ExecPrepared(stmtAfter, nil, nil, nil)
	b.ExecPrepared(stmtCommit, nil, nil, nil)
	results := conn.ExecBatch(ctx, &b)
	res, err := readResult(results, ep.One, pin != nil)
	res.Source.SystemID = own.system
	if cerr := results.Close(); err == nil {
		err = cerr
	}
	return res, err
}

func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// prepare prepares the endpoint's statement on a connection that has not got it.
func (s *source) prepare(ctx context.Context, conn *pgconn.PgConn, own *fillConn) (string, error) {
	ep := s.binding.Endpoint
	prepared := own.prepared
	if name, ok := prepared[ep]; ok {
		return name, nil
	}
	name := fmt.Sprintf("tm_%d", len(prepared))
	if _, err := conn.Prepare(ctx, name, ep.FillSQL(), ep.ParamTypes()); err != nil {
		return "", err
	}
	prepared[ep] = name
	return name, nil
}

// readResult reads the batch's results: BEGIN, perhaps SET, the snapshot, the
// rows, the position afterwards, COMMIT.
func readResult(results *pgconn.MultiResultReader, one, pinned bool) (answer.Result, error) {
	var res answer.Result
	skip := 1
	if pinned {
		skip = 2
	}
	for i := 0; results.NextResult(); i++ {
		r := results.ResultReader()
		switch i - skip {
		case 0:
			if !r.NextRow() {
				_, err := r.Close()
				return res, cmpErr(err, "the snapshot is missing")
			}
			var err error
			if res.Snapshot, err = revision.ParseSnapshot(string(r.Values()[0])); err != nil {
				return res, err
			}
			if res.Upper, err = revision.ParseLSN(string(r.Values()[1])); err != nil {
				return res, err
			}
			if res.Source.Timeline, err = parseTimeline(string(r.Values()[2])); err != nil {
				return res, err
			}
		case 1:
			if err := readRows(&res, r, one); err != nil {
				return res, err
			}
		case 2:
			if !r.NextRow() {
				_, err := r.Close()
				return res, cmpErr(err, "the position is missing")
			}
			var err error
			if res.After, err = revision.ParseLSN(string(r.Values()[0])); err != nil {
				return res, err
			}
		}
		if _, err := r.Close(); err != nil {
			return res, err
		}
	}
	return res, nil
}

func cmpErr(err error, text string) error {
	if err != nil {
		return err
	}
	return errors.New(text)
}

func readRows(res *answer.Result, r *pgconn.ResultReader, one bool) error {
	var body []byte
	rows := 0
	var failed error
	for r.NextRow() {
		rows++
		switch {
		case failed != nil: // read on, so that the connection stays usable
		case one && rows > 1:
			failed = ErrSeveralRows
		case len(body) > maxAnswer:
			failed = fmt.Errorf("%w: over %d MiB", ErrAnswerTooLarge, maxAnswer>>20)
		default:
			if rows > 1 {
				body = append(body, ',')
			} else if !one {
				body = append(body, '[')
			}
			body = append(body, r.Values()[0]...)
		}
	}
	if failed != nil {
		return failed
	}
	switch {
	case one:
		res.Found = rows == 1
	case rows == 0:
		res.Found, body = true, []byte("[]")
	default:
		res.Found, body = true, append(body, ']')
	}
	// Exactly as long as it is: the slack would be held with the answer.
	res.Body = append(make([]byte, 0, len(body)), body...)
	return nil
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
	parameter := pg.Code == "22P02" || pg.Code == "22007" || pg.Code == "22008" || pg.Code == "22003" || pg.Code == "22021"
	return &StatementError{Endpoint: s.binding.Endpoint.Name, Parameter: parameter, Err: pg}
}
