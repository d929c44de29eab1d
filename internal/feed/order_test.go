package feed

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

func TestChanges(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`)
	publish(t, db)
	f := follow(t, db)
	db.Exec(t, `INSERT INTO t VALUES (1, 'a'), (2, NULL), (3, '')`)
	db.Exec(t, `UPDATE t SET v = 'b' WHERE id = 1`)
	db.Exec(t, `UPDATE t SET id = 20 WHERE id = 2`)
	db.Exec(t, `DELETE FROM t WHERE id = 3`)
	f.expect(`
		--
		insert public.t (id=1, v=a)
		insert public.t (id=2, v=null)
		insert public.t (id=3, v=)
		--
		update public.t (id=1, v=?) -> (id=1, v=b)
		--
		update public.t (id=2, v=?) -> (id=20, v=null)
		--
		delete public.t (id=3, v=?)
	`)
}

// A transaction that began first and commits last comes last, although its
// rows were written first.
func TestInterleaved(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	publish(t, db)
	f := follow(t, db)
	run := conns(t, db, 2)
	run(0, `BEGIN`)
	run(0, `INSERT INTO t VALUES (1)`)
	run(1, `BEGIN`)
	run(1, `INSERT INTO t VALUES (2)`)
	run(0, `INSERT INTO t VALUES (3)`)
	run(1, `COMMIT`)
	run(0, `COMMIT`)
	f.expect(`
		--
		insert public.t (id=2)
		--
		insert public.t (id=1)
		insert public.t (id=3)
	`)
}

// conns opens n connections and returns a function that runs SQL on one.
func conns(t *testing.T, db *pgtest.Database, n int) func(i int, sql string) {
	t.Helper()
	all := make([]*pgx.Conn, n)
	for i := range all {
		all[i] = db.Conn(t)
	}
	return func(i int, sql string) {
		t.Helper()
		if _, err := all[i].Exec(context.Background(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// All rows of a COPY carry one LSN.
func TestCopy(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	publish(t, db)
	f := follow(t, db)
	conn := db.Conn(t)
	n, err := conn.CopyFrom(context.Background(), pgx.Identifier{"t"}, []string{"id"},
		pgx.CopyFromRows([][]any{{int32(1)}, {int32(2)}, {int32(3)}}))
	if err != nil || n != 3 {
		t.Fatal(n, err)
	}
	f.expect(`
		--
		insert public.t (id=1)
		insert public.t (id=2)
		insert public.t (id=3)
	`)
}

func TestSubTransactions(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	publish(t, db)
	f := follow(t, db)
	run := conns(t, db, 1)
	for _, sql := range []string{
		`BEGIN`, `INSERT INTO t VALUES (1)`,
		`SAVEPOINT a`, `INSERT INTO t VALUES (2)`,
		`SAVEPOINT b`, `INSERT INTO t VALUES (3)`,
		`ROLLBACK TO a`, `INSERT INTO t VALUES (4)`,
		`SAVEPOINT c`, `INSERT INTO t VALUES (5)`, `RELEASE c`,
		`COMMIT`,
		`BEGIN`, `INSERT INTO t VALUES (6)`, `ROLLBACK`,
	} {
		run(0, sql)
	}
	f.expect(`
		--
		insert public.t (id=1)
		insert public.t (id=4)
		insert public.t (id=5)
	`)
}

func TestTruncate(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE a (id int PRIMARY KEY)`)
	db.Exec(t, `CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a)`)
	db.Exec(t, `CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id)`)
	db.Exec(t, `CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)`)
	db.Exec(t, `CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)`)
	db.Exec(t, `INSERT INTO a VALUES (1); INSERT INTO b VALUES (1, 1); INSERT INTO p VALUES (1), (11)`)
	publish(t, db)
	f := follow(t, db)
	db.Exec(t, `TRUNCATE b, p1`)
	db.Exec(t, `TRUNCATE a CASCADE`)
	db.Exec(t, `TRUNCATE p`)
	f.expect(`
		--
		truncate public.b
		truncate public.p1
		--
		truncate public.a
		truncate public.b
		--
		truncate public.p1
		truncate public.p2
	`)
}

func TestToast(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE d (id int PRIMARY KEY, n int, big text)`)
	db.Exec(t, `ALTER TABLE d ALTER big SET STORAGE EXTERNAL`)
	db.Exec(t, `CREATE TABLE f (LIKE d INCLUDING ALL)`)
	db.Exec(t, `ALTER TABLE f REPLICA IDENTITY FULL`)
	db.Exec(t, `CREATE TABLE k (big text PRIMARY KEY, n int)`)
	db.Exec(t, `ALTER TABLE k ALTER big SET STORAGE EXTERNAL`)
	db.Exec(t, `INSERT INTO d VALUES (1, 1, repeat('x', 10000)); INSERT INTO f TABLE d; INSERT INTO k VALUES (repeat('k', 2500), 1)`)
	publish(t, db)
	f := follow(t, db)
	db.Exec(t, `UPDATE d SET n = 2`)
	db.Exec(t, `UPDATE f SET n = 2`)
	db.Exec(t, `UPDATE k SET n = 2`)
	db.Exec(t, `UPDATE d SET big = repeat('y', 20000)`)
	db.Exec(t, `UPDATE f SET big = NULL`)
	db.Exec(t, `DELETE FROM f`)
	f.expect(`
		--
		update public.d (id=1, n=?, big=?) -> (id=1, n=2, big=?)
		--
		update public.f (id=1, n=1, big=<10000 bytes>) -> (id=1, n=2, big=<10000 bytes>)
		--
		update public.k (big=<2500 bytes>, n=?) -> (big=<2500 bytes>, n=2)
		--
		update public.d (id=1, n=?, big=?) -> (id=1, n=2, big=<20000 bytes>)
		--
		update public.f (id=1, n=2, big=<10000 bytes>) -> (id=1, n=2, big=null)
		--
		delete public.f (id=1, n=2, big=null)
	`)
}

func TestIdentities(t *testing.T) {
	for _, c := range []struct {
		name, identity, want string
		updates              bool
	}{
		{"default", "DEFAULT", `
			--
			insert public.t (id=1, u=10, v=null)
			--
			update public.t (id=1, u=?, v=?) -> (id=1, u=10, v=a)
			--
			update public.t (id=1, u=?, v=?) -> (id=1, u=11, v=a)
			--
			update public.t (id=1, u=?, v=?) -> (id=2, u=11, v=a)
			--
			delete public.t (id=2, u=?, v=?)
		`, true},
		{"full", "FULL", `
			--
			insert public.t (id=1, u=10, v=null)
			--
			update public.t (id=1, u=10, v=null) -> (id=1, u=10, v=a)
			--
			update public.t (id=1, u=10, v=a) -> (id=1, u=11, v=a)
			--
			update public.t (id=1, u=11, v=a) -> (id=2, u=11, v=a)
			--
			delete public.t (id=2, u=11, v=a)
		`, true},
		{"index", "USING INDEX t_u_key", `
			--
			insert public.t (id=1, u=10, v=null)
			--
			update public.t (id=?, u=10, v=?) -> (id=1, u=10, v=a)
			--
			update public.t (id=?, u=10, v=?) -> (id=1, u=11, v=a)
			--
			update public.t (id=?, u=11, v=?) -> (id=2, u=11, v=a)
			--
			delete public.t (id=?, u=11, v=?)
		`, true},
		{"nothing", "NOTHING", `
			--
			insert public.t (id=1, u=10, v=null)
		`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := pgtest.DB(t)
			db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, u int NOT NULL UNIQUE, v text)`)
			db.Exec(t, `ALTER TABLE t REPLICA IDENTITY `+c.identity)
			publish(t, db)
			f := follow(t, db)
			db.Exec(t, `INSERT INTO t VALUES (1, 10)`)
			for _, sql := range []string{
				`UPDATE t SET v = 'a'`, `UPDATE t SET u = 11`, `UPDATE t SET id = 2`, `DELETE FROM t`,
			} {
				if c.updates {
					db.Exec(t, sql)
				} else if _, err := db.Conn(t).Exec(context.Background(), sql); err == nil {
					t.Errorf("%s: the server let it pass", sql)
				}
			}
			f.expect(c.want)
		})
	}
}

func TestDefinitions(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`)
	publish(t, db)
	f := follow(t, db, func(_ *Options, r *recorder) { r.defines = true })
	for i, sql := range []string{
		``, `ALTER TABLE t ADD c int DEFAULT 7`, `ALTER TABLE t DROP v`, `ALTER TABLE t RENAME c TO d`,
		`ALTER TABLE t ALTER d TYPE text`, `ALTER TABLE t REPLICA IDENTITY FULL`,
		`DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY)`,
		`ALTER TABLE t RENAME TO r; ALTER TABLE r RENAME TO t`, `ANALYZE t`,
	} {
		if sql != "" {
			db.Exec(t, sql)
		}
		db.Exec(t, fmt.Sprintf(`INSERT INTO t (id) VALUES (%d)`, 10+i))
		db.Exec(t, fmt.Sprintf(`UPDATE t SET id = id WHERE id = %d`, 10+i))
	}
	// Inside one transaction, around rows.
	db.Exec(t, `BEGIN; INSERT INTO t VALUES (30); ALTER TABLE t ADD x int; INSERT INTO t VALUES (31, 1); COMMIT`)
	f.expect(`
		--
		definition public.t (id*, v) d
		insert public.t (id=10, v=null)
		--
		update public.t (id=10, v=?) -> (id=10, v=null)
		--
		definition public.t (id*, v, c) d
		insert public.t (id=11, v=null, c=7)
		--
		update public.t (id=11, v=?, c=?) -> (id=11, v=null, c=7)
		--
		definition public.t (id*, c) d
		insert public.t (id=12, c=7)
		--
		update public.t (id=12, c=?) -> (id=12, c=7)
		--
		definition public.t (id*, d) d
		insert public.t (id=13, d=7)
		--
		update public.t (id=13, d=?) -> (id=13, d=7)
		--
		definition public.t (id*, d) d
		insert public.t (id=14, d=7)
		--
		update public.t (id=14, d=?) -> (id=14, d=7)
		--
		definition public.t (id*, d*) f
		insert public.t (id=15, d=7)
		--
		update public.t (id=15, d=7) -> (id=15, d=7)
		--
		definition public.t (id*) d
		insert public.t (id=16)
		--
		update public.t (id=16) -> (id=16)
		--
		insert public.t (id=17)
		--
		update public.t (id=17) -> (id=17)
		--
		insert public.t (id=18)
		--
		update public.t (id=18) -> (id=18)
		--
		insert public.t (id=30)
		definition public.t (id*, x) d
		insert public.t (id=31, x=1)
	`)
}

func TestPartitions(t *testing.T) {
	for _, viaRoot := range []bool{false, true} {
		t.Run(fmt.Sprintf("root=%v", viaRoot), func(t *testing.T) {
			db := pgtest.DB(t)
			db.Exec(t, `CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)`)
			db.Exec(t, `CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)`)
			db.Exec(t, `CREATE TABLE p2 (v text, id int NOT NULL)`) // columns in another order
			db.Exec(t, `ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20)`)
			publish(t, db, fmt.Sprintf("WITH (publish_via_partition_root = %v)", viaRoot))
			f := follow(t, db)
			db.Exec(t, `INSERT INTO p VALUES (1, 'a'), (11, 'b')`)
			db.Exec(t, `UPDATE p SET v = 'c'`)
			db.Exec(t, `UPDATE p SET id = 12 WHERE id = 1`)
			db.Exec(t, `TRUNCATE p1`)
			db.Exec(t, `TRUNCATE p`)
			if viaRoot {
				f.expect(`
					--
					insert public.p (id=1, v=a)
					insert public.p (id=11, v=b)
					--
					update public.p (id=1, v=?) -> (id=1, v=c)
					update public.p (id=11, v=?) -> (id=11, v=c)
					--
					delete public.p (id=1, v=?)
					insert public.p (id=12, v=c)
					--
					truncate public.p
				`)
				return
			}
			f.expect(`
				--
				insert public.p1 (id=1, v=a)
				insert public.p2 (v=b, id=11)
				--
				update public.p1 (id=1, v=?) -> (id=1, v=c)
				update public.p2 (v=?, id=11) -> (v=c, id=11)
				--
				delete public.p1 (id=1, v=?)
				insert public.p2 (v=c, id=12)
				--
				truncate public.p1
				--
				truncate public.p1
				truncate public.p2
			`)
		})
	}
}

// Rows of a root that says FULL above leaves that do not: what the leaf's log
// left out is unknown, not null and not unchanged.
func TestPartitionRootOfOtherIdentity(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)`)
	db.Exec(t, `CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)`)
	db.Exec(t, `ALTER TABLE p REPLICA IDENTITY FULL`)
	publish(t, db, "WITH (publish_via_partition_root)")
	f := follow(t, db)
	db.Exec(t, `INSERT INTO p VALUES (1, 'a')`)
	db.Exec(t, `UPDATE p SET v = 'b'`)
	db.Exec(t, `UPDATE p SET id = 2`)
	db.Exec(t, `DELETE FROM p`)
	f.expect(`
		--
		insert public.p (id=1, v=a)
		--
		update public.p (id=?, v=?) -> (id=1, v=b)
		--
		update public.p (id=1, v=?) -> (id=2, v=b)
		--
		delete public.p (id=2, v=?)
	`)
}

func TestLogicalMessages(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	publish(t, db)
	f := follow(t, db)
	f.sink.mu.Lock()
	f.sink.defines = true
	f.sink.mu.Unlock()
	db.Exec(t, `INSERT INTO t VALUES (0)`)
	f.take()
	const emit = `SELECT pg_logical_emit_message(%v, '%s', 'x')`
	db.Exec(t, fmt.Sprintf(emit, true, "tidemark.ddl"))
	db.Exec(t, fmt.Sprintf(emit, true, "other"))
	db.Exec(t, fmt.Sprintf(emit, false, "tidemark.ddl"))
	db.Exec(t, `BEGIN; `+fmt.Sprintf(emit, true, "tidemark.ddl")+`; ROLLBACK`)
	db.Exec(t, `BEGIN; INSERT INTO t VALUES (1); `+fmt.Sprintf(emit, true, "tidemark.ddl")+`; `+
		fmt.Sprintf(emit, false, "tidemark.ddl")+`; INSERT INTO t VALUES (2); COMMIT`)
	f.expect(`
		--
		definition
		--
		insert public.t (id=1)
		definition
		insert public.t (id=2)
	`)
}

func TestTransactionFields(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	publish(t, db)
	var got *change.Transaction
	f := follow(t, db, func(_ *Options, r *recorder) {
		r.onApply = func(_ context.Context, t *change.Transaction) error { got = t; return nil }
	})
	var xid uint64
	ask(t, db, `INSERT INTO t VALUES (1) RETURNING pg_current_xact_id()::text::bigint`, &xid)
	flushed := queryLSN(t, db, `SELECT pg_current_wal_flush_lsn()::text`)
	f.sync()
	f.stop()
	if uint64(got.XID) != xid || got.End > flushed || got.Commit >= got.End || got.Bytes == 0 || got.Count != 2 {
		t.Errorf("got %+v, want xid %d, end at most %v", got, xid, flushed)
	}
	if d := time.Since(got.Time); d < 0 || d > time.Minute {
		t.Errorf("committed %v ago", d)
	}
	s := f.feed.Status()
	if s.State != StateStopped || s.Transactions != 1 || s.Changes != 2 || s.Applied < got.End || s.Acknowledged != s.Applied {
		t.Errorf("status %+v", s)
	}
}

// Values come in the form that the rest of tidemark relies on, whatever the
// database says.
func TestTextForm(t *testing.T) {
	db := pgtest.DB(t)
	for _, s := range []string{
		"DateStyle = 'SQL, DMY'", "TimeZone = 'Asia/Tokyo'", "IntervalStyle = 'iso_8601'",
		"bytea_output = 'escape'", "extra_float_digits = -5", "statement_timeout = 1", "client_encoding = 'LATIN1'",
	} {
		db.Exec(t, `ALTER DATABASE `+db.Name+` SET `+s)
	}
	conn := db.Conn(t)
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(context.Background(), `SET statement_timeout = 0; SET client_encoding = 'UTF8'; SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; `+sql); err != nil {
			t.Fatal(err)
		}
	}
	exec(`CREATE TABLE t (id int PRIMARY KEY, at timestamptz, d date, i interval, b bytea, f float8, s text)`)
	exec(`CREATE PUBLICATION pub FOR ALL TABLES`)
	f := follow(t, db, func(o *Options, _ *recorder) {
		o.DSN += "&timezone=Asia/Tokyo&datestyle=German&pool_max_conns=3&statement_cache_capacity=0"
	})
	exec(`INSERT INTO t VALUES (1, '2024-02-01 12:00+00', '2024-02-01', '1 day 2 hours', '\x00ff', 0.1::float8 + 0.2, 'ü')`)
	lsn := func() revision.LSN {
		var s string
		if err := conn.QueryRow(context.Background(), `SELECT pg_current_wal_flush_lsn()::text`).Scan(&s); err != nil {
			t.Fatal(err)
		}
		l, err := revision.ParseLSN(s)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	f.reach(lsn())
	f.sink.mu.Lock()
	defer f.sink.mu.Unlock()
	want := `insert public.t (id=1, at=2024-02-01 12:00:00+00, d=2024-02-01, i=1 day 02:00:00, b=\x00ff, f=0.30000000000000004, s=ü)`
	if got := f.sink.applied[0].words[0]; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
