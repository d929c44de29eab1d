package tenant_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/revision"
	"github.com/tidemarkdb/tidemark/internal/setup"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// install sets the tidemark schema up, with or without the event trigger.
func install(t *testing.T, db *pgtest.Database, triggers bool) {
	t.Helper()
	ctx := context.Background()
	conn := db.Conn(t)
	report, err := setup.Inspect(ctx, conn, setup.Input{Publication: "tidemark", Slot: "tidemark", ReplicaIdentity: setup.Keep})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := setup.Apply(ctx, conn, report, setup.Patience{}, nil); err != nil {
		t.Fatal(err)
	}
	if !triggers {
		rows, err := conn.Query(ctx, "SELECT evtname FROM pg_event_trigger")
		if err != nil {
			t.Fatal(err)
		}
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			db.Exec(t, "DROP EVENT TRIGGER "+n)
		}
	}
}

func exact(token string) string   { return `at_exact_snapshot; token="` + token + `"` }
func atLeast(token string) string { return `at_least_as_fresh; token="` + token + `"` }

func TestTokens(t *testing.T) {
	r := newRig(t, shopSchema, shopEndpoints, nil)
	install(t, r.db, true)
	ctx := context.Background()
	conn := r.db.Conn(t)
	token := func(tx interface {
		QueryRow(context.Context, string, ...any) pgx.Row
	},
	) (s string) {
		t.Helper()
		if err := tx.QueryRow(ctx, "SELECT tidemark.token()").Scan(&s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	r.want("/v1/users/3", `{"id":3,"name":"user 3"}`)
	before := token(conn)
	for n := range 20 {
		tx, err := conn.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("name %d", n)
		if _, err := tx.Exec(ctx, "UPDATE users SET name = $1 WHERE id = 3", name); err != nil {
			t.Fatal(err)
		}
		inside := token(tx)
		if n%2 == 0 {
			if _, err := tx.Exec(ctx, "SET LOCAL synchronous_commit = off"); err != nil {
				t.Fatal(err)
			}
		}
		if err := tx.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf(`{"id":3,"name":%q}`, name)
		r.want("/v1/users/3", want, level, atLeast(inside))
		r.want("/v1/users/3", want, level, exact(inside))
		r.want("/v1/users/3", want, level, atLeast(token(conn)))
	}
	r.want("/v1/users/3", `{"id":3,"name":"user 3"}`, level, exact(before))

	// A transaction that comes to nothing satisfies its token too.
	tx, _ := conn.Begin(ctx)
	if _, err := tx.Exec(ctx, "UPDATE users SET name = 'never' WHERE id = 3"); err != nil {
		t.Fatal(err)
	}
	rolledBack := token(tx)
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	r.want("/v1/users/3", `{"id":3,"name":"name 19"}`, level, atLeast(rolledBack))

	tok, err := revision.ParseToken(token(conn))
	if err != nil {
		t.Fatal(err)
	}
	future, foreign, later := tok, tok, tok
	future.LSN += 1 << 30
	foreign.Source.SystemID++
	later.Source.Timeline++
	old := tok
	old.LSN = 1
	for _, tt := range []struct {
		level  string
		status int
		slug   string
	}{
		{atLeast("tm1nonsense"), 400, "malformed-token"},
		{"eventually", 400, "malformed-consistency"},
		{atLeast(future.String()), 400, "future-token"},
		{atLeast(foreign.String()), 409, "foreign-token"},
		{exact(later.String()), 409, "foreign-token"},
		{exact(old.String()), 410, "snapshot-expired"},
	} {
		got := r.get("/v1/users/3", level, tt.level)
		if got.status != tt.status || !strings.Contains(got.body, "urn:tidemark:problem:"+tt.slug) {
			t.Errorf("%s: %d %s", tt.level, got.status, got.body)
		}
	}
}

// TestFullyConsistentSeesEveryCommit commits in every way there is and reads at
// once.
func TestFullyConsistentSeesEveryCommit(t *testing.T) {
	r := newRig(t, shopSchema, shopEndpoints, nil)
	conn := r.db.Conn(t)
	for n := range 100 {
		mode := []string{"on", "off", "local"}[n%3]
		sql := fmt.Sprintf("SET synchronous_commit = %s; UPDATE users SET name = 'n%d' WHERE id = 5", mode, n)
		if _, err := conn.Exec(context.Background(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
		r.want("/v1/users/5", fmt.Sprintf(`{"id":5,"name":"n%d"}`, n), level, "fully_consistent")
	}
}

// TestCommitHeldByStandby has a commit that is in the log and that no query can
// see, because it waits for a standby that does not exist.
func TestCommitHeldByStandby(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	db := server.DB(t)
	r := &rig{t: t, db: db, dir: t.TempDir()}
	db.Exec(t, shopSchema)
	for name, text := range shopEndpoints {
		r.file(name, text)
	}
	r.start(func(o *tenant.Options) { o.WaitTimeout = 500 * time.Millisecond })
	r.want("/v1/followed/4", `{"id":4,"name":"user 4"}`)
	first := r.want("/v1/users/4", `{"id":4,"name":"user 4"}`)
	if err := server.Reload(map[string]string{"synchronous_standby_names": "nobody"}); err != nil {
		t.Fatal(err)
	}
	conn := db.Conn(t)
	done := make(chan error, 1)
	applied := r.tenant.Status().Transactions
	go func() {
		_, err := conn.Exec(context.Background(), "UPDATE users SET name = 'held' WHERE id = 4")
		done <- err
	}()
	r.until("the commit is in the log", func() bool { return r.tenant.Status().Transactions > applied })
	// What follows its rows is as of the log, where the commit is.
	if got := r.want("/v1/followed/4", `{"id":4,"name":"held"}`); !strings.Contains(got.cache, "; hit") {
		t.Errorf("a followed answer: %s", got.cache)
	}
	r.want("/v1/followed/4", `{"id":4,"name":"user 4"}`, level, exact(first.token))
	// The old value is what Postgres says, and what was true a moment before.
	held := r.want("/v1/users/4", `{"id":4,"name":"user 4"}`)
	if strings.Contains(held.cache, "; hit") || strings.Contains(held.cache, "stored") {
		t.Errorf("an answer that the log overtook: %s", held.cache)
	}
	r.want("/v1/users/4", `{"id":4,"name":"user 4"}`, level, "fully_consistent")
	r.want("/v1/users/4", `{"id":4,"name":"user 4"}`, level, exact(first.token))
	beyond := r.tenant.Status().Token
	if got := r.get("/v1/users/4", level, atLeast(beyond)); got.status != http.StatusGatewayTimeout {
		t.Errorf("at_least_as_fresh of a commit that nobody can see: %d %s", got.status, got.body)
	}
	// Answers that it does not touch are as fresh as ever.
	r.want("/v1/users/5", `{"id":5,"name":"user 5"}`, level, atLeast(beyond))
	if err := server.Reload(map[string]string{"synchronous_standby_names": ""}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.want("/v1/users/4", `{"id":4,"name":"held"}`, level, "fully_consistent")
	r.want("/v1/users/4", `{"id":4,"name":"held"}`)
	r.want("/v1/users/4", `{"id":4,"name":"held"}`, level, atLeast(beyond))
}

// TestCommitHeldAcrossRestart kills the process between the delivery of such a
// commit and its release: it never comes again.
func TestCommitHeldAcrossRestart(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	db := server.DB(t)
	r := &rig{t: t, db: db, dir: t.TempDir()}
	db.Exec(t, shopSchema)
	for name, text := range shopEndpoints {
		r.file(name, text)
	}
	r.start(nil)
	if err := server.Reload(map[string]string{"synchronous_standby_names": "nobody"}); err != nil {
		t.Fatal(err)
	}
	conn := db.Conn(t)
	done := make(chan error, 1)
	applied := r.tenant.Status().Transactions
	go func() {
		_, err := conn.Exec(context.Background(), "UPDATE users SET name = 'held' WHERE id = 4")
		done <- err
	}()
	r.until("the commit is in the log", func() bool { return r.tenant.Status().Transactions > applied })
	at := r.tenant.Status().Frontier
	r.until("it is acknowledged", func() bool { return r.tenant.Status().Feed.Acknowledged >= at })
	r.stop()
	r.start(nil)
	got := r.want("/v1/users/4", `{"id":4,"name":"user 4"}`)
	if strings.Contains(got.cache, "stored") {
		t.Errorf("an answer that may lack a delivered commit was kept: %s", got.cache)
	}
	if err := server.Reload(map[string]string{"synchronous_standby_names": ""}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.want("/v1/users/4", `{"id":4,"name":"held"}`, level, "fully_consistent")
	r.want("/v1/users/4", `{"id":4,"name":"held"}`)
}

func TestDefinitionsChange(t *testing.T) {
	for _, triggers := range []bool{true, false} {
		t.Run(fmt.Sprintf("triggers=%v", triggers), func(t *testing.T) {
			r := &rig{t: t, db: pgtest.DB(t), dir: t.TempDir()}
			r.db.Exec(t, shopSchema+"CREATE VIEW open_orders AS SELECT * FROM orders WHERE status = 'open';"+
				"CREATE FUNCTION spent(int) RETURNS numeric LANGUAGE sql STABLE AS 'SELECT sum(total) FROM orders WHERE user_id = $1'")
			install(t, r.db, triggers)
			r.file("all.sql", "-- GET /v1/all/{id}\n-- result: one\nSELECT * FROM users WHERE id = :id")
			r.file("open.sql", "-- GET /v1/open\nSELECT count(*) AS n FROM open_orders")
			r.file("spent.sql", "-- GET /v1/spent/{id}\n-- result: one\nSELECT spent(:id) AS n")
			r.start(func(o *tenant.Options) { o.PollInterval = 50 * time.Millisecond })
			settle := func(path, body string) {
				t.Helper()
				if triggers {
					r.want(path, body, level, "fully_consistent")
					return
				}
				r.until(path+" is "+body, func() bool { return r.get(path).body == body })
			}
			r.want("/v1/all/3", `{"id":3,"name":"user 3","plan":"free"}`)
			r.want("/v1/open", `[{"n":100}]`)
			r.want("/v1/spent/3", `{"n":1380.00}`)
			r.db.Exec(t, "ALTER TABLE users ADD COLUMN age int DEFAULT 40")
			settle("/v1/all/3", `{"id":3,"name":"user 3","plan":"free","age":40}`)
			r.db.Exec(t, "CREATE OR REPLACE VIEW open_orders AS SELECT * FROM orders WHERE status = 'paid' AND id < 11")
			settle("/v1/open", `[{"n":5}]`)
			r.db.Exec(t, "CREATE OR REPLACE FUNCTION spent(int) RETURNS numeric LANGUAGE sql STABLE AS 'SELECT count(*)::numeric FROM users WHERE id < $1'")
			settle("/v1/spent/3", `{"n":2}`)
			r.db.Exec(t, "DELETE FROM users WHERE id = 1")
			settle("/v1/spent/3", `{"n":1}`)
			r.db.Exec(t, "ALTER TABLE users RENAME COLUMN plan TO tier")
			settle("/v1/all/3", `{"id":3,"name":"user 3","tier":"free","age":40}`)
			r.db.Exec(t, "BEGIN; ALTER TABLE users DROP COLUMN age; UPDATE users SET name = 'both' WHERE id = 3; COMMIT")
			settle("/v1/all/3", `{"id":3,"name":"both","tier":"free"}`)
			// An endpoint that makes no sense any more says so, and the others go on.
			r.db.Exec(t, "DROP VIEW open_orders")
			r.until("the endpoint is broken", func() bool {
				got := r.get("/v1/open")
				return got.status == 500 && strings.Contains(got.body, "endpoint-broken")
			})
			r.want("/v1/spent/3", `{"n":1}`)
			r.db.Exec(t, "CREATE VIEW open_orders AS SELECT * FROM orders WHERE id = 1")
			r.until("the endpoint is well again", func() bool { return r.get("/v1/open").body == `[{"n":1}]` })
		})
	}
}

func TestTruncateAndUnpublished(t *testing.T) {
	r := newRig(t, shopSchema, shopEndpoints, nil)
	r.want("/v1/count", `[{"n":200}]`)
	r.db.Exec(t, "TRUNCATE orders")
	r.want("/v1/count", `[{"n":0}]`, level, "fully_consistent")
	r.want("/v1/count", `[{"n":0}]`)
}

func TestOneFillForAllWaiters(t *testing.T) {
	endpoints := map[string]string{"slow.sql": "-- GET /v1/slow\nSELECT count(*) AS n FROM users, generate_series(1, 400000) g"}
	r := newRig(t, shopSchema, endpoints, nil)
	var wg sync.WaitGroup
	// The first to ask gives up; the others are none the worse.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", r.web.URL+"/v1/slow", nil)
	if res, err := r.web.Client().Do(req); err == nil {
		res.Body.Close()
		t.Error("it was not slow")
	}
	for range 20 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r.want("/v1/slow", `[{"n":8000000}]`)
		}()
	}
	wg.Wait()
	if e := r.tenant.Endpoints()[0]; e.Fills != 1 {
		t.Errorf("%d fills", e.Fills)
	}
}

// TestDeadConnections kills every connection in the pool at once, as a restart of
// the server does: no request is refused because of that.
func TestDeadConnections(t *testing.T) {
	endpoints := map[string]string{"slow.sql": "-- GET /v1/slow/{n}\n-- volatile: ok\n-- ttl: 1h\n" +
		"SELECT count(*) AS n FROM users WHERE id <> :n::int AND pg_sleep(0.02) IS NOT NULL"}
	r := newRig(t, shopSchema, endpoints, func(o *tenant.Options) { o.FillConnections = 8 })
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() { r.get(fmt.Sprintf("/v1/slow/%d", n+1)) })
	}
	wg.Wait()
	var killed int
	err := r.db.Conn(t).QueryRow(context.Background(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'SELECT pg_current_snapshot()%'`).Scan(&killed)
	if err != nil || killed < 5 {
		t.Fatalf("%d connections were killed: %v", killed, err)
	}
	if got := r.get("/v1/slow/100"); got.status != http.StatusOK {
		t.Errorf("after %d connections were killed: %d %s", killed, got.status, got.body)
	}
}

// TestSilentLog stops the walsender: what is cached counts as current for the
// wait timeout and no longer, and what cannot be proven is refused.
func TestSilentLog(t *testing.T) {
	r := newRig(t, shopSchema, shopEndpoints, func(o *tenant.Options) { o.WaitTimeout = 700 * time.Millisecond })
	r.want("/v1/users/2", `{"id":2,"name":"user 2"}`)
	pid := int(r.tenant.Status().Feed.PID)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(pid, syscall.SIGCONT) // whatever fails
	r.db.Exec(t, "UPDATE users SET name = 'unheard' WHERE id = 2")
	r.want("/v1/users/2", `{"id":2,"name":"unheard"}`, level, "fully_consistent")
	token, err := r.tenant.Token(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if got := r.get("/v1/users/2", level, atLeast(token)); got.status != http.StatusGatewayTimeout || !strings.Contains(got.body, "not-fresh") {
		t.Errorf("at_least_as_fresh without the log: %d %s", got.status, got.body)
	}
	r.until("the cache is frozen", func() bool { return !r.tenant.Status().Ready })
	r.want("/v1/users/2", `{"id":2,"name":"unheard"}`)
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	r.until("the log is heard again", func() bool { return r.tenant.Status().Ready })
	r.want("/v1/users/2", `{"id":2,"name":"unheard"}`, level, atLeast(token))
	got := r.want("/v1/users/2", `{"id":2,"name":"unheard"}`)
	if !strings.Contains(got.cache, "; hit") {
		t.Errorf("afterwards: %s", got.cache)
	}
}
