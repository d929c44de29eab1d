package patch

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/feed"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

func pgQuote(v string) string { return "'" + strings.ReplaceAll(v, "'", "''") + "'" }

func parseOID(t testing.TB, b []byte) catalog.OID {
	n, err := strconv.ParseUint(string(b), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return catalog.OID(n)
}

// log is a Sink that passes transactions on.
type log struct {
	streams chan struct{}
	txs     chan *change.Transaction
}

func (l log) Connected(context.Context, feed.Session) error {
	l.streams <- struct{}{}
	return nil
}

func (log) Disconnected(error)   {}
func (log) Advance(revision.LSN) {}
func (l log) Apply(_ context.Context, t *change.Transaction) error {
	l.txs <- t
	return nil
}

// follow starts a feed of everything.
func follow(t *testing.T, db *pgtest.Database) log {
	db.Exec(t, `CREATE PUBLICATION pub FOR ALL TABLES`)
	l := log{streams: make(chan struct{}, 100), txs: make(chan *change.Transaction, 1000)}
	f := feed.New(feed.Options{
		DSN: db.DSN(), Slot: "s_" + db.Name, Publication: "pub", CreateSlot: true, SpillDir: t.TempDir(), StatusInterval: 100 * time.Millisecond,
	}, l)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-l.streams:
	case <-time.After(30 * time.Second):
		t.Fatal("the feed does not stream")
	}
	return l
}

// column is a column of the table in random runs. Values are literals without
// quotes.
type column struct {
	name, typ string
	order     match.Class // ClassNone: not to be sorted by
	value     func(r *rand.Rand) string

	oid, base catalog.OID
	enum      bool
}

func pick(values ...string) func(r *rand.Rand) string {
	return func(r *rand.Rand) string { return values[r.IntN(len(values))] }
}

func sample(typ string) func(r *rand.Rand) string { return pick(samples[typ]...) }

func small(n int) func(r *rand.Rand) string {
	return func(r *rand.Rand) string { return strconv.Itoa(r.IntN(n) - n/3) }
}

func columns() []*column {
	when := func(r *rand.Rand) string {
		return time.Unix(int64(r.IntN(50)), int64(r.IntN(3))*1000).UTC().Format("2006-01-02 15:04:05.999999")
	}
	return []*column{
		{name: "id", typ: "int8 NOT NULL", order: match.ClassInt, value: small(150)},
		{name: "k", typ: "int2 NOT NULL", order: match.ClassInt, value: pick("1", "2", "3")},
		{name: "n", typ: "int4", order: match.ClassInt, value: small(12)},
		{name: "o", typ: "oid", order: match.ClassInt, value: sample("oid")},
		{name: "nu", typ: "numeric", order: match.ClassNumeric, value: sample("numeric")},
		{name: "p", typ: "numeric(8,2)", order: match.ClassNumeric, value: pick("0", "1.5", "-1.50", "-0.01", "99999.99", "100")},
		{name: "f8", typ: "float8", order: match.ClassFloat, value: sample("float8")},
		{name: "f4", typ: "float4", order: match.ClassFloat, value: sample("float4")},
		{name: "b", typ: "bool", order: match.ClassBool, value: sample("bool")},
		{name: "s", typ: `text COLLATE "C"`, order: match.ClassText, value: sample("text")},
		{name: "c", typ: `char(5) COLLATE "C"`, order: match.ClassBPChar, value: pick("", "a", "a b", "\t", "ab", "zz")},
		{name: "v", typ: "varchar(20)", value: sample("text")},
		{name: "u", typ: "uuid", order: match.ClassUUID, value: func(r *rand.Rand) string {
			return fmt.Sprintf("a0eebc99-9c0b-4ef8-bb6d-%012x", r.IntN(1<<20)<<r.IntN(20))
		}},
		{name: "d", typ: "date", order: match.ClassDate, value: pick("2000-01-01", "2000-01-02", "1969-12-31", "0001-01-01", "infinity", "-infinity", "9999-12-31")},
		{name: "ts", typ: "timestamp", order: match.ClassTime, value: when},
		{name: "tz", typ: "timestamptz", order: match.ClassTime, value: when},
		{name: "far", typ: "timestamptz", value: sample("timestamptz")},
		{name: "by", typ: "bytea", value: sample("bytea")},
		{name: "tm", typ: "time", value: sample("time")},
		{name: "iv", typ: "interval", value: sample("interval")},
		{name: "ip", typ: "inet", value: sample("inet")},
		{name: "j", typ: "json", value: sample("json")},
		{name: "jb", typ: "jsonb", value: sample("jsonb")},
		{name: "e", typ: "mood", value: pick("sad", "ok", `"hap\py"`)},
		{name: "dom", typ: "small", order: match.ClassInt, value: pick("1", "2", "3")},
		{name: "domtz", typ: "moment", value: sample("timestamptz")},
		{name: "doma", typ: "bag", value: pick("{}", `{"a,b",NULL}`)},
		{name: "ia", typ: "int[]", value: pick("{}", "{1,NULL,-3}", "{{1,2},{3,4}}", "[0:1]={5,6}")},
		{name: "ta", typ: "text[]", value: pick("{}", `{"a \"b\\",NULL,"NULL",""}`, "{ä}")},
		{name: "tza", typ: "timestamptz[]", value: pick("{2000-01-01}", `{infinity,"0044-03-15 BC"}`)},
		{name: "ja", typ: "jsonb[]", value: pick(`{"{\"a\": [1, \"}\"]}"}`, "{1}")},
		{name: "ba", typ: "bool[]", value: pick("{t,f,NULL}")},
		{name: "na", typ: "numeric[]", value: pick("{1.50,NaN}")},
		{name: `q"uo,te` + "\t", typ: "text", value: pick("x", `{"`)},
		{name: "big", typ: "text", value: func(r *rand.Rand) string {
			// Too random to be compressed, so it is stored out of line.
			b := make([]byte, 2500*r.IntN(3))
			for i := range b {
				b[i] = byte(' ' + r.IntN(90))
			}
			return string(b)
		}},
	}
}

func ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func (c *column) literal(r *rand.Rand) string {
	if !strings.HasSuffix(c.typ, "NOT NULL") && r.IntN(6) == 0 {
		return "NULL"
	}
	return pgQuote(c.value(r))
}

// world is a table, its writer, and answers that follow it.
type world struct {
	t       *testing.T
	r       *rand.Rand
	conn    *pgconn.PgConn
	log     log
	columns []*column
	key     []string
	reads   *match.Reads
	mark    int
}

func newWorld(t *testing.T, seed uint64, partitioned bool, identity string) *world {
	db := pgtest.DB(t)
	w := &world{t: t, r: rand.New(rand.NewPCG(seed, 7)), conn: session(t, db), columns: columns(), key: []string{"id"}}
	var defs []string
	for _, c := range w.columns {
		defs = append(defs, ident(c.name)+" "+c.typ)
	}
	query(t, w.conn, `CREATE TYPE mood AS ENUM ('sad', 'ok', '"hap\py"'); CREATE DOMAIN small AS int2 CHECK (VALUE < 9);
		CREATE DOMAIN moment AS timestamptz; CREATE DOMAIN bag AS text[]; CREATE TABLE mark (n int PRIMARY KEY)`)
	if partitioned {
		w.key = []string{"id", "k"}
		backwards := slices.Clone(defs)
		slices.Reverse(backwards)
		query(t, w.conn, `CREATE TABLE t (`+strings.Join(defs, ", ")+`, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
			CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1);
			CREATE TABLE t2 (gone int, `+strings.Join(backwards, ", ")+`);
			ALTER TABLE t2 DROP COLUMN gone; ALTER TABLE t ATTACH PARTITION t2 FOR VALUES IN (2);
			CREATE TABLE t3 PARTITION OF t DEFAULT`)
	} else {
		query(t, w.conn, `CREATE TABLE t (`+strings.Join(defs, ", ")+`, PRIMARY KEY (id))`)
	}
	w.reads = &match.Reads{Name: "public.t"}
	for _, r := range query(t, w.conn, `SELECT oid::int8, relname FROM pg_class WHERE relname ~ '^t[123]?$'`) {
		query(t, w.conn, `ALTER TABLE `+string(r[1])+` REPLICA IDENTITY `+identity)
		w.reads.Tables = append(w.reads.Tables, parseOID(t, r[0]))
	}
	for _, c := range w.columns {
		r := query(t, w.conn, `SELECT a.atttypid::int8, coalesce(nullif(y.typbasetype, 0), y.oid)::int8, y.typtype
			FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid WHERE attrelid = 't'::regclass AND attname = `+pgQuote(c.name))[0]
		c.oid, c.base, c.enum = parseOID(t, r[0]), parseOID(t, r[1]), string(r[2]) == "e"
	}
	w.log = follow(t, db)
	w.write()
	return w
}

func (w *world) column(name string) *column {
	return w.columns[slices.IndexFunc(w.columns, func(c *column) bool { return c.name == name })]
}

// statement returns a random one.
func (w *world) statement() string {
	some := func() string {
		n := w.r.IntN(100) - 50
		switch w.r.IntN(5) {
		case 0:
			return fmt.Sprintf("id BETWEEN %d AND 1000 AND k = %d", 70+w.r.IntN(60), 1+w.r.IntN(3))
		case 1:
			return fmt.Sprintf("n = %s", small(12)(w.r))
		}
		return fmt.Sprintf("id BETWEEN %d AND %d", n, n+w.r.IntN(6))
	}
	insert := func() string {
		var values []string
		for _, c := range w.columns {
			values = append(values, c.literal(w.r))
		}
		return "INSERT INTO t VALUES (" + strings.Join(values, ", ") + ") ON CONFLICT DO NOTHING"
	}
	switch n := w.r.IntN(10); {
	case n < 4:
		return insert()
	case n < 5:
		return "DELETE FROM t WHERE " + some()
	case n < 7:
		// A key that is free.
		return `UPDATE t SET id = (SELECT max(id) + 1 FROM t) WHERE id = ` + small(150)(w.r)
	}
	var set []string
	for range 1 + w.r.IntN(3) {
		c := w.columns[1+w.r.IntN(len(w.columns)-1)]
		if !slices.ContainsFunc(set, func(s string) bool { return strings.HasPrefix(s, ident(c.name)) }) {
			set = append(set, ident(c.name)+" = "+c.literal(w.r))
		}
	}
	return "UPDATE t SET " + strings.Join(set, ", ") + " WHERE " + some()
}

// write commits a random transaction and returns its changes.
func (w *world) write() []*change.Change {
	w.mark++
	sql := []string{"BEGIN", fmt.Sprintf("INSERT INTO mark VALUES (%d)", w.mark)}
	n := 1 + w.r.IntN(6)
	if w.mark == 1 {
		n = 200
	}
	for range n {
		s := w.statement()
		// A row does not always fit where the statement puts it.
		sql = append(sql, "DO $do$ BEGIN "+s+"; EXCEPTION WHEN unique_violation THEN NULL; END $do$")
		if w.r.IntN(4) == 0 {
			sql = append(sql, "SAVEPOINT a", "DELETE FROM t WHERE id % 2 = 0", "ROLLBACK TO a")
		}
	}
	query(w.t, w.conn, `TRUNCATE mark`)
	for _, s := range sql {
		query(w.t, w.conn, s)
	}
	query(w.t, w.conn, "COMMIT")
	timeout := time.After(30 * time.Second)
	for {
		select {
		case tx := <-w.log.txs:
			var changes []*change.Change
			marked := false
			for i := range tx.Changes {
				c := &tx.Changes[i]
				marked = marked || c.Relation != nil && c.Relation.Name == "mark" && c.Op == change.Insert
				if c.Relation != nil || c.Op != change.Define {
					changes = append(changes, c)
				}
			}
			if marked {
				return changes
			}
		case <-timeout:
			w.t.Fatal("the log does not come")
		}
	}
}

// condition is a conjunct in both languages.
type condition struct {
	sql  string
	test match.Test
}

func (w *world) condition() condition {
	datum := func(class match.Class, s string) match.Datum {
		d, ok := match.ParseDatum(class, []byte(s))
		if !ok {
			w.t.Fatalf("%v %q", class, s)
		}
		return d
	}
	c := w.column([]string{"k", "n", "p", "tz", "b", "s", "u", "d", "f8", "dom"}[w.r.IntN(10)])
	test := match.Test{Column: c.name, Type: c.oid, Class: c.order}
	a, b := c.value(w.r), c.value(w.r)
	cast := "::" + strings.Fields(c.typ)[0]
	sql := ident(c.name)
	one := func(s string) string { return pgQuote(s) + cast }
	switch n := w.r.IntN(8); {
	case n == 0 && c.order != match.ClassText:
		test.Op, test.Lo = match.Range, match.Bound{Set: true, Inclusive: true, Value: datum(c.order, a)}
		sql += " >= " + one(a)
	case n == 1 && c.order != match.ClassText:
		test.Op, test.Hi = match.Range, match.Bound{Set: true, Value: datum(c.order, a)}
		sql += " < " + one(a)
	case n == 2:
		test.Op = match.IsNull
		sql += " IS NULL"
	case n <= 4:
		test.Op = match.NotNull
		sql += " IS NOT NULL"
	case n == 5:
		test.Op, test.Values = match.NotEqual, []match.Datum{datum(c.order, a)}
		sql += " <> " + one(a)
	case n == 6:
		test.Op, test.Values = match.NotEqual, []match.Datum{datum(c.order, a), datum(c.order, b)}
		sql += fmt.Sprintf(" NOT IN (%s, %s)", one(a), one(b))
	default:
		test.Op, test.Values = match.In, []match.Datum{datum(c.order, a), datum(c.order, b)}
		sql += fmt.Sprintf(" IN (%s, %s)", one(a), one(b))
	}
	return condition{sql, test}
}

// answer is one answer that is followed.
type answer struct {
	bound         *Bound
	oracle, start string // statements
	state         *State
	plain         bool // enough slack, so that it should be followed mostly
	what          string
}

func (w *world) answer(full bool) *answer {
	r := w.r
	p := &Plan{Reads: w.reads, One: r.IntN(6) == 0}
	a := &answer{bound: &Bound{Plan: p, Limit: 1 + r.IntN(6), Offset: max(0, r.IntN(5)-2), Slack: r.IntN(8)}}
	where := "true"
	for range []int{0, 0, 1, 2}[r.IntN(4)] {
		c := w.condition()
		where += " AND " + c.sql
		a.bound.Tests = append(a.bound.Tests, c.test)
	}
	if r.IntN(4) == 0 {
		w.aggregates(a, where, full)
		return a
	}
	lookup := r.IntN(6) == 0
	if lookup {
		p.One, a.bound.Offset = r.IntN(3) > 0, 0
	} else if p.One {
		a.bound.Limit = 1
	} else if r.IntN(6) == 0 {
		a.bound.Limit = -1
	}
	a.plain = full && (a.bound.Slack >= 4 || a.bound.Limit < 0)

	var shown, hidden, order []string
	for i, at := range r.Perm(len(w.columns))[:2+r.IntN(len(w.columns)-2)] {
		c := w.columns[at]
		name := c.name
		if i%3 == 2 {
			name += `_"x`
		}
		p.Columns = append(p.Columns, Column{Name: name, Column: c.name, Type: c.oid, Base: c.base, Enum: c.enum})
		shown = append(shown, ident(c.name)+" AS "+ident(name))
	}
	for _, k := range w.key {
		c := w.column(k)
		p.Key = append(p.Key, match.KeyColumn{Column: k, Type: c.oid, Class: c.order})
		if lookup {
			where += " AND " + k + " = "
			v := c.value(r)
			where += v
			d, _ := match.ParseDatum(c.order, []byte(v))
			a.bound.Tests = append(a.bound.Tests, match.Test{Column: k, Type: c.oid, Class: c.order, Op: match.Equal, Values: []match.Datum{d}})
		}
	}
	if !lookup {
		by := func(c *column) {
			o := match.OrderColumn{Column: c.name, Type: c.oid, Class: c.order, Desc: r.IntN(2) == 0, NullsFirst: r.IntN(2) == 0}
			p.Order = append(p.Order, o)
			hidden = append(hidden, ident(c.name))
			order = append(order, ident(c.name)+map[bool]string{true: " DESC", false: " ASC"}[o.Desc]+
				map[bool]string{true: " NULLS FIRST", false: " NULLS LAST"}[o.NullsFirst])
		}
		for range r.IntN(3) {
			if c := w.columns[r.IntN(len(w.columns))]; c.order != match.ClassNone {
				by(c)
			}
		}
		for _, k := range w.key {
			if !slices.ContainsFunc(p.Order, func(o match.OrderColumn) bool { return o.Column == k }) {
				by(w.column(k))
			}
		}
	}
	hidden = append(hidden, w.key...)
	from := " FROM t WHERE " + where
	if !lookup {
		from += " ORDER BY " + strings.Join(order, ", ")
	}
	limit := func(n int) string {
		if a.bound.Limit < 0 {
			return ""
		}
		return fmt.Sprintf(" LIMIT %d", n)
	}
	selected := "SELECT " + strings.Join(shown, ", ")
	a.oracle = fmt.Sprintf("SELECT row_to_json(x)::text FROM (%s%s%s OFFSET %d) x", selected, from, limit(a.bound.Limit), a.bound.Offset)
	a.start = fmt.Sprintf("SELECT (SELECT row_to_json(x)::text FROM (%s) x), %s%s%s", selected, strings.Join(hidden, ", "), from,
		limit(a.bound.Offset+a.bound.Limit+a.bound.Slack))
	a.what = fmt.Sprintf("%s offset %d limit %d slack %d", from, a.bound.Offset, a.bound.Limit, a.bound.Slack)
	return a
}

func (w *world) aggregates(a *answer, where string, full bool) {
	p := a.bound.Plan
	a.bound.Offset, a.bound.Limit, a.plain = 0, -1, full
	var shown, hidden []string
	for i := range 1 + w.r.IntN(4) {
		c := w.column([]string{"n", "k", "p", "id", "dom"}[w.r.IntN(5)])
		g := Aggregate{Name: fmt.Sprintf("a\"%d", i), Kind: AggregateKind(w.r.IntN(3)), Column: c.name, Type: c.oid, Base: c.base}
		expr, count := fmt.Sprintf("sum(%s)", c.name), fmt.Sprintf("count(%s)", c.name)
		switch g.Kind {
		case CountRows:
			expr, count, g.Column = "count(*)", "count(*)", ""
		case Count:
			expr = count
			// Neither is what is counted of every type.
			if w.r.IntN(2) == 0 {
				c = w.column("ja")
				g.Column, g.Type, g.Base = c.name, c.oid, c.base
				expr, count = "count(ja)", "count(ja)"
			}
		case Sum:
			if c.name == "p" {
				g.Scale = 2
			}
		}
		p.Aggregates = append(p.Aggregates, g)
		shown = append(shown, expr+" AS "+ident(g.Name))
		hidden = append(hidden, count)
	}
	selected := "SELECT " + strings.Join(shown, ", ") + " FROM t WHERE " + where
	a.oracle = "SELECT row_to_json(x)::text FROM (" + selected + ") x"
	a.start = "SELECT (" + a.oracle + "), " + strings.Join(hidden, ", ") + " FROM t WHERE " + where
	a.what = selected
}

func (w *world) begin(a *answer) {
	var rows []Row
	for _, r := range query(w.t, w.conn, a.start) {
		row := Row{JSON: r[0]}
		for _, v := range r[1:] {
			if v == nil {
				row.Hidden = append(row.Hidden, change.Value{Kind: change.Null})
			} else {
				row.Hidden = append(row.Hidden, change.Value{Kind: change.Text, Text: v})
			}
		}
		rows = append(rows, row)
	}
	if a.state = Start(a.bound, rows); a.state == nil {
		w.t.Fatalf("cannot start: %s", a.start)
	}
}

// check compares a state with what Postgres says.
func (w *world) check(a *answer) {
	w.t.Helper()
	var rows [][]byte
	for _, r := range query(w.t, w.conn, a.oracle) {
		rows = append(rows, r[0])
	}
	want := append(append([]byte{'['}, bytes.Join(rows, []byte{','})...), ']')
	found := true
	if a.bound.Plan.One {
		if want, found = nil, len(rows) > 0; found {
			want = rows[0]
		}
	}
	if got, ok := a.state.Body(); ok != found || !bytes.Equal(got, want) {
		w.t.Fatalf("%s\ngot  %v %s\nwant %v %s", a.what, ok, got, found, want)
	}
}

// TestOracle lets answers follow random writes, and compares every one of them
// with what Postgres says after every transaction.
func TestOracle(t *testing.T) {
	for _, run := range []struct {
		name        string
		partitioned bool
		identity    string
	}{
		{"full", false, "FULL"},
		{"default", false, "DEFAULT"},
		{"partitions", true, "FULL"},
		{"partitions default", true, "DEFAULT"},
	} {
		t.Run(run.name, func(t *testing.T) {
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			w := newWorld(t, seed, run.partitioned, run.identity)
			const answers, rounds = 40, 80
			var all []*answer
			for range answers {
				all = append(all, w.answer(run.identity == "FULL"))
				w.begin(all[len(all)-1])
			}
			var followed, edged, refused, same, plain, plainRefused int
			for round := range rounds {
				changes := w.write()
				for i, a := range all {
					before, _ := a.state.Body()
					before = bytes.Clone(before)
					old := a.state
					next, changed, ok := a.state.Follow(changes)
					if a.plain {
						plain++
					}
					if after, _ := old.Body(); !bytes.Equal(before, after) {
						t.Fatalf("%s\nwas changed", a.what)
					}
					if !ok {
						if refused++; a.plain {
							plainRefused++
						}
						if round%3 == 0 { // another one instead
							all[i] = w.answer(run.identity == "FULL")
						}
						w.begin(all[i])
						w.check(all[i])
						continue
					}
					followed++
					if next.end != endless {
						edged++
					}
					a.state = next
					after, _ := next.Body()
					if changed == bytes.Equal(before, after) {
						t.Fatalf("%s\nchanged %v:\n%s\n%s", a.what, changed, before, after)
					}
					if !changed {
						same++
						if len(before) > 0 && &after[0] != &func() []byte { b, _ := old.Body(); return b }()[0] {
							t.Fatalf("%s\nthe body is another one with the same bytes", a.what)
						}
					}
					w.check(a)
				}
			}
			t.Logf("followed %d (%d without a change of the body, %d with an end), refused %d; of %d plain ones refused %d", followed, same, edged, refused, plain, plainRefused)
			if followed-same < answers*rounds/20 {
				t.Errorf("only %d answers changed", followed-same)
			}
			if plainRefused*20 > plain {
				t.Errorf("of %d plain answers %d were refused", plain, plainRefused)
			}
		})
	}
}
