package oracle

import (
	"context"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/revision"
	"github.com/tidemarkdb/tidemark/internal/setup"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// TestOvertakenSnapshot asks for a moment before a change that snapshots do not
// shield from: a truncated table is empty, and a view is what it is now, in
// transactions that began before. The answer of that moment must come, or the
// word that it is gone.
func TestOvertakenSnapshot(t *testing.T) {
	for _, c := range []struct{ name, change string }{
		{"truncate", "TRUNCATE t"},
		{"view", "CREATE OR REPLACE VIEW v AS SELECT id, name FROM t WHERE id > 5"},
		{"rewrite", "ALTER TABLE t ALTER COLUMN spare TYPE bigint"},
	} {
		t.Run(c.name, func(t *testing.T) {
			run := &run{TB: t, server: pgtest.Shared(t), s: &schema{}, lane: lanes[0]}
			run.db = run.server.DB(t)
			run.db.Exec(t, "CREATE TABLE t (id int PRIMARY KEY, name text, spare int); CREATE VIEW v AS SELECT id, name FROM t; INSERT INTO t VALUES (1, 'a')")
			ctx, conn := context.Background(), run.db.Conn(t)
			report, err := setup.Inspect(ctx, conn, setup.Input{Publication: "tidemark", Slot: run.db.Name, Tables: []setup.Table{{Schema: "public", Name: "t"}}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := setup.Apply(ctx, conn, report, setup.Patience{}, nil); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "v.sql"), []byte("-- GET /v/{id}\n-- result: one\nSELECT id, name FROM v WHERE id = :id\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			ep := &endpoint{sql: "SELECT id, name FROM v WHERE id = :id"}
			run.eps = []*endpoint{ep}
			ep.asked = []*request{{ep: ep, path: "/v/9"}, {ep: ep, path: "/v/1"}}
			run.subject, err = newSubject(tenant.Options{
				Database: run.db.DSN(), Endpoints: dir, Slot: run.db.Name, Publication: "tidemark",
				GCWindow: time.Minute, Quantization: 20 * time.Millisecond,
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := run.subject.start(ctx); err != nil {
				t.Fatal(err)
			}
			defer run.subject.close()
			run.recover("after the start")
			run.db.Exec(t, "UPDATE t SET name = 'b'")
			var before string
			if err := conn.QueryRow(ctx, "SELECT tidemark.token()").Scan(&before); err != nil {
				t.Fatal(err)
			}
			// Snapshots are kept after something was applied; this changes no answer.
			for id, held := 100, run.subject.tenant.Status().Store.Pins; run.subject.tenant.Status().Store.Pins < held+2; id++ {
				run.db.Exec(t, "INSERT INTO t VALUES ($1)", id)
				time.Sleep(10 * time.Millisecond)
			}
			run.db.Exec(t, c.change)
			run.recover("after the change")
			rec := run.newClient(rand.New(rand.NewPCG(1, 1))).read(ctx, ep.asked[1], revision.AtExactSnapshot, before)
			if rec.status != http.StatusGone && rec.result.body != `{"id":1,"name":"b"}` {
				t.Errorf("got %s\n%s", rec.result, rec)
			}
		})
	}
}
