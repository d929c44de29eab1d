package postgres

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/perm/mapping"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// bound is the tables as they were when somebody looked.
type bound struct {
	*mapping.Bound                      // nil without a mapping
	tables         map[catalog.OID]bool // that relationships are in
	known          map[catalog.OID]bool // all that there were
}

// bind looks at the tables as they are now.
func (b *Backend) bind(ctx context.Context, conn *pgx.Conn) (*bound, error) {
	out := &bound{tables: map[catalog.OID]bool{}, known: map[catalog.OID]bool{}}
	rows, err := conn.Query(ctx, `SELECT c.oid, n.nspname = 'tidemark' AND c.relname = ANY ($1)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p')`, Tables)
	if err != nil {
		return nil, databaseError(err)
	}
	var oid uint32
	var own bool
	if _, err := pgx.ForEachRow(rows, []any{&oid, &own}, func() error {
		out.known[catalog.OID(oid)] = true
		if own {
			out.tables[catalog.OID(oid)] = true
		}
		return nil
	}); err != nil {
		return nil, databaseError(err)
	}
	if len(out.tables) < len(Tables) {
		return nil, fmt.Errorf("the tables of permissions are not all there: run tidemark init")
	}
	if b.opts.Mapping == nil {
		return out, nil
	}
	if out.Bound, err = b.opts.Mapping.Bind(ctx, conn); err != nil {
		return nil, err
	}
	for oid := range out.known {
		if out.Reads(&catalog.Relation{OID: oid}) {
			out.tables[oid] = true
		}
	}
	return out, nil
}

// same reports whether rows mean the same.
func (o *bound) same(p *bound) bool {
	return maps.Equal(o.tables, p.tables) && (o.Bound == nil || o.Bound.Equal(p.Bound))
}

// doubt says that the mapped tables may not be what they were. Nothing is
// answered until the loader has looked. mu is held.
func (b *Backend) doubt() {
	if b.opts.Mapping == nil {
		return
	}
	b.suspect++
	if b.stitch == nil {
		b.state.Pause()
		b.paused = true
	}
	b.wake()
}

func (b *Backend) wake() {
	select {
	case b.work <- struct{}{}:
	default:
	}
}

// lookAgain compares the mapped tables with what they were, and ends a pause or
// has everything loaded anew.
func (b *Backend) lookAgain(ctx context.Context) error {
	if b.opts.Mapping == nil {
		return nil
	}
	conn, err := b.connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	for {
		b.mu.Lock()
		suspect, old := b.suspect, b.bound
		b.mu.Unlock()
		if old == nil {
			return nil // a load looks anyway
		}
		if err := b.visible(ctx, conn, old); err != nil {
			return err
		}
		now, err := b.bind(ctx, conn)
		b.mu.Lock()
		switch {
		case b.stitch != nil:
			b.mu.Unlock()
			return nil
		case err != nil:
			// Whatever is wrong, a load says so until it is well again.
			b.paused = false
			b.restart()
			b.mu.Unlock()
			return err
		case b.suspect != suspect:
			b.mu.Unlock()
			continue
		case !old.same(now):
			b.log.Warn("the relationships are loaded again", "reason", "a definition changed what the mapped rows mean")
			b.paused = false
			b.restart()
		default:
			b.bound.known = now.known
			if b.paused {
				b.paused = false
				b.state.Resume()
			}
		}
		b.mu.Unlock()
		return nil
	}
}

// visible waits until a query sees every transaction on the tables that the log
// has delivered.
func (b *Backend) visible(ctx context.Context, conn *pgx.Conn, of *bound) error {
	for {
		b.mu.Lock()
		unseen := append([]revision.XID(nil), b.unseen...)
		b.mu.Unlock()
		snap, err := snapshotOf(ctx, conn)
		if err != nil {
			return databaseError(err)
		}
		if b.complete(snap, unseen, of) {
			return nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// complete reports whether a snapshot has everything that the log has delivered
// and will not deliver again.
func (b *Backend) complete(snap *revision.Snapshot, unseen []revision.XID, of *bound) bool {
	for _, x := range unseen {
		if !snap.Contains(x) {
			return false
		}
	}
	return !b.host.Lacks(snap, of.tables)
}

func snapshotOf(ctx context.Context, conn *pgx.Conn) (*revision.Snapshot, error) {
	var text string
	if err := conn.QueryRow(ctx, "SELECT pg_current_snapshot()::text").Scan(&text); err != nil {
		return nil, err
	}
	snap, err := revision.ParseSnapshot(text)
	return &snap, err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
