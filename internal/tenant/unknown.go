package tenant

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// inProgress lists the transactions under way that have written to tables of
// this database, with those tables. One of them may be a commit that the log
// delivered before this process began to read it and that no query can see yet,
// because it waits for a synchronous standby; it would never come again. While
// a query's snapshot lacks such a transaction, what it says of these tables is
// not kept. A transaction that is committing still holds its locks.
func (t *Tenant) inProgress(ctx context.Context) (map[revision.XID][]catalog.OID, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, t.config)
	if err != nil {
		return nil, err
	}
	defer closeConn(conn)
	var next int64
	if err := conn.QueryRow(ctx, `SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint`).Scan(&next); err != nil {
		return nil, err
	}
	rows, err := conn.Query(ctx, `
		SELECT x.transactionid::text::bigint, r.relation
		FROM pg_locks x JOIN pg_locks r USING (virtualtransaction)
		WHERE x.locktype = 'transactionid' AND x.mode = 'ExclusiveLock' AND x.granted
		  AND r.locktype = 'relation' AND r.granted
		  AND r.mode NOT IN ('AccessShareLock', 'RowShareLock')
		  AND r.database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
	if err != nil {
		return nil, err
	}
	unknown := map[revision.XID][]catalog.OID{}
	var xid int64
	var table uint32
	_, err = pgx.ForEachRow(rows, []any{&xid, &table}, func() error {
		x := revision.Widen(uint32(xid), revision.XID(next))
		unknown[x] = append(unknown[x], catalog.OID(table))
		return nil
	})
	return unknown, err
}

// resolveUnknown clears transactions that prove to be open rather than
// committing: they are seen idle between statements, or in a statement that
// began after they were listed. Those that end stay listed, to no effect, since
// no later snapshot lacks them.
func (t *Tenant) resolveUnknown(ctx context.Context) {
	var of *session
	var pending map[revision.XID]bool
	every(ctx, 200*time.Millisecond, func() {
		s := t.session.Load()
		if s == nil || !s.connected {
			return
		}
		if of == nil || of.Epoch != s.Epoch {
			of, pending = s, map[revision.XID]bool{}
			t.store.KeepUnknown(func(x revision.XID) bool {
				pending[x] = true
				return true
			})
		}
		if len(pending) == 0 {
			return
		}
		states, err := t.transactionStates(ctx, of.since)
		if err != nil {
			t.log.Debug("transactions under way could not be looked at", "err", err)
			return
		}
		for x := range pending {
			open, alive := states[uint32(x)]
			if open || !alive {
				delete(pending, x)
			}
		}
		t.store.KeepUnknown(func(x revision.XID) bool { return !states[uint32(x)] })
	})
}

// transactionStates maps each transaction under way to whether it is certain
// that it was not committing yet at since.
func (t *Tenant) transactionStates(ctx context.Context, since time.Time) (map[uint32]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, t.config)
	if err != nil {
		return nil, err
	}
	defer closeConn(conn)
	// An age, so that the database's clock is compared with itself.
	age := time.Since(since).Seconds()
	rows, err := conn.Query(ctx, `
		SELECT backend_xid::text::bigint,
		       coalesce(state LIKE 'idle in transaction%' OR
		                query_start > clock_timestamp() - $1 * interval '1 second', false)
		FROM pg_stat_activity WHERE backend_xid IS NOT NULL
		UNION ALL
		SELECT transaction::text::bigint, false FROM pg_prepared_xacts`, age)
	if err != nil {
		return nil, err
	}
	states := map[uint32]bool{}
	var xid int64
	var open bool
	_, err = pgx.ForEachRow(rows, []any{&xid, &open}, func() error {
		states[uint32(xid)] = open
		return nil
	})
	return states, err
}
