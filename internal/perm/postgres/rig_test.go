package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/engine"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/revision"
	"github.com/tidemarkdb/tidemark/internal/setup"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// rig is a tenant with permissions over a database of its own.
type rig struct {
	t      testing.TB
	db     *pgtest.Database
	tenant *tenant.Tenant
	perms  perm.Backend
	stop   func()
}

const sampleSchema = `
use expiration
caveat weekday(day int, allowed list<int>) { day in allowed }
definition user {}
definition group {
  relation member: user | group#member
}
definition document {
  relation owner: user
  relation viewer: user | user:* | group#member | user with weekday | user with expiration | user with weekday and expiration
  relation parent: document
  permission view = viewer + owner + parent->view
}
`

// install makes the tables of permissions; mapped are tables of schema public
// whose rows mean relationships.
func install(t testing.TB, db *pgtest.Database, mapped ...string) {
	t.Helper()
	ctx := context.Background()
	conn := db.Conn(t)
	in := setup.Input{Publication: "tidemark", Slot: "tidemark", Permissions: true}
	for _, m := range mapped {
		in.Mapped = append(in.Mapped, setup.Table{Schema: "public", Name: m})
	}
	report, err := setup.Inspect(ctx, conn, in)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := setup.Apply(ctx, conn, report, setup.Patience{}, nil); err != nil {
		t.Fatal(err)
	}
}

func newRig(t testing.TB, db *pgtest.Database, change func(*tenant.Options)) *rig {
	t.Helper()
	r := &rig{t: t, db: db}
	r.start(change)
	return r
}

func (r *rig) start(change func(*tenant.Options)) {
	r.t.Helper()
	out := io.Discard
	if testing.Verbose() {
		out = os.Stderr
	}
	opts := tenant.Options{
		Database: r.db.DSN(), Endpoints: r.t.TempDir(), Slot: "tidemark_" + r.db.Name, Publication: "tidemark",
		WaitTimeout: 10 * time.Second, GCWindow: time.Minute, PollInterval: 200 * time.Millisecond,
		Permissions: &tenant.PermissionOptions{},
		Logger:      slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
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
	r.tenant, r.perms = ten, ten.Permissions()
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
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
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			st, _ := r.tenant.PermissionStatus()
			r.t.Fatalf("not reached: %s: %+v", what, st)
		}
	}
}

func (r *rig) loaded() bool {
	st, _ := r.tenant.PermissionStatus()
	return st.Loaded
}

func (r *rig) view(req revision.Requirement) perm.View {
	r.t.Helper()
	v, err := r.perms.View(context.Background(), req)
	if err != nil {
		r.t.Fatalf("%v: %v", req, err)
	}
	return v
}

func (r *rig) at(level revision.Level, token string) perm.View {
	r.t.Helper()
	tok, err := r.perms.Parse(token)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.view(revision.Requirement{Level: level, Token: tok})
}

var fully = revision.Requirement{Level: revision.FullyConsistent}

func (r *rig) schema(text string) string {
	r.t.Helper()
	token, err := r.perms.WriteSchema(context.Background(), text)
	if err != nil {
		r.t.Fatal(err)
	}
	return token
}

func updates(op perm.Op, texts ...string) (out []perm.Update) {
	for _, text := range texts {
		out = append(out, perm.Update{Op: op, Relationship: rel(text)})
	}
	return out
}

func (r *rig) write(op perm.Op, texts ...string) string {
	r.t.Helper()
	token, err := r.perms.Write(context.Background(), perm.Write{Updates: updates(op, texts...)})
	if err != nil {
		r.t.Fatal(err)
	}
	return token
}

func rel(text string) tuple.Relationship {
	r, err := tuple.Parse(text)
	if err != nil {
		panic(err)
	}
	return r
}

// texts are the relationships of a view, in order.
func texts(t testing.TB, v perm.View) []string {
	t.Helper()
	all, err := v.Graph.Relationships(graph.Filter{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for r := range all {
		out = append(out, r.String())
	}
	slices.Sort(out)
	return out
}

// selectAll is what the tables say, written by other means than those under test.
const selectAll = `SELECT resource_type || ':' || resource_id || '#' || relation || '@' || subject_type || ':' || subject_id ||
	CASE WHEN subject_relation <> '' THEN '#' || subject_relation ELSE '' END, coalesce(caveat, ''), coalesce(context::text, ''),
	coalesce((extract(epoch FROM expires_at) * 1000000)::bigint, 0) FROM tidemark.relationships`

func inPostgres(t testing.TB, q interface {
	Query(context.Context, string, ...any) (pgx.Rows, error)
}, also ...string,
) []string {
	t.Helper()
	out := []string{}
	for _, sql := range append([]string{selectAll}, also...) {
		rows, err := q.Query(context.Background(), sql)
		if err != nil {
			t.Fatal(err)
		}
		var text, caveat, c string
		var expires int64
		if _, err := pgx.ForEachRow(rows, []any{&text, &caveat, &c, &expires}, func() error {
			r, err := tuple.Parse(text)
			if err != nil {
				return err
			}
			if c != "" {
				if c, err = tuple.Canonical([]byte(c)); err != nil {
					return err
				}
			}
			r.Caveat, r.Context, r.Expires = caveat, c, expires
			out = append(out, r.String())
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// same fails unless the graph is what the tables say, once nobody writes.
func (r *rig) same(also ...string) {
	r.t.Helper()
	conn := r.db.Conn(r.t)
	defer conn.Close(context.Background())
	want := inPostgres(r.t, conn, also...)
	var v perm.View
	var err error
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if v, err = r.perms.View(context.Background(), fully); err == nil {
			break
		}
	}
	if err != nil {
		r.t.Fatal(err)
	}
	compare(r.t, "at the end", texts(r.t, v), want)
}

func compare(t testing.TB, what string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	in := func(all []string, s string) bool { _, ok := slices.BinarySearch(all, s); return ok }
	var more, less []string
	for _, s := range got {
		if !in(want, s) {
			more = append(more, s)
		}
	}
	for _, s := range want {
		if !in(got, s) {
			less = append(less, s)
		}
	}
	t.Fatalf("%s: %d relationships, want %d; too many: %.600s; missing: %.600s", what, len(got), len(want), fmt.Sprint(more), fmt.Sprint(less))
}

// check asks whether user may see a document.
func check(t testing.TB, v perm.View, resource, permission, subject string) engine.Has {
	t.Helper()
	o, err := tuple.ParseObject(resource)
	if err != nil {
		t.Fatal(err)
	}
	s, err := tuple.ParseSubject(subject)
	if err != nil {
		t.Fatal(err)
	}
	res, err := engine.Check(context.Background(), engine.View{Model: v.Model, Snapshot: v.Graph, Now: time.Now(), Cache: v.Cache}, o, permission, s, nil, engine.Options{})
	if err != nil {
		t.Fatalf("%s#%s@%s: %v", resource, permission, subject, err)
	}
	return res.Has
}

// kind names an error by its type.
func kind(err error) string {
	var exists *perm.ExistsError
	var precondition *perm.PreconditionError
	var orphan *perm.OrphanError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &exists):
		return "exists: " + exists.Relationship.Key().String()
	case errors.As(err, &precondition):
		return "precondition"
	case errors.As(err, &orphan):
		return "orphan: " + orphan.Dropped.String()
	}
	return err.Error()
}

func lines(ss []string) string { return strings.Join(ss, "\n") }
