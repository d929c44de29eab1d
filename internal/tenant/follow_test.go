package tenant_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/revision"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// client follows one shape as clients do: it holds rows by key, a handle and an
// offset, and finds fault with every message that does not fit.
type client struct {
	path, query string
	account     *string

	handle string
	offset live.Offset
	rows   map[string]map[string]string // null as "\x00"
	at     revision.LSN
	begun  int // how often it began from nothing
	told   int // messages of changes
	gone   []string
}

type message struct {
	Key     string
	Value   map[string]*string
	Headers struct {
		Operation, Control string
		LSN                string
		Position           *uint64 `json:"op_position"`
		Last               bool
		XIDs               []uint64 `json:"txids"`
		Relation           []string
	}
}

func newClient(path string, account *string) *client {
	p, q, _ := strings.Cut(path, "?")
	c := &client{path: p, query: q, account: account}
	c.begin()
	return c
}

func (c *client) begin() {
	c.offset, c.rows, c.at = live.Start, map[string]map[string]string{}, 0
	c.begun++
}

func (c *client) open(ctx context.Context, r *rig) (live.Shape, error) {
	s, err := r.tenant.Answers().Open(ctx, c.path, c.query, c.handle, c.account)
	if err != nil {
		return nil, err
	}
	if s.Handle() != c.handle {
		if c.handle != "" {
			c.gone = append(c.gone, "another handle")
			c.begin()
		}
		c.handle = s.Handle()
	}
	return s, nil
}

var orders = map[string]int{"delete": 0, "update": 1, "insert": 2}

// apply takes one batch.
func (c *client) apply(b *live.Batch) error {
	if b.End.Compare(c.offset) < 0 {
		return fmt.Errorf("the offset goes back from %s to %s", c.offset, b.End)
	}
	var messages []message
	if err := json.Unmarshal(live.AppendBody(nil, b.Messages), &messages); err != nil {
		return fmt.Errorf("%w in %s", err, b.Messages)
	}
	kind, lsn := 0, ""
	last := c.offset
	for i, m := range messages {
		h := &m.Headers
		if h.Control != "" {
			if h.Control != "snapshot-end" || i != len(messages)-1 || !b.SnapshotEnd {
				return fmt.Errorf("a control message: %s", b.Messages)
			}
			continue
		}
		if b.End.LSN == 0 {
			if h.Operation != "insert" || h.LSN != "" {
				return fmt.Errorf("in a snapshot: %+v", m)
			}
		} else {
			n, err := live.ParseOffset(fmt.Sprintf("%s_%d", h.LSN, *h.Position))
			if err != nil || n.Compare(last) <= 0 {
				return fmt.Errorf("a message at %v after %s (%v)", n, last, err)
			}
			last = n
			if h.LSN != lsn {
				kind, lsn = 0, h.LSN
			}
			if orders[h.Operation] < kind {
				return fmt.Errorf("%s comes after another operation: %s", h.Operation, b.Messages)
			}
			kind = orders[h.Operation]
			c.told++
		}
		_, known := c.rows[m.Key]
		switch h.Operation {
		case "insert":
			if known {
				return fmt.Errorf("%s is inserted twice", m.Key)
			}
			c.rows[m.Key] = map[string]string{}
		case "update", "delete":
			if !known {
				return fmt.Errorf("%s of %s, which is not there", h.Operation, m.Key)
			}
		}
		if h.Operation == "delete" {
			delete(c.rows, m.Key)
			continue
		}
		for name, v := range m.Value {
			text := "\x00"
			if v != nil {
				text = *v
			}
			c.rows[m.Key][name] = text
		}
	}
	if b.End.LSN != 0 && len(messages) > 0 && last != b.End {
		return fmt.Errorf("the batch ends at %s, its last message is at %s", b.End, last)
	}
	c.offset = b.End
	if b.UpToDate {
		if b.At < c.at {
			return fmt.Errorf("up to date as of %s after %s", b.At, c.at)
		}
		c.at = b.At
	}
	return nil
}

// poll makes one request. It reports whether the client is up to date.
func (c *client) poll(ctx context.Context, r *rig) (bool, error) {
	s, err := c.open(ctx, r)
	if err != nil {
		return false, err
	}
	b, err := s.Next(ctx, c.offset)
	if gone := (*live.GoneError)(nil); errors.As(err, &gone) {
		c.gone = append(c.gone, gone.Reason)
		c.handle = ""
		c.begin()
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return b.UpToDate, c.apply(b)
}

// reach polls until the client is up to date as of a position.
func (c *client) reach(r *rig, p revision.LSN) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		done, err := c.poll(ctx, r)
		if err != nil {
			r.t.Fatalf("%s?%s: %v", c.path, c.query, err)
		}
		if !done {
			continue
		}
		if c.at >= p {
			return
		}
		s, err := c.open(ctx, r)
		if err != nil {
			r.t.Fatal(err)
		}
		if err := s.(interface {
			Reach(context.Context, revision.LSN) error
		}).Reach(ctx, p); err != nil {
			r.t.Fatalf("%s?%s: %v", c.path, c.query, err)
		}
	}
}

// content returns the rows without their keys, sorted.
func (c *client) content() []string {
	out := make([]string, 0, len(c.rows))
	for _, row := range c.rows {
		out = append(out, rowText(row))
	}
	sort.Strings(out)
	return out
}

func rowText(row map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(row)) {
		fmt.Fprintf(&b, "%s=%q ", name, row[name])
	}
	return b.String()
}

// asked is an answer as the database says it, in the form of messages.
func asked(t *testing.T, conn *pgx.Conn, sql string) []string {
	t.Helper()
	rows, err := conn.Query(context.Background(), sql, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for rows.Next() {
		row := map[string]string{}
		for i, raw := range rows.RawValues() {
			text := "\x00"
			if raw != nil {
				text = string(raw)
			}
			row[rows.FieldDescriptions()[i].Name] = text
		}
		out = append(out, rowText(row))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	sort.Strings(out)
	return out
}

func shapeConn(t *testing.T, r *rig) *pgx.Conn {
	conn := r.db.Conn(t)
	for _, set := range []string{"TimeZone = 'UTC'", "DateStyle = 'ISO, DMY'", "IntervalStyle = 'iso_8601'", "bytea_output = 'hex'"} {
		if _, err := conn.Exec(context.Background(), "SET "+set); err != nil {
			t.Fatal(err)
		}
	}
	return conn
}

// insertLSN is how far the log is written: everything that was committed ends
// before.
func insertLSN(t *testing.T, conn *pgx.Conn) revision.LSN {
	t.Helper()
	var text string
	if err := conn.QueryRow(context.Background(), "SELECT pg_current_wal_insert_lsn()::text").Scan(&text); err != nil {
		t.Fatal(err)
	}
	p, err := revision.ParseLSN(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const followSchema = shopSchema + `
	CREATE TABLE notes (org int, body text, at timestamp, took interval, tags text[], ok bool, doc json, big numeric);
	ALTER TABLE notes REPLICA IDENTITY FULL;
	ALTER PUBLICATION tidemark ADD TABLE notes;
	CREATE TABLE noise (n int);`

// followed are endpoints with paths to follow and what these ask for.
var followed = []struct{ name, file, path, sql string }{
	{
		"page", "-- GET /v1/page\nSELECT id, total, status FROM orders ORDER BY total DESC, id LIMIT 7", "/v1/page",
		"SELECT id, total, status FROM orders ORDER BY total DESC, id LIMIT 7",
	},
	{
		"joined", `-- GET /v1/joined/{plan}
-- key: order_id
SELECT o.id AS order_id, u.name, o.total, u.plan FROM users u JOIN orders o ON o.user_id = u.id WHERE u.plan = :plan ORDER BY o.total, o.id LIMIT 20`,
		"/v1/joined/pro", "SELECT o.id AS order_id, u.name, o.total, u.plan FROM users u JOIN orders o ON o.user_id = u.id WHERE u.plan = 'pro' ORDER BY o.total, o.id LIMIT 20",
	},
	{
		"mine", "-- GET /v1/mine/{id}\nSELECT id, total, status, created_at FROM orders WHERE user_id = :id ORDER BY id", "/v1/mine/3",
		"SELECT id, total, status, created_at FROM orders WHERE user_id = 3",
	},
	{
		"totals", "-- GET /v1/totals\nSELECT status, count(*) AS n, sum(total) AS total, max(created_at) AS newest FROM orders GROUP BY status", "/v1/totals",
		"SELECT status, count(*) AS n, sum(total) AS total, max(created_at) AS newest FROM orders GROUP BY status",
	},
	{"number", "-- GET /v1/number\nSELECT count(*) AS n, sum(total) AS s FROM orders", "/v1/number", "SELECT count(*) AS n, sum(total) AS s FROM orders"},
	{"one", "-- GET /v1/one/{id}\n-- result: one\nSELECT id, name, plan FROM users WHERE id = :id", "/v1/one/4", "SELECT id, name, plan FROM users WHERE id = 4"},
	{
		"notes", "-- GET /v1/notes\n-- account: org\nSELECT org, body, at, took, tags, ok, doc, big FROM notes", "/v1/notes",
		"SELECT org, body, at, took, tags, ok, doc, big FROM notes",
	},
	{"loose", "-- GET /v1/loose\n-- key: plan\nSELECT plan, name FROM users WHERE id < 12", "/v1/loose", "SELECT plan, name FROM users WHERE id < 12"},
	{
		"nested", "-- GET /v1/nested\nSELECT u.id, (SELECT json_agg(o.id ORDER BY o.id) FROM orders o WHERE o.user_id = u.id) AS orders FROM users u WHERE u.id < 5", "/v1/nested",
		"SELECT u.id, (SELECT json_agg(o.id ORDER BY o.id) FROM orders o WHERE o.user_id = u.id) AS orders FROM users u WHERE u.id < 5",
	},
}

func followRig(t *testing.T, change func(*tenant.Options)) *rig {
	endpoints := map[string]string{}
	for _, f := range followed {
		endpoints[f.name+".sql"] = f.file
	}
	dir := t.TempDir()
	r := newRig(t, followSchema, endpoints, func(o *tenant.Options) {
		o.Live = &tenant.LiveOptions{Dir: dir, ChunkSize: 600}
		if change != nil {
			change(o)
		}
	})
	r.kept = dir
	return r
}

// randomWrite returns a statement that changes something now and then.
func randomWrite(n func(int) int) string {
	id, user := 1+n(230), 1+n(22)
	word := []string{"a", "b", "\u00e9 \"x\"", `back\\slash`, "line\nfeed", ""}[n(6)]
	switch n(16) {
	case 0, 1:
		return fmt.Sprintf("INSERT INTO orders VALUES (%d, %d, %d.5, '%s') ON CONFLICT (id) DO UPDATE SET total = EXCLUDED.total", id, user, n(400), []string{"open", "paid", "late"}[n(3)])
	case 2, 3:
		return fmt.Sprintf("UPDATE orders SET total = total + %d WHERE id = %d", n(50)-25, id)
	case 4:
		return fmt.Sprintf("DELETE FROM orders WHERE id = %d", id)
	case 5:
		return fmt.Sprintf("UPDATE orders SET user_id = %d WHERE id = %d", user, id)
	case 6:
		return fmt.Sprintf("UPDATE users SET plan = '%s' WHERE id = %d", []string{"free", "pro"}[n(2)], user)
	case 7:
		return fmt.Sprintf("UPDATE users SET name = '%s' WHERE id = %d", word, user)
	case 8:
		return fmt.Sprintf("DELETE FROM users WHERE id = %d", user)
	case 9:
		return fmt.Sprintf("INSERT INTO users VALUES (%d, 'new %d', NULL) ON CONFLICT DO NOTHING", user, n(9))
	case 10:
		return fmt.Sprintf("UPDATE orders SET status = '%s' WHERE id BETWEEN %d AND %d", []string{"open", "paid"}[n(2)], id, id+n(40))
	case 11:
		return "INSERT INTO noise VALUES (1)"
	case 12, 13:
		return fmt.Sprintf(`INSERT INTO notes VALUES (%s, '%s', '2026-01-0%d 10:00:00.5', make_interval(months => %d, hours => %d), ARRAY['%s', NULL, 'x'], %t, '{"a":[%d, "x"]}', %d.%02d0)`,
			[]string{"1", "2", "NULL"}[n(3)], word, 1+n(9), n(30), n(50), word, n(2) == 0, n(3), n(5), n(99))
	case 14:
		return fmt.Sprintf("UPDATE notes SET org = %d, big = big + 1 WHERE ctid = (SELECT min(ctid) FROM notes WHERE org IS DISTINCT FROM %[1]d)", 1+n(2))
	}
	return fmt.Sprintf("DELETE FROM notes WHERE ctid IN (SELECT ctid FROM notes LIMIT %d)", n(3))
}

// TestFollowedAnswers has clients follow answers while somebody writes, and
// compares what they have with the database as often as it stands still.
func TestFollowedAnswers(t *testing.T) {
	r := followRig(t, nil)
	conn := shapeConn(t, r)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	clients := map[int][]*client{}
	for i, f := range followed {
		clients[i] = []*client{newClient(f.path, nil), newClient(f.path, nil)}
	}
	one, two, none := "1", "2", "nobody"
	accounts := []*client{newClient("/v1/notes", &one), newClient("/v1/notes", &two), newClient("/v1/notes", &none), newClient("/v1/notes", &one)}
	rounds := 25
	if testing.Short() {
		rounds = 6
	}
	for round := range rounds {
		for range 1 + random.IntN(25) {
			sql := randomWrite(random.IntN)
			if random.IntN(6) == 0 {
				sql = "BEGIN; " + sql + "; " + randomWrite(random.IntN) + "; " + randomWrite(random.IntN) + "; COMMIT"
			}
			if _, err := conn.Exec(context.Background(), sql); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
			if random.IntN(4) == 0 {
				c := clients[random.IntN(len(followed))][0]
				if _, err := c.poll(context.Background(), r); err != nil {
					t.Fatalf("%s: %v", c.path, err)
				}
			}
		}
		at := insertLSN(t, conn)
		for i, f := range followed {
			want := asked(t, conn, f.sql)
			for n, c := range clients[i] {
				if n == 1 && round%3 != 0 {
					continue // one who is behind
				}
				c.reach(r, at)
				if got := c.content(); !slices.Equal(got, want) {
					t.Fatalf("round %d, %s: got\n%s\nwant\n%s", round, f.path, strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			}
		}
		for n, c := range accounts {
			if n == 3 && round%4 != 0 {
				continue
			}
			c.reach(r, at)
			org := *c.account
			if org == "nobody" {
				org = "99"
			}
			if got, want := c.content(), asked(t, conn, followed[6].sql+" WHERE org = "+org); !slices.Equal(got, want) {
				t.Fatalf("round %d, account %s: got\n%s\nwant\n%s", round, org, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
	told := 0
	for i := range followed {
		for _, c := range clients[i] {
			told += c.told
			if c.begun > 1 {
				t.Errorf("%s began %d times: %v", c.path, c.begun, c.gone)
			}
		}
	}
	t.Logf("%d messages", told)
}

// TestFollowersOutliveTheProcess takes what followers had from one process to the
// next: in good order, and as a kill leaves it.
func TestFollowersOutliveTheProcess(t *testing.T) {
	r := followRig(t, nil)
	conn := shapeConn(t, r)
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 2))
	one := "1"
	var clients []*client
	var sqls []string
	for _, f := range followed {
		clients, sqls = append(clients, newClient(f.path, nil)), append(sqls, f.sql)
	}
	clients, sqls = append(clients, newClient("/v1/notes", &one)), append(sqls, followed[6].sql+" WHERE org = 1")
	dir := t.TempDir()
	for round := range 6 {
		for range 10 {
			if _, err := conn.Exec(context.Background(), randomWrite(random.IntN)); err != nil {
				t.Fatal(err)
			}
			for _, c := range clients {
				if _, err := c.poll(context.Background(), r); err != nil {
					t.Fatal(err)
				}
			}
		}
		at := insertLSN(t, conn)
		for i, c := range clients {
			c.reach(r, at)
			if got, want := c.content(), asked(t, conn, sqls[i]); !slices.Equal(got, want) {
				t.Fatalf("round %d, %s: got\n%s\nwant\n%s", round, c.path, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		if round%2 == 0 {
			// As if it had been killed: what it does at its end is not there.
			dir = filepath.Join(t.TempDir(), "live")
			if err := os.CopyFS(dir, os.DirFS(r.kept)); err != nil {
				t.Fatal(err)
			}
		} else {
			dir = r.kept
		}
		r.stop()
		for range 5 {
			if _, err := conn.Exec(context.Background(), randomWrite(random.IntN)); err != nil {
				t.Fatal(err)
			}
		}
		r.start(func(o *tenant.Options) { o.Live = &tenant.LiveOptions{Dir: dir, ChunkSize: 400 + 100*round} })
		r.kept = dir
	}
	for _, c := range clients {
		if c.begun > 1 {
			t.Errorf("%s began %d times: %v", c.path, c.begun, c.gone)
		}
	}
}
