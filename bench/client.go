package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

// httpConn is a client's side of one HTTP/1.1 connection: as little as there can
// be between a request and the check of its response, so that it costs less than
// any server. It is not safe for concurrent use.
type httpConn struct {
	addr string
	conn net.Conn
	used bool // a response came over conn, so its end now is the server's right
	buf  []byte
}

func newHTTPConn(addr string) *httpConn { return &httpConn{addr: addr, buf: make([]byte, 32<<10)} }

func (c *httpConn) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// response is valid until the next request.
type response struct {
	status int
	head   []byte // with the empty line
	body   []byte
}

var errResponse = errors.New("not a response that this client reads")

// request makes a GET with further header lines, each ended by \r\n.
func request(path, headers string) []byte {
	return []byte("GET " + path + " HTTP/1.1\r\nHost: bench\r\n" + headers + "\r\n")
}

// connectionLife ends a connection whose server hangs. One deadline for all of
// it, because one for each request would cost more than the rest of the client.
const connectionLife = 15 * time.Minute

// get sends a request and reads its response, over a new connection where the
// server ended the old one between two requests.
func (c *httpConn) get(request []byte) (response, error) {
	for {
		if c.conn == nil {
			conn, err := net.Dial("tcp", c.addr)
			if err != nil {
				return response{}, err
			}
			if err := conn.SetDeadline(time.Now().Add(connectionLife)); err != nil {
				return response{}, err
			}
			c.conn, c.used = conn, false
		}
		r, begun, err := c.exchange(request)
		if err == nil {
			c.used = true
			if bytes.Contains(r.head, []byte("\r\nConnection: close\r\n")) {
				c.close()
			}
			return r, nil
		}
		again := c.used && !begun
		c.close()
		if !again {
			return r, err
		}
	}
}

func (c *httpConn) exchange(request []byte) (r response, begun bool, err error) {
	if _, err := c.conn.Write(request); err != nil {
		return r, false, err
	}
	n, end := 0, -1
	for end < 0 {
		if n == len(c.buf) {
			return r, true, fmt.Errorf("%w: its head is over %d bytes", errResponse, len(c.buf))
		}
		m, err := c.conn.Read(c.buf[n:])
		if err != nil {
			return r, n > 0, err
		}
		n += m
		end = bytes.Index(c.buf[:n], []byte("\r\n\r\n"))
	}
	head := c.buf[:end+4]
	if len(head) < 14 || string(head[:9]) != "HTTP/1.1 " {
		return r, true, fmt.Errorf("%w: %q", errResponse, head)
	}
	if r.status, err = strconv.Atoi(string(head[9:12])); err != nil {
		return r, true, fmt.Errorf("%w: %q", errResponse, head)
	}
	length, ok := contentLength(head)
	if !ok {
		return r, true, fmt.Errorf("%w: no Content-Length in %q", errResponse, head)
	}
	for whole := len(head) + length; n < whole; {
		if whole > len(c.buf) {
			c.buf = append(c.buf[:n], make([]byte, whole-n)...)
		}
		m, err := c.conn.Read(c.buf[n:])
		if err != nil {
			return r, true, err
		}
		n += m
	}
	if n > len(head)+length {
		return r, true, fmt.Errorf("%w: %d bytes too many", errResponse, n-len(head)-length)
	}
	r.head, r.body = c.buf[:end+4], c.buf[end+4:n]
	return r, true, nil
}

// contentLength finds the field as the servers at hand write it.
func contentLength(head []byte) (int, bool) {
	i := bytes.Index(head, []byte("\r\nContent-Length: "))
	if i < 0 {
		return 0, false
	}
	n, digits := 0, head[i+len("\r\nContent-Length: "):]
	for len(digits) > 0 && digits[0] >= '0' && digits[0] <= '9' {
		n, digits = 10*n+int(digits[0]-'0'), digits[1:]
	}
	return n, true
}
