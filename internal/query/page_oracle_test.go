package query

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/patch"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

var (
	pageSeed    = flag.Uint64("page-seed", 0, "run the page of this seed only")
	pageQueries = flag.Int("page-queries", 120, "how many random pages to try")
)

const pageSchema = `
	CREATE PUBLICATION tidemark FOR ALL TABLES;
	CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
	CREATE DOMAIN positive AS int CHECK (VALUE > 0);
	CREATE TABLE owner (id int PRIMARY KEY, grp int, name text COLLATE "C", boss int);
	CREATE TABLE item (id int PRIMARY KEY, owner int, a smallint NOT NULL, b bigint, n numeric(6,2), f float8, u uuid, d date,
		ts timestamp, tz timestamptz, t text COLLATE "C", bo boolean, m mood, p positive, tags text[], js jsonb);
	CREATE TABLE part (id int, day date, a int, t text COLLATE "C", PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
	CREATE TABLE part_1 (t text COLLATE "C", day date NOT NULL, id int NOT NULL, a int);
	ALTER TABLE part ATTACH PARTITION part_1 FOR VALUES FROM ('2000-01-01') TO ('2020-01-02');
	CREATE TABLE part_2 PARTITION OF part DEFAULT;
	CREATE VIEW v_item AS SELECT i.id, i.owner, i.a, i.b, i.n, i.f, i.u, i.d, i.ts, i.tz, i.t, i.bo, i.m, i.p, i.tags, i.js
		FROM item i WHERE i.a < 4;
	CREATE VIEW v_owned AS SELECT i.*, w.name FROM item i LEFT JOIN owner w ON w.id = i.owner;`

// pageColumns are the columns of item that have an order of their own.
var pageColumns = []string{"id", "owner", "a", "b", "n", "f", "u", "d", "ts", "tz", "t", "bo", "p"}

// TestPageOracle holds what is made of a statement to Postgres:
//
//   - the rows of every variant are those of the statement, byte by byte, alone
//     and in a batch;
//   - a change that does not touch an answer with its edge does not change it;
//   - an answer that follows its rows is what Postgres answers.
func TestPageOracle(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, pageSchema)
	o := &pageOracle{t: t, conn: settled(t, db), relations: map[string]*catalog.Relation{}}
	o.exec("SET jit = off")
	for _, table := range []string{"owner", "item", "part_1", "part_2"} {
		o.relations[table] = o.relation(table)
	}
	first := *pageSeed
	n := 1
	if first == 0 {
		first, n = rand.Uint64(), *pageQueries
		t.Logf("first seed %d", first)
	}
	for i := range n {
		o.page(first + uint64(i))
		if t.Failed() {
			return
		}
	}
	t.Logf("%+v", o.seen)
	if s := o.seen; *pageSeed == 0 && (s.edges < n/4 || s.behind < n/2 || s.changed < n/2 || s.batched < n || s.followed < n/8 || s.moved < n/8) {
		t.Errorf("the random pages test too little: %+v", s)
	}
}

type pageOracle struct {
	t         *testing.T
	conn      *pgx.Conn
	relations map[string]*catalog.Relation
	seen      struct {
		edges, behind, touched, changed, batched, followed, moved, stopped int
	}
}

func (o *pageOracle) exec(sql string) {
	o.t.Helper()
	if _, err := o.conn.Exec(context.Background(), sql); err != nil {
		o.t.Fatalf("%s: %v", sql, err)
	}
}

func (o *pageOracle) relation(table string) *catalog.Relation {
	r := &catalog.Relation{Schema: "public", Name: table, Identity: catalog.IdentityFull}
	rows, err := o.conn.Query(context.Background(),
		`SELECT attrelid, attname::text, atttypid FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum`, table)
	if err != nil {
		o.t.Fatal(err)
	}
	var oid, typ uint32
	var name string
	if _, err := pgx.ForEachRow(rows, []any{&oid, &name, &typ}, func() error {
		r.OID = catalog.OID(oid)
		r.Columns = append(r.Columns, catalog.Column{Name: name, Type: catalog.OID(typ), Key: true})
		return nil
	}); err != nil {
		o.t.Fatal(err)
	}
	return r
}

// rows runs a statement as a fill does.
func (o *pageOracle) rows(sql string, args [][]byte, types []uint32) []change.Row {
	o.t.Helper()
	res := o.conn.PgConn().ExecParams(context.Background(), sql, args, types, nil, nil).Read()
	if res.Err != nil {
		o.t.Fatalf("%s: %v", sql, res.Err)
	}
	var out []change.Row
	for _, row := range res.Rows {
		var r change.Row
		for _, v := range row {
			if v == nil {
				r = append(r, change.Value{Kind: change.Null})
			} else {
				r = append(r, change.Value{Kind: change.Text, Text: v})
			}
		}
		out = append(out, r)
	}
	return out
}

func (o *pageOracle) filled(b *Binding, v Variant) []patch.Row {
	return patchRows(o.rows(b.Endpoint.Statement(v, false), b.Args, b.Endpoint.ParamTypes()))
}

func patchRows(rows []change.Row) []patch.Row {
	var out []patch.Row
	for _, r := range rows {
		out = append(out, patch.Row{JSON: r[0].Text, Hidden: r[1:]})
	}
	return out
}

func joinRows(rows []patch.Row) string {
	var parts []string
	for _, r := range rows {
		parts = append(parts, string(r.JSON))
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// plain is the answer by the statement itself.
func (o *pageOracle) plain(b *Binding) string {
	return joinRows(patchRows(o.rows(b.Endpoint.FillSQL(), b.Args, b.Endpoint.ParamTypes())))
}

// page tries one random page.
func (o *pageOracle) page(seed uint64) {
	g := &pageGenerator{rnd: rand.New(rand.NewPCG(seed, 7))}
	sql := g.statement()
	e, problems := endpointOf(o.t, o.conn, sql)
	if e == nil {
		o.t.Fatalf("seed %d: %s\n%v", seed, sql, problems)
	}
	for range 2 {
		o.exec("BEGIN")
		for _, insert := range g.fill() {
			o.exec(insert)
		}
		var all []*Binding
		for range 4 {
			values := url.Values{}
			for _, p := range e.Params {
				if v, given := g.argument(p.Name); given {
					values.Set(p.Name, v)
				}
			}
			b, err := e.Bind(nil, values)
			if err != nil {
				o.t.Fatalf("seed %d: %v", seed, err)
			}
			all = append(all, b)
		}
		o.variants(seed, sql, all)
		o.batches(seed, sql, all)
		for _, b := range all[:2] {
			o.edge(seed, g, sql, b)
		}
		o.follow(seed, g, sql, all[0])
		o.exec("ROLLBACK")
		if o.t.Failed() {
			return
		}
	}
}

// variants compares the rows of each variant with the statement's own.
func (o *pageOracle) variants(seed uint64, sql string, all []*Binding) {
	for _, b := range all {
		want := o.plain(b)
		for v := range variants {
			if v == Followed && b.Variant() != Followed {
				continue
			}
			rows := o.filled(b, v)
			shown := rows
			if v == b.Variant() {
				p := b.Place(rows)
				shown = rows[p.From:p.To]
			}
			if got := joinRows(shown); got != want {
				o.t.Errorf("seed %d: variant %d of %s\nwith %s\ngives %s\nwant  %s\n%s", seed, v, sql, b.Key, got, want, b.Endpoint.Statement(v, false))
			}
			for _, r := range rows {
				if len(r.Hidden) != b.Endpoint.HiddenColumns(v) {
					o.t.Errorf("seed %d: %d hidden columns, want %d", seed, len(r.Hidden), b.Endpoint.HiddenColumns(v))
				}
			}
		}
	}
}

// batches compares the rows of several answers at once with those of each.
func (o *pageOracle) batches(seed uint64, sql string, all []*Binding) {
	e := all[0].Endpoint
	for v := range variants {
		var of []*Binding
		for _, b := range all {
			if v == Plain || b.Variant() == v {
				of = append(of, b)
			}
		}
		many := e.Statement(v, true)
		if many == "" || len(of) == 0 {
			continue
		}
		got := o.many(many, of)
		for i, b := range of {
			o.seen.batched++
			if want := o.rows(e.Statement(v, false), b.Args, e.ParamTypes()); fmt.Sprintf("%q", got[i]) != fmt.Sprintf("%q", want) {
				o.t.Errorf("seed %d: in a batch, %s\nwith %s\ngives %q\nwant  %q", seed, sql, b.Key, got[i], want)
			}
		}
	}
}

func batchArgs(of []*Binding, params int) (args [][]byte, types []uint32) {
	for i := range params {
		var column [][]byte
		for _, b := range of {
			column = append(column, b.Args[i])
		}
		args, types = append(args, ArrayText(column)), append(types, oidTextArray)
	}
	return args, types
}

// edge makes changes. One that does not touch the answer may stay: what is known
// of the answer holds until one does.
func (o *pageOracle) edge(seed uint64, g *pageGenerator, sql string, b *Binding) {
	want := o.plain(b)
	placed := b.Place(o.filled(b, b.Variant()))
	deps := b.Refine(placed, o.keys(b, placed))
	if placed.Edge != nil {
		o.seen.edges++
	}
	for range 12 {
		o.exec("SAVEPOINT before")
		changes := o.change(g)
		stays := len(changes) > 0
		if stays {
			touched, touchedWithout := false, false
			for _, c := range changes {
				touched = touched || match.Affects(deps, c)
				touchedWithout = touchedWithout || match.Affects(b.Deps(), c)
			}
			got := o.plain(b)
			switch {
			case got != want && !touched:
				o.t.Errorf("seed %d: a change behind the edge changes the answer\n%s\nwith %s\nedge %+v\n%s\n%s\n-> %s",
					seed, sql, b.Key, placed.Edge, describeChange(changes[0]), want, got)
			case got != want:
				o.seen.changed++
			case touched:
				o.seen.touched++
			case touchedWithout:
				o.seen.behind++
			}
			stays = !touched
		}
		if stays {
			o.exec("RELEASE before")
		} else {
			o.exec("ROLLBACK TO before")
		}
	}
}

// keys runs the further statements of an answer.
func (o *pageOracle) keys(b *Binding, placed Placed) []KeyRows {
	e := b.Endpoint
	var out []KeyRows
	for i := range e.KeyStatements() {
		rows := o.rows(e.KeyStatement(i, false), slices.Concat(b.Args, placed.Args), e.KeyTypes())
		out = append(out, KeyRows{Rows: rows, Cut: len(rows) > MaxKeyRows})
	}
	return out
}

func describeChange(c *change.Change) string {
	return fmt.Sprintf("%s %s %q -> %q", c.Op, c.Relation.Name, c.Old, c.New)
}

// follow makes transactions, one after the other.
func (o *pageOracle) follow(seed uint64, g *pageGenerator, sql string, b *Binding) {
	if b.Variant() != Followed {
		return
	}
	begin := func() *patch.State {
		rows := o.filled(b, Followed)
		state := b.Follow(rows)
		// A sum that is not a number stays one for ever.
		if state == nil && !strings.Contains(joinRows(rows), "NaN") {
			o.t.Errorf("seed %d: %s\nwith %s cannot be followed", seed, sql, b.Key)
		}
		return state
	}
	state := begin()
	for range 12 {
		if state == nil {
			return
		}
		var changes []*change.Change
		for range 1 + g.rnd.IntN(3) {
			changes = append(changes, o.change(g)...)
		}
		next, changed, ok := state.Follow(changes)
		if !ok {
			o.seen.stopped++
			state = begin()
			continue
		}
		o.seen.followed++
		if changed {
			o.seen.moved++
		}
		state = next
		want := o.plain(b)
		if b.Endpoint.One {
			want = strings.TrimSuffix(strings.TrimPrefix(want, "["), "]")
		}
		if body, _ := state.Body(); string(body) != want {
			o.t.Errorf("seed %d: %s\nwith %s follows to %s\nwant %s", seed, sql, b.Key, body, want)
			return
		}
	}
}

// change changes a row and returns what the log would say of it.
func (o *pageOracle) change(g *pageGenerator) []*change.Change {
	table := g.choose("item", "item", "item", "owner", "part")
	id := g.id()
	fresh := g.row(table)
	read := func(where string) (rel *catalog.Relation, row change.Row) {
		parts := []string{table}
		if table == "part" {
			parts = []string{"part_1", "part_2"}
		}
		for _, p := range parts {
			if rows := o.rows("SELECT * FROM "+p+" WHERE "+where, nil, nil); len(rows) == 1 {
				return o.relations[p], rows[0]
			}
		}
		return nil, nil
	}
	where := "id = " + id
	if table == "part" {
		where += " AND day = " + fresh[1]
	}
	rel, old := read(where)
	switch {
	case old == nil:
		o.exec("INSERT INTO " + table + " VALUES (" + strings.Join(fresh, ", ") + ")")
		rel, now := read(where)
		return []*change.Change{{Op: change.Insert, Relation: rel, New: now}}
	case g.rnd.IntN(4) == 0:
		o.exec("DELETE FROM " + table + " WHERE " + where)
		return []*change.Change{{Op: change.Delete, Relation: rel, Old: old}}
	}
	columns := []string{"id", "grp", "name", "boss"}
	switch table {
	case "item":
		columns = slices.Concat(pageColumns, []string{"m", "tags", "js", "a", "owner"})
	case "part":
		columns = []string{"a", "t"} // a row that moves is a delete and an insert
	}
	column := g.choose(columns...)
	value := g.freeID()
	if column != "id" {
		value = g.value(column)
	} else {
		if len(o.rows("SELECT 1 FROM "+table+" WHERE id = "+value, nil, nil)) > 0 {
			return nil
		}
	}
	o.exec("UPDATE " + table + " SET " + column + " = " + value + " WHERE " + where)
	if column == "id" {
		where = "id = " + value
	}
	_, now := read(where)
	return []*change.Change{{Op: change.Update, Relation: rel, Old: old, New: now}}
}

func TestArrayText(t *testing.T) {
	db := pgtest.DB(t)
	conn := db.Conn(t)
	values := [][]byte{[]byte("a"), nil, {}, []byte("NULL"), []byte(`a"b\c,{}`), []byte(" x \n\t'é"), []byte(`\`)}
	rows, err := conn.Query(context.Background(), "SELECT v FROM unnest($1::text[]) WITH ORDINALITY u(v, n) ORDER BY n", pgx.QueryExecModeSimpleProtocol, string(ArrayText(values)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[*string])
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(values) {
		t.Fatalf("%d values", len(got))
	}
	for i, v := range values {
		if (v == nil) != (got[i] == nil) || v != nil && !bytes.Equal(v, []byte(*got[i])) {
			t.Errorf("%q came back as %v", v, got[i])
		}
	}
	if got := string(ArrayText(nil)); got != "{}" {
		t.Errorf("no values: %s", got)
	}
}
