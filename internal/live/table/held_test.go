package table_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/table"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// hold runs a statement whose commit waits for a standby that there is not, and
// returns when the log has brought it.
func hold(t *testing.T, r *rig, sql string) (released chan struct{}) {
	t.Helper()
	if err := r.db.Server.Reload(map[string]string{"synchronous_standby_names": "nobody"}); err != nil {
		t.Fatal(err)
	}
	before := r.transactions()
	released = make(chan struct{})
	conn, err := pgx.Connect(context.Background(), r.db.DSN())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(released)
		_, _ = conn.Exec(context.Background(), sql) // until it is released
		_ = conn.Close(context.Background())
	}()
	r.until("the held commit is in the log", func() bool { return r.transactions() > before })
	return released
}

func release(t *testing.T, r *rig, released chan struct{}) {
	t.Helper()
	if err := r.db.Server.Reload(map[string]string{"synchronous_standby_names": ""}); err != nil {
		t.Fatal(err)
	}
	<-released
}

// A commit that the log brings before any query can see it is in every shape.
func TestHeld(t *testing.T) {
	db := pgtest.Start(t, pgtest.Options{}).DB(t)
	r := newRig(t, db, items, func(o *table.Options) { o.WaitTimeout = 2 * time.Second })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, db.DSN()+"&synchronous_commit=local")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	before := newFollower(r, live.Definition{Table: "items"})
	if err := before.catchUp(ctx, r.settle()); err != nil {
		t.Fatal(err)
	}
	released := hold(t, r, "UPDATE items SET name = 'held' WHERE id <= 5; INSERT INTO items (id, name) VALUES (1000, 'held')")
	exec("UPDATE items SET name = 'later' WHERE id BETWEEN 6 AND 10; INSERT INTO items (id, name) VALUES (1001, 'later')")
	r.settle()
	for range 2 {
		settled, err := r.hub.Settle()
		if err != nil {
			t.Fatal(err)
		}
		r.mu.Lock()
		held := r.record[len(r.record)-2].End
		r.mu.Unlock()
		if settled >= held {
			t.Errorf("settled at %s, and what ends at %s is not visible", settled, held)
		}
	}
	// One shape was made before, one is made now: both have what the log says.
	after := newFollower(r, live.Definition{Table: "items", Where: "true"})
	at := r.settle()
	for _, f := range []*follower{before, after} {
		if err := f.catchUp(ctx, at); err != nil {
			t.Fatal(err)
		}
	}
	compare(t, "two followers", after.rows.flat(), before.rows.flat())
	named := 0
	for _, row := range after.rows {
		if name := row["name"]; name != nil && *name == "held" {
			named++
		}
	}
	if named != 6 {
		t.Errorf("%d rows were held, want 6", named)
	}
	// Who has everything but the rows starts before it.
	s, err := r.hub.Open(ctx, live.Definition{Table: "items", ChangesOnly: true}, "")
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	held := r.record[len(r.record)-2].End
	r.mu.Unlock()
	last, err := s.Last(ctx)
	if err != nil || last.LSN >= held {
		t.Errorf("the last offset is %v, %v; what ends at %v is not visible", last, err, held)
	}
	// And rows asked for cannot be older than what followers know.
	if sub, err := r.hub.Subset(ctx, live.Definition{Table: "items", ChangesOnly: true}, live.Subset{}); !errors.Is(err, live.ErrUnavailable) {
		t.Errorf("a subset without what followers know: %.200s %v", sub, err)
	}
	release(t, r, released)
	sub, err := r.hub.Subset(ctx, live.Definition{Table: "items", ChangesOnly: true}, live.Subset{Where: "name = 'held'"})
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Data []message }
	if err := json.Unmarshal(sub, &got); err != nil || len(got.Data) != 6 {
		t.Errorf("%v: %s", err, sub)
	}
	for range 3 {
		if _, err := r.hub.Settle(); err != nil {
			t.Fatal(err)
		}
	}
	if settled, _ := r.hub.Settle(); settled < held {
		t.Errorf("settled only at %v", settled)
	}
	exec("DELETE FROM items WHERE id = 1000")
	at = r.settle()
	for _, f := range []*follower{before, after} {
		if err := f.catchUp(ctx, at); err != nil {
			t.Fatal(err)
		}
		compare(t, "at the end", f.rows.flat(), inPostgres(t, conn, "SELECT * FROM items"))
	}
}

// Delivered before this process began, and not visible yet: nothing is made without it.
func TestHeldOverRestart(t *testing.T) {
	db := pgtest.Start(t, pgtest.Options{}).DB(t)
	r := newRig(t, db, items, func(o *table.Options) { o.WaitTimeout = time.Second })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	old := newFollower(r, live.Definition{Table: "items"})
	if err := old.catchUp(ctx, r.settle()); err != nil {
		t.Fatal(err)
	}
	released := hold(t, r, "INSERT INTO items (id, name) VALUES (1000, 'held')")
	at := r.hub.Visible()
	r.until("it is acknowledged", func() bool { return r.feed.Status().Acknowledged >= at })
	r.stop()
	r.start()
	if err := old.catchUp(ctx, at); err != nil {
		t.Fatal(err)
	}
	if old.refetched > 0 || old.rows[`"public"."items"/"1000"`] == nil {
		t.Errorf("refetched %d, %d rows", old.refetched, len(old.rows))
	}
	if _, err := r.hub.Open(ctx, live.Definition{Table: "items", Where: "true"}, ""); !errors.Is(err, live.ErrUnavailable) {
		t.Errorf("a snapshot without the held commit: %v", err)
	}
	release(t, r, released)
	fresh := newFollower(r, live.Definition{Table: "items", Where: "id > 0"})
	if err := fresh.catchUp(ctx, r.settle()); err != nil {
		t.Fatal(err)
	}
	if err := old.catchUp(ctx, r.settle()); err != nil {
		t.Fatal(err)
	}
	compare(t, "two followers", fresh.rows.flat(), old.rows.flat())
	compare(t, "Postgres", fresh.rows.flat(), inPostgres(t, db.Conn(t), "SELECT * FROM items"))
}

// Delivered while nothing was kept, and not visible yet.
func TestHeldWhileNothingIsKept(t *testing.T) {
	db := pgtest.Start(t, pgtest.Options{}).DB(t)
	r := newRig(t, db, items, func(o *table.Options) { o.WaitTimeout = time.Second })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	old := newFollower(r, live.Definition{Table: "items"})
	if err := old.catchUp(ctx, r.settle()); err != nil {
		t.Fatal(err)
	}
	idle := db.Conn(t) // writes to the table, and is not committing
	if _, err := idle.Exec(ctx, "BEGIN; UPDATE items SET name = 'idle' WHERE id = 9"); err != nil {
		t.Fatal(err)
	}
	released := hold(t, r, "INSERT INTO items (id, name) VALUES (1000, 'held')")
	r.begin()
	d := live.Definition{Table: "items", Where: "true"}
	if _, err := r.hub.Open(ctx, d, ""); !errors.Is(err, live.ErrUnavailable) {
		t.Errorf("a snapshot without the held commit: %v", err)
	}
	if _, err := r.hub.Subset(ctx, d, live.Subset{}); !errors.Is(err, live.ErrUnavailable) {
		t.Errorf("a subset without the held commit: %v", err)
	}
	release(t, r, released)
	fresh := newFollower(r, d)
	if err := errors.Join(fresh.catchUp(ctx, r.settle()), old.catchUp(ctx, r.settle())); err != nil {
		t.Fatal(err)
	}
	if old.refetched != 1 {
		t.Errorf("refetched %d times", old.refetched)
	}
	if _, err := idle.Exec(ctx, "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(fresh.catchUp(ctx, r.settle()), old.catchUp(ctx, r.settle())); err != nil {
		t.Fatal(err)
	}
	compare(t, "two followers", fresh.rows.flat(), old.rows.flat())
	compare(t, "Postgres", fresh.rows.flat(), inPostgres(t, db.Conn(t), "SELECT * FROM items"))
}

// Nobody is told of what follows a change of definitions that nobody could look at.
func TestHeldDefinition(t *testing.T) {
	db := pgtest.Start(t, pgtest.Options{}).DB(t)
	r := newRig(t, db, items+"CREATE TYPE colour AS ENUM ('red')", nil)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, db.DSN()+"&synchronous_commit=local")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, c := range []struct {
		sql  string
		ends bool
	}{
		{"ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'", true},
		{"ALTER TYPE colour RENAME VALUE 'red' TO 'blue'", false},
	} {
		f := newFollower(r, live.Definition{Table: "items"})
		if err := f.catchUp(ctx, r.settle()); err != nil {
			t.Fatal(err)
		}
		s, err := r.hub.Open(ctx, f.def, f.handle)
		if err != nil {
			t.Fatal(err)
		}
		before := r.hub.Visible()
		released := hold(t, r, c.sql)
		if _, err := conn.Exec(ctx, "UPDATE items SET m = 'sad', n = n + 1 WHERE id = 1"); err != nil {
			t.Fatal(err)
		}
		after := r.settle()
		r.idle() // else it wakes for what is visible just now
		b, err := s.Next(ctx, f.offset)
		if err != nil || !b.UpToDate || len(b.Messages) > 0 || b.At < before || b.At >= after {
			t.Fatalf("%+v %v", b, err)
		}
		news := s.Changed(b.End)
		select {
		case <-news.Done():
			t.Fatal("woken by what nobody may be told")
		case <-time.After(50 * time.Millisecond):
		}
		release(t, r, released)
		select {
		case <-news.Done():
		case <-ctx.Done():
			t.Fatal("not woken")
		}
		if err := f.catchUp(ctx, r.settle()); err != nil {
			t.Fatal(err)
		}
		if (f.refetched > 0) != c.ends {
			t.Errorf("%s: refetched %d times", c.sql, f.refetched)
		}
		compare(t, c.sql, f.rows.flat(), inPostgres(t, conn, "SELECT * FROM items"))
	}
}

// A crash of the server may take back what only a snapshot has seen.
func TestServerCrash(t *testing.T) {
	db := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"wal_writer_delay": "10s", "fsync": "on"}}).DB(t)
	r := newRig(t, db, items, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	f := newFollower(r, live.Definition{Table: "items"})
	if err := f.catchUp(ctx, r.settle()); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		conn, err := pgx.Connect(ctx, db.DSN()+"&synchronous_commit=off")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(ctx, "INSERT INTO items (id, name) SELECT g, 'lost' FROM generate_series($1::int, $1 + 5) g", 1000+10*round); err != nil {
			t.Fatal(err)
		}
		opened := make(chan error, 1)
		fresh := newFollower(r, live.Definition{Table: "items", Where: "id <> $1", Params: map[string]string{"1": "7"}, Columns: slices.Clone([]string{"id", "name"})[:2-round%2]})
		go func() { opened <- fresh.catchUp(ctx, 1) }()
		time.Sleep(time.Duration(round) * 3 * time.Millisecond)
		sessions := r.sessions.Load()
		if err := db.Server.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := db.Server.Start(); err != nil {
			t.Fatal(err)
		}
		r.until("the log is followed again", func() bool { return r.sessions.Load() > sessions })
		for err := range opened {
			if err != nil && !errors.Is(err, live.ErrUnavailable) {
				t.Fatal(err)
			}
			break
		}
		db.Exec(t, "INSERT INTO items (id, name) VALUES ($1, 'after')", 2000+round)
		at := r.settle()
		for _, f := range []*follower{f, fresh} {
			for err := f.catchUp(ctx, at); err != nil; err = f.catchUp(ctx, at) {
				if !errors.Is(err, live.ErrUnavailable) || ctx.Err() != nil {
					t.Fatal(err)
				}
			}
		}
		compare(t, "the old one", f.rows.flat(), inPostgres(t, db.Conn(t), "SELECT * FROM items"))
		columns := "id, name"
		if round%2 == 1 {
			columns = "id"
		}
		compare(t, "the new one", fresh.rows.flat(), inPostgres(t, db.Conn(t), "SELECT "+columns+" FROM items WHERE id <> 7"))
	}
	if f.refetched > 0 {
		t.Error("refetched")
	}
}
