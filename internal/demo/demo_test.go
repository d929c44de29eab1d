package demo

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/examples"
	"github.com/tidemarkdb/tidemark/internal/config"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/server"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func loaded(t *testing.T) (*pgtest.Database, *pgx.Conn) {
	t.Helper()
	db := pgtest.DB(t)
	conn := db.Conn(t)
	if err := Load(t.Context(), conn, nil); err != nil {
		t.Fatal(err)
	}
	return db, conn
}

func one[T any](t *testing.T, conn *pgx.Conn, sql string) T {
	t.Helper()
	var v T
	if err := conn.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// digest is equal for equal rows of every table. Times that the writer took
// from the clock are left out.
const digest = `SELECT md5(concat(
  (SELECT string_agg(a::text, '|' ORDER BY id) FROM accounts a),
  (SELECT string_agg(u::text, '|' ORDER BY id) FROM users u),
  (SELECT string_agg(concat(id, account_id, user_id, status, total, express, note), '|' ORDER BY id) FROM orders),
  (SELECT string_agg(l::text, '|' ORDER BY order_id, line) FROM order_lines l)))`

func TestShopIsTheSameEveryTime(t *testing.T) {
	var digests []string
	for range 2 {
		_, conn := loaded(t)
		for sql, least := range map[string]int{
			"SELECT count(*) FROM accounts": 50, "SELECT count(*) FROM users": 5_000,
			"SELECT count(*) FROM orders": 30_000, "SELECT count(*) FROM order_lines": 70_000,
			"SELECT count(*) FROM order_events_2025_1": 1000, "SELECT count(*) FROM order_events_2025_2": 1000,
		} {
			if n := one[int](t, conn, sql); n < least {
				t.Errorf("%s: %d, want %d or more", sql, n, least)
			}
		}
		if n := one[int](t, conn, `SELECT count(*) FROM orders o WHERE total <>
			(SELECT sum(quantity * unit_price) FROM order_lines l WHERE l.order_id = o.id)`); n > 0 {
			t.Errorf("%d orders have a wrong total", n)
		}
		digests = append(digests, one[string](t, conn, digest))

		w := writer{conn: conn, random: rand.New(rand.NewPCG(1, 2)), last: orders}
		for range 100 {
			if err := w.step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := one[int](t, conn, "SELECT count(*) FROM orders WHERE id > 36000"); n < 5 {
			t.Errorf("the writer placed %d orders in 100 steps", n)
		}
		digests = append(digests, one[string](t, conn, digest))
	}
	if digests[0] != digests[2] || digests[1] != digests[3] || digests[0] == digests[1] {
		t.Errorf("digests of loaded, written, loaded, written: %v", digests)
	}
}

func TestWriterEndsWithItsContext(t *testing.T) {
	_, conn := loaded(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := Writer(ctx, conn, 1000); err != nil {
		t.Error(err)
	}
}

// Every endpoint of the sample is one that tidemark accepts, and every sample
// path has rows in its answer.
func TestEndpoints(t *testing.T) {
	db, conn := loaded(t)
	if err := prepare(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, examples.Shop); err != nil {
		t.Fatal(err)
	}
	files, problems := query.LoadDir(dir + "/shop/endpoints")
	for _, f := range files {
		e, found, err := query.Analyze(t.Context(), db.Conn(t), f, query.Options{Publication: "tidemark"})
		if err != nil {
			t.Fatal(err)
		}
		problems = append(problems, found...)
		sampled := false
		for _, s := range samples {
			sampled = sampled || s.endpoint == f.Name
		}
		if e != nil && sampled == e.Volatile {
			t.Errorf("%s: sampled %v, volatile %v", f.Name, sampled, e.Volatile)
		}
	}
	if len(problems) > 0 || len(files) < 12 {
		t.Errorf("%d files, %v", len(files), problems)
	}
	c := newChecker(t, conn, "")
	for _, s := range samples {
		body, err := c.oracle(t.Context(), s.endpoint, s.path)
		if err != nil || len(body) < 10 {
			t.Errorf("%s: %s, %v", s.path, body, err)
		}
	}
}

func newChecker(t *testing.T, conn *pgx.Conn, base string) *checker {
	t.Helper()
	c := &checker{base: base, conn: conn, w: io.Discard}
	if err := c.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// The check must not pass a server that serves something else than Postgres
// says, at any level.
func TestCheckCatchesLies(t *testing.T) {
	_, conn := loaded(t)
	if err := prepare(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	oracle := newChecker(t, conn, "")
	answer := func(path string) []byte {
		for _, s := range samples {
			if s.path == path {
				body, err := oracle.oracle(context.Background(), s.endpoint, s.path)
				if err != nil {
					t.Error(err)
				}
				return body
			}
		}
		return nil
	}
	first := answer(watched)
	for _, tt := range []struct {
		name  string
		serve func(w http.ResponseWriter, r *http.Request)
		want  string
	}{
		{"stale at at_least_as_fresh", func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.Header.Get("Tidemark-Consistency"), atLeastAsFresh) {
				_, _ = w.Write(first)
				return
			}
			_, _ = w.Write(answer(r.URL.RequestURI()))
		}, "at at_least_as_fresh"},
		{"now at at_exact_snapshot", func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(answer(r.URL.RequestURI()))
		}, "at at_exact_snapshot"},
		{"a status other than 200", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusNonAuthoritativeInfo)
			_, _ = w.Write(answer(r.URL.RequestURI()))
		}, "203"},
		{"one byte more", func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(append(answer(r.URL.RequestURI()), '\n'))
		}, "/v1/accounts/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Status", "tidemark; hit; ttl=1")
				w.Header().Set("Tidemark-Token", "tm1")
				tt.serve(w, r)
			}))
			defer s.Close()
			cfg := &config.Config{Listen: config.Listen{HTTP: strings.TrimPrefix(s.URL, "http://")}}
			err := check(t.Context(), cfg, conn, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error about %q", err, tt.want)
			}
		})
	}
}

func serve(ctx context.Context, cfg *config.Config, reload <-chan struct{}, log *slog.Logger, _ io.Writer) error {
	return server.Run(ctx, cfg, server.Options{Reload: reload, Log: log})
}

func TestDemoChecksItself(t *testing.T) {
	pgtest.Shared(t) // skips where there is no Postgres
	var out strings.Builder
	err := Run(t.Context(), Options{Serve: serve, Check: true, Stdout: &out, Logger: slog.New(slog.DiscardHandler)})
	if err != nil || !strings.Contains(out.String(), "byte for byte") {
		t.Fatalf("%v\n%s", err, &out)
	}
}

func TestDemoRunsUntilItIsStopped(t *testing.T) {
	pgtest.Shared(t)
	ctx, cancel := context.WithCancel(t.Context())
	var out stopWriter
	out.mark, out.stop = "Ctrl-C stops", cancel
	if err := Run(ctx, Options{Serve: serve, Rate: 5, Stdout: &out, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"curl -i http://127.0.0.1:", "psql 'postgres://postgres@127.0.0.1:", "/metrics"} {
		if !strings.Contains(out.text.String(), want) {
			t.Errorf("no %q in\n%s", want, out.text.String())
		}
	}
}

// stopWriter calls stop once the mark was written.
type stopWriter struct {
	text strings.Builder
	mark string
	stop func()
}

func (w *stopWriter) Write(p []byte) (int, error) {
	n, err := w.text.Write(p)
	if strings.Contains(w.text.String(), w.mark) {
		w.stop()
	}
	return n, err
}

func TestServerThatDoesNotStart(t *testing.T) {
	pgtest.Shared(t)
	failing := func(context.Context, *config.Config, <-chan struct{}, *slog.Logger, io.Writer) error {
		return os.ErrPermission
	}
	err := Run(t.Context(), Options{Serve: failing, Stdout: io.Discard, Logger: slog.New(slog.DiscardHandler)})
	if err == nil || err.Error() != "serve: permission denied" {
		t.Errorf("got %v", err)
	}
}
