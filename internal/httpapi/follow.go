package httpapi

import (
	"net/http"
	"syscall"
	"time"

	"github.com/tidemarkdb/tidemark/internal/liveapi"
)

// follower is what a connection has whose requests wait for changes. While one
// waits, the connection's goroutine reads, with next to no stack and no buffer, so
// that it learns when the client is gone; the response is written by others.
type follower struct {
	seat *liveapi.Seat
	raw  syscall.RawConn
	one  [1]byte // the first of the next request
	// broken says that a response was not written to its end.
	broken bool
}

// followLimit is how long a request may wait for changes.
const followLimit = 2 * time.Minute

// follow answers a request that is about following. If the request waits, the
// connection is no more the caller's to write to, nor to read from but by await.
func (c *frontConn) follow(l *liveapi.Handler, r *http.Request) next {
	if c.seat == nil {
		c.seat = new(liveapi.Seat)
		if s, ok := c.conn.(syscall.Conn); ok {
			c.raw, _ = s.SyscallConn() // without it, Offer has Write do it
		}
	}
	// Who writes the response sets a limit when it needs one.
	c.conn.SetWriteDeadline(time.Time{})
	c.conn.SetReadDeadline(time.Now().Add(followLimit + idleLimit))
	c.deadline = time.Time{}
	reply, waits := l.Take(c, c.seat, r)
	if waits && c.start == c.end {
		c.giveBuffer()
		c.out = nil
		return withChanges
	}
	if waits { // and the next request is here already
		l.Await(c.seat)
		if c.broken {
			return withNothing
		}
	}
	c.conn.SetWriteDeadline(time.Now().Add(writeLimit))
	c.out = append(c.out, reply...)
	return withRequest
}

// await waits for the next request while the response to the last is still to
// come, or for the end.
func (c *frontConn) await() {
	n, err := c.conn.Read(c.one[:])
	l := c.front.handler.live
	if n == 0 || err != nil {
		c.conn.Close() // so that who writes now stops
		l.Leave(c.seat)
		c.front.remove(c)
		return
	}
	l.Await(c.seat)
	if c.broken {
		c.conn.Close()
		c.front.remove(c)
		return
	}
	c.idle.Store(false)
	c.takeBuffer()
	c.start, c.end = 0, copy(c.buf, c.one[:])
	c.serve()
}

// Offer implements liveapi.Conn.
func (c *frontConn) Offer(b []byte) (n int, err error) {
	if c.raw == nil {
		return 0, nil
	}
	cerr := c.raw.Write(func(fd uintptr) bool {
		n, err = offer(fd, b)
		return true
	})
	if err == nil {
		err = cerr
	}
	return n, err
}

// Write implements liveapi.Conn.
func (c *frontConn) Write(b []byte, limit time.Duration) error {
	c.conn.SetWriteDeadline(time.Now().Add(limit))
	_, err := c.conn.Write(b)
	c.conn.SetWriteDeadline(time.Time{})
	return err
}

// Release implements liveapi.Conn.
func (c *frontConn) Release(whole bool) {
	c.broken = !whole
	c.idle.Store(true)
	if !whole || c.front.stopping() {
		c.wake()
	}
}

// wake ends the read of a connection that is idle, and so the connection.
func (c *frontConn) wake() { c.conn.SetReadDeadline(time.Unix(1, 0)) }
