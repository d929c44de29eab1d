package adminapi_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestAudit has a function lie about what it reads, so that an answer in memory
// becomes wrong.
func TestAudit(t *testing.T) {
	r, follow := start(t, `CREATE TABLE users (id int PRIMARY KEY, name text); ALTER TABLE users REPLICA IDENTITY FULL;
		INSERT INTO users SELECT n, 'x' FROM generate_series(1, 9) n; CREATE PUBLICATION tidemark FOR TABLE users;
		CREATE TABLE hidden (name text); INSERT INTO hidden VALUES ('before');
		CREATE FUNCTION lie() RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT name FROM hidden); END'`,
		map[string]string{
			"user.sql": "-- GET /v1/users/{id}\n-- result: one\nSELECT id, name FROM users WHERE id = :id",
			"liar.sql": "-- GET /v1/liars/{id}\nSELECT id, lie() AS name FROM users WHERE id = :id",
		})
	follow()
	for id := range 9 {
		r.ask("GET", fmt.Sprintf("%s/v1/users/%d", r.public.URL, id+1), "", "")
	}
	r.ask("GET", r.public.URL+"/v1/liars/3", "", "")
	type report struct {
		Checked, Wrong, Skipped, Undecided int
		Findings                           []struct {
			Endpoint, Answer, SQL, Position, Snapshot, Cached, Database string
			Args, Dependencies                                          []string
		}
	}
	audit := func(request string) (out report) {
		t.Helper()
		status, body := r.ask("POST", r.admin.URL+"/v1/audit", request, "application/json")
		if err := json.Unmarshal([]byte(body), &out); err != nil || status != 200 {
			t.Fatalf("%s: %d %v %s", request, status, err, body)
		}
		return out
	}
	if got := audit(`{}`); got.Checked != 10 || got.Wrong != 0 || got.Findings == nil {
		t.Errorf("before the lie: %+v", got)
	}
	if got := audit(`{"endpoint":"user","sample":4}`); got.Checked != 4 || got.Wrong != 0 {
		t.Errorf("a sample of 4: %+v", got)
	}
	r.db.Exec(t, "UPDATE hidden SET name = 'after'")
	got := audit(`{"endpoint":"liar"}`)
	if got.Checked != 1 || got.Wrong != 1 || len(got.Findings) != 1 {
		t.Fatalf("after the lie: %+v", got)
	}
	f := got.Findings[0]
	if f.Endpoint != "liar" || f.Answer != "/v1/liars/3" || !strings.Contains(f.Cached, "before") || !strings.Contains(f.Database, "after") ||
		!strings.Contains(f.SQL, "lie()") || len(f.Args) != 1 || len(f.Dependencies) != 1 || f.Position == "" || f.Snapshot == "" {
		t.Errorf("%+v", f)
	}
	r.await("/v1/status", `"wrong": 1`, `"last_wrong": "`)
	r.await("/metrics", `tidemark_distrusted{endpoint="liar"} 1`, `tidemark_distrusted{endpoint="user"} 0`,
		"tidemark_audit_wrong_total 1")
	r.await("/v1/endpoints", `"distrusted": "`)
	r.await("/v1/explain?path=/v1/liars/3", `"distrusted": "`)
	if _, body := r.ask("GET", r.public.URL+"/v1/liars/3", "", ""); !strings.Contains(body, "after") {
		t.Errorf("the wrong answer is still there: %s", body)
	}
	r.ask("POST", r.admin.URL+"/v1/audit/clear", `{"endpoint":"liar"}`, "application/json")
	r.await("/metrics", `tidemark_distrusted{endpoint="liar"} 0`)
}
