package postgres_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/revision"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// writers change relationships with plain SQL, whatever happens to the server,
// until they are stopped.
type writers struct {
	stop    func()
	commits atomic.Int64
}

func write(t testing.TB, db *pgtest.Database, n int, commit string) *writers {
	ctx, cancel := context.WithCancel(context.Background())
	w := &writers{}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 5))
			var conn *pgx.Conn
			defer func() {
				if conn != nil {
					_ = conn.Close(context.Background())
				}
			}()
			for ctx.Err() == nil {
				if conn == nil || conn.IsClosed() {
					var err error
					if conn, err = pgx.Connect(ctx, db.DSN()); err != nil {
						conn = nil
						time.Sleep(20 * time.Millisecond)
						continue
					}
				}
				sql := "BEGIN; SET LOCAL synchronous_commit = " + commit + ";"
				for range 1 + rnd.IntN(4) {
					switch rnd.IntN(3) {
					case 0:
						sql += fmt.Sprintf("DELETE FROM tidemark.relationships WHERE resource_id = 'd%d' AND subject_id = 'u%d';", rnd.IntN(40), rnd.IntN(40))
					default:
						sql += fmt.Sprintf(`INSERT INTO tidemark.relationships (resource_type, resource_id, relation, subject_type, subject_id, caveat, context)
							VALUES ('document', 'd%d', 'viewer', 'user', 'u%d', 'weekday', '{"allowed":[%d]}')
							ON CONFLICT (resource_type, resource_id, relation, subject_type, subject_id, subject_relation)
							DO UPDATE SET context = excluded.context;`, rnd.IntN(40), rnd.IntN(40), rnd.IntN(9))
					}
				}
				end := "COMMIT"
				if rnd.IntN(5) == 0 {
					end = "ROLLBACK"
				}
				// Not cut off in the middle: the server would go on for a while.
				if _, err := conn.Exec(context.Background(), sql+end, pgx.QueryExecModeSimpleProtocol); err == nil {
					w.commits.Add(1)
				}
			}
		})
	}
	var once sync.Once
	w.stop = func() { once.Do(func() { cancel(); wg.Wait() }) }
	t.Cleanup(w.stop)
	return w
}

func fill(t testing.TB, db *pgtest.Database, n int) {
	t.Helper()
	db.Exec(t, `INSERT INTO tidemark.relationships (resource_type, resource_id, relation, subject_type, subject_id)
		SELECT 'document', 'f' || n % 1000, 'viewer', 'user', 'f' || n FROM generate_series(1, $1::int) n`, n)
}

// TestLoadUnderWrites loads again and again while others write.
func TestLoadUnderWrites(t *testing.T) {
	db := pgtest.DB(t)
	install(t, db)
	fill(t, db, 50_000)
	w := write(t, db, 4, "on")
	r := newRig(t, db, nil)
	for range 6 {
		r.until("it is loaded", r.loaded)
		r.view(fully)
		r.stop()
		r.start(nil)
	}
	r.until("it is loaded", r.loaded)
	time.Sleep(300 * time.Millisecond)
	w.stop()
	if w.commits.Load() < 100 {
		t.Errorf("only %d commits", w.commits.Load())
	}
	r.same()
}

// TestCrash kills the server, during loads and afterwards, while others commit
// without waiting for the disk: what a load has seen may be gone.
func TestCrash(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"wal_writer_delay": "10s", "wal_writer_flush_after": "1GB"}})
	db := server.DB(t)
	install(t, db)
	fill(t, db, 100_000)
	w := write(t, db, 3, "off")
	r := newRig(t, db, nil)
	for n := range 6 {
		if n%2 == 0 {
			r.until("it is loaded", r.loaded)
			r.db.Exec(t, "TRUNCATE tidemark.relationship_counters") // another load
			time.Sleep(time.Duration(n*40) * time.Millisecond)
		} else {
			time.Sleep(300 * time.Millisecond)
		}
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		r.until("the log is followed", func() bool {
			_, err := r.perms.View(context.Background(), fully)
			return err == nil
		})
	}
	w.stop()
	r.same()
}

// TestLoadedIsDurable has a load see commits that are not on disk, and the server
// crash as soon as it is done.
func TestLoadedIsDurable(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{
		"wal_writer_delay": "10s", "wal_writer_flush_after": "1GB", "autovacuum": "off",
	}})
	db := server.DB(t)
	install(t, db)
	r := newRig(t, db, nil)
	r.schema(sampleSchema)
	for n := range 5 {
		r.stop()
		conn := db.Conn(t)
		if _, err := conn.Exec(t.Context(), fmt.Sprintf(`SET synchronous_commit = off;
			INSERT INTO tidemark.relationships (resource_type, resource_id, relation, subject_type, subject_id)
			VALUES ('document', 'd%d', 'viewer', 'user', 'undone')`, n), pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
		r.start(nil)
		r.until("it is loaded", r.loaded)
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		r.same()
	}
}

// TestHeldCommits has commits that are in the log and that no query can see, at
// the start, at a load, and in between.
func TestHeldCommits(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	db := server.DB(t)
	install(t, db)
	fill(t, db, 1000)
	// Its own writes and flushes do not wait for anybody.
	dsn := db.DSN()
	r := newRig(t, db, func(o *tenant.Options) { o.Database = dsn; o.WaitTimeout = 2 * time.Second })
	r.until("it is loaded", r.loaded)
	hold := func(sql string) (done chan error) {
		t.Helper()
		applied := r.tenant.Status().Transactions
		conn := db.Conn(t)
		done = make(chan error, 1)
		go func() {
			_, err := conn.Exec(context.Background(), sql)
			done <- err
		}()
		r.until("the commit is in the log", func() bool { return r.tenant.Status().Transactions > applied })
		return done
	}
	standbys := func(names string) {
		t.Helper()
		if err := server.Reload(map[string]string{"synchronous_standby_names": names}); err != nil {
			t.Fatal(err)
		}
	}
	insert := func(who string) string {
		return `INSERT INTO tidemark.relationships (resource_type, resource_id, relation, subject_type, subject_id)
			VALUES ('document', 'held', 'viewer', 'user', '` + who + `')`
	}
	viewers := func() int {
		t.Helper()
		v, err := r.perms.View(t.Context(), revision.Requirement{})
		if err != nil {
			return -1
		}
		return v.Graph.Len() - 1000
	}
	standbys("nobody")
	one := hold(insert("one"))
	if n := viewers(); n != 1 {
		t.Errorf("%d, as of the log", n)
	}
	// A load cannot see the first, and the log does not bring it again.
	two := hold("SET synchronous_commit = local; TRUNCATE tidemark.relationship_counters")
	three := hold(insert("three"))
	time.Sleep(300 * time.Millisecond)
	if r.loaded() {
		t.Error("it is loaded without a commit that was delivered")
	}
	standbys("")
	for _, done := range []chan error{one, two, three} {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	r.until("it is loaded", r.loaded)
	r.same()
	// And neither does another process.
	standbys("nobody")
	four := hold(insert("four"))
	at := r.tenant.Status().Frontier
	r.until("it is acknowledged", func() bool { return r.tenant.Status().Feed.Acknowledged >= at })
	r.stop()
	r.start(func(o *tenant.Options) { o.WaitTimeout = 2 * time.Second })
	time.Sleep(300 * time.Millisecond)
	if r.loaded() {
		t.Error("it is loaded without a commit that was delivered to another process")
	}
	standbys("")
	if err := <-four; err != nil {
		t.Fatal(err)
	}
	r.until("it is loaded", r.loaded)
	r.same()
	if n := viewers(); n != 3 {
		t.Errorf("%d viewers", n)
	}
}

// TestSlotDropped has a log that does not join up.
func TestSlotDropped(t *testing.T) {
	db := pgtest.DB(t)
	install(t, db)
	fill(t, db, 5000)
	r := newRig(t, db, nil)
	w := write(t, db, 3, "on")
	for range 3 {
		r.until("it is loaded", r.loaded)
		epoch := r.tenant.Status().Feed.Epoch
		// Between its end and the next connection, the slot can be dropped.
		conn, slot, dropped := db.Conn(t), "tidemark_"+db.Name, false
		for end := time.Now().Add(20 * time.Second); !dropped && time.Now().Before(end); {
			_, _ = conn.Exec(t.Context(), "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1", slot)
			for range 20 {
				if _, err := conn.Exec(t.Context(), "SELECT pg_drop_replication_slot($1)", slot); err == nil {
					dropped = true
					break
				}
			}
		}
		_ = conn.Close(t.Context())
		if !dropped {
			t.Fatal("the slot cannot be dropped")
		}
		r.until("the epoch is another", func() bool { return r.tenant.Status().Feed.Epoch != epoch })
	}
	w.stop()
	r.same()
}

// TestConnectionsKilled breaks every connection now and then, and truncates.
func TestConnectionsKilled(t *testing.T) {
	db := pgtest.DB(t)
	install(t, db)
	fill(t, db, 5000)
	r := newRig(t, db, nil)
	w := write(t, db, 3, "on")
	for n := range 12 {
		time.Sleep(100 * time.Millisecond)
		sql := "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
		if n%4 == 3 {
			sql = "TRUNCATE tidemark.relationships"
		}
		conn := db.Conn(t)
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close(t.Context())
	}
	w.stop()
	r.same()
}

// TestLargeTransaction has more changes in one transaction than are held in memory.
func TestLargeTransaction(t *testing.T) {
	db := pgtest.DB(t)
	install(t, db)
	r := newRig(t, db, nil)
	r.schema(sampleSchema)
	before := r.write(perm.Create, "document:a#viewer@user:a")
	cursor, err := r.perms.Watch(t.Context(), before)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, db, 200_000)
	r.until("it is there", func() bool {
		v, err := r.perms.View(context.Background(), revision.Requirement{})
		return err == nil && v.Graph.Len() == 200_001
	})
	if v := r.at(revision.AtExactSnapshot, before); v.Graph.Len() != 1 {
		t.Errorf("%d relationships before it", v.Graph.Len())
	}
	events, _, err := cursor.Next()
	if err != nil || len(events) != 1 || len(events[0].Changes) != 200_000 {
		t.Errorf("%d events, %v", len(events), err)
	}
	db.Exec(t, "DELETE FROM tidemark.relationships WHERE subject_id LIKE 'f%9'")
	r.same()
}
