package tenant_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/revision"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// TestTorn lets a transaction commit between the snapshot of a fill and its query,
// of which the query shows what no snapshot shields from: a truncated table is
// empty. So no position before the commit has that answer.
func TestTorn(t *testing.T) {
	endpoints := map[string]string{}
	const n = 20
	for i := range n {
		endpoints[fmt.Sprintf("count%d.sql", i)] = fmt.Sprintf("-- GET /v1/count%d\nSELECT count(*) AS n, %d AS i FROM orders", i, i)
	}
	r := newRig(t, shopSchema, endpoints, nil)
	ctx := context.Background()
	conn, watch := r.db.Conn(t), r.db.Conn(t)
	exec := func(c *pgx.Conn, sql string) {
		t.Helper()
		if _, err := c.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	rows, waited := 200, 0
	for i := range n {
		path, other := fmt.Sprintf("/v1/count%d", i), fmt.Sprintf("/v1/count%d", (i+1)%n)
		before := r.get(other).token
		had := rows
		rows = 7 + i
		exec(conn, fmt.Sprintf("BEGIN; TRUNCATE orders; INSERT INTO orders SELECT n, 1 FROM generate_series(1, %d) n", rows))
		got := make(chan response)
		go func() { got <- r.get(path) }()
		r.until("the query waits", func() (waits bool) {
			err := watch.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'orders'::regclass)").Scan(&waits)
			return err == nil && waits
		})
		var at string
		if err := watch.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()").Scan(&at); err != nil {
			t.Fatal(err)
		}
		exec(conn, "COMMIT")
		res := <-got
		commit, err := revision.ParseLSN(at)
		if err != nil {
			t.Fatal(err)
		}
		token, err := revision.ParseToken(res.token)
		if err != nil {
			t.Fatal(err)
		}
		want := rows
		if token.LSN <= commit {
			want = had // it was there, and some other query waits
		} else {
			waited++
		}
		if want := fmt.Sprintf(`[{"n":%d,"i":%d}]`, want, i); res.status != http.StatusOK || res.body != want {
			t.Errorf("%d %s as of %s, want %s; the commit is after %s", res.status, res.body, token.LSN, want, commit)
		}
		// What was true before it still is what it was, or is not told any more.
		for _, path := range []string{path, other} {
			was := r.get(path, level, fmt.Sprintf("at_exact_snapshot; token=%q", before))
			if want := fmt.Sprintf(`[{"n":%d,`, had); was.status != http.StatusGone && !strings.HasPrefix(was.body, want) {
				t.Errorf("before: %s %d %s, want %s", path, was.status, was.body, want)
			}
		}
	}
	if waited < n/2 {
		t.Errorf("only %d of %d queries waited for the commit", waited, n)
	}
}

// TestTidyingIsNotWaitedFor reads rows with many dead versions, which the query
// clears away. What it writes about that into the log is flushed by nobody for a
// while, and nobody is to wait for it.
func TestTidyingIsNotWaitedFor(t *testing.T) {
	// Half of each page is free, and is kept so: by whoever reads it next.
	schema := `CREATE TABLE notes (id int PRIMARY KEY, note text) WITH (fillfactor = 50);
		ALTER TABLE notes REPLICA IDENTITY FULL;
		INSERT INTO notes SELECT n, 'note ' || n FROM generate_series(1, 1000) n;
		CREATE PUBLICATION tidemark FOR TABLE notes`
	r := newRig(t, schema, map[string]string{"note.sql": "-- GET /v1/notes/{id}\n-- result: one\nSELECT id, note || '' AS note FROM notes WHERE id = :id"},
		func(o *tenant.Options) { o.GCWindow = 0 }) // a snapshot that is held keeps what is dead
	ctx, conn := context.Background(), r.db.Conn(t)
	r.until("it is idle", func() bool {
		before := r.tenant.Status().Flushes
		time.Sleep(300 * time.Millisecond)
		return r.tenant.Status().Flushes == before
	})
	before := r.tenant.Status().Flushes
	const n = 200
	ahead := 0
	for i := range n {
		r.db.Exec(t, "UPDATE notes SET note = $1 WHERE id = 7", fmt.Sprint(i))
		r.want("/v1/notes/7", fmt.Sprintf(`{"id":7,"note":"%d"}`, i), level, "fully_consistent")
		var unflushed bool
		if err := conn.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()").Scan(&unflushed); err != nil {
			t.Fatal(err)
		}
		if unflushed {
			ahead++
		}
	}
	flushed := r.tenant.Status().Flushes - before
	t.Logf("of %d answers %d left something behind that was not flushed; %d flushes", n, ahead, flushed)
	if ahead < n/4 {
		t.Errorf("only %d of %d queries cleared something away", ahead, n)
	}
	// The log's writer has its turn now and then between two looks.
	if flushed > int64(ahead/4) {
		t.Errorf("%d times the log was flushed for %d answers, of which %d left something behind", flushed, n, ahead)
	}
}
