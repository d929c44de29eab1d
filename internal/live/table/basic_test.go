package table_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/table"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

const items = `
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE items (id int PRIMARY KEY, name text, n int, b bool, owner text, iv interval, m mood, at timestamptz, a int[]);
ALTER TABLE items REPLICA IDENTITY FULL;
INSERT INTO items SELECT g, 'item ' || g, g % 10, g % 2 = 0, 'o' || g % 3, g * interval '1 hour', 'ok', '2020-01-01'::timestamptz + g * interval '1 day', ARRAY[g] FROM generate_series(1, 50) g;`

func TestShape(t *testing.T) {
	r := newRig(t, pgtest.DB(t), items, func(o *table.Options) { o.ChunkBytes = 1000 })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn := r.db.Conn(t)
	f := newFollower(r, live.Definition{Table: "items", Where: "n < $1", Params: map[string]string{"1": "5"}})
	check := func() {
		t.Helper()
		if err := f.catchUp(ctx, r.settle()); err != nil {
			t.Fatal(err)
		}
		compare(t, "rows", f.rows.flat(), inPostgres(t, conn, "SELECT * FROM items WHERE n < $1", "5"))
	}
	check()
	for _, sql := range []string{
		"INSERT INTO items (id, n) VALUES (100, 1), (101, 7), (102, NULL)",
		"UPDATE items SET n = 3 WHERE id = 101",
		"UPDATE items SET n = 9 WHERE id = 100",
		"UPDATE items SET id = id + 1000, name = 'moved' WHERE id < 10",
		"DELETE FROM items WHERE id % 7 = 0",
		"UPDATE items SET iv = interval '1 year 2 days 03:04:05.6' WHERE id % 5 = 0",
		"BEGIN; INSERT INTO items (id, n) VALUES (200, 1); SAVEPOINT s; INSERT INTO items (id, n) VALUES (201, 1); ROLLBACK TO s; DELETE FROM items WHERE id = 200; COMMIT",
	} {
		r.db.Exec(t, sql)
		check()
	}
	if f.refetched > 0 {
		t.Error("refetched")
	}
	s, err := r.hub.Open(ctx, f.def, f.handle)
	if err != nil {
		t.Fatal(err)
	}
	news := s.Changed(f.offset)
	if news == nil {
		t.Fatal("there is something after everything")
	}
	if again := s.Changed(f.offset); again != news {
		t.Error("two at the same place wait for two things")
	}
	r.db.Exec(t, "UPDATE items SET n = 8 WHERE id = 48") // not in the shape, before or after
	r.settle()
	select {
	case <-news.Done():
		t.Error("woken by a row of no concern")
	case <-time.After(50 * time.Millisecond):
	}
	r.db.Exec(t, "UPDATE items SET n = 2 WHERE id = 48")
	select {
	case <-news.Done():
	case <-time.After(patience):
		t.Error("not woken")
	}
	check()
	// The same table by any name is one shape.
	for _, name := range []string{`"items"`, "public.items", `PUBLIC . "items"`} {
		d := f.def
		d.Table = name
		if s2, err := r.hub.Open(ctx, d, ""); err != nil || s2.Handle() != f.handle {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !strings.HasPrefix(s.Schema(), `{"id":{"type":"int4"`) {
		t.Error(s.Schema())
	}
	r.db.Exec(t, "TRUNCATE items")
	r.db.Exec(t, "INSERT INTO items (id, n) VALUES (1, 1)")
	check()
	if f.refetched != 1 {
		t.Errorf("refetched %d times", f.refetched)
	}
}
