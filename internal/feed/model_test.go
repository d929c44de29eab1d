package feed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// replica is a copy of some tables that is kept by the log alone. It finds a
// change wrong that does not fit what it holds, so nothing can be missing,
// doubled or out of order without being noticed.
type replica struct {
	tables map[string]map[string][]string // table → id → columns
	end    revision.LSN                   // of the last transaction
	again  int                            // transactions that came twice
}

func newReplica() *replica { return &replica{tables: make(map[string]map[string][]string)} }

func (r *replica) apply(t *change.Transaction) error {
	if t.End <= r.end {
		// Postgres had not heard that the feed before this one applied it. Within
		// one feed the recorder makes this a fault.
		r.again++
		return nil
	}
	r.end = t.End
	return t.Each(func(c *change.Change) error {
		if c.Op == change.Define {
			return nil
		}
		table := r.tables[c.Relation.Name]
		if table == nil {
			table = make(map[string][]string)
			r.tables[c.Relation.Name] = table
		}
		if c.Op == change.Truncate {
			clear(table)
			return nil
		}
		var before []string
		if c.Old != nil {
			id := string(c.Old[0].Text)
			if before = table[id]; before == nil {
				return fmt.Errorf("%s: there is no row %s", words(c), id)
			}
			for i, v := range c.Old {
				if v.Kind != change.Absent && text(v) != before[i] {
					return fmt.Errorf("%s: the row is %.100q", words(c), before)
				}
				if v.Kind == change.Absent && c.Relation.Identity == 'f' {
					return fmt.Errorf("%s: column %d is absent", words(c), i)
				}
			}
			delete(table, id)
		}
		if c.New != nil {
			id := string(c.New[0].Text)
			if table[id] != nil {
				return fmt.Errorf("%s: there is a row %.100q", words(c), table[id])
			}
			row := make([]string, len(c.New))
			for i, v := range c.New {
				if row[i] = text(v); v.Kind == change.Absent {
					if before == nil {
						return fmt.Errorf("%s: column %d is absent", words(c), i)
					}
					row[i] = before[i]
				}
			}
			table[id] = row
		}
		return nil
	})
}

func text(v change.Value) string {
	if v.Kind == change.Null {
		return "NULL"
	}
	return string(v.Text)
}

func (r *replica) compare(t *testing.T, db *pgtest.Database, tables ...string) {
	t.Helper()
	for _, name := range tables {
		rows, err := db.Pool(t).Query(context.Background(), `SELECT id::text, v::text, COALESCE(pad, 'NULL') FROM `+name)
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for rows.Next() {
			row := make([]string, 3)
			if err := rows.Scan(&row[0], &row[1], &row[2]); err != nil {
				t.Fatal(err)
			}
			seen++
			if got := r.tables[name][row[0]]; strings.Join(got, "|") != strings.Join(row, "|") {
				t.Errorf("%s: the replica has %.100q, the table %.100q", name, got, row)
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		if len(r.tables[name]) != seen {
			t.Errorf("%s: the replica has %d rows, the table %d", name, len(r.tables[name]), seen)
		}
	}
}

// writer runs random transactions on one connection.
type writer struct {
	rnd  *rand.Rand
	conn *pgx.Conn
}

func (w *writer) id() int { return w.rnd.IntN(300) }

func (w *writer) statement() string {
	table := []string{"d", "f"}[w.rnd.IntN(2)]
	switch w.rnd.IntN(20) {
	default:
		return fmt.Sprintf(`INSERT INTO %s VALUES (%d, %d, NULL) ON CONFLICT DO NOTHING`, table, w.id(), w.rnd.IntN(1000))
	case 0, 1, 2, 3, 4:
		return fmt.Sprintf(`UPDATE %s SET v = v + 1 WHERE id BETWEEN %d AND %[2]d + 3`, table, w.id())
	case 5, 6:
		return fmt.Sprintf(`UPDATE %s SET id = %d WHERE id = %d`, table, w.id(), w.id())
	case 7, 8, 9:
		return fmt.Sprintf(`DELETE FROM %s WHERE id BETWEEN %d AND %[2]d + 5`, table, w.id())
	case 10, 11: // TOAST values
		return fmt.Sprintf(`UPDATE %s SET pad = repeat('%d', 3000) WHERE id = %d`, table, w.rnd.IntN(10), w.id())
	case 12: // enough to be streamed
		return fmt.Sprintf(`INSERT INTO %s SELECT g, 1, repeat('y', 500) FROM generate_series(%d, %[2]d + 200) g ON CONFLICT DO NOTHING`, table, w.id())
	}
}

// transaction runs one, and reports whether it committed. Conflicts with other
// writers end it early.
func (w *writer) transaction(ctx context.Context) (bool, error) {
	run := func(sql string) bool {
		_, err := w.conn.Exec(ctx, sql)
		return err == nil
	}
	if !run(`BEGIN`) {
		return false, errors.New("cannot begin")
	}
	depth := 0
	for range 1 + w.rnd.IntN(8) {
		switch w.rnd.IntN(10) {
		case 0, 1:
			depth++
			run(fmt.Sprintf(`SAVEPOINT s%d`, depth))
		case 2:
			if depth > 0 {
				run(fmt.Sprintf(`RELEASE s%d`, depth))
				depth--
			}
		case 3:
			if depth > 0 {
				depth = 1 + w.rnd.IntN(depth)
				run(fmt.Sprintf(`ROLLBACK TO s%d`, depth))
			}
		default:
			if !run(w.statement()) && depth > 0 { // a unique key or a deadlock
				run(fmt.Sprintf(`ROLLBACK TO s%d`, depth))
			}
		}
	}
	end := `COMMIT`
	if w.rnd.IntN(8) == 0 {
		end = `ROLLBACK`
	}
	tag, err := w.conn.Exec(ctx, end)
	return err == nil && tag.String() == "COMMIT", err
}

// TestModel holds a replica against the tables while connections die, the sink
// fails and the feed itself is stopped and started. TIDEMARK_MODEL_SECONDS
// makes it run longer, TIDEMARK_MODEL_SEED repeats the choices of a run.
func TestModel(t *testing.T) {
	seconds, seed := 4, uint64(time.Now().UnixNano())
	if s := os.Getenv("TIDEMARK_MODEL_SECONDS"); s != "" {
		seconds, _ = strconv.Atoi(s)
	}
	if s := os.Getenv("TIDEMARK_MODEL_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE d (id int PRIMARY KEY, v int, pad text)`)
	db.Exec(t, `ALTER TABLE d ALTER pad SET STORAGE EXTERNAL`)
	db.Exec(t, `CREATE TABLE f (LIKE d INCLUDING ALL); ALTER TABLE f REPLICA IDENTITY FULL`)
	publish(t, db)
	gate, model := newGate(t), newReplica()
	var chance sync.Mutex // guards rnd where goroutines share it
	start := func() *fixture {
		return follow(t, db, gate.use, workMem(t, "64kB"), func(o *Options, r *recorder) {
			o.Logger = nil
			o.TransactionChanges, o.StatusInterval = 50, 20*time.Millisecond
			r.onApply = func(_ context.Context, tx *change.Transaction) error {
				chance.Lock()
				fails := rnd.IntN(1000) == 0
				chance.Unlock()
				if fails {
					return errors.New("a bad moment")
				}
				if err := model.apply(tx); err != nil {
					t.Errorf("transaction ending at %v: %.500v", tx.End, err)
				}
				return nil
			}
		})
	}
	f := start()
	deadline := time.Now().Add(time.Duration(seconds) * time.Second)
	var writers sync.WaitGroup
	for i := range 4 {
		w := &writer{rnd: rand.New(rand.NewPCG(seed, uint64(1+i))), conn: db.Conn(t)}
		if _, err := w.conn.Exec(context.Background(), `SET deadlock_timeout = '5ms'`); err != nil {
			t.Fatal(err)
		}
		writers.Go(func() {
			for time.Now().Before(deadline) {
				if _, err := w.transaction(context.Background()); err != nil {
					t.Errorf("writer: %v", err)
					return
				}
			}
		})
	}
	var sessions, spilled, transactions uint64
	count := func() {
		s := f.feed.Status()
		sessions, spilled, transactions = sessions+s.Sessions, spilled+s.SpilledCount, transactions+s.Transactions
		f.sink.mu.Lock()
		defer f.sink.mu.Unlock()
		for _, s := range f.sink.sessions {
			if s.Epoch != 1 {
				t.Errorf("session %+v", s)
			}
		}
	}
	for time.Now().Before(deadline) {
		chance.Lock()
		what, wait := rnd.IntN(5), time.Duration(rnd.IntN(int(300*time.Millisecond)))
		if rnd.IntN(2) == 0 {
			wait /= 100 // one fault on the heels of another
		}
		chance.Unlock()
		time.Sleep(wait)
		switch what {
		case 0:
			f.killWalsender()
		case 1:
			gate.cut()
		case 2:
			f.stop()
			count()
			f = start()
		case 3:
			// A new session decodes again from where the slot can restart, which
			// moves with checkpoints; faults that come faster than that takes let
			// nothing through.
			db.Exec(t, `CHECKPOINT`)
			f.sync()
		}
	}
	writers.Wait()
	f.sync()
	f.stop()
	count()
	model.compare(t, db, "d", "f")
	t.Logf("%d transactions in %d sessions, %d spilled, %d came again", transactions, sessions, spilled, model.again)
	if transactions < 100 || sessions < 3 || spilled == 0 {
		t.Error("too little happened")
	}
}
