package httpapi_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/liveapi"
	"github.com/tidemarkdb/tidemark/internal/liveapi/liveapitest"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// TestFollowRandomly has many clients poll, stream, dawdle and vanish while a shape
// changes. Each must have received every change once, in order, whatever it did:
// what it takes as received is what the npm client does.
func TestFollowRandomly(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := newFollowRig(t, liveapi.Options{Poll: 60 * time.Millisecond, Stream: 400 * time.Millisecond, Heartbeat: 50 * time.Millisecond, WriteLimit: 5 * time.Second})
	r.items.Chunk = 3
	var end atomic.Int64 // of all changes, once they are all made
	var clients sync.WaitGroup
	for i := range 40 {
		addr := r.addr
		if i%8 == 0 {
			addr = r.plainly
		}
		c := &randomClient{t: t, rnd: rand.New(rand.NewPCG(seed, uint64(i))), addr: addr, offset: whole(100)}
		clients.Go(func() { c.follow(&end) })
	}
	rnd := rand.New(rand.NewPCG(seed, 1<<32))
	n := 0
	for i := range 150 {
		at := revision.LSN(200 + 8*i)
		var all []string
		for j := range 1 + rnd.IntN(5) {
			text := strconv.Itoa(n)
			if rnd.IntN(20) == 0 {
				text += " " + strings.Repeat("x", 30<<10)
			}
			all = append(all, liveapitest.Change("insert", live.Offset{LSN: at, Index: uint64(2 * j)}, n, text))
			n++
		}
		r.items.Commit(at, all...)
		time.Sleep(time.Duration(rnd.IntN(8)) * time.Millisecond)
	}
	end.Store(int64(n))
	clients.Wait()
	r.waits(0)
}

type randomClient struct {
	t      *testing.T
	rnd    *rand.Rand
	addr   string
	offset string
	next   int // change
	conn   net.Conn
	reader *bufio.Reader
}

func (c *randomClient) follow(end *atomic.Int64) {
	deadline := time.Now().Add(time.Minute)
	for end.Load() == 0 || int64(c.next) < end.Load() {
		if time.Now().After(deadline) {
			c.t.Errorf("at %s, change %d of %d", c.offset, c.next, end.Load())
			return
		}
		if c.conn == nil {
			conn, err := net.Dial("tcp", c.addr)
			if err != nil {
				c.t.Error(err)
				return
			}
			conn.SetDeadline(deadline)
			c.conn, c.reader = conn, bufio.NewReader(conn)
		}
		if !c.request() {
			c.conn.Close()
			c.conn = nil
		}
		if c.t.Failed() {
			return
		}
	}
	if c.conn != nil {
		c.conn.Close()
	}
}

// request makes one request. It reports whether the connection can have another.
func (c *randomClient) request() bool {
	stream := c.rnd.IntN(2) == 0
	uri := "/v1/shape?cursor=1&handle=items-1&live=true&table=items&offset=" + c.offset
	if stream {
		uri += "&live_sse=true"
	}
	if _, err := fmt.Fprintf(c.conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", uri); err != nil {
		c.t.Error(err)
		return false
	}
	if c.rnd.IntN(10) == 0 {
		return false // it vanishes at once
	}
	if c.rnd.IntN(10) == 0 {
		time.Sleep(time.Duration(c.rnd.IntN(50)) * time.Millisecond)
	}
	resp, err := http.ReadResponse(c.reader, nil)
	if err != nil || resp.StatusCode != 200 {
		c.t.Errorf("%v %v", resp, err)
		return false
	}
	if stream {
		return c.events(resp.Body)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Error(err)
		return false
	}
	var all []liveapitest.Message
	if err := json.Unmarshal(text, &all); err != nil {
		c.t.Errorf("%v in %q", err, text)
		return false
	}
	c.receive(all)
	c.offset = resp.Header.Get("Electric-Offset")
	return !resp.Close
}

// events reads a stream until it ends or the client has enough of it.
func (c *randomClient) events(body io.Reader) bool {
	lines := bufio.NewReader(body)
	var held []liveapitest.Message
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF && line == "" {
			return true
		}
		if err != nil {
			c.t.Errorf("%v after %.100q", err, line)
			return false
		}
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		var m liveapitest.Message
		if err := json.Unmarshal([]byte(data), &m); err != nil {
			c.t.Errorf("%v in %q", err, data)
			return false
		}
		held = append(held, m)
		if m.Headers.Control == "up-to-date" {
			c.receive(held)
			held, c.offset = nil, m.Headers.Seen+"_0"
		}
		switch c.rnd.IntN(300) {
		case 0:
			return false // what is held is lost, and comes again
		case 1:
			time.Sleep(time.Duration(c.rnd.IntN(100)) * time.Millisecond)
		}
	}
}

func (c *randomClient) receive(all []liveapitest.Message) {
	for _, m := range all {
		if m.Headers.Control != "" {
			continue
		}
		if n, _, _ := strings.Cut(m.Value["v"], " "); n != strconv.Itoa(c.next) {
			c.t.Errorf("change %s came, want %d, at %s", n, c.next, c.offset)
			return
		}
		c.next++
	}
}
