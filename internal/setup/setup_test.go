package setup

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

const shopTables = `
CREATE TABLE accounts (id int PRIMARY KEY, name text);
CREATE TABLE "Orders" (id int PRIMARY KEY, account int REFERENCES accounts, total int);
CREATE TABLE notes (t text);
INSERT INTO accounts VALUES (1, 'a'); INSERT INTO "Orders" VALUES (1, 1, 1); INSERT INTO notes VALUES ('a');
CREATE VIEW totals AS SELECT account, sum(total) FROM "Orders" GROUP BY 1;`

func TestSuperuserTwice(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, shopTables)
	conn := db.Conn(t)
	in := input("accounts", "Orders", "notes")

	first := inspect(t, conn, in)
	want := []string{
		"token function",
		`replica identity of public."Orders"`, "replica identity of public.accounts", "replica identity of public.notes",
		"publication tidemark",
		`public."Orders" in publication tidemark`, "public.accounts in publication tidemark", "public.notes in publication tidemark",
		"definition trigger",
	}
	if diff := cmp.Diff(want, ids(first.Steps)); diff != "" {
		t.Fatal(diff)
	}
	if first.Ready() {
		t.Error("ready before anything was done")
	}
	for range 2 { // the same report twice, as when two people run init at once
		if findings, err := Apply(t.Context(), conn, first, Patience{}, nil); err != nil || findings != nil {
			t.Fatal(findings, err)
		}
	}
	if got := published(t, conn); got != "Orders accounts notes" {
		t.Errorf("published: %s", got)
	}
	for _, name := range []string{"accounts", `"Orders"`, "notes"} {
		if got := identity(t, conn, name); got != "f" {
			t.Errorf("%s has identity %s", name, got)
		}
	}
	second := inspect(t, conn, in)
	if !second.Ready() || len(second.Steps) != 0 {
		t.Errorf("second time: %+v", second.Diagnosis())
	}
	exec(t, conn, `UPDATE notes SET t = 'b'; UPDATE "Orders" SET total = 2; DELETE FROM notes; TRUNCATE notes`)
}

func TestKeepChangesOnlyWhatMustBe(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, shopTables)
	conn := db.Conn(t)
	in := input("accounts", "Orders", "notes")
	in.ReplicaIdentity = Keep
	mustRun(t, conn, in)
	if got := identity(t, conn, "accounts") + identity(t, conn, "notes"); got != "df" {
		t.Errorf("identities of accounts and notes: %s", got)
	}
	if r := inspect(t, conn, in); len(r.Steps) != 0 {
		t.Errorf("second time: %v", ids(r.Steps))
	}
}

func TestOwnerWithoutSuperuser(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, shopTables)
	conn, role := login(t, db, "REPLICATION", `GRANT CREATE, TEMP ON DATABASE DATABASE_NAME TO ROLE;
		ALTER TABLE accounts OWNER TO ROLE; ALTER TABLE "Orders" OWNER TO ROLE; ALTER TABLE notes OWNER TO ROLE`)
	in := input("accounts", "Orders", "notes")
	r := inspect(t, conn, in)
	i := slices.IndexFunc(r.Steps, func(s Step) bool { return s.ID == stepDDL })
	if s := r.Steps[i]; s.Denied == "" || !strings.Contains(s.Lost, "about a second") {
		t.Errorf("definition trigger: %+v", s)
	}
	statuses, _, err := run(t, conn, in, Patience{})
	if err != nil {
		t.Fatal(err)
	}
	for id, got := range statuses {
		want := Done
		if id == stepDDL {
			want = Refused
		}
		if got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
	r = inspect(t, conn, in)
	if got := ids(r.Steps); !r.Ready() || !slices.Equal(got, []string{stepDDL}) {
		t.Errorf("afterwards ready is %v and these steps are left: %v", r.Ready(), got)
	}
	wantFinding(t, r, Info, "monitor", role, "GRANT pg_monitor TO")
}

func TestNobodyMayDoAnything(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, shopTables)
	db.Exec(t, "REVOKE TEMP ON DATABASE "+pgx.Identifier{db.Name}.Sanitize()+" FROM PUBLIC")
	conn, role := login(t, db, "", "")
	in := input("accounts", "notes")
	r := inspect(t, conn, in)
	wantFinding(t, r, Error, "replication-connection", "", "ALTER ROLE "+role+" REPLICATION")
	wantFinding(t, r, Error, "temp", role, "GRANT TEMP ON DATABASE")
	wantFinding(t, r, Warning, "select", "public.accounts", "GRANT SELECT ON public.accounts TO "+role)
	for _, s := range r.Steps {
		if s.Denied == "" {
			t.Errorf("%s: not said to be denied", s.ID)
		}
	}
	statuses, _, err := run(t, conn, in, Patience{})
	if !errors.Is(err, ErrIncomplete) {
		t.Errorf("Apply: %v", err)
	}
	for id, got := range statuses {
		if got != Refused && got != Skipped {
			t.Errorf("%s: %s", id, got)
		}
	}
}

// A publisher of updates without identity breaks the application. While init
// runs, and whatever fails in it, the application's statements go through.
func TestApplicationKeepsWriting(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `
CREATE TABLE keyless (id int, v int); INSERT INTO keyless VALUES (1, 1);
CREATE TABLE nothing (id int PRIMARY KEY, v int); INSERT INTO nothing VALUES (1, 1); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
CREATE TABLE late (id int PRIMARY KEY DEFERRABLE, v int); INSERT INTO late VALUES (1, 1);
CREATE TABLE indexed (id int NOT NULL UNIQUE, v int); INSERT INTO indexed VALUES (1, 1);
CREATE TABLE lost_index (id int NOT NULL, v int); INSERT INTO lost_index VALUES (1, 1);
CREATE UNIQUE INDEX gone ON lost_index (id); ALTER TABLE lost_index REPLICA IDENTITY USING INDEX gone; DROP INDEX gone;`)
	conn := db.Conn(t)
	in := input("keyless", "nothing", "late", "indexed", "lost_index")
	in.ReplicaIdentity = Keep

	writer := db.Conn(t)
	ctx, stop := context.WithCancel(t.Context())
	var writes atomic.Int64
	failed := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			for _, name := range []string{"keyless", "nothing", "late", "indexed", "lost_index"} {
				if _, err := writer.Exec(context.Background(), "UPDATE "+name+" SET v = v + 1"); err != nil {
					failed <- err
					return
				}
				writes.Add(1)
			}
		}
		failed <- nil
	}()
	mustRun(t, conn, in)
	for seen := writes.Load(); writes.Load() < seen+10; {
		time.Sleep(time.Millisecond)
	}
	stop()
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	if got := published(t, conn); got != "indexed keyless late lost_index nothing" {
		t.Errorf("published: %s", got)
	}
}

func TestTableWhoseIdentityFailsIsNotPublished(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE keyless (v int); INSERT INTO keyless VALUES (1)")
	conn, reader := db.Conn(t), db.Conn(t)
	exec(t, reader, "BEGIN; SELECT * FROM keyless")
	var waited bool
	in := input("a", "keyless")
	statuses := make(map[string]Status)
	_, err := Apply(t.Context(), conn, inspect(t, conn, in), Patience{Lock: time.Millisecond}, func(s Step, status Status, _ string) {
		statuses[s.ID] = status
	})
	if !errors.Is(err, ErrIncomplete) {
		t.Errorf("Apply: %v", err)
	}
	if got := statuses["replica identity of public.keyless"]; got != Failed {
		t.Errorf("identity: %s", got)
	}
	if got := statuses["public.keyless in publication tidemark"]; got != Skipped {
		t.Errorf("membership: %s", got)
	}
	if got := published(t, conn); got != "a" {
		t.Errorf("published: %s", got)
	}
	exec(t, db.Conn(t), "UPDATE keyless SET v = 2")

	// The lock is waited for in short attempts, and then everything is done.
	_, err = Apply(t.Context(), conn, inspect(t, conn, in), Patience{}, func(_ Step, status Status, _ string) {
		if status == Waiting && !waited {
			waited = true
			exec(t, reader, "ROLLBACK")
		}
	})
	if err != nil || !waited {
		t.Errorf("waited %v, %v", waited, err)
	}
}

func TestColumnListElsewhereForbidsFull(t *testing.T) {
	db := pgtest.DB(t)
	conn := db.Conn(t)
	if db.Server.Version() < 15 {
		t.Skip("column lists of publications need Postgres 15 or later: what is planned for their tables is not checked here")
	}
	db.Exec(t, `
CREATE TABLE listed (id int PRIMARY KEY, a int, b int); INSERT INTO listed VALUES (1, 1, 1);
CREATE TABLE bare (id int, a int); INSERT INTO bare VALUES (1, 1);
CREATE PUBLICATION other FOR TABLE listed (id, a);
CREATE PUBLICATION inserts FOR TABLE bare (id) WITH (publish = 'insert')`)
	mustRun(t, conn, input("listed", "bare"))
	if got := identity(t, conn, "listed") + identity(t, conn, "bare"); got != "df" {
		t.Errorf("identities of listed and bare: %s", got)
	}
	exec(t, conn, "UPDATE listed SET a = 2; UPDATE bare SET a = 2")
	wantFinding(t, inspect(t, conn, input("listed", "bare")), Info, "identity-kept", "publication other has a column list", "")
}

func TestGeneratedColumns(t *testing.T) {
	db := pgtest.DB(t)
	conn := db.Conn(t)
	db.Exec(t, `CREATE TABLE stored (id int PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a * 2) STORED);
		INSERT INTO stored VALUES (1, 1)`)
	in := input("stored")
	if db.Server.Version() >= 18 {
		db.Exec(t, `
CREATE TABLE virtual (id int PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a * 2)); INSERT INTO virtual VALUES (1, 1);
CREATE TABLE virtual_bare (id int, a int, b int GENERATED ALWAYS AS (a * 2)); INSERT INTO virtual_bare VALUES (1, 1);
CREATE TABLE virtual_index (id int NOT NULL UNIQUE, a int, b int GENERATED ALWAYS AS (a * 2)); INSERT INTO virtual_index VALUES (1, 1);
CREATE TABLE virtual_full (id int PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a * 2)); INSERT INTO virtual_full VALUES (1, 1);
ALTER TABLE virtual_full REPLICA IDENTITY FULL;
CREATE TABLE shared (id int PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a * 2) STORED); INSERT INTO shared VALUES (1, 1);
CREATE PUBLICATION other FOR TABLE shared;
CREATE PUBLICATION tidemark`) // an adopted publication, without generated columns
		in = input("stored", "virtual", "virtual_bare", "virtual_index", "virtual_full", "shared")
	}
	statuses, _, err := run(t, conn, in, Patience{})
	if err != nil {
		t.Fatal(err)
	}
	for id, s := range statuses {
		if s != Done {
			t.Errorf("%s: %s", id, s)
		}
	}
	exec(t, conn, "UPDATE stored SET a = 2")
	if got := identity(t, conn, "stored"); got != "f" {
		t.Errorf("identity of stored: %s", got)
	}
	if db.Server.Version() < 18 {
		return
	}
	exec(t, conn, `UPDATE virtual SET a = 2; UPDATE virtual_bare SET a = 2; UPDATE virtual_index SET a = 2;
		UPDATE virtual_full SET a = 2; UPDATE shared SET a = 2`)
	if got := published(t, conn); got != "shared stored virtual virtual_index" {
		t.Errorf("published: %s", got)
	}
	r := inspect(t, conn, in)
	if r.Ready() {
		t.Error("ready though two tables are not published")
	}
	wantFinding(t, r, Error, "no-identity", "public.virtual_bare", "")
	wantFinding(t, r, Error, "full-unsafe", "public.virtual_full", "ALTER TABLE public.virtual_full REPLICA IDENTITY DEFAULT")
	wantFinding(t, r, Info, "identity-kept", "public.shared", "")
}

func TestPartitions(t *testing.T) {
	db := pgtest.DB(t)
	conn := db.Conn(t)
	db.Exec(t, `
CREATE TABLE keyed (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
CREATE TABLE keyed_1 PARTITION OF keyed FOR VALUES FROM (0) TO (10);
CREATE TABLE keyed_2 PARTITION OF keyed FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id);
CREATE TABLE keyed_2a PARTITION OF keyed_2 FOR VALUES FROM (10) TO (15);
CREATE TABLE bare (id int, v int) PARTITION BY RANGE (id);
CREATE TABLE bare_1 PARTITION OF bare FOR VALUES FROM (0) TO (10);
INSERT INTO keyed VALUES (1, 1), (11, 1); INSERT INTO bare VALUES (1, 1);`)
	in := input("keyed", "bare")
	mustRun(t, conn, in)
	if got := published(t, conn); got != "bare_1 keyed_1 keyed_2a" {
		t.Errorf("published: %s", got)
	}
	exec(t, conn, "UPDATE keyed SET v = 2; UPDATE bare SET v = 2; DELETE FROM bare")

	// Later partitions: of the keyed table published at once, of the other not,
	// and the application can write to both.
	db.Exec(t, `
CREATE TABLE keyed_3 PARTITION OF keyed FOR VALUES FROM (20) TO (30);
CREATE TABLE bare_2 PARTITION OF bare FOR VALUES FROM (10) TO (20);
INSERT INTO keyed VALUES (21, 1); INSERT INTO bare VALUES (11, 1);
UPDATE keyed SET v = 3; UPDATE bare SET v = 3;`)
	if got := published(t, conn); got != "bare_1 keyed_1 keyed_2a keyed_3" {
		t.Errorf("published: %s", got)
	}
	r := inspect(t, conn, in)
	wantFinding(t, r, Warning, "partitions-one-by-one", "public.bare", "")
	want := []string{"replica identity of public.bare_2", "replica identity of public.keyed_3", "public.bare_2 in publication tidemark"}
	if diff := cmp.Diff(want, ids(r.Steps)); diff != "" {
		t.Error(diff)
	}
	mustRun(t, conn, in)
	exec(t, conn, "UPDATE keyed SET v = 4; UPDATE bare SET v = 4")

	db.Exec(t, "ALTER PUBLICATION tidemark SET (publish_via_partition_root = true)")
	wantFinding(t, inspect(t, conn, in), Error, "publication-via-root", "TRUNCATE", "publish_via_partition_root = false")
	wantFinding(t, inspect(t, conn, input("keyed_2a")), Error, "publication-via-root", "TRUNCATE", "publish_via_partition_root = false")
	db.Exec(t, "CREATE TABLE empty (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE plain (id int PRIMARY KEY)")
	wantFinding(t, inspect(t, conn, input("empty")), Warning, "publication-via-root", "as soon as", "publish_via_partition_root = false")
	for _, f := range inspect(t, conn, input("plain")).Findings {
		if f.Code == "publication-via-root" {
			t.Errorf("endpoints read no partitioned table, and yet: %s", f.What)
		}
	}
}

func TestInheritance(t *testing.T) {
	db := pgtest.DB(t)
	conn := db.Conn(t)
	db.Exec(t, `CREATE TABLE parent (id int PRIMARY KEY, v int); CREATE TABLE child (w int) INHERITS (parent);
		INSERT INTO child VALUES (1, 1, 1)`)
	in := input("parent")
	mustRun(t, conn, in)
	if got := published(t, conn); got != "child parent" {
		t.Errorf("published: %s", got)
	}
	exec(t, conn, "UPDATE parent SET v = 2")
	if r := inspect(t, conn, in); len(r.Steps) != 0 {
		t.Errorf("second time: %v", ids(r.Steps))
	}
}

func TestWhatIsNotInTheLog(t *testing.T) {
	db := pgtest.DB(t)
	conn := db.Conn(t)
	db.Exec(t, "CREATE UNLOGGED TABLE u (id int PRIMARY KEY); CREATE VIEW v AS SELECT * FROM u; CREATE MATERIALIZED VIEW m AS SELECT * FROM u")
	r := inspect(t, conn, input("u"))
	wantFinding(t, r, Warning, "not-in-log", "public.u is unlogged", "")
	wantFinding(t, inspect(t, conn, input("v")), Warning, "not-in-log", "public.v is a view", "")
	wantFinding(t, inspect(t, conn, input("m")), Warning, "not-in-log", "public.m is a materialized view", "")
	wantFinding(t, inspect(t, conn, input("missing")), Error, "no-such-table", "public.missing", "")
	mustRun(t, conn, input("u"))
}

func TestAdoptedPublications(t *testing.T) {
	tests := []struct {
		name, sql   string
		code        string
		what, typed string
		version     int
	}{
		{"all tables", "CREATE PUBLICATION tidemark FOR ALL TABLES", "", "", "", 14},
		{"tables of a schema", "CREATE PUBLICATION tidemark FOR TABLES IN SCHEMA public", "", "", "", 15},
		{
			"all tables, one of them broken", "CREATE TABLE keyless (v int); CREATE PUBLICATION tidemark FOR ALL TABLES",
			"published-without-identity", "public.keyless is in publication tidemark", "ALTER TABLE public.keyless REPLICA IDENTITY FULL", 14,
		},
		{
			"inserts only", "CREATE PUBLICATION tidemark FOR TABLE a WITH (publish = 'insert')",
			"publication-operations", "leaves out update, delete, truncate", "SET (publish = 'insert, update, delete, truncate')", 14,
		},
		{
			"row filter", "CREATE PUBLICATION tidemark FOR TABLE a WHERE (id > 5)",
			"publication-row-filter", "public.a", "ALTER PUBLICATION tidemark DROP TABLE public.a; ALTER PUBLICATION tidemark ADD TABLE public.a", 15,
		},
		{
			"column list", "CREATE PUBLICATION tidemark FOR TABLE a (id)",
			"publication-column-list", "public.a", "ALTER PUBLICATION tidemark DROP TABLE public.a; ALTER PUBLICATION tidemark ADD TABLE public.a", 15,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			db := pgtest.DB(t)
			if db.Server.Version() < tt.version {
				t.Skipf("a publication with a %s needs Postgres %d or later, this is %d: that it is found is not checked here", tt.name, tt.version, db.Server.Version())
			}
			conn := db.Conn(t)
			db.Exec(t, "CREATE TABLE a (id int PRIMARY KEY, v int); INSERT INTO a VALUES (1, 1), (9, 9);"+tt.sql)
			in := input("a")
			mustRun(t, conn, in)
			exec(t, conn, "UPDATE a SET v = 2")
			r := inspect(t, conn, in)
			if len(r.Steps) > 0 {
				t.Errorf("steps: %v", ids(r.Steps))
			}
			if tt.code != "" {
				wantFinding(t, r, Error, tt.code, tt.what, tt.typed)
			}
			if r.Ready() != (tt.code == "") {
				t.Errorf("ready: %v, %+v", r.Ready(), r.Diagnosis())
			}
		})
	}
}

func TestOlderTransactions(t *testing.T) {
	db := pgtest.DB(t)
	conn, older := db.Conn(t), db.Conn(t)
	db.Exec(t, "CREATE TABLE a (id int PRIMARY KEY, v int); ALTER TABLE a REPLICA IDENTITY FULL; CREATE TABLE b (id int PRIMARY KEY)")
	exec(t, older, "BEGIN; INSERT INTO a VALUES (1, 1)")
	in := input("a", "b")

	_, findings, err := run(t, conn, in, Patience{Older: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if len(findings) != 1 || findings[0].Code != "older-transaction" || !strings.Contains(findings[0].What, "wrote to a before") {
		t.Fatalf("findings: %+v", findings)
	}

	// Whoever waits is told why, and goes on when the transaction ends.
	db.Exec(t, "DROP PUBLICATION tidemark")
	var reason string
	findings, err = Apply(t.Context(), conn, inspect(t, conn, in), Patience{}, func(s Step, status Status, detail string) {
		if status == Waiting {
			reason = detail
			exec(t, older, "COMMIT")
		}
	})
	if err != nil || findings != nil || !strings.Contains(reason, "wrote to a before it was published") {
		t.Errorf("findings %v, error %v, reason %q", findings, err, reason)
	}

	// A prepared transaction counts too.
	db.Exec(t, "DROP PUBLICATION tidemark")
	exec(t, older, "BEGIN; INSERT INTO b VALUES (1); PREPARE TRANSACTION 'older'")
	_, findings, err = run(t, conn, in, Patience{Older: time.Millisecond})
	if err != nil || len(findings) != 1 || !strings.Contains(findings[0].What, "a prepared transaction wrote to b") {
		t.Errorf("findings %+v, error %v", findings, err)
	}
	exec(t, older, "ROLLBACK PREPARED 'older'")
}
