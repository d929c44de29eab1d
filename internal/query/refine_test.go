package query

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"math"
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
	refineSeed    = flag.Uint64("refine-seed", 0, "run the query of this seed only")
	refineQueries = flag.Int("refine-queries", 60, "how many random queries to try")
)

// TestRefine holds refined dependencies to Postgres. The statements of an
// endpoint are run as a fill runs them; then random changes are made one after
// the other, and as long as none of them touches the answer, the answer has to
// stay what it is.
func TestRefine(t *testing.T) {
	for i := range worlds {
		t.Run(worlds[i].name, func(t *testing.T) { testRefine(t, &worlds[i]) })
	}
}

func testRefine(t *testing.T, w *world) {
	db := pgtest.DB(t)
	db.Exec(t, w.schema)
	o := &refineOracle{t: t, world: w, conn: settled(t, db), relations: map[string]*catalog.Relation{}, shapes: map[string]*tally{}, uses: map[string]int{}}
	for _, table := range w.tables {
		o.relations[table] = relationOf(t, o.conn, table)
	}
	o.exec("SET jit = off; SET ROLE " + w.reader)
	seeds := []uint64{*refineSeed}
	if *refineSeed == 0 {
		seeds = nil
		first := rand.Uint64()
		t.Logf("first seed %d", first)
		n := *refineQueries
		if w.name == "chosen" {
			n = max(n, 6*len(chosen))
		}
		for i := range n {
			seeds = append(seeds, first+uint64(i))
		}
	}
	for _, seed := range seeds {
		if o.query(seed); t.Failed() {
			return
		}
	}
	for _, s := range slices.Sorted(maps.Keys(o.shapes)) {
		t.Logf("%-12s %v", s, o.shapes[s])
	}
	t.Logf("all          %v; not analysed: %d; keys %d, cut short %d; ends of groups %d, behind them %d; spared by %v",
		&o.all, o.refused, o.keys, o.many, o.ends, o.behind, o.uses)
	for _, m := range w.needs {
		if *refineSeed == 0 && o.uses[m] == 0 {
			t.Errorf("no change was spared by %s alone", m)
		}
	}
	if *refineSeed == 0 && w.name == "nested" && (o.ends < len(seeds) || o.behind < len(seeds)) {
		t.Error("the random nested pages test too little")
	}
	if *refineSeed == 0 && (o.all.changed == 0 || o.all.spared == 0 || o.keys == 0 || o.refused > 20+len(seeds)/4) {
		t.Error("the random queries test too little")
	}
}

// tally counts single changes.
type tally struct {
	changed  int // of these the answer changed
	spared   int // neither did it change nor was it touched
	needless int // it was touched and did not change
	static   int // of these, those that are needless only without refinement
}

func (t *tally) String() string {
	return fmt.Sprintf("changed %d, touched for nothing %d (unrefined %d), spared %d", t.changed, t.needless, t.needless+t.static, t.spared)
}

type refineOracle struct {
	t         *testing.T
	world     *world
	conn      *pgx.Conn
	relations map[string]*catalog.Relation
	shapes    map[string]*tally
	all       tally

	refused, keys, many int
	// ends counts full groups, and behind the changes spared because of them.
	ends, behind int
	// uses counts, by mechanism, the changes that would have touched an answer
	// without it.
	uses map[string]int
}

func relationOf(t *testing.T, conn *pgx.Conn, table string) *catalog.Relation {
	t.Helper()
	r := &catalog.Relation{Schema: "public", Name: table}
	var oid uint32
	if err := conn.QueryRow(context.Background(), "SELECT $1::regclass::oid", table).Scan(&oid); err != nil {
		t.Fatal(err)
	}
	r.OID = catalog.OID(oid)
	rows, err := conn.Query(context.Background(), "SELECT attname::text, atttypid::oid FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 ORDER BY attnum", oid)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var name string
		var typ uint32
		if err := rows.Scan(&name, &typ); err != nil {
			t.Fatal(err)
		}
		r.Columns = append(r.Columns, catalog.Column{Name: name, Type: catalog.OID(typ)})
	}
	return r
}

func (o *refineOracle) exec(sql string) {
	if _, err := o.conn.Exec(context.Background(), sql); err != nil {
		o.t.Fatalf("%s: %v", sql, err)
	}
}

func (o *refineOracle) query(seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 2))
	q := o.world.query(rnd)
	e, problems := endpointOf(o.t, o.conn, q.sql)
	if e == nil {
		if o.refused++; o.refused > 20+*refineQueries/4 {
			o.t.Errorf("seed %d: %s\n%v", seed, q.sql, problems)
		}
		return
	}
	o.exec("BEGIN")
	defer o.exec("ROLLBACK; SET ROLE " + o.world.reader)
	for range 6 {
		values := url.Values{}
		for _, name := range slices.Sorted(maps.Keys(q.params)) {
			if _, used := e.byName[name]; used && rnd.IntN(12) > 0 {
				values.Set(name, q.value(q.params[name]))
			}
		}
		b, err := e.Bind(nil, values)
		if err != nil {
			o.t.Fatalf("seed %d: %v", seed, err)
		}
		o.exec("SAVEPOINT empty; RESET ROLE")
		for _, table := range slices.Compact(slices.Sorted(slices.Values(o.world.tables))) {
			for range 3 + rnd.IntN(5) {
				o.exec(fmt.Sprintf("INSERT INTO %s VALUES (%s) ON CONFLICT DO NOTHING", table, q.row(table)))
			}
		}
		o.exec("SET ROLE " + o.world.reader)
		o.binding(seed, rnd, &q, b)
		o.exec("ROLLBACK TO empty")
		if o.t.Failed() {
			return
		}
	}
}

// run runs a statement as a fill does.
func run(t *testing.T, conn *pgx.Conn, sql string, args [][]byte, types []uint32) []change.Row {
	t.Helper()
	result := conn.PgConn().ExecParams(context.Background(), sql, args, types, nil, nil).Read()
	if result.Err != nil {
		t.Fatalf("%s: %v", sql, result.Err)
	}
	var out []change.Row
	for _, r := range result.Rows {
		var row change.Row
		for _, v := range r {
			if v == nil {
				row = append(row, change.Value{Kind: change.Null})
			} else {
				row = append(row, change.Value{Kind: change.Text, Text: bytes.Clone(v)})
			}
		}
		out = append(out, row)
	}
	return out
}

// refined returns the dependencies of the answer that there is now.
func refined(t *testing.T, conn *pgx.Conn, b *Binding) (deps []match.Dependency, p Placed, keys []KeyRows) {
	t.Helper()
	e := b.Endpoint
	var rows []patch.Row
	for _, r := range run(t, conn, e.Statement(b.Variant(), false), b.Args, e.ParamTypes()) {
		rows = append(rows, patch.Row{JSON: r[0].Text, Hidden: r[1:]})
	}
	p = b.Place(rows)
	for i := range e.KeyStatements() {
		args := append(slices.Clone(b.Args), p.Args...)
		k := KeyRows{Rows: run(t, conn, e.KeyStatement(i, false), args, e.KeyTypes())}
		if many := e.KeyStatement(i, true); many != "" {
			checkMany(t, conn, many, args, k.Rows, e.keys[i].columns())
		}
		if len(k.Rows) > MaxKeyRows {
			k = KeyRows{Cut: true}
		}
		keys = append(keys, k)
	}
	return b.Refine(p, keys), p, keys
}

// columns returns how many columns of a statement's rows are decided: which rows
// are witnesses, or in chains, is not.
func (s keyStatement) columns() int {
	switch {
	case s.witness != nil:
		return len(s.witness.same)
	case s.chain != nil:
		return chainRows
	}
	return math.MaxInt
}

// checkMany holds the statement for many bindings to the one for one.
func checkMany(t *testing.T, conn *pgx.Conn, sql string, args [][]byte, want []change.Row, columns int) {
	t.Helper()
	arrays, types := make([][]byte, len(args)), make([]uint32, len(args))
	for i, v := range args {
		arrays[i], types[i] = ArrayText([][]byte{v, v}), 1009
	}
	count := map[string]int{}
	for _, row := range run(t, conn, sql, arrays, types) {
		count[fmt.Sprintf("%q", row[:1+min(columns, len(row)-1)])]++
	}
	for n := range 2 {
		for _, row := range want {
			row = row[:min(columns, len(row))]
			count[fmt.Sprintf("%q", append(change.Row{{Kind: change.Text, Text: []byte(fmt.Sprint(n + 1))}}, row...))]--
		}
	}
	for row, n := range count {
		if n != 0 {
			t.Fatalf("%s\n%d rows too many: %s", sql, n, row)
		}
	}
}

func (o *refineOracle) count(shape string, changed, touched, unrefined bool) {
	n := &o.all
	if shape != "" {
		if o.shapes[shape] == nil {
			o.shapes[shape] = &tally{}
		}
		n = o.shapes[shape]
	}
	switch {
	case changed:
		n.changed++
	case touched:
		n.needless++
	default:
		if n.spared++; unrefined {
			n.static++
		}
	}
}

// changeOf makes a change as the log tells it.
func (o *refineOracle) changeOf(table string, r textsAttempted) *change.Change {
	c := &change.Change{Relation: o.relations[table], Old: rowOf(r.Old), New: rowOf(r.New)}
	switch {
	case c.Old == nil && c.New == nil:
		return nil
	case c.Old == nil:
		c.Op = change.Insert
	case c.New == nil:
		c.Op = change.Delete
	default:
		c.Op = change.Update
	}
	return c
}

func rowOf(values []*string) change.Row {
	var row change.Row
	for _, v := range values {
		switch {
		case v == nil:
			row = append(row, change.Value{Kind: change.Null})
		case *v == "true" || *v == "false":
			row = append(row, change.Value{Kind: change.Text, Text: []byte((*v)[:1])})
		default:
			row = append(row, change.Value{Kind: change.Text, Text: []byte(*v)})
		}
	}
	return row
}

// answerQuery returns a query for the answer as one text, for attempts.
func answerQuery(b *Binding, ordered bool) (query string, args []*string) {
	order := " ORDER BY r::text"
	if ordered {
		order = ""
	}
	query = "SELECT coalesce(string_agg(r::text, '|'" + order + "), '') FROM (" + b.Endpoint.SQL + "\n) r"
	args = make([]*string, len(b.Args))
	for i := len(args) - 1; i >= 0; i-- {
		query = strings.ReplaceAll(query, fmt.Sprintf("$%d", i+1), fmt.Sprintf("(args)[%d]::%s", i+1, b.Endpoint.Params[i].TypeName))
		if b.Args[i] != nil {
			text := string(b.Args[i])
			args[i] = &text
		}
	}
	return strings.ReplaceAll(query, "(args)", "($1::text[])"), args
}

// textsAttempted is a row before and after a change, and the answer after it.
type textsAttempted struct {
	Old, New []*string
	Answer   string
}

// attempts makes changes one after the other; the first result is from before
// them.
func attempts(t *testing.T, conn *pgx.Conn, changes []string, query string, args []*string, reader string) []textsAttempted {
	t.Helper()
	return attemptsKept(t, conn, changes, query, args, reader, false)
}

// attemptsKept is attempts of which the changes stay, or not.
func attemptsKept(t *testing.T, conn *pgx.Conn, changes []string, query string, args []*string, reader string, keep bool) []textsAttempted {
	t.Helper()
	changes = append([]string{"SELECT NULL::text[], NULL::text[]"}, changes...)
	rows, err := conn.Query(context.Background(), "SELECT * FROM attempts($1, $2, $3, $4, $5)", changes, query, args, reader, keep)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	results, err := pgx.CollectRows(rows, pgx.RowToStructByPos[textsAttempted])
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return results
}

func showTexts(row []*string) string {
	if row == nil {
		return "-"
	}
	var out []string
	for _, v := range row {
		if v == nil {
			out = append(out, "null")
		} else {
			out = append(out, *v)
		}
	}
	return strings.Join(out, ",")
}

func showKeys(b *Binding, keys []KeyRows) string {
	var out strings.Builder
	for i, k := range keys {
		fmt.Fprintf(&out, "\n  %s:", b.Endpoint.KeyStatement(i, false))
		for _, row := range k.Rows {
			for _, v := range row {
				fmt.Fprintf(&out, " %s", v.Text)
			}
			out.WriteString(";")
		}
		for _, r := range b.Endpoint.keys[i].restricts {
			fmt.Fprintf(&out, " [%d %s.%s]", r.at, b.Endpoint.Reads[r.col.ref].Name, r.col.name)
		}
	}
	return out.String()
}
