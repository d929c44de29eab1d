// Package replication speaks Postgres's streaming replication protocol for
// logical slots: the commands that manage a slot, and the stream that
// START_REPLICATION opens.
//
// A Conn runs commands, one at a time, from one goroutine. Start turns it into
// a Stream, which has two independent halves: one goroutine may receive while
// another sends. The package decides nothing: it neither reconnects nor
// acknowledges by itself, and does not look into the payload of the log.
//
// Sessions always run with the settings that the rest of tidemark relies on
// for the text form of values: see settings.
package replication

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// settings fix the text form of values whatever the role or the database sets,
// and keep time-outs meant for queries away from a session that lasts.
func settings() map[string]string {
	return map[string]string{
		"DateStyle":                           "ISO, MDY",
		"TimeZone":                            "UTC",
		"IntervalStyle":                       "postgres",
		"bytea_output":                        "hex",
		"extra_float_digits":                  "3",
		"client_encoding":                     "UTF8",
		"statement_timeout":                   "0",
		"lock_timeout":                        "0",
		"idle_in_transaction_session_timeout": "0",
	}
}

// cancelGrace is how long a cancelled command has to end before its
// connection is cut.
const cancelGrace = 2 * time.Second

// Conn is a connection in replication mode. It takes replication commands and
// simple queries.
type Conn struct {
	pg *pgconn.PgConn
}

// Connect opens a replication connection to the database that cfg names. It
// does not modify cfg.
func Connect(ctx context.Context, cfg *pgconn.Config) (*Conn, error) {
	cfg = cfg.Copy()
	if cfg.RuntimeParams == nil {
		cfg.RuntimeParams = make(map[string]string)
	}
	maps.DeleteFunc(cfg.RuntimeParams, func(k, _ string) bool { return settings()[canonical(k)] != "" })
	maps.Copy(cfg.RuntimeParams, settings())
	cfg.RuntimeParams["replication"] = "database"
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "tidemark"
	}
	// A command that waits on the server, such as the creation of a slot, must
	// be told to stop: the server does not notice that its client has gone.
	cfg.BuildContextWatcherHandler = func(pg *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: pg, DeadlineDelay: cancelGrace}
	}
	pg, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &Conn{pg: pg}, nil
}

// canonical maps a setting's name to its spelling in settings: Postgres does
// not mind the case, and a connection string may hold either.
func canonical(name string) string {
	for k := range settings() {
		if equalFold(k, name) {
			return k
		}
	}
	return name
}

// PID returns the process id of the server process.
func (c *Conn) PID() uint32 { return c.pg.PID() }

// Close ends the connection.
func (c *Conn) Close(ctx context.Context) error { return c.pg.Close(ctx) }

// System is the answer to IDENTIFY_SYSTEM.
type System struct {
	Source   revision.Source
	Flushed  revision.LSN // the server's flush position, on a standby its replay position
	Database string
}

// IdentifySystem asks which log this is and how far it reaches.
func (c *Conn) IdentifySystem(ctx context.Context) (System, error) {
	rows, err := c.Query(ctx, "IDENTIFY_SYSTEM")
	if err != nil {
		return System{}, fmt.Errorf("identify system: %w", err)
	}
	if len(rows) != 1 || len(rows[0]) < 4 {
		return System{}, errors.New("identify system: unexpected answer")
	}
	r := rows[0]
	id, err1 := strconv.ParseUint(r[0], 10, 64)
	tl, err2 := strconv.ParseUint(r[1], 10, 32)
	pos, err3 := revision.ParseLSN(r[2])
	if err := errors.Join(err1, err2, err3); err != nil {
		return System{}, fmt.Errorf("identify system: %w", err)
	}
	return System{
		Source:   revision.Source{SystemID: id, Timeline: uint32(tl)},
		Flushed:  pos,
		Database: r[3],
	}, nil
}

// Query runs one statement by the simple protocol, the only one that a
// replication connection has, and returns its rows as text. NULL is empty.
func (c *Conn) Query(ctx context.Context, sql string) ([][]string, error) {
	results, err := c.pg.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(results) == 0 {
		return nil, nil
	}
	res := results[len(results)-1]
	if res.Err != nil {
		return nil, res.Err
	}
	out := make([][]string, len(res.Rows))
	for i, row := range res.Rows {
		out[i] = make([]string, len(row))
		for j, v := range row {
			out[i][j] = string(v)
		}
	}
	return out, nil
}

// CreateSlot creates a logical slot for pgoutput, without a snapshot, and
// returns the position from which it can stream. It waits until every
// transaction that was writing when it began has ended; cancelling ctx ends
// the wait on the server too.
func (c *Conn) CreateSlot(ctx context.Context, slot string, serverVersion int) (revision.LSN, error) {
	if err := CheckSlotName(slot); err != nil {
		return 0, err
	}
	rows, err := c.Query(ctx, createSlotCommand(slot, serverVersion))
	if err != nil {
		return 0, fmt.Errorf("create slot %q: %w", slot, err)
	}
	if len(rows) != 1 || len(rows[0]) < 2 {
		return 0, fmt.Errorf("create slot %q: unexpected answer", slot)
	}
	return revision.ParseLSN(rows[0][1])
}

func createSlotCommand(slot string, serverVersion int) string {
	options := "(SNAPSHOT 'nothing')"
	if serverVersion < 150000 {
		options = "NOEXPORT_SNAPSHOT"
	}
	return "CREATE_REPLICATION_SLOT " + quoteIdent(slot) + " LOGICAL pgoutput " + options
}

// DropSlot drops a slot that nobody uses.
func (c *Conn) DropSlot(ctx context.Context, slot string) error {
	if err := CheckSlotName(slot); err != nil {
		return err
	}
	if _, err := c.Query(ctx, "DROP_REPLICATION_SLOT "+quoteIdent(slot)); err != nil {
		return fmt.Errorf("drop slot %q: %w", slot, err)
	}
	return nil
}
