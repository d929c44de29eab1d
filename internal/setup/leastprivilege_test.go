package setup

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// The recipe in docs/ is what is run here, word for word, by the roles that it
// names.
func TestLeastPrivilege(t *testing.T) {
	recipe, err := os.ReadFile(filepath.Join("..", "..", "docs", "least-privilege.sql"))
	if err != nil {
		t.Fatal(err)
	}
	db := pgtest.Start(t, pgtest.Options{}).DB(t)
	db.Exec(t, `CREATE TABLE accounts (id int PRIMARY KEY); CREATE TABLE users (id int PRIMARY KEY);
		CREATE TABLE orders (id int PRIMARY KEY); CREATE TABLE order_lines (id int PRIMARY KEY);
		INSERT INTO orders VALUES (1)`)
	statements := strings.ReplaceAll(string(recipe), "DATABASE shop", "DATABASE "+pgx.Identifier{db.Name}.Sanitize())
	db.Exec(t, statements)
	db.Exec(t, "UPDATE orders SET id = 2")

	conn, err := pgx.Connect(t.Context(), db.UserDSN("tidemark"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	in := input("accounts", "users", "orders", "order_lines")
	statuses, _, err := run(t, conn, in, Patience{})
	if err != nil {
		t.Fatal(err)
	}
	for id, got := range statuses {
		if want := map[bool]Status{true: Refused, false: Done}[id == stepDDL]; got != want {
			t.Errorf("%s: %s", id, got)
		}
	}
	r := inspect(t, conn, in)
	for _, f := range r.Diagnosis() {
		if f.Severity == Error || f.Severity == Warning && f.Code != "not-set-up" && f.Code != "unlimited-slot" {
			t.Errorf("%+v", f)
		}
	}
	if db.Server.Version() < 15 { // before, everybody could create in public
		db.Exec(t, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	}
	for _, forbidden := range []string{
		"INSERT INTO orders VALUES (9)", "UPDATE orders SET id = 3", "DROP TABLE orders", "CREATE TABLE public.mine (id int)",
		"CREATE SCHEMA mine", "ALTER PUBLICATION tidemark ADD TABLE orders",
	} {
		if _, err := conn.Exec(t.Context(), forbidden); code(err) != "42501" {
			t.Errorf("%s: %v", forbidden, err)
		}
	}
	token(t, conn)
	exec(t, conn, "SELECT pg_create_logical_replication_slot('tidemark', 'pgoutput'); SELECT pg_drop_replication_slot('tidemark')")
}
