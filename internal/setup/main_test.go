package setup

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// input asks for the named tables of schema public under the names that the
// tests use throughout.
func input(tables ...string) Input {
	in := Input{Publication: "tidemark", Slot: "tidemark_" + strings.Join(tables, "_")}
	for _, t := range tables {
		in.Tables = append(in.Tables, Table{Schema: "public", Name: t})
	}
	return in
}

func inspect(t *testing.T, conn *pgx.Conn, in Input) *Report {
	t.Helper()
	r, err := Inspect(t.Context(), conn, in)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// run inspects and applies, and returns what became of each step.
func run(t *testing.T, conn *pgx.Conn, in Input, patience Patience) (map[string]Status, []Finding, error) {
	t.Helper()
	statuses := make(map[string]Status)
	findings, err := Apply(t.Context(), conn, inspect(t, conn, in), patience, func(s Step, status Status, detail string) {
		if status == Failed {
			t.Logf("%s: %s", s.ID, detail)
		}
		if status != Waiting {
			statuses[s.ID] = status
		}
	})
	return statuses, findings, err
}

// mustRun is run for what must succeed in every part.
func mustRun(t *testing.T, conn *pgx.Conn, in Input) {
	t.Helper()
	statuses, findings, err := run(t, conn, in, Patience{})
	for id, s := range statuses {
		if s != Done {
			t.Errorf("%s: %s", id, s)
		}
	}
	if err != nil || len(findings) > 0 {
		t.Fatalf("%v %v", findings, err)
	}
}

func ids(steps []Step) []string {
	var ids []string
	for _, s := range steps {
		ids = append(ids, s.ID)
	}
	return ids
}

func find(r *Report, code string) *Finding {
	i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Code == code })
	if i < 0 {
		return nil
	}
	return &r.Findings[i]
}

// wantFinding fails unless the report has the finding with the severity and
// the texts.
func wantFinding(t *testing.T, r *Report, severity Severity, code, what, typed string) {
	t.Helper()
	f := find(r, code)
	if f == nil {
		t.Errorf("no finding %s in %+v", code, r.Findings)
		return
	}
	if f.Severity != severity || !strings.Contains(f.What, what) || !strings.Contains(f.Type, typed) {
		t.Errorf("finding %+v, want %s with %q and %q", *f, severity, what, typed)
	}
}

func value[T any](t *testing.T, conn *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := conn.QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func exec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(context.Background(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// published lists what the publication sends, under the names that it sends.
func published(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	return value[string](t, conn, `SELECT coalesce(string_agg(tablename, ' ' ORDER BY tablename), '')
		FROM pg_publication_tables WHERE pubname = 'tidemark'`)
}

func identity(t *testing.T, conn *pgx.Conn, name string) string {
	t.Helper()
	return value[string](t, conn, "SELECT relreplident::text FROM pg_class WHERE oid = $1::regclass", name)
}

// login makes a role for one test and connects as it. The role ends with the
// server.
func login(t *testing.T, db *pgtest.Database, attributes, grants string) (*pgx.Conn, string) {
	t.Helper()
	role := "r_" + db.Name
	if len(role) > 63 {
		role = role[:63]
	}
	db.Exec(t, fmt.Sprintf("CREATE ROLE %s LOGIN %s", pgx.Identifier{role}.Sanitize(), attributes))
	grants = strings.NewReplacer("ROLE", pgx.Identifier{role}.Sanitize(), "DATABASE_NAME", pgx.Identifier{db.Name}.Sanitize()).Replace(grants)
	if grants != "" {
		db.Exec(t, grants)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, db.UserDSN(role))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn, role
}
