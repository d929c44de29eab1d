package feed

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// disk is how far a test lets things become durable.
type disk struct {
	limit atomic.Uint64
	full  atomic.Bool
	stuck atomic.Pointer[chan struct{}]
	calls atomic.Int64
}

func (d *disk) flush() (revision.LSN, error) {
	d.calls.Add(1)
	if c := d.stuck.Load(); c != nil {
		<-*c
	}
	if d.full.Load() {
		return 0, errors.New("no space left")
	}
	return revision.LSN(d.limit.Load()), nil
}

func onDisk(d *disk) func(*Options, *recorder) {
	return func(o *Options, _ *recorder) { o.Flush = d.flush }
}

// flushes waits until flushes that began after the call are over and told of.
func (d *disk) flushes(t *testing.T) {
	t.Helper()
	for from, deadline := d.calls.Load(), time.Now().Add(patience); d.calls.Load() < from+4; {
		if time.Now().After(deadline) {
			t.Fatal("nothing is flushed")
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func TestNothingIsAcknowledgedThatIsNotDurable(t *testing.T) {
	db, d := table(t, nil), &disk{}
	f := follow(t, db, onDisk(d))
	f.sync()
	d.limit.Store(uint64(f.feed.Status().Applied))
	bound := revision.LSN(d.limit.Load())
	within := func(when string) {
		t.Helper()
		if at := slotLSN(t, db); at > bound {
			t.Fatalf("%s: acknowledged %v, durable %v", when, at, bound)
		}
	}
	db.Exec(t, `INSERT INTO t VALUES (1)`)
	f.sync()
	d.flushes(t)
	within("after a transaction")
	// The next session begins at what was applied.
	f.killWalsender()
	db.Exec(t, `INSERT INTO t VALUES (2)`)
	if s := f.session(1); s.Epoch != 1 || s.Start <= bound {
		t.Errorf("session %+v", s)
	}
	f.sync()
	d.flushes(t)
	within("in another session")
	f.expect("--\ninsert public.t (id=1)\n--\ninsert public.t (id=2)")
	f.stop()
	within("after the end")

	// All of it comes again in another process.
	f = follow(t, db, onDisk(d))
	f.expect("--\ninsert public.t (id=1)\n--\ninsert public.t (id=2)")
	within("in another process")
	d.limit.Store(1 << 62)
	f.awaitStatus("the acknowledgement", func(s Status) bool { return s.Acknowledged >= s.Applied })
	f.stop()
	if at, end := slotLSN(t, db), f.feed.Status().Applied; at != end {
		t.Errorf("stopped at %v, acknowledged %v", end, at)
	}
}

func TestADiskThatFailsHoldsNothingBack(t *testing.T) {
	db, d := table(t, nil), &disk{}
	d.full.Store(true)
	f := follow(t, db, onDisk(d))
	for i := range 3 {
		db.Exec(t, fmt.Sprintf(`INSERT INTO t VALUES (%d)`, i))
		end := queryLSN(t, db, `SELECT pg_current_wal_flush_lsn()::text`)
		f.sync()
		f.awaitStatus("the acknowledgement", func(s Status) bool { return s.Acknowledged >= end })
	}
	d.full.Store(false) // and nothing is durable yet
	d.flushes(t)
	at := slotLSN(t, db)
	db.Exec(t, `INSERT INTO t VALUES (10)`)
	f.sync()
	d.flushes(t)
	if now := slotLSN(t, db); now != at {
		t.Errorf("acknowledged %v after %v", now, at)
	}
}

// What is applied while a flush fails is not part of what it failed for.
func TestAFailedFlushReleasesWhatItWasFor(t *testing.T) {
	d := newDurable(func() (revision.LSN, error) { return 7, errors.New("no space left") }, slog.New(slog.DiscardHandler))
	d.flush(100)
	if at := d.position(); at != 100 {
		t.Errorf("durable up to %v, want 100", at)
	}
}

func TestASlowDiskKeepsTheConnection(t *testing.T) {
	db, d := table(t, nil), &disk{}
	f := follow(t, db, onDisk(d), setting(t, "wal_sender_timeout", "400ms"))
	d.limit.Store(1 << 62)
	release := make(chan struct{})
	d.stuck.Store(&release)
	db.Exec(t, `INSERT INTO t VALUES (1)`)
	for range 15 {
		time.Sleep(100 * time.Millisecond) // four times what the server bears
		f.feed.RequestReply()
	}
	f.expect("--\ninsert public.t (id=1)")
	d.stuck.Store(nil)
	close(release)
	f.awaitStatus("the acknowledgement", func(s Status) bool { return s.Acknowledged >= s.Applied })
	if s := f.feed.Status(); s.Sessions != 1 || s.LastError != nil {
		t.Errorf("%d sessions, last error %v", s.Sessions, s.LastError)
	}
}

// A server that shuts down waits until all that it sent is acknowledged.
func TestAServerThatStopsWaitsForTheDisk(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	db, d := table(t, server), &disk{}
	d.limit.Store(1 << 62)
	f := follow(t, db, onDisk(d), func(o *Options, _ *recorder) { o.StatusInterval = time.Hour })
	db.Exec(t, `INSERT INTO t VALUES (1)`)
	f.sync()
	start := time.Now()
	if err := server.Restart("fast"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("the server needed %v", took)
	}
	if s := f.session(1); s.Epoch != 1 {
		t.Errorf("session %+v", s)
	}
}
