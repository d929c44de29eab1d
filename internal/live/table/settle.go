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
// What was delivered before this process began to read the log is the host's to
// say (Host.Lacks). What came since is in Hub.unseen until a snapshot held it,
// whether or not the kept log has it.

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
	h.mu.Unlock()
	if n == 0 && delivered <= revision.LSN(h.settled.Load()) {
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

// low returns a position at or before which every transaction is inside the
// snapshots that are taken from now on, and after which the kept log has all.
func (h *Hub) low(ctx context.Context) (revision.LSN, error) {
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
	for {
		low, err := h.low(ctx)
		if err != nil || low >= at {
			return at, err
		}
		snap, err := h.snapshotNow(ctx)
		if err != nil {
			return 0, err
		}
		to, err := h.firstLacking(snap, tables, low, at)
		if errors.Is(err, keep.ErrTrimmed) {
			continue
		}
		return to, err
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
