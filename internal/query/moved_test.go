package query

import (
	"context"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// TestAnalyzeWhileAViewIsReplaced commits another view of the same name between the
// snapshot of an analysis and the moment at which the name is looked up.
func TestAnalyzeWhileAViewIsReplaced(t *testing.T) {
	ctx := context.Background()
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE items (id int PRIMARY KEY, n int);
		CREATE PUBLICATION tidemark FOR TABLE items;
		CREATE VIEW few AS SELECT id FROM items WHERE n < 3`)
	conn, other, watch := db.Conn(t), db.Conn(t), db.Conn(t)
	for _, sql := range []string{"BEGIN", "DROP VIEW few", "CREATE VIEW few AS SELECT id, n FROM items WHERE n < 4"} {
		if _, err := other.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	type analysed struct {
		e        *Endpoint
		problems []Problem
		err      error
	}
	file, pid := parse(t, "-- GET /v1/few\nSELECT * FROM few"), conn.PgConn().PID()
	done := make(chan analysed)
	go func() {
		var a analysed
		a.e, a.problems, a.err = Analyze(ctx, conn, file, Options{Publication: "tidemark"})
		done <- a
	}()
	for end, waits := time.Now().Add(10*time.Second), false; !waits; time.Sleep(time.Millisecond) {
		if err := watch.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pid = $1)", pid).Scan(&waits); err != nil || time.Now().After(end) {
			t.Fatal("the analysis does not come to the view: ", err)
		}
	}
	if _, err := other.Exec(ctx, "COMMIT"); err != nil {
		t.Fatal(err)
	}
	a := <-done
	if a.err != nil || a.problems != nil || len(a.e.Columns) != 2 {
		t.Error(a.e, a.problems, a.err)
	}
}
