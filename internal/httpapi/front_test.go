package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/internal/httpapi"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// openTenant starts a tenant of a database with a table of users.
func openTenant(t *testing.T, fill string, endpoints map[string]string) (*tenant.Tenant, *pgtest.Database) {
	t.Helper()
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE users (id int PRIMARY KEY, name text); ALTER TABLE users REPLICA IDENTITY FULL;
		CREATE PUBLICATION tidemark FOR TABLE users; `+fill)
	dir := t.TempDir()
	for name, text := range endpoints {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ten, err := tenant.Open(context.Background(), tenant.Options{
		Database: db.DSN(), Endpoints: dir, Slot: "front_" + db.Name, Publication: "tidemark", GCWindow: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ten.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		ten.Close()
	})
	for end := time.Now().Add(10 * time.Second); !ten.Status().Ready; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never ready")
		}
	}
	return ten, db
}

// listen has connections served that come to where it listens, until the test ends.
func listen(t *testing.T, serve func(net.Listener) error) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() { serve(l) })
	t.Cleanup(func() {
		l.Close()
		served.Wait()
	})
	return l
}

// open serves a tenant by the front and by net/http alone.
func open(t *testing.T) (front, plain string, db *pgtest.Database, shutdown func() error) {
	t.Helper()
	ten, db := openTenant(t, "INSERT INTO users SELECT n, repeat('x', n * 50) FROM generate_series(1, 60) n", map[string]string{
		"user.sql":  "-- GET /v1/users/{id}\n-- result: one\nSELECT id, name FROM users WHERE id = :id",
		"all.sql":   "-- GET /v1/all\nSELECT id, name FROM users ORDER BY id",
		"clock.sql": "-- GET /v1/clock\n-- volatile: ok\n-- ttl: 1h\nSELECT clock_timestamp() AS t FROM users LIMIT 1",
		"slow.sql":  "-- GET /v1/slow\nSELECT count(*) AS n FROM users, generate_series(1, 100000) g",
	})
	log := slog.New(slog.DiscardHandler)
	h := httpapi.New(ten, log)
	f, s := httpapi.NewFront(h, log), httpapi.Server(h, log)
	fl, sl := listen(t, f.Serve), listen(t, s.Serve)
	shutdown = sync.OnceValue(func() error {
		drain, stop := context.WithTimeout(context.Background(), 10*time.Second)
		defer stop()
		defer s.Close()
		fl.Close()
		return f.Shutdown(drain)
	})
	t.Cleanup(func() { shutdown() })
	return fl.Addr().String(), sl.Addr().String(), db, shutdown
}

// exchange sends bytes, in pieces, and reads n responses; with n 0, all until
// the server closes. Where the first response does not announce that, another
// request asks for it.
func exchange(t *testing.T, addr, raw string, pieces, n int) []string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	for i := range pieces {
		from, to := len(raw)*i/pieces, len(raw)*(i+1)/pieces
		if _, err := io.WriteString(c, raw[from:to]); err != nil {
			break
		}
		if pieces > 1 {
			time.Sleep(2 * time.Millisecond) // so that they come as several
		}
	}
	var out []string
	r := bufio.NewReader(c)
	for n == 0 || len(out) < n {
		res, err := http.ReadResponse(r, nil)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("no end after %d responses", len(out))
		}
		if err != nil {
			break
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			out = append(out, "cut short: "+err.Error())
			break
		}
		if n == 0 && len(out) == 0 && !res.Close {
			io.WriteString(c, "GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		}
		// What depends on the moment is no difference.
		for _, h := range []string{"Date", "Age", "Cache-Status", "Tidemark-Token", "Connection"} {
			if res.Header.Get(h) != "" {
				res.Header.Set(h, "…")
			}
		}
		res.Header.Del("Connection")
		var b bytes.Buffer
		res.Header.Write(&b)
		out = append(out, fmt.Sprintf("%s %d\n%s\n%s", res.Proto, res.StatusCode, b.String(), body))
	}
	return out
}

// TestFrontAgrees sends the same bytes to the front and to net/http alone and
// compares what comes back, response by response.
func TestFrontAgrees(t *testing.T) {
	front, plain, _, _ := open(t)
	const host = "Host: x\r\n"
	get := func(path, headers string) string { return "GET " + path + " HTTP/1.1\r\n" + host + headers + "\r\n" }
	etag := strings.TrimSpace(strings.SplitN(strings.SplitN(exchange(t, plain, get("/v1/users/1", ""), 1, 1)[0], "Etag: ", 2)[1], "\n", 2)[0])
	exchange(t, plain, get("/v1/users/50", ""), 1, 1)
	_, res := ask(t, "http://"+plain, "GET", "/v1/users/1", "")
	token := res.Header.Get("Tidemark-Token")
	for name, raw := range map[string]string{
		"a hit":                    get("/v1/users/1", ""),
		"a large hit":              get("/v1/all", "") + get("/v1/all", ""),
		"a miss, then a hit":       get("/v1/users/2", "") + get("/v1/users/2", ""),
		"pipelined":                strings.Repeat(get("/v1/users/1", "User-Agent: y\r\nAccept: */*\r\n"), 40),
		"not found":                get("/v1/users/999", "") + get("/v1/users/999", ""),
		"no endpoint":              get("/nothing", ""),
		"a bad parameter":          get("/v1/users/x", ""),
		"another spelling":         get("/v1/users/01", ""),
		"not modified":             get("/v1/users/1", "If-None-Match: "+etag+"\r\n"),
		"modified":                 get("/v1/users/1", "If-None-Match: \"other\"\r\n"),
		"gzip, small":              get("/v1/users/1", "Accept-Encoding: gzip\r\n"),
		"gzip, large":              get("/v1/users/50", "Accept-Encoding: gzip\r\n"),
		"gzip refused":             get("/v1/users/50", "Accept-Encoding: gzip;q=0\r\n"),
		"a level":                  get("/v1/users/1", "tidemark-consistency: fully_consistent\r\n"),
		"a bad level":              get("/v1/users/1", "Tidemark-Consistency: soon\r\n"),
		"two levels":               get("/v1/users/1", "Tidemark-Consistency: fully_consistent\r\nTidemark-Consistency: fully_consistent\r\n"),
		"the same snapshot, first": get("/v1/users/1", "Tidemark-Snapshot: same\r\n"),
		"the same snapshot":        get("/v1/users/1", "Tidemark-Snapshot: same\r\nTidemark-Token: "+token+"\r\n"),
		"another order, and case":  get("/v1/users/1", "tidemark-token: "+token+"\r\ntidemark-snapshot:same\r\n"),
		"another snapshot":         get("/v1/users/1", "Tidemark-Snapshot: other\r\n"),
		"no snapshot":              get("/v1/users/1", "Tidemark-Snapshot:\r\n"),
		"two snapshots":            get("/v1/users/1", "Tidemark-Snapshot: same\r\nTidemark-Snapshot: same\r\n"),
		"a snapshot and a level":   get("/v1/users/1", "Tidemark-Snapshot: same\r\nTidemark-Consistency: fully_consistent\r\n"),
		"a snapshot, a bad token":  get("/v1/users/1", "Tidemark-Snapshot: same\r\nTidemark-Token: x\r\n"),
		"a token alone":            get("/v1/users/1", "Tidemark-Token: x\r\n"),
		"a batch without JSON":     "POST /v1/batch HTTP/1.1\r\n" + host + "Content-Length: 2\r\n\r\n{}" + get("/v1/users/1", ""),
		"an empty batch":           "POST /v1/batch HTTP/1.1\r\n" + host + "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}" + get("/v1/users/1", ""),
		"a batch by PUT":           "PUT /v1/batch HTTP/1.1\r\n" + host + "Content-Length: 0\r\n\r\n" + get("/v1/users/1", ""),
		"HEAD":                     "HEAD /v1/users/1 HTTP/1.1\r\n" + host + "\r\n" + get("/v1/users/1", "Connection: close\r\n"),
		"POST":                     "POST /v1/users/1 HTTP/1.1\r\n" + host + "Content-Length: 3\r\n\r\nabc" + get("/v1/users/1", ""),
		"a body":                   get("/v1/users/1", "Content-Length: 3\r\n") + "abc" + get("/v1/users/1", ""),
		"a chunked body":           get("/v1/users/1", "Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n0\r\n\r\n" + get("/v1/users/1", ""),
		"length and chunks":        get("/v1/users/1", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n",
		"two lengths":              get("/v1/users/1", "Content-Length: 3\r\nContent-Length: 4\r\n") + "abcd",
		"close":                    get("/v1/users/1", "Connection: close\r\n") + get("/v1/users/1", ""),
		"keep-alive":               get("/v1/users/1", "Connection: Keep-Alive\r\n") + get("/v1/users/1", ""),
		"HTTP/1.0":                 "GET /v1/users/1 HTTP/1.0\r\n\r\n",
		"no host":                  "GET /v1/users/1 HTTP/1.1\r\n\r\n",
		"two hosts":                get("/v1/users/1", "Host: y\r\n"),
		"a space before the colon": get("/v1/users/1", "X : y\r\n"),
		"a folded line":            get("/v1/users/1", "X: y\r\n z\r\n"),
		"a bare line feed":         "GET /v1/users/1 HTTP/1.1\n" + host + "\n",
		"a null":                   get("/v1/users/1", "X: a\x00b\r\n"),
		"no name":                  get("/v1/users/1", ": b\r\n"),
		"absolute form":            "GET http://x/v1/users/1 HTTP/1.1\r\n" + host + "\r\n",
		"a star":                   "OPTIONS * HTTP/1.1\r\n" + host + "\r\n",
		"a fragment":               get("/v1/users/1#a", ""),
		"an encoded path":          get("/v1/users/%31", ""),
		"a broken escape":          get("/v1/users/%3", ""),
		"a query that is not one":  get("/v1/users/1?%zz", ""),
		"a control character":      get("/v1/users/1\x01", ""),
		"a long head":              get("/v1/users/1", "X: "+strings.Repeat("a", 6000)+"\r\n"),
		"too long a target":        get("/v1/users/1?x="+strings.Repeat("a", 9000), ""),
		"lower-case method":        "get /v1/users/1 HTTP/1.1\r\n" + host + "\r\n",
		"nonsense":                 "\x16\x03\x01\x02\x00, of some length\r\n\r\n",
		"an expectation":           get("/v1/users/1", "Expect: 100-continue\r\n"),
		"an upgrade":               get("/v1/users/1", "Connection: Upgrade\r\nUpgrade: h2c\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			want := exchange(t, plain, raw, 1, 0)
			for pieces := range 4 {
				if d := cmp.Diff(want, exchange(t, front, raw, 1+pieces, 0)); d != "" {
					t.Errorf("in %d pieces: net/http alone (-), the front (+):\n%s", 1+pieces, d)
				}
			}
		})
	}
}

// ask sends one request with headers in pairs and returns the body.
func ask(t *testing.T, server, method, path, body string, headers ...string) (string, *http.Response) {
	t.Helper()
	req, err := http.NewRequest(method, server+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), res
}

// TestSnapshot reads a series of answers that fit together, by both servers.
func TestSnapshot(t *testing.T) {
	front, plain, db, _ := open(t)
	for i, addr := range []string{front, plain} {
		server := "http://" + addr
		name := func(n int) string { return fmt.Sprintf("server %d, round %d", i, n) }
		db.Exec(t, "UPDATE users SET name = 'before' WHERE id < 4")
		ask(t, server, "GET", "/v1/users/1", "", "Tidemark-Consistency", "fully_consistent")
		for n := range 5 {
			first, res := ask(t, server, "GET", "/v1/users/1", "", "Tidemark-Snapshot", "same")
			token := res.Header.Get("Tidemark-Token")
			if vary := res.Header.Get("Vary"); !strings.Contains(vary, "Tidemark-Snapshot, Tidemark-Token") {
				t.Errorf("Vary: %s", vary)
			}
			db.Exec(t, fmt.Sprintf("UPDATE users SET name = '%s' WHERE id < 4", name(n)))
			if now, _ := ask(t, server, "GET", "/v1/users/1", "", "Tidemark-Consistency", "fully_consistent"); now == first {
				t.Fatalf("%s: the write is not seen: %s", name(n), now)
			}
			// The answer in memory is of now; asked for in the series, it must not be a plain hit.
			again, res := ask(t, server, "GET", "/v1/users/1", "", "Tidemark-Snapshot", "same", "Tidemark-Token", token)
			if again != first || res.Header.Get("Tidemark-Token") != token {
				t.Errorf("%s: %s %s, after %s %s", name(n), again, res.Header.Get("Tidemark-Token"), first, token)
			}
			ask(t, server, "GET", "/v1/users/1", "", "Tidemark-Consistency", "fully_consistent")
		}
	}
}

// TestBatch reads several answers together, by both servers.
func TestBatch(t *testing.T) {
	front, plain, db, _ := open(t)
	for i, addr := range []string{front, plain} {
		server := "http://" + addr
		ask(t, server, "GET", "/v1/users/1", "")
		for n := range 20 {
			name := fmt.Sprintf("server %d, round %d", i, n)
			db.Exec(t, fmt.Sprintf("UPDATE users SET name = '%s' WHERE id < 4", name))
			text, res := ask(t, server, "POST", "/v1/batch",
				`{"paths":["/v1/users/1","/v1/users/02","/v1/users/3","/v1/users/1","/v1/users/999","/v1/users/x","/nothing"]}`,
				"Content-Type", "application/json", "Tidemark-Consistency", "fully_consistent")
			var got struct {
				Token   string
				Answers []struct {
					Path   string
					Status int
					Body   struct {
						ID   int
						Name string
					}
					Problem httpapi.Problem
				}
			}
			if err := json.Unmarshal([]byte(text), &got); err != nil || res.StatusCode != 200 {
				t.Fatalf("%d %v: %s", res.StatusCode, err, text)
			}
			if got.Token == "" || got.Token != res.Header.Get("Tidemark-Token") || len(got.Answers) != 7 {
				t.Fatalf("%s: %v", text, res.Header)
			}
			for k, id := range []int{1, 2, 3, 1} {
				if a := got.Answers[k]; a.Status != 200 || a.Body.ID != id || a.Body.Name != name {
					t.Errorf("%s: answer %d: %+v", name, k, a)
				}
			}
			for k, want := range []string{"no-row", "bad-parameter", "no-endpoint"} {
				if a := got.Answers[4+k]; a.Problem.Type != httpapi.TypePrefix+want || a.Status != a.Problem.Status {
					t.Errorf("%s: answer %d: %+v", name, 4+k, a)
				}
			}
			// The series can be gone on with, and the batch itself repeated in it.
			db.Exec(t, "UPDATE users SET name = 'other' WHERE id < 4")
			one, _ := ask(t, server, "GET", "/v1/users/3", "", "Tidemark-Snapshot", "same", "Tidemark-Token", got.Token)
			again, _ := ask(t, server, "POST", "/v1/batch", `{"paths":["/v1/users/2"]}`,
				"Content-Type", "application/json", "Tidemark-Snapshot", "same", "Tidemark-Token", got.Token)
			if !strings.Contains(one, name) || !strings.Contains(again, name) || !strings.Contains(again, got.Token) {
				t.Errorf("%s: later in the series: %s %s", name, one, again)
			}
		}
		if _, res := ask(t, server, "POST", "/v1/batch", `{"paths":["/v1/users/1"]}`, "Content-Type", "application/json",
			"Tidemark-Consistency", "soon"); res.StatusCode != 400 {
			t.Errorf("a bad level: %d", res.StatusCode)
		}
	}
}

// TestBatchTogether reads three rows that a writer always changes together.
func TestBatchTogether(t *testing.T) {
	front, _, db, _ := open(t)
	db.Exec(t, "UPDATE users SET name = 'r0' WHERE id < 4")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
				db.Exec(t, fmt.Sprintf("UPDATE users SET name = 'r%d' WHERE id < 4", n))
			}
		}
	}()
	defer func() {
		close(stop)
		<-stopped
	}()
	// The writer sets the pace: a reader that outruns it sees one state many times.
	seen := map[string]bool{}
	deadline := time.Now().Add(time.Minute)
	for i := 0; i < 300 || len(seen) < 20; i++ {
		headers := []string{"Content-Type", "application/json"}
		if i%3 == 0 {
			headers = append(headers, "Tidemark-Consistency", "fully_consistent")
		}
		text, res := ask(t, "http://"+front, "POST", "/v1/batch", `{"paths":["/v1/users/1","/v1/users/2","/v1/users/3"]}`, headers...)
		names := regexp.MustCompile(`"name":"(r[0-9]+)"`).FindAllStringSubmatch(text, -1)
		if res.StatusCode != 200 || len(names) != 3 || names[0][1] != names[1][1] || names[0][1] != names[2][1] {
			t.Fatalf("not of one moment: %d %s", res.StatusCode, text)
		}
		seen[names[0][1]] = true
		if time.Now().After(deadline) {
			t.Fatalf("%d batches saw %d states in a minute", i+1, len(seen))
		}
	}
}

func TestFrontSeesWrites(t *testing.T) {
	front, _, db, _ := open(t)
	get := "GET /v1/users/1 HTTP/1.1\r\nHost: x\r\n\r\n"
	for n := range 50 {
		db.Exec(t, fmt.Sprintf("UPDATE users SET name = 'n%d' WHERE id = 1", n))
		fresh := strings.Replace(get, "\r\n\r\n", "\r\nTidemark-Consistency: fully_consistent\r\n\r\n", 1)
		for i, res := range exchange(t, front, fresh+get+get, 1, 3) {
			if !strings.HasSuffix(res, fmt.Sprintf(`{"id":1,"name":"n%d"}`, n)) {
				t.Fatalf("response %d after write %d: %s", i, n, res)
			}
		}
	}
}

// TestFrontVolatile asks for what no memory holds.
func TestFrontVolatile(t *testing.T) {
	front, _, _, _ := open(t)
	get := "GET /v1/clock HTTP/1.1\r\nHost: x\r\n\r\n"
	fully := "GET /v1/clock HTTP/1.1\r\nHost: x\r\nTidemark-Consistency: fully_consistent\r\n\r\n"
	res := exchange(t, front, get+get+fully+fully, 1, 4)
	if len(res) != 4 || res[0] != res[1] || res[1] == res[2] || res[2] == res[3] {
		t.Errorf("%q", res)
	}
}

func TestFrontShutdown(t *testing.T) {
	front, _, _, shutdown := open(t)
	idle, err := net.Dial("tcp", front)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	slow := make(chan []string, 1)
	go func() { slow <- exchange(t, front, "GET /v1/slow HTTP/1.1\r\nHost: x\r\n\r\n", 1, 1) }()
	time.Sleep(50 * time.Millisecond) // under way
	began := time.Now()
	if err := shutdown(); err != nil {
		t.Fatal(err)
	}
	if res := <-slow; len(res) != 1 || !strings.Contains(res[0], `[{"n":6000000}]`) {
		t.Errorf("a request under way got %q", res)
	}
	if d := time.Since(began); d > 9*time.Second {
		t.Errorf("an idle connection held it up for %s", d)
	}
}
