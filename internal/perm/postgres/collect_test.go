package postgres

import (
	"log/slog"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// TestCollect deletes what ended before the window, in batches, and nothing that
// somebody holds.
func TestCollect(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE SCHEMA tidemark; CREATE TABLE tidemark.relationships (resource_type text, resource_id text, relation text,
		subject_type text, subject_id text, subject_relation text DEFAULT '', caveat text, context jsonb, expires_at timestamptz)`)
	db.Exec(t, `INSERT INTO tidemark.relationships (resource_type, resource_id, relation, subject_type, subject_id, expires_at)
		SELECT 'document', 'd' || n, 'viewer', 'user', 'u', now() - n * interval '1 second' FROM generate_series(-1000, 3000) n
		UNION ALL SELECT 'document', 'never', 'viewer', 'user', 'u', NULL
		UNION ALL SELECT 'document', 'endless', 'viewer', 'user', 'u', 'infinity'
		UNION ALL SELECT 'document', 'always', 'viewer', 'user', 'u', '-infinity'`)
	b := New(Options{Pool: db.Pool(t), Window: time.Minute, Log: slog.New(slog.DiscardHandler)})
	holder := db.Conn(t)
	tx, err := holder.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT FROM tidemark.relationships WHERE resource_id = 'd2000' FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	var sum int64
	for {
		n, err := b.collectSome(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n > collectBatch {
			t.Errorf("%d at once", n)
		}
		sum += n
		if n == 0 {
			break
		}
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	var left, held int
	if err := db.Conn(t).QueryRow(t.Context(), `SELECT count(*), count(*) FILTER (WHERE resource_id = 'd2000') FROM tidemark.relationships`).Scan(&left, &held); err != nil {
		t.Fatal(err)
	}
	// Those that end later, those that ended in the last minute, the two that never
	// end, and the one that is held.
	if min, max := 1000+60+2+1, 1000+61+2+1; left < min-30 || left > max || held != 1 || int(sum)+left != 4001+3 {
		t.Errorf("%d were deleted, %d are left, of which %d is held", sum, left, held)
	}
}
