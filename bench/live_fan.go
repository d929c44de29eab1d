package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// fan is what one way of telling many the same showed.
type fan struct {
	name, path, rows string
	stream           bool
	followers        []*follower
	first, last      []time.Duration // of each commit
	each             []time.Duration
	cost, own        []float64 // µs of a message
	size             int
}

// fans measures how one change comes to many followers.
func (l *following) fans(ctx context.Context, db *database) error {
	commits := 20
	if l.short {
		commits = 5
	}
	sh, err := prepareShaper(ctx, db, "bench_fan")
	if err != nil {
		return err
	}
	defer sh.close()
	w, err := openWriter(ctx, db)
	if err != nil {
		return err
	}
	defer w.close()
	if err := db.admin.QueryRow(ctx, "SELECT max(serial) FROM orders").Scan(&w.serial); err != nil {
		return err
	}
	l.section(fmt.Sprintf("one change to %d followers of one shape, in milliseconds from the acknowledgement of its commit", l.followers))
	fans := []*fan{
		{name: "table, event streams", path: shapeOf(liveWatched), rows: tableRows, stream: true},
		{name: "table, long polls", path: shapeOf(liveWatched), rows: tableRows},
		{name: "endpoint, event streams", path: answerOf(liveWatched), rows: answerRows, stream: true},
		{name: "endpoint, long polls", path: answerOf(liveWatched), rows: answerRows},
	}
	var bare []float64
	for round := range l.rounds {
		for _, f := range fans {
			if err := l.fan(ctx, db, sh, w, f, commits, ""); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			n := len(f.first)
			l.say("  %d  %-24s first %7.2f  last %8.2f  a message: %6.2f µs of CPU, %6.2f µs of the load generator", round+1, f.name,
				milliseconds(middle(f.first[n-commits:])), milliseconds(middle(f.last[n-commits:])), f.cost[round], f.own[round])
		}
		cost, own, err := l.bareFan(ctx, fans[0].size, commits)
		if err != nil {
			return fmt.Errorf("bare writes: %w", err)
		}
		bare = append(bare, cost)
		l.say("  %d  %-24s %40s%6.2f µs of CPU, %6.2f µs of the load generator", round+1, "bare writes", "a message: ", cost, own)
	}
	for i, f := range fans {
		if l.profiles == "" {
			break
		}
		not := &fan{path: f.path, rows: f.rows, stream: f.stream, followers: f.followers}
		if err := l.fan(ctx, db, sh, w, not, commits, filepath.Join(l.profiles, fmt.Sprintf("live-fan%d.pprof", i))); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	l.say("  all rounds together; messages of about %d bytes", fans[0].size)
	for _, f := range fans {
		slices.Sort(f.each)
		l.fact(f.name+", first receipt, median", milliseconds(middle(f.first)), "ms")
		l.fact(f.name+", receipts, p50", milliseconds(quantile(f.each, 0.5)), "ms")
		l.fact(f.name+", receipts, p99", milliseconds(quantile(f.each, 0.99)), "ms")
		l.fact(f.name+", last receipt, median", milliseconds(middle(f.last)), "ms")
		l.fact(f.name+", a message", median(f.cost), "µs of CPU")
	}
	l.verdict("a message on an event stream, to a bare write of it", median(ratios(fans[0].cost, bare)), 2, false, "×")
	return nil
}

func middle(d []time.Duration) time.Duration {
	return quantile(slices.Sorted(slices.Values(d)), 0.5)
}

// fan gives one way its turn.
func (l *following) fan(ctx context.Context, db *database, sh *shaper, w *writer, f *fan, commits int, profile string) (err error) {
	if err := sh.start(ctx, l.cpus.server); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sh.stop()) }()
	if f.followers == nil {
		for range l.followers {
			f.followers = append(f.followers, &follower{path: f.path, stream: f.stream})
		}
	}
	c, err := gather(ctx, sh.addr, f.followers)
	if err != nil {
		return err
	}
	defer c.leave()
	if err := sh.await(ctx, c, len(c.all)); err != nil {
		return err
	}
	err = sh.profiled(profile, func() error { return l.tell(ctx, sh, c, w, f, commits) })
	if err != nil {
		return err
	}
	return l.judge(ctx, db, c, func(int) int { return liveWatched }, f.rows)
}

// tell makes commits, each when all have received the one before and wait again.
func (l *following) tell(ctx context.Context, sh *shaper, c *crowd, w *writer, f *fan, commits int) error {
	used, err := sh.rest(ctx)
	if err != nil {
		return err
	}
	own := ownTime()
	for range commits {
		c.receipts()
		c.least.Store(w.serial + 1)
		w.forget()
		before := c.all[0].bytes()
		if err := w.write(ctx, [][]int{{liveOrders * liveWatched}}); err != nil {
			return err
		}
		if err := c.until(ctx, "all receipts", func() bool { return int(c.count.Load()) >= len(c.all) }); err != nil {
			return fmt.Errorf("%w: %d receipts", err, c.count.Load())
		}
		f.size = c.all[0].bytes() - before
		var took []time.Duration
		for i, got := range c.receipts() {
			if len(got) != 1 {
				l.wrong++
				l.say("  follower %d has received a change %d times", i, len(got))
				continue
			}
			took = append(took, max(0, time.Duration(got[0].at-w.ack(w.serial))))
		}
		if len(took) == 0 {
			return errors.New("no follower has received a change")
		}
		f.first, f.last = append(f.first, slices.Min(took)), append(f.last, slices.Max(took))
		f.each = append(f.each, took...)
		if err := sh.await(ctx, c, len(c.all)); err != nil {
			return err
		}
		if _, err := sh.rest(ctx); err != nil {
			return err
		}
	}
	after, err := sh.rest(ctx)
	if err != nil {
		return err
	}
	n := float64(commits * len(c.all))
	f.cost, f.own = append(f.cost, microseconds(after-used)/n), append(f.own, microseconds(ownTime()-own)/n)
	return nil
}

// bytes is the length of the messages that a follower keeps.
func (f *follower) bytes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.text)
}

// bareFan writes as many bytes to as many connections, and does nothing else.
func (l *following) bareFan(ctx context.Context, size, commits int) (cost, own float64, err error) {
	var addr string
	c, err := startChild(l.cpus.server, &addr, "fan", "-connections", itoa(l.followers))
	if err != nil {
		return 0, 0, err
	}
	defer c.close()
	var got atomic.Int64
	var readers sync.WaitGroup
	var conns []net.Conn
	defer readers.Wait()
	defer func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	for range l.followers {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return 0, 0, err
		}
		conns = append(conns, conn)
		readers.Go(func() {
			buf := make([]byte, 2<<10)
			for {
				n, err := conn.Read(buf)
				if err != nil {
					return
				}
				got.Add(int64(n))
			}
		})
	}
	if err := c.ask(nil, "accepted"); err != nil {
		return 0, 0, err
	}
	used, begin := timeOf(c.pid), ownTime()
	for n := range commits {
		if err := c.ask(nil, "write", itoa(size)); err != nil {
			return 0, 0, err
		}
		want := int64((n + 1) * size * l.followers)
		if err := until(ctx, func() bool { return got.Load() >= want }); err != nil {
			return 0, 0, err
		}
	}
	n := float64(commits * l.followers)
	return microseconds(timeOf(c.pid)-used) / n, microseconds(ownTime()-begin) / n, nil
}

// openFan is the other side of bareFan.
func openFan(_ context.Context, args []string, _ *slog.Logger) (any, served, func(), error) {
	want := 0
	if err := childFlags(args, func(f *flag.FlagSet) { f.IntVar(&want, "connections", 0, "") }); err != nil {
		return nil, nil, nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, nil, err
	}
	conns := make([]net.Conn, 0, want)
	accepted := make(chan error, 1)
	go func() {
		for len(conns) < want {
			conn, err := listener.Accept()
			if err != nil {
				accepted <- err
				return
			}
			conns = append(conns, conn)
		}
		accepted <- nil
	}()
	answer := func(_ context.Context, command string, args []string) (any, error) {
		switch command {
		case "accepted":
			return nil, <-accepted
		case "write":
			size, err := strconv.Atoi(args[0])
			if err != nil {
				return nil, err
			}
			text := make([]byte, size)
			for _, conn := range conns {
				if _, err := conn.Write(text); err != nil {
					return nil, err
				}
			}
			return nil, nil
		}
		return nil, fmt.Errorf("unknown command %q", command)
	}
	return listener.Addr().String(), answer, func() { _ = listener.Close() }, nil
}
