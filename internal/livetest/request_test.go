package livetest

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// responses are those that caches and clients rely on, header by header.
var responses = scenario{name: "responses", schema: "CREATE TABLE plain (id int PRIMARY KEY, t text); INSERT INTO plain VALUES (1, 'a')", run: func(t *testing.T, w *world) {
	ask := func(more ...string) response {
		params := map[string]string{"table": "plain"}
		for i := 0; i < len(more); i += 2 {
			params[more[i]] = more[i+1]
		}
		return w.ask(http.MethodGet, "/v1/shape", params)
	}
	want := func(r response, what string, headers ...string) {
		t.Helper()
		for i := 0; i < len(headers); i += 2 {
			if got := r.header.Get(headers[i]); got != headers[i+1] {
				t.Errorf("%s: %s is %q, want %q", what, headers[i], got, headers[i+1])
			}
		}
	}
	controls := func(r response) (all []string) {
		for _, m := range r.messages {
			all = append(all, m.Headers.Control+m.Headers.Operation)
		}
		return all
	}
	first := ask("offset", "-1")
	want(first, "the snapshot", "Cache-Control", "public, max-age=604800, s-maxage=3600, stale-while-revalidate=2629746", "Electric-Offset", "0_0", "Electric-Up-To-Date", "")
	if got := strings.Join(controls(first), " "); got != "insert snapshot-end" || !strings.Contains(first.header.Get("Electric-Schema"), `"type":"int4"`) {
		t.Errorf("the snapshot: %s, %s", got, first)
	}
	w.db.Exec(t, "INSERT INTO plain VALUES (2, 'b')")
	handle := first.header.Get("Electric-Handle")
	var second response
	for end := time.Now().Add(settleTimeout); strings.Join(controls(second), " ") != "insert up-to-date"; {
		if second = ask("offset", "0_0", "handle", handle); time.Now().After(end) {
			t.Fatalf("after the snapshot: %s", second)
		}
	}
	want(second, "the log", "Electric-Handle", handle)
	if second.header["Electric-Up-To-Date"] == nil || second.header.Get("Tidemark-Token") == "" {
		t.Errorf("the log: %s", second)
	}
	want(ask("offset", "-1"), "the snapshot again", "Etag", first.header.Get("Etag"), "Electric-Handle", handle)
	if r := w.ask(http.MethodGet, "/v1/shape", map[string]string{"table": "plain", "offset": "-1"}, "If-None-Match", first.header.Get("Etag")); r.status != http.StatusNotModified {
		t.Errorf("with its own entity tag: %s", r)
	}
	now := ask("offset", "now")
	if got := strings.Join(controls(now), " "); got != "up-to-date" || now.header.Get("Electric-Offset") == "now" {
		t.Errorf("offset=now: %s, %s", got, now)
	}
	at := second.header.Get("Electric-Offset")
	answered := make(chan response, 2)
	for range 2 {
		go func() { answered <- ask("offset", at, "handle", handle, "live", "true", "cursor", "") }()
	}
	w.db.Exec(t, "INSERT INTO plain VALUES (3, 'c'); DELETE FROM plain WHERE id = 3")
	for range 2 {
		r := <-answered
		if got := strings.Join(controls(r), " "); got != "insert delete up-to-date" || r.header.Get("Electric-Cursor") == "" {
			t.Errorf("a live poll: %s, %s", got, r)
		}
		if cc := r.header.Get("Cache-Control"); !strings.Contains(cc, "max-age=5") {
			t.Errorf("a live poll: Cache-Control is %q", cc)
		}
	}
}}

// badRequests has requests that cannot be answered.
var badRequests = scenario{name: "bad requests", schema: `CREATE TABLE fine (id int PRIMARY KEY, t text); CREATE SCHEMA closed; CREATE TABLE closed.secret (id int PRIMARY KEY);`, run: func(t *testing.T, w *world) {
	for _, c := range []struct {
		params map[string]string
		status int
		text   string
	}{
		{map[string]string{"offset": "-1"}, 400, "table"},
		{map[string]string{"table": "nothing", "offset": "-1"}, 400, "nothing"},
		{map[string]string{"table": "closed.secret", "offset": "-1"}, 400, "secret"},
		{map[string]string{"table": "fine; DROP TABLE fine", "offset": "-1"}, 400, ""},
		{map[string]string{"table": "fine", "offset": "7"}, 400, "offset"},
		{map[string]string{"table": "fine", "offset": "7_0"}, 400, "handle"},
		{map[string]string{"table": "fine", "offset": "-1", "columns": "t"}, 400, "id"},
		{map[string]string{"table": "fine", "offset": "-1", "columns": "id,x"}, 400, "x"},
		{map[string]string{"table": "fine", "offset": "-1", "where": "id = x x"}, 400, "At location 22: syntax error at or near"},
		{map[string]string{"table": "fine", "offset": "-1", "where": "id = $1"}, 400, "1"},
		{map[string]string{"table": "fine", "offset": "-1", "where": "id IN (SELECT id FROM closed.secret)"}, 400, ""},
		{map[string]string{"table": "fine", "offset": "-1", "where": "true); DROP TABLE fine; --"}, 400, ""},
		{map[string]string{"table": "fine", "offset": "-1", "where": "t < now()::text"}, 400, ""},
		{map[string]string{"table": "fine", "offset": "-1", "replica": "some"}, 400, "replica"},
		{map[string]string{"table": "fine", "offset": "0_0", "handle": "no-such-handle"}, 409, "must-refetch"},
	} {
		r := w.ask(http.MethodGet, "/v1/shape", c.params)
		if r.status != c.status || !strings.Contains(r.body, c.text) {
			t.Errorf("%v: %s, want %d with %q", c.params, r, c.status, c.text)
		}
		if cc := r.header.Get("Cache-Control"); r.status == 400 && !strings.Contains(cc, "no-store") {
			t.Errorf("%v: Cache-Control is %q", c.params, cc)
		}
	}
	f := w.follow(t, nil, following{params: map[string]any{"table": "fine", "where": "id = 'x'"}})
	f.until("an error", func() bool {
		if len(f.errors) == 0 {
			return false
		}
		e := f.errors[0]
		f.errors = nil
		if e.Status != 400 {
			t.Errorf("the client is told %+v", e)
		}
		return true
	})

	// What a browser asks first, and what it lets a page see.
	r := w.ask(http.MethodOptions, "/v1/shape", nil, "Origin", "http://elsewhere.example", "Access-Control-Request-Method", "GET")
	if r.status != http.StatusNoContent || !strings.Contains(r.header.Get("Access-Control-Allow-Methods"), "GET") {
		t.Errorf("OPTIONS: %s", r)
	}
	r = w.ask(http.MethodGet, "/v1/shape", map[string]string{"table": "fine", "offset": "-1"}, "Origin", "http://elsewhere.example")
	shown := strings.ToLower(r.header.Get("Access-Control-Expose-Headers"))
	for _, h := range []string{"electric-handle", "electric-offset", "electric-schema", "electric-cursor", "electric-up-to-date", "tidemark-token"} {
		if shown != "*" && !strings.Contains(shown, h) {
			t.Errorf("a page does not see %s: %s", h, r)
		}
	}
	if r.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("a page from elsewhere does not see the response: %s", r)
	}
}}
