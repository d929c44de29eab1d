package tenant_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/revision"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// moment is what the answers were after one transaction of the only writer: as of
// every position from its end at the latest to where the next one begins at the
// earliest.
type moment struct {
	before, after revision.LSN
	answers       [][]string // by endpoint
}

// seen is what a client had when it was up to date.
type seen struct {
	endpoint int
	at       revision.LSN
	rows     []string
}

// check holds what clients saw to what there was.
func check(t *testing.T, moments []moment, all []seen) (exact int) {
	t.Helper()
	for _, s := range all {
		i, _ := slices.BinarySearchFunc(moments, s.at, func(m moment, at revision.LSN) int {
			if m.before <= at {
				return -1
			}
			return 1
		})
		i-- // the last that began before
		if i < 0 {
			continue
		}
		ok := slices.Equal(s.rows, moments[i].answers[s.endpoint])
		if s.at >= moments[i].after {
			exact++
		} else if i > 0 {
			ok = ok || slices.Equal(s.rows, moments[i-1].answers[s.endpoint])
		}
		if !ok {
			t.Fatalf("%s as of %s:\n%s\nand was\n%s", followed[s.endpoint].path, s.at,
				strings.Join(s.rows, "\n"), strings.Join(moments[i].answers[s.endpoint], "\n"))
		}
	}
	return exact
}

// write makes one transaction and notes what the answers are then.
func write(t *testing.T, conn *pgx.Conn, sql string) moment {
	m := moment{before: insertLSN(t, conn)}
	if _, err := conn.Exec(context.Background(), sql); err != nil {
		t.Errorf("%s: %v", sql, err)
	}
	m.after = insertLSN(t, conn)
	for _, f := range followed {
		m.answers = append(m.answers, asked(t, conn, f.sql))
	}
	return m
}

// TestFollowersAtTheirPositions has many follow while one writes, and compares
// each batch that is up to date with the answer as of the position that it names.
func TestFollowersAtTheirPositions(t *testing.T) {
	r := followRig(t, nil)
	for i := range followed {
		// They begin with an answer that somebody has read.
		r.get(followed[i].path)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Second)
	defer cancel()
	var mu sync.Mutex
	var all []seen
	var wg sync.WaitGroup
	told, begun := 0, 0
	for n := range 3 * len(followed) {
		random := rand.New(rand.NewPCG(uint64(n), uint64(time.Now().UnixNano())))
		wg.Go(func() {
			c := newClient(followed[n%len(followed)].path, nil)
			for ctx.Err() == nil {
				done, err := c.poll(ctx, r)
				if err != nil {
					if ctx.Err() == nil {
						t.Errorf("%s: %v", c.path, err)
					}
					break
				}
				if !done {
					continue
				}
				s := seen{n % len(followed), c.at, c.content()}
				mu.Lock()
				all = append(all, s)
				mu.Unlock()
				if random.IntN(10) == 0 {
					time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond)
					continue
				}
				shape, err := c.open(ctx, r)
				if err != nil {
					continue
				}
				select {
				case <-shape.Changed(c.offset).Done():
				case <-time.After(50 * time.Millisecond):
				case <-ctx.Done():
				}
			}
			mu.Lock()
			told += c.told
			begun += c.begun - 1
			mu.Unlock()
		})
	}
	noise := r.db.Conn(t)
	wg.Go(func() {
		for ctx.Err() == nil {
			if _, err := noise.Exec(context.Background(), "INSERT INTO noise VALUES (1)"); err != nil {
				t.Error(err)
			}
		}
	})
	conn := shapeConn(t, r)
	random := rand.New(rand.NewPCG(7, uint64(time.Now().UnixNano())))
	moments := []moment{write(t, conn, "INSERT INTO noise VALUES (0)")}
	moments[0].before = 0
	for ctx.Err() == nil {
		moments = append(moments, write(t, conn, randomWrite(random.IntN)))
	}
	wg.Wait()
	exact := check(t, moments, all)
	if exact == 0 || told == 0 || begun > 0 {
		t.Errorf("%d of %d at exact positions, %d messages, %d began again", exact, len(all), told, begun)
	}
	t.Logf("%d transactions, %d batches, %d at exact positions, %d messages", len(moments), len(all), exact, told)
}

// TestFollowersAndManyWriters has clients follow while many write, and compares
// when all is quiet.
func TestFollowersAndManyWriters(t *testing.T) {
	r := followRig(t, nil)
	conn := shapeConn(t, r)
	var clients []*client
	for _, f := range followed {
		clients = append(clients, newClient(f.path, nil), newClient(f.path, nil))
	}
	for round := range 4 {
		ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
		var wg sync.WaitGroup
		for w := range 4 {
			random := rand.New(rand.NewPCG(uint64(w), uint64(time.Now().UnixNano())))
			own := r.db.Conn(t)
			wg.Go(func() {
				if w%2 == 0 {
					if _, err := own.Exec(context.Background(), "SET synchronous_commit = off"); err != nil {
						t.Error(err)
					}
				}
				for ctx.Err() == nil {
					if _, err := own.Exec(context.Background(), randomWrite(random.IntN)); err != nil && !strings.Contains(err.Error(), "deadlock") {
						t.Error(err)
					}
				}
			})
		}
		for i, c := range clients {
			if i%2 == 1 && round%2 == 0 {
				continue
			}
			wg.Go(func() {
				for ctx.Err() == nil {
					if _, err := c.poll(context.Background(), r); err != nil {
						t.Errorf("%s: %v", c.path, err)
						return
					}
					time.Sleep(time.Duration(i) * time.Millisecond)
				}
			})
		}
		wg.Wait()
		cancel()
		at := insertLSN(t, conn)
		for i, c := range clients {
			c.reach(r, at)
			if got, want := c.content(), asked(t, conn, followed[i/2].sql); !slices.Equal(got, want) {
				t.Fatalf("round %d, %s: got\n%s\nwant\n%s", round, c.path, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			// One who takes less at a time than what changes falls behind what is kept.
			if why := slices.DeleteFunc(slices.Clone(c.gone), func(s string) bool { return s == "the offset is too old" }); len(why) > 0 {
				t.Errorf("%s began %d times: %v", c.path, c.begun, why)
			}
		}
	}
}

// TestFollowersOutliveFaults loses the slot, every connection, and the server.
func TestFollowersOutliveFaults(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	endpoints := map[string]string{}
	for _, f := range followed {
		endpoints[f.name+".sql"] = f.file
	}
	r := &rig{t: t, db: server.DB(t), dir: t.TempDir(), kept: t.TempDir()}
	r.db.Exec(t, followSchema)
	for name, text := range endpoints {
		r.file(name, text)
	}
	slot := "tidemark_" + r.db.Name
	options := func(o *tenant.Options) {
		o.Live = &tenant.LiveOptions{Dir: r.kept, ChunkSize: 700}
		o.WaitTimeout = 2 * time.Second
	}
	r.start(options)
	random := rand.New(rand.NewPCG(9, uint64(time.Now().UnixNano())))
	var clients []*client
	for _, f := range followed {
		clients = append(clients, newClient(f.path, nil))
	}
	some := func() {
		for range 8 {
			r.db.Exec(t, randomWrite(random.IntN))
		}
	}
	compare := func(what string) {
		t.Helper()
		r.until(what+": the log is followed", func() bool {
			return r.get(followed[0].path, level, "fully_consistent").status == 200
		})
		conn := shapeConn(t, r)
		at := insertLSN(t, conn)
		for i, c := range clients {
			for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
				// What is away for a moment is asked for again, as clients do.
				if _, err := c.poll(context.Background(), r); err == nil || time.Now().After(end) {
					break
				}
			}
			c.reach(r, at)
			if got, want := c.content(), asked(t, conn, followed[i].sql); !slices.Equal(got, want) {
				t.Fatalf("%s, %s: got\n%s\nwant\n%s", what, c.path, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if c.begun > 1 {
				t.Fatalf("%s: %s began %d times: %v", what, c.path, c.begun, c.gone)
			}
		}
		conn.Close(context.Background())
	}
	compare("at the start")
	for round := range 2 {
		some()
		epoch := r.tenant.Status().Feed.Epoch
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			r.db.Exec(t, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1 AND active_pid IS NOT NULL", slot)
			if _, err := r.db.Conn(t).Exec(context.Background(), "SELECT pg_drop_replication_slot($1)", slot); err == nil {
				break
			} else if time.Now().After(end) {
				t.Fatal(err)
			}
		}
		some()
		r.until("another epoch", func() bool { return r.tenant.Status().Feed.Epoch != epoch })
		compare("with another slot")

		some()
		r.db.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()")
		some()
		compare("with other connections")

		restart := func() error { return server.Restart("fast") }
		if round == 1 {
			restart = func() error { return errors.Join(server.Kill(), server.Start()) }
		}
		some()
		if err := restart(); err != nil {
			t.Fatal(err)
		}
		some()
		compare("with the server started again")

		some()
		r.stop()
		if err := server.Restart("fast"); err != nil {
			t.Fatal(err)
		}
		some()
		r.start(options)
		compare("with both started again")

		some()
		r.stop()
		r.db.Exec(t, "SELECT pg_drop_replication_slot($1)", slot)
		some()
		r.start(options)
		compare("with another process and another slot")
	}
}

// TestFollowersAndDefinitions changes what endpoints are made of.
func TestFollowersAndDefinitions(t *testing.T) {
	r := followRig(t, nil)
	r.stop()
	install(t, r.db, true)
	r.file("all.sql", "-- GET /v1/all\nSELECT * FROM users WHERE id < 5")
	r.start(func(o *tenant.Options) { o.Live = &tenant.LiveOptions{Dir: r.kept} })
	conn := shapeConn(t, r)
	compare := func(c *client, sql string) {
		t.Helper()
		c.reach(r, insertLSN(t, conn))
		if got, want := c.content(), asked(t, conn, sql); !slices.Equal(got, want) {
			t.Errorf("%s: got\n%s\nwant\n%s", c.path, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	all, page := newClient("/v1/all", nil), newClient("/v1/page", nil)
	const allSQL = "SELECT * FROM users WHERE id < 5"
	compare(all, allSQL)
	compare(page, followed[0].sql)

	r.db.Exec(t, "ALTER TABLE orders ADD more text; UPDATE orders SET total = 900 WHERE id = 3")
	compare(page, followed[0].sql)
	r.db.Exec(t, "ALTER TABLE orders ALTER status TYPE text USING status || '!'") // its columns stay the same
	compare(page, followed[0].sql)
	if page.begun != 1 {
		t.Errorf("the page began %d times: %v", page.begun, page.gone)
	}
	r.db.Exec(t, "ALTER TABLE users ADD age int; UPDATE users SET age = id")
	r.until("the endpoint has another column", func() bool {
		return strings.Contains(r.get("/v1/all", level, "fully_consistent").body, "age")
	})
	compare(all, allSQL)
	if all.begun != 2 {
		t.Errorf("with another column it began %d times: %v", all.begun, all.gone)
	}
	r.db.Exec(t, "TRUNCATE orders")
	compare(page, followed[0].sql)

	// The file changes: another statement with the same columns is a difference,
	// another key is not.
	r.file("page.sql", "-- GET /v1/page\nSELECT id, total, status FROM orders ORDER BY total, id LIMIT 3")
	r.db.Exec(t, "INSERT INTO orders SELECT n, 1, n FROM generate_series(1, 9) n")
	if err := r.tenant.Reload(context.Background()); err != nil {
		t.Fatal(err)
	}
	compare(page, "SELECT id, total, status FROM orders ORDER BY total, id LIMIT 3")
	if page.begun != 1 {
		t.Errorf("with another statement it began %d times: %v", page.begun, page.gone)
	}
	r.file("page.sql", "-- GET /v1/page\n-- key: total\nSELECT id, total, status FROM orders ORDER BY total, id LIMIT 3")
	if err := r.tenant.Reload(context.Background()); err != nil {
		t.Fatal(err)
	}
	compare(page, "SELECT id, total, status FROM orders ORDER BY total, id LIMIT 3")
	if page.begun != 2 {
		t.Errorf("with another key it began %d times: %v", page.begun, page.gone)
	}
	r.db.Exec(t, "UPDATE orders SET status = 'x' WHERE id = 1")
	compare(page, "SELECT id, total, status FROM orders ORDER BY total, id LIMIT 3")
}

// TestFollowedErrors names what cannot be followed.
func TestFollowedErrors(t *testing.T) {
	r := followRig(t, nil)
	r.stop()
	r.file("now.sql", "-- GET /v1/now\n-- ttl: 1h\n-- volatile: ok\nSELECT now() AS n")
	r.file("several.sql", "-- GET /v1/several\n-- result: one\nSELECT id FROM users")
	r.start(func(o *tenant.Options) { o.Live = &tenant.LiveOptions{Dir: r.kept} })
	open := func(path string, account *string) error {
		p, q, _ := strings.Cut(path, "?")
		_, err := r.tenant.Answers().Open(context.Background(), p, q, "", account)
		return err
	}
	var request *live.RequestError
	if err := open("/v1/now", nil); !errors.As(err, &request) || !strings.Contains(err.Error(), "volatile") {
		t.Errorf("a volatile endpoint: %v", err)
	}
	if err := open("/v1/nothing", nil); !errors.Is(err, tenant.ErrNoEndpoint) {
		t.Errorf("no endpoint: %v", err)
	}
	if err := open("/v1/mine/x", nil); err == nil || errors.Is(err, tenant.ErrNoEndpoint) {
		t.Errorf("a bad parameter: %v", err)
	}
	if err := open("/v1/several", nil); !errors.Is(err, tenant.ErrSeveralRows) {
		t.Errorf("several rows: %v", err)
	}
	account := "1"
	if err := open("/v1/page", &account); !errors.Is(err, live.ErrForbidden) {
		t.Errorf("an endpoint without accounts: %v", err)
	}
	if err := open("/v1/notes", &account); err != nil {
		t.Errorf("an endpoint with accounts: %v", err)
	}
	// One row that is not there is nothing.
	c := newClient("/v1/one/9999", nil)
	conn := r.db.Conn(t)
	c.reach(r, insertLSN(t, conn))
	if len(c.rows) != 0 {
		t.Error(c.rows)
	}
	r.db.Exec(t, "INSERT INTO users VALUES (9999, 'late')")
	c.reach(r, insertLSN(t, conn))
	if want := fmt.Sprintf(`id="9999" name="late" plan=%q `, "\x00"); len(c.rows) != 1 || c.content()[0] != want {
		t.Errorf("got %q, want %q", c.content(), want)
	}
	r.db.Exec(t, "DELETE FROM users WHERE id = 9999")
	c.reach(r, insertLSN(t, conn))
	if len(c.rows) != 0 || c.begun != 1 {
		t.Error(c.rows, c.gone)
	}
}

// TestTwoTenantsInOneDirectory has a second tenant, with endpoints alone, come to
// the directory of one that is followed. It is told, and takes over at its end.
func TestTwoTenantsInOneDirectory(t *testing.T) {
	ctx := t.Context()
	first := followRig(t, nil)
	second := followRig(t, func(o *tenant.Options) { o.Live.Dir = first.kept })
	mine, theirs := newClient("/v1/notes", nil), newClient("/v1/notes", nil)
	mine.reach(first, insertLSN(t, shapeConn(t, first)))
	_, err := theirs.open(ctx, second)
	if !errors.Is(err, live.ErrUnavailable) || !strings.Contains(err.Error(), first.kept) || !strings.Contains(err.Error(), "live.dir") {
		t.Errorf("the second tenant: %v", err)
	}
	if r := second.get("/v1/notes"); r.status != http.StatusOK {
		t.Errorf("an answer that is only read: %d", r.status)
	}
	second.db.Exec(t, "DELETE FROM notes")
	write := shapeConn(t, first)
	for range 20 {
		if _, err := write.Exec(ctx, "UPDATE notes SET big = big + 1"); err != nil {
			t.Fatal(err)
		}
		mine.reach(first, insertLSN(t, write))
	}
	if mine.begun > 1 {
		t.Errorf("began %d times: %v", mine.begun, mine.gone)
	}
	first.stop()
	theirs.reach(second, insertLSN(t, shapeConn(t, second)))
	if len(theirs.rows) > 0 {
		t.Errorf("rows of another database: %v", theirs.rows)
	}
}
