package table_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/keep"
	"github.com/tidemarkdb/tidemark/internal/live/table"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// randomSchema has a table with a plain key, one with a key of two columns, one
// without a key, and one of partitions.
const randomSchema = `
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE items (id int PRIMARY KEY, n int, s text, b bool, owner text, big text, iv interval, m mood, d date, made int GENERATED ALWAYS AS (n + 1) STORED);
ALTER TABLE items ALTER big SET STORAGE EXTERNAL;
CREATE TABLE pairs (b int, s text, n int, a text, owner text, PRIMARY KEY (a, b));
CREATE TABLE loose (n int, s text, u bigint, owner text);
CREATE TABLE parts (id int, n int, s text, owner text, PRIMARY KEY (id, n)) PARTITION BY LIST (n);
CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN (0, 1, 2, 3);
CREATE TABLE parts_b (owner text, s text, n int NOT NULL, id int NOT NULL);
ALTER TABLE parts ATTACH PARTITION parts_b FOR VALUES IN (4, 5, 6);
CREATE TABLE parts_c PARTITION OF parts DEFAULT;
ALTER TABLE items REPLICA IDENTITY FULL; ALTER TABLE pairs REPLICA IDENTITY FULL; ALTER TABLE loose REPLICA IDENTITY FULL;
ALTER TABLE parts REPLICA IDENTITY FULL; ALTER TABLE parts_a REPLICA IDENTITY FULL; ALTER TABLE parts_b REPLICA IDENTITY FULL; ALTER TABLE parts_c REPLICA IDENTITY FULL;
CREATE SEQUENCE u;`

var randomTables = []string{"items", "pairs", "loose", "parts"}

// conditions of which the parameters are numbers below ten or texts of a letter.
var conditions = map[string][]string{
	"": {
		"", "", "n < $1", "n = $1", "n IN (1, 3, 5)", "n BETWEEN $1 AND $2", "s LIKE 'a%'", "s = ANY ('{a,b,ab}')", "n IS NULL OR s > 'b'",
		"s ILIKE '%B%'", "n % 2 = 0", "length(s) > 1 AND n < $1", "owner = 'o1' AND NOT (n = $1)", "upper(s) = 'A'", "n <> $1", "s IS NOT NULL",
		"(n = 1 OR n = 2) AND s < 'c'", "coalesce(n, 0) > $1", "true", "false",
	},
	"items": {"b", "NOT b", "b IS NOT TRUE", "m = 'ok'", "m > 'sad'", "id % 3 = $1", "d > '2020-01-05'", "length(big) > 3000", "iv > interval '3 hours'", "b AND id > 20"},
}

func (w *writer) value(name string) string {
	switch name {
	case "n":
		if w.IntN(12) == 0 {
			return "NULL"
		}
		return fmt.Sprint(w.IntN(10))
	case "s":
		if w.IntN(12) == 0 {
			return "NULL"
		}
		return "'" + strings.Repeat(string(rune('a'+w.IntN(4))), 1+w.IntN(2)) + []string{"", `"`, `\\`, " x/y", "é,\n"}[max(0, w.IntN(12)-7)] + "'"
	case "b":
		return []string{"true", "false", "NULL"}[w.IntN(3)]
	case "owner":
		return fmt.Sprintf("'o%d'", w.IntN(3))
	case "big":
		return fmt.Sprintf("repeat(md5('%d'), %d)", w.IntN(1000), 1+w.IntN(2)*100)
	case "iv":
		return fmt.Sprintf("interval '%d days %d hours %d seconds'", w.IntN(3)-1, w.IntN(9)-4, w.IntN(100))
	case "m":
		return []string{"'sad'", "'ok'", "'happy'", "NULL"}[w.IntN(4)]
	case "d":
		return fmt.Sprintf("date '2020-01-01' + %d", w.IntN(10))
	case "a":
		return fmt.Sprintf("'%c'", 'a'+w.IntN(5))
	case "u":
		return "nextval('u')"
	}
	return fmt.Sprint(w.IntN(60))
}

var randomColumns = map[string][]string{
	"items": {"id", "n", "s", "b", "owner", "big", "iv", "m", "d"}, "pairs": {"a", "b", "n", "s", "owner"},
	"loose": {"n", "s", "u", "owner"}, "parts": {"id", "n", "s", "owner"},
}

// writer makes random transactions.
type writer struct {
	*rand.Rand
	truncate, huge bool
}

func (w *writer) where(t string) string {
	switch w.IntN(4) {
	case 0:
		return fmt.Sprintf("n = %d", w.IntN(10))
	case 1:
		return "owner = " + w.value("owner") + " AND s < " + w.value("a")
	}
	if t == "loose" {
		return fmt.Sprintf("u %% 7 = %d", w.IntN(7))
	}
	return fmt.Sprintf("%s = %d", map[string]string{"items": "id", "pairs": "b", "parts": "id"}[t], w.IntN(60))
}

func (w *writer) statement() string {
	t := randomTables[w.IntN(len(randomTables))]
	columns := randomColumns[t]
	switch k := w.IntN(12); {
	case k < 4:
		var rows []string
		for range 1 + w.IntN(4) {
			var vs []string
			for _, c := range columns {
				v := w.value(c)
				if t == "parts" && c == "n" && v == "NULL" {
					v = "0"
				}
				vs = append(vs, v)
			}
			rows = append(rows, "("+strings.Join(vs, ", ")+")")
		}
		return fmt.Sprintf("INSERT INTO %s (%s) VALUES %s ON CONFLICT DO NOTHING", t, strings.Join(columns, ", "), strings.Join(rows, ", "))
	case k < 9:
		c := columns[w.IntN(len(columns))]
		v := w.value(c)
		switch {
		case c == "id" || t == "pairs" && c == "b":
			v = fmt.Sprintf("%s + %d", c, w.IntN(100)-50)
		case t == "parts" && c == "n" && v == "NULL":
			v = "7"
		}
		return fmt.Sprintf("UPDATE %s SET %s = %s WHERE %s", t, c, v, w.where(t))
	case k == 9 && w.truncate && w.IntN(40) == 0:
		if t == "parts" {
			t = []string{"parts", "parts_a", "parts_b"}[w.IntN(3)]
		}
		return "TRUNCATE " + t
	case k == 10 && w.huge && w.IntN(15) == 0:
		return fmt.Sprintf("INSERT INTO items (id, n, s, owner) SELECT g, g %% 10, 'a', 'o' || g %% 3 FROM generate_series(1000, %d) g ON CONFLICT (id) DO UPDATE SET n = (items.n + 1) %% 10", 2000+w.IntN(4000))
	case k == 10 && w.huge:
		return fmt.Sprintf("DELETE FROM items WHERE id >= 1000 AND id %% 5 = %d", w.IntN(5))
	}
	return fmt.Sprintf("DELETE FROM %s WHERE %s", t, w.where(t))
}

// run writes until done.
func (w *writer) run(t testing.TB, db *pgtest.Database, done *atomic.Bool, pace time.Duration, setting string) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, db.DSN()+setting)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close(ctx)
	for !done.Load() {
		if w.IntN(25) == 0 {
			// In one LSN.
			rows := &bytes.Buffer{}
			for range 3 {
				fmt.Fprintf(rows, "%d\tc\t%d\to1\n", w.IntN(10), w.Int64N(1<<40)+1<<40)
			}
			_, err = conn.PgConn().CopyFrom(ctx, rows, "COPY loose (n, s, u, owner) FROM STDIN")
			if err != nil {
				t.Error(err)
			}
			continue
		}
		_, err := conn.Exec(ctx, "BEGIN")
		if err == nil && setting == "" && w.IntN(3) == 0 {
			_, err = conn.Exec(ctx, "SET LOCAL synchronous_commit = "+[]string{"off", "on", "local"}[w.IntN(3)])
		}
		for range 1 + w.IntN(4) {
			if err != nil {
				break
			}
			if w.IntN(6) == 0 {
				_, _ = conn.Exec(ctx, "SAVEPOINT p")
				_, _ = conn.Exec(ctx, w.statement())
				if w.IntN(2) == 0 || conn.PgConn().TxStatus() == 'E' {
					_, err = conn.Exec(ctx, "ROLLBACK TO p")
				}
				continue
			}
			_, err = conn.Exec(ctx, w.statement())
			if w.IntN(8) == 0 {
				time.Sleep(time.Duration(w.IntN(5)) * time.Millisecond) // interleaved with others
			}
		}
		end := "COMMIT"
		if w.IntN(8) == 0 {
			end = "ROLLBACK"
		}
		if _, _ = conn.Exec(ctx, end); conn.IsClosed() {
			return
		}
		if pace > 0 {
			time.Sleep(time.Duration(w.Int64N(int64(pace))))
		}
	}
}

// check is what a follower had when it was told to be up to date.
type check struct {
	def  live.Definition
	at   revision.LSN
	rows []string
	who  string
}

// randomDefinition returns a shape that clients could want.
func randomDefinition(rng *rand.Rand) live.Definition {
	t := randomTables[rng.IntN(len(randomTables))]
	all := append(slices.Clone(conditions[""]), conditions[t]...)
	d := live.Definition{Table: t, Where: all[rng.IntN(len(all))], Full: rng.IntN(3) == 0}
	for i := range strings.Count(d.Where, "$") {
		if d.Params == nil {
			d.Params = map[string]string{}
		}
		d.Params[fmt.Sprint(i+1)] = fmt.Sprint(rng.IntN(5) + 4*i)
	}
	if rng.IntN(3) == 0 {
		d.Columns = map[string][]string{"items": {"id", "s", "iv"}, "pairs": {"n", "b", "a"}, "loose": {"u", "s"}, "parts": {"id", "n"}}[t]
	}
	if rng.IntN(5) == 0 {
		d.Account = ptr(fmt.Sprintf("o%d", rng.IntN(3)))
	}
	return d
}

// scenario is one random test.
type scenario struct {
	seed      uint64
	length    time.Duration
	writers   int
	followers int
	pace      time.Duration
	truncate  bool
	huge      bool
	restarts  int
	hold      bool // commits wait for a standby now and then
	sweep     bool // shapes leave memory
	options   func(*table.Options)
	keep      keep.Options
	scan      int
	gone      bool // followers may have to begin again
	alter     []string
}

func (sc *scenario) play(t *testing.T) {
	if testing.Short() {
		sc.length /= 3
	}
	var db *pgtest.Database
	if sc.hold {
		db = pgtest.Start(t, pgtest.Options{}).DB(t)
	} else {
		db = pgtest.DB(t)
	}
	rng := rand.New(rand.NewPCG(sc.seed, 1))
	r := &rig{t: t, db: db, dir: t.TempDir(), keep: sc.keep, scan: sc.scan, opts: func(o *table.Options) {
		o.Rules = []table.Rule{{Schema: "public", Account: "owner"}}
		if sc.options != nil {
			sc.options(o)
		}
	}}
	db.Exec(t, randomSchema)
	db.Exec(t, `CREATE PUBLICATION pub FOR ALL TABLES`)
	db.Exec(t, triggers)
	r.start()
	t.Cleanup(func() { r.stop() })
	if sc.hold {
		t.Cleanup(func() { _ = db.Server.Reload(map[string]string{"synchronous_standby_names": ""}) })
	}
	var done, quiet atomic.Bool
	var writers, followers sync.WaitGroup
	for i := range sc.writers {
		w := &writer{rand.New(rand.NewPCG(sc.seed, uint64(100+i))), sc.truncate, sc.huge && i == 0}
		setting := ""
		if sc.hold && i%2 == 0 {
			setting = "&synchronous_commit=local" // goes on while others wait
		}
		writers.Go(func() { w.run(t, db, &done, sc.pace, setting) })
	}
	var mu sync.RWMutex // held while the process is down
	var found sync.Mutex
	var checks []check
	var refetched, batches atomic.Int64
	ctx, cancel := context.WithTimeout(context.Background(), sc.length+3*patience)
	defer cancel()
	var final atomic.Uint64
	all := make([]*follower, sc.followers)
	for i := range all {
		rng := rand.New(rand.NewPCG(sc.seed, uint64(1000+i)))
		f := newFollower(r, randomDefinition(rng))
		all[i] = f
		who := fmt.Sprintf("follower %d of %s where %q %v, columns %v, full %v", i, f.def.Table, f.def.Where, f.def.Params, f.def.Columns, f.def.Full)
		followers.Go(func() {
			time.Sleep(time.Duration(rng.Int64N(int64(sc.length) / 2)))
			for !t.Failed() {
				end := revision.LSN(final.Load())
				mu.RLock()
				s, err := f.step(ctx)
				mu.RUnlock()
				batches.Add(1)
				switch {
				case errors.Is(err, live.ErrUnavailable):
					time.Sleep(5 * time.Millisecond)
					continue
				case err != nil:
					t.Errorf("%s: %v", who, err)
					return
				}
				if f.upTo && (rng.IntN(4) == 0 || end != 0 && f.at >= end) {
					found.Lock()
					checks = append(checks, check{f.def, f.at, f.rows.flat(), who})
					found.Unlock()
				}
				if end != 0 && f.upTo && f.at >= end {
					return
				}
				if !f.upTo && rng.IntN(10) > 0 {
					continue
				}
				switch rng.IntN(5) {
				case 0:
					time.Sleep(time.Duration(rng.IntN(50)) * time.Millisecond)
				case 1:
					if rng.IntN(6) == 0 {
						time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond)
					}
					if rng.IntN(8) == 0 {
						f.reset()
					}
				default:
					if !f.upTo {
						continue
					}
					mu.RLock()
					news := s.Changed(f.offset)
					mu.RUnlock()
					if news != nil {
						select {
						case <-news.Done():
						case <-time.After(300 * time.Millisecond):
						}
					}
				}
			}
		})
	}
	for end, n := time.Now().Add(sc.length), 0; time.Now().Before(end) && !t.Failed(); n++ {
		time.Sleep(min(time.Until(end), sc.length/time.Duration(max(8, 2*sc.restarts))))
		if sc.restarts > 0 && n%2 == 0 {
			mu.Lock()
			r.stop()
			r.start()
			mu.Unlock()
		}
		if sc.hold && !quiet.Load() {
			names := ""
			if n%2 == 0 {
				names = "nobody"
			}
			if err := db.Server.Reload(map[string]string{"synchronous_standby_names": names}); err != nil {
				t.Error(err)
			}
		}
		if sc.sweep {
			r.hub.Sweep(time.Duration(rng.IntN(2))*time.Hour, r.hub.Visible())
		}
		if n < len(sc.alter) {
			db.Exec(t, sc.alter[n])
		}
	}
	if sc.hold {
		if err := db.Server.Reload(map[string]string{"synchronous_standby_names": ""}); err != nil {
			t.Error(err)
		}
	}
	done.Store(true)
	writers.Wait()
	final.Store(uint64(r.settle()))
	followers.Wait()
	for _, f := range all {
		refetched.Add(int64(f.refetched))
		if f.refetched > 0 && !sc.gone {
			t.Log(f.why)
		}
	}
	st := r.hub.Status()
	t.Logf("seed %d: %d transactions, %d checks, %d refetched, %d polls, %+v", sc.seed, r.transactions(), len(checks), refetched.Load(), batches.Load(), st)
	if refetched.Load() > 0 && !sc.gone {
		t.Errorf("%d times a follower had to begin again", refetched.Load())
	}
	r.hub.Sweep(0, r.hub.Visible())
	if n, bytes := r.hub.Recent(); n > 0 || bytes != 0 {
		t.Errorf("%d transactions with %d bytes are held, and no tail refers to them", n, bytes)
	}
	if t.Failed() {
		return
	}
	verify(t, r, checks)
	conn := db.Conn(t)
	for _, f := range all {
		compare(t, "at the end, "+f.def.Where+" of "+f.def.Table, f.rows.flat(), inPostgres(t, conn, statement(&f.def, f.def.Table), params(&f.def)...))
	}
}

func params(d *live.Definition) []string {
	var out []string
	for i := range d.Params {
		_ = i
		out = append(out, d.Params[fmt.Sprint(len(out)+1)])
	}
	if d.Account != nil {
		out = append(out, *d.Account)
	}
	return out
}

// statement is the SELECT that a definition means.
func statement(d *live.Definition, from string) string {
	columns := d.Columns
	if columns == nil {
		columns = randomColumns[d.Table]
	}
	sql := "SELECT " + strings.Join(columns, ", ") + " FROM " + from + " WHERE true"
	if d.Where != "" {
		sql += " AND (" + d.Where + ")"
	}
	if d.Account != nil {
		sql += fmt.Sprintf(" AND owner = $%d", len(d.Params)+1)
	}
	return sql
}

// model is what the tables hold after a prefix of the log: rows as the text of the
// columns that randomColumns names.
type model map[string]map[string]int

func literal(c *change.Change, row change.Row, root string) string {
	b := []byte{'('}
	for i, name := range randomColumns[root] {
		if i > 0 {
			b = append(b, ',')
		}
		v := row[c.Relation.Column(name)]
		if v.Kind == change.Null {
			continue
		}
		b = append(b, '"')
		for _, ch := range v.Text {
			if ch == '"' || ch == '\\' {
				b = append(b, ch)
			}
			b = append(b, ch)
		}
		b = append(b, '"')
	}
	return string(append(b, ')'))
}

func (m model) apply(tx *change.Transaction) error {
	for i := range tx.Changes {
		c := &tx.Changes[i]
		if c.Op == change.Define {
			continue
		}
		root := strings.Split(c.Relation.Name, "_")[0]
		if randomColumns[root] == nil {
			continue
		}
		rows := m[c.Relation.Name]
		if rows == nil {
			rows = map[string]int{}
			m[c.Relation.Name] = rows
		}
		if c.Op == change.Truncate {
			clear(rows)
			continue
		}
		if c.Op != change.Insert {
			old := literal(c, c.Old, root)
			if rows[old] == 0 {
				return fmt.Errorf("the model has no row %.200s in %s", old, c.Relation)
			}
			if rows[old]--; rows[old] == 0 {
				delete(rows, old)
			}
		}
		if c.Op != change.Delete {
			rows[literal(c, c.New, root)]++
		}
	}
	return nil
}

// verify holds what followers had to what Postgres says of the rows that the log
// leaves at that position.
func verify(t *testing.T, r *rig, checks []check) {
	t.Helper()
	conn := r.db.Conn(t)
	r.mu.Lock()
	record := slices.Clone(r.record)
	r.mu.Unlock()
	for root, columns := range randomColumns {
		r.db.Exec(t, fmt.Sprintf("CREATE TABLE IF NOT EXISTS model_%s AS SELECT %s FROM %s LIMIT 0", root, strings.Join(columns, ", "), root))
	}
	slices.SortStableFunc(checks, func(a, b check) int { return int(int64(a.at) - int64(b.at)) })
	const most = 400
	if len(checks) > most {
		rand.Shuffle(len(checks), func(i, j int) { checks[i], checks[j] = checks[j], checks[i] })
		checks = checks[:most]
		slices.SortStableFunc(checks, func(a, b check) int { return int(int64(a.at) - int64(b.at)) })
	}
	m := model{}
	next := 0
	for _, c := range checks {
		for ; next < len(record) && record[next].End <= c.at; next++ {
			if err := m.apply(record[next]); err != nil {
				t.Fatal(err)
			}
		}
		var rows []string
		for name, set := range m {
			if strings.Split(name, "_")[0] != c.def.Table {
				continue
			}
			for text, n := range set {
				rows = append(rows, slices.Repeat([]string{text}, n)...)
			}
		}
		given := params(&c.def)
		texts := make([][]byte, len(rows))
		for i, row := range rows {
			texts[i] = []byte(row)
		}
		from := fmt.Sprintf("(SELECT (x::model_%s).* FROM unnest($%d::text[]) x) AS %s", c.def.Table, len(given)+1, c.def.Table)
		want := inPostgres(t, conn, statement(&c.def, from), append(given, string(query.ArrayText(texts)))...)
		compare(t, fmt.Sprintf("%s, at %s", c.who, c.at), c.rows, want)
		if t.Failed() {
			return
		}
	}
}

func TestRandom(t *testing.T) {
	seed := uint64(time.Now().UnixNano()) % 1e6
	small := func(o *table.Options) { o.ChunkBytes = 1 }
	for name, sc := range map[string]scenario{
		"plain":            {writers: 4, followers: 30, length: 4 * time.Second},
		"tiny":             {writers: 2, followers: 10, length: 4 * time.Second, pace: 30 * time.Millisecond, options: small, sweep: true, scan: 1},
		"huge":             {writers: 2, followers: 12, length: 5 * time.Second, huge: true, scan: 2, sweep: true, pace: 10 * time.Millisecond, options: func(o *table.Options) { o.MaxTail = 100 << 10 }},
		"truncate":         {writers: 3, followers: 16, length: 4 * time.Second, truncate: true, gone: true, scan: 3, pace: 3 * time.Millisecond, sweep: true},
		"restart":          {writers: 3, followers: 16, length: 7 * time.Second, restarts: 5, pace: 5 * time.Millisecond, scan: 4},
		"hold":             {writers: 6, followers: 20, length: 7 * time.Second, hold: true, pace: 3 * time.Millisecond},
		"hold and restart": {writers: 6, followers: 16, length: 9 * time.Second, hold: true, restarts: 6, pace: 3 * time.Millisecond},
		"trim": {
			writers: 4, followers: 16, length: 5 * time.Second, gone: true, sweep: true, scan: 5,
			keep: keep.Options{MaxBytes: 400 << 10, SegmentBytes: 40 << 10}, options: func(o *table.Options) { o.MaxTail = 20 << 10; o.ChunkBytes = 1000 },
		},
	} {
		t.Run(name, func(t *testing.T) {
			sc.seed = seed
			sc.play(t)
		})
	}
}
