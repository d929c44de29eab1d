package livetest

import (
	"context"
	"net/http"
	"strconv"
	"testing"
	"time"
)

// ownWrites reads shapes right after writes, with what makes them wait.
var ownWrites = scenario{name: "own writes", schema: items("own"), run: func(t *testing.T, w *world) {
	b := newBook(t, w.db)
	ctx := context.Background()
	conn := w.db.Conn(t)
	v := b.view("SELECT * FROM own WHERE id > 5000")
	where := map[string]string{"table": "own", "where": "id > 5000"}
	fresh := func(token string) []string {
		return []string{"Tidemark-Consistency", `at_least_as_fresh; token="` + token + `"`}
	}
	write := func(id int) (token string) {
		t.Helper()
		if err := conn.QueryRow(ctx, "INSERT INTO own VALUES ($1, 'mine', 1, NULL) RETURNING tidemark.token()", id).Scan(&token); err != nil {
			t.Fatal(err)
		}
		b.look(v)
		return token
	}
	known := w.reader(where)
	known.next()
	for i := range 15 {
		id := strconv.Itoa(6000 + i)
		token := write(6000 + i)
		known.headers = fresh(token)
		got := rows(known.next())
		if len(got) != 1 || got[0]["id"] != id {
			t.Fatalf("after the write of %s its writer reads %v", id, got)
		}
		// A shape that begins now.
		begun := w.reader(map[string]string{"table": "own", "where": "id > 5000 AND n < " + strconv.Itoa(50+i)}, fresh(token)...)
		if got := stateOf(func(yield func(map[string]any) bool) {
			for _, r := range rows(begun.next()) {
				if !yield(r) {
					return
				}
			}
		}); got != v.last() {
			t.Fatalf("after the write of %s a new shape has\n%s\nwant\n%s", id, got, v.last())
		}
		// The token of a response is one that other requests can name.
		if res := w.ask(http.MethodGet, "/v1/shape", map[string]string{"table": "own", "where": "id > 9000", "offset": "-1"}, fresh(known.token)...); res.status != http.StatusOK || known.token == "" {
			t.Fatalf("with the token %q of a response: %s", known.token, res)
		}
		// The npm client sends the header like any other: its first state is the last one.
		f := w.follow(t, v, following{
			params:  map[string]any{"table": "own", "where": "id > 5000", "params": map[string]string{}},
			headers: map[string]string{"Tidemark-Consistency": fresh(token)[1]},
		})
		f.until("the first state", func() bool { return len(f.states) > 0 })
		f.mu.Lock()
		if f.states[0] != v.last() {
			t.Errorf("after the write of %s the client begins with\n%s\nwant\n%s", id, f.states[0], v.last())
		}
		f.mu.Unlock()
		f.close()
	}

	// One that waits, on a shape that the write does not touch, is told as soon as its own write has passed.
	quiet := w.reader(map[string]string{"table": "own", "where": "id < 0"})
	quiet.next()
	began := time.Now()
	token := write(7000)
	res := w.ask(http.MethodGet, "/v1/shape", map[string]string{"table": "own", "where": "id < 0", "offset": quiet.offset, "handle": quiet.handle, "live": "true", "cursor": ""}, fresh(token)...)
	if took := time.Since(began); res.status != http.StatusOK || took > 5*time.Second {
		t.Errorf("a live request that names a write was answered after %s: %s", took, res)
	}
	if n := len(res.messages); n != 1 || res.messages[0].Headers.Control != "up-to-date" {
		t.Errorf("a live request that names a write: %s", res)
	}
	// A token of another database is refused.
	if res := w.ask(http.MethodGet, "/v1/shape", map[string]string{"table": "own", "offset": "-1"}, fresh("tm1nonsense")...); res.status != http.StatusBadRequest {
		t.Errorf("a token that is none: %s", res)
	}
}}
