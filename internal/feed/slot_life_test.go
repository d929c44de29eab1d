package feed

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

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
	blocked, entered := make(chan struct{}), make(chan struct{}, 1)
	f := follow(t, db, func(o *Options, r *recorder) {
		r.onApply = func(ctx context.Context, t *change.Transaction) error {
			select {
			case entered <- struct{}{}:
			default:
			}
			select {
			case <-blocked:
			case <-ctx.Done():
			}
			return ctx.Err()
		}
	})
	db.Exec(t, `INSERT INTO t VALUES (1)`)
	<-entered
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
