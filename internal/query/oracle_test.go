package query

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

var (
	oracleSeed    = flag.Uint64("oracle-seed", 0, "run the queries of this seed only")
	oracleQueries = flag.Int("oracle-queries", 120, "how many random queries to try")
)

const oracleSchema = `
	CREATE PUBLICATION tidemark FOR ALL TABLES;
	CREATE TABLE a (id int, k int, v int, s text, b bool, d date);
	CREATE TABLE b (id int, a_id int, k int8, n numeric, s varchar(5), b bool);
	CREATE TABLE a_child (extra int) INHERITS (a);
	CREATE VIEW v_plain AS SELECT id, k, s AS label FROM a WHERE b;
	CREATE VIEW v_join AS SELECT a.id, b.k, b.n, a.s, b.id AS bid FROM a LEFT JOIN b ON b.a_id = a.id;
	CREATE VIEW v_group AS SELECT k, max(id) AS id, min(s) AS s FROM a GROUP BY k;
	CREATE VIEW v_limit AS SELECT id, a_id, n, s FROM b ORDER BY n, id, a_id, s LIMIT 2;
	CREATE VIEW v_first AS SELECT DISTINCT ON (k) k, id, s FROM a ORDER BY k, id, s;
	CREATE VIEW v_rank AS SELECT k, id, rank() OVER (PARTITION BY k ORDER BY id)::int AS v FROM a;
	CREATE VIEW v_union AS SELECT id, k, s FROM a WHERE v > 1 UNION SELECT a_id, k::int, s FROM b;
	CREATE VIEW v_nested AS SELECT j.id, p.label, j.n FROM v_join j JOIN v_plain p ON p.id = j.id WHERE j.n > 0;
	CREATE FUNCTION f_set(x int) RETURNS SETOF a LANGUAGE sql STABLE AS 'SELECT * FROM a WHERE k = x OR id = $1';
	CREATE FUNCTION f_one(x int, y text) RETURNS bigint LANGUAGE sql STABLE BEGIN ATOMIC SELECT count(*) FROM b WHERE a_id = x AND s = y; END;
	CREATE TABLE secret (id int, k int, s text);
	ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
	CREATE POLICY visible ON secret USING (k > 0 AND EXISTS (SELECT 1 FROM b WHERE b.a_id = secret.id));
	ALTER TABLE a REPLICA IDENTITY FULL; ALTER TABLE b REPLICA IDENTITY FULL;
	ALTER TABLE a_child REPLICA IDENTITY FULL; ALTER TABLE secret REPLICA IDENTITY FULL;
	DO $$ BEGIN CREATE ROLE oracle_reader; EXCEPTION WHEN duplicate_object THEN END $$;
	GRANT ALL ON ALL TABLES IN SCHEMA public TO oracle_reader;
	CREATE FUNCTION attempt(change text, query text, args text[]) RETURNS TABLE (old jsonb, new jsonb, answer text) LANGUAGE plpgsql AS $$
	BEGIN
		BEGIN
			PERFORM set_config('role', 'none', true);
			EXECUTE change INTO old, new;
			PERFORM set_config('role', 'oracle_reader', true);
			EXECUTE query INTO answer USING args;
			RAISE EXCEPTION USING errcode = 'UNDO1';
		EXCEPTION WHEN sqlstate 'UNDO1' THEN
		END;
		RETURN NEXT;
	END $$;`

// TestOracle holds dependencies to Postgres: whenever a change of a row changes
// an answer, one of the answer's dependencies has to admit the row. Queries,
// parameters and changes are random; a failure prints the seed of its query.
func TestOracle(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, oracleSchema)
	o := &oracle{t: t, conn: settled(t, db), oids: map[string]catalog.OID{}}
	for table := range tableColumns {
		var oid uint32
		if err := o.conn.QueryRow(context.Background(), "SELECT $1::regclass::oid", table).Scan(&oid); err != nil {
			t.Fatal(err)
		}
		o.oids[table] = catalog.OID(oid)
	}
	// Compiling would take longer than running.
	o.exec("SET jit = off; SET ROLE oracle_reader")
	seeds := []uint64{*oracleSeed}
	if *oracleSeed == 0 {
		seeds = nil
		first := rand.Uint64()
		t.Logf("first seed %d", first)
		for i := range *oracleQueries {
			seeds = append(seeds, first+uint64(i))
		}
	}
	for _, seed := range seeds {
		o.query(seed)
		if t.Failed() {
			return
		}
	}
	t.Logf("%d queries, %d changes, %d of them changed the answer; dependencies passed over %d and had no need to admit %d",
		len(seeds), o.changes, o.changed, o.excluded, o.needless)
	if *oracleSeed == 0 && (o.changed < len(seeds)/2 || o.excluded < len(seeds)) {
		t.Errorf("the random queries test too little")
	}
	t.Logf("not analysed: %d", o.refused)
}

type oracle struct {
	t    *testing.T
	conn *pgx.Conn

	oids map[string]catalog.OID

	changes, changed, excluded, needless, refused int
}

// query tries one random query with several arguments and changes.
func (o *oracle) query(seed uint64) {
	g := &generator{rnd: rand.New(rand.NewPCG(seed, 1))}
	sql := g.statement()
	e, problems := endpointOf(o.t, o.conn, sql)
	if e == nil {
		// Some combinations are ambiguous or mix types: those are not the point.
		o.refused++
		if o.refused > 20+*oracleQueries/5 {
			o.t.Errorf("seed %d: %s\n%v", seed, sql, problems)
		}
		return
	}
	// Everything happens in one transaction, which is never committed.
	o.exec("BEGIN")
	defer o.exec("ROLLBACK; SET ROLE oracle_reader")
	for range 3 {
		values := url.Values{}
		for _, name := range slices.Sorted(maps.Keys(g.params)) {
			// The generator may have thrown away an expression with a parameter.
			if _, used := e.byName[name]; !used {
				continue
			}
			if v := g.value(g.params[name]); g.rnd.IntN(4) > 0 {
				values.Set(name, v)
			}
		}
		b, err := e.Bind(nil, values)
		if err != nil {
			o.t.Fatalf("seed %d: %v", seed, err)
		}
		o.exec("SAVEPOINT empty")
		o.fill(g)
		o.change(seed, g, b, sql)
		o.exec("ROLLBACK TO empty")
	}
}

// fill puts new random rows into the tables.
func (o *oracle) fill(g *generator) {
	var sql strings.Builder
	sql.WriteString("RESET ROLE;")
	for _, table := range []string{"a", "b", "a_child", "secret"} {
		for range 1 + g.rnd.IntN(6) {
			fmt.Fprintf(&sql, "INSERT INTO %s VALUES (%s);", table, g.row(table))
		}
	}
	sql.WriteString("SET ROLE oracle_reader")
	o.exec(sql.String())
}

func (o *oracle) exec(sql string) {
	if _, err := o.conn.Exec(context.Background(), sql); err != nil {
		o.t.Fatalf("%s: %v", sql, err)
	}
}

// change makes some changes, each to the same rows, and looks at the answer
// after it.
func (o *oracle) change(seed uint64, g *generator, b *Binding, sql string) {
	query := "SELECT coalesce(string_agg(r::text, '|' ORDER BY r::text), '') FROM (" + b.Endpoint.SQL + "\n) r"
	args := make([]*string, len(b.Args))
	for i := len(args) - 1; i >= 0; i-- {
		query = strings.ReplaceAll(query, fmt.Sprintf("$%d", i+1), fmt.Sprintf("(args)[%d]::%s", i+1, b.Endpoint.Params[i].TypeName))
		if b.Args[i] != nil {
			text := string(b.Args[i])
			args[i] = &text
		}
	}
	query = strings.ReplaceAll(query, "(args)", "($1::text[])")
	tables, changes := []string{""}, []string{"SELECT NULL, NULL"}
	for range 16 {
		table := g.choose("a", "a", "b", "b", "a_child", "secret")
		tables, changes = append(tables, table), append(changes, g.change(table))
	}
	rows, err := o.conn.Query(context.Background(),
		"SELECT t.* FROM unnest($1::text[]) WITH ORDINALITY c(change, n), LATERAL attempt(change, $2, $3) t ORDER BY n", changes, query, args)
	if err != nil {
		o.t.Fatalf("seed %d: %s: %v", seed, query, err)
	}
	results, err := pgx.CollectRows(rows, pgx.RowToStructByPos[attempted])
	if err != nil {
		o.t.Fatalf("seed %d: %s: %v", seed, query, err)
	}
	deps := b.Deps()
	for i, r := range results[1:] {
		old, new := texts(r.Old), texts(r.New)
		if old == nil && new == nil {
			continue
		}
		o.changes++
		admitted := false
		for _, d := range deps {
			admitted = admitted || admits(d, o.oids[tables[i+1]], old, new)
		}
		switch {
		case r.Answer != results[0].Answer:
			o.changed++
			if !admitted {
				o.t.Errorf("seed %d: a change that changes the answer is not admitted\n%s\nwith %s\n%s\ntable %s: %s -> %s\nanswer: %s\n     -> %s",
					seed, sql, b.Key, explained(b), tables[i+1], show(old), show(new), results[0].Answer, r.Answer)
			}
		case admitted:
			o.needless++
		default:
			o.excluded++
		}
	}
}

// attempted is a row before and after a change, and the answer after it.
type attempted struct {
	Old, New map[string]any
	Answer   string
}

// texts returns the columns of a row as text; nil is NULL.
func texts(row map[string]any) map[string]*string {
	if row == nil {
		return nil
	}
	out := map[string]*string{}
	for k, v := range row {
		out[k] = nil
		if v != nil {
			s := fmt.Sprint(v)
			out[k] = &s
		}
	}
	return out
}

func explained(b *Binding) string {
	var lines []string
	for _, x := range b.Endpoint.Explain(b) {
		lines = append(lines, x.String())
	}
	return strings.Join(lines, "\n")
}

func show(row map[string]*string) string {
	var out []string
	for k, v := range row {
		if v == nil {
			out = append(out, k+"=null")
		} else {
			out = append(out, k+"="+*v)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// admits is the contract of match, in the plainest words.
func admits(d match.Dependency, table catalog.OID, old, new map[string]*string) bool {
	if !slices.Contains(d.Reads.Tables, table) {
		return false
	}
	if old != nil && new != nil && d.Reads.Columns != nil {
		changed := false
		for name := range new {
			if slices.Contains(d.Reads.Columns, name) && !sameValue(old[name], new[name]) {
				changed = true
			}
		}
		if !changed {
			return false
		}
		if d.Exact && onlyTestedChanged(d.Reads, old, new) {
			return passes(d, old) != passes(d, new)
		}
	}
	return passes(d, old) || passes(d, new)
}

func onlyTestedChanged(r *match.Reads, old, new map[string]*string) bool {
	for _, name := range r.Columns {
		if !sameValue(old[name], new[name]) && !slices.Contains(r.Tested, name) {
			return false
		}
	}
	return true
}

func sameValue(a, b *string) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }

func passes(d match.Dependency, row map[string]*string) bool {
	if row == nil {
		return false
	}
	for _, t := range d.Tests {
		v, ok := row[t.Column]
		if !ok {
			continue
		}
		if !passesTest(t, v) {
			return false
		}
	}
	return true
}

func passesTest(t match.Test, v *string) bool {
	switch {
	case t.Op == match.IsNull:
		return v == nil
	case v == nil:
		return false
	case t.Op == match.NotNull:
		return true
	}
	d, ok := match.ParseDatum(t.Class, []byte(*v))
	if !ok {
		return true
	}
	if t.Op != match.Range {
		return slices.Contains(t.Values, d) != (t.Op == match.NotEqual)
	}
	if t.Lo.Set {
		if c := d.Compare(t.Lo.Value); c < 0 || c == 0 && !t.Lo.Inclusive {
			return false
		}
	}
	if t.Hi.Set {
		if c := d.Compare(t.Hi.Value); c > 0 || c == 0 && !t.Hi.Inclusive {
			return false
		}
	}
	return true
}
