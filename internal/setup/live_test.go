package setup

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

func follows(in Input, tables ...Table) Input {
	in.Followed = tables
	return in
}

func TestFollowedTables(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE plain (id int PRIMARY KEY); CREATE TABLE items (id int PRIMARY KEY); CREATE TABLE bare (v text);
		CREATE SCHEMA app; CREATE TABLE app.one (id int PRIMARY KEY); CREATE TABLE app."Two Words" (v text);
		CREATE TABLE app.parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
		CREATE TABLE app.parts1 PARTITION OF app.parts FOR VALUES FROM (0) TO (10);
		CREATE VIEW app.seen AS SELECT * FROM items; CREATE UNLOGGED TABLE app.gone (id int)`)
	conn := db.Conn(t)
	in := input("plain")
	in.ReplicaIdentity = Keep
	in = follows(in, Table{"public", "items"}, Table{"public", "bare"}, Table{Schema: "app"}, Table{Schema: "nowhere"})
	if inspect(t, conn, in).Ready() {
		t.Error("ready without the tables")
	}
	mustRun(t, conn, in)
	if got := published(t, conn); got != "Two Words bare items one parts1 plain" {
		t.Errorf("published: %s", got)
	}
	for name, want := range map[string]string{
		"plain": "d", "items": "f", "bare": "f", "app.one": "f", `app."Two Words"`: "f", "app.parts1": "f",
	} {
		if got := identity(t, conn, name); got != want {
			t.Errorf("the identity of %s is %s", name, got)
		}
	}
	if after := inspect(t, conn, in); !after.Ready() || len(after.Steps) > 0 {
		t.Errorf("after all of it: %v %+v", ids(after.Steps), after.Diagnosis())
	}
	// A table that is made later is found.
	exec(t, conn, "CREATE TABLE app.later (id int PRIMARY KEY)")
	if again := inspect(t, conn, in); again.Ready() || len(again.Steps) != 2 {
		t.Errorf("after another table: %v", ids(again.Steps))
	}
	mustRun(t, conn, in)
	if got := identity(t, conn, "app.later"); got != "f" {
		t.Errorf("its identity is %s", got)
	}
}

func TestWhatCannotBeFollowed(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE items (id int PRIMARY KEY); CREATE VIEW seen AS SELECT * FROM items; CREATE UNLOGGED TABLE gone (id int);
		CREATE TABLE hidden (id int PRIMARY KEY)`)
	r := inspect(t, db.Conn(t), follows(input(), Table{"public", "nothing"}))
	wantFinding(t, r, Warning, "followed-missing", "public.nothing", "")
	for _, name := range []string{"seen", "gone"} {
		r = inspect(t, db.Conn(t), follows(input(), Table{"public", name}))
		wantFinding(t, r, Error, "followed-not-in-log", "public."+name, "")
	}
	conn, role := login(t, db, "REPLICATION", "")
	r = inspect(t, conn, follows(input(), Table{"public", "hidden"}))
	wantFinding(t, r, Error, "followed-select", "public.hidden", "GRANT SELECT ON public.hidden TO "+role)
	db.Exec(t, "GRANT SELECT ON hidden TO "+pgx.Identifier{role}.Sanitize())
	if r = inspect(t, conn, follows(input(), Table{"public", "hidden"})); find(r, "followed-select") != nil {
		t.Errorf("%+v", r.Findings)
	}
}

// Where FULL would make an application's UPDATE fail, there is no following.
func TestFollowedTablesThatCannotBeFull(t *testing.T) {
	db := pgtest.DB(t)
	if value[int](t, db.Conn(t), "SELECT current_setting('server_version_num')::int") < 150000 {
		t.Skip("column lists of publications need Postgres 15 or later: that such a table cannot be followed is not checked here")
	}
	db.Exec(t, `CREATE TABLE items (id int PRIMARY KEY, v text); CREATE PUBLICATION other FOR TABLE items (id)`)
	r := inspect(t, db.Conn(t), follows(input(), Table{"public", "items"}))
	wantFinding(t, r, Error, "needs-full", "its rows may be followed", "")
}
