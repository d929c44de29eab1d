package tenant_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/revision"
	"github.com/tidemarkdb/tidemark/internal/setup"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// TestPermissionsOff needs nothing of what permissions need.
func TestPermissionsOff(t *testing.T) {
	r := newRig(t, shopSchema, shopEndpoints, nil)
	if r.tenant.Permissions() != nil {
		t.Error("there are permissions")
	}
	if _, on := r.tenant.PermissionStatus(); on {
		t.Error("permissions have a status")
	}
	var n int
	if err := r.db.Conn(t).QueryRow(t.Context(), "SELECT count(*) FROM pg_namespace WHERE nspname = 'tidemark'").Scan(&n); err != nil || n != 0 {
		t.Errorf("%d schemas, %v", n, err)
	}
}

// TestPermissionsNeedTables says what to do without them.
func TestPermissionsNeedTables(t *testing.T) {
	r := &rig{t: t, db: pgtest.DB(t), dir: t.TempDir()}
	r.db.Exec(t, shopSchema)
	opts := r.options()
	opts.Permissions = &tenant.PermissionOptions{}
	if _, err := tenant.Open(context.Background(), opts); err == nil || !strings.Contains(err.Error(), "tidemark init") {
		t.Errorf("%v", err)
	}
	opts.Permissions.Mapping = filepath.Join(t.TempDir(), "none.yaml")
	if _, err := tenant.Open(context.Background(), opts); err == nil || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("%v", err)
	}
}

// TestPermissionsBesideEndpoints has both, over one log: a token of one face means
// the same to the other, and relationships do not disturb what endpoints are.
func TestPermissionsBesideEndpoints(t *testing.T) {
	r := &rig{t: t, db: pgtest.DB(t), dir: t.TempDir()}
	r.db.Exec(t, shopSchema)
	ctx := context.Background()
	report, err := setup.Inspect(ctx, r.db.Conn(t), setup.Input{Publication: "tidemark", Slot: "tidemark", Permissions: true, Mapped: []setup.Table{{Schema: "public", Name: "orders"}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := setup.Apply(ctx, r.db.Conn(t), report, setup.Patience{}, nil); err != nil {
		t.Fatal(err)
	}
	for name, text := range shopEndpoints {
		r.file(name, text)
	}
	file := filepath.Join(t.TempDir(), "mapping.yaml")
	if err := os.WriteFile(file, []byte("relationships:\n  - order:{id}#owner@user:{user_id} from orders\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.start(func(o *tenant.Options) { o.Permissions = &tenant.PermissionOptions{Mapping: file} })
	perms := r.tenant.Permissions()
	if _, err := perms.WriteSchema(ctx, "definition user {}\ndefinition order {\n  relation owner: user\n  relation viewer: user\n  permission view = owner + viewer\n}\n"); err != nil {
		t.Fatal(err)
	}
	r.want("/v1/count", `[{"n":200}]`)
	for n := range 30 { // not one of them touches an endpoint
		u := perm.Update{Op: perm.Touch, Relationship: tuple.Relationship{
			Resource: tuple.Object{Type: "order", ID: "7"}, Relation: "viewer",
			Subject: tuple.Subject{Object: tuple.Object{Type: "user", ID: strings.Repeat("u", n+1)}},
		}}
		token, err := perms.Write(ctx, perm.Write{Updates: []perm.Update{u}})
		if err != nil {
			t.Fatal(err)
		}
		if got := r.want("/v1/count", `[{"n":200}]`, level, atLeast(token)); !strings.Contains(got.cache, "; hit") {
			t.Fatalf("after write %d: %s", n, got.cache)
		}
	}
	r.db.Exec(t, "INSERT INTO orders (id, user_id) VALUES (1000, 1)")
	got := r.want("/v1/count", `[{"n":201}]`, level, "fully_consistent")
	tok, err := revision.ParseToken(got.token)
	if err != nil {
		t.Fatal(err)
	}
	wait, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	v, err := perms.View(wait, revision.Requirement{Level: revision.AtLeastAsFresh, Token: tok})
	if err != nil || v.Graph.Len() != 231 {
		t.Errorf("%v", err)
	}
}
