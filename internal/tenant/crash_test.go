package tenant_test

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// TestDefinitionAfterCrash has the server crash after commits that were not
// durable, and change a definition by a transaction with the id of one of them.
// The analysis saw the one, and must not count as having seen the other.
func TestDefinitionAfterCrash(t *testing.T) {
	ctx := context.Background()
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"wal_writer_delay": "10s", "autovacuum": "off"}})
	r := &rig{t: t, db: server.DB(t), dir: t.TempDir()}
	r.db.Exec(t, shopSchema+`CREATE VIEW shown AS SELECT count(*) AS n FROM users;
		ALTER TABLE users ADD a text COLLATE "C" DEFAULT 'a', ADD b text COLLATE "POSIX" DEFAULT 'b'`)
	install(t, r.db, true)
	r.file("shown.sql", "-- GET /v1/shown\nSELECT n FROM shown")
	r.file("fails.sql", "-- GET /v1/fails\nSELECT id FROM users WHERE a < b")
	r.start(func(o *tenant.Options) { o.WaitTimeout, o.PollInterval = time.Second, time.Hour })
	r.want("/v1/shown", `[{"n":20}]`)

	var lock, change pgx.Tx
	for n := 1; ; n++ {
		undone := r.crash(server)
		// No analysis ends while this is locked.
		var err error
		if lock, err = r.db.Conn(t).Begin(ctx); err != nil {
			t.Fatal(err)
		}
		if change, err = r.db.Conn(t).Begin(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := change.Exec(ctx, "CREATE OR REPLACE VIEW shown AS SELECT count(*) AS n FROM orders"); err != nil {
			t.Fatal(err)
		}
		if _, err := lock.Exec(ctx, "LOCK TABLE pg_event_trigger"); err != nil {
			t.Fatal(err)
		}
		var xid string
		if err := change.QueryRow(ctx, "SELECT pg_current_xact_id()::text").Scan(&xid); err != nil {
			t.Fatal(err)
		}
		if slices.Contains(undone, xid) {
			break
		}
		// The server made them durable by itself.
		if n == 10 {
			t.Fatalf("the change is transaction %s, and what was to be undone %v", xid, undone)
		}
		for _, tx := range []pgx.Tx{change, lock} {
			if err := tx.Rollback(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := change.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	r.get("/v1/shown", level, "fully_consistent")
	r.db.Exec(t, "DELETE FROM orders WHERE id = 1")
	if got := r.get("/v1/shown", level, "fully_consistent"); got.status == http.StatusOK && got.body != `[{"n":199}]` {
		t.Errorf("before another analysis: %s", got.body)
	}
	if err := lock.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	r.until("the endpoints are analysed", func() bool {
		return r.get("/v1/shown", level, "fully_consistent").status == http.StatusOK
	})
	r.want("/v1/shown", `[{"n":199}]`, level, "fully_consistent")
}

// crash makes commits that are not durable, has tidemark see them, and has the
// server crash. It returns their ids.
func (r *rig) crash(server *pgtest.Server) (undone []string) {
	r.t.Helper()
	ctx := context.Background()
	conn := r.db.Conn(r.t)
	if _, err := conn.Exec(ctx, "SET synchronous_commit = off"); err != nil {
		r.t.Fatal(err)
	}
	for range 30 {
		var xid string
		if err := conn.QueryRow(ctx, "SELECT pg_current_xact_id()::text FROM pg_logical_emit_message(true, 'undone', '')").Scan(&xid); err != nil {
			r.t.Fatal(err)
		}
		undone = append(undone, xid)
	}
	// A statement that fails as if a definition had changed has the endpoints
	// looked at again, without a write.
	if got := r.get("/v1/fails"); got.status != http.StatusInternalServerError {
		r.t.Fatalf("%d %s", got.status, got.body)
	}
	if err := server.Kill(); err != nil {
		r.t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.until("the log is followed again", func() bool {
		return r.get("/v1/shown", level, "fully_consistent").status == http.StatusOK
	})
	return undone
}
