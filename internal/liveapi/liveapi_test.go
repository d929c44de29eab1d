package liveapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/liveapi"
	"github.com/tidemarkdb/tidemark/internal/liveapi/liveapitest"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig serves a table, items, whose snapshot has two chunks, and an endpoint.
type rig struct {
	*testing.T
	live    *liveapi.Handler
	host    *liveapitest.Host
	tables  *liveapitest.Tables
	answers *liveapitest.Answers
	items   *liveapitest.Shape
	orders  *liveapitest.Shape
	url     string
	log     *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

const orders = "/v1/users/42/orders"

// whole is the offset of one who has all up to a position.
func whole(at revision.LSN) string { return live.Offset{LSN: at, Index: live.Whole}.String() }

func open(t *testing.T, o liveapi.Options) *rig {
	t.Helper()
	r := &rig{
		T: t, host: liveapitest.NewHost(100), tables: &liveapitest.Tables{}, answers: &liveapitest.Answers{}, log: &lockedBuffer{},
		items:  liveapitest.NewShape("items-1", 100, []string{liveapitest.Row(1, "a")}, []string{liveapitest.Row(2, "b")}),
		orders: liveapitest.NewShape("orders-1", 100, []string{liveapitest.Row(7, "o")}),
	}
	r.tables.Set("items", r.items)
	r.answers.Set(orders, r.orders)
	if o.Poll == 0 {
		o.Poll = 30 * time.Second
	}
	o.Host, o.Answers = r.host, r.answers
	if o.Tables == nil {
		o.Tables = r.tables
	}
	o.Logger = slog.New(slog.NewTextHandler(r.log, nil))
	r.live = liveapi.New(o)
	srv := httptest.NewServer(r.live)
	r.url = srv.URL
	t.Cleanup(func() {
		r.live.Stop()
		srv.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return r
}

// reply is a response that was read.
type reply struct {
	*http.Response
	text string
}

func (r *rig) send(method, uri, body string, header ...string) reply {
	r.Helper()
	req, err := http.NewRequestWithContext(r.Context(), method, r.url+uri, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.Fatal(err)
	}
	return reply{resp, string(text)}
}

func (r *rig) get(uri string, header ...string) reply {
	r.Helper()
	return r.send("GET", uri, "", header...)
}

// messages returns the values and controls of a body.
func (r reply) messages(t *testing.T) []string {
	t.Helper()
	var all []liveapitest.Message
	if err := json.Unmarshal([]byte(r.text), &all); err != nil {
		t.Fatalf("%v in %q", err, r.text)
	}
	out := []string{}
	for _, m := range all {
		switch {
		case m.Headers.Control == "up-to-date":
			out = append(out, "up-to-date "+m.Headers.Seen)
			if want := (revision.Token{Source: liveapitest.Source, LSN: lsn(t, m.Headers.Seen)}).String(); m.Headers.Token != want {
				t.Errorf("up to date at %s with the token %q, want %q", m.Headers.Seen, m.Headers.Token, want)
			}
		case m.Headers.Control != "":
			out = append(out, m.Headers.Control)
		default:
			out = append(out, fmt.Sprintf("%s %s=%s", m.Headers.Operation, m.Value["id"], m.Value["v"]))
		}
	}
	return out
}

func lsn(t *testing.T, s string) revision.LSN {
	t.Helper()
	o, err := live.ParseOffset(strings.TrimLeft(s, "0") + "_1")
	if err != nil {
		t.Fatal(err)
	}
	return o.LSN
}

func (r *rig) want(got reply, status int, messages ...string) {
	r.Helper()
	if got.StatusCode != status {
		r.Fatalf("%s: %s %s, want %d", got.Request.URL, got.Status, got.text, status)
	}
	if m := got.messages(r.T); !slices.Equal(m, messages) {
		r.Errorf("%s: %q, want %q", got.Request.URL, m, messages)
	}
}

func (r *rig) header(got reply, pairs ...string) {
	r.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if v := strings.Join(got.Header.Values(pairs[i]), " | "); v != pairs[i+1] {
			r.Errorf("%s: %s is %q, want %q", got.Request.URL, pairs[i], v, pairs[i+1])
		}
	}
}

// message is the message of a problem, for its parameter if it has one.
func (r *rig) problem(got reply, status int, slug, parameter, message string) {
	r.Helper()
	var p struct {
		Message, Type, Hint string
		Status              int
		Errors              map[string][]string
	}
	if err := json.Unmarshal([]byte(got.text), &p); err != nil {
		r.Fatalf("%s: %s, %v in %q", got.Request.URL, got.Status, err, got.text)
	}
	if got.StatusCode != status || p.Status != status || p.Type != "urn:tidemark:problem:"+slug {
		r.Errorf("%s: %s %s, want %d %s", got.Request.URL, got.Status, got.text, status, slug)
	}
	if !strings.Contains(p.Message, message) || parameter != "" && (len(p.Errors[parameter]) != 1 || !strings.Contains(p.Errors[parameter][0], message)) {
		r.Errorf("%s: %s, want %q for %q", got.Request.URL, got.text, message, parameter)
	}
	r.header(got, "Cache-Control", "no-store", "Content-Type", "application/json", "Access-Control-Allow-Origin", "*")
}

// waits returns once n requests wait.
func (r *rig) waits(n int) {
	r.Helper()
	liveapitest.Waits(r, r.live, n)
}

// async sends a request, and returns a channel of its reply.
func (r *rig) async(uri string, header ...string) <-chan reply {
	c := make(chan reply, 1)
	go func() { c <- r.get(uri, header...) }()
	return c
}

const exact = "public, max-age=604800, s-maxage=3600, stale-while-revalidate=2629746"

// TestFromTheStart reads a shape as a client does: its chunks, then what came,
// then live.
func TestFromTheStart(t *testing.T) {
	r := open(t, liveapi.Options{})
	got := r.get("/v1/shape?log=full&offset=-1&table=items")
	r.want(got, 200, "insert 1=a")
	r.header(got, "Electric-Handle", "items-1", "Electric-Offset", "0_0", "Electric-Schema", r.items.Schema(), "Electric-Cursor", "",
		"Electric-Up-To-Date", "", "Etag", `"items-1:-1:0_0"`, "Cache-Control", exact, "Content-Type", "application/json", "Tidemark-Token", "",
		"Access-Control-Allow-Origin", "*", "Vary", "Accept, Authorization, Tidemark-Consistency")
	for _, name := range []string{"electric-cursor", "electric-handle", "electric-offset", "electric-schema", "electric-up-to-date", "electric-snapshot", "etag", "retry-after", "tidemark-token"} {
		if !slices.Contains(strings.Split(got.Header.Get("Access-Control-Expose-Headers"), ", "), name) {
			t.Errorf("%s is not exposed", name)
		}
	}
	got = r.get("/v1/shape?handle=items-1&log=full&offset=0_0&table=items")
	r.want(got, 200, "insert 2=b", "snapshot-end")
	r.header(got, "Electric-Offset", "0_1", "Electric-Up-To-Date", "", "Etag", `"items-1:0_0:0_1"`, "Cache-Control", "public, max-age=60, stale-while-revalidate=300")
	got = r.get("/v1/shape?handle=items-1&log=full&offset=0_1&table=items")
	r.want(got, 200, "up-to-date 100")
	r.header(got, "Electric-Up-To-Date", "true", "Electric-Schema", r.items.Schema(), "Tidemark-Token", r.host.Token(100))
	if tag := got.Header.Get("Etag"); !strings.HasPrefix(tag, `"items-1:0_1:`+whole(100)+`:`) {
		t.Errorf("the tag of nothing is %s", tag)
	}
	if again := r.get("/v1/shape?handle=items-1&log=full&offset=0_1&table=items"); again.Header.Get("Etag") == got.Header.Get("Etag") {
		t.Errorf("the tag of nothing comes twice")
	}

	r.items.Insert(200, 3, "c")
	// What is said of the beginning does not change.
	got = r.get("/v1/shape?log=full&offset=-1&table=items")
	r.want(got, 200, "insert 1=a")
	r.header(got, "Etag", `"items-1:-1:0_0"`)
	got = r.get("/v1/shape?cursor=&handle=items-1&live=true&log=full&offset=0100_0&table=items")
	r.want(got, 200, "insert 3=c", "up-to-date 200")
	r.header(got, "Electric-Handle", "items-1", "Electric-Offset", "200_0", "Electric-Schema", "", "Electric-Up-To-Date", "true",
		"Etag", `"items-1:`+whole(100)+`:200_0"`, "Cache-Control", "public, max-age=5, stale-while-revalidate=5", "Tidemark-Token", r.host.Token(200))
	if got.Header.Get("Electric-Cursor") == "" {
		t.Error("a live response has no cursor")
	}
	if d := r.tables.Last(); d.Table != "items" || d.ChangesOnly || d.Full || d.Where != "" || d.Columns != nil || d.Params != nil || d.Account != nil {
		t.Errorf("asked for %+v", d)
	}
}

// TestInTheMiddle reads a transaction that is too large for one batch.
func TestInTheMiddle(t *testing.T) {
	r := open(t, liveapi.Options{})
	r.items.Chunk = 2
	var all []string
	for i := range 5 {
		all = append(all, liveapitest.Change("insert", live.Offset{LSN: 200, Index: uint64(2 * i)}, i, "x"))
	}
	r.items.Commit(200, all...)
	got := r.get("/v1/shape?handle=items-1&live=true&offset=0100_0&table=items")
	r.want(got, 200, "insert 0=x", "insert 1=x")
	// Not the token of the transaction, of which there is more.
	r.header(got, "Electric-Offset", "200_2", "Electric-Up-To-Date", "", "Tidemark-Token", r.host.Token(199))
	got = r.get("/v1/shape?handle=items-1&offset=200_2&table=items")
	r.want(got, 200, "insert 2=x", "insert 3=x")
	got = r.get("/v1/shape?handle=items-1&offset=" + got.Header.Get("Electric-Offset") + "&table=items")
	r.want(got, 200, "insert 4=x", "up-to-date 200")
	r.header(got, "Tidemark-Token", r.host.Token(200))
	// All of the transaction, as a client of an event stream says it.
	r.want(r.get("/v1/shape?handle=items-1&offset=0200_0&table=items"), 200, "up-to-date 200")
	r.want(r.get("/v1/shape?handle=items-1&offset=200_0&table=items"), 200, "insert 1=x", "insert 2=x")
}

func TestNow(t *testing.T) {
	r := open(t, liveapi.Options{})
	r.items.Insert(200, 3, "c")
	for _, uri := range []string{"/v1/shape?offset=now&table=items", "/v1/shape?live=true&offset=now&table=items", "/v1/shape?handle=other-1&offset=now&table=items"} {
		got := r.get(uri)
		r.want(got, 200, "up-to-date 200")
		r.header(got, "Electric-Offset", whole(200), "Electric-Handle", "items-1", "Electric-Schema", r.items.Schema(), "Electric-Up-To-Date", "true",
			"Cache-Control", "public, max-age=5, stale-while-revalidate=5")
	}
}

// TestUnknownHandle has handles that are not, or no longer, the shape's.
func TestUnknownHandle(t *testing.T) {
	r := open(t, liveapi.Options{})
	r.want(r.get("/v1/shape?handle=items-0&offset=-1&table=items"), 200, "insert 1=a")
	r.want(r.get("/v1/shape?cache-buster=1-x&expired_handle=items-0&offset=-1&table=items"), 200, "insert 1=a")
	for _, uri := range []string{
		"/v1/shape?handle=items-0&offset=0_0&table=items", "/v1/shape?handle=items-0&live=true&offset=200_0&table=items",
		"/v1/shape?handle=items-0&live=true&live_sse=true&offset=200_0&table=items",
		"/v1/shape?handle=items-0&offset=200_0&subset__where=true&table=items",
	} {
		got := r.get(uri)
		r.want(got, 409, "must-refetch")
		r.header(got, "Electric-Handle", "items-1", "Cache-Control", "public, max-age=60, must-revalidate", "Content-Type", "application/json",
			"Access-Control-Allow-Origin", "*")
		if got.text != `[{"headers":{"control":"must-refetch"}}]` {
			t.Errorf("the body is %s", got.text)
		}
	}
	// Too old: no handle is known, or but the dead one.
	for _, gone := range []string{"", "items-1"} {
		s := liveapitest.NewShape("items-1", 100)
		s.End(&live.GoneError{Handle: gone})
		r.tables.Set("items", s)
		got := r.get("/v1/shape?handle=items-1&offset=50_0&table=items")
		r.want(got, 409, "must-refetch")
		r.header(got, "Electric-Handle", "", "Cache-Control", "public, max-age=1, must-revalidate")
	}
}

// TestPollWaits polls until something comes, nothing comes, or the shape ends.
func TestPollWaits(t *testing.T) {
	r := open(t, liveapi.Options{})
	const uri = "/v1/shape?cursor=1&handle=items-1&live=true&offset=0100_0&table=items"
	var waiting []<-chan reply
	for range 5 {
		waiting = append(waiting, r.async(uri))
	}
	r.waits(5)
	r.items.Insert(200, 3, "c")
	for _, c := range waiting {
		r.want(<-c, 200, "insert 3=c", "up-to-date 200")
	}
	r.waits(0)
	c := r.async("/v1/shape?cursor=1&handle=items-1&live=true&offset=200_0&table=items")
	r.waits(1)
	r.items.End(&live.GoneError{Handle: "items-2"})
	got := <-c
	r.want(got, 409, "must-refetch")
	r.header(got, "Electric-Handle", "items-2")
	r.waits(0)
}

func TestPollEnds(t *testing.T) {
	r := open(t, liveapi.Options{Poll: 50 * time.Millisecond})
	began := time.Now()
	c := r.async("/v1/shape?cursor=1&handle=items-1&live=true&offset=0100_0&table=items")
	r.waits(1)
	r.items.Advance(300)
	got := <-c
	r.want(got, 200, "up-to-date 300")
	r.header(got, "Electric-Offset", whole(100), "Tidemark-Token", r.host.Token(300))
	if d := time.Since(began); d < 50*time.Millisecond || d > 5*time.Second {
		t.Errorf("a poll took %s", d)
	}
}

// TestClientLeaves has the client of a poll go away.
func TestClientLeaves(t *testing.T) {
	r := open(t, liveapi.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "GET", r.url+"/v1/shape?handle=items-1&live=true&offset=0100_0&table=items", nil)
	done := make(chan error, 1)
	go func() {
		_, err := http.DefaultClient.Do(req)
		done <- err
	}()
	r.waits(1)
	cancel()
	<-done
	r.waits(0)
	if text := r.log.String(); text != "" {
		t.Errorf("it is logged: %s", text)
	}
}

// TestStop ends what waits with an answer that clients accept.
func TestStop(t *testing.T) {
	r := open(t, liveapi.Options{})
	poll := r.async("/v1/shape?cursor=1&handle=items-1&live=true&offset=0100_0&table=items")
	stream := r.async("/v1/shape?cursor=1&handle=items-1&live=true&live_sse=true&offset=0100_0&table=items")
	r.waits(2)
	began := time.Now()
	r.live.Stop()
	got := <-poll
	r.want(got, 200, "up-to-date 100")
	r.header(got, "Electric-Handle", "items-1", "Electric-Offset", whole(100), "Electric-Up-To-Date", "true")
	if s := <-stream; s.StatusCode != 200 || strings.Contains(s.text, "data:") {
		t.Errorf("the stream was %s %q", s.Status, s.text)
	}
	if d := time.Since(began); d > time.Second {
		t.Errorf("it took %s", d)
	}
	r.problem(r.get("/v1/shape?handle=items-1&live=true&offset=0100_0&table=items"), 503, "shutting-down", "", "shutting down")
	r.want(r.get("/v1/shape?handle=items-1&offset=0100_0&table=items"), 200, "up-to-date 100")
}

func TestTooManyWait(t *testing.T) {
	r := open(t, liveapi.Options{MaxWaiting: 2})
	const uri = "/v1/shape?handle=items-1&live=true&offset=0100_0&table=items"
	a, b := r.async(uri), r.async(uri+"&live_sse=true")
	r.waits(2)
	for _, u := range []string{uri, uri + "&live_sse=true"} {
		got := r.get(u)
		r.problem(got, 503, "too-many-followers", "", "Too many")
		if got.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	r.waits(2)
	r.items.Insert(200, 3, "c")
	r.want(<-a, 200, "insert 3=c", "up-to-date 200")
	r.want(r.get(uri), 200, "insert 3=c", "up-to-date 200")
	r.live.Stop()
	<-b
}

// TestCursor has the cursors of one interval.
func TestCursor(t *testing.T) {
	r := open(t, liveapi.Options{})
	r.items.Insert(200, 3, "c")
	uri := func(c string) string {
		return "/v1/shape?cursor=" + c + "&handle=items-1&live=true&offset=0100_0&table=items"
	}
	first := r.get(uri("")).Header.Get("Electric-Cursor")
	if other := r.get(uri("77")).Header.Get("Electric-Cursor"); other != first {
		if other = r.get(uri("")).Header.Get("Electric-Cursor"); r.get(uri("77")).Header.Get("Electric-Cursor") != other {
			t.Errorf("two clients of one interval have %s and %s", first, other) // it may have passed once
		}
		first = other
	}
	if again := r.get(uri(first)).Header.Get("Electric-Cursor"); again == first || again == "" {
		t.Errorf("the cursor %s comes again", first)
	}
}

func TestConditional(t *testing.T) {
	r := open(t, liveapi.Options{})
	const uri = "/v1/shape?offset=-1&table=items"
	tag := r.get(uri).Header.Get("Etag")
	for _, match := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
		got := r.get(uri, "If-None-Match", match)
		if got.StatusCode != 304 || got.text != "" {
			t.Errorf("%s: %s %q", match, got.Status, got.text)
		}
		r.header(got, "Etag", tag, "Cache-Control", exact, "Electric-Handle", "items-1", "Electric-Offset", "0_0", "Electric-Schema", r.items.Schema())
	}
	if got := r.get(uri, "If-None-Match", `"items-1:-1:0_1"`); got.StatusCode != 200 {
		t.Errorf("another tag: %s", got.Status)
	}
}

func TestHead(t *testing.T) {
	r := open(t, liveapi.Options{})
	for _, uri := range []string{"/v1/shape?offset=-1&table=items", "/v1/shape?handle=items-1&live=true&offset=0100_0&table=items", "/v1/health", "/v1/shape?offset=x&table=items"} {
		head := r.send("HEAD", uri, "")
		if head.text != "" || head.ContentLength < 2 {
			t.Errorf("HEAD %s: %d bytes, said to be %d", uri, len(head.text), head.ContentLength)
		}
		if strings.Contains(uri, "live") {
			continue // it would wait
		}
		get := r.get(uri)
		for name := range get.Header {
			if name != "Date" && head.Header.Get(name) != get.Header.Get(name) {
				t.Errorf("HEAD %s: %s is %q, want %q", uri, name, head.Header.Get(name), get.Header.Get(name))
			}
		}
	}
}

func TestPreflight(t *testing.T) {
	r := open(t, liveapi.Options{Secrets: []string{"s"}})
	for _, tt := range []struct{ path, ask, allow string }{
		{"/v1/shape", "authorization,x-own", "authorization,x-own"},
		{"/v1/shape", "", "authorization, content-type, if-none-match, last-event-id, tidemark-consistency"},
		{orders + "?live=true", "authorization", "authorization"},
		{"/v1/shape", "bad\x7f", "authorization, content-type, if-none-match, last-event-id, tidemark-consistency"},
	} {
		req := httptest.NewRequest("OPTIONS", tt.path, nil)
		req.Header.Set("Origin", "https://app.example")
		req.Header.Set("Access-Control-Request-Method", "POST")
		if tt.ask != "" {
			req.Header.Set("Access-Control-Request-Headers", tt.ask)
		}
		if !r.live.Wants(req) {
			t.Errorf("%s is not wanted", tt.path)
		}
		w := httptest.NewRecorder()
		r.live.ServeHTTP(w, req)
		h := w.Header()
		if w.Code != 204 || h.Get("Access-Control-Allow-Headers") != tt.allow || h.Get("Access-Control-Allow-Origin") != "*" ||
			h.Get("Access-Control-Allow-Methods") != "GET, HEAD, POST, DELETE, OPTIONS" || h.Get("Access-Control-Max-Age") == "" || w.Body.Len() > 0 {
			t.Errorf("%+v: %d %v", tt, w.Code, h)
		}
	}
}

func TestHealth(t *testing.T) {
	r := open(t, liveapi.Options{Secrets: []string{"s"}})
	got := r.get("/v1/health")
	if got.StatusCode != 200 || got.text != "{\"status\":\"active\"}\n" {
		t.Errorf("%s %s", got.Status, got.text)
	}
	r.header(got, "Cache-Control", "no-store", "Content-Type", "application/json")
	r.host.SetHealth("starting")
	if got := r.get("/v1/health"); got.StatusCode != 503 || got.text != "{\"status\":\"starting\"}\n" {
		t.Errorf("%s %s", got.Status, got.text)
	}
	r.problem(r.send("POST", "/v1/health", ""), 405, "method", "", "method")
}

func TestDelete(t *testing.T) {
	r := open(t, liveapi.Options{})
	r.problem(r.send("DELETE", "/v1/shape?table=items", ""), 404, "no-shape", "", "")
	r = open(t, liveapi.Options{AllowDelete: true})
	r.problem(r.send("DELETE", "/v1/shape", ""), 400, "bad-request", "table", "missing")
	r.problem(r.send("DELETE", "/v1/shape?table=other", ""), 404, "no-shape", "", "")
	r.problem(r.send("DELETE", "/v1/shape?handle=other-1", ""), 404, "no-shape", "", "")
	for _, uri := range []string{"/v1/shape?table=items", "/v1/shape?handle=orders-1"} {
		if got := r.send("DELETE", uri, ""); got.StatusCode != 202 || got.text != "" {
			t.Errorf("%s: %s %s", uri, got.Status, got.text)
		}
		r.problem(r.send("DELETE", uri, ""), 404, "no-shape", "", "")
	}
	r.tables.Set("items", r.items)
	if got := r.send("DELETE", "/v1/shape?handle=items-1", ""); got.StatusCode != 202 {
		t.Errorf("%s %s", got.Status, got.text)
	}
}

// TestDefinition has the parameters of a shape of a table.
func TestDefinition(t *testing.T) {
	r := open(t, liveapi.Options{})
	ask := func(query string) live.Definition {
		t.Helper()
		got := r.get("/v1/shape?offset=-1&table=items&" + query)
		r.want(got, 200, "insert 1=a")
		return r.tables.Last()
	}
	if d := ask("where=" + url.QueryEscape("id = $1 and v = $2") + "&params%5B1%5D=5&params[2]=x%26y"); d.Where != "id = $1 and v = $2" || len(d.Params) != 2 || d.Params["1"] != "5" || d.Params["2"] != "x&y" {
		t.Errorf("%+v", d)
	}
	if d := ask("params=" + url.QueryEscape(`{"1":"a","2":7,"3":true}`)); d.Params["1"] != "a" || d.Params["2"] != "7" || d.Params["3"] != "true" {
		t.Errorf("%+v", d)
	}
	if d := ask("params=" + url.QueryEscape(`["a",12345678901234567890]`)); d.Params["1"] != "a" || d.Params["2"] != "12345678901234567890" {
		t.Errorf("%+v", d)
	}
	if d := ask("columns=" + url.QueryEscape(`id,"A b","q""q",Upper, ü `)); !slices.Equal(d.Columns, []string{"id", "A b", `q"q`, "upper", "ü"}) {
		t.Errorf("%q", d.Columns)
	}
	if d := ask("queryable_columns=id,v"); !slices.Equal(d.Columns, []string{"id", "v"}) || !slices.Equal(d.Queryable, []string{"id", "v"}) {
		t.Errorf("%+v", d)
	}
	if d := ask("queryable_columns=id,v&columns=id"); !slices.Equal(d.Columns, []string{"id"}) {
		t.Errorf("%+v", d)
	}
	if d := ask("replica=full&log=changes_only&utm_source=x&unknown=1&unknown=2"); !d.Full || !d.ChangesOnly {
		t.Errorf("%+v", d)
	}
	if d := ask("replica=default&log=full&live=false&live_sse=false&experimental_live_sse=false"); d.Full || d.ChangesOnly {
		t.Errorf("%+v", d)
	}
}

func TestBadRequests(t *testing.T) {
	r := open(t, liveapi.Options{})
	for _, tt := range []struct{ query, parameter, message string }{
		{"offset=-1", "table", "missing"},
		{"offset=-1&table=", "table", "missing"},
		{"offset=-1&table=nope", "table", "no such table"},
		{"offset=-1&table=items&where=bad", "where", `At location 17: syntax error at or near "bad"`},
		{"offset=x&table=items", "offset", "two numbers"},
		{"offset=-2&table=items", "offset", "two numbers"},
		{"offset=1&table=items", "offset", "two numbers"},
		{"offset=1_&table=items", "offset", "two numbers"},
		{"offset=0_0&table=items", "handle", "needed"},
		{"offset=200_0&table=items", "handle", "needed"},
		{"offset=-1&table=items&live=yes", "live", "neither"},
		{"offset=-1&table=items&live_sse=true", "live_sse", "only if live"},
		{"offset=-1&table=items&experimental_live_sse=true", "live_sse", "only if live"},
		{"offset=-1&table=items&log=all", "log", "neither"},
		{"offset=-1&table=items&replica=some", "replica", "neither"},
		{"offset=-1&table=items&columns=a b", "columns", "list of columns"},
		{"offset=-1&table=items&columns=a,,b", "columns", "list of columns"},
		{`offset=-1&table=items&columns="a`, "columns", "list of columns"},
		{`offset=-1&table=items&columns=""`, "columns", "list of columns"},
		{"offset=-1&table=items&columns=1a", "columns", "list of columns"},
		{"offset=-1&table=items&queryable_columns=a;b", "", "query string is malformed"},
		{"offset=-1&table=items&queryable_columns=a&columns=b", "columns", "queryable"},
		{"offset=-1&table=items&params[0]=1", "params", "params[1]"},
		{"offset=-1&table=items&params[x]=1", "params", "params[1]"},
		{"offset=-1&table=items&params[1=1", "params", "params[1]"},
		{"offset=-1&table=items&params=1", "params", "JSON object"},
		{`offset=-1&table=items&params={"1":null}`, "params", "neither a text nor"},
		{`offset=-1&table=items&params={"1":"x"}&params[1]=y`, "params", "more than once"},
		{"offset=-1&table=items&params[1]=1&params[1]=2", "params[1]", "more than once"},
		{"offset=-1&table=items&table=users", "table", "more than once"},
		{"offset=-1&offset=now&table=items", "offset", "more than once"},
		{"handle=a&handle=b&offset=0_0&table=items", "handle", "more than once"},
		{"offset=-1&table=items&subset__limit=5", "subset__order_by", "needed"},
		{"offset=-1&table=items&subset__offset=5", "subset__order_by", "needed"},
		{"offset=-1&table=items&subset__limit=0&subset__order_by=id", "subset__limit", "less than 1"},
		{"offset=-1&table=items&subset__limit=x&subset__order_by=id", "subset__limit", "whole number"},
		{"offset=-1&table=items&subset__offset=-1&subset__order_by=id", "subset__offset", "less than 0"},
		{"offset=-1&table=items&subset__params=x", "subset__params", "JSON object"},
	} {
		query := strings.NewReplacer(" ", "%20", `"`, "%22", "{", "%7B", "}", "%7D").Replace(tt.query)
		got := r.get("/v1/shape?" + query)
		if tt.parameter == "" {
			r.problem(got, 400, "bad-request", "", "")
		} else {
			r.problem(got, 400, "bad-request", tt.parameter, tt.message)
		}
	}
	r.problem(r.get("/v1/shape?offset=-1&table=items&where="+strings.Repeat("x", 17<<10)), 414, "uri-too-long", "", "")
	r.problem(r.send("PUT", "/v1/shape?offset=-1&table=items", ""), 405, "method", "", "")
	r.header(r.send("PATCH", "/v1/shape?offset=-1&table=items", ""), "Allow", "GET, HEAD, POST, DELETE, OPTIONS")
	r = open(t, liveapi.Options{Tables: noTables{}})
	r.problem(r.get("/v1/shape?offset=-1&table=items"), 503, "live-unavailable", "", "the disk is full")
}

type noTables struct{ live.Tables }

func (noTables) Open(context.Context, live.Definition, string) (live.Shape, error) {
	return nil, fmt.Errorf("%w: the disk is full", live.ErrUnavailable)
}

// TestErrors has what shapes may fail with.
func TestErrors(t *testing.T) {
	own := errors.New("of the tenant")
	r := open(t, liveapi.Options{Explain: func(err error) (liveapi.Problem, bool) {
		if errors.Is(err, own) {
			return liveapi.Problem{Type: "urn:tidemark:problem:own", Title: "Own", Status: 429, RetryAfter: 30}, false
		}
		return liveapi.Problem{Type: "urn:tidemark:problem:internal", Title: "Something", Status: 500}, true
	}})
	for _, tt := range []struct {
		err    error
		status int
		slug   string
		logged bool
	}{
		{own, 429, "own", false},
		{errors.New("pq: password"), 500, "internal", true},
		{live.ErrForbidden, 403, "forbidden", false},
		{live.ErrNoShape, 404, "no-shape", false},
		{fmt.Errorf("%w: x", live.ErrUnavailable), 503, "live-unavailable", false},
		{context.DeadlineExceeded, 503, "busy", true},
		{&live.RequestError{Field: "where", Message: "m", Hint: "h"}, 400, "bad-request", false},
	} {
		r.tables.OpenErr = tt.err
		logged := len(r.log.String())
		got := r.get("/v1/shape?offset=-1&table=items&secret=hidden")
		r.problem(got, tt.status, tt.slug, "", "")
		if tt.status >= 500 && strings.Contains(got.text, "password") {
			t.Errorf("%v: what is for the log is told: %s", tt.err, got.text)
		}
		if tt.status == 503 || tt.status == 429 {
			if got.Header.Get("Retry-After") == "" {
				t.Errorf("%v: no Retry-After", tt.err)
			}
		}
		if text := r.log.String(); (len(text) > logged) != tt.logged || strings.Contains(text, "hidden") {
			t.Errorf("%v: the log is %q", tt.err, text[logged:])
		}
	}
	// All fail when the database is away.
	logged := r.log.String()
	r.tables.OpenErr = errors.New("away")
	for range 20 {
		r.problem(r.get("/v1/shape?offset=-1&table=items"), 500, "internal", "", "")
	}
	if lines := strings.Count(r.log.String()[len(logged):], "\n"); lines != 1 {
		t.Errorf("20 failures are %d lines in the log", lines)
	}
}
