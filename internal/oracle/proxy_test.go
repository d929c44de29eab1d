package oracle

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// proxy stands between tidemark and Postgres. It can hold back what Postgres
// sends on replication connections.
type proxy struct {
	listener net.Listener
	server   string

	mu     sync.Mutex
	held   bool
	change *sync.Cond
	conns  []net.Conn
}

func newProxy(t testing.TB, port int) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, server: fmt.Sprintf("127.0.0.1:%d", port)}
	p.change = sync.NewCond(&p.mu)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.hold(false)
		wg.Wait()
	})
	return p
}

// dsn returns a connection string that leads through the proxy.
func (p *proxy) dsn(direct string) string {
	u, err := url.Parse(direct)
	if err != nil {
		panic(err)
	}
	u.Host = p.listener.Addr().String()
	return u.String()
}

// hold says whether the log is held back.
func (p *proxy) hold(held bool) {
	p.mu.Lock()
	p.held = held
	p.mu.Unlock()
	p.change.Broadcast()
}

func (p *proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		_ = client.Close()
		return
	}
	p.mu.Lock()
	p.conns = append(p.conns, client, server)
	p.mu.Unlock()
	// The first message is its length and then settings, which say what the
	// connection is for.
	head := make([]byte, 4)
	if _, err := io.ReadFull(client, head); err == nil {
		rest := make([]byte, min(binary.BigEndian.Uint32(head), 1<<16)-4)
		_, _ = io.ReadFull(client, rest) // what is missing, the server misses too
		follows := bytes.Contains(rest, []byte("replication\x00"))
		_, _ = server.Write(append(head, rest...))
		go func() {
			_, _ = io.Copy(server, client)
			_ = server.Close()
		}()
		p.copyHeld(client, server, follows)
	}
	_ = client.Close()
	_ = server.Close()
}

// copyHeld copies from the server until either side ends.
func (p *proxy) copyHeld(to, from net.Conn, follows bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		for follows && p.held {
			p.change.Wait()
		}
		p.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
