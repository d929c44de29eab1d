package mapping

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/feed"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

var (
	oracleSeed   = flag.Uint64("mapping-seed", 0, "run this seed only")
	oracleRounds = flag.Int("mapping-rounds", 4, "how many random mappings to try")
)

const oracleSchema = `
	CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
	CREATE DOMAIN small AS int CHECK (VALUE < 1000);
	CREATE TABLE t (
		k int, s text, v varchar(9), c char(3), i2 int2, i4 int, i8 int8, n numeric, f4 float4, f8 float8, b bool,
		d date, ts timestamp, tz timestamptz, u uuid, m mood, sm small, j jsonb, raw bytea, iv interval, ip inet, bits varbit,
		a int[], o oid, tm time, big text) PARTITION BY RANGE (k);
	CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (MINVALUE) TO (20);
	CREATE TABLE t2 (big text, k int, s text, v varchar(9), gone int, c char(3), i2 int2, i4 int, i8 int8, n numeric, f4 float4, f8 float8, b bool,
		d date, ts timestamp, tz timestamptz, u uuid, m mood, sm small, j jsonb, raw bytea, iv interval, ip inet, bits varbit,
		a int[], o oid, tm time);
	ALTER TABLE t2 DROP COLUMN gone;
	ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM (20) TO (MAXVALUE);
	ALTER TABLE t1 REPLICA IDENTITY FULL;
	ALTER TABLE t2 REPLICA IDENTITY FULL;
	ALTER TABLE t1 ALTER big SET STORAGE EXTERNAL;
	ALTER TABLE t2 ALTER big SET STORAGE EXTERNAL;
	CREATE TABLE mark (n int);
	ALTER TABLE mark REPLICA IDENTITY FULL;
	CREATE PUBLICATION tidemark FOR ALL TABLES;`

// values are SQL of what columns hold; what stands for text is used by
// conditions too.
var values = map[string][]string{
	"k":    {"1", "2", "19", "20", "21", "40"},
	"s":    {"'a'", "'b'", "'ab'", "'a b'", "'*'", "''", "'x/y'", "'ä'", "'a|b-c=+_9'", "repeat('q', 1024)", "repeat('q', 1025)", "E'a\\n'", "NULL"},
	"v":    {"'a'", "'a '", "'abc'", "'\"'", "NULL"},
	"c":    {"'a'", "'abc'", "'ab'", "''", "NULL"},
	"i2":   {"0", "-1", "7", "NULL"},
	"i4":   {"0", "1", "2147483647", "-5", "NULL"},
	"i8":   {"0", "9223372036854775807", "-9223372036854775808", "NULL"},
	"n":    {"0", "1.50", "1.5", "-0.0", "1e20", "12345678901234567890.123", "'NaN'", "'Infinity'", "NULL"},
	"f4":   {"0", "1.1", "1e20", "'-0'", "'NaN'", "NULL"},
	"f8":   {"0", "1.1", "0.1::float8 + 0.2", "1e20", "1e-7", "'-0'", "'NaN'", "'-Infinity'", "NULL"},
	"b":    {"true", "false", "NULL"},
	"d":    {"'2020-01-01'", "'1970-01-01'", "'0044-03-15 BC'", "'12345-06-07'", "'infinity'", "'-infinity'", "'9999-12-31'", "'0001-01-01'", "'10000-01-01'", "NULL"},
	"ts":   {"'2020-01-01'", "'1970-01-01'", "'2020-01-01 10:11:12.123456'", "'0044-03-15 BC'", "'12345-06-07 01:02:03.4'", "'infinity'", "'-infinity'", "NULL"},
	"tz":   {"'2020-01-01+00'", "'1970-01-01+00'", "'1969-12-31 23:59:59.999999+00'", "'2020-01-01 10:11:12.5+02'", "'0001-01-01+00'", "'0044-03-15 BC'", "'9999-12-31 23:59:59.999999+00'", "'10000-01-01+00'", "'infinity'", "'-infinity'", "NULL"},
	"u":    {"'11111111-2222-3333-4444-555555555555'", "'aaaaaaaa-2222-3333-4444-555555555555'", "NULL"},
	"m":    {"'sad'", "'ok'", "'happy'", "NULL"},
	"sm":   {"3", "4", "NULL"},
	"j":    {`'{"b":[1,2.50,{"x":null}],"a":"\u00e4<&"}'`, "'null'", `'"t"'`, "'17'", "'1e3'", `'[]'`, "NULL"},
	"raw":  {`'\xdeadbeef'`, `''`, "NULL"},
	"iv":   {"'1 day 02:03:04'", "'0'", "NULL"},
	"ip":   {"'10.0.0.1'", "'10.0.0.0/8'", "'::1'", "NULL"},
	"bits": {"B'101'", "B''", "NULL"},
	"a":    {"'{1,2}'", "'{}'", "'{NULL}'", "NULL"},
	"o":    {"5", "4294967295", "NULL"},
	"tm":   {"'10:11:12'", "NULL"},
	"big":  {"repeat('w', 5000)", "repeat('z', 9000)", "'w'", "NULL"},
}

var columnNames = slices.Sorted(maps.Keys(values))

type generator struct{ *rand.Rand }

func (g generator) pick(from []string) string { return from[g.IntN(len(from))] }

func (g generator) id() string {
	c := func() string {
		return "{" + g.pick([]string{"k", "s", "s", "v", "c", "i2", "i4", "i8", "n", "f4", "f8", "b", "d", "u", "m", "sm", "o", "bits", "iv", "ip", "tz", "raw"}) + "}"
	}
	switch g.IntN(5) {
	case 0:
		return "fixed"
	case 1:
		return c() + "/" + c()
	case 2:
		return "x-" + c()
	}
	return c()
}

func (g generator) test() string {
	c := g.pick([]string{"k", "s", "v", "c", "i2", "i4", "i8", "n", "f8", "b", "d", "ts", "tz", "u", "m", "sm", "o"})
	value := func() string {
		for {
			v := g.pick(values[c])
			if v != "NULL" && !strings.Contains(v, "repeat") && !strings.Contains(v, "::") && !strings.Contains(v, "BC") &&
				!strings.Contains(v, "12345-") && !strings.Contains(v, "10000-") {
				return v
			}
		}
	}
	ops := []string{"=", "<>"}
	switch c {
	case "s", "v", "c", "m":
	default:
		ops = append(ops, "<", "<=", ">", ">=")
	}
	switch g.IntN(7) {
	case 0:
		return c + " IS NULL"
	case 1:
		return c + " IS NOT NULL"
	case 2:
		not := g.pick([]string{"", "NOT "})
		return fmt.Sprintf("%s %sIN (%s, %s)", c, not, value(), value())
	case 3:
		if c == "b" {
			return g.pick([]string{"b", "b IS TRUE", "b IS FALSE", "NOT b"})
		}
	case 4:
		if c == "s" {
			return "s LIKE " + g.pick([]string{"'a%'", "'ab'", "'a b%'"})
		}
	}
	return c + " " + g.pick(ops) + " " + value()
}

func (g generator) where(depth int) string {
	if depth == 0 || g.IntN(3) == 0 {
		return g.test()
	}
	switch g.IntN(5) {
	case 0:
		return "NOT (" + g.where(depth-1) + ")"
	case 1, 2:
		return "(" + g.where(depth-1) + " OR " + g.where(depth-1) + ")"
	}
	return "(" + g.where(depth-1) + " AND " + g.where(depth-1) + ")"
}

func (g generator) rule() string {
	subject := "user:" + g.id()
	switch g.IntN(6) {
	case 0:
		subject = "user:*"
	case 1:
		subject = "group:" + g.id() + "#member"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "  - relation: \"document:%s#%s@%s\"\n    from: %s\n", g.id(), g.pick([]string{"owner", "viewer"}), subject, g.pick([]string{"t", "t", "t1", "t2"}))
	if g.IntN(5) > 0 {
		fmt.Fprintf(&b, "    where: |\n      %s\n", g.where(3))
	}
	if g.IntN(2) == 0 {
		fmt.Fprintf(&b, "    caveat: some\n")
		if g.IntN(4) > 0 {
			fmt.Fprintf(&b, "    context:\n")
			for i := range 1 + g.IntN(4) {
				text := "{" + g.pick(columnNames) + "}"
				switch g.IntN(6) {
				case 0:
					text = "fixed <" + strconv.Itoa(i) + "> '"
				case 1:
					text = "a {" + g.pick(columnNames) + "} {" + g.pick(columnNames) + "}"
				}
				fmt.Fprintf(&b, "      p%d: %q\n", i, text)
			}
		}
	}
	if g.IntN(2) == 0 {
		fmt.Fprintf(&b, "    expires: %s\n", g.pick([]string{"d", "ts", "tz", "tz"}))
	}
	return b.String()
}

// write is one random statement.
func (g generator) write() string {
	some := func() string { return g.pick([]string{"true", "k < 3", "k > 18", g.test(), g.test()}) }
	switch g.IntN(8) {
	case 0:
		return "DELETE FROM t WHERE " + some() + " AND random() < 0.5"
	case 1, 2, 3:
		var sets []string
		seen := map[string]bool{}
		for range 1 + g.IntN(4) {
			if c := g.pick(columnNames); !seen[c] {
				seen[c] = true
				sets = append(sets, c+" = "+g.pick(values[c]))
			}
		}
		return "UPDATE t SET " + strings.Join(sets, ", ") + " WHERE " + some()
	}
	var names, rows []string
	for _, c := range columnNames {
		if c == "k" || g.IntN(6) > 0 {
			names = append(names, c)
		}
	}
	for range 1 + g.IntN(5) {
		var row []string
		for _, c := range names {
			row = append(row, g.pick(values[c]))
		}
		rows = append(rows, "("+strings.Join(row, ", ")+")")
	}
	// One INSERT for each row: a list of rows would have to agree on types.
	var all strings.Builder
	for i, row := range rows {
		if i > 0 {
			all.WriteString("; ")
		}
		all.WriteString("INSERT INTO t (" + strings.Join(names, ", ") + ") VALUES " + row)
	}
	return all.String()
}

// follower applies the log to the relationships of a mapping.
type follower struct {
	mu       sync.Mutex
	cond     *sync.Cond
	bound    *Bound
	rels     map[tuple.Relationship]int
	problems int
	mark     int
	started  bool
	err      error
}

func (f *follower) Connected(context.Context, feed.Session) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.started = true
	f.cond.Broadcast()
	return nil
}

func (f *follower) Advance(revision.LSN) {}

func (f *follower) Disconnected(error) {}

func (f *follower) Apply(_ context.Context, tx *change.Transaction) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.cond.Broadcast()
	return tx.Each(func(c *change.Change) error {
		if c.Relation != nil && c.Relation.Name == "mark" && c.Op == change.Insert {
			n, err := strconv.Atoi(string(c.New[0].Text))
			f.mark = n
			return err
		}
		if f.bound == nil || c.Op == change.Define {
			return nil
		}
		removed, added, problems, err := f.bound.Changes(c)
		if err != nil && f.err == nil {
			f.err = err
		}
		f.problems += len(problems)
		for _, r := range removed {
			if f.rels[r]--; f.rels[r] == 0 {
				delete(f.rels, r)
			}
			if f.rels[r] < 0 && f.err == nil {
				f.err = fmt.Errorf("%v ended before it began", r)
			}
		}
		for _, r := range added {
			f.rels[r]++
			if err := r.Check(); err != nil && f.err == nil {
				f.err = fmt.Errorf("%v: %w", r, err)
			}
		}
		return nil
	})
}

func (f *follower) await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.AfterFunc(30*time.Second, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.err = fmt.Errorf("no %s", what)
		f.cond.Broadcast()
	})
	defer deadline.Stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	for !cond() && f.err == nil {
		f.cond.Wait()
	}
	if f.err != nil {
		t.Fatal(f.err)
	}
}

// selected runs the rules' SELECTs, and counts the rows of Invalid.
func selected(t *testing.T, conn *pgx.Conn, m *Mapping) (rels map[tuple.Relationship]int, invalid int) {
	t.Helper()
	rels = map[tuple.Relationship]int{}
	for _, r := range m.Rules {
		rows, err := conn.Query(t.Context(), r.Select())
		if err != nil {
			t.Fatalf("%s: %v", r.Select(), err)
		}
		var s tuple.Relationship
		var expires *int64
		_, err = pgx.ForEachRow(rows, []any{
			&s.Resource.Type, &s.Resource.ID, &s.Relation, &s.Subject.Type, &s.Subject.ID,
			&s.Subject.Relation, &s.Caveat, &s.Context, &expires,
		}, func() error {
			if s.Expires = 0; expires != nil {
				s.Expires = *expires
			}
			var err error
			s.Context, err = tuple.Canonical([]byte(s.Context))
			rels[s]++
			return err
		})
		if err != nil {
			t.Fatalf("%s: %v", r.Select(), err)
		}
		var n int
		if err := conn.QueryRow(t.Context(), "SELECT count(reason) FROM ("+r.Invalid()+") AS i").Scan(&n); err != nil {
			t.Fatalf("%s: %v", r.Invalid(), err)
		}
		invalid += n
	}
	return rels, invalid
}

// Postgres's SELECT and the log give the same relationships after every
// transaction.
func TestOracle(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, oracleSchema)
	conn := connect(t, db)
	f := &follower{rels: map[tuple.Relationship]int{}}
	f.cond = sync.NewCond(&f.mu)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- feed.New(feed.Options{DSN: db.DSN(), Slot: "mapping", Publication: "tidemark", CreateSlot: true, SpillDir: t.TempDir()}, f).Run(ctx)
	}()
	defer func() {
		cancel()
		<-done
	}()
	f.await(t, "connection", func() bool { return f.started })
	mark, seen, refused := 0, 0, 0
	for range *oracleRounds {
		seed := rand.Uint64()
		if *oracleSeed != 0 {
			seed = *oracleSeed
		}
		g := generator{rand.New(rand.NewPCG(seed, 1))}
		m, bound := oracleMapping(t, conn, g, &refused)
		f.mu.Lock()
		f.bound = bound
		f.rels, _ = selected(t, conn, m)
		f.mu.Unlock()
		for range 40 {
			write := g.write()
			mark++
			batch := fmt.Sprintf("BEGIN; SELECT setseed(%v); %s; INSERT INTO mark VALUES (%d); COMMIT", g.Float64(), write, mark)
			if _, err := conn.PgConn().Exec(t.Context(), batch).ReadAll(); err != nil {
				t.Fatalf("seed %d: %s: %v", seed, write, err)
			}
			f.await(t, "transaction", func() bool { return f.mark == mark })
			want, _ := selected(t, conn, m)
			f.mu.Lock()
			equal := maps.Equal(f.rels, want)
			got := maps.Clone(f.rels)
			f.mu.Unlock()
			seen += len(want)
			if !equal {
				for r, n := range want {
					if got[r] != n {
						t.Errorf("Postgres has %d ×, the log %d ×: %.300s", n, got[r], r)
					}
				}
				for r, n := range got {
					if want[r] == 0 {
						t.Errorf("Postgres has 0 ×, the log %d ×: %.300s", n, r)
					}
				}
				var text strings.Builder
				for _, r := range m.Rules {
					fmt.Fprintf(&text, "%s where %s\n", r, r.where)
				}
				t.Fatalf("-mapping-seed %d, after %.500s\n%s", seed, write, text.String())
			}
		}
		if f.problemsOf(t, m, conn) {
			t.Fatalf("-mapping-seed %d: Row and Invalid differ", seed)
		}
	}
	t.Logf("%d relationships compared, %d rules refused", seen, refused)
	if seen == 0 {
		t.Error("nothing was compared")
	}
}

// oracleMapping makes rules that Bind accepts.
func oracleMapping(t *testing.T, conn *pgx.Conn, g generator, refused *int) (*Mapping, *Bound) {
	var text strings.Builder
	text.WriteString("relationships:\n")
	for n := 0; n < 6; {
		rule := g.rule()
		m, err := Parse("oracle.yaml", []byte("relationships:\n"+rule))
		if err != nil {
			t.Fatalf("%s\n%v", rule, err)
		}
		if _, err := m.Bind(t.Context(), conn); err != nil {
			if !strings.Contains(err.Error(), "cannot tell") && !strings.Contains(err.Error(), "cannot be") {
				t.Fatalf("%s\n%v", rule, err)
			}
			*refused++
			continue
		}
		text.WriteString(rule)
		n++
	}
	m, err := Parse("oracle.yaml", []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.Bind(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	return m, b
}

// problemsOf inserts one row of everything and compares the number of problems.
func (f *follower) problemsOf(t *testing.T, m *Mapping, conn *pgx.Conn) bool {
	t.Helper()
	if _, err := conn.Exec(t.Context(), "INSERT INTO mark VALUES (-1)"); err != nil {
		t.Fatal(err)
	}
	f.await(t, "mark", func() bool { return f.mark == -1 })
	f.mu.Lock()
	f.problems = 0
	f.mu.Unlock()
	// Each row anew: what the log counts is then what the table holds.
	if _, err := conn.PgConn().Exec(t.Context(), "BEGIN; UPDATE t SET tm = tm; INSERT INTO mark VALUES (-2); COMMIT").ReadAll(); err != nil {
		t.Fatal(err)
	}
	f.await(t, "mark", func() bool { return f.mark == -2 })
	_, invalid := selected(t, conn, m)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.problems != invalid {
		t.Errorf("Postgres finds %d rows invalid, the log %d", invalid, f.problems)
	}
	return f.problems != invalid
}
