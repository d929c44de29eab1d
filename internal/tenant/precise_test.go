package tenant_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/answer"
	"github.com/tidemarkdb/tidemark/internal/revision"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

func (r *rig) endpoint(name string) tenant.EndpointStatus {
	r.t.Helper()
	for _, e := range r.tenant.Endpoints() {
		if e.Name == name {
			return e
		}
	}
	r.t.Fatalf("no endpoint %s", name)
	return tenant.EndpointStatus{}
}

// TestFollowed changes answers of one table and counts the queries: none.
func TestFollowed(t *testing.T) {
	r := newRig(t, shopSchema, shopEndpoints, nil)
	row := func(n, day int) string {
		return fmt.Sprintf(`{"id":%d,"total":1.00,"status":"open","created_at":"2026-02-%02dT00:00:00+00:00"}`, n, day)
	}
	r.get("/v1/followed/3")
	r.get("/v1/users/3/orders?limit=2")
	r.want("/v1/count", `[{"n":200}]`)
	queries := func() (n int64) {
		for _, name := range []string{"followed", "orders", "count"} {
			n += r.endpoint(name).Fills
		}
		return n
	}
	before := queries()
	hit := func(path, body string) {
		t.Helper()
		if got := r.want(path, body, level, "fully_consistent"); !strings.Contains(got.cache, "; hit") {
			t.Errorf("%s: %s", path, got.cache)
		}
	}
	r.db.Exec(t, "UPDATE users SET name = 'x' WHERE id = 3")
	hit("/v1/followed/3", `{"id":3,"name":"x"}`)
	r.db.Exec(t, "INSERT INTO orders SELECT 1000 + n, 3, 1, 'open', '2026-02-01'::date + n FROM generate_series(1, 3) n")
	hit("/v1/users/3/orders?limit=2", "["+row(1003, 4)+","+row(1002, 3)+"]")
	hit("/v1/count", `[{"n":203}]`)
	r.db.Exec(t, "UPDATE orders SET created_at = created_at + interval '10 days' WHERE id = 1001; DELETE FROM orders WHERE id = 1003")
	hit("/v1/users/3/orders?limit=2", "["+row(1001, 12)+","+row(1002, 3)+"]")
	hit("/v1/count", `[{"n":202}]`)
	r.db.Exec(t, "DELETE FROM users WHERE id = 3")
	if got := r.get("/v1/followed/3", level, "fully_consistent"); got.status != 404 || !strings.Contains(got.cache, "; hit") {
		t.Errorf("after DELETE: %d %s", got.status, got.cache)
	}
	if n := queries() - before; n != 0 {
		t.Errorf("%d queries", n)
	}
	if e := r.endpoint("orders"); e.Patched == 0 {
		t.Errorf("%+v", e)
	}
}

// TestReadTogether reads two answers while transactions change both.
func TestReadTogether(t *testing.T) {
	r := newRig(t, shopSchema, shopEndpoints, nil)
	conn := r.db.Conn(t)
	var stop atomic.Bool
	written := make(chan error, 1)
	go func() {
		var err error
		for n := 0; err == nil && !stop.Load(); n++ {
			_, err = conn.Exec(context.Background(), fmt.Sprintf(
				"UPDATE users SET name = '%d' WHERE id = 5; UPDATE users SET name = '%d' WHERE id = 6", n, n))
			time.Sleep(time.Millisecond)
		}
		written <- err
	}()
	uris := []string{"/v1/users/5", "/v1/users/6", "/v1/followed/5", "/v1/nothing", "/v1/users/x", "/v1/followed/6"}
	levels := []revision.Level{revision.MinimizeLatency, revision.FullyConsistent}
	moved := map[string]bool{}
	end := time.Now().Add(20 * time.Second)
	for n := 0; n < 200 || len(moved) < 10 && time.Now().Before(end); n++ {
		parts, token, err := r.tenant.ReadTogether(context.Background(), uris, revision.Requirement{Level: levels[n%2]})
		if err != nil {
			t.Fatal(err)
		}
		name := func(i int) string {
			_, after, _ := strings.Cut(string(parts[i].Version.Body), `"name":`)
			return after
		}
		for _, i := range []int{1, 2, 5} {
			if name(i) != name(0) && !strings.Contains(name(0), "user") {
				t.Fatalf("torn: %s of %s, %s of %s", name(0), uris[0], name(i), uris[i])
			}
		}
		moved[name(0)] = true
		if !errors.Is(parts[3].Err, tenant.ErrNoEndpoint) || parts[4].Err == nil {
			t.Fatalf("%v, %v", parts[3].Err, parts[4].Err)
		}
		// Each by itself, at the token, says the same.
		if n%20 == 0 {
			r.want(uris[1], string(parts[1].Version.Body), level, exact(token))
		}
	}
	stop.Store(true)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if len(moved) < 10 {
		t.Errorf("only %d states were seen", len(moved))
	}
}

// TestAudit takes a table out of the publication behind the server's back, so
// that an answer becomes wrong, and has it found.
func TestAudit(t *testing.T) {
	r := newRig(t, shopSchema, shopEndpoints, func(o *tenant.Options) {
		o.PollInterval, o.NoRefill = time.Hour, true
	})
	ctx := context.Background()
	for id := range 10 {
		r.get(fmt.Sprintf("/v1/users/%d", id+1))
		r.get(fmt.Sprintf("/v1/users/%d/orders?limit=5", id+1))
	}
	audit := func(req tenant.AuditRequest) tenant.AuditReport {
		t.Helper()
		report, err := r.tenant.Audit(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	if got := audit(tenant.AuditRequest{}); got.Checked != 20 || got.Wrong != 0 {
		t.Errorf("all is well: %+v", got)
	}
	if got := audit(tenant.AuditRequest{Endpoint: "user", Sample: 4}); got.Checked != 4 {
		t.Errorf("a sample: %+v", got)
	}
	if _, err := r.tenant.Audit(ctx, tenant.AuditRequest{Endpoint: "nothing"}); !errors.Is(err, tenant.ErrUnknownName) {
		t.Error(err)
	}
	r.db.Exec(t, "ALTER PUBLICATION tidemark DROP TABLE users")
	r.db.Exec(t, "UPDATE users SET name = 'unheard' WHERE id = 7")
	got := audit(tenant.AuditRequest{})
	if got.Wrong != 1 || len(got.Findings) != 1 {
		t.Fatalf("%+v", got)
	}
	f := got.Findings[0]
	if f.Key != "/v1/users/7" || !strings.Contains(f.Database, "unheard") || !strings.Contains(f.Cached, "user 7") || f.Snapshot == "" {
		t.Errorf("%+v", f)
	}
	if e := r.endpoint("user"); e.Distrusted == "" || e.Answers != 0 {
		t.Errorf("%+v", e)
	}
	if s := r.tenant.Status().Audit; s.Wrong != 1 || s.LastWrong.IsZero() {
		t.Errorf("%+v", s)
	}
	// At rung 0 every change of the table touches every answer.
	r.db.Exec(t, "ALTER PUBLICATION tidemark ADD TABLE users")
	r.want("/v1/users/8", `{"id":8,"name":"user 8"}`, level, "fully_consistent")
	r.db.Exec(t, "UPDATE users SET plan = 'pro' WHERE id = 9")
	if got := r.want("/v1/users/8", `{"id":8,"name":"user 8"}`, level, "fully_consistent"); strings.Contains(got.cache, "; hit") {
		t.Errorf("after a change of another row: %s", got.cache)
	}
	if err := r.tenant.ClearAudit("user"); err != nil {
		t.Fatal(err)
	}
	r.want("/v1/users/8", `{"id":8,"name":"user 8"}`)
	r.db.Exec(t, "UPDATE users SET plan = 'free' WHERE id = 9")
	if got := r.want("/v1/users/8", `{"id":8,"name":"user 8"}`, level, "fully_consistent"); !strings.Contains(got.cache, "; hit") {
		t.Errorf("trusted again: %s", got.cache)
	}
}

// TestOverload has more answers wanted than may wait.
func TestOverload(t *testing.T) {
	endpoints := map[string]string{"slow.sql": "-- GET /v1/slow/{n}\n-- volatile: ok\n-- ttl: 1s\nSELECT pg_sleep(1)::text || :n::int AS n FROM users LIMIT 1"}
	r := newRig(t, shopSchema, endpoints, func(o *tenant.Options) { o.FillConnections, o.Queue, o.Batch = 1, 1, 1 })
	errs := make(chan error, 8)
	for n := range 8 {
		go func() {
			_, err := r.tenant.Read(context.Background(), fmt.Sprintf("/v1/slow/%d", n), "", revision.Requirement{})
			errs <- err
		}()
	}
	shed, served := 0, 0
	for range 8 {
		var over *answer.OverloadedError
		switch err := <-errs; {
		case err == nil:
			served++
		case errors.As(err, &over):
			if over.RetryAfter <= 0 {
				t.Error(over.RetryAfter)
			}
			shed++
		default:
			t.Error(err)
		}
	}
	if shed < 5 || served < 1 {
		t.Errorf("%d served, %d turned away", served, shed)
	}
}
