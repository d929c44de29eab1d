package setup

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

func token(t *testing.T, conn *pgx.Conn) revision.Token {
	t.Helper()
	tok, err := revision.ParseToken(value[string](t, conn, "SELECT tidemark.token()"))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func lsn(t *testing.T, conn *pgx.Conn) revision.LSN {
	t.Helper()
	l, err := revision.ParseLSN(value[string](t, conn, "SELECT pg_current_wal_insert_lsn()::text"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func xid(t *testing.T, conn *pgx.Conn, sql string) revision.XID {
	t.Helper()
	n, err := strconv.ParseUint(value[string](t, conn, sql), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return revision.XID(n)
}

func TestToken(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, "CREATE TABLE a (id int)")
	mustRun(t, db.Conn(t), input("a"))
	conn, _ := login(t, db, "", "GRANT INSERT ON a TO ROLE") // anybody may call it

	system, err := strconv.ParseUint(value[string](t, db.Conn(t), "SELECT system_identifier::text FROM pg_control_system()"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	source := revision.Source{SystemID: system, Timeline: 1}

	check := func(name string, kind revision.TokenKind, want revision.XID) {
		t.Helper()
		before := lsn(t, conn)
		tok := token(t, conn)
		after := lsn(t, conn)
		if tok.Kind != kind || tok.Source != source || tok.XID != want || tok.LSN < before || tok.LSN > after {
			t.Errorf("%s: %+v, want kind %d, xid %d, %+v, position %s to %s", name, tok, kind, want, source, before, after)
		}
		if s := tok.String(); s != strings.TrimRight(s, "=") || len(s) > 52 {
			t.Errorf("%s: %s", name, s)
		}
	}
	check("outside a transaction", revision.KindPosition, 0)
	exec(t, conn, "BEGIN")
	check("before the first write", revision.KindPosition, 0)
	exec(t, conn, "SAVEPOINT s; INSERT INTO a VALUES (1)")
	top := xid(t, conn, "SELECT pg_current_xact_id()::text")
	check("inside a savepoint", revision.KindTransaction, top)
	exec(t, conn, "ROLLBACK TO s")
	check("after a savepoint was rolled back", revision.KindTransaction, top)
	exec(t, conn, "ROLLBACK")
	check("after a rollback", revision.KindPosition, 0)

	exec(t, conn, "SET search_path = pg_temp; CREATE FUNCTION pg_temp.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT NULL::bytea'")
	check("with a hostile search path", revision.KindPosition, 0)
	exec(t, conn, "RESET search_path; SET default_transaction_read_only = on; BEGIN ISOLATION LEVEL REPEATABLE READ")
	check("in a read-only snapshot", revision.KindPosition, 0)
}

// messages returns the contents of the messages with prefix tidemark.ddl that
// the slot has, and moves it on.
func messages(t *testing.T, conn *pgx.Conn, slot string) []string {
	t.Helper()
	rows, err := conn.Query(context.Background(), `
SELECT data FROM pg_logical_slot_get_binary_changes($1, NULL, NULL,
  'proto_version', '1', 'publication_names', 'tidemark', 'messages', 'true')`, slot)
	if err != nil {
		t.Fatal(err)
	}
	data, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		t.Fatal(err)
	}
	var contents []string
	for _, b := range data {
		if b[0] != 'M' {
			continue
		}
		prefix, rest, _ := strings.Cut(string(b[10:]), "\x00")
		if prefix != "tidemark.ddl" || b[1] != 1 {
			t.Errorf("message with prefix %q and flags %d", prefix, b[1])
		}
		n := binary.BigEndian.Uint32([]byte(rest))
		contents = append(contents, rest[4:4+n])
	}
	return contents
}

func TestDefinitionTrigger(t *testing.T) {
	db := pgtest.DB(t)
	conn := db.Conn(t)
	db.Exec(t, "CREATE TABLE a (id int PRIMARY KEY)")
	mustRun(t, conn, input("a"))
	slot := "s_" + strings.ToLower(db.Name)
	exec(t, conn, "SELECT pg_create_logical_replication_slot('"+slot+"', 'pgoutput')")

	for _, tt := range []struct {
		sql  string
		want []string
	}{
		{"CREATE TABLE b (id int)", []string{"CREATE TABLE"}},
		{"CREATE TABLE IF NOT EXISTS b (id int)", nil},
		{"ALTER TABLE b ADD v int", []string{"ALTER TABLE"}},
		{"CREATE VIEW vb AS SELECT * FROM b", []string{"CREATE VIEW"}},
		{"CREATE OR REPLACE VIEW vb AS SELECT id, v, 1 AS one FROM b", []string{"CREATE VIEW"}},
		{"CREATE INDEX CONCURRENTLY ON b (v)", nil},
		{"CREATE MATERIALIZED VIEW m AS SELECT 1 AS one", []string{"CREATE MATERIALIZED VIEW"}},
		{"REFRESH MATERIALIZED VIEW m", []string{"REFRESH MATERIALIZED VIEW"}},
		{"DROP TABLE b CASCADE", []string{"DROP TABLE"}},
		{"BEGIN; ALTER TABLE a ADD v int; ROLLBACK", nil},
		{"SET session_replication_role = replica; ALTER TABLE a ADD v int; RESET session_replication_role", []string{"ALTER TABLE"}},
		{"INSERT INTO a VALUES (1, 1); TRUNCATE a; ANALYZE a", nil},
		// Temporary objects are nobody else's business.
		{`CREATE TEMP TABLE t (id serial PRIMARY KEY, v text); CREATE INDEX ON t (v); ALTER TABLE t ADD w int;
			CREATE TEMP VIEW tv AS SELECT * FROM t; CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
			DROP TABLE t CASCADE; DROP FUNCTION pg_temp.f()`, nil},
		{"CREATE TEMP TABLE t AS SELECT * FROM a; DROP TABLE a, t", []string{"DROP TABLE"}},
	} {
		exec(t, conn, tt.sql)
		if diff := cmp.Diff(tt.want, messages(t, conn, slot)); diff != "" {
			t.Errorf("%s:\n%s", tt.sql, diff)
		}
	}
}

// The trigger runs as whoever redefines something. Nothing that it lacks may
// keep the command from working.
func TestDefinitionTriggerNeverFailsTheCommand(t *testing.T) {
	db := pgtest.DB(t)
	mustRun(t, db.Conn(t), input())
	db.Exec(t, `REVOKE USAGE ON SCHEMA tidemark FROM PUBLIC; REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA tidemark FROM PUBLIC;
DO $$ DECLARE f regprocedure; BEGIN
  FOR f IN SELECT oid FROM pg_proc WHERE proname = 'pg_logical_emit_message' LOOP
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);
  END LOOP;
END $$`)
	conn, _ := login(t, db, "", "GRANT CREATE ON SCHEMA public TO ROLE")
	exec(t, conn, "CREATE TABLE mine (id int); ALTER TABLE mine ADD v int; DROP TABLE mine; CREATE TABLE mine (id int)")
	if got := value[bool](t, conn, "SELECT to_regclass('mine') IS NOT NULL"); !got {
		t.Error("the table was not made")
	}
	var warned []string
	config := conn.Config()
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { warned = append(warned, n.Message) }
	again, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close(context.Background())
	exec(t, again, "ALTER TABLE mine ADD w int")
	if len(warned) != 1 || !strings.HasPrefix(warned[0], "tidemark was not told of this ALTER TABLE: permission denied") {
		t.Errorf("warnings: %q", warned)
	}
}

func TestObjectsAreReplacedInPlace(t *testing.T) {
	db := pgtest.DB(t)
	conn := db.Conn(t)
	mustRun(t, conn, input())
	db.Exec(t, `
CREATE OR REPLACE FUNCTION tidemark.token() RETURNS text LANGUAGE sql AS 'SELECT ''old''';
COMMENT ON FUNCTION tidemark.token() IS 'tidemark, version 0';
CREATE VIEW uses_it AS SELECT tidemark.token();
ALTER EVENT TRIGGER tidemark_drop DISABLE`)
	r := inspect(t, conn, input())
	if diff := cmp.Diff([]string{stepToken, stepDDL}, ids(r.Steps)); diff != "" {
		t.Fatal(diff)
	}
	mustRun(t, conn, input())
	if r := inspect(t, conn, input()); len(r.Steps) > 0 {
		t.Errorf("steps: %v", ids(r.Steps))
	}
	token(t, conn)
	if got := value[string](t, conn, "SELECT evtenabled::text FROM pg_event_trigger WHERE evtname = 'tidemark_drop'"); got != "A" {
		t.Errorf("evtenabled = %s", got)
	}

	db.Exec(t, "COMMENT ON FUNCTION tidemark.token() IS 'tidemark, version 1000'")
	r = inspect(t, conn, input())
	wantFinding(t, r, Info, "newer-objects", "newer tidemark", "")
	if len(r.Steps) > 0 {
		t.Errorf("steps: %v", ids(r.Steps))
	}
	db.Exec(t, "DROP VIEW uses_it; DROP SCHEMA tidemark CASCADE") // everything goes with the schema
	if n := value[int](t, conn, "SELECT count(*) FROM pg_event_trigger WHERE evtname LIKE 'tidemark%'"); n > 0 {
		t.Errorf("%d event triggers outlive the schema", n)
	}
}

func TestStandby(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	connect := func() *pgx.Conn {
		conn, err := pgx.Connect(t.Context(), server.DSN("postgres"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		return conn
	}
	mustRun(t, connect(), input())
	if err := server.Stop("fast"); err != nil {
		t.Fatal(err)
	}
	signal := filepath.Join(server.DataDir(), "standby.signal")
	if err := os.WriteFile(signal, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(server.DataDir()); err == nil {
		own(t, signal, info)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	conn := connect()
	var pgErr *pgconn.PgError
	_, err := conn.Exec(t.Context(), "SELECT tidemark.token()")
	if !errors.As(err, &pgErr) || pgErr.Message != "tidemark.token() cannot be made on a standby" || pgErr.Code != "55000" {
		t.Errorf("token(): %v", err)
	}
	r := inspect(t, conn, input())
	wantFinding(t, r, Error, "standby", "follows the primary", "")

	exec(t, conn, "SELECT pg_promote()")
	for value[bool](t, conn, "SELECT pg_is_in_recovery()") {
		time.Sleep(10 * time.Millisecond)
	}
	if tok := token(t, conn); tok.Source.Timeline != 2 {
		t.Errorf("timeline after promotion: %+v", tok)
	}
}
