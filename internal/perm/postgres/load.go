package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/perm/graph"
)

// loading is how far a load is.
type loading struct {
	read atomic.Int64
	what atomic.Pointer[string]
}

func (l *loading) String() string {
	if what := l.what.Load(); what != nil {
		return fmt.Sprintf("%d read so far, now %s", l.read.Load(), *what)
	}
	return "waiting for the database"
}

// connect opens a connection for reading that nothing hurries.
func (b *Backend) connect(ctx context.Context) (*pgx.Conn, error) {
	config := b.opts.Config.Copy()
	config.RuntimeParams["statement_timeout"] = "0"
	config.RuntimeParams["idle_in_transaction_session_timeout"] = "0"
	conn, err := pgx.ConnectConfig(ctx, config)
	return conn, databaseError(err)
}

// read reads everything at one snapshot.
func (b *Backend) read(ctx context.Context) (*base, error) {
	b.loading.read.Store(0)
	b.loading.what.Store(nil)
	conn, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer closeConn(conn)
	l := &base{counters: map[string]graph.Filter{}}
	b.mu.Lock()
	l.suspect = b.suspect
	b.mu.Unlock()
	if l.bound, err = b.bind(ctx, conn); err != nil {
		return nil, err
	}
	if err := b.begin(ctx, conn, l); err != nil {
		return nil, databaseError(err)
	}
	if err := readSmall(ctx, conn, l); err != nil {
		return nil, databaseError(err)
	}
	builder := graph.NewBuilder()
	for _, s := range b.sources() {
		b.loading.what.Store(&s.what)
		ignored, example := 0, error(nil)
		in := &copyReader{
			add: builder.Add, count: &b.loading.read,
			ignored: func(why error) { ignored, example = ignored+1, why },
		}
		_, err := conn.PgConn().CopyTo(ctx, in, "COPY ("+s.sql+") TO STDOUT")
		if err == nil {
			err = in.end()
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", s.what, databaseError(err))
		}
		if ignored > 0 {
			b.log.Warn("rows that are no relationship are left out", "table", s.what, "rows", ignored, "for example", example)
		}
	}
	// A position read after the snapshot is at or behind everything in it.
	pos, err := b.host.Ask(ctx)
	if err != nil {
		return nil, err
	}
	l.upper = pos.Insert
	l.graph, err = builder.Graph()
	return l, err
}

// readSmall reads the schema and the counters.
func readSmall(ctx context.Context, conn *pgx.Conn, l *base) error {
	err := conn.QueryRow(ctx, `SELECT definition, version FROM tidemark.permission_schemas ORDER BY version DESC LIMIT 1`).
		Scan(&l.schema, &l.schemaVersion)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	rows, err := conn.Query(ctx, "SELECT name, filter::text FROM tidemark.relationship_counters")
	if err != nil {
		return err
	}
	var name, text string
	_, err = pgx.ForEachRow(rows, []any{&name, &text}, func() error {
		f, err := counterFilter([]byte(text))
		if err == nil {
			l.counters[name] = *f
		}
		return err
	})
	return err
}

// source is a SELECT of relationships.
type source struct{ what, sql string }

func (b *Backend) sources() []source {
	all := []source{{"tidemark.relationships", `SELECT ` + keyColumns + `, caveat, context::text,
		CASE WHEN isfinite(expires_at) THEN coalesce(nullif(least(extract(epoch FROM expires_at) * 1000000, 9223372036854775807)::bigint, 0), -1)
		     WHEN expires_at < now() THEN -1 END FROM tidemark.relationships`}}
	if b.opts.Mapping != nil {
		for _, r := range b.opts.Mapping.Rules {
			all = append(all, source{r.Table(), r.Select()})
		}
	}
	return all
}

// begin opens a transaction whose snapshot lacks nothing that the log delivered
// before: it will not come again.
func (b *Backend) begin(ctx context.Context, conn *pgx.Conn, l *base) error {
	// From here on rows are decoded as they will be read. What came before has to be
	// in the snapshot.
	b.mu.Lock()
	b.bound = l.bound
	unseen := slices.Clone(b.unseen)
	b.mu.Unlock()
	for {
		if _, err := conn.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"); err != nil {
			return err
		}
		snap, err := snapshotOf(ctx, conn)
		if err != nil {
			return err
		}
		if b.complete(snap, unseen, l.bound) {
			l.snapshot = *snap
			return nil
		}
		if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
			return err
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // nothing is lost with it
}
