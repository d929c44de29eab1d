package livetest

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestTables follows tables with the npm client.
func TestTables(t *testing.T) {
	play(t, "allow_delete: true\n", everyKind, operations, manyClients, refetch, resume, oddNames, subsets, ownWrites, types(), parsed, bigTransaction, responses, later, badRequests)
}

func items(table string) string {
	return fmt.Sprintf(`CREATE TABLE %s (id int PRIMARY KEY, name text NOT NULL, n int, note text);
		ALTER TABLE %[1]s ALTER note SET STORAGE EXTERNAL;
		INSERT INTO %[1]s SELECT i, 'name ' || i, i %% 100, CASE WHEN i %% 7 = 0 THEN NULL WHEN i %% 50 = 0 THEN repeat('long ', 600) ELSE 'note' END
		FROM generate_series(1, 1200) i;`, table)
}

// step is one random transaction on a table of items.
func step(b *book, rng *rand.Rand, table string) {
	b.t.Helper()
	var sql strings.Builder
	for range 1 + rng.IntN(4) {
		id := 1 + rng.IntN(1300)
		switch rng.IntN(9) {
		case 0, 1:
			fmt.Fprintf(&sql, "INSERT INTO %s VALUES (%d, 'new', %d, NULL) ON CONFLICT DO NOTHING;", table, id, rng.IntN(100))
		case 2:
			fmt.Fprintf(&sql, "UPDATE %s SET n = (n + 37) %% 100 WHERE id BETWEEN %d AND %d;", table, id, id+3)
		case 3:
			fmt.Fprintf(&sql, "UPDATE %s SET name = name || '!', note = repeat('x', %d) WHERE id = %d;", table, rng.IntN(4000), id)
		case 4:
			fmt.Fprintf(&sql, "DELETE FROM %s WHERE id = %d;", table, id)
		case 5: // another key
			fmt.Fprintf(&sql, "UPDATE %s SET id = %d + (SELECT max(id) FROM %[1]s) WHERE id = %[2]d;", table, id)
		case 6: // gone and back
			fmt.Fprintf(&sql, "DELETE FROM %s WHERE id = %d; INSERT INTO %[1]s VALUES (%[2]d, 'back', NULL, 'again');", table, id)
		case 7: // there and gone
			fmt.Fprintf(&sql, "INSERT INTO %s VALUES (%d, 'short', 60, ''); DELETE FROM %[1]s WHERE id = %[2]d;", table, 1_000_000+id)
		case 8: // nothing changes
			fmt.Fprintf(&sql, "UPDATE %s SET n = n WHERE id = %d;", table, id)
		}
	}
	b.do("%s", sql.String())
}

// everyKind has a random writer and followers of every kind, of which half come
// later than the first transactions.
var everyKind = scenario{name: "every kind", schema: items("items"), run: func(t *testing.T, w *world) {
	b := newBook(t, w.db)
	kinds := []struct {
		sql string
		following
	}{
		{"SELECT * FROM items", following{params: map[string]any{"table": "items"}}},
		{"SELECT * FROM items", following{params: map[string]any{"table": "public.items", "replica": "full"}, sse: true}},
		{
			"SELECT * FROM items WHERE n >= 50 AND note IS NOT NULL",
			following{params: map[string]any{"table": "items", "where": "n >= 50 AND note IS NOT NULL", "replica": "full"}},
		},
		{
			"SELECT * FROM items WHERE name LIKE 'name 1%' OR n IN (3, 4, 40)",
			following{params: map[string]any{"table": "items", "where": "name LIKE $1 OR n IN ($2, $3, 40)", "params": []string{"name 1%", "3", "4"}}, sse: true},
		},
		{"SELECT id, name FROM items", following{params: map[string]any{"table": "items", "columns": []string{"id", "name"}}}},
		{
			"SELECT id, n FROM items WHERE id BETWEEN 100 AND 700",
			following{params: map[string]any{"table": "items", "columns": []string{"id", "n"}, "where": "id between $1 and $2", "params": map[string]string{"1": "100", "2": "700"}, "replica": "full"}, sse: true},
		},
	}
	var all []*follower
	add := func(later bool) {
		for i, k := range kinds {
			if (i%2 == 1) == later {
				all = append(all, w.follow(t, b.view(k.sql), k.following))
			}
		}
	}
	add(false)
	for i := range 60 {
		if i == 20 {
			add(true)
		}
		step(b, w.rng, "items")
		if i == 50 {
			for _, f := range all {
				if _, err := w.node.call(t, map[string]any{"do": "refresh", "stream": f.name}); err != nil {
					t.Errorf("forceDisconnectAndRefresh: %v", err)
				}
			}
		}
		if i%20 == 19 {
			for _, f := range all {
				f.settle()
			}
		}
	}
	for _, f := range all {
		f.settle()
		f.until("the streamed form", func() bool { return !f.sse || f.streamed() })
		for _, r := range f.asked() {
			if r.Status != http.StatusOK {
				t.Errorf("%s was answered with %d", r.URL, r.Status)
			}
			if live := r.param("live") == "true"; live && f.sse != (r.param("live_sse") == "true") {
				t.Errorf("the client asks for %s, though sse is %v", r.URL, f.sse)
			}
		}
	}
}}

// streamed says whether an event stream was opened. The lock is held.
func (f *follower) streamed() bool {
	return slices.ContainsFunc(f.requests, func(r request) bool {
		return r.param("live_sse") == "true" && strings.HasPrefix(r.Headers["content-type"], "text/event-stream")
	})
}

// operations holds each message of directed transactions to what was done.
var operations = scenario{
	name: "operations", schema: `
	CREATE TABLE ops (id int PRIMARY KEY, a text, b int);
	CREATE TABLE twokeys (x int, "y/z" text, v int, PRIMARY KEY (x, "y/z"));
	CREATE TABLE nokey (a int, b text);
	INSERT INTO ops VALUES (1, 'one', 1), (2, 'two', 2);`,
	run: func(t *testing.T, w *world) {
		b := newBook(t, w.db)
		type expected struct {
			f    *follower
			want []string
		}
		follow := func(sql string, o following) *expected {
			f := w.follow(t, b.view(sql), o)
			f.settle()
			return &expected{f: f}
		}
		whole := follow("SELECT * FROM ops", following{params: map[string]any{"table": "ops"}})
		full := follow("SELECT * FROM ops", following{params: map[string]any{"table": "ops", "replica": "full"}, sse: true})
		some := follow("SELECT * FROM ops WHERE b > 1", following{params: map[string]any{"table": "ops", "where": "b > 1", "replica": "full"}})
		few := follow("SELECT id, a FROM ops", following{params: map[string]any{"table": "ops", "columns": []string{"id", "a"}}})
		pair := follow("SELECT * FROM twokeys", following{params: map[string]any{"table": "twokeys", "replica": "full"}})
		nokey := follow("SELECT * FROM nokey", following{params: map[string]any{"table": "nokey"}})
		all := []*expected{whole, full, some, few, pair, nokey}
		key := func(op string, id any) string { return fmt.Sprintf(`%s "public"."ops"/"%v"`, op, id) }
		for _, s := range []struct {
			sql               string
			all, some, narrow []string // narrow: for two columns
		}{
			{"INSERT INTO ops VALUES (3, 'three', 3), (4, NULL, 0)", []string{key("insert", 3), key("insert", 4)}, []string{key("insert", 3)}, nil},
			{"INSERT INTO ops VALUES (5, 'five', 5); DELETE FROM ops WHERE id = 5", []string{key("insert", 5), key("delete", 5)}, []string{key("insert", 5), key("delete", 5)}, nil},
			{"UPDATE ops SET b = 10 WHERE id = 1", []string{key("update", 1)}, []string{key("insert", 1)}, []string{}},
			{"UPDATE ops SET b = 0 WHERE id = 1", []string{key("update", 1)}, []string{key("delete", 1)}, []string{}},
			{"UPDATE ops SET a = 'x', b = 7 WHERE id = 2", []string{key("update", 2)}, []string{key("update", 2)}, nil},
			{"UPDATE ops SET a = 'y' WHERE id = 2; UPDATE ops SET a = 'z' WHERE id = 2", []string{key("update", 2), key("update", 2)}, []string{key("update", 2), key("update", 2)}, nil},
			{"UPDATE ops SET id = 20 WHERE id = 2", []string{key("delete", 2), key("insert", 20)}, []string{key("delete", 2), key("insert", 20)}, nil},
			{"DELETE FROM ops WHERE id = 20; INSERT INTO ops VALUES (20, 'back', 2)", []string{key("delete", 20), key("insert", 20)}, []string{key("delete", 20), key("insert", 20)}, nil},
			{"DELETE FROM ops WHERE id IN (1, 3)", []string{key("delete", 1), key("delete", 3)}, []string{key("delete", 3)}, nil},
			{"DO $$ BEGIN BEGIN INSERT INTO ops VALUES (9, 'never', 9); RAISE 'x'; EXCEPTION WHEN OTHERS THEN NULL; END; INSERT INTO ops VALUES (8, 'kept', 0); END $$", []string{key("insert", 8)}, []string{}, nil},
		} {
			if s.narrow == nil {
				s.narrow = s.all
			}
			b.do("%s", s.sql)
			whole.want, full.want = append(whole.want, s.all...), append(full.want, s.all...)
			some.want, few.want = append(some.want, s.some...), append(few.want, s.narrow...)
		}
		b.do(`INSERT INTO twokeys VALUES (1, 'a/b"c', 1); UPDATE twokeys SET v = 2; UPDATE twokeys SET x = 2; DELETE FROM twokeys`)
		pair.want = []string{"insert", "update", "delete", "insert", "delete"}
		b.do(`INSERT INTO nokey VALUES (1, 'x'), (2, NULL); DELETE FROM nokey WHERE a = 1; UPDATE nokey SET b = 'y'`)
		nokey.want = []string{"insert", "insert", "delete", "delete", "insert"}
		for i, e := range all {
			e.f.until("all operations", func() bool { return len(e.f.log) >= len(e.want) })
			e.f.settle()
			got := e.f.operations()
			if e == pair || e == nokey { // how such keys are written is the server's affair
				for i := range got {
					got[i], _, _ = strings.Cut(got[i], " ")
				}
			}
			if !slices.Equal(got, e.want) {
				t.Errorf("follower %d has got\n%s\nwant\n%s", i, strings.Join(got, "\n"), strings.Join(e.want, "\n"))
			}
		}
	},
}

// manyClients has streams on one shape in one process and in another one.
var manyClients = scenario{name: "many clients", schema: items("crowd"), run: func(t *testing.T, w *world) {
	b, other := newBook(t, w.db), startNode(t)
	v := b.view("SELECT * FROM crowd")
	var all []*follower
	for i := range 6 {
		n := []*node{w.node, other}[i%2]
		all = append(all, n.follow(t, w.base(), v, following{params: map[string]any{"table": []string{"crowd", `"crowd"`, "public.crowd"}[i/2]}, sse: i >= 4}))
	}
	for range 10 {
		step(b, w.rng, "crowd")
	}
	for _, f := range all {
		f.settle()
		if f.handle != all[0].handle {
			t.Errorf("handles %s and %s for one shape", f.handle, all[0].handle)
		}
	}
}}

// refetch ends shapes under their followers.
var refetch = scenario{name: "must-refetch", schema: items("ending"), run: func(t *testing.T, w *world) {
	b := newBook(t, w.db)
	v := b.view("SELECT * FROM ending")
	poll := w.follow(t, v, following{params: map[string]any{"table": "ending", "replica": "full"}})
	stream := w.follow(t, v, following{params: map[string]any{"table": "ending"}, sse: true})
	all := []*follower{poll, stream}
	settle := func(times int) {
		t.Helper()
		for _, f := range all {
			f.settle()
			f.until("a refetch", func() bool { return f.refetch >= times })
		}
	}
	settle(0)
	b.do("TRUNCATE ending")
	settle(1)
	step(b, w.rng, "ending")
	b.do("INSERT INTO ending VALUES (1, 'a', 1, NULL); TRUNCATE ending; INSERT INTO ending VALUES (2, 'b', 2, NULL)")
	settle(2)
	for _, params := range []map[string]string{{"handle": poll.handle}, {"table": "ending"}} { // the second is the shape of the stream
		if r := w.ask(http.MethodDelete, "/v1/shape", params); r.status != http.StatusAccepted {
			t.Errorf("DELETE %v: %s", params, r)
		}
	}
	b.do("INSERT INTO ending VALUES (3, 'c', 3, NULL)")
	settle(3)
	for _, f := range all {
		f.mu.Lock()
		if f.refetch > 3 {
			t.Errorf("%s began anew %d times", f.name, f.refetch)
		}
		f.mu.Unlock()
	}
	if r := w.ask(http.MethodDelete, "/v1/shape", map[string]string{"handle": "no-such-handle"}); r.status != http.StatusNotFound {
		t.Errorf("DELETE of no shape: %s", r)
	}
}}

// resume kills the process with the clients, and goes on in another one with
// what they had stored.
var resume = scenario{name: "resume", schema: items("kept"), run: func(t *testing.T, w *world) {
	b, first := newBook(t, w.db), startNode(t)
	v := b.view("SELECT * FROM kept")
	all := []*follower{
		first.follow(t, w.base(), v, following{params: map[string]any{"table": "kept", "replica": "full"}}),
		first.follow(t, w.base(), v, following{params: map[string]any{"table": "kept"}, sse: true}),
	}
	for range 5 {
		step(b, w.rng, "kept")
	}
	for _, f := range all {
		f.settle()
	}
	step(b, w.rng, "kept") // they may have got it or not
	first.kill()
	for range 20 {
		step(b, w.rng, "kept")
	}
	next := startNode(t)
	for _, f := range all {
		g := f.resumed(next, w.base())
		g.settle()
		step(b, w.rng, "kept")
		g.settle()
		if g.refetch > 0 {
			t.Errorf("%s began anew", g.name)
		}
	}
}}
