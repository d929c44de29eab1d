package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/tidemarkdb/tidemark/internal/liveapi"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// Front serves plain HTTP/1.1 connections. It answers the one kind of request
// that a cache sees all day, a GET without a body and without oddities, from
// memory with one read and one write, and passes what is not in memory to the
// handler. A connection on which anything else arrives, be it HTTP/2, another
// method or a line that is not to the letter, is handed with all its bytes to an
// http.Server, which has the last word on what is well-formed.
type Front struct {
	handler *Handler
	server  *http.Server
	log     *slog.Logger
	passed  *passedListener

	mu      sync.Mutex
	conns   map[*frontConn]struct{}
	closing bool
	done    sync.WaitGroup
	date    atomic.Pointer[dateLine]
}

type dateLine struct {
	second int64
	line   []byte
}

// NewFront returns a front of a handler. What it does not serve itself goes to a
// server as Server makes them.
func NewFront(h *Handler, log *slog.Logger) *Front {
	return &Front{handler: h, server: Server(h, log), log: log, conns: map[*frontConn]struct{}{}}
}

// Serve accepts connections until Shutdown. It returns http.ErrServerClosed then.
func (f *Front) Serve(l net.Listener) error {
	f.passed = &passedListener{conns: make(chan net.Conn), closed: make(chan struct{}), addr: l.Addr()}
	go f.server.Serve(f.passed) // ends with Shutdown
	for {
		c, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return http.ErrServerClosed // its owner closed it
			}
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				continue
			}
			f.handler.log.Warn("a connection was not accepted", err)
			time.Sleep(5 * time.Millisecond)
			continue
		}
		fc := &frontConn{front: f, conn: c}
		if !f.add(fc) {
			c.Close()
			return http.ErrServerClosed
		}
		go fc.serve()
	}
}

func (f *Front) add(c *frontConn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		return false
	}
	f.conns[c] = struct{}{}
	f.done.Add(1)
	return true
}

func (f *Front) remove(c *frontConn) {
	f.mu.Lock()
	delete(f.conns, c)
	f.mu.Unlock()
	f.done.Done()
}

// Shutdown closes idle connections, waits until the requests under way are
// answered or ctx ends, and closes what is left. The listener is the caller's to
// close first.
func (f *Front) Shutdown(ctx context.Context) error {
	f.mu.Lock()
	f.closing = true
	for c := range f.conns {
		if c.idle.Load() {
			c.wake()
		}
	}
	f.mu.Unlock()
	if l := f.handler.live; l != nil {
		l.Stop()
	}
	finished := make(chan struct{})
	go func() {
		f.done.Wait()
		close(finished)
	}()
	select {
	case <-finished:
	case <-ctx.Done():
		f.mu.Lock()
		for c := range f.conns {
			c.conn.Close()
		}
		f.mu.Unlock()
		<-finished
	}
	err := f.server.Shutdown(ctx)
	if err != nil {
		f.server.Close()
	}
	return err
}

func (f *Front) stopping() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closing
}

// dateHeader returns the Date line of this second.
func (f *Front) dateHeader(now time.Time) []byte {
	second := now.Unix()
	if d := f.date.Load(); d != nil && d.second == second {
		return d.line
	}
	d := &dateLine{second: second, line: []byte("Date: " + now.UTC().Format(http.TimeFormat) + "\r\n")}
	f.date.Store(d)
	return d.line
}

const (
	frontBuffer = 4 << 10
	// frontBatch is how much output of pipelined requests is gathered.
	frontBatch = 16 << 10
	firstByte  = 10 * time.Second
	idleLimit  = 2 * time.Minute
	writeLimit = 2 * time.Minute
)

// frontConn is one connection. Its goroutine owns it.
type frontConn struct {
	front *Front
	conn  net.Conn
	idle  atomic.Bool // waiting for a request

	buf        []byte
	start, end int // of what was read and not served
	out        []byte
	deadline   time.Time // when deadlines were set last

	follower
}

// next is how a connection goes on.
type next byte

const (
	withRequest next = iota // with another request
	withNothing             // not at all
	withServer              // on the server
	withChanges             // with a request that waits for them
)

// serve serves requests until the connection ends or is another's.
func (c *frontConn) serve() {
	n := c.requests()
	if n == withChanges {
		// This stack has grown with the request. That of another is small.
		go c.await()
		return
	}
	if n != withServer || !c.hand() {
		c.conn.Close()
	}
	c.giveBuffer()
	c.front.remove(c)
}

// requests reads and serves requests. It returns how the connection goes on
// without it.
func (c *frontConn) requests() (n next) {
	defer func() {
		if p := recover(); p != nil {
			c.front.log.Error("a connection's goroutine panicked", "panic", p)
			n = withNothing
		}
	}()
	if c.buf == nil {
		c.takeBuffer()
		c.conn.SetReadDeadline(time.Now().Add(firstByte))
	}
	for {
		if c.start == c.end {
			c.start, c.end = 0, 0
		}
		c.idle.Store(true)
		if c.front.stopping() {
			return withNothing
		}
		n, err := c.conn.Read(c.buf[c.end:])
		c.idle.Store(false)
		c.end += n
		if n == 0 || err != nil {
			return withNothing
		}
		now := time.Now()
		if now.Sub(c.deadline) > time.Second {
			// Not for every request: they are long, and setting them costs.
			c.deadline = now
			c.conn.SetReadDeadline(now.Add(idleLimit))
			c.conn.SetWriteDeadline(now.Add(writeLimit))
		}
		next := c.whole(now)
		if !c.flush() {
			return withNothing
		}
		if next != withRequest {
			return next
		}
	}
}

// whole serves the whole requests in the buffer.
func (c *frontConn) whole(now time.Time) next {
	for c.start < c.end {
		data := c.buf[c.start:c.end]
		n := bytes.Index(data, headEnd)
		if n < 0 {
			return withServer // cut short: the server waits for the rest
		}
		head := data[:n+len(headEnd)]
		req, plain := parseHead(head)
		if !plain {
			return withServer
		}
		c.start += len(head)
		if !req.conditional && !bytes.HasPrefix(req.target, followed) && c.hit(req, now) {
			if len(c.out) > frontBatch && !c.flush() {
				return withNothing
			}
			continue
		}
		r, err := readRequest(head)
		if err != nil {
			c.start -= len(head) // a target that is no URI: the server says so
			return withServer
		}
		// Earlier answers should not wait for a query.
		if !c.flush() {
			return withNothing
		}
		r.RemoteAddr = c.conn.RemoteAddr().String()
		if l := c.front.handler.live; l != nil && l.Wants(r) {
			if n := c.follow(l, r); n != withRequest {
				return n
			}
			continue
		}
		c.pass(r)
	}
	return withRequest
}

// buffers and heads are used again, since followers come and go in thousands.
var (
	buffers = sync.Pool{New: func() any { return new([frontBuffer]byte) }}
	heads   = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 1<<10) }}
)

func (c *frontConn) takeBuffer() {
	c.buf = buffers.Get().(*[frontBuffer]byte)[:]
}

func (c *frontConn) giveBuffer() {
	if c.buf != nil {
		buffers.Put((*[frontBuffer]byte)(c.buf))
		c.buf = nil
	}
}

// readRequest reads a request that has no body. It keeps nothing of head.
func readRequest(head []byte) (*http.Request, error) {
	b := heads.Get().(*bufio.Reader)
	b.Reset(bytes.NewReader(head))
	r, err := http.ReadRequest(b)
	b.Reset(nil)
	heads.Put(b)
	return r, err
}

// flush writes what was answered. It reports whether that was possible.
func (c *frontConn) flush() bool {
	if len(c.out) == 0 {
		return true
	}
	_, err := c.conn.Write(c.out)
	c.out = c.out[:0]
	return err == nil
}

// followed is how the addresses begin that are of shapes, and never in memory.
var followed = []byte(liveapi.ShapePath + "?")

// hit answers from memory if it can.
func (c *frontConn) hit(req request, now time.Time) bool {
	// The bytes do not change while the string is used, and it is not kept.
	uri := unsafe.String(unsafe.SliceData(req.target), len(req.target))
	t := c.front.handler.tenant
	var reply tenant.Reply
	var ok bool
	if req.fully {
		if !c.flush() { // earlier answers should not wait for a question
			return false
		}
		reply, ok = t.HitFully(uri)
	} else {
		reply, ok = t.Hit(uri, now)
	}
	if !ok {
		return false
	}
	v := reply.Version
	if !v.Found || len(v.Body) > frontBatch || req.gzip && len(v.Body) >= packMinimum {
		return false
	}
	c.out = appendHit(c.out, v, now)
	c.out = append(c.out, reply.Token...)
	c.out = append(c.out, "\r\n"...)
	c.out = append(c.out, c.front.dateHeader(now)...)
	c.out = append(c.out, "\r\n"...)
	c.out = append(c.out, v.Body...)
	return true
}

// pass has the handler answer a request.
func (c *frontConn) pass(r *http.Request) {
	w := &frontWriter{header: http.Header{}, status: http.StatusOK}
	c.front.handler.serve(w, r)
	c.conn.SetWriteDeadline(time.Now().Add(writeLimit))
	c.out = w.append(c.out, c.front.dateHeader(time.Now()))
}

// hand gives the connection, with what was read of it, to the server.
func (c *frontConn) hand() bool {
	c.conn.SetDeadline(time.Time{})
	rest := bytes.Clone(c.buf[c.start:c.end])
	return c.front.passed.give(&replayConn{Conn: c.conn, rest: rest})
}

// frontWriter gathers one response.
type frontWriter struct {
	header http.Header
	status int
	wrote  bool
	body   []byte
}

func (w *frontWriter) Header() http.Header { return w.header }

func (w *frontWriter) WriteHeader(status int) {
	if !w.wrote {
		w.status, w.wrote = status, true
	}
}

func (w *frontWriter) Write(p []byte) (int, error) {
	w.wrote = true
	w.body = append(w.body, p...)
	return len(p), nil
}

func (w *frontWriter) append(out, date []byte) []byte {
	var b bytes.Buffer
	b.Write(out)
	b.WriteString(statusLine(w.status))
	if w.status != http.StatusNotModified && w.header.Get("Content-Length") == "" {
		w.header.Set("Content-Length", strconv.Itoa(len(w.body)))
	}
	_ = w.header.Write(&b) // a buffer takes everything
	b.Write(date)
	b.WriteString("\r\n")
	b.Write(w.body)
	return b.Bytes()
}

// passedListener hands connections to an http.Server.
type passedListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	addr   net.Addr
}

func (l *passedListener) give(c net.Conn) bool {
	select {
	case l.conns <- c:
		return true
	case <-l.closed:
		return false
	}
}

func (l *passedListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *passedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *passedListener) Addr() net.Addr { return l.addr }

// replayConn is a connection whose first bytes were read already.
type replayConn struct {
	net.Conn
	rest []byte
}

func (c *replayConn) Read(p []byte) (int, error) {
	if len(c.rest) > 0 {
		n := copy(p, c.rest)
		c.rest = c.rest[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}
