package query

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

func analyzed(t testing.TB, conn *pgx.Conn, text string, opts Options) (*Endpoint, []string) {
	t.Helper()
	e, problems, err := Analyze(context.Background(), conn, parse(t, text), opts)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, p := range problems {
		lines = append(lines, p.String())
	}
	return e, lines
}

func TestAnalyze(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE PUBLICATION tidemark FOR ALL TABLES;
		CREATE TABLE plain (id int, note text);
		CREATE TABLE keyed (id int PRIMARY KEY);
		CREATE TABLE full_rows (id int);
		ALTER TABLE full_rows REPLICA IDENTITY FULL;
		CREATE TABLE parts (id int) PARTITION BY HASH (id);
		CREATE TABLE part_0 PARTITION OF parts FOR VALUES WITH (MODULUS 1, REMAINDER 0);`)
	conn := db.Conn(t)
	e, problems := analyzed(t, conn, `-- GET /x/{id}
-- ttl: 5m
-- result: one
SELECT p.id, note AS "a b", note, :n::numeric(9,2) FROM plain p, keyed, full_rows, parts WHERE p.id = :id`, Options{Publication: "tidemark"})
	if e == nil {
		t.Fatal(problems)
	}
	if e.Name != "orders" || e.File != "dir/orders.sql" || e.Route.String() != "GET /x/{id}" || e.TTL != 5*time.Minute || !e.One || e.Volatile {
		t.Errorf("endpoint %+v", e)
	}
	if d := cmp.Diff([]Column{{"id", 23, "integer", -1}, {"a b", 25, "text", -1}, {"note", 25, "text", -1}, {"numeric", 1700, "numeric", 9<<16 + 2 + 4}}, e.Columns); d != "" {
		t.Error(d)
	}
	if len(e.Params) != 2 || e.Params[0].Name != "n" || e.Params[0].InPath || !e.Params[1].InPath || e.Params[1].TypeName != "integer" {
		t.Errorf("parameters %+v", e.Params)
	}
	if d := cmp.Diff([]uint32{1700, 23}, e.ParamTypes()); d != "" {
		t.Error(d)
	}
	var tables []string
	for _, tb := range e.Tables {
		s := tb.String() + " " + string(tb.Identity)
		if tb.HasKey {
			s += " key"
		}
		if tb.Partitioned {
			s += " partitioned"
		}
		tables = append(tables, s)
	}
	if d := cmp.Diff([]string{"public.plain d", "public.keyed d key", "public.full_rows f", "public.parts d partitioned", "public.part_0 d"}, tables); d != "" {
		t.Error(d)
	}
	if e.Snapshot.Xmax == 0 {
		t.Error("no snapshot")
	}
	if e, _ := analyzed(t, conn, "-- GET /x\nSELECT 1", Options{Publication: "tidemark"}); e.TTL != 24*time.Hour {
		t.Errorf("default time to live %s", e.TTL)
	}
	if e, _ := analyzed(t, conn, "-- GET /x\nSELECT 1", Options{Publication: "tidemark", DefaultTTL: time.Hour}); e.TTL != time.Hour {
		t.Errorf("configured time to live %s", e.TTL)
	}
	// Nothing is left behind, and the connection is as it was.
	var functions int
	var zone string
	if err := conn.QueryRow(context.Background(), "SELECT count(*) FROM pg_proc WHERE proname = 'tidemark_probe'").Scan(&functions); err != nil || functions != 0 {
		t.Errorf("%d functions remain: %v", functions, err)
	}
	if err := conn.QueryRow(context.Background(), "SHOW extra_float_digits").Scan(&zone); err != nil || zone != "1" {
		t.Errorf("a setting remains: %s %v", zone, err)
	}
}

// What a body kept as text says after its end is not run.
func TestFunctionBodyIsOneStatement(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE PUBLICATION tidemark FOR ALL TABLES; CREATE TABLE victim (id int);
		SET check_function_bodies = off;
		CREATE FUNCTION evil() RETURNS int LANGUAGE sql AS 'SELECT 1; END; DROP TABLE victim; SELECT 1'`)
	conn := db.Conn(t)
	e, problems := analyzed(t, conn, "-- GET /x\nSELECT evil()", Options{Publication: "tidemark"})
	if e != nil || len(problems) != 1 || !strings.Contains(problems[0], "Postgres cannot analyse it") {
		t.Errorf("%v %v", e, problems)
	}
	if e, problems := analyzed(t, conn, "-- GET /x\nSELECT id FROM victim", Options{Publication: "tidemark"}); e == nil {
		t.Error(problems)
	}
}

// What the role or the server cannot do is an error and not the file's problem.
func TestAnalyzeErrors(t *testing.T) {
	db := pgtest.DB(t)
	conn := db.Conn(t)
	ctx := context.Background()
	f := parse(t, "-- GET /x\nSELECT 1")
	if _, err := conn.Exec(ctx, "SET default_transaction_read_only = on"); err != nil {
		t.Fatal(err)
	}
	if e, _, err := Analyze(ctx, conn, f, Options{SkipPublication: true}); e == nil || err != nil {
		t.Errorf("a session that reads by default: %v", err)
	}
	db.Exec(t, "DO $$ BEGIN CREATE ROLE no_temp; EXCEPTION WHEN duplicate_object THEN END $$; REVOKE ALL ON DATABASE "+pgx.Identifier{db.Name}.Sanitize()+" FROM PUBLIC")
	if _, err := conn.Exec(ctx, "SET ROLE no_temp"); err != nil {
		t.Fatal(err)
	}
	if _, problems, err := Analyze(ctx, conn, f, Options{SkipPublication: true}); err == nil || !strings.Contains(err.Error(), "GRANT TEMPORARY ON DATABASE") {
		t.Errorf("without the right to temporary objects: %v %v", problems, err)
	}
	if _, err := conn.Exec(ctx, "RESET ROLE"); err != nil {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, _, err := Analyze(canceled, conn, f, Options{}); err == nil {
		t.Error("a canceled context is no error")
	}
}

func TestPublication(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE t (id int, secret text); CREATE TABLE u (id int); CREATE TABLE base (id int); CREATE TABLE heir () INHERITS (base);
		CREATE TABLE parts (id int) PARTITION BY LIST (id); CREATE TABLE "Part 1" PARTITION OF parts FOR VALUES IN (1);
		CREATE VIEW v AS SELECT u.id FROM u;`)
	conn := db.Conn(t)
	var version int
	if err := conn.QueryRow(context.Background(), "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		t.Fatal(err)
	}
	const at = "dir/orders.sql:2: "
	for _, c := range []struct {
		name, make, sql string
		min             int
		want            []string
	}{
		{"no publication", "", "SELECT id FROM t", 0, []string{"dir/orders.sql: there is no publication pub; run tidemark init"}},
		{"no table", "", "SELECT 1", 0, nil},
		{"all", "FOR ALL TABLES", "SELECT t.id FROM t, u, base, parts", 0, nil},
		{"missing", "FOR TABLE t", "SELECT t.id FROM t, v", 0, []string{at + `the table public.u is not in the publication pub; ALTER PUBLICATION "pub" ADD TABLE "public"."u", or run tidemark init`}},
		{"missing heir", "FOR TABLE ONLY base", "SELECT id FROM base", 0, []string{at + `the table public.heir is not in the publication pub; ALTER PUBLICATION "pub" ADD TABLE "public"."heir", or run tidemark init`}},
		{"parent", "FOR TABLE parts, base", "SELECT parts.id FROM parts, base", 0, nil},
		{"missing partition", "FOR TABLE t", "SELECT id FROM parts", 0, []string{at + `the table public.Part 1 is not in the publication pub; ALTER PUBLICATION "pub" ADD TABLE "public"."Part 1", or run tidemark init`}},
		{
			"kinds", "FOR ALL TABLES WITH (publish = 'insert, update')", "SELECT id FROM t", 0,
			[]string{at + `the publication pub leaves out some kinds of change; ALTER PUBLICATION "pub" SET (publish = 'insert, update, delete, truncate')`},
		},
		{"root", "FOR TABLE parts, t WITH (publish_via_partition_root)", "SELECT t.id FROM parts, t, u", 0, []string{
			at + `the table public.u is not in the publication pub; ALTER PUBLICATION "pub" ADD TABLE "public"."u", or run tidemark init`,
			at + `the publication pub publishes the partition public.Part 1 as its parent, and a TRUNCATE of it would be missed; ALTER PUBLICATION "pub" SET (publish_via_partition_root = false)`,
		}},
		{
			"filter", "FOR TABLE t WHERE (id > 3)", "SELECT id FROM t", 150000,
			[]string{at + `the publication pub has a row filter for the table public.t, so the log leaves changes out; ALTER PUBLICATION "pub" DROP TABLE "public"."t"; ALTER PUBLICATION "pub" ADD TABLE "public"."t"`},
		},
		{
			"columns", "FOR TABLE t (id)", "SELECT id FROM t", 150000,
			[]string{at + `the publication pub has a column list for the table public.t, so the log leaves changes out; ALTER PUBLICATION "pub" DROP TABLE "public"."t"; ALTER PUBLICATION "pub" ADD TABLE "public"."t"`},
		},
		{"schema", "FOR TABLES IN SCHEMA public", "SELECT t.id FROM t, parts", 150000, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if version < c.min {
				t.Skipf("such a publication needs server_version_num %d or later, this server has %d: what is said of it is not checked here", c.min, version)
			}
			if c.make != "" {
				db.Exec(t, "CREATE PUBLICATION pub "+c.make)
				defer db.Exec(t, "DROP PUBLICATION pub")
			}
			sql := "-- GET /x\n" + c.sql
			_, problems := analyzed(t, conn, sql, Options{Publication: "pub"})
			if d := cmp.Diff(c.want, problems); d != "" {
				t.Error(d)
			}
			if e, problems := analyzed(t, conn, sql, Options{Publication: "pub", SkipPublication: true}); e == nil {
				t.Errorf("with the publication left out: %v", problems)
			}
		})
	}
}

// A fill keeps order, names, types and text; comments and semicolons at the
// end of a file do no harm.
func TestFillSQL(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE PUBLICATION tidemark FOR ALL TABLES;
		CREATE TABLE t (id int, s text, n numeric, tidemark_row int, at timestamptz);
		INSERT INTO t SELECT i, 'x' || i, i / 4.0, i, '2026-01-01 00:00:00+00' FROM generate_series(1, 3) i`)
	conn := settled(t, db)
	for _, c := range []struct{ sql, want string }{
		{"SELECT id FROM t ORDER BY n DESC; -- last\n/* end */ ;", `{"id":3} {"id":2} {"id":1}`},
		{"SELECT id, id AS id, s AS \"a \"\"b\", n FROM t WHERE id = :x -- one", `{"id":2,"id":2,"a \"b":"x2","n":0.50000000000000000000}`},
		{"SELECT tidemark_row FROM t ORDER BY 1", `{"tidemark_row":1} {"tidemark_row":2} {"tidemark_row":3}`},
		{"SELECT at, NULL AS z, ARRAY[1] AS a, '{\"b\": 1}'::json AS j FROM t LIMIT 1", `{"at":"2026-01-01T00:00:00+00:00","z":null,"a":[1],"j":{"b": 1}}`},
		{"WITH w AS (SELECT 1 AS a) SELECT * FROM w UNION ALL VALUES (0)", `{"a":1} {"a":0}`},
		{"SELECT :x::text || 'é' AS a, :n::int + 1 AS b", `{"a":"2é","b":null}`},
	} {
		e, problems := analyzed(t, conn, "-- GET /x\n"+c.sql, Options{Publication: "tidemark"})
		if e == nil {
			t.Errorf("%s: %v", c.sql, problems)
			continue
		}
		b, err := e.Bind(nil, map[string][]string{})
		if len(e.Params) > 0 {
			b, err = e.Bind(nil, map[string][]string{"x": {"2"}})
		}
		if err != nil {
			t.Fatal(err)
		}
		res := conn.PgConn().ExecParams(context.Background(), e.FillSQL(), b.Args, e.ParamTypes(), nil, nil).Read()
		if res.Err != nil {
			t.Errorf("%s: %v", c.sql, res.Err)
			continue
		}
		var rows []string
		for _, r := range res.Rows {
			rows = append(rows, string(r[0]))
		}
		if got := strings.Join(rows, " "); got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.sql, got, c.want)
		}
	}
}

// The fingerprint changes with every definition that matters and with no row.
func TestFingerprint(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TYPE mood AS ENUM ('a'); CREATE DOMAIN small AS int CHECK (value < 10);
		CREATE TABLE t (id int, m mood, d small); CREATE TABLE u (id int); CREATE TABLE other (id int);
		CREATE TABLE base (id int);
		CREATE VIEW v AS SELECT id FROM u;
		CREATE FUNCTION f(x int) RETURNS int LANGUAGE sql AS 'SELECT x';
		CREATE SCHEMA nearer;
		CREATE PUBLICATION pub FOR TABLE t, u, base`)
	conn := db.Conn(t)
	ctx := context.Background()
	if _, err := conn.Exec(ctx, "SET search_path = nearer, public"); err != nil {
		t.Fatal(err)
	}
	e, problems := analyzed(t, conn, "-- GET /x\nSELECT f(t.id), lower(:s), m, 1::small FROM t, v, base", Options{Publication: "pub"})
	if e == nil {
		t.Fatal(problems)
	}
	print := func() string {
		t.Helper()
		s, err := Fingerprint(ctx, conn, []*Endpoint{e})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	last := print()
	for _, sql := range []string{
		"INSERT INTO other VALUES (1)", "INSERT INTO base VALUES (1)", "CREATE TABLE fresh (id int)", "ALTER TABLE other ADD x int", "ANALYZE t, u",
		"CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 1'",
	} {
		db.Exec(t, sql)
		if now := print(); now != last {
			t.Errorf("%s changes the fingerprint", sql)
			last = now
		}
	}
	for _, sql := range []string{
		"ALTER TABLE t ADD x int", "ALTER TABLE t RENAME COLUMN x TO y", "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
		"CREATE POLICY p ON t USING (true)", "ALTER POLICY p ON t USING (false)", "ALTER TABLE t REPLICA IDENTITY FULL",
		"CREATE OR REPLACE VIEW v AS SELECT id + 1 AS id FROM u",
		"CREATE OR REPLACE FUNCTION f(x int) RETURNS int LANGUAGE sql AS 'SELECT x + 1'", "CREATE FUNCTION f(x bigint) RETURNS int LANGUAGE sql AS 'SELECT 2'",
		"CREATE FUNCTION lower(x varchar) RETURNS text LANGUAGE sql AS 'SELECT x'",
		"CREATE TABLE heir () INHERITS (base)", "CREATE TABLE nearer.t (id int)",
		"ALTER TYPE mood ADD VALUE 'b'", "ALTER TYPE mood RENAME VALUE 'a' TO 'c'", "ALTER DOMAIN small ADD CHECK (value > 0)",
		"ALTER PUBLICATION pub DROP TABLE t", "ALTER PUBLICATION pub SET (publish = 'insert')", "DROP TABLE t CASCADE",
		"CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
	} {
		db.Exec(t, sql)
		now := print()
		if now == last {
			t.Errorf("%s does not change the fingerprint", sql)
		}
		last = now
	}
	none, err := Fingerprint(ctx, conn, nil)
	if err != nil || none == "" {
		t.Errorf("of nothing: %q %v", none, err)
	}
}

// One server object is read once, and a table with many partitions in a few
// queries: an analysis stays in the order of milliseconds.
func TestManyPartitions(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE parts (id int, s text) PARTITION BY LIST (id);
		DO $$ BEGIN FOR i IN 1..200 LOOP EXECUTE format('CREATE TABLE part_%s PARTITION OF parts FOR VALUES IN (%s)', i, i); END LOOP; END $$;
		CREATE PUBLICATION tidemark FOR ALL TABLES`)
	e, problems := analyzed(t, db.Conn(t), "-- GET /x\nSELECT s FROM parts WHERE id = 3", Options{Publication: "tidemark"})
	if e == nil {
		t.Fatal(problems)
	}
	if len(e.Tables) != 201 || len(e.Reads[0].Tables) != 201 {
		t.Errorf("%d tables", len(e.Tables))
	}
	if b, _ := e.Bind(nil, nil); len(b.Deps()[0].Tests) != 1 || b.Deps()[0].Tests[0].Type != catalog.OID(23) {
		t.Errorf("dependencies %v", b.Deps())
	}
}
