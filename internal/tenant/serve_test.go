package tenant_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/tenant"
)

func TestConditionalAndEncoded(t *testing.T) {
	r := newRig(t, shopSchema, shopEndpoints, nil)
	first := r.get("/v1/users/7/orders?limit=40")
	etag := first.header.Get("Etag")
	for _, h := range [][]string{
		{"If-None-Match", etag}, {"If-None-Match", "W/" + etag}, {"If-None-Match", `"x", ` + etag},
	} {
		if got := r.get("/v1/users/7/orders?limit=40", h...); got.status != http.StatusNotModified || got.body != "" || got.token == "" {
			t.Errorf("%v: %d %q", h, got.status, got.body)
		}
	}
	r.db.Exec(t, "UPDATE orders SET status = 'lost' WHERE user_id = 7")
	if got := r.get("/v1/users/7/orders?limit=40", "If-None-Match", etag, level, "fully_consistent"); got.status != 200 {
		t.Errorf("after a change: %d", got.status)
	}
	// The client's transport asks for gzip and unpacks it.
	r.db.Exec(t, "INSERT INTO orders SELECT n, 7, 1, 'many' FROM generate_series(1000, 1100) n")
	packed := r.get("/v1/users/7/orders?limit=90", level, "fully_consistent")
	plain := r.get("/v1/users/7/orders?limit=90", "Accept-Encoding", "identity")
	if packed.body != plain.body || packed.header.Get("Etag") == plain.header.Get("Etag") {
		t.Errorf("packed %s, plain %s", packed.header.Get("Etag"), plain.header.Get("Etag"))
	}
	req, _ := http.NewRequest("HEAD", r.web.URL+"/v1/users/7/orders?limit=90", nil)
	req.Header.Set("Accept-Encoding", "identity")
	res, err := r.web.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.ContentLength != int64(len(plain.body)) || res.Header.Get("Etag") != plain.header.Get("Etag") {
		t.Errorf("HEAD: %v", res.Header)
	}
	for method, status := range map[string]int{"POST": 405, "PUT": 405, "DELETE": 405} {
		req, _ := http.NewRequest(method, r.web.URL+"/v1/users/7", strings.NewReader("x"))
		res, err := r.web.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != status || res.Header.Get("Allow") == "" {
			t.Errorf("%s: %d", method, res.StatusCode)
		}
	}
}

func TestParameters(t *testing.T) {
	r := newRig(t, shopSchema, shopEndpoints, nil)
	for path, want := range map[string]string{
		"/v1/users/x":                        "id",
		"/v1/users/7?plan=1":                 "plan",
		"/v1/users/7?id=7":                   "id",
		"/v1/users/7/orders?limit=1&limit=2": "limit",
		"/v1/users/7/orders?limit=ten":       "limit",
		"/v1/users/99999999999/orders":       "id",
	} {
		got := r.get(path)
		if got.status != 400 || !strings.Contains(got.body, fmt.Sprintf(`"parameter":%q`, want)) {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if got := r.get("/v1/nothing"); got.status != 404 || !strings.Contains(got.body, "no-endpoint") {
		t.Errorf("%d %s", got.status, got.body)
	}
	// One answer, however its address is written.
	r.get("/v1/users/7/orders?status=open&limit=2")
	for _, same := range []string{"/v1/users/7/orders?limit=2&status=open", "/v1/users/07/orders?status=ope%6e&limit=002"} {
		if got := r.get(same); !strings.Contains(got.cache, "; hit") {
			t.Errorf("%s: %s", same, got.cache)
		}
	}
	// A statement that fails for its values says so, and not what it is.
	r.file("divide.sql", "-- GET /v1/divide/{n}\n-- result: one\nSELECT count(*) / :n::int AS x FROM users")
	if err := r.tenant.Reload(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := r.get("/v1/divide/0"); got.status != 500 || strings.Contains(got.body, "division") {
		t.Errorf("%d %s", got.status, got.body)
	}
	r.want("/v1/divide/2", `{"x":10}`)
}

func TestReload(t *testing.T) {
	r := newRig(t, shopSchema, shopEndpoints, nil)
	r.get("/v1/users/7")
	r.get("/v1/count")
	r.file("count.sql", "-- GET /v1/count\nSELECT count(*) AS m FROM orders")
	r.file("late.sql", "-- GET /v1/late\nSELECT 1 AS one FROM users LIMIT 1")
	if err := r.tenant.Reload(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.want("/v1/count", `[{"m":200}]`)
	r.want("/v1/late", `[{"one":1}]`)
	if got := r.get("/v1/users/7"); !strings.Contains(got.cache, "; hit") {
		t.Errorf("a file that did not change lost its answers: %s", got.cache)
	}
	r.file("bad.sql", "-- GET /v1/bad\nSELECT * FROM nowhere")
	r.file("worse.sql", "-- GET /v1/worse\nDELETE FROM users")
	r.file("count.sql", "-- GET /v1/count\nSELECT count(*) AS x FROM orders")
	var problems *tenant.ProblemsError
	if err := r.tenant.Reload(context.Background()); !errors.As(err, &problems) || len(problems.Problems) != 2 {
		t.Fatal(err)
	}
	r.want("/v1/count", `[{"m":200}]`)
	if got := r.get("/v1/bad"); got.status != 404 {
		t.Errorf("a bad endpoint is served: %d", got.status)
	}
}

func TestPurge(t *testing.T) {
	r := newRig(t, shopSchema, shopEndpoints, nil)
	fill := func() {
		for _, p := range []string{"/v1/users/1", "/v1/users/2", "/v1/count", "/v1/users/1/orders"} {
			r.get(p)
		}
	}
	for _, tt := range []struct {
		what string
		do   func() (int, error)
		want int
	}{
		{"an answer", func() (int, error) { return r.tenant.PurgeAnswer("/v1/users/1", "") }, 1},
		{"an endpoint", func() (int, error) { return r.tenant.PurgeEndpoint("user") }, 2},
		{"a table", func() (int, error) { return r.tenant.PurgeTable("public.orders") }, 2},
		{"a bare table", func() (int, error) { return r.tenant.PurgeTable("users") }, 2},
		{"everything", func() (int, error) { return r.tenant.PurgeAll(), nil }, 4},
	} {
		fill()
		if n, err := tt.do(); n != tt.want || err != nil {
			t.Errorf("%s: %d, %v", tt.what, n, err)
		}
	}
	if _, err := r.tenant.PurgeTable("nothing"); !errors.Is(err, tenant.ErrUnknownName) {
		t.Error(err)
	}
	if s := r.tenant.Status().Store; s.Entries != 0 || s.Nodes != 0 || s.Bytes != 0 {
		t.Errorf("afterwards: %+v", s)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	const bound = 60 << 10
	r := newRig(t, shopSchema, shopEndpoints, func(o *tenant.Options) { o.MaxMemory = bound })
	for n := range 400 {
		r.get(fmt.Sprintf("/v1/users/%d/orders?limit=%d", n%20, n))
		if s := r.tenant.Status().Store; s.Bytes > bound {
			t.Fatalf("%d bytes", s.Bytes)
		}
	}
	s := r.tenant.Status().Store
	if s.Evictions == 0 || int64(s.Nodes) != s.Entries {
		t.Errorf("%+v", s)
	}
}

func TestMaxStaleness(t *testing.T) {
	r := newRig(t, shopSchema, shopEndpoints, func(o *tenant.Options) {
		o.MaxStaleness, o.NoRefill = time.Minute, true
	})
	first := r.want("/v1/users/7", `{"id":7,"name":"user 7"}`)
	applied := r.tenant.Status().Transactions
	r.db.Exec(t, "UPDATE users SET name = 'new' WHERE id = 7")
	r.until("it is applied", func() bool { return r.tenant.Status().Transactions > applied })
	stale := r.want("/v1/users/7", `{"id":7,"name":"user 7"}`)
	if !strings.Contains(stale.cache, "stale") {
		t.Errorf("%s", stale.cache)
	}
	r.want("/v1/users/7", `{"id":7,"name":"user 7"}`, level, exact(stale.token))
	r.until("it was refilled meanwhile", func() bool { return r.get("/v1/users/7").body == `{"id":7,"name":"new"}` })
	r.db.Exec(t, "UPDATE users SET name = 'newer' WHERE id = 7")
	// The other levels never get it.
	r.want("/v1/users/7", `{"id":7,"name":"newer"}`, level, "fully_consistent")
	r.want("/v1/users/7", `{"id":7,"name":"user 7"}`, level, exact(first.token))
}

func TestTTL(t *testing.T) {
	endpoints := map[string]string{
		"short.sql": "-- GET /v1/short\n-- ttl: 300ms\nSELECT count(*) AS n FROM users",
		"clock.sql": "-- GET /v1/clock\n-- ttl: 300ms\n-- volatile: ok\nSELECT clock_timestamp() AS t FROM users LIMIT 1",
	}
	r := newRig(t, shopSchema, endpoints, nil)
	r.get("/v1/short")
	if got := r.get("/v1/short"); !strings.Contains(got.cache, "; hit") {
		t.Error(got.cache)
	}
	clock := r.get("/v1/clock")
	r.want("/v1/clock", clock.body)
	if got := r.get("/v1/clock", level, "fully_consistent"); got.body == clock.body {
		t.Error("a volatile answer from memory at fully_consistent")
	}
	if got := r.get("/v1/clock", level, exact(clock.token)); got.status != 400 {
		t.Errorf("an exact snapshot of a volatile answer: %d %s", got.status, got.body)
	}
	r.until("its time is over", func() bool {
		return strings.Contains(r.get("/v1/short").cache, "ttl") && r.get("/v1/clock").body != clock.body
	})
}

func TestBadFolder(t *testing.T) {
	r := newRig(t, shopSchema, shopEndpoints, nil)
	r.stop()
	r.file("a.sql", "SELECT 1")
	r.file("b.sql", "-- GET /v1/b\nSELECT random() AS r FROM users")
	r.file("c.sql", "-- GET /v1/users/{user}\nSELECT id FROM users WHERE id = :user")
	r.db.Exec(t, "CREATE TABLE unseen (id int PRIMARY KEY)")
	r.file("d.sql", "-- GET /v1/d\nSELECT id FROM unseen")
	_, err := tenant.Open(context.Background(), r.options())
	var problems *tenant.ProblemsError
	if !errors.As(err, &problems) {
		t.Fatal(err)
	}
	text := err.Error()
	for _, want := range []string{"a.sql:1", "random()", "/v1/users/{user}", "unseen", "publication"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in:\n%s", want, text)
		}
	}
}
