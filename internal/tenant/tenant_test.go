package tenant_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/httpapi"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// rig is a tenant over a database of its own, served over HTTP.
type rig struct {
	t      *testing.T
	db     *pgtest.Database
	tenant *tenant.Tenant
	dir    string
	kept   string // of what is followed
	web    *httptest.Server
	stop   func()
}

const shopSchema = `
	CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, plan text);
	CREATE TABLE orders (id int PRIMARY KEY, user_id int NOT NULL, total numeric(10,2), status text,
		created_at timestamptz NOT NULL DEFAULT '2026-01-01');
	ALTER TABLE users REPLICA IDENTITY FULL;
	ALTER TABLE orders REPLICA IDENTITY FULL;
	INSERT INTO users SELECT n, 'user ' || n, 'free' FROM generate_series(1, 20) n;
	INSERT INTO orders SELECT n, 1 + n % 20, n * 1.5, (ARRAY['open','paid'])[1 + n % 2] FROM generate_series(1, 200) n;
	CREATE PUBLICATION tidemark FOR TABLE users, orders;`

var shopEndpoints = map[string]string{
	// An expression, so that a change has the answer computed anew.
	"user.sql":     "-- GET /v1/users/{id}\n-- result: one\nSELECT id, name || '' AS name FROM users WHERE id = :id",
	"followed.sql": "-- GET /v1/followed/{id}\n-- result: one\nSELECT id, name FROM users WHERE id = :id",
	"orders.sql": `-- GET /v1/users/{id}/orders
-- ttl: 1h
SELECT id, total, status, created_at FROM orders
WHERE user_id = :id AND (:status::text IS NULL OR status = :status)
ORDER BY created_at DESC, id LIMIT coalesce(:limit::int, 50)`,
	"count.sql": "-- GET /v1/count\nSELECT count(*) AS n FROM orders",
}

func newRig(t *testing.T, schema string, endpoints map[string]string, change func(*tenant.Options)) *rig {
	t.Helper()
	db := pgtest.DB(t)
	db.Exec(t, schema)
	r := &rig{t: t, db: db, dir: t.TempDir()}
	for name, text := range endpoints {
		r.file(name, text)
	}
	r.start(change)
	return r
}

func (r *rig) file(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) options() tenant.Options {
	level := slog.LevelInfo
	out := io.Discard
	if testing.Verbose() {
		out = os.Stderr
	}
	return tenant.Options{
		Database: r.db.DSN(), Endpoints: r.dir, Slot: "tidemark_" + r.db.Name, Publication: "tidemark",
		WaitTimeout: 5 * time.Second, GCWindow: 30 * time.Second, Quantization: 200 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: level})),
	}
}

func (r *rig) start(change func(*tenant.Options)) {
	r.t.Helper()
	opts := r.options()
	if change != nil {
		change(&opts)
	}
	ten, err := tenant.Open(context.Background(), opts)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ten.Run(ctx) }()
	r.tenant, r.web = ten, httptest.NewServer(httpapi.New(ten, opts.Logger))
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		r.web.Close()
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
		ten.Close()
	}
	r.t.Cleanup(r.stop)
	r.until("the log is followed", func() bool { return ten.Status().Ready })
}

func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("not reached: %s: %+v", what, r.tenant.Status())
		}
	}
}

type response struct {
	status             int
	body, token, cache string
	header             http.Header
}

func (r *rig) get(path string, headers ...string) response {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodGet, r.web.URL+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	res, err := r.web.Client().Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return response{
		status: res.StatusCode, body: string(body), token: res.Header.Get("Tidemark-Token"),
		cache: res.Header.Get("Cache-Status"), header: res.Header,
	}
}

func (r *rig) want(path, body string, headers ...string) response {
	r.t.Helper()
	got := r.get(path, headers...)
	if got.body != body {
		r.t.Errorf("%s %v: %d %s\nwant %s", path, headers, got.status, got.body, body)
	}
	return got
}

const level = "Tidemark-Consistency"

func TestWriteIsSeen(t *testing.T) {
	r := newRig(t, shopSchema, shopEndpoints, nil)
	first := r.want("/v1/users/7", `{"id":7,"name":"user 7"}`)
	if !strings.Contains(first.cache, "fwd=uri-miss") {
		t.Errorf("the first read: %s", first.cache)
	}
	second := r.want("/v1/users/7", `{"id":7,"name":"user 7"}`)
	if !strings.Contains(second.cache, "; hit") {
		t.Errorf("the second read: %s", second.cache)
	}
	r.db.Exec(t, "UPDATE users SET plan = 'pro' WHERE id = 7")
	r.db.Exec(t, "UPDATE users SET name = 'other' WHERE id = 8")
	if got := r.want("/v1/users/7", `{"id":7,"name":"user 7"}`, level, "fully_consistent"); !strings.Contains(got.cache, "; hit") {
		t.Errorf("after changes elsewhere: %s", got.cache)
	}
	r.db.Exec(t, "UPDATE users SET name = 'new' WHERE id = 7")
	got := r.want("/v1/users/7", `{"id":7,"name":"new"}`, level, "fully_consistent")
	if !strings.Contains(got.cache, "fwd=stale") || !strings.Contains(got.cache, "update of public.users") {
		t.Errorf("after the change: %s", got.cache)
	}
	r.want("/v1/users/7", `{"id":7,"name":"new"}`)
	r.want("/v1/users/7", `{"id":7,"name":"user 7"}`, level, `at_exact_snapshot; token="`+second.token+`"`)
	if got := r.get("/v1/users/999"); got.status != 404 {
		t.Errorf("an absent user: %d", got.status)
	}
	r.db.Exec(t, "INSERT INTO users VALUES (999, 'late')")
	r.want("/v1/users/999", `{"id":999,"name":"late"}`, level, "fully_consistent")
}
