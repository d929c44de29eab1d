package main

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
)

// runHit asks for a thousand cached answers over and over.
func runHit(ctx context.Context, s *sitting) error {
	db, err := openDatabase(ctx, s, nil, shopSchema...)
	if err != nil {
		return err
	}
	defer db.close()
	if err := db.settle(ctx); err != nil {
		return err
	}
	program, version, noNginx := findNginx(ctx, s)
	if noNginx == nil {
		s.say("nginx     %s", version)
	}
	cpus, restore, err := pinned(s)
	if err != nil {
		return err
	}
	defer restore()
	if err := confine(db.server.PID(), cpus.server); err != nil {
		return err
	}
	t, err := startTide(ctx, cpus.server, db, "bench_hit", endpoints(latest))
	if err != nil {
		return err
	}
	defer t.close()
	pages, bodies, err := latest.pages(t.addr, "")
	if err != nil {
		return err
	}
	s.say("answers   %d, of %d bytes: %s", len(pages), pages[0].length, latest.about)
	tidemark := httpTurn(s, t.addr, pages, t.pid)
	contenders := []contender{{"tidemark", tidemark}}
	if noNginx == nil {
		n, err := startNginx(ctx, program, cpus.server, max(1, len(cpus.server)), bodies)
		if err != nil {
			return err
		}
		defer n.close()
		if err := n.fill(pages, bodies); err != nil {
			return err
		}
		contenders = append(contenders,
			contender{asShipped, n.turn(s, n.shipped, pages)},
			contender{quiet, n.turn(s, n.quiet, pages)},
			contender{tuned, n.turn(s, n.tuned, pages)})
	}
	pool, err := db.pool(ctx, s.connections)
	if err != nil {
		return err
	}
	defer pool.Close()
	contenders = append(contenders, contender{"postgres through pgx", latest.queryTurn(s, db, pool)})

	s.section("rounds")
	before, err := t.figures()
	if err != nil {
		return err
	}
	turns, err := alternate(ctx, s, contenders)
	if err != nil {
		return err
	}
	after, err := t.figures()
	if err != nil {
		return err
	}
	s.say("     tidemark had %d hits and %d misses", after.Hits-before.Hits, after.Misses-before.Misses)

	s.section("ratios, medians over the rounds")
	mine, pg := turns["tidemark"], turns["postgres through pgx"]
	if noNginx == nil {
		s.verdict("hits per CPU-second, to "+asShipped, ratioOf(mine, turns[asShipped], (*turn).perCPUSecond), 1, true, "×")
		s.fact("hits per CPU-second, to "+quiet, ratioOf(mine, turns[quiet], (*turn).perCPUSecond), "×")
		s.fact("hits per CPU-second, to "+tuned, ratioOf(mine, turns[tuned], (*turn).perCPUSecond), "×")
		s.fact("p50, to "+asShipped, ratioOf(mine, turns[asShipped], p50), "×")
		s.fact("p99, to "+asShipped, ratioOf(mine, turns[asShipped], p99), "×")
	} else {
		s.say("  skipped: nginx: %v", noNginx)
	}
	s.fact("answers per CPU-second, to postgres through pgx", ratioOf(mine, pg, (*turn).perCPUSecond), "×")
	s.fact("answers per second, to postgres through pgx", ratioOf(mine, pg, (*turn).perSecond), "×")
	return s.profile(ctx, t, "hit", tidemark)
}

// The ways in which nginx is set up.
const (
	asShipped = "nginx as shipped"
	quiet     = "nginx without access log"
	tuned     = "nginx with open_file_cache"
)

func p50(t *turn) float64 { return milliseconds(quantile(t.latencies, 0.5)) }
func p99(t *turn) float64 { return milliseconds(quantile(t.latencies, 0.99)) }

// profile takes one more turn, which does not count, with the profiler on.
func (s *sitting) profile(ctx context.Context, t *tide, name string, f func(context.Context) (*turn, error)) error {
	if s.profiles == "" {
		return nil
	}
	path, err := filepath.Abs(filepath.Join(s.profiles, name+".pprof"))
	if err != nil {
		return err
	}
	s.say("profile   %s", path)
	return t.child.profile(path, func() error {
		_, err := f(ctx)
		return err
	})
}

// fill makes nginx store every page, and holds what it says to what tidemark said.
func (n *nginx) fill(pages []page, bodies map[string][]byte) error {
	for _, addr := range []string{n.shipped, n.quiet, n.tuned} {
		conn := newHTTPConn(addr)
		for i := range pages {
			r, err := conn.get(pages[i].request)
			if err != nil {
				return err
			}
			if want := bodies[pages[i].path]; r.status != 200 || !bytes.Equal(r.body, want) {
				return fmt.Errorf("nginx: %w: %s%s", errResponse, r.head, r.body)
			}
		}
		conn.close()
	}
	return nil
}

// turn is one turn of nginx, which must not ask its upstream for anything.
func (n *nginx) turn(s *sitting, addr string, pages []page) func(context.Context) (*turn, error) {
	loaded := httpTurn(s, addr, pages, n.cmd.Process.Pid)
	return func(ctx context.Context) (*turn, error) {
		before := n.asked.Load()
		t, err := loaded(ctx)
		if asked := n.asked.Load() - before; err == nil && asked > 0 {
			return nil, fmt.Errorf("%d answers were not cached", asked)
		}
		return t, err
	}
}
