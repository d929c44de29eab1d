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
	"strings"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/adminapi"
	"github.com/tidemarkdb/tidemark/internal/httpapi"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestAdmin(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE users (id int PRIMARY KEY, name text); ALTER TABLE users REPLICA IDENTITY FULL;
		INSERT INTO users VALUES (1, 'one'), (2, 'two'); CREATE PUBLICATION tidemark FOR TABLE users`)
	dir := t.TempDir()
	file := filepath.Join(dir, "user.sql")
	if err := os.WriteFile(file, []byte("-- GET /v1/users/{id}\n-- result: one\nSELECT id, name FROM users WHERE id = :id"), 0o644); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	ten, err := tenant.Open(ctx, tenant.Options{
		Database: db.DSN(), Endpoints: dir, Slot: "admin_" + db.Name, Publication: "tidemark", GCWindow: time.Minute, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	admin, public := httptest.NewServer(adminapi.New(ten, log)), httptest.NewServer(httpapi.New(ten, log))
	ask := func(method, url, body, contentType string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if contentType != "" {
			req.Header.Set("Content-Type", contentType)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(text)
	}
	if status, body := ask("GET", admin.URL+"/readyz", "", ""); status != 503 || !strings.Contains(body, "not-ready") {
		t.Errorf("before the log is followed: %d %s", status, body)
	}
	done := make(chan error, 1)
	go func() { done <- ten.Run(ctx) }()
	defer func() {
		admin.Close()
		public.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		ten.Close()
	}()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if status, _ := ask("GET", admin.URL+"/readyz", "", ""); status == 200 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("never ready")
		}
	}
	for range 3 {
		ask("GET", public.URL+"/v1/users/1", "", "")
	}
	if status, body := ask("GET", admin.URL+"/metrics", "", ""); status != 200 {
		t.Errorf("metrics: %d %s", status, body)
	} else {
		for _, want := range []string{
			`tidemark_hits_total{endpoint="user"} 2`, `tidemark_misses_total{endpoint="user"} 1`, `tidemark_fills_total{endpoint="user"} 1`,
			`tidemark_invalidations_total{reason="change"} 0`, "tidemark_ready 1", "tidemark_frontier_lsn ", "tidemark_lag_bytes ",
			"tidemark_lag_seconds ", "tidemark_retained_log_bytes ", "tidemark_cache_bytes ", "go_goroutines ",
		} {
			if !strings.Contains(body, want) {
				t.Errorf("%s is not among the metrics", want)
			}
		}
	}
	db.Exec(t, "UPDATE users SET name = 'uno' WHERE id = 1")
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		_, body := ask("GET", admin.URL+"/v1/explain?path=/v1/users/1", "", "")
		if strings.Contains(body, "update of public.users") {
			for _, want := range []string{`"rung": 1`, `"endpoint": "user"`, `"cached": false`, "true_before"} {
				if !strings.Contains(body, want) {
					t.Errorf("explain has no %s:\n%s", want, body)
				}
			}
			break
		}
		if time.Now().After(end) {
			t.Fatalf("explain: %s", body)
		}
	}
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
		{"POST", "/v1/purge", `{"all":true}`, "text/plain", 415, "not-json"},
		{"POST", "/v1/purge", `{"all":true,"table":"users"}`, "application/json", 400, "bad-purge"},
		{"POST", "/v1/purge", `{"evrything":true}`, "application/json", 400, "evrything"},
		{"POST", "/v1/purge", `{"table":"nothing"}`, "application/json", 404, "unknown-name"},
		{"POST", "/v1/purge", `{"answer":"/v1/users/2"}`, "application/json", 200, `"purged": 0`},
		{"POST", "/v1/purge", `{"all":true}`, "application/json; charset=utf-8", 200, `"purged": 1`},
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
