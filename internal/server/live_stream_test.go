package server_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// eventStream is a follower by an event stream, on a connection of its own.
type eventStream struct {
	*follower
	conn  net.Conn
	in    *bufio.Reader
	lines *bufio.Scanner
	beats []time.Time // of the comments
	ended time.Time
}

func newEventStream(t *testing.T, at, path string) *eventStream {
	t.Helper()
	s := &eventStream{follower: newFollower(t, at, path)}
	s.catchUp()
	var err error
	if s.conn, err = net.Dial("tcp", at); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.conn.Close() })
	s.in = bufio.NewReader(s.conn)
	return s
}

// send sends a request and reads the head of what comes.
func (s *eventStream) send(method, more, header string) *http.Response {
	s.t.Helper()
	target := s.path + map[bool]string{true: "&", false: "?"}[strings.Contains(s.path, "?")] + "offset=" + url.QueryEscape(s.offset) + more
	if s.handle != "" {
		target += "&handle=" + s.handle
	}
	if _, err := fmt.Fprintf(s.conn, "%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n", method, target, header); err != nil {
		s.t.Fatal(err)
	}
	res, err := http.ReadResponse(s.in, &http.Request{Method: method})
	if err != nil {
		s.t.Fatal(err)
	}
	return res
}

func (s *eventStream) begin() {
	s.t.Helper()
	res := s.send("GET", "&live=true&live_sse=true", "Accept: text/event-stream\r\n")
	if got := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || got != "text/event-stream" {
		s.t.Fatalf("%s: %d %s", s.path, res.StatusCode, got)
	}
	s.lines = bufio.NewScanner(res.Body)
}

// read takes in the next line, and reports whether there is one.
func (s *eventStream) read() bool {
	if !s.lines.Scan() {
		s.ended = time.Now()
		return false
	}
	name, value, _ := strings.Cut(s.lines.Text(), ":")
	value = strings.TrimPrefix(value, " ")
	switch {
	case name == "" && value != "":
		s.beats = append(s.beats, time.Now())
	case name == "id":
		s.handle, s.offset, _ = strings.Cut(value, "/")
	case name == "data":
		var m message
		if err := json.Unmarshal([]byte(value), &m); err != nil {
			s.t.Errorf("%v: %s", err, value)
		}
		s.take(m)
	}
	return true
}

// TestStreamsEndInTime follows by event streams for as long as they go on: there is
// a comment every 21 seconds while nothing happens, they end in good order before
// proxies and caches lose patience at 60, and who then asks on, over the same
// connection, has missed nothing.
func TestStreamsEndInTime(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes the minute that event streams go on for; run without -short to see them end")
	}
	t.Parallel()
	f := newFollowed(t, someTables)
	at := f.serve().http
	table, answer, passed := newEventStream(t, at, itemsShape), newEventStream(t, at, topShape), newEventStream(t, at, itemsShape)
	// A connection on which anything but GET arrives is net/http's from then on.
	if res := passed.send("OPTIONS", "", ""); res.StatusCode != http.StatusNoContent {
		t.Errorf("OPTIONS: %d", res.StatusCode)
	}
	streams := map[string]*eventStream{"a table": table, "an endpoint": answer, "a table, by net/http": passed}
	var wg sync.WaitGroup
	began := map[*eventStream]time.Time{}
	for _, s := range streams {
		_ = s.conn.SetDeadline(time.Now().Add(2 * time.Minute))
		began[s] = time.Now()
		s.begin()
		wg.Go(func() {
			for s.read() {
			}
		})
	}
	// Later than the second comment, and before the end.
	time.Sleep(47 * time.Second)
	f.db.Exec(t, "INSERT INTO items VALUES (100, 1, 1000)")
	wg.Wait()
	// While nobody is there.
	f.db.Exec(t, "INSERT INTO items VALUES (101, 1, 2000); UPDATE items SET n = 1001 WHERE id = 100; DELETE FROM items WHERE id = 1")
	for name, s := range streams {
		if err := s.lines.Err(); err != nil {
			t.Errorf("%s: the stream was cut off: %v", name, err)
		}
		if lasted := s.ended.Sub(began[s]); lasted < 54*time.Second || lasted >= time.Minute {
			t.Errorf("%s: the stream went on for %v, want a little less than a minute", name, lasted)
		}
		if !slices.ContainsFunc(slices.Collect(maps.Values(s.rows)), func(r map[string]any) bool { return r["id"] == "100" }) {
			t.Errorf("%s: what happened near its end was not told: %v", name, s.rows)
		}
		if len(s.beats) != 2 {
			t.Errorf("%s: %d comments, want 2", name, len(s.beats))
		}
		for i, at := range s.beats {
			// A processor with much to do may be late.
			want := time.Duration(i+1) * 21 * time.Second
			if after := at.Sub(began[s]); after < want-100*time.Millisecond || after > want+3*time.Second {
				t.Errorf("%s: a comment after %v, want %v", name, after, want)
			}
		}
		s.begin()
		query := map[bool]string{true: topItems, false: allItems}[s == answer]
		for end := time.Now().Add(15 * time.Second); !s.has(f, query) && time.Now().Before(end); {
			if !s.read() {
				t.Fatalf("%s: the stream ended: %v", name, s.lines.Err())
			}
		}
		f.sameAs(s.follower, query)
		if s.again > 0 {
			t.Errorf("%s: it began again %d times", name, s.again)
		}
	}
}
