package query

import (
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

func textRow(values ...string) change.Row {
	var row change.Row
	for _, v := range values {
		if v == "NULL" {
			row = append(row, change.Value{Kind: change.Null})
		} else {
			row = append(row, change.Value{Kind: change.Text, Text: []byte(v)})
		}
	}
	return row
}

// What the statements returned narrows what they are about, and only that.
func TestRefineRows(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE PUBLICATION tidemark FOR ALL TABLES;
		CREATE TABLE orders (id int PRIMARY KEY, customer int, state text);
		CREATE TABLE items (id int PRIMARY KEY, order_id int, product int);
		CREATE TABLE notes (id int PRIMARY KEY, order_id int, kind text)`)
	e, problems := endpointOf(t, settled(t, db), `SELECT o.id, i.product FROM orders o JOIN items i ON i.order_id = o.id
		WHERE o.customer = :customer::int AND NOT EXISTS (SELECT 1 FROM notes n WHERE n.order_id = o.id AND n.kind = 'x')`)
	if e == nil {
		t.Fatal(problems)
	}
	b, err := e.Bind(nil, url.Values{"customer": {"7"}})
	if err != nil {
		t.Fatal(err)
	}
	if e.KeyStatements() != 2 || len(e.keys[0].restricts) != 2 || e.keys[1].witness == nil {
		t.Fatalf("%+v", e.keys)
	}
	describe := func(keys ...KeyRows) []string {
		var out []string
		for _, x := range e.ExplainDeps(b.Refine(Placed{}, keys), b) {
			out = append(out, x.String())
		}
		return out
	}
	const orders = "public.orders: rows where customer = 7, columns id, customer"
	for _, c := range []struct {
		name         string
		keys         []KeyRows
		items, notes string
	}{
		{"none were asked for", nil, "every row, columns order_id, product (more than 1000 rows of public.orders may be joined with it)", "rows where kind = 'x'"},
		{"too many", []KeyRows{{Cut: true}, {Cut: true}}, "every row, columns order_id, product (more than 1000 rows of public.orders may be joined with it)", "rows where kind = 'x'"},
		{"two", []KeyRows{{Rows: []change.Row{textRow("1"), textRow("NULL"), textRow("2")}}, {}}, "rows where order_id in 2 keys, columns order_id, product", "rows where kind = 'x' and order_id in 2 keys"},
		{"no row", []KeyRows{{}, {}}, "rows where order_id in 0 keys, columns order_id, product", "rows where kind = 'x' and order_id in 0 keys"},
		{"not understood", []KeyRows{{Rows: []change.Row{textRow("one")}}, {Cut: true}}, "every row, columns order_id, product (more than 1000 rows of public.orders may be joined with it)", "rows where kind = 'x'"},
	} {
		witnessed := ", one for each order_id"
		if len(c.keys) < 2 || c.keys[1].Cut {
			witnessed = ""
		}
		want := []string{
			"public.notes: " + c.notes + witnessed + ", columns order_id, kind, id",
			"public.items: " + c.items, orders,
		}
		got := describe(c.keys...)
		if len(got) != 3 {
			t.Fatalf("%s: %q", c.name, got)
		}
		for _, line := range want {
			found := false
			for _, g := range got {
				found = found || g == line
			}
			if !found {
				t.Errorf("%s: no line %q in\n%q", c.name, line, got)
			}
		}
	}
	// What is known of one binding does not stay with the endpoint.
	if d := cmp.Diff(len(b.Deps()), len(b.Refine(Placed{}, nil))); d != "" {
		t.Error(d)
	}
	witness := b.Refine(Placed{}, []KeyRows{{Rows: []change.Row{textRow("1")}}, {Rows: []change.Row{textRow("1", "50")}}})
	var notes *match.Dependency
	for i := range witness {
		if witness[i].Reads.Name == "public.notes" {
			notes = &witness[i]
		}
	}
	if notes == nil || notes.Witnesses == nil || notes.Witnesses.For[0].Column != "order_id" || notes.Witnesses.Key[0].Column != "id" {
		t.Errorf("no witnesses: %+v", notes)
	}
}

// Names and texts are quoted, and operators are the server's own.
func TestKeyStatementQuotes(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE PUBLICATION tidemark FOR ALL TABLES; CREATE SCHEMA "S ""x";
		CREATE TYPE "S ""x".mood AS ENUM ('it''s', 'b');
		CREATE TABLE "S ""x"."T '1" ("select" int, "it's" text, m "S ""x".mood, c char(3));
		CREATE TABLE other (id int PRIMARY KEY, s text);
		INSERT INTO "S ""x"."T '1" VALUES (1, 'a''b\c', 'it''s', 'a'), (2, 'x', 'b', 'b')`)
	conn := settled(t, db)
	e, problems := endpointOf(t, conn, `SELECT o.s FROM "S ""x"."T '1" x JOIN other o ON o.id = x."select"
		WHERE x."it's" = 'a''b\c' AND x.m = 'it''s' AND x.c = 'a  ' AND x."select" <= :n::int`)
	if e == nil {
		t.Fatal(problems)
	}
	b, err := e.Bind(nil, url.Values{"n": {"5"}})
	if err != nil {
		t.Fatal(err)
	}
	if e.KeyStatements() != 1 {
		t.Fatalf("%d statements", e.KeyStatements())
	}
	if d := cmp.Diff([]change.Row{textRow("1")}, run(t, conn, e.KeyStatement(0, false), b.Args, e.KeyTypes())); d != "" {
		t.Errorf("%s\n%s", e.KeyStatement(0, false), d)
	}
}
