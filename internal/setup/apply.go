package setup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Status says what became of a step.
type Status string

// The statuses. A step is Refused for want of a right and Skipped when a step
// that it comes after was not done. Waiting is only ever progress.
const (
	Done    Status = "done"
	Refused Status = "refused"
	Failed  Status = "failed"
	Skipped Status = "skipped"
	Waiting Status = "waiting"
)

// Progress is told of every step as it ends, and of what Apply waits for. Its
// detail is why, for every status but Done.
type Progress func(s Step, status Status, detail string)

// ErrIncomplete means that an essential step was not done.
var ErrIncomplete = errors.New("the database is not ready")

// Patience bounds how long Apply waits for one table's locks and for
// transactions that are older than the publication of a table.
type Patience struct {
	Lock  time.Duration // in all, for one step; a minute when zero
	Older time.Duration // a minute when zero
}

// lockTimeout is how long one attempt may queue for a lock. Everybody who
// wants the table meanwhile queues behind it, so it is short.
const lockTimeout = "500ms"

// Apply runs the report's steps in order, each in a transaction of its own. A
// step that is refused is skipped, and the rest goes on. The error is
// ErrIncomplete when an essential step was not done.
//
// Transactions that wrote to a table before it was published and are still
// open when it is leave no trace of those writes in the log. Apply waits for
// them, and reports those that outlast its patience as findings.
func Apply(ctx context.Context, conn *pgx.Conn, r *Report, patience Patience, progress Progress) ([]Finding, error) {
	if patience.Lock == 0 {
		patience.Lock = time.Minute
	}
	if patience.Older == 0 {
		patience.Older = time.Minute
	}
	if progress == nil {
		progress = func(Step, Status, string) {}
	}
	undone := make(map[string]bool)
	var published []uint32
	var essential []string
	for _, s := range r.Steps {
		status, detail := Done, ""
		if i := slices.IndexFunc(s.After, func(id string) bool { return undone[id] }); i >= 0 {
			status, detail = Skipped, fmt.Sprintf("%s was not done", s.After[i])
		} else if err := runStep(ctx, conn, s, patience.Lock, progress); err != nil {
			if ctx.Err() != nil || conn.IsClosed() {
				return nil, fmt.Errorf("%s: %w", s.ID, err)
			}
			status, detail = Failed, err.Error()
			if code(err) == "42501" {
				status = Refused
			}
		}
		if status == Done {
			published = append(published, s.publishes...)
		} else {
			undone[s.ID] = true
			if s.Essential {
				essential = append(essential, s.ID)
			}
		}
		progress(s, status, detail)
	}
	findings, err := waitForOlder(ctx, conn, published, patience.Older, progress)
	if err != nil {
		return nil, fmt.Errorf("wait for older transactions: %w", err)
	}
	if essential != nil {
		return findings, fmt.Errorf("%w: %s", ErrIncomplete, strings.Join(essential, ", "))
	}
	return findings, nil
}

// runStep runs one step in a transaction, again and again while others hold
// locks that it needs.
func runStep(ctx context.Context, conn *pgx.Conn, s Step, patience time.Duration, progress Progress) error {
	deadline := time.Now().Add(patience)
	for said := false; ; {
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '"+lockTimeout+"'"); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, s.SQL)
			return err
		})
		if s.already != "" && code(err) == s.already {
			return nil // somebody else took the step since Inspect
		}
		busy := code(err) == "55P03" || code(err) == "40P01"
		if !busy || time.Now().After(deadline) {
			return err
		}
		if !said {
			said = true
			progress(s, Waiting, "another transaction holds a lock on the table")
		}
		select {
		case <-time.After(time.Second): // lets those through who queued behind the attempt
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func code(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}

// writer is a transaction that has written, or may have, to a table.
type writer struct {
	id    string // virtual transaction id, unique while it lasts; prepared ones too
	pid   int32
	table string
}

// waitForOlder waits until every transaction that now holds a write lock on
// one of the tables is over.
func waitForOlder(ctx context.Context, conn *pgx.Conn, tables []uint32, patience time.Duration, progress Progress) ([]Finding, error) {
	if len(tables) == 0 {
		return nil, nil
	}
	older, err := writers(ctx, conn, tables)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(patience)
	for said := false; len(older) > 0; {
		if time.Now().After(deadline) {
			break
		}
		if !said {
			said = true
			w := older[0]
			progress(Step{ID: "older transactions"}, Waiting,
				fmt.Sprintf("process %d wrote to %s before it was published; the log has no trace of that", w.pid, w.table))
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		now, err := writers(ctx, conn, tables)
		if err != nil {
			return nil, err
		}
		older = slices.DeleteFunc(older, func(o writer) bool {
			return !slices.ContainsFunc(now, func(n writer) bool { return n.id == o.id })
		})
	}
	var findings []Finding
	for _, w := range older {
		typed := fmt.Sprintf("SELECT pg_terminate_backend(%d)", w.pid)
		what := fmt.Sprintf("process %d", w.pid)
		if w.pid == 0 {
			what, typed = "a prepared transaction", "SELECT * FROM pg_prepared_xacts"
		}
		findings = append(findings, Finding{
			Severity: Error, Code: "older-transaction", Type: typed,
			What: fmt.Sprintf("%s wrote to %s before it was published, and its writes are not in the log: start tidemark serve after it has ended",
				what, w.table),
		})
	}
	return findings, nil
}

func writers(ctx context.Context, conn *pgx.Conn, tables []uint32) ([]writer, error) {
	rows, err := conn.Query(ctx, `
SELECT DISTINCT ON (virtualtransaction) virtualtransaction, coalesce(pid, 0), relation::regclass::text
FROM pg_locks
WHERE locktype = 'relation' AND granted AND relation = ANY($1)
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
  AND pid IS DISTINCT FROM pg_backend_pid()
ORDER BY virtualtransaction, relation`, tables)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (w writer, err error) {
		err = row.Scan(&w.id, &w.pid, &w.table)
		return w, err
	})
}
