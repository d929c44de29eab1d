package mapping

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/query"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// connect returns a session as tidemark's own are.
func connect(t *testing.T, db *pgtest.Database) *pgx.Conn {
	t.Helper()
	conn := db.Conn(t)
	for _, s := range query.Settings() {
		if _, err := conn.Exec(t.Context(), `SELECT set_config($1, $2, false)`, s.Name, s.Value); err != nil {
			t.Fatal(err)
		}
	}
	return conn
}

const tables = `
	CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
	CREATE DOMAIN label AS text;
	CREATE TABLE docs (
		id int PRIMARY KEY, org text, owner_id uuid, n numeric, f float8, b bool, d date, ts timestamp, tz timestamptz,
		j jsonb, plain json, m mood, l label, c char(6), raw bytea, iv interval, made text GENERATED ALWAYS AS (org || 'x') STORED,
		cost money, rc regclass, v varchar(8), "Odd" text, deleted_at timestamptz);
	ALTER TABLE docs REPLICA IDENTITY FULL;
	CREATE TABLE keyed (id int PRIMARY KEY, owner text);
	CREATE TABLE split (id int, kind text) PARTITION BY LIST (kind);
	CREATE TABLE split_a PARTITION OF split FOR VALUES IN ('a');
	CREATE TABLE split_b PARTITION OF split FOR VALUES IN ('b');
	ALTER TABLE split_a REPLICA IDENTITY FULL;
	ALTER TABLE split_b REPLICA IDENTITY FULL;
	CREATE VIEW shown AS SELECT * FROM docs;
	CREATE UNLOGGED TABLE loose (id int);
	CREATE PUBLICATION narrow FOR TABLE docs;`

func TestBindProblems(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, tables)
	conn := connect(t, db)
	for _, c := range []struct{ rule, want string }{
		{"document:{id}#owner@user:{owner_id} from docs where deleted_at is null", ""},
		{"document:{id}#owner@user:{owner_id} from public.docs where not (b or n > 3.5) and org in ('a', 'b') and d >= '2020-01-01'", ""},
		{"document:{id}#owner@user:{owner_id} from docs where (b and m = 'ok') or (org like 'a%' and id <> 4) or ts is null", ""},
		{"document:{org}/{id}#owner@user:{Odd} from docs", ""},
		{"document:{id}#owner@user:{l} from docs where b is not true is false", "cannot tell"},
		{"document:{id}#owner@user:{l} from nosuch", `2:39: relation "nosuch" does not exist`},
		{"document:{id}#owner@user:{l} from docs where nosuch = 1", `2:50: column "nosuch" does not exist`},
		{"document:{id}#owner@user:{nosuch} from docs", `2:5: the table public.docs has no column "nosuch"`},
		{"document:{ID}#owner@user:{l} from docs", "did you mean id?"},
		{"document:{id}#owner@user:{made} from docs", "is generated"},
		{"document:{id}#owner@user:{l} from docs where made = 'x'", "the part that begins with made = 'x'"},
		{"document:{id}#owner@user:{cost} from docs", "is of type money, whose text cannot be an id"},
		{"document:{id}#owner@user:{rc} from docs", "is of type regclass"},
		{"document:{id}#owner@user:{l} from docs where b and lower(org) = 'x' and n > 1", "2:56: tidemark cannot tell from a row of the log whether the condition is true, because of the part that begins with lower(org) = 'x'"},
		{"document:{id}#owner@user:{l} from docs where org like '%x'", "cannot tell"},
		{"document:{id}#owner@user:{l} from docs where j ->> 'a' = 'x'", "cannot tell"},
		{"document:{id}#owner@user:{l} from docs where id = n", "cannot tell"},
		{"document:{id}#owner@user:{l} from docs where id = 1 + 1", "2:50: tidemark cannot tell"},
		{"document:{id}#owner@user:{l} from docs where exists (select 1)", "a mapping is of one table"},
		{"document:{id}#owner@user:{l} from docs where tz < now()", "now()"},
		{"document:{id}#owner@user:{l} from docs where d = 'today'", "'today'"},
		{"document:{id}#owner@user:{l} from docs where true) or (b", ""},
		{"document:{id}#owner@user:{l} from docs where true) limit (1", "a mapping is of one table"},
		{"document:{id}#owner@user:{l} from docs where true) union select id from docs where (true", "a mapping is of one table"},
		{"document:{id}#owner@user:{l} from docs where true) group by (id", "a mapping is of one table"},
		{"document:{id}#owner@user:{l} from docs where b; drop table docs", "another begins here"},
		{"document:{id}#owner@user:{l} from docs where org = :org", "no value for :org"},
		{"document:{id}#owner@user:{owner} from keyed", `the log does not say what a deleted or updated row of public.keyed was, and so not which relationship ends; ALTER TABLE "public"."keyed" REPLICA IDENTITY FULL`},
		{"document:{id}#owner@user:{kind} from split", ""},
		{"document:{id}#owner@user:{l} from shown", "(in view public.shown)"},
		{"document:{id}#owner@user:a from loose", "unlogged"},
		{"document:{id}#owner@user:a from docs,keyed", `"docs,keyed" is not the name of a table`},
		{"{relation: 'document:{id}#owner@user:{l}', from: docs, expires: tz}", ""},
		{"{relation: 'document:{id}#owner@user:{l}', from: docs, expires: '{d}'}", ""},
		{"{relation: 'document:{id}#owner@user:{l}', from: docs, expires: id}", "not a time"},
		{"{relation: 'document:{id}#owner@user:{l}', from: docs, expires: nosuch}", "no column"},
		{"{relation: 'document:{id}#owner@user:{l}', from: docs, caveat: c, context: {a: '{j}', b: '{m}', c: '{id}-{n}', d: '{tz}'}}", ""},
		{"{relation: 'document:{id}#owner@user:{l}', from: docs, caveat: c, context: {a: '{plain}'}}", "whose JSON tidemark does not know"},
		{"{relation: 'document:{id}#owner@user:{l}', from: docs, caveat: c, context: {a: 'x{cost}'}}", "cannot be a part of a text"},
	} {
		m, err := Parse("p.yaml", []byte("relationships:\n  - "+c.rule))
		if err != nil {
			t.Fatal(c.rule, err)
		}
		b, err := m.Bind(t.Context(), conn)
		var ps Problems
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.rule, err)
		case c.want != "" && (!errors.As(err, &ps) || b != nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v; want …%s…", c.rule, err, c.want)
		case err != nil && strings.Contains(err.Error(), "volatile: ok"):
			t.Errorf("%s: a hint for endpoints: %v", c.rule, err)
		}
	}

	m, err := Parse("p.yaml", []byte("relationships:\n  - document:{id}#owner@user:{kind} from split"))
	if err != nil {
		t.Fatal(err)
	}
	m.Publication = "narrow"
	if _, err := m.Bind(t.Context(), conn); err == nil || !strings.Contains(err.Error(), "is not in the publication narrow") {
		t.Error(err)
	}
	db.Exec(t, `CREATE ROLE reader_of_mapping LOGIN; GRANT ALL ON docs TO reader_of_mapping; ALTER TABLE docs ENABLE ROW LEVEL SECURITY`)
	defer db.Exec(t, `DROP OWNED BY reader_of_mapping; DROP ROLE reader_of_mapping`)
	if _, err := conn.Exec(t.Context(), `SET ROLE reader_of_mapping`); err != nil {
		t.Fatal(err)
	}
	if m, err = Parse("p.yaml", []byte("relationships:\n  - document:{id}#owner@user:{l} from docs")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Bind(t.Context(), conn); err == nil || !strings.Contains(err.Error(), "row security hides rows of public.docs") {
		t.Error(err)
	}
}

// What is not known is an error, never a guess.
func TestUnknownRows(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE r (id int, owner text, kind text); ALTER TABLE r REPLICA IDENTITY FULL`)
	conn := connect(t, db)
	m, err := Parse("p.yaml", []byte("relationships:\n  - document:{id}#owner@user:{owner} from r where kind = 'a' or kind is null"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.Bind(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	var oid uint32
	if err := conn.QueryRow(t.Context(), `SELECT 'r'::regclass::oid`).Scan(&oid); err != nil {
		t.Fatal(err)
	}
	rel := &catalog.Relation{OID: catalog.OID(oid), Schema: "public", Name: "r", Identity: catalog.IdentityFull, Columns: []catalog.Column{
		{Name: "id", Type: 23, Key: true}, {Name: "owner", Type: 25, Key: true}, {Name: "kind", Type: 25, Key: true},
	}}
	text := func(s string) change.Value { return change.Value{Kind: change.Text, Text: []byte(s)} }
	null := change.Value{Kind: change.Null}
	row := func(vs ...change.Value) change.Row { return vs }
	whole := row(text("1"), text("ana"), null)
	with := func(f func(*catalog.Relation)) *catalog.Relation {
		r := *rel
		r.Columns = slices.Clone(rel.Columns)
		f(&r)
		return &r
	}
	for name, c := range map[string]change.Change{
		"old missing":       {Op: change.Update, Relation: rel, New: whole},
		"new missing":       {Op: change.Update, Relation: rel, Old: whole},
		"delete of nothing": {Op: change.Delete, Relation: rel},
		"id absent":         {Op: change.Insert, Relation: rel, New: row(change.Value{}, text("ana"), null)},
		"owner absent":      {Op: change.Delete, Relation: rel, Old: row(text("1"), change.Value{}, null)},
		"tested absent":     {Op: change.Delete, Relation: rel, Old: row(text("1"), text("ana"), change.Value{})},
		"short row":         {Op: change.Insert, Relation: rel, New: row(text("1"), text("ana"))},
		"truncate":          {Op: change.Truncate, Relation: rel},
		"identity":          {Op: change.Insert, Relation: with(func(r *catalog.Relation) { r.Identity = catalog.IdentityDefault }), New: whole},
		"type of id":        {Op: change.Insert, Relation: with(func(r *catalog.Relation) { r.Columns[0].Type = 20 }), New: whole},
		"type of tested":    {Op: change.Insert, Relation: with(func(r *catalog.Relation) { r.Columns[2].Type = 1043 }), New: row(text("1"), text("ana"), text("a"))},
		"column gone":       {Op: change.Insert, Relation: with(func(r *catalog.Relation) { r.Columns[1].Name = "holder" }), New: whole},
	} {
		if removed, added, _, err := b.Changes(&c); err == nil {
			t.Errorf("%s: %v, %v", name, removed, added)
		}
	}
	for name, c := range map[string]struct {
		c              change.Change
		removed, added int
		problems       int
	}{
		"insert":          {change.Change{Op: change.Insert, Relation: rel, New: whole}, 0, 1, 0},
		"delete":          {change.Change{Op: change.Delete, Relation: rel, Old: whole}, 1, 0, 0},
		"same":            {change.Change{Op: change.Update, Relation: rel, Old: whole, New: row(text("1"), text("ana"), text("a"))}, 0, 0, 0},
		"other owner":     {change.Change{Op: change.Update, Relation: rel, Old: whole, New: row(text("1"), text("bob"), null)}, 1, 1, 0},
		"leaves":          {change.Change{Op: change.Update, Relation: rel, Old: whole, New: row(text("1"), text("ana"), text("b"))}, 1, 0, 0},
		"null owner":      {change.Change{Op: change.Update, Relation: rel, Old: whole, New: row(text("1"), null, null)}, 1, 0, 0},
		"no id":           {change.Change{Op: change.Update, Relation: rel, Old: whole, New: row(text("1"), text("a b"), null)}, 1, 0, 1},
		"wildcard in row": {change.Change{Op: change.Insert, Relation: rel, New: row(text("1"), text("*"), null)}, 0, 0, 1},
		"other table":     {change.Change{Op: change.Truncate, Relation: with(func(r *catalog.Relation) { r.OID++ })}, 0, 0, 0},
	} {
		removed, added, problems, err := b.Changes(&c.c)
		if err != nil || len(removed) != c.removed || len(added) != c.added || len(problems) != c.problems {
			t.Errorf("%s: %v, %v, %v, %v", name, removed, added, problems, err)
		}
	}
	if rels, problems, err := b.Row(rel, whole); err != nil || len(rels) != 1 || len(problems) != 0 || rels[0].String() != "document:1#owner@user:ana" {
		t.Error(rels, problems, err)
	}
	if !b.Reads(rel) || !b.SameShape(rel) || b.SameShape(with(func(r *catalog.Relation) { r.Columns[0].Type = 20 })) {
		t.Error("the shape")
	}
	if _, err := m.Bind(context.Background(), conn); err != nil {
		t.Error("a second time:", err)
	}
}

// What the meaning of rows hangs on makes two bindings unequal.
func TestEqual(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, tables)
	conn := connect(t, db)
	m, err := Parse("p.yaml", []byte(`relationships:
  - document:{id}#owner@user:{l} from docs where m = 'ok'
  - document:{id}#owner@user:{m} from docs
  - document:{id}#owner@user:{kind} from split`))
	if err != nil {
		t.Fatal(err)
	}
	bind := func() *Bound {
		t.Helper()
		b, err := m.Bind(t.Context(), conn)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	before := bind()
	for _, c := range []struct {
		ddl   string
		equal bool
	}{
		{"SELECT 1", true},
		{"CREATE TABLE other (id int); CREATE INDEX ON docs (org)", true},
		{"CREATE TABLE split_c PARTITION OF split FOR VALUES IN ('c'); ALTER TABLE split_c REPLICA IDENTITY FULL", false},
		{"ALTER TABLE split DETACH PARTITION split_b", false},
		{"DROP VIEW shown; ALTER TABLE docs ALTER l TYPE varchar(20)", false},
		{"ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'", false},
		{"ALTER TABLE split RENAME TO parted; CREATE TABLE split (id int, kind text); ALTER TABLE split REPLICA IDENTITY FULL", false},
	} {
		db.Exec(t, c.ddl)
		after := bind()
		if before.Equal(after) != c.equal {
			t.Errorf("%s: equal is %v", c.ddl, !c.equal)
		}
		before = after
	}
}

func BenchmarkChanges(b *testing.B) {
	db := pgtest.DB(b)
	db.Exec(b, tables)
	conn := db.Conn(b)
	m, err := Parse("p.yaml", []byte("relationships:\n  - document:{id}#owner@user:{org} from docs where deleted_at is null"))
	if err != nil {
		b.Fatal(err)
	}
	bound, err := m.Bind(b.Context(), conn)
	if err != nil {
		b.Fatal(err)
	}
	rel := &catalog.Relation{Schema: "public", Name: "docs", Identity: catalog.IdentityFull, Columns: []catalog.Column{
		{Name: "id", Type: 23}, {Name: "org", Type: 25}, {Name: "deleted_at", Type: 1184},
	}}
	for oid := range bound.tables {
		rel.OID = oid
	}
	row := func(org string) change.Row {
		return change.Row{{Kind: change.Text, Text: []byte("17")}, {Kind: change.Text, Text: []byte(org)}, {Kind: change.Null}}
	}
	c := &change.Change{Op: change.Update, Relation: rel, Old: row("ana"), New: row("bob")}
	b.ReportAllocs()
	for b.Loop() {
		if removed, added, _, err := bound.Changes(c); err != nil || len(removed)+len(added) != 2 {
			b.Fatal(err)
		}
	}
}
