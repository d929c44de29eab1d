package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// followerConn is one HTTP/1.1 connection of a follower. It is closed when its
// context ends.
type followerConn struct {
	ctx  context.Context
	addr string
	conn net.Conn
	in   *bufio.Reader
}

func (c *followerConn) dial() (err error) {
	if c.conn != nil {
		return nil
	}
	conn, err := net.Dial("tcp", c.addr)
	if err != nil {
		return err
	}
	context.AfterFunc(c.ctx, func() { _ = conn.Close() })
	if c.in == nil {
		c.in = bufio.NewReaderSize(conn, 2<<10)
	}
	c.in.Reset(conn)
	c.conn = conn
	return nil
}

// shapeResponse has no body if that comes in chunks.
type shapeResponse struct {
	status                 int
	handle, offset, cursor string
	upToDate, chunked      bool
	body                   []byte
}

// get sends a request and reads the response, without a body in chunks.
func (c *followerConn) get(path string) (r shapeResponse, err error) {
	if err := c.dial(); err != nil {
		return r, err
	}
	if _, err := c.conn.Write([]byte("GET " + path + " HTTP/1.1\r\nHost: bench\r\n\r\n")); err != nil {
		return r, err
	}
	length, closes := -1, false
	for n := 0; ; n++ {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return r, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if n == 0 {
			if len(line) < 12 || string(line[:9]) != "HTTP/1.1 " {
				return r, fmt.Errorf("%w: %q", errResponse, line)
			}
			if r.status, err = strconv.Atoi(string(line[9:12])); err != nil {
				return r, fmt.Errorf("%w: %q", errResponse, line)
			}
			continue
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case is(name, "electric-handle"):
			r.handle = string(value)
		case is(name, "electric-offset"):
			r.offset = string(value)
		case is(name, "electric-cursor"):
			r.cursor = string(value)
		case is(name, "electric-up-to-date"):
			r.upToDate = true
		case is(name, "transfer-encoding"):
			r.chunked = true
		case is(name, "connection"):
			closes = is(value, "close")
		case is(name, "content-length"):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return r, fmt.Errorf("%w: %q", errResponse, line)
			}
		}
	}
	if r.chunked {
		return r, nil
	}
	if length < 0 {
		return r, fmt.Errorf("%w: it has no length", errResponse)
	}
	r.body = make([]byte, length)
	for n := 0; n < length; {
		m, err := c.in.Read(r.body[n:])
		if err != nil {
			return r, err
		}
		n += m
	}
	if closes {
		_ = c.conn.Close()
		c.conn = nil
	}
	return r, nil
}

// chunk appends the next chunk of a body to b; false if it was the last.
func (c *followerConn) chunk(b []byte) ([]byte, bool, error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return b, false, err
	}
	length, err := strconv.ParseUint(string(bytes.TrimRight(line, "\r\n")), 16, 31)
	if err != nil {
		return b, false, fmt.Errorf("%w: chunk of length %q", errResponse, line)
	}
	n := len(b)
	b = append(b, make([]byte, length+2)...)
	for n < len(b) {
		m, err := c.in.Read(b[n:])
		if err != nil {
			return b, false, err
		}
		n += m
	}
	return b[:len(b)-2], length > 0, nil
}

// is compares a name without regard to case; want is in lower case.
func is(name []byte, want string) bool {
	return len(name) == len(want) && strings.EqualFold(string(name), want)
}

// receipt is that a follower has got the row with a serial number.
type receipt struct {
	serial int64
	at     int64 // nanoseconds, by clock
}

// origin makes moments numbers that are not subject to the wall clock.
var origin = time.Now()

func clock() int64 { return int64(time.Since(origin)) }

// follower follows one shape over a connection of its own: by long polls, or as a
// stream. It looks for serial numbers at once, and keeps the messages, of which
// its rows are made later.
type follower struct {
	*followerConn
	path   string // of the shape, with a parameter at least
	stream bool
	wanted func(serial int64) bool // of the receipts that are kept
	count  *atomic.Int64           // of those, over all followers

	handle, offset, cursor string
	last                   atomic.Int64 // serial

	mu   sync.Mutex
	got  []receipt
	text []byte // messages since rows was made
	rows map[string]map[string]*string
}

// begin reads the shape until the follower has everything.
func (f *follower) begin() error {
	if f.offset != "" {
		return f.dial()
	}
	f.offset = "-1"
	for {
		r, err := f.get(f.at(false))
		if err != nil {
			return err
		}
		if r.status != 200 {
			return fmt.Errorf("%s: status %d: %s", f.path, r.status, clip(r.body))
		}
		f.handle, f.offset = r.handle, r.offset
		f.take(r.body, clock())
		if r.upToDate {
			return nil
		}
	}
}

// at is the address of what comes next.
func (f *follower) at(live bool) string {
	b := append(make([]byte, 0, 256), f.path...)
	b = append(append(b, "&offset="...), f.offset...)
	if f.handle != "" {
		b = append(append(b, "&handle="...), f.handle...)
	}
	if live {
		b = append(b, "&live=true"...)
		if f.stream {
			b = append(b, "&live_sse=true"...)
		} else {
			b = append(append(b, "&cursor="...), f.cursor...)
		}
	}
	return string(b)
}

// follow receives what comes until the context ends, which closes the connection.
func (f *follower) follow(ctx context.Context) error {
	for {
		r, err := f.get(f.at(true))
		if err == nil && r.status != 200 {
			err = fmt.Errorf("%s: status %d: %s", f.at(true), r.status, clip(r.body))
		}
		if err == nil {
			if r.chunked {
				err = f.events()
			} else {
				now := clock()
				f.handle, f.offset, f.cursor = r.handle, r.offset, r.cursor
				f.take(r.body, now)
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// events reads a stream to its end. A batch is a chunk, and its last event has the
// id from which the stream goes on.
func (f *follower) events() error {
	var b []byte
	for {
		var more bool
		var err error
		if b, more, err = f.chunk(b[:0]); err != nil || !more {
			return err
		}
		now := clock()
		if i := bytes.LastIndex(b, []byte("id: ")); i >= 0 {
			id, _, _ := bytes.Cut(b[i+len("id: "):], []byte("\n"))
			j := bytes.LastIndexByte(id, '/')
			if j < 0 {
				return fmt.Errorf("%w: %s", errResponse, b)
			}
			f.handle, f.offset = string(id[:j]), string(id[j+1:])
			f.take(b, now)
		}
	}
}

var serialMember = []byte(`"serial":"`)

// take notes what messages bring.
func (f *follower) take(messages []byte, now int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.text = append(append(f.text, messages...), '\n')
	for rest := messages; ; {
		i := bytes.Index(rest, serialMember)
		if i < 0 {
			return
		}
		rest = rest[i+len(serialMember):]
		n := int64(0)
		for len(rest) > 0 && rest[0] >= '0' && rest[0] <= '9' {
			n, rest = 10*n+int64(rest[0]-'0'), rest[1:]
		}
		if f.wanted != nil && f.wanted(n) {
			f.got = append(f.got, receipt{n, now})
			f.count.Add(1)
		}
		f.last.Store(max(n, f.last.Load()))
	}
}

// crowd is followers at work.
type crowd struct {
	all    []*follower
	stop   context.CancelFunc
	done   sync.WaitGroup
	failed chan error
	count  atomic.Int64 // receipts
	least  atomic.Int64 // serial of the receipts that are kept
}

// gather starts followers, a bounded number at a time. Those who have followed
// before go on from where they were.
func gather(ctx context.Context, addr string, all []*follower) (*crowd, error) {
	c := &crowd{all: all, failed: make(chan error, 1)}
	c.least.Store(1 << 62)
	wanted := func(serial int64) bool { return serial >= c.least.Load() }
	ctx, c.stop = context.WithCancel(ctx)
	const atOnce = 16
	var beginning sync.WaitGroup
	next := atomic.Int64{}
	errs := make([]error, atOnce)
	for i := range atOnce {
		beginning.Go(func() {
			for errs[i] == nil && ctx.Err() == nil {
				n := int(next.Add(1)) - 1
				if n >= len(all) {
					return
				}
				f := all[n]
				f.followerConn, f.wanted, f.count = &followerConn{ctx: ctx, addr: addr}, wanted, &c.count
				if errs[i] = f.begin(); errs[i] != nil {
					return
				}
				c.done.Go(func() {
					if err := f.follow(ctx); err != nil {
						select {
						case c.failed <- err:
						default:
						}
					}
				})
			}
		})
	}
	beginning.Wait()
	if err := errors.Join(append(errs, context.Cause(ctx))...); err != nil {
		c.leave()
		return nil, err
	}
	return c, nil
}

// leave ends all followers.
func (c *crowd) leave() {
	c.stop()
	c.done.Wait()
}

// until waits for something that the followers do.
func (c *crowd) until(ctx context.Context, what string, ok func() bool) error {
	end := time.Now().Add(patience)
	for !ok() {
		select {
		case err := <-c.failed:
			return fmt.Errorf("a follower: %w", err)
		default:
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: not within %v", what, patience)
		}
		if err := sleep(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// receipts hands over what the followers have got.
func (c *crowd) receipts() [][]receipt {
	out := make([][]receipt, len(c.all))
	for i, f := range c.all {
		f.mu.Lock()
		out[i], f.got = f.got, nil
		f.mu.Unlock()
	}
	c.count.Store(0)
	return out
}
