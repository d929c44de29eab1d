package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/internal/httpapi"
	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/liveapi"
	"github.com/tidemarkdb/tidemark/internal/liveapi/liveapitest"
	"github.com/tidemarkdb/tidemark/internal/revision"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// followRig is a front and a plain server that serve shapes in memory.
type followRig struct {
	*testing.T
	live          *liveapi.Handler
	host          *liveapitest.Host
	tables        *liveapitest.Tables
	answers       *liveapitest.Answers
	items         *liveapitest.Shape
	serve         func(net.Listener) error    // by another front
	front, plain  func(context.Context) error // end it
	addr, plainly string
}

func newFollowRig(t *testing.T, o liveapi.Options) *followRig {
	t.Helper()
	ten, _ := openTenant(t, `INSERT INTO users VALUES (1, 'a')`, map[string]string{
		"user.sql": "-- GET /v1/users/{id}\nSELECT id, name FROM users WHERE id = :id",
		"page.sql": "-- GET /v1/pages\nSELECT id, name FROM users ORDER BY id LIMIT 5 OFFSET :offset",
	})
	log := slog.New(slog.DiscardHandler)
	r := &followRig{T: t, host: liveapitest.NewHost(100), tables: &liveapitest.Tables{}, answers: &liveapitest.Answers{Missing: tenant.ErrNoEndpoint}}
	r.host.Own = map[string][]string{"/v1/pages": {"offset"}}
	o.Host, o.Tables, o.Answers, o.Explain, o.Logger = r.host, r.tables, r.answers, explain, log
	r.live = liveapi.New(o)
	h := httpapi.New(ten, log)
	h.Follow(r.live)
	f, s := httpapi.NewFront(h, log), httpapi.Server(h, log)
	r.front, r.plain = f.Shutdown, s.Shutdown
	other := httpapi.NewFront(h, log)
	r.serve = other.Serve
	r.addr, r.plainly = listen(t, f.Serve).Addr().String(), listen(t, s.Serve).Addr().String()
	r.items = liveapitest.NewShape("items-1", 100, []string{liveapitest.Row(1, "a")})
	r.tables.Set("items", r.items)
	t.Cleanup(func() {
		end, stop := context.WithTimeout(context.Background(), 10*time.Second)
		defer stop()
		f.Shutdown(end)
		other.Shutdown(end)
		s.Shutdown(end)
	})
	return r
}

func explain(err error) (liveapi.Problem, bool) { return liveapi.Problem(httpapi.ProblemOf(err)), true }

func whole(at revision.LSN) string { return live.Offset{LSN: at, Index: live.Whole}.String() }

const itemsFrom = "/v1/shape?cursor=1&handle=items-1&live=true&table=items&offset="

func (r *followRig) waits(n int) {
	r.Helper()
	liveapitest.Waits(r, r.live, n)
}

// dial returns a connection, and a reader of it.
func (r *followRig) dial(addr string) (*net.TCPConn, *bufio.Reader) {
	r.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return c.(*net.TCPConn), bufio.NewReader(c)
}

func (r *followRig) ask(c io.Writer, uri string, header ...string) {
	r.Helper()
	text := "GET " + uri + " HTTP/1.1\r\nHost: x\r\n"
	for i := 0; i < len(header); i += 2 {
		text += header[i] + ": " + header[i+1] + "\r\n"
	}
	if _, err := io.WriteString(c, text+"\r\n"); err != nil {
		r.Fatal(err)
	}
}

// read reads a response, whose body is not yet read if it is a stream.
func (r *followRig) read(b *bufio.Reader) (*http.Response, string) {
	r.Helper()
	resp, err := http.ReadResponse(b, nil)
	if err != nil {
		r.Fatal(err)
	}
	if resp.Header.Get("Content-Type") == "text/event-stream" {
		return resp, ""
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.Fatal(err)
	}
	return resp, string(text)
}

// values returns the rows and controls that an array of messages, or a stream,
// has.
func (r *followRig) values(text string) []string {
	r.Helper()
	if !strings.HasPrefix(text, "[") {
		var all []string
		for line := range strings.Lines(text) {
			if m, ok := strings.CutPrefix(line, "data: "); ok {
				all = append(all, m)
			}
		}
		text = "[" + strings.Join(all, ",") + "]"
	}
	var all []liveapitest.Message
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		r.Fatalf("%v in %q", err, text)
	}
	out := []string{}
	for _, m := range all {
		if c := m.Headers.Control; c != "" {
			out = append(out, c)
		} else {
			out = append(out, m.Value["v"])
		}
	}
	return out
}

// until reads a stream until it has a text.
func (r *followRig) until(body io.Reader, text string) string {
	var got []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := body.Read(buf)
		from := max(0, len(got)-len(text))
		got = append(got, buf[:n]...)
		if bytes.Contains(got[from:], []byte(text)) {
			return string(got)
		}
		if err != nil {
			r.Errorf("%v after %d bytes, ...%q", err, len(got), got[max(0, len(got)-200):])
			return string(got)
		}
	}
}

// TestFollowAlike sends the same requests to the front and to net/http alone.
func TestFollowAlike(t *testing.T) {
	r := newFollowRig(t, liveapi.Options{Poll: 300 * time.Millisecond, Stream: time.Second, Heartbeat: 150 * time.Millisecond, Secrets: []string{"s"}})
	r.items.Insert(200, 2, "b")
	r.answers.Set("/v1/users/1", liveapitest.NewShape("user-1", 100, []string{liveapitest.Row(1, "u")}))
	for _, tt := range []struct {
		uri    string
		header []string
	}{
		{uri: "/v1/shape?offset=-1&table=items&secret=s"},
		{uri: "/v1/shape?handle=items-1&offset=0_0&table=items&secret=s"},
		{uri: "/v1/shape?handle=items-1&offset=200_0&table=items&secret=s"},
		{uri: itemsFrom + whole(100) + "&secret=s"},
		{uri: itemsFrom + whole(100), header: []string{"Authorization", "Bearer s"}},
		{uri: itemsFrom + "200_0&secret=s"}, // waits until it is over
		{uri: itemsFrom + "200_0&live_sse=true&secret=s"},
		{uri: itemsFrom + whole(100) + "&live_sse=true&secret=s"},
		{uri: "/v1/shape?offset=-1&table=items&secret=s", header: []string{"Accept", "text/event-stream"}},
		{uri: "/v1/shape?handle=items-0&offset=200_0&table=items&secret=s"},
		{uri: itemsFrom + "200_0&secret=x"},
		{uri: itemsFrom + "200_0&secret=s&live=maybe"},
		{uri: "/v1/shape?offset=-1&table=items&secret=s", header: []string{"If-None-Match", `"items-1:-1:0_0"`}},
		{uri: "/v1/health"},
		{uri: "/v1/users/1?live=true&secret=s"},
		{uri: "/v1/users/1?secret=s", header: []string{"Accept", "text/event-stream"}},
		{uri: "/v1/users/1"}, // a read
		{uri: "/v1/pages?offset=0"},
		{uri: "/v1/pages?offset=0&live=true&secret=s"},
		{uri: "/v1/nothing?live=true&secret=s"},
		{uri: "/v1/shape?a=%zz"},
		{uri: "/v1/shapes?live=false&secret=s"},
	} {
		type outcome struct {
			status int
			header http.Header
			body   string
		}
		var got [2]outcome
		var wg sync.WaitGroup
		for i, addr := range []string{r.addr, r.plainly} {
			c, b := r.dial(addr)
			r.ask(c, tt.uri, tt.header...)
			wg.Go(func() {
				resp, err := http.ReadResponse(b, nil)
				if err != nil {
					t.Errorf("%s: %v", tt.uri, err)
					return
				}
				text, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Errorf("%s: %v after %q", tt.uri, err, text)
				}
				h := resp.Header
				for _, name := range []string{"Date", "Age", "Cache-Status", "Retry-After", "Electric-Cursor"} {
					if h.Get(name) != "" {
						h.Set(name, "x")
					}
				}
				if h.Get("Electric-Up-To-Date") != "" && strings.Count(h.Get("Etag"), ":") == 3 {
					h.Set("Etag", "unique")
				}
				body := string(text)
				if i := strings.Index(body, "\n\n"); strings.HasPrefix(body, "retry: ") && i > 0 {
					body = body[i:]
				}
				if strings.Contains(body, ": keep-alive\n\n") {
					body = strings.ReplaceAll(body, ": keep-alive\n\n", "") + "beats"
				}
				got[i] = outcome{resp.StatusCode, h, body}
			})
		}
		wg.Wait()
		if diff := cmp.Diff(got[1], got[0], cmp.AllowUnexported(outcome{})); diff != "" {
			t.Errorf("%s: net/http, and + the front:\n%s", tt.uri, diff)
		}
	}
}

// TestFollowOnOneConnection has a connection that polls, streams and reads.
func TestFollowOnOneConnection(t *testing.T) {
	r := newFollowRig(t, liveapi.Options{Stream: 500 * time.Millisecond})
	c, b := r.dial(r.addr)
	at := revision.LSN(100)
	for i := range 3 {
		r.ask(c, itemsFrom+whole(at))
		r.waits(1)
		at += 100
		r.items.Insert(at, i, "x")
		if resp, text := r.read(b); resp.StatusCode != 200 || !slices.Equal(r.values(text), []string{"x", "up-to-date"}) {
			t.Fatal(resp.Status, text)
		}
		r.ask(c, "/v1/users/1")
		if resp, text := r.read(b); resp.StatusCode != 200 || text != `[{"id":1,"name":"a"}]` {
			t.Fatal(resp.Status, text)
		}
		r.ask(c, itemsFrom+whole(at)+"&live_sse=true")
		resp, _ := r.read(b)
		r.waits(1)
		at += 100
		r.items.Insert(at, i, "y")
		text, err := io.ReadAll(resp.Body)
		if err != nil || !slices.Equal(r.values(string(text)), []string{"y", "up-to-date"}) {
			t.Fatal(err, string(text))
		}
		r.waits(0)
	}
}

// TestFollowTogether has many wait at one offset: the shape is asked once for all.
func TestFollowTogether(t *testing.T) {
	r := newFollowRig(t, liveapi.Options{})
	const n = 600
	var polls, streams []*bufio.Reader
	for i := range n {
		c, b := r.dial(r.addr)
		if i%2 == 0 {
			r.ask(c, itemsFrom+whole(100))
			polls = append(polls, b)
		} else {
			r.ask(c, itemsFrom+whole(100)+"&live_sse=true")
			streams = append(streams, b)
		}
	}
	r.waits(n)
	looks := r.items.Looks()
	r.items.Insert(200, 1, "x")
	var first string
	for _, b := range polls {
		resp, text := r.read(b)
		if !slices.Equal(r.values(text), []string{"x", "up-to-date"}) {
			t.Fatal(resp.Status, text)
		}
		if first == "" {
			first = text
		}
		if text != first {
			t.Errorf("%s and %s", text, first)
		}
	}
	for _, b := range streams {
		resp, _ := r.read(b)
		if text := r.until(resp.Body, "}}\n\nid"); !strings.Contains(text, `"v":"x"`) {
			t.Error(text)
		}
	}
	r.waits(n / 2)
	if d := r.items.Looks() - looks; d > 10 {
		t.Errorf("the shape was asked %d times", d)
	}
}

// TestFollowMeanwhile has something come just before a request begins to wait.
func TestFollowMeanwhile(t *testing.T) {
	r := newFollowRig(t, liveapi.Options{})
	for _, tt := range []struct {
		addr  string
		looks int64 // before it waits
	}{{r.addr, 2}, {r.plainly, 1}} {
		for _, query := range []string{"", "&live_sse=true"} {
			for when := range tt.looks {
				s := liveapitest.NewShape("items-1", 100)
				var n atomic.Int64
				s.OnChanged = func() {
					if n.Add(1) == when+1 {
						s.Insert(200, 1, "x")
					}
				}
				r.tables.Set("items", s)
				c, b := r.dial(tt.addr)
				c.SetDeadline(time.Now().Add(10 * time.Second)) // of a wait of 20 s
				r.ask(c, itemsFrom+whole(100)+query)
				resp, text := r.read(b)
				if query != "" {
					text = r.until(resp.Body, "}}\n\nid")
				}
				if !strings.Contains(text, `"v":"x"`) {
					t.Errorf("%s%s, %d: %s", tt.addr, query, when, text)
				}
			}
		}
	}
}

// TestFollowPipelined sends the next request before the response to a poll.
func TestFollowPipelined(t *testing.T) {
	r := newFollowRig(t, liveapi.Options{})
	for name, send := range map[string]func(c net.Conn){
		"together": func(c net.Conn) {
			var all bytes.Buffer
			r.ask(&all, itemsFrom+whole(100))
			r.ask(&all, "/v1/users/1")
			r.ask(&all, itemsFrom+"200_0")
			c.Write(all.Bytes())
		},
		"later": func(c net.Conn) {
			r.ask(c, itemsFrom+whole(100))
			r.waits(1)
			r.ask(c, "/v1/users/1")
			r.ask(c, itemsFrom+"200_0")
		},
	} {
		r.items = liveapitest.NewShape("items-1", 100)
		r.tables.Set("items", r.items)
		c, b := r.dial(r.addr)
		send(c)
		r.waits(1)
		c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if n, err := b.Peek(1); err == nil {
			t.Errorf("%s: %q came before its turn", name, n)
		}
		c.SetReadDeadline(time.Now().Add(30 * time.Second))
		r.items.Insert(200, 1, "x")
		if _, text := r.read(b); !slices.Equal(r.values(text), []string{"x", "up-to-date"}) {
			t.Errorf("%s: %s", name, text)
		}
		if _, text := r.read(b); text != `[{"id":1,"name":"a"}]` {
			t.Errorf("%s: %s", name, text)
		}
		r.waits(1)
		r.items.Insert(300, 1, "y")
		if _, text := r.read(b); !slices.Equal(r.values(text), []string{"y", "up-to-date"}) {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// TestFollowersLeave has clients go away, in all ways.
func TestFollowersLeave(t *testing.T) {
	r := newFollowRig(t, liveapi.Options{})
	for _, query := range []string{"", "&live_sse=true"} {
		var conns []*net.TCPConn
		for range 30 {
			c, b := r.dial(r.addr)
			r.ask(c, itemsFrom+whole(100)+query)
			if query != "" {
				resp, _ := r.read(b)
				r.until(resp.Body, "retry")
			}
			conns = append(conns, c)
		}
		r.waits(30)
		for i, c := range conns {
			switch i % 3 {
			case 0:
				c.Close()
			case 1:
				c.SetLinger(0) // a reset
				c.Close()
			default:
				c.CloseWrite() // it will send nothing more: it is taken for gone
			}
		}
		r.waits(0)
	}
}

// TestFollowShutdown stops servers that many wait on.
func TestFollowShutdown(t *testing.T) {
	for _, plain := range []bool{false, true} {
		r := newFollowRig(t, liveapi.Options{})
		addr, shutdown := r.addr, r.front
		if plain {
			addr, shutdown = r.plainly, r.plain
		}
		var readers []*bufio.Reader
		for i := range 300 {
			c, b := r.dial(addr)
			r.ask(c, itemsFrom+whole(100)+[]string{"", "&live_sse=true"}[i%2])
			readers = append(readers, b)
		}
		r.waits(300)
		r.items.Advance(500)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := shutdown(ctx); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("plain %v: it took %s", plain, d)
		}
		for i, b := range readers {
			resp, text := r.read(b)
			if i%2 == 1 {
				all, err := io.ReadAll(resp.Body)
				if text = string(all); err != nil || strings.Contains(text, "data:") {
					t.Errorf("plain %v: a stream ends with %v, %q", plain, err, text)
				}
			} else if resp.StatusCode != 200 || !slices.Equal(r.values(text), []string{"up-to-date"}) || resp.Header.Get("Electric-Offset") != whole(100) {
				t.Errorf("plain %v: a poll ends with %s %s", plain, resp.Status, text)
			}
			if _, err := b.Peek(1); err != io.EOF {
				t.Errorf("plain %v: then there is %v", plain, err)
			}
		}
		r.waits(0)
	}
}

// TestFollowSlow has a client of a stream that reads nothing for a while, and one
// that never does.
func TestFollowSlow(t *testing.T) {
	for _, plain := range []bool{false, true} {
		r := newFollowRig(t, liveapi.Options{WriteLimit: 4 * time.Second})
		addr := r.addr
		if plain {
			addr = r.plainly
		}
		follow := func() (*net.TCPConn, io.Reader) {
			c, b := r.dial(addr)
			r.ask(c, itemsFrom+whole(100)+"&live_sse=true")
			resp, _ := r.read(b)
			return c, resp.Body
		}
		_, quick := follow()
		_, slow := follow()
		never, _ := follow()
		r.waits(3)
		const n, size = 400, 60 << 10
		big, last := strings.Repeat("x", size), fmt.Sprintf(`"0%d"`, 100+n)
		quickly, slowly := make(chan string, 1), make(chan string, 1)
		go func() { quickly <- r.until(quick, last) }()
		for i := range n {
			r.items.Insert(revision.LSN(101+i), i, fmt.Sprint(i, " ", big))
			if i == n/2 {
				go func() { slowly <- r.until(slow, last) }()
			}
		}
		check := func(who, text string) {
			values := slices.DeleteFunc(r.values(text[:strings.LastIndex(text, "\n")]), func(v string) bool { return v == "up-to-date" })
			if len(values) != n {
				t.Errorf("plain %v: the %s client got %d changes", plain, who, len(values))
				return
			}
			for i, v := range values {
				if !strings.HasPrefix(v, fmt.Sprint(i, " ")) {
					t.Fatalf("plain %v: the %s client got %.20q at %d", plain, who, v, i)
				}
			}
		}
		check("quick", <-quickly)
		check("slow", <-slowly)
		r.waits(2) // the third is cut off
		if text, err := io.ReadAll(never); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("plain %v: %v after %d bytes", plain, err, len(text))
		}
	}
}

// TestFollowExpires has tokens expire on the front.
func TestFollowExpires(t *testing.T) {
	r := newFollowRig(t, liveapi.Options{AccountKey: "k"})
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"account": "a", "exp": time.Now().Unix() + 2}).SignedString([]byte("k"))
	if err != nil {
		t.Fatal(err)
	}
	poll, pb := r.dial(r.addr)
	r.ask(poll, itemsFrom+whole(100), "Authorization", "Bearer "+token)
	stream, sb := r.dial(r.addr)
	r.ask(stream, itemsFrom+whole(100)+"&live_sse=true&secret="+token)
	r.waits(2)
	if resp, text := r.read(pb); resp.StatusCode != 401 || strings.Contains(text, token) {
		t.Errorf("the poll: %s %s", resp.Status, text)
	}
	resp, _ := r.read(sb)
	if text, err := io.ReadAll(resp.Body); resp.StatusCode != 200 || err != nil || bytes.Contains(text, []byte("data:")) {
		t.Errorf("the stream: %s %v %s", resp.Status, err, text)
	}
	r.waits(0)
}

// TestFollowAccept has an answer that is in memory followed by who accepts nothing
// else.
func TestFollowAccept(t *testing.T) {
	r := newFollowRig(t, liveapi.Options{})
	r.answers.Set("/v1/users/1", liveapitest.NewShape("user-1", 100, []string{liveapitest.Row(1, "u")}))
	for range 2 {
		c, b := r.dial(r.addr)
		r.ask(c, "/v1/users/1", "Accept", "application/json, text/event-stream;q=0.1")
		resp, _ := r.read(b)
		if text := r.until(resp.Body, "up-to-date"); !slices.Equal(r.values(text[:strings.LastIndex(text, "\n\n")]), []string{"u", "snapshot-end", "up-to-date"}) {
			t.Errorf("%q", text)
		}
		c, b = r.dial(r.addr)
		r.ask(c, "/v1/users/1", "Accept", "application/json")
		if _, text := r.read(b); text != `[{"id":1,"name":"a"}]` {
			t.Errorf("%q", text)
		}
	}
}

// hidden hides from a front what a connection can do beside reading and writing.
type hidden struct{ net.Listener }

type hiddenConn struct{ net.Conn }

func (l hidden) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return hiddenConn{c}, err
}

// TestFollowOnAnyConnection follows on connections that nobody can write to
// without waiting.
func TestFollowOnAnyConnection(t *testing.T) {
	r := newFollowRig(t, liveapi.Options{})
	addr := listen(t, func(l net.Listener) error { return r.serve(hidden{l}) }).Addr().String()
	poll, pb := r.dial(addr)
	r.ask(poll, itemsFrom+whole(100))
	stream, sb := r.dial(addr)
	r.ask(stream, itemsFrom+whole(100)+"&live_sse=true")
	r.waits(2)
	r.items.Insert(200, 1, "x")
	if _, text := r.read(pb); !slices.Equal(r.values(text), []string{"x", "up-to-date"}) {
		t.Error(text)
	}
	resp, _ := r.read(sb)
	if text := r.until(resp.Body, "}}\n\nid"); !strings.Contains(text, `"v":"x"`) {
		t.Error(text)
	}
}

// TestFollowHTTP2 streams by HTTP/2 with prior knowledge.
func TestFollowHTTP2(t *testing.T) {
	r := newFollowRig(t, liveapi.Options{WriteLimit: 100 * time.Millisecond, Heartbeat: 250 * time.Millisecond})
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: p, TLSClientConfig: &tls.Config{}}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://" + r.addr + itemsFrom + whole(100) + "&live_sse=true")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 {
		t.Fatal(resp.Proto)
	}
	r.waits(1)
	// Longer than a client may take for one batch.
	text := r.until(resp.Body, "keep-alive")
	r.items.Insert(200, 2, "b")
	text += r.until(resp.Body, "}}\n\n")
	if !strings.Contains(text, `"v":"b"`) {
		t.Errorf("%q", text)
	}
}
