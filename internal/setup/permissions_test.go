package setup

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

const allPermissionTables = "permission_schemas relationship_counters relationship_metadata relationships"

func withPermissionsOn(in Input, mapped ...string) Input {
	in.Permissions = true
	for _, t := range mapped {
		in.Mapped = append(in.Mapped, Table{Schema: "public", Name: t})
	}
	return in
}

func TestPermissionTables(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE docs (id int PRIMARY KEY); CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
		CREATE TABLE parts1 PARTITION OF parts FOR VALUES FROM (0) TO (10)`)
	conn := db.Conn(t)
	plain := input("docs")
	plain.ReplicaIdentity = Keep
	mustRun(t, conn, plain)
	if got := published(t, conn); got != "docs" {
		t.Errorf("without permissions: %s", got)
	}
	in := withPermissionsOn(plain, "docs", "parts")
	before := inspect(t, conn, in)
	if before.Ready() {
		t.Error("ready without the tables")
	}
	mustRun(t, conn, in)
	if got := published(t, conn); got != "docs parts1 "+allPermissionTables {
		t.Errorf("published: %s", got)
	}
	for _, name := range append(slices.Clone(permissionTables), "docs", "parts1") {
		if strings.HasPrefix(name, "relationship") || strings.HasPrefix(name, "permission") {
			name = "tidemark." + name
		}
		if got := identity(t, conn, name); got != "f" {
			t.Errorf("the identity of %s is %s", name, got)
		}
	}
	if after := inspect(t, conn, in); !after.Ready() || len(after.Steps) > 0 {
		t.Errorf("after all of it: %v %+v", ids(after.Steps), after.Diagnosis())
	}
	// What somebody undid is found.
	exec(t, conn, "ALTER PUBLICATION tidemark DROP TABLE tidemark.relationships")
	exec(t, conn, "ALTER TABLE docs REPLICA IDENTITY DEFAULT")
	if again := inspect(t, conn, in); again.Ready() || len(again.Steps) != 2 {
		t.Errorf("after it was undone: %v", ids(again.Steps))
	}
	mustRun(t, conn, in)
	// Older objects are replaced in place.
	exec(t, conn, "COMMENT ON TABLE tidemark.relationships IS 'tidemark, version 0'; INSERT INTO tidemark.permission_schemas (definition) VALUES ('')")
	mustRun(t, conn, in)
	if n := value[int](t, conn, "SELECT count(*) FROM tidemark.permission_schemas"); n != 1 {
		t.Errorf("%d rows are left", n)
	}
	if n := value[int](t, conn, `SELECT count(*) FROM information_schema.role_table_grants WHERE table_schema = 'tidemark' AND grantee = 'PUBLIC'`); n != 0 {
		t.Errorf("the public was granted %d rights", n)
	}
}

func TestPermissionTablesOfAnEmptyDatabase(t *testing.T) {
	db := pgtest.DB(t)
	mustRun(t, db.Conn(t), withPermissionsOn(input()))
	if got := published(t, db.Conn(t)); got != allPermissionTables {
		t.Errorf("published: %s", got)
	}
}

// TestPermissionTablesWithoutRights has a login that may make nothing, and then
// one that may not write.
func TestPermissionTablesWithoutRights(t *testing.T) {
	db := pgtest.DB(t)
	conn, role := login(t, db, "REPLICATION", "")
	in := withPermissionsOn(input())
	statuses, _, err := run(t, conn, in, Patience{})
	if err == nil || statuses[stepPermissions] == Done {
		t.Errorf("%v: %v", statuses, err)
	}
	r := inspect(t, conn, in)
	i := slices.IndexFunc(r.Steps, func(s Step) bool { return s.ID == stepPermissions })
	if i < 0 || r.Steps[i].Denied == "" || !strings.Contains(r.Steps[i].SQL, "CREATE TABLE IF NOT EXISTS tidemark.relationships") {
		t.Fatalf("%+v", r.Steps)
	}
	mustRun(t, db.Conn(t), in)
	db.Exec(t, "GRANT SELECT ON ALL TABLES IN SCHEMA tidemark TO "+pgx.Identifier{role}.Sanitize())
	r = inspect(t, conn, in)
	wantFinding(t, r, Error, "permission-rights", "may not read and write", "GRANT SELECT, INSERT, UPDATE, DELETE ON tidemark.permission_schemas")
	db.Exec(t, find(r, "permission-rights").Type)
	if r = inspect(t, conn, in); find(r, "permission-rights") != nil {
		t.Errorf("%+v", r.Findings)
	}
}

// TestLeastPrivilegeForPermissions runs what docs/least-privilege.sql says.
func TestLeastPrivilegeForPermissions(t *testing.T) {
	recipe, err := os.ReadFile(filepath.Join("..", "..", "docs", "least-privilege.sql"))
	if err != nil {
		t.Fatal(err)
	}
	db := pgtest.Start(t, pgtest.Options{}).DB(t)
	db.Exec(t, `CREATE TABLE accounts (id int PRIMARY KEY); CREATE TABLE users (id int PRIMARY KEY);
		CREATE TABLE orders (id int PRIMARY KEY); CREATE TABLE order_lines (id int PRIMARY KEY)`)
	db.Exec(t, strings.ReplaceAll(string(recipe), "DATABASE shop", "DATABASE "+pgx.Identifier{db.Name}.Sanitize()))
	conn, err := pgx.Connect(t.Context(), db.UserDSN("tidemark"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	in := withPermissionsOn(input("accounts", "users", "orders", "order_lines"))
	statuses, _, _ := run(t, conn, in, Patience{})
	if statuses[stepPermissions] != Done {
		t.Errorf("%v", statuses)
	}
	_, typed, _ := strings.Cut(string(recipe), "--   ALTER PUBLICATION")
	typed, _, _ = strings.Cut(typed, ";")
	db.Exec(t, "ALTER PUBLICATION"+strings.ReplaceAll(typed, "\n--", "\n"))
	for _, f := range inspect(t, conn, in).Diagnosis() {
		if f.Severity == Error {
			t.Errorf("%+v", f)
		}
	}
}
