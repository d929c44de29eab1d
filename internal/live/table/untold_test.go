package table_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/table"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// newUntold returns a rig that nobody tells of definitions, neither the log nor a
// look now and then: a table is known as it was when it was first asked for.
func newUntold(t *testing.T) *rig {
	r := newRig(t, pgtest.DB(t), "", func(o *table.Options) {
		o.PollInterval = time.Hour
		o.AllowDelete = true
	})
	r.db.Exec(t, "DROP EVENT TRIGGER tidemark_ddl; DROP EVENT TRIGGER tidemark_drop")
	return r
}

// untold makes a table, under the name that stands for @.
const untold = `
CREATE FUNCTION keep_@(text) RETURNS bool IMMUTABLE LANGUAGE sql AS $$ SELECT $1 = 'yes' $$;
CREATE TABLE @ (id int CONSTRAINT @_pkey PRIMARY KEY, a text, b text, n int);
ALTER TABLE @ REPLICA IDENTITY FULL;
INSERT INTO @ SELECT g, 'yes', CASE WHEN g % 2 = 0 THEN 'yes' ELSE 'no' END, g FROM generate_series(1, 6) g;`

// A request that comes after a change of its table is answered as of after it,
// whatever was known of the table before: the rows of a shape, those of a subset,
// and a refusal.
func TestUntoldDefinitions(t *testing.T) {
	r := newUntold(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	conn := r.db.Conn(t)
	var (
		all       = live.Definition{Table: "@"}
		where     = live.Definition{Table: "@", Where: "b = 'yes'"}
		calls     = live.Definition{Table: "@", Where: "keep_@(b)"}
		newType   = "ALTER TABLE @ ALTER n TYPE text USING 'n' || n"
		newColumn = "ALTER TABLE @ ADD c int DEFAULT 5"
		one       = func(n string) map[string]string { return map[string]string{"1": n} }
	)
	for i, c := range []struct {
		first  live.Definition // asked for before the change; then d
		before string
		sql    string
		d      live.Definition
		sub    live.Subset // if it has a condition, only the subset is asked for
		want   string      // the rows after the change
		field  string      // or the parameter that is refused
	}{
		{first: all, sql: "ALTER TABLE @ DROP b", d: all, want: "SELECT * FROM @"},
		{first: all, sql: "ALTER TABLE @ DROP b", d: live.Definition{Table: "@", Columns: []string{"id", "b"}}, field: "columns"},
		{first: where, sql: "ALTER TABLE @ DROP b", d: where, field: "where"},
		{first: all, sql: newColumn, d: all, want: "SELECT * FROM @"},
		{first: all, sql: newColumn, d: live.Definition{Table: "@", Columns: []string{"id", "c"}}, want: "SELECT id, c FROM @"},
		{first: all, sql: newColumn, d: live.Definition{Table: "@", Queryable: []string{"id", "c"}}, want: "SELECT id, c FROM @"},
		{first: all, sql: "ALTER TABLE @ RENAME a TO x; ALTER TABLE @ RENAME b TO a; ALTER TABLE @ RENAME x TO b", d: all, want: "SELECT * FROM @"},
		{first: all, sql: "ALTER TABLE @ DROP b, ADD b text GENERATED ALWAYS AS (a || '!') STORED", d: all, want: "SELECT id, a, n FROM @"},
		{
			first: live.Definition{Table: "@", Where: "n = $1", Params: one("1")}, sql: newType,
			d: live.Definition{Table: "@", Where: "n = $1", Params: one("n3")}, want: "SELECT * FROM @ WHERE n = 'n3'",
		},
		{
			first: all, before: "ALTER TABLE @ DROP CONSTRAINT @_pkey, ADD CONSTRAINT @_pkey PRIMARY KEY (id) DEFERRABLE",
			sql: "ALTER TABLE @ DROP CONSTRAINT @_pkey, ADD PRIMARY KEY (id)", d: all, want: "SELECT * FROM @",
		},
		{first: all, before: "ALTER TABLE @ REPLICA IDENTITY DEFAULT", sql: "ALTER TABLE @ REPLICA IDENTITY FULL", d: all, want: "SELECT * FROM @"},
		{first: all, sql: "ALTER TABLE @ REPLICA IDENTITY DEFAULT", d: all, field: "table"},
		{
			first: calls, sql: "CREATE OR REPLACE FUNCTION keep_@(text) RETURNS bool IMMUTABLE LANGUAGE sql AS $$ SELECT $1 = 'no' $$",
			d: calls, want: "SELECT * FROM @ WHERE keep_@(b)",
		},
		{
			first: calls, sql: "CREATE OR REPLACE FUNCTION keep_@(text) RETURNS bool VOLATILE LANGUAGE sql AS $$ SELECT random() < 0.5 $$",
			d: calls, field: "where",
		},
		{
			first: all, sql: "DROP TABLE @; CREATE TABLE @ (id int PRIMARY KEY, z int); ALTER TABLE @ REPLICA IDENTITY FULL; INSERT INTO @ VALUES (7, 7)",
			d: all, want: "SELECT * FROM @",
		},
		{first: all, sql: "DROP TABLE @", d: all, field: "table"},
		{first: all, sql: "ALTER TABLE @ DROP b", d: all, sub: live.Subset{Where: "b = 'yes'"}, field: "subset__where"},
		{first: all, sql: newColumn, d: all, sub: live.Subset{Where: "c = 5", OrderBy: "c"}, want: "SELECT * FROM @ WHERE c = 5"},
		{first: all, sql: newType, d: all, sub: live.Subset{Where: "n = $1", Params: one("n3")}, want: "SELECT * FROM @ WHERE n = 'n3'"},
	} {
		// To ask for either has the definitions looked at, so each has a table.
		for _, kind := range []string{"shape", "subset"} {
			if kind == "shape" && c.sub.Where != "" {
				continue
			}
			named := func(text string) string { return strings.ReplaceAll(text, "@", fmt.Sprint(kind, "_", i)) }
			request := func(d live.Definition) live.Definition {
				d.Table, d.Where = named(d.Table), named(d.Where)
				return d
			}
			what := kind + " after " + named(c.sql)
			r.db.Exec(t, named(untold+c.before))
			// Both are known, and there is no handle that could be found.
			for _, d := range []live.Definition{request(c.first), request(c.d)} {
				if s, err := r.hub.Open(ctx, d, ""); err == nil {
					if err := r.hub.Delete(ctx, nil, s.Handle()); err != nil {
						t.Fatal(err)
					}
				}
				_, _ = r.hub.Subset(ctx, d, c.sub) // which is refused where the change mends it
			}
			r.db.Exec(t, named(c.sql))
			d := request(c.d)
			var rows rowSet
			var err error
			if kind == "shape" {
				f := newFollower(r, d)
				err = f.catchUp(ctx, r.settle())
				rows = f.rows
			} else {
				var out []byte
				out, err = r.hub.Subset(ctx, d, c.sub)
				rows = subsetRows(t, out)
			}
			var refused *live.RequestError
			switch {
			case c.field != "" && (!errors.As(err, &refused) || refused.Field != c.field):
				t.Errorf("%s: %v, want %s refused", what, err, c.field)
			case c.field == "" && err != nil:
				t.Errorf("%s: %v", what, err)
			case c.field == "":
				compare(t, what, rows.flat(), inPostgres(t, conn, named(c.want)))
			}
		}
	}
}

// subsetRows returns the rows of a subset, if there is one.
func subsetRows(t *testing.T, out []byte) rowSet {
	t.Helper()
	var a struct{ Data []message }
	if len(out) > 0 {
		if err := json.Unmarshal(out, &a); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	rows := rowSet{}
	for _, m := range a.Data {
		rows[m.Key] = m.Value
	}
	return rows
}

// A condition that only Postgres can decide is asked about rows of the log when the
// table, or a function, may be another already. Rows of the one are not taken for
// rows of the other.
func TestUntoldConditions(t *testing.T) {
	r := newUntold(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn := r.db.Conn(t)
	for i, c := range []struct {
		sql  string
		ends bool
	}{
		// Read by the new columns, the second is b.
		{"ALTER TABLE @ DROP a, ADD z text", true},
		{"ALTER TABLE @ RENAME b TO x; ALTER TABLE @ RENAME a TO b; ALTER TABLE @ RENAME x TO a", true},
		{"CREATE OR REPLACE FUNCTION keep_@(text) RETURNS bool IMMUTABLE LANGUAGE sql AS $$ SELECT $1 = 'no' $$", true},
		{"DROP TABLE @; CREATE TABLE @ (id int PRIMARY KEY, b text, a text, n text); ALTER TABLE @ REPLICA IDENTITY FULL", true},
		{"CREATE INDEX ON @ (a); ALTER TYPE mood_@ ADD VALUE 'glad'", false},
	} {
		named := func(text string) string { return strings.ReplaceAll(text, "@", fmt.Sprint("t_", i)) }
		r.db.Exec(t, named(`
			CREATE TYPE mood_@ AS ENUM ('sad');
			CREATE FUNCTION keep_@(text) RETURNS bool IMMUTABLE LANGUAGE sql AS $$ SELECT $1 = 'yes' $$;
			CREATE TABLE @ (id int PRIMARY KEY, m mood_@, a text, b text, n text);
			ALTER TABLE @ REPLICA IDENTITY FULL;
			INSERT INTO @ VALUES (1, NULL, 'no', 'yes', ''), (2, NULL, 'yes', 'no', '')`))
		f := newFollower(r, live.Definition{Table: named("@"), Where: named("keep_@(b)"), Columns: []string{"id"}})
		if err := f.catchUp(ctx, r.settle()); err != nil {
			t.Fatal(err)
		}
		r.db.Exec(t, named("INSERT INTO @ VALUES (3, NULL, 'no', 'yes', ''), (4, NULL, 'yes', 'no', '')"))
		r.settle()
		r.db.Exec(t, named(c.sql))
		if err := f.catchUp(ctx, r.settle()); err != nil {
			t.Fatal(err)
		}
		compare(t, named(c.sql), f.rows.flat(), inPostgres(t, conn, named("SELECT id FROM @ WHERE keep_@(b)")))
		if (f.refetched > 0) != c.ends {
			t.Errorf("%s: began again %d times: %v", named(c.sql), f.refetched, f.why)
		}
	}
}
