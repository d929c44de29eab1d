package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/config"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/server"
)

// childVariable has the configuration of a server that TestMain runs instead of
// tests.
const childVariable = "TIDEMARK_TEST_SERVER"

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		os.Exit(child(text))
	}
	pgtest.Main(m)
}

// child serves until it is killed.
func child(text string) int {
	cfg := &config.Config{}
	err := json.Unmarshal([]byte(text), cfg)
	if err == nil {
		err = server.Run(context.Background(), cfg, server.Options{
			Log:       slog.New(slog.NewTextHandler(os.Stderr, nil)),
			Listening: func(at server.Addresses) { fmt.Println(at.HTTP) },
		})
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// followed is a database and a configuration by which it can be followed.
type followed struct {
	t    *testing.T
	db   *pgtest.Database
	conn *pgx.Conn
	dir  string
	cfg  *config.Config
}

func newFollowed(t *testing.T, tables string) *followed {
	t.Helper()
	f := &followed{t: t, db: pgtest.DB(t), dir: t.TempDir()}
	f.db.Exec(t, `CREATE TABLE items (id int PRIMARY KEY, account int NOT NULL, n int NOT NULL, note text);
		CREATE TABLE others (id int PRIMARY KEY);
		ALTER TABLE items REPLICA IDENTITY FULL; ALTER TABLE others REPLICA IDENTITY FULL;
		INSERT INTO items SELECT i, i % 3, 0 FROM generate_series(1, 30) i;
		CREATE PUBLICATION tidemark FOR TABLE items, others`)
	f.conn = f.db.Conn(t)
	f.write("live.yaml", tables)
	f.write("endpoints/top.sql", "-- GET /v1/top/{account}\n-- key: id\nSELECT id, n FROM items WHERE account = :account ORDER BY n DESC, id LIMIT 5")
	f.cfg = &config.Config{
		Database: f.db.DSN(), Endpoints: filepath.Join(f.dir, "endpoints"), Slot: "live_" + f.db.Name, Publication: "tidemark",
		Listen:      config.Listen{HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0"},
		Consistency: config.Consistency{WaitTimeout: 5 * time.Second, GCWindow: time.Minute, RevisionQuantizationInterval: 5 * time.Second},
		Cache:       config.Cache{MaxMemory: 64 << 20, TTL: time.Hour},
		Fill:        config.Fill{MaxConnections: 4, StatementTimeout: 20 * time.Second, Queue: 1000, Batch: 10, Refill: true},
		Live:        config.Live{Dir: filepath.Join(f.dir, "data"), Tables: filepath.Join(f.dir, "live.yaml"), MaxLog: 64 << 20, ChunkSize: 2000},
	}
	return f
}

const someTables = "tables:\n  - items\n"

func (f *followed) write(name, text string) {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// serve starts a server in this process.
func (f *followed) serve() *running {
	f.t.Helper()
	r := &running{t: f.t, dir: f.dir, reload: make(chan struct{}), log: &lockedBuffer{}}
	ctx, cancel := context.WithCancel(context.Background())
	listening, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- server.Run(ctx, f.cfg, server.Options{
			Reload: r.reload, Log: slog.New(slog.NewTextHandler(r.log, nil)),
			Listening: func(at server.Addresses) { r.http, r.admin, r.at = at.HTTP, at.Admin, at; close(listening) },
		})
	}()
	var once sync.Once
	var result error
	r.stop = func() error {
		once.Do(func() {
			cancel()
			result = <-done
		})
		return result
	}
	f.t.Cleanup(func() {
		if err := r.stop(); err != nil {
			f.t.Error(err)
		}
		if f.t.Failed() {
			f.t.Log(r.log.String())
		}
	})
	select {
	case <-listening:
	case err := <-done:
		done <- err
		f.t.Fatal(err)
	}
	return r
}

// process starts a server in a process of its own, and returns its address and
// what kills it without a warning.
func (f *followed) process() (at string, kill func()) {
	f.t.Helper()
	text, err := json.Marshal(f.cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	log := &lockedBuffer{}
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	f.t.Cleanup(func() {
		kill()
		if f.t.Failed() {
			f.t.Log(log.String())
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		f.t.Fatalf("the server did not start: %v\n%s", err, log.String())
	}
	return strings.TrimSpace(line), kill
}

// follower is a client that remembers a handle and an offset.
type follower struct {
	t              *testing.T
	base           string // the server
	path           string // with the parameters of the shape
	handle, offset string
	rows           map[string]map[string]any
	upToDate       bool
	told           map[string]bool // by position in the log
	steps          []string        // of what it was told after the snapshot
	again          int             // how often it had to begin again
}

func newFollower(t *testing.T, at, path string) *follower {
	return &follower{t: t, base: "http://" + at, path: path, offset: "-1", rows: map[string]map[string]any{}, told: map[string]bool{}}
}

// message is what a body has.
type message struct {
	Key     string
	Value   map[string]any
	Headers struct {
		Control, Operation, LSN string
		Position                *uint64 `json:"op_position"`
	}
}

// ask sends one request and takes in what comes.
func (f *follower) ask(more string) (status int, problem string) {
	f.t.Helper()
	sep := "?"
	if strings.Contains(f.path, "?") {
		sep = "&"
	}
	url := f.base + f.path + sep + "offset=" + url.QueryEscape(f.offset) + more
	if f.handle != "" {
		url += "&handle=" + f.handle
	}
	client := http.Client{Timeout: 40 * time.Second}
	res, err := client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	switch res.StatusCode {
	case http.StatusConflict:
		f.handle, f.offset, f.again = "", "-1", f.again+1
		clear(f.rows)
		return res.StatusCode, string(body)
	case http.StatusOK:
	default:
		return res.StatusCode, string(body)
	}
	var messages []message
	if err := json.Unmarshal(body, &messages); err != nil {
		f.t.Fatalf("%v: %s", err, body)
	}
	f.upToDate = false
	for _, m := range messages {
		f.take(m)
	}
	f.handle, f.offset = res.Header.Get("Electric-Handle"), res.Header.Get("Electric-Offset")
	if f.handle == "" || f.offset == "" {
		f.t.Fatalf("no place in the shape: %v", res.Header)
	}
	return res.StatusCode, ""
}

func (f *follower) take(m message) {
	f.t.Helper()
	h := &m.Headers
	if h.LSN != "" && h.Position != nil {
		at := fmt.Sprintf("%s/%d", h.LSN, *h.Position)
		if f.told[at] {
			f.t.Errorf("%s %s was told twice", h.Operation, at)
		}
		f.told[at] = true
		f.steps = append(f.steps, h.Operation+" "+m.Key)
	}
	switch h.Operation {
	case "":
		f.upToDate = f.upToDate || h.Control == "up-to-date"
	case "insert":
		if f.rows[m.Key] != nil {
			f.t.Errorf("%s was inserted, and was there", m.Key)
		}
		f.rows[m.Key] = m.Value
	case "update":
		if f.rows[m.Key] == nil {
			f.t.Errorf("%s was updated, and was not there", m.Key)
			return
		}
		maps.Copy(f.rows[m.Key], m.Value)
	case "delete":
		if f.rows[m.Key] == nil {
			f.t.Errorf("%s was deleted, and was not there", m.Key)
		}
		delete(f.rows, m.Key)
	}
}

// until asks until cond holds.
func (f *follower) until(what, more string, cond func() bool) {
	f.t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); {
		status, problem := f.ask(more)
		if time.Now().After(end) {
			f.t.Fatalf("gave up waiting for %s: %d %s, at %s of %s, up to date: %v, with %d rows, begun again %d times",
				what, status, problem, f.offset, f.handle, f.upToDate, len(f.rows), f.again)
		}
		if status != http.StatusOK {
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func (f *follower) catchUp() {
	f.t.Helper()
	f.upToDate = false
	f.until("everything", "", func() bool { return f.upToDate })
}

// sameAs compares what the follower has with a query's rows, as text by key.
func (f *followed) sameAs(c *follower, query string) {
	f.t.Helper()
	want := map[string]string{}
	rows, err := f.conn.Query(f.t.Context(), query)
	if err != nil {
		f.t.Fatal(err)
	}
	var id, text string
	if _, err := pgx.ForEachRow(rows, []any{&id, &text}, func() error { want[id] = text; return nil }); err != nil {
		f.t.Fatal(err)
	}
	got := map[string]string{}
	for _, r := range c.rows {
		got[fmt.Sprint(r["id"])] = fmt.Sprint(r["n"])
	}
	if !maps.Equal(want, got) {
		f.t.Errorf("%s: followed %v, the database has %v", c.path, got, want)
	}
}

const (
	itemsShape = "/v1/shape?table=items"
	topShape   = "/v1/top/1"
	allItems   = "SELECT id::text, n::text FROM items"
	topItems   = "SELECT id::text, n::text FROM (SELECT id, n FROM items WHERE account = 1 ORDER BY n DESC, id LIMIT 5) t"
)

// TestFollowersOutliveAKilledServer kills the server over and over while rows
// change. Followers of a table are told of every change, once and in order.
func TestFollowersOutliveAKilledServer(t *testing.T) {
	t.Parallel()
	f := newFollowed(t, someTables)
	at, kill := f.process()
	table, top := newFollower(t, at, itemsShape), newFollower(t, at, topShape)
	table.catchUp()
	top.catchUp()
	f.sameAs(table, allItems)
	f.sameAs(top, topItems)
	conn := f.conn
	written := 0
	write := func(times int) {
		for range times {
			id := 1 + rand.IntN(30)
			sql := fmt.Sprintf("UPDATE items SET n = n + 1, note = repeat('x', %d) WHERE id = %d", rand.IntN(400), id)
			switch rand.IntN(5) {
			case 0:
				sql = fmt.Sprintf("INSERT INTO items VALUES (%d, %d, 0)", 100+written, rand.IntN(3))
			case 1:
				sql = fmt.Sprintf("WITH gone AS (DELETE FROM items WHERE id = %d RETURNING account) SELECT 1", 100+rand.IntN(1+written))
			}
			if _, err := conn.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
			written++
		}
	}
	for range 5 {
		write(30)
		// Somewhere in the middle.
		for range rand.IntN(3) {
			table.ask("")
			top.ask("")
		}
		write(10)
		kill()
		write(20)
		at, kill = f.process()
		table.base, top.base = "http://"+at, "http://"+at
		write(10)
		table.catchUp()
		top.catchUp()
		// What catchUp calls everything may be from before the last writes.
		table.until("the last write", "&live=true", func() bool { return table.has(f, allItems) })
		top.until("the last write", "&live=true", func() bool { return top.has(f, topItems) })
	}
	if table.again > 0 || top.again > 0 {
		t.Errorf("followers had to begin again: %d, %d", table.again, top.again)
	}
	f.sameAs(table, allItems)
	f.sameAs(top, topItems)
	t.Logf("%d changes were told", len(table.steps))
}

// has reports whether the follower has what a query returns.
func (c *follower) has(f *followed, query string) bool {
	c.t.Helper()
	rows, err := f.conn.Query(c.t.Context(), query)
	if err != nil {
		c.t.Fatal(err)
	}
	n, same := 0, true
	have := map[string]string{}
	for _, r := range c.rows {
		have[fmt.Sprint(r["id"])] = fmt.Sprint(r["n"])
	}
	var id, text string
	if _, err := pgx.ForEachRow(rows, []any{&id, &text}, func() error {
		n++
		same = same && have[id] == text
		return nil
	}); err != nil {
		c.t.Fatal(err)
	}
	return same && n == len(have)
}

// TestEveryStepIsTold follows one row that counts up, over a server that is
// killed.
func TestEveryStepIsTold(t *testing.T) {
	t.Parallel()
	f := newFollowed(t, someTables)
	at, kill := f.process()
	c := newFollower(t, at, itemsShape+"&where="+url.QueryEscape("id = 1"))
	c.catchUp()
	conn := f.conn
	last := 0
	for range 4 {
		for range 25 {
			last++
			if _, err := conn.Exec(t.Context(), "UPDATE items SET n = n + 1 WHERE id = 1"); err != nil {
				t.Fatal(err)
			}
			if rand.IntN(10) == 0 {
				kill()
				at, kill = f.process()
				c.base = "http://" + at
			}
		}
		c.until("the last step", "&live=true", func() bool { return c.rows[`"public"."items"/"1"`]["n"] == strconv.Itoa(last) })
		if len(c.steps) != last {
			t.Errorf("%d steps were told of %d", len(c.steps), last)
		}
	}
	if c.again > 0 {
		t.Errorf("it had to begin again %d times", c.again)
	}
}

// status returns a part of what the admin listener says.
func (r *running) status(keys ...string) any {
	r.t.Helper()
	_, body := r.get(http.DefaultClient, "http://"+r.admin+"/v1/status")
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		r.t.Fatalf("%v: %s", err, body)
	}
	for _, k := range keys {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[k]
	}
	return v
}

func (r *running) until(what string, cond func() bool) {
	r.t.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("gave up waiting until %s", what)
		}
	}
}

func (r *running) ready() {
	r.t.Helper()
	r.until("it is ready", func() bool {
		res, _ := r.get(http.DefaultClient, "http://"+r.admin+"/readyz")
		return res.StatusCode == http.StatusOK
	})
}

// TestAFolderThatCannotBeUsed has a file where the folder should be.
func TestAFolderThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	f := newFollowed(t, someTables)
	f.write("data", "")
	r := f.serve()
	r.ready()
	c := newFollower(t, r.http, itemsShape)
	if status, problem := c.ask(""); status != http.StatusServiceUnavailable || !strings.Contains(problem, "live-unavailable") || !strings.Contains(problem, "not a directory") {
		t.Errorf("a table: %d %s", status, problem)
	}
	if status, problem := newFollower(t, r.http, topShape).ask(""); status != http.StatusServiceUnavailable {
		t.Errorf("an endpoint: %d %s", status, problem)
	}
	if res, body := r.get(http.DefaultClient, "http://"+r.http+topShape); res.StatusCode != http.StatusOK {
		t.Errorf("a read: %d %s", res.StatusCode, body)
	}
	if why, _ := r.status("live", "tables", "why").(string); !strings.Contains(why, "not a directory") {
		t.Errorf("status: %v", r.status("live"))
	}
	f.acknowledged(r)
	if n := strings.Count(r.log.String(), "tables cannot be followed"); n != 1 {
		t.Errorf("said %d times", n)
	}
	if err := os.Remove(f.cfg.Live.Dir); err != nil {
		t.Fatal(err)
	}
	c.catchUp()
	f.sameAs(c, allItems)
	top := newFollower(t, r.http, topShape)
	top.catchUp()
	f.sameAs(top, topItems)
}

// acknowledged checks that the slot lets go of what is written.
func (f *followed) acknowledged(r *running) {
	f.t.Helper()
	f.db.Exec(f.t, "UPDATE items SET n = n + 1 WHERE id = 2")
	conn := f.conn
	var end string
	if err := conn.QueryRow(f.t.Context(), "SELECT pg_current_wal_flush_lsn()::text").Scan(&end); err != nil {
		f.t.Fatal(err)
	}
	r.until("the slot lets go", func() bool {
		var passed bool
		err := conn.QueryRow(f.t.Context(), "SELECT confirmed_flush_lsn >= $1::text::pg_lsn FROM pg_replication_slots WHERE slot_name = $2",
			end, f.cfg.Slot).Scan(&passed)
		if err != nil {
			f.t.Fatal(err)
		}
		return passed
	})
}

// TestAFullDisk fills the disk while rows change, and makes room again.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	f := newFollowed(t, someTables)
	if err := os.Mkdir(f.cfg.Live.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=4m", "tidemark-test", f.cfg.Live.Dir).CombinedOutput(); err != nil {
		t.Skipf("a full disk needs the right to mount a small one: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", f.cfg.Live.Dir).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	r := f.serve()
	r.ready()
	table, top := newFollower(t, r.http, itemsShape), newFollower(t, r.http, topShape)
	table.catchUp()
	top.catchUp()

	ballast := filepath.Join(f.cfg.Live.Dir, "ballast")
	b, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 1<<12); err == nil; {
		_, err = b.Write(block)
	}
	b.Close()
	f.db.Exec(t, "UPDATE items SET n = n + 1, note = repeat('x', 2000)")
	r.until("the log fails", func() bool {
		f.db.Exec(t, "UPDATE items SET n = n + 1")
		return r.status("live", "tables", "followed") == false
	})
	if status, problem := table.ask(""); status != http.StatusServiceUnavailable || !strings.Contains(problem, "no space left") {
		t.Errorf("a table: %d %s", status, problem)
	}
	if res, body := r.get(http.DefaultClient, "http://"+r.http+topShape); res.StatusCode != http.StatusOK {
		t.Errorf("a read: %d %s", res.StatusCode, body)
	}
	f.acknowledged(r)

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	table.until("it begins again", "", func() bool { return table.upToDate && table.has(f, allItems) })
	if table.again != 1 {
		t.Errorf("it began again %d times", table.again)
	}
	top.until("the endpoint goes on", "", func() bool { return top.upToDate && top.has(f, topItems) })
	if top.again != 0 {
		t.Errorf("the endpoint's follower began again %d times", top.again)
	}
	f.db.Exec(t, "UPDATE items SET n = n + 1")
	table.until("the next change", "&live=true", func() bool { return table.has(f, allItems) })
	f.acknowledged(r)
}

// TestALostSlot drops the slot: what was missed is not known, but an answer can
// be compared.
func TestALostSlot(t *testing.T) {
	t.Parallel()
	f := newFollowed(t, someTables)
	r := f.serve()
	r.ready()
	table, top := newFollower(t, r.http, itemsShape), newFollower(t, r.http, topShape)
	table.catchUp()
	top.catchUp()
	handle := top.handle
	f.db.Exec(t, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '"+f.cfg.Slot+"'")
	r.until("the slot is dropped", func() bool {
		_, err := f.conn.Exec(t.Context(), "SELECT pg_drop_replication_slot('"+f.cfg.Slot+"')")
		return err == nil
	})
	f.db.Exec(t, "UPDATE items SET n = n + id")
	table.until("it begins again", "", func() bool { return table.upToDate && table.has(f, allItems) })
	if table.again != 1 {
		t.Errorf("it began again %d times", table.again)
	}
	top.until("the endpoint goes on", "", func() bool { return top.upToDate && top.has(f, topItems) })
	if top.again != 0 || top.handle != handle {
		t.Errorf("the endpoint's follower began again %d times, handle %s after %s", top.again, top.handle, handle)
	}
}

// TestATableThatLeavesThePublication ends its shapes, even if it comes back at once.
func TestATableThatLeavesThePublication(t *testing.T) {
	t.Parallel()
	f := newFollowed(t, someTables)
	r := f.serve()
	r.ready()
	table := newFollower(t, r.http, itemsShape)
	table.catchUp()
	f.db.Exec(t, "ALTER PUBLICATION tidemark DROP TABLE items")
	f.db.Exec(t, "UPDATE items SET n = n + 1 WHERE id = 5")
	f.db.Exec(t, "ALTER PUBLICATION tidemark ADD TABLE items")
	table.until("it begins again", "", func() bool { return table.again > 0 && table.upToDate && table.has(f, allItems) })
}

// TestFollowersDoNotHoldUpTheEnd stops a server at which followers wait.
func TestFollowersDoNotHoldUpTheEnd(t *testing.T) {
	f := newFollowed(t, someTables)
	r := f.serve()
	r.ready()
	var waiting sync.WaitGroup
	for i, path := range []string{itemsShape, topShape} {
		c := newFollower(t, r.http, path)
		c.catchUp()
		waiting.Go(func() {
			if status, problem := c.ask("&live=true"); status != http.StatusOK && status != http.StatusServiceUnavailable {
				t.Errorf("a long poll got %d %s", status, problem)
			}
		})
		waiting.Go(func() {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.http+path, nil)
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Accept", "text/event-stream")
			if i == 0 {
				req.URL.RawQuery += "&offset=now"
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				t.Errorf("a stream ended with %v", err)
			}
		})
	}
	r.until("four wait", func() bool { return r.status("live", "waiting") == float64(4) })
	start := time.Now()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("the end took %v", took)
	}
	waiting.Wait()
}

// TestReloadOfTables exposes a table, narrows it, and takes it away again.
func TestReloadOfTables(t *testing.T) {
	t.Parallel()
	f := newFollowed(t, "tables:\n  - others\n")
	r := f.serve()
	r.ready()
	c := newFollower(t, r.http, itemsShape)
	if status, problem := c.ask(""); status == http.StatusOK {
		t.Fatalf("what nothing exposes was followed: %d %s", status, problem)
	}
	reload := func(text string) {
		f.write("live.yaml", text)
		r.reload <- struct{}{}
		r.reload <- struct{}{} // taken once the one before is done
	}
	reload(someTables)
	c.catchUp()
	f.sameAs(c, allItems)
	reload("tables:\n  - table: items\n    where: id < 5\n")
	c.until("only what may be seen", "", func() bool { return c.upToDate && c.has(f, allItems+" WHERE id < 5") })
	reload("tables:\n  - nonsense\n  - nonsense\n")
	if log := r.log.String(); !strings.Contains(log, "is listed in line 2 already") {
		t.Errorf("the bad file was not reported:\n%s", log)
	}
	c.catchUp()
	reload("tables:\n  - others\n")
	if status, problem := c.ask(""); status == http.StatusOK {
		t.Errorf("what was taken away is followed: %s", problem)
	}
}
