package table_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/table"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

const requestSchema = items + `
CREATE TABLE notes (id int PRIMARY KEY, secret text, body text, org int NOT NULL, made text GENERATED ALWAYS AS (body || '!') STORED);
CREATE TABLE later (id int PRIMARY KEY DEFERRABLE);
CREATE TABLE "Odd ""Name" ("Id" int, "a b" text, PRIMARY KEY ("Id"));
CREATE TABLE unlisted (id int PRIMARY KEY);
CREATE VIEW shown AS SELECT * FROM items;
CREATE SCHEMA app; CREATE TABLE app.things (id int PRIMARY KEY, t text);
ALTER TABLE notes REPLICA IDENTITY FULL; ALTER TABLE later REPLICA IDENTITY FULL; ALTER TABLE "Odd ""Name" REPLICA IDENTITY FULL;
ALTER TABLE unlisted REPLICA IDENTITY FULL; ALTER TABLE app.things REPLICA IDENTITY FULL;
INSERT INTO notes (id, secret, body, org) SELECT g, 's' || g, 'b' || g, g % 3 FROM generate_series(1, 9) g;
INSERT INTO "Odd ""Name" VALUES (1, 'x');`

func requestRules(o *table.Options) {
	o.Rules = []table.Rule{
		{Schema: "public", Table: "items", Account: "owner"},
		{Schema: "public", Table: "notes", Where: "secret <> 's1'", Columns: []string{"id", "body", "org", "made"}, Account: "org"},
		{Schema: "public", Table: "later"},
		{Schema: "public", Table: `Odd "Name`},
		{Schema: "public", Table: "shown"},
		{Schema: "public", Table: "missing"},
		{Schema: "app"},
	}
	o.AllowDelete = true
}

func TestRequests(t *testing.T) {
	r := newRig(t, pgtest.DB(t), requestSchema, requestRules)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, c := range []struct {
		d           live.Definition
		field, want string
	}{
		{live.Definition{Table: "unlisted"}, "table", "is not among the tables that may be followed"},
		{live.Definition{Table: "missing"}, "table", "does not exist"},
		{live.Definition{Table: "pg_catalog.pg_class"}, "table", "is not among"},
		{live.Definition{Table: "a.b.c"}, "table", "is not the name of a table"},
		{live.Definition{Table: ""}, "table", ""},
		{live.Definition{Table: "later"}, "table", "deferrable"},
		{live.Definition{Table: "shown"}, "table", "is a view"},
		{live.Definition{Table: "items", Where: "nosuch = 1"}, "where", `column "nosuch" does not exist`},
		{live.Definition{Table: "items", Where: "id = = 1"}, "where", "At location"},
		{live.Definition{Table: "items", Where: "id IN (SELECT 1)"}, "where", "subquery"},
		{live.Definition{Table: "items", Where: "at < now()"}, "where", ""},
		{live.Definition{Table: "items", Where: "random() < 0.5"}, "where", ""},
		{live.Definition{Table: "items", Where: "id = $1"}, "where", "no value for the parameter"},
		{live.Definition{Table: "items", Where: "id = $1", Params: map[string]string{"1": "x"}}, "params", "$1"},
		{live.Definition{Table: "items", Where: "id = $1", Params: map[string]string{"2": "1"}}, "params", "no parameter 1"},
		{live.Definition{Table: "items", Columns: []string{"name"}}, "columns", `primary key column "id"`},
		{live.Definition{Table: "items", Columns: []string{"id", "nosuch"}}, "columns", "does not exist"},
		{live.Definition{Table: "items", Queryable: []string{"id"}, Columns: []string{"id", "name"}}, "columns", "queryable_columns"},
		{live.Definition{Table: "notes", Columns: []string{"id", "made"}}, "columns", "generated"},
		{live.Definition{Table: "notes", Columns: []string{"id", "secret"}}, "columns", "does not exist"},
		{live.Definition{Table: "notes", Where: "secret = 's1'"}, "where", "does not exist"},
		{live.Definition{Table: "notes", Where: "true) OR (true"}, "where", ""},
	} {
		_, err := r.hub.Open(ctx, c.d, "")
		var request *live.RequestError
		if !errors.As(err, &request) || request.Field != c.field || !strings.Contains(request.Message, c.want) {
			t.Errorf("%+v: %v", c.d, err)
		}
	}
	for _, c := range []struct {
		d    live.Definition
		sql  string
		args []string
	}{
		{live.Definition{Table: `"Odd ""Name"`}, `SELECT * FROM "Odd ""Name"`, nil},
		{live.Definition{Table: "notes"}, "SELECT id, body, org FROM notes WHERE secret <> 's1'", nil},
		{live.Definition{Table: "notes", Account: ptr("1")}, "SELECT id, body, org FROM notes WHERE secret <> 's1' AND org = 1", nil},
		{live.Definition{Table: "notes", Queryable: []string{"id", "body"}}, "SELECT id, body FROM notes WHERE secret <> 's1'", nil},
		{live.Definition{Table: "app.things"}, "SELECT * FROM app.things", nil},
		{live.Definition{Table: "items", Where: "name = $1 OR n = $2", Params: map[string]string{"1": "item 3", "2": "4"}, Account: ptr("o1")}, "SELECT * FROM items WHERE (name = $1 OR n = $2) AND owner = 'o1'", []string{"item 3", "4"}},
	} {
		f := newFollower(r, c.d)
		if err := f.catchUp(ctx, r.settle()); err != nil {
			t.Errorf("%+v: %v", c.d, err)
			continue
		}
		r.db.Exec(t, "UPDATE notes SET org = (org + 1) % 3, secret = 's' || (id + 1); INSERT INTO app.things (id) SELECT coalesce(max(id), 0) + 1 FROM app.things")
		if err := f.catchUp(ctx, r.settle()); err != nil {
			t.Errorf("%+v: %v", c.d, err)
		}
		compare(t, fmt.Sprint(c.d), f.rows.flat(), inPostgres(t, r.db.Conn(t), c.sql, c.args...))
	}
	// A rule without a column for it.
	if _, err := r.hub.Open(ctx, live.Definition{Table: "app.things", Account: ptr("x")}, ""); !errors.Is(err, live.ErrForbidden) {
		t.Error(err)
	}
	if _, err := r.hub.Open(ctx, live.Definition{Table: "notes", Account: ptr("x")}, ""); !errors.Is(err, live.ErrForbidden) {
		t.Error(err)
	}
	// A table of a schema may come later.
	r.db.Exec(t, "CREATE TABLE app.more (id int PRIMARY KEY); ALTER TABLE app.more REPLICA IDENTITY FULL; INSERT INTO app.more VALUES (1)")
	f := newFollower(r, live.Definition{Table: "app.more"})
	if err := f.catchUp(ctx, r.settle()); err != nil || len(f.rows) != 1 {
		t.Error(len(f.rows), err)
	}
}

func TestDelete(t *testing.T) {
	r := newRig(t, pgtest.DB(t), requestSchema, requestRules)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	d := live.Definition{Table: "items"}
	s, err := r.hub.Open(ctx, d, "")
	if err != nil {
		t.Fatal(err)
	}
	same, err := r.hub.Open(ctx, d, "nonsense")
	if err != nil || same.Handle() != s.Handle() {
		t.Error(err)
	}
	for _, bad := range []string{"nonsense", "../../x", strings.Repeat("0", 20) + "-1", s.Handle() + "0"} {
		if err := r.hub.Delete(ctx, nil, bad); !errors.Is(err, live.ErrNoShape) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if err := r.hub.Delete(ctx, nil, s.Handle()); err != nil {
		t.Fatal(err)
	}
	var gone *live.GoneError
	if _, err := s.Next(ctx, live.Start); !errors.As(err, &gone) {
		t.Error(err)
	}
	if err := r.hub.Delete(ctx, nil, s.Handle()); !errors.Is(err, live.ErrNoShape) {
		t.Error(err)
	}
	s2, err := r.hub.Open(ctx, d, s.Handle())
	if err != nil || s2.Handle() == s.Handle() {
		t.Fatal(err)
	}
	other := live.Definition{Table: "items", Where: "id = 1"}
	if err := r.hub.Delete(ctx, &other, s2.Handle()); !errors.Is(err, live.ErrNoShape) {
		t.Error(err)
	}
	if err := r.hub.Delete(ctx, &d, ""); err != nil {
		t.Error(err)
	}
	if _, err := s2.Next(ctx, live.Start); !errors.As(err, &gone) {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(r.dir, "shapes", "*")); len(left) > 0 {
		t.Error(left)
	}
}

func TestSubset(t *testing.T) {
	r := newRig(t, pgtest.DB(t), requestSchema, requestRules)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn := r.db.Conn(t)
	type answer struct {
		Metadata struct {
			Xmin, Xmax string
			XipList    []string    `json:"xip_list"`
			Mark       json.Number `json:"snapshot_mark"`
			LSN        string      `json:"database_lsn"`
		}
		Data []message
	}
	d := live.Definition{Table: "items", Where: "n < $1", Params: map[string]string{"1": "7"}, ChangesOnly: true, Account: ptr("o1"), Columns: []string{"id", "name", "iv"}}
	for _, c := range []struct {
		sub live.Subset
		sql string
	}{
		{live.Subset{}, ""},
		{live.Subset{Where: "n = $1 OR name = $2", Params: map[string]string{"1": "4", "2": "item 16"}}, " AND (n = 4 OR name = 'item 16')"},
		{live.Subset{OrderBy: "name DESC, id", Limit: ptr(int64(3)), Offset: ptr(int64(2))}, " ORDER BY name DESC, id LIMIT 3 OFFSET 2"},
		{live.Subset{Where: "id > $1", Params: map[string]string{"1": "20"}, OrderBy: `"id"`, Limit: ptr(int64(5))}, " AND id > 20 ORDER BY id LIMIT 5"},
		{live.Subset{Where: "name ILIKE '%3%'", OrderBy: "id"}, " AND name ILIKE '%3%' ORDER BY id"},
		{live.Subset{Where: "1 / (n - 8) > -99"}, " AND 1 / (n - 8) > -99"}, // fails for rows that are not in the shape
	} {
		out, err := r.hub.Subset(ctx, d, c.sub)
		if err != nil {
			t.Errorf("%+v: %v", c.sub, err)
			continue
		}
		var a answer
		if err := json.Unmarshal(out, &a); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		rows := rowSet{}
		for _, m := range a.Data {
			rows[m.Key] = m.Value
		}
		compare(t, c.sql, rows.flat(), inPostgres(t, conn, "SELECT id, name, iv FROM items WHERE n < 7 AND owner = 'o1'"+c.sql))
		if len(rows) != len(a.Data) || a.Metadata.Xmax == "" || a.Metadata.LSN == "" {
			t.Errorf("%s", out)
		}
	}
	for _, c := range []struct {
		d           live.Definition
		sub         live.Subset
		field, want string
	}{
		{d, live.Subset{Where: "nosuch = 1"}, "subset__where", "nosuch"},
		{d, live.Subset{Where: "id = $1", Params: map[string]string{"1": "x"}}, "subset__params", "$1"},
		{d, live.Subset{Limit: ptr(int64(1))}, "subset__order_by", "needs an order"},
		{d, live.Subset{OrderBy: "id; DROP TABLE items"}, "subset__order_by", ""},
		{d, live.Subset{OrderBy: "(SELECT 1)"}, "subset__order_by", ""},
		{d, live.Subset{OrderBy: "id", Limit: ptr(int64(0))}, "subset__limit", ""},
		{d, live.Subset{OrderBy: "id", Offset: ptr(int64(-1))}, "subset__offset", ""},
		{live.Definition{Table: "items", Queryable: []string{"id", "n"}}, live.Subset{Where: "name = 'x'"}, "subset__where", "queryable"},
		{live.Definition{Table: "items", Queryable: []string{"id", "n"}}, live.Subset{OrderBy: "name"}, "subset__order_by", "name"},
		{live.Definition{Table: "notes"}, live.Subset{Where: "secret = 's1'"}, "subset__where", "secret"},
		{live.Definition{Table: "notes"}, live.Subset{OrderBy: "secret"}, "subset__order_by", "secret"},
	} {
		_, err := r.hub.Subset(ctx, c.d, c.sub)
		var request *live.RequestError
		if !errors.As(err, &request) || request.Field != c.field || !strings.Contains(request.Message, c.want) {
			t.Errorf("%+v: %v", c.sub, err)
		}
	}
}

// A client that begins at now and asks for rows as it goes, in the way of
// log=changes_only, has everything.
func TestChangesOnly(t *testing.T) {
	r := newRig(t, pgtest.DB(t), items, nil)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for w := range 3 {
		conn := r.db.Conn(t)
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				id := (i*7+w)%50 + 1
				_, _ = conn.Exec(ctx, "UPDATE items SET n = n + 1 WHERE id = $1", id)
				_, _ = conn.Exec(ctx, "DELETE FROM items WHERE id = $1", (id+3)%50+1)
				_, _ = conn.Exec(ctx, "INSERT INTO items (id, n) VALUES ($1, 1) ON CONFLICT DO NOTHING", id+w)
			}
		})
	}
	d := live.Definition{Table: "items", Columns: []string{"id", "n"}, ChangesOnly: true}
	for range 8 {
		s, err := r.hub.Open(ctx, d, "")
		if err != nil {
			t.Fatal(err)
		}
		at, err := s.Last(ctx)
		if err != nil {
			t.Fatal(err)
		}
		out, err := r.hub.Subset(ctx, d, live.Subset{})
		if err != nil {
			t.Fatal(err)
		}
		var a struct {
			Metadata struct {
				Xmin, Xmax string
				XipList    []string `json:"xip_list"`
			}
			Data []message
		}
		if err := json.Unmarshal(out, &a); err != nil {
			t.Fatal(err)
		}
		snap, err := revision.ParseSnapshot(a.Metadata.Xmin + ":" + a.Metadata.Xmax + ":" + strings.Join(a.Metadata.XipList, ","))
		if err != nil {
			t.Fatal(err)
		}
		rows := rowSet{}
		for _, m := range a.Data {
			rows[m.Key] = m.Value
		}
		time.Sleep(20 * time.Millisecond)
		upTo := r.settle()
		for {
			b, err := s.Next(ctx, at)
			if err != nil {
				t.Fatal(err)
			}
			at = b.End
			var all []message
			if err := json.Unmarshal([]byte("["+string(b.Messages)+"]"), &all); err != nil {
				t.Fatal(err)
			}
			for _, m := range all {
				if snap.Contains(revision.XID(m.Headers.TXIDs[0])) {
					continue
				}
				var lsn uint64
				_, _ = fmt.Sscan(m.Headers.LSN, &lsn)
				if revision.LSN(lsn) > upTo {
					continue
				}
				switch m.Headers.Operation {
				case "delete":
					if rows[m.Key] == nil {
						t.Errorf("no row %s to delete", m.Key)
					}
					delete(rows, m.Key)
				case "insert":
					if rows[m.Key] != nil {
						t.Errorf("two rows %s", m.Key)
					}
					rows[m.Key] = m.Value
				default:
					if rows[m.Key] == nil {
						t.Fatalf("no row %s to update", m.Key)
					}
					for k, v := range m.Value {
						rows[m.Key][k] = v
					}
				}
			}
			if b.UpToDate && b.At >= upTo {
				break
			}
		}
		r.mu.Lock()
		want := modelOf(r, "items", upTo, []string{"id", "n"})
		r.mu.Unlock()
		compare(t, "rows and changes", rows.flat(), want)
	}
	close(stop)
	wg.Wait()
}

// modelOf returns some columns of a table as the log leaves them at a position,
// where the table had what the schema items puts into it. r.mu is held.
func modelOf(r *rig, name string, at revision.LSN, columns []string) []string {
	rows := map[string]map[string]*string{}
	for g := 1; g <= 50; g++ {
		rows[fmt.Sprint(g)] = map[string]*string{"id": ptr(fmt.Sprint(g)), "n": ptr(fmt.Sprint(g % 10))}
	}
	for _, tx := range r.record {
		if tx.End > at {
			break
		}
		for i := range tx.Changes {
			c := &tx.Changes[i]
			if c.Relation == nil || c.Relation.Name != name {
				continue
			}
			id := c.Relation.Column("id")
			if c.Old != nil {
				delete(rows, string(c.Old[id].Text))
			}
			if c.New != nil {
				row := map[string]*string{}
				for _, col := range columns {
					row[col] = ptr(string(c.New[c.Relation.Column(col)].Text))
				}
				rows[string(c.New[id].Text)] = row
			}
		}
	}
	var out []string
	for _, row := range rows {
		out = append(out, flatRow(row))
	}
	slices.Sort(out)
	return out
}

// Nothing is done when the process ends, so that a kill -9 leaves the same.
func TestKilled(t *testing.T) {
	r := newRig(t, pgtest.DB(t), items, func(o *table.Options) { o.ChunkBytes = 500 })
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	f := newFollower(r, live.Definition{Table: "items"})
	if err := f.catchUp(ctx, r.settle()); err != nil {
		t.Fatal(err)
	}
	half := newFollower(r, live.Definition{Table: "items", Where: "id > 0"})
	if _, err := half.step(ctx); err != nil { // one chunk of the snapshot
		t.Fatal(err)
	}
	for round := range 4 {
		r.db.Exec(t, fmt.Sprintf("UPDATE items SET n = %d; INSERT INTO items (id) VALUES (%d)", round, 100+round))
		if round%2 == 0 {
			if err := f.catchUp(ctx, r.settle()); err != nil {
				t.Fatal(err)
			}
		}
		r.stop()
		unfinished := filepath.Join(r.dir, "shapes", "123.new")
		if err := os.WriteFile(unfinished, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		r.start()
		if _, err := os.Stat(unfinished); err == nil {
			t.Error("what was not finished is left")
		}
		r.db.Exec(t, fmt.Sprintf("DELETE FROM items WHERE id = %d", 1+round))
		if err := f.catchUp(ctx, r.settle()); err != nil {
			t.Fatal(err)
		}
		compare(t, "rows", f.rows.flat(), inPostgres(t, r.db.Conn(t), "SELECT * FROM items"))
	}
	if err := half.catchUp(ctx, r.settle()); err != nil {
		t.Fatal(err)
	}
	compare(t, "rows of one in the middle of its snapshot", half.rows.flat(), inPostgres(t, r.db.Conn(t), "SELECT * FROM items"))
	if f.refetched+half.refetched > 0 {
		t.Error("refetched", f.why, half.why)
	}
	// Without the kept log, or with a damaged file, nothing is made up.
	handle := f.handle
	r.stop()
	path := filepath.Join(r.dir, "shapes", handle+".shape")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/3] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	r.start()
	fresh := newFollower(r, f.def)
	if err := fresh.catchUp(ctx, r.settle()); err != nil {
		t.Fatal(err)
	}
	if fresh.refetched != 1 && fresh.handle == handle {
		t.Error("a damaged file was served")
	}
	compare(t, "rows", fresh.rows.flat(), inPostgres(t, r.db.Conn(t), "SELECT * FROM items"))
	r.stop()
	if err := os.RemoveAll(filepath.Join(r.dir, "log")); err != nil {
		t.Fatal(err)
	}
	r.start()
	if err := half.catchUp(ctx, r.settle()); err != nil {
		t.Fatal(err)
	}
	if half.refetched == 0 {
		t.Error("a handle goes on without a log")
	}
	compare(t, "rows", half.rows.flat(), inPostgres(t, r.db.Conn(t), "SELECT * FROM items"))
}
