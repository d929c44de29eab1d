package liveapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/liveapi"
	"github.com/tidemarkdb/tidemark/internal/liveapi/liveapitest"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// event is one event of a stream, or a comment.
type event struct{ id, data, comment string }

// stream is an event stream that is read.
type stream struct {
	*rig
	*http.Response
	lines  *bufio.Scanner
	cancel context.CancelFunc
}

func (r *rig) stream(uri string, header ...string) *stream {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), 30*time.Second)
	req, err := http.NewRequestWithContext(ctx, "GET", r.url+uri, nil)
	if err != nil {
		r.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.Fatal(err)
	}
	s := &stream{rig: r, Response: resp, lines: bufio.NewScanner(resp.Body), cancel: cancel}
	r.Cleanup(s.close)
	return s
}

func (s *stream) close() {
	s.cancel()
	s.Body.Close()
}

// next returns the next event or comment, and false at the end.
func (s *stream) next() (e event, ok bool) {
	s.Helper()
	e.id = "-"
	for s.lines.Scan() {
		line := s.lines.Text()
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			if e.data != "" || e.comment != "" {
				return e, true
			}
		case name == "":
			e.comment = value
		case name == "id":
			e.id = value
		case name == "data" && e.data == "":
			e.data = value
		case name != "retry":
			s.Errorf("the line %q", line)
		}
	}
	return e, false
}

// expect reads events, and says of each what it is, and its id if it has one.
func (s *stream) expect(want ...string) {
	s.Helper()
	for _, w := range want {
		e, ok := s.next()
		if !ok {
			s.Fatalf("the stream ended (%v), want %s", s.lines.Err(), w)
		}
		if got := describe(s.T, e); got != w {
			s.Fatalf("%s, want %s", got, w)
		}
	}
}

func describe(t *testing.T, e event) string {
	t.Helper()
	if e.data == "" {
		return "# " + e.comment
	}
	m := reply{text: "[" + e.data + "]"}.messages(t)
	if len(m) != 1 || !json.Valid([]byte(e.data)) {
		t.Fatalf("the event %q", e.data)
	}
	if e.id != "-" {
		m[0] += " @" + e.id
	}
	return m[0]
}

func (s *stream) ends() {
	s.Helper()
	if e, ok := s.next(); ok || s.lines.Err() != nil {
		s.Errorf("more comes: %+v, %v", e, s.lines.Err())
	}
}

// TestStream follows a shape as the npm client does.
func TestStream(t *testing.T) {
	r := open(t, liveapi.Options{})
	s := r.stream("/v1/shape?cursor=1&experimental_live_sse=true&handle=items-1&live=true&live_sse=true&offset=" + whole(100) + "&table=items")
	if s.StatusCode != 200 {
		t.Fatal(s.Status)
	}
	got := reply{s.Response, ""}
	r.header(got, "Content-Type", "text/event-stream", "Electric-Handle", "items-1", "Electric-Offset", whole(100), "Electric-Schema", "",
		"Cache-Control", "public, max-age=59", "X-Accel-Buffering", "no", "Access-Control-Allow-Origin", "*", "Electric-Up-To-Date", "")
	if s.Header.Get("Electric-Cursor") == "" {
		t.Error("no cursor")
	}
	r.waits(1)
	// On an idle shape there is nothing at the start: the first event is a change.
	r.items.Insert(200, 3, "c")
	s.expect("insert 3=c", "up-to-date 0200 @items-1/200_0")
	at := func(i uint64) live.Offset { return live.Offset{LSN: 300, Index: i} }
	r.items.Commit(300, liveapitest.Change("update", at(0), 3, "d"), liveapitest.Change("delete", at(2), 3, ""))
	s.expect("update 3=d", "delete 3=", "up-to-date 0300 @items-1/300_2")
	// Where the client goes on from then, by what it was told, is after all of it.
	r.want(r.get("/v1/shape?handle=items-1&offset=0300_0&table=items"), 200, "up-to-date 300")
	r.items.End(&live.GoneError{Handle: "items-2"})
	s.expect("must-refetch @")
	s.ends()
	r.waits(0)
}

// TestStreamBehind catches up first.
func TestStreamBehind(t *testing.T) {
	r := open(t, liveapi.Options{})
	r.items.Chunk, r.items.Even = 2, true
	for i := range 5 {
		r.items.Insert(200+revision.LSN(i), i, "x")
	}
	s := r.stream("/v1/shape?handle=items-1&live=true&live_sse=true&offset=" + whole(100) + "&table=items")
	s.expect("insert 0=x", "insert 1=x @items-1/201_0", "insert 2=x", "insert 3=x @items-1/203_0", "insert 4=x", "up-to-date 0204 @items-1/204_0")
	// A batch that is not said to be the last one may be: the client is told then.
	r.items.Commit(300, liveapitest.Change("insert", live.Offset{LSN: 300}, 5, "x"), liveapitest.Change("insert", live.Offset{LSN: 300, Index: 2}, 6, "x"))
	s.expect("insert 5=x", "insert 6=x @items-1/300_2", "up-to-date 0300 @items-1/300_2")
}

// TestReadable has what somebody sees who asks with nothing but curl -N.
func TestReadable(t *testing.T) {
	r := open(t, liveapi.Options{})
	s := r.stream(orders)
	r.header(reply{s.Response, ""}, "Content-Type", "text/event-stream", "Cache-Control", "no-store", "Electric-Handle", "orders-1",
		"Electric-Offset", "-1", "Electric-Schema", r.orders.Schema(), "Electric-Cursor", "")
	s.expect("insert 7=o", "snapshot-end @orders-1/0_0", "up-to-date 0100 @orders-1/"+whole(100))
	r.orders.Insert(200, 8, "p")
	s.expect("insert 8=p", "up-to-date 0200 @orders-1/200_0")
	// The rows at once, too, for a long poll without anything.
	r.want(r.get(orders+"?live=true"), 200, "insert 7=o", "snapshot-end")
	// An empty answer says so.
	r.answers.Set("/v1/empty", liveapitest.NewShape("empty-1", 100))
	s = r.stream("/v1/empty")
	s.expect("snapshot-end @empty-1/0_0", "up-to-date 0100 @empty-1/"+whole(100))
	// From now on.
	s = r.stream(orders + "?offset=now")
	s.expect("up-to-date 0200 @orders-1/" + whole(200))
}

// TestLastEventID resumes a browser's stream, which sends the address of its first
// request again.
func TestLastEventID(t *testing.T) {
	r := open(t, liveapi.Options{})
	r.orders.Insert(200, 8, "p")
	r.orders.Insert(300, 9, "q")
	for id, want := range map[string][]string{
		"orders-1/200_0":         {"insert 9=q", "up-to-date 0300 @orders-1/300_0"},
		"orders-1/" + whole(100): {"insert 8=p", "insert 9=q", "up-to-date 0300 @orders-1/300_0"},
		"orders-1/0_0":           {"insert 8=p", "insert 9=q", "up-to-date 0300 @orders-1/300_0"},
		// What cannot be continued is told in the stream: an error would end it for good.
		"orders-0/200_0": {"must-refetch @", "insert 7=o", "snapshot-end @orders-1/0_0"},
		"orders-1/50_0":  {"must-refetch @", "insert 7=o", "snapshot-end @orders-1/0_0"},
		"nonsense":       {"insert 7=o", "snapshot-end @orders-1/0_0"},
		"a/b":            {"insert 7=o", "snapshot-end @orders-1/0_0"},
		"orders-1/now":   {"insert 7=o", "snapshot-end @orders-1/0_0"},
	} {
		t.Run(strings.ReplaceAll(id, "/", " "), func(t *testing.T) {
			r := &rig{T: t, url: r.url}
			s := r.stream(orders, "Last-Event-ID", id)
			if s.StatusCode != 200 {
				t.Fatal(s.Status)
			}
			s.expect(want...)
			s.close()
		})
	}
	s := r.stream(orders+"?live=true&live_sse=true&offset=-1", "Last-Event-ID", "orders-1/200_0")
	r.header(reply{s.Response, ""}, "Cache-Control", "no-store", "Electric-Offset", "200_0")
	s.expect("insert 9=q")
}

// TestHeartbeat has comments while nothing happens, and the end of a stream.
func TestHeartbeat(t *testing.T) {
	r := open(t, liveapi.Options{Heartbeat: 30 * time.Millisecond, Stream: 400 * time.Millisecond})
	began := time.Now()
	s := r.stream("/v1/shape?handle=items-1&live=true&live_sse=true&offset=" + whole(100) + "&table=items")
	beats := 0
	for {
		e, ok := s.next()
		if !ok {
			break
		}
		if got := describe(t, e); got != "# keep-alive" {
			t.Fatal(got)
		}
		beats++
	}
	if d := time.Since(began); s.lines.Err() != nil || beats < 3 || d < 300*time.Millisecond || d > 5*time.Second {
		t.Errorf("%d comments, the end (%v) after %s", beats, s.lines.Err(), d)
	}
}

// TestAccept has which requests ask for a stream, or for following at all.
func TestAccept(t *testing.T) {
	r := open(t, liveapi.Options{})
	r.host.Own = map[string][]string{"/v1/pages": {"offset", "handle"}, "/v1/own": {"live"}}
	for _, tt := range []struct {
		method, uri, accept string
		want                bool
	}{
		{"GET", orders, "", false},
		{"GET", orders, "*/*", false},
		{"GET", orders, "application/json, */*;q=0.5", false},
		{"GET", orders, "text/event-stream", true},
		{"GET", orders, "application/json, Text/Event-Stream; q=0.5", true},
		{"GET", orders, "text/event-stream;q=0", false},
		{"GET", orders, "text/event-streams", false},
		{"GET", orders + "?limit=5", "", false},
		{"GET", orders + "?live=true", "", true},
		{"GET", orders + "?live=false", "", true},
		{"GET", orders + "?%6cive=true", "", true},
		{"GET", orders + "?limit=5&offset=-1", "", true},
		{"GET", orders + "?handle=x", "", true},
		{"GET", orders + "?live_sse=true", "", true},
		{"GET", orders + "?experimental_live_sse=true", "", true},
		{"GET", orders + "?cursor=1&log=full", "", false},
		{"HEAD", orders + "?live=true", "", true},
		{"OPTIONS", orders + "?live=true", "", true},
		{"POST", orders + "?live=true", "", false},
		{"GET", "/v1/pages?offset=20", "", false},
		{"GET", "/v1/pages?handle=bob&offset=20", "", false},
		{"GET", "/v1/pages?live=true&offset=20", "", true},
		{"GET", "/v1/own?live=true", "", false},
		{"GET", "/v1/own?live=true", "text/event-stream", true},
		{"POST", "/v1/shape", "", true},
		{"GET", "/v1/shape", "", true},
		{"DELETE", "/v1/shape", "", true},
		{"GET", "/v1/health", "", true},
		{"GET", "/v1/shapes", "", false},
	} {
		req, _ := http.NewRequest(tt.method, "http://x"+tt.uri, nil)
		if tt.accept != "" {
			req.Header.Set("Accept", tt.accept)
		}
		if got := r.live.Wants(req); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

// TestEndpoint has what reaches an endpoint of the parameters.
func TestEndpoint(t *testing.T) {
	r := open(t, liveapi.Options{})
	for _, uri := range []string{"/v1/q?limit=5", "/v1/q?a=%26&limit=5&limit=6", "/v1/pages?offset=20"} {
		r.answers.Set(uri, liveapitest.NewShape("q-1", 100, []string{liveapitest.Row(1, uri)}))
	}
	r.host.Own = map[string][]string{"/v1/pages": {"offset"}}
	for _, uri := range []string{
		"/v1/q?cache-buster=1&cursor=&expired_handle=x&handle=q-1&limit=5&live=true&log=full&offset=-1&replica=default&secret=x&api_secret=x",
		"/v1/q?limit=5&live=false", "/v1/q?%6cive=true&limit=5",
	} {
		r.want(r.get(uri), 200, "insert 1=/v1/q?limit=5", "snapshot-end")
	}
	r.want(r.get("/v1/q?a=%26&limit=5&live=true&limit=6"), 200, "insert 1=/v1/q?a=%26&limit=5&limit=6", "snapshot-end")
	r.stream("/v1/pages?offset=20").expect("insert 1=/v1/pages?offset=20")
	r.problem(r.get("/v1/pages?live=true&offset=20"), 400, "bad-request", "offset", "of its own")
	r.problem(r.get("/v1/q?limit=5&live=true&log=changes_only"), 400, "bad-request", "log", "table")
	r.problem(r.get("/v1/q?limit=5&live=true&replica=full"), 400, "bad-request", "replica", "table")
	r.problem(r.get("/v1/none?live=true"), 404, "no-shape", "", "")
	r.problem(r.send("POST", orders+"?live=true", ""), 405, "method", "", "")
	c := r.async(orders + "?cursor=1&handle=orders-1&live=true&log=full&offset=" + whole(100))
	r.waits(1)
	r.orders.Insert(200, 8, "p")
	r.want(<-c, 200, "insert 8=p", "up-to-date 200")
}

// TestManyStreams has many follow by HTTP/1.1 what is written by several.
func TestManyStreams(t *testing.T) {
	r := open(t, liveapi.Options{})
	var streams []*stream
	for range 20 {
		streams = append(streams, r.stream("/v1/shape?handle=items-1&live=true&live_sse=true&offset="+whole(100)+"&table=items"))
	}
	for i := range 50 {
		r.items.Insert(200+revision.LSN(i), i, "x")
	}
	for _, s := range streams {
		var got []string
		for len(got) < 50 {
			e, ok := s.next()
			if !ok {
				t.Fatal("the end")
			}
			if m := describe(t, e); strings.HasPrefix(m, "insert") {
				got = append(got, strings.Fields(m)[1])
			}
		}
		if !slices.IsSortedFunc(got, func(a, b string) int {
			var i, j int
			fmt.Sscanf(a, "%d", &i)
			fmt.Sscanf(b, "%d", &j)
			return i - j
		}) {
			t.Errorf("out of order: %q", got)
		}
	}
}
