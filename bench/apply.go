package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

var applySchema = []string{
	`CREATE TABLE accounts (id int PRIMARY KEY, name text NOT NULL)`,
	`INSERT INTO accounts SELECT n, 'account ' || n FROM generate_series(1, 1000) n`,
	`CREATE TABLE events (id bigint PRIMARY KEY, account_id int NOT NULL, actor_id int NOT NULL, kind text NOT NULL,
		amount numeric(12,2) NOT NULL, note text NOT NULL, at timestamptz NOT NULL)`,
	`CREATE INDEX ON events (account_id)`,
	`ALTER TABLE accounts REPLICA IDENTITY FULL`,
	`ALTER TABLE events REPLICA IDENTITY FULL`,
	`CREATE PUBLICATION ` + publication + ` FOR TABLE accounts, events`,
}

// applyEndpoints are ten ways to depend on the table that is written. What is
// read is little, so that filling ten thousand answers does not take long.
var applyEndpoints = map[string]string{
	"list.sql":    "-- GET /v1/list/{id}\nSELECT id, kind, amount FROM events WHERE account_id = :id ORDER BY id DESC LIMIT 20",
	"count.sql":   "-- GET /v1/count/{id}\nSELECT count(*) AS n FROM events WHERE account_id = :id",
	"sum.sql":     "-- GET /v1/sum/{id}\nSELECT sum(amount) AS total FROM events WHERE account_id = :id",
	"paid.sql":    "-- GET /v1/paid/{id}\nSELECT count(*) AS n FROM events WHERE account_id = :id AND kind = 'paid'",
	"large.sql":   "-- GET /v1/large/{id}\nSELECT count(*) AS n FROM events WHERE account_id = :id AND amount > 500",
	"since.sql":   "-- GET /v1/since/{id}\nSELECT count(*) AS n FROM events WHERE account_id = :id AND at >= '2026-01-01T00:00:00Z'",
	"acted.sql":   "-- GET /v1/acted/{id}\nSELECT count(*) AS n FROM events WHERE account_id = :id AND actor_id = :id",
	"several.sql": "-- GET /v1/several/{id}\nSELECT count(*) AS n FROM events WHERE account_id = :id AND kind IN ('open', 'paid', 'sent')",
	"named.sql":   "-- GET /v1/named/{id}\nSELECT a.name, count(e.id) AS n FROM accounts a LEFT JOIN events e ON e.account_id = a.id WHERE a.id = :id AND e.account_id = :id GROUP BY a.name",
	"last.sql":    "-- GET /v1/last/{id}\nSELECT max(at) AS at FROM events WHERE account_id = :id",
}

// Of the thousand accounts that each endpoint was asked for, the first hundred
// get new events; the others, and with them nine answers in ten, are looked at by
// every change and touched by none. The rest of the events are of accounts that
// nobody asked for.
const (
	applyAsked   = 1000
	applyTouched = 100
	applyOthers  = 100_000
)

// backlog is a log that is written while nobody reads it.
type backlog struct {
	name       string
	rows, each int // in transactions of so many rows
}

// runApply writes a log and lets tidemark and pg_recvlogical read it from the
// same position, each through a slot of its own.
func runApply(ctx context.Context, s *sitting) error {
	db, err := openDatabase(ctx, s, map[string]string{"wal_sender_timeout": "10min"}, applySchema...)
	if err != nil {
		return err
	}
	defer db.close()
	recv, err := findTool(db, "pg_recvlogical")
	if err != nil {
		return err
	}
	s.say("answers   %d cached, of %d endpoints; one in ten is touched", len(applyEndpoints)*applyAsked, len(applyEndpoints))
	a := &applying{sitting: s, db: db, recv: recv}
	for _, b := range []backlog{
		{"one transaction", s.rows, s.rows},
		{"transactions of 100", s.rows / 5, 100},
	} {
		if err := a.compare(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
	}
	return nil
}

// findTool looks for a client program beside the server, then on the PATH.
func findTool(db *database, name string) (string, error) {
	if path, err := exec.LookPath(filepath.Join(db.server.Bin(), name)); err == nil {
		return path, nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is neither in %s nor on the PATH: install postgresql-client", name, db.server.Bin())
	}
	return path, nil
}

type applying struct {
	*sitting
	db   *database
	recv string
	next int // event id
	slot int
}

// passage is one reading of a backlog.
type passage struct {
	waited           time.Duration // for the slot, before it began
	elapsed          time.Duration
	reader, postgres time.Duration // CPU time, of the reader and of the server
}

func (p passage) rate(rows int) float64 { return float64(rows) / p.elapsed.Seconds() }

func (a *applying) compare(ctx context.Context, b backlog) error {
	a.section(fmt.Sprintf("%d rows, %s", b.rows, b.name))
	rates := map[string][]float64{}
	costs := map[string][]float64{}
	note := func(round int, name string, p passage) {
		a.say("  %d  %-16s %9.0f rows/s  %6.3f s, after %5.3f s  CPU: reader %6.3f s, postgres %6.3f s", round+1, name,
			p.rate(b.rows), p.elapsed.Seconds(), p.waited.Seconds(), p.reader.Seconds(), p.postgres.Seconds())
		rates[name] = append(rates[name], p.rate(b.rows))
		costs[name] = append(costs[name], p.reader.Seconds())
	}
	for round := range a.rounds {
		tide, other, err := a.round(ctx, b, round, "")
		if err != nil {
			return err
		}
		note(round, "tidemark", tide)
		note(round, "pg_recvlogical", other)
	}
	a.say("     medians: tidemark %.0f rows/s, pg_recvlogical %.0f rows/s", median(rates["tidemark"]), median(rates["pg_recvlogical"]))
	a.verdict("rows per second, to pg_recvlogical, "+b.name, median(ratios(rates["tidemark"], rates["pg_recvlogical"])), 0.8, true, "×")
	a.fact("CPU time of the reader, to pg_recvlogical, "+b.name, median(ratios(costs["tidemark"], costs["pg_recvlogical"])), "×")
	if a.profiles == "" {
		return nil
	}
	path, err := filepath.Abs(filepath.Join(a.profiles, fmt.Sprintf("apply-%d.pprof", b.each)))
	if err != nil {
		return err
	}
	a.say("profile   %s", path)
	_, _, err = a.round(ctx, b, 0, path)
	return err
}

// round writes one backlog behind two slots and has it read through both. Who
// goes first changes from round to round. profile is where tidemark writes a CPU
// profile, if anywhere.
func (a *applying) round(ctx context.Context, b backlog, round int, profile string) (tide, other passage, err error) {
	if err := a.db.settle(ctx); err != nil {
		return tide, other, err
	}
	a.slot++
	mine, theirs := fmt.Sprintf("bench_apply_%d", a.slot), fmt.Sprintf("bench_recv_%d", a.slot)
	t, err := startTide(ctx, nil, a.db, mine, applyEndpoints)
	if err != nil {
		return tide, other, err
	}
	defer t.close()
	if err := a.fill(t); err != nil {
		return tide, other, err
	}
	// Neither slot reads before the backlog is there: one is held by somebody who
	// reads nothing, the other is not read yet.
	hold, err := takeSlot(ctx, a.db, mine)
	if err != nil {
		return tide, other, err
	}
	defer func() { _ = hold.Close(context.Background()) }()
	if err := a.db.exec(ctx, "SELECT pg_create_logical_replication_slot('"+theirs+"', 'pgoutput')"); err != nil {
		return tide, other, err
	}
	end, err := a.write(ctx, b)
	if err != nil {
		return tide, other, err
	}
	readMine := func() (err error) {
		if err := hold.Close(ctx); err != nil {
			return err
		}
		read := func() error {
			tide, err = a.readTide(ctx, t, end, b)
			return err
		}
		if profile != "" {
			return t.child.profile(profile, read)
		}
		return read()
	}
	readTheirs := func() (err error) {
		other, err = a.readOther(ctx, theirs, end)
		return err
	}
	if round%2 == 0 {
		err = errors.Join(readMine(), readTheirs())
	} else {
		err = errors.Join(readTheirs(), readMine())
	}
	if err != nil {
		return tide, other, err
	}
	if err := t.close(); err != nil {
		return tide, other, err
	}
	return tide, other, a.dropSlots(ctx)
}

// fill asks for every answer, with a few connections.
func (a *applying) fill(t *tide) error {
	const conns = 8
	var all sync.WaitGroup
	errs := make([]error, conns)
	for i := range conns {
		all.Go(func() {
			conn := newHTTPConn(t.addr)
			defer conn.close()
			for name := range applyEndpoints {
				for id := 1 + i; id <= applyAsked && errs[i] == nil; id += conns {
					path := fmt.Sprintf("/v1/%s/%d", strings.TrimSuffix(name, ".sql"), id)
					r, err := conn.get(request(path, ""))
					if err == nil && r.status != 200 {
						err = fmt.Errorf("%s: %w: %s%s", path, errResponse, r.head, r.body)
					}
					errs[i] = err
				}
			}
		})
	}
	all.Wait()
	f, err := t.figures()
	if want := int64(len(applyEndpoints) * applyAsked); err == nil && f.Answers < want {
		err = fmt.Errorf("%d answers are cached, want %d", f.Answers, want)
	}
	return errors.Join(append(errs, err)...)
}

// write makes the backlog and returns where it ends.
func (a *applying) write(ctx context.Context, b backlog) (string, error) {
	// n runs from 0 in each backlog. One row in a hundred is of an account that
	// answers are cached for.
	insert := fmt.Sprintf(`INSERT INTO events SELECT %d + n,
		CASE WHEN n %% 100 = 0 THEN 1 + n / 100 %% %d ELSE %d + n * 7919 %% %d END,
		n %% 5000, (ARRAY['open','paid','sent','void'])[1 + n %% 4], n %% 1000 + 0.25, 'note of event number ' || n, now()
		FROM generate_series($1::bigint, $2::bigint) n`, a.next, applyTouched, 10*applyAsked, applyOthers)
	for from := 0; from < b.rows; from += b.each {
		if _, err := a.db.admin.Exec(ctx, insert, from, min(from+b.each, b.rows)-1); err != nil {
			return "", err
		}
	}
	a.next += b.rows
	if err := a.db.exec(ctx, "CHECKPOINT"); err != nil {
		return "", err
	}
	return a.db.text(ctx, "SELECT pg_current_wal_flush_lsn()::text")
}

// readTide waits until tidemark has applied everything. It begins when the
// connection that reads the log does: before that tidemark waits its turn.
func (a *applying) readTide(ctx context.Context, t *tide, end string, b backlog) (passage, error) {
	before, err := t.figures()
	if err != nil {
		return passage{}, err
	}
	cpu, server := newMeter(t.pid), newMeter(a.db.server.PID())
	used, serverUsed, err := readBoth(cpu, server)
	if err != nil {
		return passage{}, err
	}
	start, at := time.Now(), int64(0)
	if err := t.ask(&at, "await", end); err != nil {
		return passage{}, err
	}
	after, err := t.figures()
	if err != nil {
		return passage{}, err
	}
	server.add(after.Walsender) // which began meanwhile
	usedAfter, serverAfter, err := readBoth(cpu, server)
	if err != nil {
		return passage{}, err
	}
	if got := after.Changes - before.Changes; got < int64(b.rows) {
		return passage{}, fmt.Errorf("%d changes were applied, want %d", got, b.rows)
	}
	var began time.Time
	if err := a.db.admin.QueryRow(ctx, "SELECT backend_start FROM pg_stat_replication WHERE pid = $1", after.Walsender).Scan(&began); err != nil {
		return passage{}, fmt.Errorf("find tidemark's walsender: %w", err)
	}
	return passage{
		waited: began.Sub(start), elapsed: time.Unix(0, at).Sub(began),
		reader: usedAfter - used, postgres: serverAfter - serverUsed,
	}, nil
}

func readBoth(a, b *meter) (x, y time.Duration, err error) {
	x, errX := a.read()
	y, errY := b.read()
	return x, y, errors.Join(errX, errY)
}

// readOther reads the same with pg_recvlogical, asking for what tidemark asks for.
func (a *applying) readOther(ctx context.Context, slot, end string) (passage, error) {
	server := newMeter(a.db.server.PID())
	before, err := server.read()
	if err != nil {
		return passage{}, err
	}
	cmd := exec.CommandContext(ctx, a.recv, "-d", a.db.dsn, "--slot", slot, "--start", "--endpos", end, "-f", os.DevNull,
		"--no-loop", "--fsync-interval=0", "-o", "proto_version=2", "-o", "streaming=on", "-o", "messages=on",
		"-o", "publication_names="+publication)
	start := time.Now()
	out, err := cmd.CombinedOutput()
	elapsed := time.Since(start)
	if err != nil {
		return passage{}, fmt.Errorf("pg_recvlogical: %w: %s", err, out)
	}
	// The server counts its walsender once that has ended, which takes a moment.
	if err := sleep(ctx, 500*time.Millisecond); err != nil {
		return passage{}, err
	}
	after, err := server.read()
	return passage{
		elapsed: elapsed, reader: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), postgres: after - before,
	}, err
}

func (a *applying) dropSlots(ctx context.Context) error {
	return until(ctx, func() bool {
		return a.db.exec(ctx, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots") == nil
	})
}

// takeSlot takes a slot away from who reads it and holds it without reading.
func takeSlot(ctx context.Context, db *database, slot string) (*pgconn.PgConn, error) {
	u, err := url.Parse(db.dsn)
	if err != nil {
		return nil, err
	}
	q := u.Query()
	q.Set("replication", "database")
	u.RawQuery = q.Encode()
	var conn *pgconn.PgConn
	err = until(ctx, func() bool {
		_, err := db.admin.Exec(ctx, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1 AND active", slot)
		if err != nil {
			return false
		}
		conn, err = holdSlot(ctx, u.String(), slot)
		return err == nil
	})
	return conn, err
}

func holdSlot(ctx context.Context, dsn, slot string) (*pgconn.PgConn, error) {
	conn, err := pgconn.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	conn.Frontend().SendQuery(&pgproto3.Query{String: fmt.Sprintf(
		"START_REPLICATION SLOT %s LOGICAL 0/0 (proto_version '1', publication_names '%s')", slot, publication)})
	if err := conn.Frontend().Flush(); err != nil {
		return nil, errors.Join(err, conn.Close(ctx))
	}
	for {
		m, err := conn.ReceiveMessage(ctx)
		if err != nil {
			return nil, errors.Join(err, conn.Close(ctx))
		}
		switch m := m.(type) {
		case *pgproto3.CopyBothResponse:
			return conn, nil
		case *pgproto3.ErrorResponse:
			return nil, errors.Join(pgconn.ErrorResponseToPgError(m), conn.Close(ctx))
		}
	}
}
