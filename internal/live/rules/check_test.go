package rules

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestCheck(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `
		CREATE TABLE good (id int PRIMARY KEY, account_id int, deleted_at timestamptz, "Odd" text);
		ALTER TABLE good REPLICA IDENTITY FULL;
		CREATE TABLE keyed (id int PRIMARY KEY);
		CREATE TABLE hidden (id int PRIMARY KEY);
		CREATE VIEW seen AS SELECT * FROM good;
		CREATE UNLOGGED TABLE gone (id int);
		CREATE SEQUENCE counter;
		CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
		CREATE TABLE parts1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
		CREATE TABLE parts2 PARTITION OF parts FOR VALUES FROM (10) TO (20);
		ALTER TABLE parts1 REPLICA IDENTITY FULL;
		CREATE SCHEMA app; CREATE TABLE app.one (tenant int); ALTER TABLE app.one REPLICA IDENTITY FULL;
		CREATE SCHEMA raw; CREATE TABLE raw.one (id int PRIMARY KEY); CREATE TABLE raw."Two" (id int PRIMARY KEY);
		CREATE SCHEMA bare;
		CREATE PUBLICATION pub FOR TABLE good, keyed, parts, app.one`)
	for _, tt := range []struct{ name, text, problems, notes string }{
		{name: "all is well", text: `
  - table: good
    where: deleted_at IS NULL AND "Odd" <> 'x'
    columns: [id, account_id, '"Odd"']
    account: account_id
  - schema: app
    account: tenant`},
		{name: "not there yet", text: "  - nothing", notes: "live.yaml:2: there is no table public.nothing; it can be followed once it is there and tidemark init has run again"},
		{name: "an empty schema", text: "  - schema: bare", notes: "live.yaml:2: there are no tables in schema bare"},
		{name: "no schema", text: "  - schema: nowhere", notes: "live.yaml:2: there are no tables in schema nowhere"},
		{name: "a view", text: "  - seen", problems: "live.yaml:2: public.seen is a view; follow an endpoint that reads it"},
		{name: "unlogged", text: "  - gone", problems: "live.yaml:2: public.gone is unlogged or temporary: its changes are not in the log"},
		{name: "a sequence", text: "  - counter", notes: "live.yaml:2: there is no table public.counter; it can be followed once it is there and tidemark init has run again"},
		{name: "not published", text: "  - hidden", problems: "live.yaml:2: changes of public.hidden are not all in publication pub; run tidemark init"},
		{name: "not full", text: "  - keyed", problems: "live.yaml:2: public.keyed has not replica identity FULL, so the log does not say what an update or delete ends; run tidemark init"},
		{name: "a partition that is not full", text: "  - parts", problems: "live.yaml:2: public.parts has not replica identity FULL, so the log does not say what an update or delete ends; run tidemark init"},
		{
			name: "a schema that is not set up", text: "  - schema: raw",
			problems: `live.yaml:2: not in publication pub with replica identity FULL: "Two", one; run tidemark init`,
		},
		{
			name: "a schema without the account", text: "  - schema: app\n    account: owner",
			notes: "live.yaml:3: without a column owner, and not followed: one",
		},
		{
			name: "no such columns", text: "  - table: good\n    columns: [id, odd]\n    account: owner",
			problems: "live.yaml:3: public.good has no column odd\nlive.yaml:4: public.good has no column owner",
		},
		{name: "a condition that does not parse", text: "  - table: good\n    where: deleted_at IS", problems: "live.yaml:3: "},
		{name: "a condition on what is not there", text: "  - table: good\n    where: removed_at IS NULL", problems: "live.yaml:3: "},
		{name: "a condition that reads another table", text: "  - table: good\n    where: id IN (SELECT id FROM keyed)", problems: "live.yaml:3: "},
		{name: "a condition that asks the clock", text: "  - table: good\n    where: deleted_at > now()", problems: "live.yaml:3: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, err := Parse("live.yaml", []byte("tables:\n"+strings.TrimPrefix(tt.text, "\n")+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			problems, notes, err := f.Check(t.Context(), db.Conn(t), "pub")
			if err != nil {
				t.Fatal(err)
			}
			got := problems.Error()
			if strings.HasSuffix(tt.problems, ": ") { // another package's words
				if !strings.HasPrefix(got, tt.problems) {
					t.Errorf("got %s, want %s…", got, tt.problems)
				}
				t.Log(got)
			} else if diff := cmp.Diff(tt.problems, got); diff != "" {
				t.Errorf("problems: %s", diff)
			}
			if diff := cmp.Diff(tt.notes, Problems(notes).Error()); diff != "" {
				t.Errorf("notes: %s", diff)
			}
		})
	}
}
