package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// patience bounds every wait for something that must happen.
const patience = 30 * time.Second

// recorder is a Sink that keeps what it is given, in words.
type recorder struct {
	mu       sync.Mutex
	changed  *sync.Cond
	sessions []Session
	ends     []error
	applied  []recorded
	taken    int
	frontier revision.LSN
	streams  bool // between Connected and Disconnected
	faults   []string

	// defines makes definitions part of the record.
	defines bool
	// onApply runs inside Apply, without the lock.
	onApply func(ctx context.Context, t *change.Transaction) error
	// onConnected runs inside Connected, without the lock.
	onConnected func(s Session) error
}

type recorded struct {
	xid     revision.XID
	end     revision.LSN
	spilled bool
	words   []string
}

func newRecorder() *recorder {
	r := &recorder{}
	r.changed = sync.NewCond(&r.mu)
	return r
}

func (r *recorder) fault(format string, args ...any) {
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

func (r *recorder) Connected(_ context.Context, s Session) error {
	if r.onConnected != nil {
		if err := r.onConnected(s); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.changed.Broadcast()
	if r.streams {
		r.fault("Connected twice")
	}
	if n := len(r.sessions); n > 0 {
		last := r.sessions[n-1]
		if s.Epoch < last.Epoch || s.Epoch > last.Epoch+1 {
			r.fault("epoch %d after %d", s.Epoch, last.Epoch)
		}
		if s.Epoch == last.Epoch && s.Start < r.frontier {
			r.fault("session starts at %v below the frontier %v", s.Start, r.frontier)
		}
		if s.Epoch > last.Epoch {
			r.frontier = s.Start
		}
	}
	r.frontier = max(r.frontier, s.Start)
	r.streams = true
	r.sessions = append(r.sessions, s)
	return nil
}

func (r *recorder) Apply(ctx context.Context, t *change.Transaction) error {
	rec := recorded{xid: t.XID, end: t.End, spilled: t.Spilled != nil}
	if rec.spilled {
		rec.words = append(rec.words, fmt.Sprintf("spilled %d", t.Count))
	} else {
		for i := range t.Changes {
			if w := words(&t.Changes[i]); r.defines || t.Changes[i].Op != change.Define {
				rec.words = append(rec.words, w)
			}
		}
	}
	if r.onApply != nil {
		if err := r.onApply(ctx, t); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.changed.Broadcast()
	if t.End <= r.frontier {
		r.fault("transaction ending at %v at or below the frontier %v", t.End, r.frontier)
	}
	if t.Commit >= t.End {
		r.fault("commit %v ends at %v", t.Commit, t.End)
	}
	if !r.streams {
		r.fault("Apply outside of a session")
	}
	if t.Spilled == nil && t.Count != len(t.Changes) {
		r.fault("count %d of %d changes", t.Count, len(t.Changes))
	}
	r.applied = append(r.applied, rec)
	return nil
}

func (r *recorder) Advance(lsn revision.LSN) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if lsn <= r.frontier {
		r.fault("frontier %v after %v", lsn, r.frontier)
	}
	if n := len(r.applied); n > 0 && lsn < r.applied[n-1].end {
		r.fault("frontier %v below the last transaction", lsn)
	}
	r.frontier = lsn
	r.changed.Broadcast()
}

func (r *recorder) Disconnected(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.streams {
		r.fault("Disconnected twice")
	}
	r.streams = false
	r.ends = append(r.ends, err)
	r.changed.Broadcast()
}

// words renders a change: ? is absent, null is null.
func words(c *change.Change) string {
	var b strings.Builder
	b.WriteString(c.Op.String())
	if c.Relation != nil {
		fmt.Fprintf(&b, " %v", c.Relation)
	}
	if c.Op == change.Define {
		if c.Relation != nil {
			b.WriteString(" (")
			for i, col := range c.Relation.Columns {
				if i > 0 {
					b.WriteString(", ")
				}
				b.WriteString(col.Name)
				if col.Key {
					b.WriteByte('*')
				}
			}
			fmt.Fprintf(&b, ") %c", c.Relation.Identity)
		}
		return b.String()
	}
	row := func(row change.Row) {
		b.WriteString(" (")
		for i, v := range row {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%s=", c.Relation.Columns[i].Name)
			switch v.Kind {
			case change.Absent:
				b.WriteByte('?')
			case change.Null:
				b.WriteString("null")
			default:
				if len(v.Text) > 30 {
					fmt.Fprintf(&b, "<%d bytes>", len(v.Text))
				} else {
					b.Write(v.Text)
				}
			}
		}
		b.WriteByte(')')
	}
	if c.Old != nil {
		row(c.Old)
	}
	if c.New != nil {
		if c.Old != nil {
			b.WriteString(" ->")
		}
		row(c.New)
	}
	return b.String()
}

// await waits until cond, called with the lock held, is true.
func (r *recorder) await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	timer := time.AfterFunc(patience, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.changed.Broadcast()
	})
	defer timer.Stop()
	deadline := time.Now().Add(patience)
	r.mu.Lock()
	defer r.mu.Unlock()
	for !cond() {
		if !time.Now().Before(deadline) {
			t.Fatalf("gave up waiting for %s; %d transactions, frontier %v, sessions %v, ends %v", what, len(r.applied), r.frontier, r.sessions, r.ends)
		}
		r.changed.Wait()
	}
}

// fixture is a running feed of a database.
type fixture struct {
	t      testing.TB
	db     *pgtest.Database
	feed   *Feed
	sink   *recorder
	cancel context.CancelFunc
	done   chan error
}

const testPublication = "pub"

// testOptions are quick, and log into the test.
func testOptions(t testing.TB, db *pgtest.Database) Options {
	return Options{
		DSN: db.DSN(), Slot: "s_" + db.Name, Publication: testPublication, CreateSlot: true,
		Logger:   slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		SpillDir: t.TempDir(), StatusInterval: 100 * time.Millisecond,
		MinBackoff: 10 * time.Millisecond, MaxBackoff: 200 * time.Millisecond,
	}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// publish creates the publication that the tests follow.
func publish(t testing.TB, db *pgtest.Database, with ...string) {
	db.Exec(t, "CREATE PUBLICATION "+testPublication+" FOR ALL TABLES "+strings.Join(with, " "))
}

// follow starts a feed and waits until it streams.
func follow(t testing.TB, db *pgtest.Database, adjust ...func(*Options, *recorder)) *fixture {
	t.Helper()
	f := launch(t, db, adjust...)
	f.sink.await(t, "the first session", func() bool { return len(f.sink.sessions) > 0 })
	return f
}

// launch starts a feed.
func launch(t testing.TB, db *pgtest.Database, adjust ...func(*Options, *recorder)) *fixture {
	t.Helper()
	opts, sink := testOptions(t, db), newRecorder()
	for _, a := range adjust {
		a(&opts, sink)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &fixture{t: t, db: db, feed: New(opts, sink), sink: sink, cancel: cancel, done: make(chan error, 1)}
	go func() { f.done <- f.feed.Run(ctx) }()
	t.Cleanup(func() {
		f.stop()
		sink.mu.Lock()
		for _, fault := range sink.faults {
			t.Error(fault)
		}
		sink.mu.Unlock()
	})
	return f
}

// stop ends the feed and waits for it.
func (f *fixture) stop() {
	f.t.Helper()
	if f.cancel == nil {
		return
	}
	f.cancel()
	f.cancel = nil
	select {
	case err := <-f.done:
		if err != nil {
			f.t.Errorf("Run: %v", err)
		}
	case <-time.After(patience):
		f.t.Error("Run does not end")
	}
}

func queryLSN(t testing.TB, db *pgtest.Database, sql string) revision.LSN {
	t.Helper()
	var s string
	ask(t, db, sql, &s)
	lsn, err := revision.ParseLSN(s)
	if err != nil {
		t.Fatal(err)
	}
	return lsn
}

func ask(t testing.TB, db *pgtest.Database, sql string, dst ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := db.Pool(t).QueryRow(ctx, sql).Scan(dst...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// sync waits until everything that is committed now has been applied.
func (f *fixture) sync() {
	f.t.Helper()
	f.reach(queryLSN(f.t, f.db, "SELECT pg_current_wal_flush_lsn()::text"))
}

func (f *fixture) reach(lsn revision.LSN) {
	f.t.Helper()
	stop := make(chan struct{})
	var asking sync.WaitGroup
	defer asking.Wait()
	defer close(stop)
	asking.Go(func() {
		for {
			f.feed.RequestReply()
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	f.sink.await(f.t, fmt.Sprintf("the frontier to reach %v", lsn), func() bool { return f.sink.frontier >= lsn })
}

// take returns the words of the transactions since the last take, one line
// "--" before each.
func (f *fixture) take() string {
	f.t.Helper()
	f.sync()
	f.sink.mu.Lock()
	defer f.sink.mu.Unlock()
	var b strings.Builder
	for _, rec := range f.sink.applied[f.sink.taken:] {
		if len(rec.words) == 0 {
			continue
		}
		b.WriteString("--\n" + strings.Join(rec.words, "\n") + "\n")
	}
	f.sink.taken = len(f.sink.applied)
	return b.String()
}

// expect compares take with a text that may be indented.
func (f *fixture) expect(want string) {
	f.t.Helper()
	var b strings.Builder
	for line := range strings.Lines(want) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	if got := f.take(); got != b.String() {
		f.t.Errorf("got:\n%swant:\n%s", got, b.String())
	}
}

func (f *fixture) session(i int) Session {
	f.t.Helper()
	f.sink.await(f.t, fmt.Sprintf("session %d", i), func() bool { return len(f.sink.sessions) > i })
	f.sink.mu.Lock()
	defer f.sink.mu.Unlock()
	return f.sink.sessions[i]
}

// awaitStatus polls, because nobody announces a changed status.
func (f *fixture) awaitStatus(what string, cond func(Status) bool) Status {
	f.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		s := f.feed.Status()
		if cond(s) {
			return s
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("gave up waiting for %s: %+v", what, s)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (f *fixture) awaitError(target error) Status {
	f.t.Helper()
	return f.awaitStatus(target.Error(), func(s Status) bool { return errors.Is(s.LastError, target) })
}

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
