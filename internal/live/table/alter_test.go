package table_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/table"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// What shows in a shape ends its handle, anything else does not; and in between
// nobody is told what is not so.
func TestDefinitions(t *testing.T) {
	r := newRig(t, pgtest.DB(t), items+`
		CREATE ROLE reader_of_shapes; CREATE TABLE other (id int PRIMARY KEY);
		CREATE FUNCTION keep(text) RETURNS bool IMMUTABLE LANGUAGE sql AS $$ SELECT $1 LIKE 'item%' $$`, nil)
	r.t.Cleanup(func() { r.db.Exec(t, "DROP OWNED BY reader_of_shapes; DROP ROLE reader_of_shapes") })
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	conn := r.db.Conn(t)
	const n = 4
	shapes := [n]struct {
		*follower
		sql string
	}{
		{newFollower(r, live.Definition{Table: "items"}), "SELECT * FROM items"},
		{newFollower(r, live.Definition{Table: "items", Columns: []string{"id", "name"}, Where: "n < 5"}), "SELECT id, name FROM items WHERE n < 5"},
		{newFollower(r, live.Definition{Table: "items", Columns: []string{"id", "m"}}), "SELECT id, m FROM items"},
		{newFollower(r, live.Definition{Table: "items", Columns: []string{"id", "name"}, Where: "keep(name)"}), "SELECT id, name FROM items WHERE keep(name)"},
	}
	for _, f := range shapes {
		if err := f.catchUp(ctx, r.settle()); err != nil {
			t.Fatal(err)
		}
	}
	for step, c := range []struct {
		sql  string
		ends string // which shapes, of those above
	}{
		{"CREATE INDEX ON items (n)", ""},
		{"CREATE TABLE unrelated (id int)", ""},
		{"GRANT SELECT ON items TO reader_of_shapes", ""},
		{"COMMENT ON TABLE items IS 'x'", ""},
		{"ALTER TABLE items ALTER name SET DEFAULT 'none'", ""},
		{"ALTER TABLE items ALTER n SET STATISTICS 10", ""},
		{"ALTER TABLE items ADD CONSTRAINT small CHECK (id < 100000)", ""},
		{"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER tr AFTER INSERT ON items EXECUTE FUNCTION f()", "3"},
		{"ANALYZE items", ""},
		{"ALTER TABLE items ADD extra int DEFAULT 5", "03"},
		{"ALTER TYPE mood ADD VALUE 'glad'", ""},
		{"ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'", "023"},
		{"ALTER TABLE items ALTER name TYPE varchar(90)", "0123"}, // all rows are written anew
		{"ALTER TABLE items ALTER name TYPE text USING upper(name)", "0123"},
		{"ALTER TABLE items DROP extra", "03"},
		{"ALTER TABLE items RENAME b TO c", "03"},
		{"BEGIN; ALTER TABLE items RENAME name TO x; UPDATE items SET x = 'x' WHERE id = 3; ALTER TABLE items RENAME x TO name; UPDATE items SET name = 'y' WHERE id = 4; COMMIT", "013?"},
		{"CREATE OR REPLACE FUNCTION keep(text) RETURNS bool IMMUTABLE LANGUAGE sql AS $$ SELECT $1 LIKE 'Y%' $$", "3"},
		{"ALTER PUBLICATION pub RENAME TO pub2; ALTER PUBLICATION pub2 RENAME TO pub", "0123"},
		{"ALTER TABLE items DROP CONSTRAINT items_pkey, ADD PRIMARY KEY (id)", "0123"},
		{"ALTER TABLE items RENAME TO items2; ALTER TABLE items2 RENAME TO items", ""},
		{"ALTER TABLE items SET (fillfactor = 80)", ""},
		{"DROP TABLE items CASCADE; CREATE TABLE items (id int PRIMARY KEY, name text, n int, m mood); ALTER TABLE items REPLICA IDENTITY FULL; INSERT INTO items VALUES (1, 'yes', 1, 'glad')", "0123"},
	} {
		var before [n]int
		for i, f := range shapes {
			before[i] = f.refetched
		}
		r.db.Exec(t, c.sql)
		r.db.Exec(t, fmt.Sprintf("INSERT INTO items (id, name, n) VALUES (%d, 'item', 2) ON CONFLICT DO NOTHING", 5000+step))
		at := r.settle()
		for i, f := range shapes {
			if err := f.catchUp(ctx, at); err != nil {
				t.Fatalf("%s: %v", c.sql, err)
			}
			compare(t, fmt.Sprintf("%d after %s", i, c.sql), f.rows.flat(), inPostgres(t, conn, f.sql))
			ended := f.refetched > before[i]
			if want := strings.Contains(c.ends, fmt.Sprint(i)); ended != want && !strings.Contains(c.ends, "?") {
				t.Errorf("%s: shape %d ended %v, want %v", c.sql, i, ended, want)
			}
		}
		if t.Failed() {
			return
		}
	}
}

// A table that cannot be followed any more: its shapes end, and asking for them
// says what is wrong.
func TestNoLongerFollowed(t *testing.T) {
	r := newRig(t, pgtest.DB(t), `
		CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); CREATE TABLE c (id int PRIMARY KEY); CREATE TABLE d (id int PRIMARY KEY);
		ALTER TABLE a REPLICA IDENTITY FULL; ALTER TABLE b REPLICA IDENTITY FULL; ALTER TABLE c REPLICA IDENTITY FULL; ALTER TABLE d REPLICA IDENTITY FULL`, nil)
	r.db.Exec(t, "ALTER PUBLICATION pub RENAME TO old; CREATE PUBLICATION pub FOR TABLE a, b, c, d")
	r.stop()
	r.start()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, c := range []struct{ table, sql, want string }{
		{"a", "DROP TABLE a", "does not exist"},
		{"b", "ALTER TABLE b RENAME TO renamed", "does not exist"},
		{"c", "ALTER PUBLICATION pub DROP TABLE c", "is not in the publication"},
		{"d", "ALTER TABLE d REPLICA IDENTITY DEFAULT", "REPLICA IDENTITY"},
	} {
		f := newFollower(r, live.Definition{Table: c.table})
		r.db.Exec(t, "INSERT INTO "+c.table+" VALUES (1)")
		if err := f.catchUp(ctx, r.settle()); err != nil {
			t.Fatal(err)
		}
		s, err := r.hub.Open(ctx, f.def, f.handle)
		if err != nil {
			t.Fatal(err)
		}
		news := s.Changed(f.offset)
		r.db.Exec(t, c.sql)
		r.settle()
		select {
		case <-news.Done():
		case <-ctx.Done():
			t.Fatalf("%s: nobody was told", c.sql)
		}
		var gone *live.GoneError
		for end := time.Now().Add(10 * time.Second); !errors.As(err, &gone); _, err = s.Next(ctx, f.offset) {
			if time.Now().After(end) {
				t.Fatalf("%s: the shape goes on: %v", c.sql, err)
			}
		}
		_, err = r.hub.Open(ctx, f.def, f.handle)
		var request *live.RequestError
		if !errors.As(err, &request) || !strings.Contains(err.Error()+request.Hint, c.want) || request.Field != "table" {
			t.Errorf("%s: %v", c.sql, err)
		}
	}
}

func TestPartitions(t *testing.T) {
	r := newRig(t, pgtest.DB(t), `
		CREATE TABLE p (id int, k int, s text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
		CREATE TABLE "p 1" PARTITION OF p FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2);
		ALTER TABLE p REPLICA IDENTITY FULL; ALTER TABLE "p 1" REPLICA IDENTITY FULL; ALTER TABLE p2 REPLICA IDENTITY FULL;
		CREATE TABLE hidden (id int NOT NULL, k int NOT NULL, s text); ALTER TABLE hidden REPLICA IDENTITY FULL;
		INSERT INTO hidden VALUES (1, 3, 'before')`, func(o *table.Options) {
		o.Rules = []table.Rule{{Schema: "public", Table: "p"}, {Schema: "public", Table: "p2"}}
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn := r.db.Conn(t)
	whole, leaf := newFollower(r, live.Definition{Table: "p"}), newFollower(r, live.Definition{Table: "p2"})
	check := func() {
		t.Helper()
		at := r.settle()
		if err := errors.Join(whole.catchUp(ctx, at), leaf.catchUp(ctx, at)); err != nil {
			t.Fatal(err)
		}
		compare(t, "the whole", whole.rows.flat(), inPostgres(t, conn, "SELECT * FROM p"))
		compare(t, "the leaf", leaf.rows.flat(), inPostgres(t, conn, "SELECT * FROM p2"))
	}
	check()
	for _, c := range []struct {
		sql  string
		ends int // of the whole
	}{
		{"INSERT INTO p VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 2, 'c')", 0},
		{"UPDATE p SET k = 2 WHERE id = 1", 0},
		{"UPDATE p2 SET s = 'x' WHERE id = 1", 0},
		{`UPDATE p SET k = 1 WHERE id = 1; DELETE FROM "p 1"`, 0},
		{"TRUNCATE p2", 1},
		{"INSERT INTO p VALUES (4, 2, 'd'); UPDATE hidden SET s = 'changed'", 0},
		{"ALTER TABLE p ATTACH PARTITION hidden FOR VALUES IN (3)", 1},
		{"UPDATE p SET s = s || '!'; INSERT INTO hidden VALUES (9, 3, 'z')", 0},
		{"CREATE TABLE p4 PARTITION OF p FOR VALUES IN (4); ALTER TABLE p4 REPLICA IDENTITY FULL; INSERT INTO p VALUES (5, 4, 'new')", 1},
		{"ALTER TABLE p DETACH PARTITION hidden", 1},
		{"DELETE FROM hidden; INSERT INTO p VALUES (6, 1, 'end')", 0},
		{"DROP TABLE p4", 1},
	} {
		before := whole.refetched
		r.db.Exec(t, c.sql)
		check()
		if got := whole.refetched - before; got != c.ends {
			t.Errorf("%s: the shape ended %d times, want %d: %v", c.sql, got, c.ends, whole.why)
		}
		if t.Failed() {
			return
		}
	}
	for key := range whole.rows {
		if !strings.HasPrefix(key, `"public"."p"/`) {
			t.Errorf("a row is called %s", key)
		}
	}
}

// Without triggers, the log does not tell of definitions: they are looked at now and
// then, and what rows show is seen at once.
func TestWithoutTriggers(t *testing.T) {
	r := newRig(t, pgtest.DB(t), items, func(o *table.Options) { o.PollInterval = 50 * time.Millisecond })
	r.db.Exec(t, "DROP EVENT TRIGGER tidemark_ddl; DROP EVENT TRIGGER tidemark_drop")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	f := newFollower(r, live.Definition{Table: "items", Columns: []string{"id", "name"}})
	if err := f.catchUp(ctx, r.settle()); err != nil {
		t.Fatal(err)
	}
	for step, c := range []struct {
		sql  string
		ends bool
	}{
		{"ALTER TABLE items ADD more int", false},
		{"ALTER TABLE items ALTER name TYPE varchar(99)", true},
		{"UPDATE items SET name = 'x'", false},
		{"ALTER TABLE items RENAME name TO other; UPDATE items SET other = 'y'; ALTER TABLE items RENAME other TO name", true},
		{"ALTER TABLE items DROP name; ALTER TABLE items ADD name text DEFAULT 'z'", true},
		{"TRUNCATE items", true},
	} {
		before := f.refetched
		r.db.Exec(t, c.sql)
		r.db.Exec(t, fmt.Sprintf("INSERT INTO items (id) VALUES (%d)", 1000+step))
		r.until(c.sql, func() bool {
			if err := f.catchUp(ctx, r.settle()); err != nil {
				t.Fatal(err)
			}
			return f.refetched > before || !c.ends
		})
		compare(t, c.sql, f.rows.flat(), inPostgres(t, r.db.Conn(t), "SELECT id, name FROM items"))
		if f.refetched > before+1 || t.Failed() {
			t.Fatalf("%s: refetched %d times: %v", c.sql, f.refetched-before, f.why)
		}
	}
}

// What changed while nobody was there is seen at the start.
func TestRedefinedMeanwhile(t *testing.T) {
	r := newRig(t, pgtest.DB(t), items, nil)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	f := newFollower(r, live.Definition{Table: "items", Columns: []string{"id", "name", "m"}})
	if err := f.catchUp(ctx, r.settle()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		sql  string
		ends bool
	}{
		{"ALTER TABLE items ADD more int; UPDATE items SET name = 'a'", false},
		{"ALTER TYPE mood ADD VALUE 'glad'", false},
		{"ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'", true},
		{"TRUNCATE items; INSERT INTO items (id) VALUES (1)", true},
		{"ALTER TABLE items RENAME name TO x; UPDATE items SET x = 'b'; ALTER TABLE items RENAME x TO name", true},
		{"ALTER TABLE items REPLICA IDENTITY DEFAULT; UPDATE items SET name = 'c'; ALTER TABLE items REPLICA IDENTITY FULL", true},
		{"ALTER PUBLICATION pub OWNER TO postgres", true}, // it was written anew
		{"DELETE FROM items", false},
	} {
		before := f.refetched
		r.stop()
		r.db.Exec(t, c.sql)
		r.start()
		if err := f.catchUp(ctx, r.settle()); err != nil {
			t.Fatal(err)
		}
		compare(t, c.sql, f.rows.flat(), inPostgres(t, r.db.Conn(t), "SELECT id, name, m FROM items"))
		if ended := f.refetched > before; ended != c.ends && !strings.Contains(c.sql, "OWNER") {
			t.Errorf("%s: ended %v, want %v: %v", c.sql, ended, c.ends, f.why)
		}
	}
}

func TestRules(t *testing.T) {
	r := newRig(t, pgtest.DB(t), items, func(o *table.Options) { o.Unused = time.Hour })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	f := newFollower(r, live.Definition{Table: "items", Columns: []string{"id", "n"}})
	check := func(sql string, ends bool) {
		t.Helper()
		before := f.refetched
		if err := f.catchUp(ctx, r.settle()); err != nil {
			t.Fatal(err)
		}
		compare(t, sql, f.rows.flat(), inPostgres(t, r.db.Conn(t), sql))
		if (f.refetched > before) != ends {
			t.Errorf("ended %v, want %v", !ends, ends)
		}
	}
	check("SELECT id, n FROM items", false)
	r.hub.SetRules([]table.Rule{{Schema: "public"}, {Schema: "other", Table: "x"}})
	check("SELECT id, n FROM items", false)
	r.hub.SetRules([]table.Rule{{Schema: "public", Table: "items", Where: "n > 4"}})
	check("SELECT id, n FROM items WHERE n > 4", true)
	r.stop()
	r.start() // with the first rules
	check("SELECT id, n FROM items", true)
	r.hub.SetRules(nil)
	var request *live.RequestError
	if _, err := r.hub.Open(ctx, f.def, f.handle); !errors.As(err, &request) {
		t.Error(err)
	}
	r.hub.SetRules([]table.Rule{{Schema: "public"}})
	check("SELECT id, n FROM items", true)
	// Nobody asks for it any more.
	if n := r.hub.Status().Handles; n == 0 {
		t.Error("no handles")
	}
	r.hub.Clean(30 * time.Minute)
	if n := r.hub.Status().Handles; n == 0 {
		t.Error("what is used was removed")
	}
	r.hub.Clean(2 * time.Hour)
	if n := r.hub.Status().Handles; n != 0 {
		t.Errorf("%d handles are left", n)
	}
	check("SELECT id, n FROM items", true)
}
