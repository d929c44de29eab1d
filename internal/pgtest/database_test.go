//go:build unix

package pgtest

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func exists(t *testing.T, sql string, args ...any) bool {
	t.Helper()
	var n int
	err := Shared(t).admin("postgres", func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "select count(*) from "+sql, args...).Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

func TestDatabasesAreEmptyAndApart(t *testing.T) {
	a, b := DB(t), DB(t)
	if a.Server != b.Server || a.Name == b.Name {
		t.Fatalf("%s and %s on servers %p and %p", a.Name, b.Name, a.Server, b.Server)
	}
	a.Exec(t, "create table mine (id int); insert into mine values (1)")
	if got := value(t, a.DSN(), "select count(*)::text from mine"); got != "1" {
		t.Errorf("%s rows", got)
	}
	if got := value(t, b.DSN(), "select coalesce(to_regclass('mine')::text, 'none')"); got != "none" {
		t.Errorf("the other database has table %s", got)
	}
	var n int
	if err := a.Pool(t).QueryRow(t.Context(), "select id from mine").Scan(&n); err != nil || n != 1 {
		t.Errorf("through the pool: %d, %v", n, err)
	}
}

// TestDropWithEverythingInTheWay leaves in its subtest what keeps a database from being dropped.
func TestDropWithEverythingInTheWay(t *testing.T) {
	var name string
	t.Run("leave", func(t *testing.T) {
		d := DB(t)
		name = d.Name
		d.Exec(t, "create table t (id int)")
		d.Exec(t, "begin; insert into t values (1); prepare transaction 'it''s open'")
		d.Exec(t, "rollback") // the session, not the prepared transaction
		// A prepared transaction holds up the making of a slot, so the slots belong to an empty moment.
		d.Exec(t, "rollback prepared 'it''s open'")
		d.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", name+"_idle")
		d.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", name+"_busy")
		d.Exec(t, "create publication p for all tables")
		d.Exec(t, "begin; insert into t values (1); prepare transaction 'it''s open'")

		conn, err := pgconn.Connect(t.Context(), d.DSN()+"&replication=database")
		if err != nil {
			t.Fatal(err)
		}
		mr := conn.Exec(t.Context(), "START_REPLICATION SLOT "+name+"_busy LOGICAL 0/0 (proto_version '1', publication_names 'p')")
		t.Cleanup(func() { go mr.Close() })
		await(t, "the slot is active", func() bool {
			return exists(t, "pg_replication_slots where slot_name = $1 and active", name+"_busy")
		})
		_ = d.Conn(t) // an open session
	})
	if exists(t, "pg_database where datname = $1", name) {
		t.Errorf("database %s is still there", name)
	}
	if exists(t, "pg_replication_slots where database = $1", name) {
		t.Errorf("a slot of %s is still there", name)
	}
	if exists(t, "pg_prepared_xacts where database = $1", name) {
		t.Errorf("a prepared transaction of %s is still there", name)
	}
}

func TestDropDoesNotWaitForAStandby(t *testing.T) {
	s := Start(t, Options{})
	begin := time.Now()
	t.Run("leave", func(t *testing.T) {
		s.DB(t)
		if err := s.Reload(map[string]string{"synchronous_standby_names": "nobody"}); err != nil {
			t.Fatal(err)
		}
	})
	if took := time.Since(begin); took > adminTimeout/2 {
		t.Errorf("took %v", took)
	}
}

func TestExecFollowsARestart(t *testing.T) {
	s := Start(t, Options{})
	d := s.DB(t)
	d.Exec(t, "create table t (id int)")
	if err := s.Restart("immediate"); err != nil {
		t.Fatal(err)
	}
	d.Exec(t, "insert into t values ($1)", 1)
}

func TestDatabaseName(t *testing.T) {
	long := databaseName("TestÄ/With A Very-Long_name_that_goes_on_and_on_and_on_and_on_and_on")
	if len(long) > 63 {
		t.Errorf("%q has %d bytes", long, len(long))
	}
	for _, r := range long {
		if r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') {
			t.Errorf("%q would want quotes", long)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	Shared(b)
	for b.Loop() {
		s, err := Open(b.Context(), Options{})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDB(b *testing.B) {
	Shared(b)
	for b.Loop() {
		if err := DB(b).drop(); err != nil {
			b.Fatal(err)
		}
	}
}
