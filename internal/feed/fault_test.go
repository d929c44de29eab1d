package feed

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// An idle frontier moves at once when somebody asks.
func TestRequestReply(t *testing.T) {
	db := table(t, nil)
	db.Exec(t, `CREATE TABLE other (id int)`)
	db.Exec(t, `ALTER PUBLICATION pub RENAME TO unused; CREATE PUBLICATION pub FOR TABLE t`)
	f := follow(t, db, func(o *Options, _ *recorder) { o.StatusInterval = time.Hour })
	f.sync()
	for i := range 20 {
		db.Exec(t, fmt.Sprintf(`INSERT INTO other VALUES (%d)`, i))
		lsn := queryLSN(t, db, `SELECT pg_current_wal_flush_lsn()::text`)
		start := time.Now()
		var asking sync.WaitGroup
		for range 8 {
			asking.Go(func() {
				for range 1000 {
					f.feed.RequestReply()
				}
			})
		}
		asking.Wait()
		f.sink.await(t, "the frontier", func() bool { return f.sink.frontier >= lsn })
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("took %v", d)
		}
	}
}

// Neither a short time-out of the server nor none at all ends a session whose
// sink takes its time.
func TestSlowSink(t *testing.T) {
	for _, timeout := range []string{"400ms", "0"} {
		t.Run(timeout, func(t *testing.T) {
			db := table(t, nil)
			f := follow(t, db, setting(t, "wal_sender_timeout", timeout), func(o *Options, r *recorder) {
				o.QueueBytes, o.StatusInterval = 10_000, 10*time.Second
				o.ReplyTimeout = 500 * time.Millisecond
				if timeout == "0" {
					o.StatusInterval = 50 * time.Millisecond
				}
				r.onApply = func(ctx context.Context, t *change.Transaction) error {
					select {
					case <-ctx.Done():
						return ctx.Err()
					case <-time.After(1500 * time.Millisecond):
						return nil
					}
				}
			})
			db.Exec(t, `INSERT INTO t SELECT generate_series(1, 100000)`)
			db.Exec(t, `INSERT INTO t VALUES (-1)`)
			f.sync()
			f.session(0)
			if s := f.feed.Status(); s.Sessions != 1 || s.LastError != nil {
				t.Errorf("%d sessions, last error %v", s.Sessions, s.LastError)
			}
		})
	}
}

func TestResume(t *testing.T) {
	db := table(t, nil)
	f := follow(t, db)
	db.Exec(t, `INSERT INTO t VALUES (1)`)
	f.expect("--\ninsert public.t (id=1)")
	for i := 2; i < 5; i++ {
		f.stop()
		if at, end := slotLSN(t, db), f.feed.Status().Applied; at != end {
			t.Errorf("stopped at %v, acknowledged %v", end, at)
		}
		db.Exec(t, fmt.Sprintf(`INSERT INTO t VALUES (%d)`, i))
		f = follow(t, db)
		f.expect(fmt.Sprintf("--\ninsert public.t (id=%d)", i))
	}
}

func (f *fixture) killWalsender() {
	f.t.Helper()
	f.db.Exec(f.t, `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 's_`+f.db.Name+`' AND active_pid IS NOT NULL`)
}

func TestKilledWalsender(t *testing.T) {
	db := table(t, nil)
	// Nothing is acknowledged but at the end of a session, so the server sends
	// again what has been applied.
	f := follow(t, db, func(o *Options, r *recorder) { o.StatusInterval, r.defines = time.Hour, true })
	db.Exec(t, `INSERT INTO t VALUES (0)`)
	f.expect("--\ndefinition public.t (id*) d\ninsert public.t (id=0)")
	for i := 1; i < 4; i++ {
		f.killWalsender()
		db.Exec(t, fmt.Sprintf(`INSERT INTO t VALUES (%d)`, i))
		if s := f.session(i); s.Epoch != 1 {
			t.Errorf("session %+v", s)
		}
		f.expect(fmt.Sprintf("--\ninsert public.t (id=%d)", i))
	}
}

func TestServerRestart(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	db := table(t, server)
	f := follow(t, db, func(o *Options, r *recorder) { o.StatusInterval = time.Hour })
	restart := map[string]func() error{
		"fast":      func() error { return server.Restart("fast") },
		"immediate": func() error { return server.Restart("immediate") },
		"kill": func() error {
			if err := server.Kill(); err != nil {
				return err
			}
			return server.Start()
		},
	}
	i := 0
	for name, do := range restart {
		db.Exec(t, fmt.Sprintf(`INSERT INTO t VALUES (%d)`, i))
		f.expect(fmt.Sprintf("--\ninsert public.t (id=%d)", i))
		db.Exec(t, fmt.Sprintf(`INSERT INTO t VALUES (%d)`, 100+i))
		start := time.Now()
		if err := do(); err != nil {
			t.Fatal(name, err)
		}
		t.Logf("%s took %v", name, time.Since(start))
		if s := f.session(i + 1); s.Epoch != 1 {
			t.Errorf("after %s: %+v", name, s)
		}
		f.expect(fmt.Sprintf("--\ninsert public.t (id=%d)", 100+i))
		i++
	}
}

func TestPreparedTransactions(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"max_prepared_transactions": "5"}})
	for _, mem := range []string{"64MB", "64kB"} {
		t.Run(mem, func(t *testing.T) {
			db := table(t, server)
			db.Exec(t, `CREATE TABLE w (id int PRIMARY KEY, v text)`)
			f := follow(t, db, workMem(t, mem))
			db.Exec(t, `BEGIN; INSERT INTO t VALUES (1); INSERT INTO w SELECT g, repeat('x', 1000) FROM generate_series(1, 200) g; DELETE FROM w; PREPARE TRANSACTION 'a'`)
			db.Exec(t, `BEGIN; INSERT INTO t VALUES (2); INSERT INTO w SELECT g, repeat('x', 1000) FROM generate_series(201, 400) g; PREPARE TRANSACTION 'b'`)
			db.Exec(t, `INSERT INTO t VALUES (3)`)
			f.expect("--\ninsert public.t (id=3)")
			db.Exec(t, `ROLLBACK PREPARED 'b'`)
			db.Exec(t, `COMMIT PREPARED 'a'`)
			got := f.take()
			if n := strings.Count(got, "\n"); n != 2+400 || !strings.HasPrefix(got, "--\ninsert public.t (id=1)\n") {
				t.Errorf("got %d lines: %.200s", n, got)
			}
		})
	}
}

// An error of the sink ends the session; the transaction comes again, with
// what it said about definitions.
func TestSinkError(t *testing.T) {
	db := table(t, nil)
	var failures atomic.Int32
	failures.Store(3)
	f := follow(t, db, func(_ *Options, r *recorder) {
		r.defines = true
		r.onApply = func(context.Context, *change.Transaction) error {
			if failures.Add(-1) >= 0 {
				return errors.New("out of ink")
			}
			return nil
		}
	})
	db.Exec(t, `INSERT INTO t VALUES (1)`)
	if s := f.awaitError(ErrSink); !strings.Contains(s.LastError.Error(), "out of ink") {
		t.Errorf("error %v", s.LastError)
	}
	f.expect("--\ndefinition public.t (id*) d\ninsert public.t (id=1)")
	if s := f.session(3); s.Epoch != 1 {
		t.Errorf("session %+v", s)
	}
	f.sink.mu.Lock()
	defer f.sink.mu.Unlock()
	for _, err := range f.sink.ends {
		if !errors.Is(err, ErrSink) {
			t.Errorf("Disconnected(%v)", err)
		}
	}
}

func TestSinkRefusesSession(t *testing.T) {
	db := table(t, nil)
	var calls atomic.Int32
	f := follow(t, db, func(_ *Options, r *recorder) {
		r.onConnected = func(s Session) error {
			if calls.Add(1) < 3 {
				return errors.New("not yet")
			}
			return nil
		}
	})
	db.Exec(t, `INSERT INTO t VALUES (1)`)
	f.expect("--\ninsert public.t (id=1)")
	if s := f.session(0); s.Epoch != 1 {
		t.Errorf("session %+v", s)
	}
}

// The same address leads to another cluster, as after a restore elsewhere.
func TestOtherSystem(t *testing.T) {
	one, two := pgtest.Start(t, pgtest.Options{}), pgtest.Start(t, pgtest.Options{})
	db := table(t, one)
	gate := newGate(t)
	f := follow(t, db, gate.use, func(_ *Options, r *recorder) { r.defines = true })
	db.Exec(t, `INSERT INTO t VALUES (1)`)
	f.expect("--\ndefinition public.t (id*) d\ninsert public.t (id=1)")
	first := f.session(0)

	two.DB(t).Exec(t, `CREATE DATABASE `+db.Name)
	twin := &pgtest.Database{Server: two, Name: db.Name}
	twin.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	publish(t, twin)
	cfg, err := pgconn.ParseConfig(two.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	network, addr := pgconn.NetworkAddress(cfg.Host, cfg.Port)
	gate.address.Store(&[2]string{network, addr})
	gate.cut()
	second := f.session(1)
	if second.Epoch != 2 || !strings.Contains(second.Reason, "another database cluster") || second.Source.SystemID == first.Source.SystemID {
		t.Errorf("session %+v", second)
	}
	twin.Exec(t, `INSERT INTO t VALUES (2)`)
	f.db = twin
	f.expect("--\ndefinition public.t (id*) d\ninsert public.t (id=2)")
}

// A connection that stays open and says nothing is given up.
func TestSilentServer(t *testing.T) {
	db := table(t, nil)
	gate := newGate(t)
	f := follow(t, db, gate.use, func(o *Options, _ *recorder) { o.ReplyTimeout = 300 * time.Millisecond })
	db.Exec(t, `INSERT INTO t VALUES (1)`)
	f.expect("--\ninsert public.t (id=1)")
	gate.stalled.Store(true)
	f.awaitError(ErrSilent)
	gate.stalled.Store(false)
	db.Exec(t, `INSERT INTO t VALUES (2)`)
	f.expect("--\ninsert public.t (id=2)")
	if s := f.feed.Status(); s.Epoch != 1 {
		t.Errorf("status %+v", s)
	}
}

// A quiet server that answers is not given up.
func TestQuietServer(t *testing.T) {
	db := table(t, nil)
	f := follow(t, db, func(o *Options, _ *recorder) {
		o.ReplyTimeout, o.StatusInterval = 200*time.Millisecond, 20*time.Millisecond
	}, setting(t, "wal_sender_timeout", "0"))
	time.Sleep(time.Second) // the time in which nothing must happen
	if s := f.feed.Status(); s.Sessions != 1 || s.LastError != nil || time.Since(s.LastMessage) > 500*time.Millisecond {
		t.Errorf("status %+v", s)
	}
}

func TestBadOptions(t *testing.T) {
	good := Options{DSN: "host=/nowhere", Slot: "s", Publication: "p"}
	for name, spoil := range map[string]func(*Options){
		"slot":        func(o *Options) { o.Slot = "Not valid" },
		"no slot":     func(o *Options) { o.Slot = "" },
		"publication": func(o *Options) { o.Publication = "" },
		"dsn":         func(o *Options) { o.DSN = "postgres://%zz" },
		"backoff":     func(o *Options) { o.MinBackoff, o.MaxBackoff = time.Second, time.Millisecond },
	} {
		o := good
		spoil(&o)
		if err := New(o, newRecorder()).Run(context.Background()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Run leaves no goroutine behind, whatever it was doing when it was told to
// stop.
func TestNoLeaks(t *testing.T) {
	db := table(t, nil)
	db.Exec(t, `SELECT 1`)
	for name, adjust := range map[string]func(*Options, *recorder){
		"streaming": func(*Options, *recorder) {},
		"applying": func(o *Options, r *recorder) {
			o.QueueBytes = 1000
			r.onApply = func(ctx context.Context, _ *change.Transaction) error { <-ctx.Done(); return ctx.Err() }
		},
		"refused":     func(o *Options, _ *recorder) { o.DSN = "host=/nowhere" },
		"unpublished": func(o *Options, _ *recorder) { o.Publication = "none" },
	} {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			f := launch(t, db, adjust)
			switch name {
			case "streaming", "applying":
				f.sink.await(t, "a session", func() bool { return len(f.sink.sessions) > 0 })
				db.Exec(t, `TRUNCATE t; INSERT INTO t SELECT generate_series(1, 10000)`)
			default:
				f.awaitStatus("an error", func(s Status) bool { return s.LastError != nil })
			}
			f.stop()
			if err := goleak.Find(before); err != nil {
				t.Error(err)
			}
		})
	}
}
