package tenant

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/answer"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// pin takes a snapshot at every quantization interval in which anything was
// applied, and holds it open for the window: what at_exact_snapshot asks when no
// version of an answer was kept. Each holds one idle connection.
func (t *Tenant) pin(ctx context.Context) {
	if t.opts.GCWindow <= 0 {
		return
	}
	var held []*heldPin
	defer func() {
		for _, h := range held {
			t.release(h)
		}
	}()
	every(ctx, t.opts.Quantization, func() {
		cutoff := time.Now().Add(-t.opts.GCWindow)
		kept := held[:0]
		for _, h := range held {
			if h.pin.Taken.Before(cutoff) || h.conn.IsClosed() {
				t.release(h)
			} else {
				kept = append(kept, h)
			}
		}
		held = kept
		s := t.session.Load()
		applied := t.applied.Load()
		if s == nil || !s.connected || len(held) > 0 && applied == t.pinned.Load() {
			return
		}
		h, err := t.takePin(ctx)
		if err != nil {
			t.log.Debug("no snapshot was pinned", "err", err)
			return
		}
		t.pinned.Store(applied)
		held = append(held, h)
		t.store.AddPin(h.pin)
	})
}

type heldPin struct {
	pin  *answer.Pin
	conn *pgx.Conn
}

func (t *Tenant) release(h *heldPin) {
	t.store.RemovePin(h.pin)
	closeConn(h.conn)
}

func (t *Tenant) takePin(ctx context.Context) (*heldPin, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	config := t.config.Copy()
	config.RuntimeParams["idle_in_transaction_session_timeout"] = "0"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	p := &answer.Pin{Taken: time.Now()}
	var snap, insert, file string
	if p.Source.SystemID, err = systemID(ctx, conn); err != nil {
		closeConn(conn)
		return nil, err
	}
	if _, err = conn.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"); err == nil {
		err = conn.QueryRow(ctx, `SELECT pg_export_snapshot(), pg_current_snapshot()::text,
			pg_current_wal_insert_lsn()::text, pg_walfile_name(pg_current_wal_insert_lsn())`).Scan(&p.ID, &snap, &insert, &file)
	}
	if err == nil {
		p.Source.Timeline, err = parseTimeline(file)
	}
	if err == nil {
		p.Snapshot, err = revision.ParseSnapshot(snap)
	}
	if err == nil {
		p.Upper, err = revision.ParseLSN(insert)
	}
	if err != nil {
		closeConn(conn)
		return nil, err
	}
	return &heldPin{pin: p, conn: conn}, nil
}
