package feed

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/replication"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// oldestServer is the first version with xid8 snapshots and wal_status.
const oldestServer = 130000

// holdUpAfter is how long a slot may take to create before the feed looks for
// who holds it up, and holdUpEvery how often it looks again.
const (
	holdUpAfter = 1500 * time.Millisecond
	holdUpEvery = 15 * time.Second
)

// checkTimeout bounds each step of an attempt to stream, except for the
// creation of a slot.
const checkTimeout = 30 * time.Second

// prepared is a connection that is ready to stream.
type prepared struct {
	conn          *replication.Conn
	view          serverView
	start         revision.LSN
	acknowledged  revision.LSN // what the server was told by sessions before
	xid           revision.XID // a recent one, to widen the log's ids by
	senderTimeout time.Duration
	slotCreated   bool
}

// prepare connects, checks the server, and sees to the slot. It records in the
// feed's memory what breaks the epoch, so that nothing is forgotten if a later
// step fails.
func (f *Feed) prepare(ctx context.Context) (*prepared, error) {
	connectCtx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	conn, err := replication.Connect(connectCtx, f.opts.Config)
	if err != nil {
		return nil, &Error{Op: "connect", Err: err, Hint: connectHint(err)}
	}
	p, err := f.prepareOn(ctx, conn)
	if err != nil {
		closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		conn.Close(closeCtx)
		return nil, err
	}
	return p, nil
}

func connectHint(err error) string {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return ""
	}
	switch pe.Code {
	case "42501":
		return "the role needs the REPLICATION attribute: ALTER ROLE ... REPLICATION"
	case "28000":
		return "pg_hba.conf must let this role connect, and the role needs LOGIN and REPLICATION"
	case "53300":
		return "all connections or walsenders are taken: raise max_wal_senders or max_connections"
	}
	return ""
}

func (f *Feed) prepareOn(ctx context.Context, conn *replication.Conn) (*prepared, error) {
	p := &prepared{conn: conn}
	if err := f.look(ctx, p); err != nil {
		return nil, fail("check", err)
	}
	v := &p.view
	todo, err := plan(&f.opts, &f.memory, v)
	if err != nil {
		return nil, err
	}
	f.memory.gap = todo.gap
	if todo.drop {
		f.log.Error("replacing the slot", "why", todo.why)
		dropCtx, cancel := context.WithTimeout(ctx, checkTimeout)
		defer cancel()
		if err := conn.DropSlot(dropCtx, f.opts.Slot); err != nil {
			return nil, slotError("drop slot", err)
		}
	}
	if todo.create {
		if p.start, err = f.createSlot(ctx, p, todo); err != nil {
			return nil, err
		}
		p.slotCreated = true
		p.acknowledged = p.start
	} else {
		p.start, p.acknowledged = v.slot.confirmed, v.slot.confirmed
		if f.memory.connected && todo.gap == "" {
			p.start = max(p.start, f.memory.covered)
		}
	}
	return p, nil
}

// look asks the server for all that plan needs.
func (f *Feed) look(ctx context.Context, p *prepared) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	rows, err := p.conn.Query(ctx, "SHOW server_version_num")
	if err != nil {
		return err
	}
	v := &p.view
	if v.version, err = strconv.Atoi(rows[0][0]); err != nil {
		return err
	}
	if v.version < oldestServer {
		return &Error{Op: "check", Err: fmt.Errorf("%w: Postgres %d, want 13 or later", ErrServerVersion, v.version/10000)}
	}
	system, err := p.conn.IdentifySystem(ctx)
	if err != nil {
		return err
	}
	v.source, v.flushed, v.database = system.Source, system.Flushed, system.Database
	rows, err = p.conn.Query(ctx, `SELECT
		current_setting('wal_level'),
		pg_is_in_recovery()::int,
		(SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout'),
		pg_snapshot_xmax(pg_current_snapshot()),
		COALESCE((SELECT oid::int8 FROM pg_publication WHERE pubname = `+replication.QuoteLiteral(f.opts.Publication)+`), 0),
		COALESCE((SELECT pubviaroot::int FROM pg_publication WHERE pubname = `+replication.QuoteLiteral(f.opts.Publication)+`), 0),
		(SELECT to_jsonb(s) FROM pg_replication_slots s WHERE slot_name = `+replication.QuoteLiteral(f.opts.Slot)+`)`)
	if err != nil {
		return err
	}
	r := rows[0]
	v.walLevel, v.standby, v.viaRoot = r[0], r[1] == "1", r[5] == "1"
	timeout, err1 := strconv.Atoi(r[2])
	xid, err2 := strconv.ParseUint(r[3], 10, 64)
	publication, err3 := strconv.ParseUint(r[4], 10, 32)
	slot, err4 := parseSlot(r[6])
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	p.senderTimeout = time.Duration(timeout) * time.Millisecond
	p.xid, v.publication, v.slot = revision.XID(xid), uint32(publication), slot
	return nil
}

// createSlot creates the slot. That waits until every transaction that was
// writing, in any database of the server, has ended; meanwhile a side
// connection finds out which.
func (f *Feed) createSlot(ctx context.Context, p *prepared, todo slotPlan) (revision.LSN, error) {
	f.status.set(StateCreatingSlot, "")
	f.log.Info("creating the slot", "why", todo.why)
	watchCtx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.watchHoldUp(watchCtx, p.conn.PID())
	}()
	lsn, err := p.conn.CreateSlot(ctx, f.opts.Slot, p.view.version)
	cancel()
	<-done
	if err != nil {
		return 0, slotError("create slot", err)
	}
	f.log.Info("created the slot", "at", lsn)
	return lsn, nil
}

func (f *Feed) watchHoldUp(ctx context.Context, pid uint32) {
	wait := holdUpAfter
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = holdUpEvery
		who, err := f.holdUp(ctx, pid)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			who = "cannot tell by whom: " + err.Error()
		}
		f.status.set(StateCreatingSlot, "held up by running transactions: "+who)
		f.log.Warn("the slot waits for running transactions to end", "held_up_by", who)
	}
}

// holdUp lists the transactions that have an id, the oldest first.
func (f *Feed) holdUp(ctx context.Context, pid uint32) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := pgconn.ConnectConfig(ctx, f.opts.Config)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	results, err := conn.Exec(ctx, `SELECT format('process %s (%s@%s %s, %s since %s): %s', pid, usename, datname,
			application_name, state, date_trunc('second', xact_start), left(regexp_replace(query, '\s+', ' ', 'g'), 80))
		FROM pg_stat_activity
		WHERE backend_xid IS NOT NULL AND pid <> `+strconv.FormatUint(uint64(pid), 10)+`
		UNION ALL
		SELECT format('prepared transaction %L of %s since %s', gid, database, date_trunc('second', prepared))
		FROM pg_prepared_xacts LIMIT 5`).ReadAll()
	if err != nil {
		return "", err
	}
	var who []string
	for _, r := range results[0].Rows {
		who = append(who, string(r[0]))
	}
	if who == nil {
		return "nobody any more", nil
	}
	return strings.Join(who, "; "), nil
}

// slotError gives the server's refusals the names that callers test for.
func slotError(op string, err error) error {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return fail(op, err)
	}
	switch pe.Code {
	case "55006", "42710": // object in use; another created it meanwhile
		return &Error{Op: op, Err: fmt.Errorf("%w: %w", ErrSlotActive, err)}
	case "42704":
		return &Error{Op: op, Err: fmt.Errorf("%w: %w", ErrSlotMissing, err)}
	case "55000":
		// The next session reads what became of the slot.
		return &Error{Op: op, Err: fmt.Errorf("%w: %w", ErrSlotLost, err)}
	case "53400":
		return &Error{Op: op, Err: err, Hint: "all slots are taken: drop unused ones or raise max_replication_slots"}
	}
	return fail(op, err)
}
