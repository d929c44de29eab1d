package feed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// table makes a database with a table t and a publication.
func table(t testing.TB, s *pgtest.Server) *pgtest.Database {
	t.Helper()
	var db *pgtest.Database
	if s == nil {
		db = pgtest.DB(t)
	} else {
		db = s.DB(t)
	}
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	publish(t, db)
	return db
}

func slotLSN(t testing.TB, db *pgtest.Database) revision.LSN {
	t.Helper()
	return queryLSN(t, db, `SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = 's_`+db.Name+`'`)
}

// The log of another database must not pile up behind a slot whose own is idle.
func TestBusyNeighbour(t *testing.T) {
	db := table(t, nil)
	neighbour := pgtest.DB(t)
	neighbour.Exec(t, `CREATE TABLE n (v text)`)
	f := follow(t, db)
	for range 3 {
		neighbour.Exec(t, `INSERT INTO n SELECT repeat('x', 1000) FROM generate_series(1, 1000)`)
		lsn := queryLSN(t, db, `SELECT pg_current_wal_flush_lsn()::text`)
		// Nobody asks for a reply.
		f.sink.await(t, "the frontier", func() bool { return f.sink.frontier >= lsn })
		f.awaitStatus("the acknowledgement", func(s Status) bool { return s.Acknowledged >= lsn })
		deadline := time.Now().Add(patience)
		for slotLSN(t, db) < lsn {
			if time.Now().After(deadline) {
				t.Fatalf("the slot stays at %v", slotLSN(t, db))
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	f.expect(``)
}

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

func TestSlotActive(t *testing.T) {
	db := table(t, nil)
	first := follow(t, db)
	db.Exec(t, `INSERT INTO t VALUES (1)`)
	first.expect("--\ninsert public.t (id=1)")
	second := launch(t, db)
	s := second.awaitStatus("its turn", func(s Status) bool { return s.State == StateWaitingForSlot })
	if !errors.Is(s.LastError, ErrSlotActive) || !strings.Contains(s.Why, "process") {
		t.Errorf("status %+v", s)
	}
	first.stop()
	db.Exec(t, `INSERT INTO t VALUES (2)`)
	second.session(0)
	second.expect("--\ninsert public.t (id=2)")
	if s := second.session(0); s.Epoch != 1 {
		t.Errorf("session %+v", s)
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

func TestSlotDropped(t *testing.T) {
	db := table(t, nil)
	f := follow(t, db)
	db.Exec(t, `INSERT INTO t VALUES (1)`)
	f.expect("--\ninsert public.t (id=1)")
	drop(t, db)
	s := f.session(1)
	if s.Epoch != 2 || !strings.Contains(s.Reason, "missing") {
		t.Errorf("session %+v", s)
	}
	db.Exec(t, `INSERT INTO t VALUES (2)`)
	f.expect("--\ninsert public.t (id=2)")
	if st := f.feed.Status(); st.Epoch != 2 || st.EpochReason != s.Reason {
		t.Errorf("status %+v", st)
	}
}

// drop ends the walsender and drops the slot before it comes back.
func drop(t testing.TB, db *pgtest.Database) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		_, err := db.Pool(t).Exec(context.Background(), `DO $$
			DECLARE n name := 's_`+db.Name+`'; BEGIN
			PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = n AND active_pid IS NOT NULL;
			PERFORM pg_drop_replication_slot(n); END $$`)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// Somebody else moves the slot while the feed is away.
func TestSlotMoved(t *testing.T) {
	db := table(t, nil)
	gate := newGate(t)
	f := follow(t, db, gate.use)
	db.Exec(t, `INSERT INTO t VALUES (1)`)
	f.expect("--\ninsert public.t (id=1)")
	gate.shut()
	f.killWalsender()
	f.awaitStatus("the end", func(s Status) bool { return s.State == StateFailed })
	db.Exec(t, `INSERT INTO t VALUES (2)`)
	db.Exec(t, `SELECT pg_replication_slot_advance('s_`+db.Name+`', pg_current_wal_lsn())`)
	gate.open()
	s := f.session(1)
	if s.Epoch != 2 || !strings.Contains(s.Reason, "moved") {
		t.Errorf("session %+v", s)
	}
	db.Exec(t, `INSERT INTO t VALUES (3)`)
	f.expect("--\ninsert public.t (id=3)")
}

func TestSlotLost(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{
		"max_slot_wal_keep_size": "1MB", "min_wal_size": "32MB", "max_wal_size": "32MB",
	}})
	db := table(t, server)
	blocked := make(chan struct{})
	f := follow(t, db, func(o *Options, r *recorder) {
		r.onApply = func(ctx context.Context, t *change.Transaction) error {
			select {
			case <-blocked:
			case <-ctx.Done():
			}
			return ctx.Err()
		}
	})
	db.Exec(t, `INSERT INTO t VALUES (1)`)
	f.awaitStatus("something to wait in the queue", func(s Status) bool { return s.Queued > 0 })
	for i := range 60 {
		db.Exec(t, `SELECT pg_switch_wal()`)
		db.Exec(t, fmt.Sprintf(`INSERT INTO t VALUES (%d)`, 10+i))
		db.Exec(t, `CHECKPOINT`)
		var status string
		ask(t, db, `SELECT wal_status FROM pg_replication_slots WHERE slot_name = 's_`+db.Name+`'`, &status)
		if status == "lost" {
			break
		}
		if i == 59 {
			t.Fatalf("the slot is %s", status)
		}
	}
	close(blocked)
	s := f.session(1)
	if s.Epoch != 2 || !strings.Contains(s.Reason, "lost") {
		t.Errorf("session %+v", s)
	}
	f.take()
	db.Exec(t, `INSERT INTO t VALUES (2)`)
	f.expect("--\ninsert public.t (id=2)")
}

// Without leave to create, a missing slot is an error that says what to do.
func TestNoCreateSlot(t *testing.T) {
	db := table(t, nil)
	f := launch(t, db, func(o *Options, _ *recorder) { o.CreateSlot = false })
	s := f.awaitError(ErrSlotMissing)
	if !strings.Contains(s.Why, "SELECT pg_create_logical_replication_slot('s_"+db.Name+"', 'pgoutput')") {
		t.Errorf("why: %s", s.Why)
	}
	db.Exec(t, `SELECT pg_create_logical_replication_slot('s_`+db.Name+`', 'pgoutput')`)
	db.Exec(t, `INSERT INTO t VALUES (1)`)
	f.session(0)
	f.expect("--\ninsert public.t (id=1)")
}

func TestSlotMismatch(t *testing.T) {
	db := table(t, nil)
	other := pgtest.DB(t)
	other.Exec(t, `SELECT pg_create_logical_replication_slot('s_`+db.Name+`', 'test_decoding')`)
	f := launch(t, db)
	s := f.awaitError(ErrSlotMismatch)
	for _, want := range []string{"test_decoding", other.Name} {
		if !strings.Contains(s.Why, want) {
			t.Errorf("why: %s", s.Why)
		}
	}
	f.stop()
	other.Exec(t, `SELECT pg_drop_replication_slot('s_`+db.Name+`')`)
}

func TestPublicationMissing(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	f := launch(t, db)
	s := f.awaitError(ErrPublicationMissing)
	if !strings.Contains(s.Why, `CREATE PUBLICATION "pub"`) {
		t.Errorf("why: %s", s.Why)
	}
	publish(t, db)
	f.session(0)
	db.Exec(t, `INSERT INTO t VALUES (1)`)
	f.expect("--\ninsert public.t (id=1)")
}

// A publication that is dropped and made again leaves a slot that cannot be
// decoded from.
func TestPublicationReplaced(t *testing.T) {
	db := table(t, nil)
	f := follow(t, db)
	db.Exec(t, `INSERT INTO t VALUES (1)`)
	f.expect("--\ninsert public.t (id=1)")
	db.Exec(t, `DROP PUBLICATION pub`)
	db.Exec(t, `INSERT INTO t VALUES (2)`)
	f.awaitError(ErrPublicationMissing)
	publish(t, db)
	s := f.session(1)
	if s.Epoch != 2 || !strings.Contains(s.Reason, "publication") {
		t.Errorf("session %+v", s)
	}
	db.Exec(t, `INSERT INTO t VALUES (3)`)
	f.expect("--\ninsert public.t (id=3)")
}

// The slot of an earlier process may be older than the publication, too.
func TestPublicationNewerThanSlot(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	db.Exec(t, `SELECT pg_create_logical_replication_slot('s_`+db.Name+`', 'pgoutput')`)
	db.Exec(t, `INSERT INTO t VALUES (1)`)
	publish(t, db)
	f := follow(t, db)
	if s := f.session(1); s.Epoch != 2 || !strings.Contains(s.Reason, "publication") {
		t.Errorf("session %+v", s)
	}
	db.Exec(t, `INSERT INTO t VALUES (2)`)
	f.expect("--\ninsert public.t (id=2)")
}

func TestWALLevel(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"wal_level": "replica"}})
	f := launch(t, server.DB(t))
	s := f.awaitError(ErrWALLevel)
	if !strings.Contains(s.Why, "ALTER SYSTEM SET wal_level = 'logical'") {
		t.Errorf("why: %s", s.Why)
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

// The creation of a slot waits for running transactions: the status says for
// whom, and to give up leaves nothing behind.
func TestSlotHeldUp(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	db := table(t, server)
	run := conns(t, db, 1)
	run(0, `SET application_name = 'the culprit'`)
	run(0, `BEGIN`)
	run(0, `INSERT INTO t VALUES (1)`)
	f := launch(t, db)
	f.awaitStatus("the culprit", func(s Status) bool {
		return s.State == StateCreatingSlot && strings.Contains(s.Why, "the culprit") && strings.Contains(s.Why, db.Name)
	})
	start := time.Now()
	f.stop()
	if d := time.Since(start); d > time.Second {
		t.Errorf("took %v to stop", d)
	}
	var slots, senders int
	ask(t, db, `SELECT (SELECT count(*) FROM pg_replication_slots), (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender')`, &slots, &senders)
	if slots != 0 || senders != 0 {
		t.Errorf("left %d slots and %d walsenders", slots, senders)
	}
	f = launch(t, db)
	f.awaitStatus("slot", func(s Status) bool { return s.State == StateCreatingSlot })
	run(0, `COMMIT`)
	f.session(0)
	db.Exec(t, `INSERT INTO t VALUES (2)`)
	f.expect("--\ninsert public.t (id=2)")
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

// gate stands between the feed and its server: it may be shut for new
// connections, and led elsewhere.
type gate struct {
	t       testing.TB
	closed  atomic.Bool
	address atomic.Pointer[[2]string]
	stalled atomic.Bool // connections stay open, and nothing comes in
	mu      sync.Mutex
	conns   []net.Conn
}

func newGate(t testing.TB) *gate { return &gate{t: t} }

func (g *gate) use(o *Options, _ *recorder) {
	cfg, err := pgconn.ParseConfig(o.DSN)
	if err != nil {
		g.t.Fatal(err)
	}
	dial := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if g.closed.Load() {
			return nil, errors.New("the gate is shut")
		}
		if other := g.address.Load(); other != nil {
			network, addr = other[0], other[1]
		}
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.conns = append(g.conns, conn)
		return &gatedConn{Conn: conn, gate: g}, nil
	}
	o.Config = cfg
}

func (g *gate) shut() { g.closed.Store(true) }
func (g *gate) open() { g.closed.Store(false) }

// cut closes every connection, as a network does.
func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.conns {
		c.Close()
	}
	g.conns = nil
}

type gatedConn struct {
	net.Conn
	gate *gate
}

func (c *gatedConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err != nil || !c.gate.stalled.Load() {
			return n, err
		}
		// What came in is lost, as if it had never arrived.
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
