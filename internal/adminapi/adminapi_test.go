package adminapi_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/adminapi"
	"github.com/tidemarkdb/tidemark/internal/httpapi"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// rig is a tenant with both faces.
type rig struct {
	t             *testing.T
	db            *pgtest.Database
	admin, public *httptest.Server
}

// start opens a tenant for a schema and endpoint files; the log is not followed
// until the function that it returns is called.
func start(t *testing.T, schema string, files map[string]string) (r *rig, follow func()) {
	t.Helper()
	db := pgtest.DB(t)
	db.Exec(t, schema)
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	log := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	ten, err := tenant.Open(ctx, tenant.Options{
		Database: db.DSN(), Endpoints: dir, Slot: "admin_" + db.Name, Publication: "tidemark", GCWindow: time.Minute, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	r = &rig{t, db, httptest.NewServer(adminapi.New(ten, nil, log)), httptest.NewServer(httpapi.New(ten, log))}
	done := make(chan error, 1)
	close(done) // until it follows
	t.Cleanup(func() {
		r.admin.Close()
		r.public.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		ten.Close()
	})
	return r, func() {
		done = make(chan error, 1)
		go func() { done <- ten.Run(ctx) }()
		r.await("/readyz", "ready")
	}
}

func (r *rig) ask(method, url, body, contentType string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// await asks the admin side until the reply is a success with all of some texts.
func (r *rig) await(path string, want ...string) string {
	r.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		status, body := r.ask("GET", r.admin.URL+path, "", "")
		lacks := func(w string) bool { return !strings.Contains(body, w) }
		if status == 200 && !slices.ContainsFunc(want, lacks) {
			return body
		}
		if time.Now().After(end) {
			r.t.Fatalf("%s never had %q: %d %s", path, want, status, body)
		}
	}
}

func TestAdmin(t *testing.T) {
	r, follow := start(t, `CREATE TABLE users (id int PRIMARY KEY, name text); ALTER TABLE users REPLICA IDENTITY FULL;
		INSERT INTO users VALUES (1, 'one'), (2, 'two'); CREATE PUBLICATION tidemark FOR TABLE users`,
		map[string]string{
			"user.sql":  "-- GET /v1/users/{id}\n-- result: one\nSELECT id, name FROM users WHERE id = :id",
			"names.sql": "-- GET /v1/names\nSELECT DISTINCT upper(name) AS name FROM users ORDER BY 1",
		})
	ask, admin, public := r.ask, r.admin, r.public
	if status, body := ask("GET", admin.URL+"/readyz", "", ""); status != 503 || !strings.Contains(body, "not-ready") {
		t.Errorf("before the log is followed: %d %s", status, body)
	}
	follow()
	for range 3 {
		ask("GET", public.URL+"/v1/users/1", "", "")
	}
	if status, body := ask("GET", admin.URL+"/metrics", "", ""); status != 200 {
		t.Errorf("metrics: %d %s", status, body)
	} else {
		for _, want := range []string{
			`tidemark_hits_total{endpoint="user"} 2`, `tidemark_misses_total{endpoint="user"} 1`, `tidemark_fills_total{endpoint="user"} 1`,
			`tidemark_filled_total{endpoint="user"} 1`, `tidemark_refills_total{endpoint="user"} 0`, `tidemark_shed_total{endpoint="user"} 0`,
			`tidemark_patched_total{endpoint="user"} 0`, `tidemark_passed_total{endpoint="user"} 0`,
			`tidemark_compared_total{endpoint="user"} 0`, `tidemark_vain_total{endpoint="user"} 0`,
			`tidemark_distrusted{endpoint="user"} 0`, "tidemark_audit_checked_total ", "tidemark_audit_wrong_total 0",
			"tidemark_audit_undecided_total 0",
			`tidemark_invalidations_total{reason="change"} 0`, "tidemark_ready 1", "tidemark_frontier_lsn ", "tidemark_lag_bytes ",
			"tidemark_lag_seconds ", "tidemark_retained_log_bytes ", "tidemark_cache_bytes ", "go_goroutines ",
		} {
			if !strings.Contains(body, want) {
				t.Errorf("%s is not among the metrics", want)
			}
		}
	}
	r.db.Exec(t, "UPDATE users SET name = 'uno' WHERE id = 1")
	r.await("/v1/endpoints", `"patched": 1`, `"precision": 1`, `"hit_ratio": 0.6667`, `"causes": []`)
	// A set that is read in no order cannot be patched; it is computed again.
	ask("GET", public.URL+"/v1/names", "", "")
	r.db.Exec(t, "UPDATE users SET name = 'dos' WHERE id = 2")
	r.await("/v1/endpoints", `"ended": 1`, `"op": "update"`, `"table": "public.users"`)
	ask("GET", public.URL+"/v1/names", "", "") // if it was not computed already
	r.await("/v1/explain?path=/v1/names", `"last_ended_by": "update of public.users at `, `"cached": true`,
		`"rung": 0`, `"endpoint": "names"`, `"true_from": "`, `"expected_reads": `)
	for _, tt := range []struct {
		method, path, body, contentType string
		status                          int
		contains                        string
	}{
		{"GET", "/healthz", "", "", 200, "ok"},
		{"GET", "/v1/status", "", "", 200, `"ready": true`},
		{"GET", "/v1/endpoints", "", "", 200, `"GET /v1/users/{id}"`},
		{"GET", "/v1/token", "", "", 200, `"token": "tm1`},
		{"GET", "/v1/explain?path=/v1/nothing", "", "", 404, "no-endpoint"},
		{"GET", "/v1/explain?path=http://x/", "", "", 400, "bad-parameter"},
		{"GET", "/v1/explain?path=/v1/users/x", "", "", 400, `"parameter":"id"`},
		{"GET", "/elsewhere", "", "", 404, "/v1/status"},
		{"GET", "/v1/explain?path=/v1/users/1", "", "", 200, `"followed": true`},
		{"POST", "/v1/audit", `{}`, "text/plain", 415, "not-json"},
		{"POST", "/v1/audit", ``, "application/json", 400, "bad-audit"},
		{"POST", "/v1/audit", `{"answer":"/v1/users/1"}`, "application/json", 400, "bad-audit"},
		{"POST", "/v1/audit", `{"sample":-1}`, "application/json", 400, "bad-audit"},
		{"POST", "/v1/audit", `{"endpoint":"nobody"}`, "application/json", 404, "unknown-name"},
		{"POST", "/v1/audit", `{"endpoint":"user","sample":3}`, "application/json", 200, `"checked": 1`},
		{"POST", "/v1/audit/clear", `{}`, "application/json", 400, "bad-audit"},
		{"POST", "/v1/audit/clear", `{"endpoint":"nobody"}`, "application/json", 404, "unknown-name"},
		{"POST", "/v1/audit/clear", `{"endpoint":"user"}`, "application/json", 200, `"cleared": "user"`},
		{"POST", "/v1/purge", `{"all":true}`, "text/plain", 415, "not-json"},
		{"POST", "/v1/purge", `{"all":true,"table":"users"}`, "application/json", 400, "bad-purge"},
		{"POST", "/v1/purge", `{"evrything":true}`, "application/json", 400, "evrything"},
		{"POST", "/v1/purge", `{"table":"nothing"}`, "application/json", 404, "unknown-name"},
		{"POST", "/v1/purge", `{"answer":"/v1/users/2"}`, "application/json", 200, `"purged": 0`},
		{"POST", "/v1/purge", `{"all":true}`, "application/json; charset=utf-8", 200, `"purged": 2`},
		{"DELETE", "/v1/purge", "", "", 404, "POST /v1/purge"},
	} {
		status, body := ask(tt.method, admin.URL+tt.path, tt.body, tt.contentType)
		if status != tt.status || !strings.Contains(body, tt.contains) {
			t.Errorf("%s %s %s: %d %s", tt.method, tt.path, tt.body, status, body)
		}
		if strings.HasPrefix(body, "{") && !json.Valid([]byte(body)) {
			t.Errorf("%s %s: not JSON: %s", tt.method, tt.path, body)
		}
	}
}
