package feed

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// workMem sets how large a transaction may grow before the server streams it
// while it runs.
func workMem(t testing.TB, size string) func(*Options, *recorder) {
	return setting(t, "logical_decoding_work_mem", size)
}

// setting changes a setting of the feed's own session.
func setting(t testing.TB, name, value string) func(*Options, *recorder) {
	return func(o *Options, _ *recorder) {
		if o.Config == nil {
			cfg, err := pgconn.ParseConfig(o.DSN)
			if err != nil {
				t.Fatal(err)
			}
			o.Config = cfg
		}
		o.Config.RuntimeParams[name] = value
	}
}

// streamed says how often the server streamed from a slot.
func streamed(t testing.TB, f *fixture) (n int) {
	t.Helper()
	var total int
	// The statistics of a slot appear when its walsender lets it go.
	deadline := time.Now().Add(patience)
	for total == 0 && time.Now().Before(deadline) {
		ask(t, f.db, `SELECT stream_count, total_txns FROM pg_stat_replication_slots WHERE slot_name = 's_`+f.db.Name+`'`, &n, &total)
	}
	return n
}

const bigRow = `repeat('x', 1000)`

func TestStreamed(t *testing.T) {
	for _, spill := range []bool{false, true} {
		t.Run(fmt.Sprintf("spill=%v", spill), func(t *testing.T) {
			db := pgtest.DB(t)
			db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`)
			publish(t, db)
			var sums []string
			f := follow(t, db, workMem(t, "64kB"), func(o *Options, r *recorder) {
				if spill {
					o.TransactionChanges = 50
				}
				r.onApply = func(_ context.Context, t *change.Transaction) error {
					sums = append(sums, summary(t))
					return nil
				}
			})
			run := conns(t, db, 2)
			insert := func(from, to int) string {
				return fmt.Sprintf(`INSERT INTO t SELECT g, %s FROM generate_series(%d, %d) g`, bigRow, from, to)
			}
			for _, step := range []struct {
				conn int
				sql  string
			}{
				// One transaction with sub-transactions that roll back, large and
				// small, one of them nested and released into one that rolls back.
				{0, `BEGIN`},
				{0, insert(1, 100)},
				{0, `SAVEPOINT a`},
				{0, insert(101, 300)},
				{0, `SAVEPOINT b`},
				{0, insert(301, 500)},
				{0, `RELEASE b`},
				{0, insert(501, 502)},
				// Meanwhile a small one that commits and a large one that does not.
				{1, insert(10001, 10001)},
				{1, `BEGIN`},
				{1, insert(20001, 20500)},
				{0, `ROLLBACK TO a`},
				{0, insert(601, 700)},
				{0, `SAVEPOINT c`},
				{0, insert(701, 900)},
				{0, `RELEASE c`},
				{0, `SAVEPOINT d`},
				{0, insert(901, 901)},
				{0, `ROLLBACK TO d`},
				{1, `ROLLBACK`},
				{0, `UPDATE t SET id = -id WHERE id <= 10`},
				{0, `COMMIT`},
				{1, insert(30001, 30400)},
				{1, `TRUNCATE t`},
			} {
				run(step.conn, step.sql)
			}
			f.sync()
			f.stop()
			got := strings.Join(sums, "\n")
			want := strings.Join([]string{
				"+1: 10001..10001",
				"+400: 1..900 ~10",
				"+400: 30001..30400",
				"truncate",
			}, "\n")
			if got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
			if n := streamed(t, f); n < 5 {
				t.Errorf("the server streamed %d times only", n)
			}
			if s := f.feed.Status(); spill != (s.SpilledCount > 0) {
				t.Errorf("%d transactions spilled", s.SpilledCount)
			}
			if left, _ := filepath.Glob(filepath.Join(f.feed.opts.SpillDir, "*")); len(left) > 0 {
				t.Errorf("left over: %v", left)
			}
		})
	}
}

// summary says what a transaction does to rows with ascending ids, and fails
// when they do not ascend or counts are wrong.
func summary(t *change.Transaction) string {
	for range 2 { // reading again must give the same
		s, count := summarize(t)
		if count != t.Count {
			return fmt.Sprintf("%s, but %d changes counted as %d", s, count, t.Count)
		}
		if t.Spilled == nil || t.Count == 0 {
			return s
		}
	}
	s, _ := summarize(t)
	return s
}

func summarize(t *change.Transaction) (string, int) {
	var inserts, updates, first, last, count int
	var out []string
	err := t.Each(func(c *change.Change) error {
		count++
		switch c.Op {
		case change.Insert:
			var id int
			fmt.Sscan(string(c.New[0].Text), &id)
			if inserts == 0 {
				first = id
			} else if id <= last {
				return fmt.Errorf("%d after %d", id, last)
			}
			last = id
			inserts++
			if len(c.New) > 1 && len(c.New[1].Text) != 1000 {
				return fmt.Errorf("row %d has %d bytes", id, len(c.New[1].Text))
			}
		case change.Update:
			updates++
			if string(c.New[0].Text) != "-"+string(c.Old[0].Text) {
				return fmt.Errorf("update %s to %s", c.Old[0].Text, c.New[0].Text)
			}
		case change.Truncate:
			out = append(out, "truncate")
		}
		return nil
	})
	if err != nil {
		return err.Error(), count
	}
	if inserts > 0 {
		out = append(out, fmt.Sprintf("+%d: %d..%d", inserts, first, last))
	}
	if updates > 0 {
		out = append(out, fmt.Sprintf("~%d", updates))
	}
	return strings.Join(out, " "), count
}

// A definition that changes in the middle of a transaction that does not fit
// in memory is seen in its place, also when it is read twice, and later
// transactions see the outcome.
func TestSpilledDefinitions(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	publish(t, db)
	var reads [3][]string
	f := follow(t, db, func(o *Options, r *recorder) {
		o.TransactionChanges = 3
		r.defines = true
		r.onApply = func(_ context.Context, t *change.Transaction) error {
			if t.Spilled == nil {
				return nil
			}
			for i := range reads {
				if err := t.Each(func(c *change.Change) error { reads[i] = append(reads[i], words(c)); return nil }); err != nil {
					return err
				}
			}
			return nil
		}
	})
	db.Exec(t, `INSERT INTO t VALUES (1)`)
	db.Exec(t, `BEGIN; INSERT INTO t VALUES (2), (3), (4); ALTER TABLE t ADD v int; INSERT INTO t VALUES (5, 5);
		SELECT pg_logical_emit_message(true, 'tidemark.ddl', ''); TRUNCATE t; COMMIT`)
	db.Exec(t, `INSERT INTO t VALUES (6, 6)`)
	f.expect(`
		--
		definition public.t (id*) d
		insert public.t (id=1)
		--
		spilled 7
		--
		insert public.t (id=6, v=6)
	`)
	want := `insert public.t (id=2)
insert public.t (id=3)
insert public.t (id=4)
definition public.t (id*, v) d
insert public.t (id=5, v=5)
definition
truncate public.t`
	for i := range reads {
		if got := strings.Join(reads[i], "\n"); got != want {
			t.Errorf("reading %d got:\n%s\nwant:\n%s", i, got, want)
		}
	}
}

// The bounds hold whatever a transaction holds: many small rows, few large
// ones, or many transactions at a time.
func TestSpillBounds(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`)
	publish(t, db)
	f := follow(t, db, workMem(t, "64kB"), func(o *Options, _ *recorder) { o.MemoryLimit, o.TransactionBytes = 200_000, 150_000 })
	run := conns(t, db, 3)
	run(0, `INSERT INTO t SELECT g, repeat('x', 100000) FROM generate_series(1, 1) g`)
	run(0, `INSERT INTO t SELECT g, repeat('x', 100000) FROM generate_series(2, 3) g`)
	run(0, `INSERT INTO t SELECT 4, repeat('x', 50000000)`)
	// Three at a time, none above its own bound.
	for i := range 3 {
		run(i, `BEGIN`)
		run(i, fmt.Sprintf(`INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(%d, %d) g`, 10+i*1000, 109+i*1000))
	}
	for i := range 3 {
		run(i, `COMMIT`)
	}
	f.sync()
	f.stop()
	f.sink.mu.Lock()
	defer f.sink.mu.Unlock()
	var spilled []bool
	for _, r := range f.sink.applied {
		spilled = append(spilled, r.spilled)
	}
	if len(spilled) != 6 || spilled[0] || !spilled[1] || !spilled[2] {
		t.Errorf("spilled: %v", spilled)
	}
	if n := streamed(t, f); n < 3 {
		t.Errorf("the server streamed %d times only", n)
	}
	if f.feed.Status().SpilledCount < 3 {
		t.Errorf("the total is not bounded: spilled %v", spilled)
	}
}

func TestMillionRows(t *testing.T) {
	if testing.Short() {
		t.Skip("a million rows take many seconds; run without -short to see that memory stays bounded")
	}
	for _, c := range []struct {
		name    string
		options []func(*Options, *recorder)
	}{
		{"whole", []func(*Options, *recorder){workMem(t, "1GB")}},
		{"streamed", []func(*Options, *recorder){workMem(t, "64kB")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := pgtest.DB(t)
			db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`)
			publish(t, db, "WITH (publish = 'insert')")
			var count atomic.Int64
			c.options = append(c.options, func(o *Options, r *recorder) {
				o.Logger = nil
				r.onApply = func(_ context.Context, t *change.Transaction) error {
					return t.Each(func(*change.Change) error { count.Add(1); return nil })
				}
			})
			f := follow(t, db, c.options...)
			// Memory is what one would see from outside: the most that the heap
			// ever held, garbage included.
			stop, peak := make(chan struct{}), make(chan uint64)
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			base := m.HeapAlloc
			go func() {
				var most uint64
				for {
					select {
					case <-stop:
						peak <- most
						return
					case <-time.After(5 * time.Millisecond):
						runtime.ReadMemStats(&m)
						most = max(most, m.HeapAlloc)
					}
				}
			}()
			start := time.Now()
			db.Exec(t, `INSERT INTO t SELECT g, 'the row number ' || g FROM generate_series(1, 1000000) g`)
			written := time.Since(start)
			f.sync()
			took := time.Since(start)
			close(stop)
			used := (<-peak - base) >> 20
			f.stop()
			if count.Load() != 1_000_001 {
				t.Errorf("%d changes", count.Load())
			}
			s := f.feed.Status()
			n := streamed(t, f)
			t.Logf("written in %v, applied after %v; heap up to %d MB (%d MB before); %d MB spilled; streamed %d times",
				written.Round(time.Millisecond), took.Round(time.Millisecond), used, base>>20, s.Spilled>>20, n)
			if used > 100 {
				t.Errorf("the heap grew to %d MB", used)
			}
			if streams := c.name == "streamed"; streams != (n > 0) {
				t.Errorf("the server streamed %d times", n)
			}
			if s.SpilledCount != 1 {
				t.Errorf("%d spilled", s.SpilledCount)
			}
		})
	}
}

// A disk that takes no more ends the session, and the transaction comes again.
func TestSpillFails(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	publish(t, db)
	dir := filepath.Join(t.TempDir(), "spill")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // in the way
		t.Fatal(err)
	}
	f := follow(t, db, func(o *Options, _ *recorder) { o.SpillDir, o.TransactionChanges = dir, 10 })
	db.Exec(t, `INSERT INTO t SELECT generate_series(1, 5)`)
	db.Exec(t, `INSERT INTO t SELECT generate_series(6, 100)`)
	s := f.awaitError(ErrSpill)
	if !strings.Contains(s.LastError.Error(), dir) {
		t.Errorf("error does not name the directory: %v", s.LastError)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	f.sync()
	f.stop()
	f.sink.mu.Lock()
	defer f.sink.mu.Unlock()
	if len(f.sink.applied) != 2 || !f.sink.applied[1].spilled {
		t.Errorf("applied %v", f.sink.applied)
	}
	if last := f.sink.sessions[len(f.sink.sessions)-1]; last.Epoch != 1 {
		t.Errorf("epoch %d: %s", last.Epoch, last.Reason)
	}
}

// What an earlier process left behind is removed; what is not ours stays.
func TestSpillLeftOvers(t *testing.T) {
	db := pgtest.DB(t)
	publish(t, db)
	dir := t.TempDir()
	names := map[string]bool{"spill-s_" + db.Name + "-123": false, "spill-other-123": true, "x": true}
	for n := range names {
		if err := os.WriteFile(filepath.Join(dir, n), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	follow(t, db, func(o *Options, _ *recorder) { o.SpillDir = dir })
	for n, stays := range names {
		if _, err := os.Stat(filepath.Join(dir, n)); (err == nil) != stays {
			t.Errorf("%s: %v", n, err)
		}
	}
}
