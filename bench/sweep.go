package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

// seen is how tidemark came by an answer.
type seen struct {
	status int
	hit    bool // from memory, and current
	same   bool // the answer is the one that it was last time
}

// pipe asks for many answers at once over one connection. It writes a few
// requests, then reads as many responses, so that a round trip is paid once.
type pipe struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte
}

// pipeLimit bounds the bytes of requests that are on the way: a server that
// reads them with one read answers them with few writes.
const pipeLimit = 3 << 10

func dialPipe(addr string) (*pipe, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &pipe{conn: conn, in: bufio.NewReaderSize(conn, 64<<10)}, nil
}

func (p *pipe) close() { _ = p.conn.Close() }

// get asks for every answer, notes in each what was said, and hands it over.
func (p *pipe) get(asks []*ask, f func(*ask, seen)) error {
	if err := p.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	for len(asks) > 0 {
		n := 0
		p.out = p.out[:0]
		for n < len(asks) && (n == 0 || len(p.out)+len(asks[n].request) <= pipeLimit) {
			p.out = append(p.out, asks[n].request...)
			n++
		}
		if _, err := p.conn.Write(p.out); err != nil {
			return err
		}
		for _, a := range asks[:n] {
			s, err := p.read(a)
			if err != nil {
				return fmt.Errorf("%s: %w", a.path, err)
			}
			f(a, s)
		}
		asks = asks[n:]
	}
	return nil
}

// read takes one response. A body whose tag is the one that is known is the
// same, because the tag is a hash of it, and is passed over.
func (p *pipe) read(a *ask) (s seen, err error) {
	line, err := p.in.ReadSlice('\n')
	if err != nil {
		return s, err
	}
	if len(line) < 12 {
		return s, fmt.Errorf("%w: %q", errResponse, line)
	}
	if s.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return s, fmt.Errorf("%w: %q", errResponse, line)
	}
	length, tag, cached := -1, "", ""
	for {
		line, err := p.in.ReadSlice('\n')
		if err != nil {
			return s, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case len(name) == 4 && bytes.EqualFold(name, []byte("etag")):
			if s.same = string(value) == a.tag; !s.same {
				tag = string(value)
			}
		case len(name) == 14 && bytes.EqualFold(name, []byte("content-length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return s, fmt.Errorf("%w: %q", errResponse, line)
			}
		case len(name) == 12 && bytes.EqualFold(name, []byte("cache-status")):
			s.hit = bytes.HasPrefix(value, []byte("tidemark; hit")) && !bytes.Contains(value, []byte("stale"))
			if !s.hit {
				cached = string(value)
			}
		}
	}
	a.hit = s.hit
	if length < 0 {
		return s, fmt.Errorf("%w: no Content-Length", errResponse)
	}
	if s.same {
		_, err := p.in.Discard(length)
		return s, err
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(p.in, body); err != nil {
		return s, err
	}
	if s.status != 200 && s.status != 404 {
		return s, fmt.Errorf("%w: status %d, %s: %s", errResponse, s.status, cached, clip(body))
	}
	// An object that does not exist has no tag in every version; its body will do.
	s.same = tag == "" && a.tag == "" && s.status == a.status && bytes.Equal(body, a.body)
	a.status, a.tag, a.body = s.status, tag, body
	return s, nil
}

// sweeper asks for the same answers over and over, with a few connections that
// share them.
type sweeper struct {
	pipes []*pipe
	parts [][]*ask
}

func newSweeper(addr string, connections int, asks []*ask) (*sweeper, error) {
	w := &sweeper{parts: make([][]*ask, connections)}
	for i, a := range asks {
		w.parts[i%connections] = append(w.parts[i%connections], a)
	}
	for range connections {
		p, err := dialPipe(addr)
		if err != nil {
			w.close()
			return nil, err
		}
		w.pipes = append(w.pipes, p)
	}
	return w, nil
}

func (w *sweeper) close() {
	for _, p := range w.pipes {
		p.close()
	}
}

// sweep asks for every answer once. f is called by one goroutine for each
// connection.
func (w *sweeper) sweep(f func(*ask, seen)) error {
	var all sync.WaitGroup
	errs := make([]error, len(w.pipes))
	for i, p := range w.pipes {
		all.Go(func() { errs[i] = p.get(w.parts[i], f) })
	}
	all.Wait()
	return errors.Join(errs...)
}
