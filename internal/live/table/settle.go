package table

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/live/keep"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// The log can bring a transaction before any query sees it. Hub.settled is a
// position at or before which there is none: every transaction that ends there is
// inside every snapshot that is taken after settled was read. Visibility in a
// primary only grows, and what came through the log is on disk, so a restart of the
// database takes nothing back.
//
// What was delivered before is the host's to say where this process had not begun
// to read the log (Host.Lacks), and else in Hub.suspects: the log may have been
// followed for long when it begins to be kept. What comes then is in Hub.unseen
// until a snapshot held it.

// unseen is a transaction that was delivered, and that a query may not see yet.
type unseen struct {
	xid revision.XID
	end revision.LSN
}

// settle moves settled on.
func (h *Hub) settle(ctx context.Context) error {
	h.settling.Lock()
	defer h.settling.Unlock()
	h.mu.Lock()
	session, delivered, n := h.session.Load(), h.delivered, len(h.unseen)
	if n == 0 {
		h.settled.Store(max(h.settled.Load(), uint64(delivered)))
	}
	h.mu.Unlock()
	if n == 0 {
		return nil
	}
	snap, err := h.snapshotNow(ctx)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.session.Load() != session {
		return nil // the list may be of another log
	}
	to := delivered
	left := slices.DeleteFunc(h.unseen[:n:n], func(u unseen) bool { return snap.Contains(u.xid) })
	if len(left) > 0 {
		to = min(to, left[0].end-1)
	}
	h.unseen = append(left, h.unseen[n:]...)
	if uint64(to) > h.settled.Load() {
		h.settled.Store(uint64(to))
	}
	return nil
}

const settleInterval = 5 * time.Second

func (h *Hub) settleLoop(ctx context.Context) {
	for pause(ctx, settleInterval) == nil {
		if h.session.Load() == 0 {
			continue
		}
		if err := h.settle(ctx); err != nil && ctx.Err() == nil {
			h.note.Debug("no snapshot for what is settled", "err", err)
		}
	}
}

func (h *Hub) snapshotNow(ctx context.Context) (*revision.Snapshot, error) {
	var snap revision.Snapshot
	err := h.question(ctx, func(conn *pgx.Conn) error {
		var text string
		err := conn.QueryRow(ctx, "SELECT pg_catalog.pg_current_snapshot()::text").Scan(&text)
		if err == nil {
			snap, err = revision.ParseSnapshot(text)
		}
		return err
	})
	return &snap, err
}

// suspect lists the transactions that may have been delivered before the log began
// to be kept, and that no query can see yet because they wait for a standby. They
// hold their locks still. One that is idle, or in a statement that began later, is
// not committing; it will come through the log.
func (h *Hub) suspect(ctx context.Context) error {
	h.settling.Lock()
	defer h.settling.Unlock()
	h.mu.Lock()
	listed, session, since := h.suspected, h.session.Load(), h.since
	h.mu.Unlock()
	if listed {
		return nil
	}
	found := map[revision.XID][]catalog.OID{}
	err := h.question(ctx, func(conn *pgx.Conn) error {
		var next int64
		if err := conn.QueryRow(ctx, `SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint`).Scan(&next); err != nil {
			return err
		}
		// An age, so that the database's clock is compared with itself.
		rows, err := conn.Query(ctx, `
			SELECT x.transactionid::text::bigint, r.relation
			FROM pg_catalog.pg_locks x JOIN pg_catalog.pg_locks r USING (virtualtransaction)
			LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = x.pid
			WHERE x.locktype = 'transactionid' AND x.mode = 'ExclusiveLock' AND x.granted
			  AND r.locktype = 'relation' AND r.granted AND r.mode NOT IN ('AccessShareLock', 'RowShareLock')
			  AND r.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
			  AND NOT coalesce(a.state LIKE 'idle in transaction%' OR a.query_start > clock_timestamp() - $1 * interval '1 second', false)`,
			time.Since(since).Seconds())
		if err != nil {
			return err
		}
		var xid int64
		var oid uint32
		_, err = pgx.ForEachRow(rows, []any{&xid, &oid}, func() error {
			x := revision.Widen(uint32(xid), revision.XID(next))
			found[x] = append(found[x], catalog.OID(oid))
			return nil
		})
		return err
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil && h.session.Load() == session {
		h.suspects, h.suspected = found, true
	}
	return err
}

// lacks reports whether a snapshot, taken after low returned, lacks a transaction on
// some tables that ended before the log was kept.
func (h *Hub) lacks(snap *revision.Snapshot, tables map[catalog.OID]bool) bool {
	if h.host.Lacks(snap, tables) {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for x, wrote := range h.suspects {
		if !snap.Contains(x) && slices.ContainsFunc(wrote, func(o catalog.OID) bool { return tables[o] }) {
			return true
		}
	}
	return !h.suspected
}

// low returns a position at or before which every transaction is inside the
// snapshots that are taken from now on, unless such a snapshot lacks it, and after
// which the kept log has all.
func (h *Hub) low(ctx context.Context) (revision.LSN, error) {
	if err := h.suspect(ctx); err != nil {
		return 0, err
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		if at := revision.LSN(h.settled.Load()); at >= h.log.Begin() {
			return at, nil
		}
		if err := h.settle(ctx); err != nil {
			return 0, err
		}
		if at := revision.LSN(h.settled.Load()); at >= h.log.Begin() {
			return at, nil
		}
		if err := pause(ctx, wait); err != nil {
			return 0, unavailable("a transaction is not visible to queries that the kept log does not have: %w", err)
		}
	}
}

// firstLacking returns the position before the first transaction on some tables, of
// those that end in a stretch of the log, that a snapshot lacks; else the end of the
// stretch.
func (h *Hub) firstLacking(snap *revision.Snapshot, tables map[catalog.OID]bool, after, upTo revision.LSN) (revision.LSN, error) {
	to := upTo
	err := h.log.Scan(tables, after, upTo, func(xid revision.XID, end revision.LSN) bool {
		if !snap.Contains(xid) {
			to = end - 1
		}
		return to == upTo
	})
	return to, err
}

// seen returns the last position up to a given one at or before which every
// transaction on some tables is inside the snapshots that are taken from now on.
func (h *Hub) seen(ctx context.Context, tables map[catalog.OID]bool, at revision.LSN) (revision.LSN, error) {
	ctx, cancel := context.WithTimeout(ctx, h.opts.WaitTimeout)
	defer cancel()
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		low, err := h.low(ctx)
		if err != nil {
			return 0, err
		}
		snap, err := h.snapshotNow(ctx)
		if err != nil {
			return 0, err
		}
		if !h.lacks(snap, tables) {
			if low >= at {
				return at, nil
			}
			to, err := h.firstLacking(snap, tables, low, at)
			if !errors.Is(err, keep.ErrTrimmed) {
				return to, err
			}
		}
		if err := pause(ctx, wait); err != nil {
			return 0, unavailable("a transaction that the log brought before is not visible yet: %w", err)
		}
	}
}

// reach waits until a position is visible.
func (h *Hub) reach(ctx context.Context, at revision.LSN) error {
	visible := h.visible.Load()
	if visible.Load() >= at {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, h.opts.WaitTimeout)
	defer cancel()
	h.host.Hurry()
	if err := h.host.Frontier().Wait(ctx, at); err != nil {
		return unavailable("the log did not reach %s: %w", at, err)
	}
	if err := visible.Wait(ctx, at); err != nil {
		return unavailable("the log did not reach %s: %w", at, err)
	}
	return nil
}
