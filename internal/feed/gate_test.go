package feed

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// gate stands between the feed and its server: it may be shut for new
// connections, and led elsewhere.
type gate struct {
	t       testing.TB
	closed  atomic.Bool
	address atomic.Pointer[[2]string]
	stalled atomic.Bool // connections stay open, and nothing comes in
	mu      sync.Mutex
	conns   []net.Conn
}

func newGate(t testing.TB) *gate { return &gate{t: t} }

func (g *gate) use(o *Options, _ *recorder) {
	cfg, err := pgconn.ParseConfig(o.DSN)
	if err != nil {
		g.t.Fatal(err)
	}
	dial := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if g.closed.Load() {
			return nil, errors.New("the gate is shut")
		}
		if other := g.address.Load(); other != nil {
			network, addr = other[0], other[1]
		}
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.conns = append(g.conns, conn)
		return &gatedConn{Conn: conn, gate: g}, nil
	}
	o.Config = cfg
}

func (g *gate) shut() { g.closed.Store(true) }

func (g *gate) open() { g.closed.Store(false) }

// cut closes every connection, as a network does.
func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.conns {
		c.Close()
	}
	g.conns = nil
}

type gatedConn struct {
	net.Conn
	gate *gate
}

func (c *gatedConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err != nil || !c.gate.stalled.Load() {
			return n, err
		}
		// What came in is lost, as if it had never arrived.
	}
}
