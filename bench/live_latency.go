package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// liveWatched is the customer whose order is written.
const liveWatched = 7

// liveGoal bounds the time from a commit to its receipt.
const liveGoal = 6 // ms

// shapeOf and answerOf are the addresses of a customer's shapes.
func shapeOf(customer int) string {
	return fmt.Sprintf("/v1/shape?table=orders&where=customer_id%%20%%3D%%20%%241&params%%5B1%%5D=%d", customer)
}

func answerOf(customer int) string { return fmt.Sprintf("/v1/customers/%d/latest?", customer) }

// latencies measures the time from one commit at a time to its receipt.
func (l *following) latencies(ctx context.Context) error {
	db, err := openDatabase(ctx, l.sitting, nil, liveSchema(100)...)
	if err != nil {
		return err
	}
	defer db.close()
	if err := db.settle(ctx); err != nil {
		return err
	}
	if err := confine(db.server.PID(), l.cpus.server); err != nil {
		return err
	}
	sh, err := prepareShaper(ctx, db, "bench_latency")
	if err != nil {
		return err
	}
	defer sh.close()
	commits := l.commits
	if l.short {
		commits = min(commits, 100)
	}
	l.section("from the acknowledgement of a commit to its receipt, in milliseconds")
	l.say("  %d commits in a turn, synchronous, one at a time, up to 5 ms apart", commits)
	type way struct {
		name   string
		path   string // none: the loop that only decodes
		stream bool
		rows   string
	}
	ways := []way{
		{"table, event stream", shapeOf(liveWatched), true, tableRows},
		{"table, long poll", shapeOf(liveWatched), false, tableRows},
		{"endpoint, event stream", answerOf(liveWatched), true, answerRows},
		{"endpoint, long poll", answerOf(liveWatched), false, answerRows},
		{"bare loop that decodes", "", false, ""},
	}
	all := map[string]*delays{}
	followers := map[string]*follower{}
	for round := range l.rounds {
		for _, w := range ways {
			var d *delays
			var err error
			if w.path == "" {
				d, err = l.toDecoder(ctx, db, commits)
			} else {
				f := followers[w.name]
				if f == nil {
					f = &follower{path: w.path, stream: w.stream}
					followers[w.name] = f
				}
				d, err = l.toFollower(ctx, db, sh, f, commits, w.rows)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			l.say("  %d  %-24s %s", round+1, w.name, describe(d.applied))
			sum := all[w.name]
			if sum == nil {
				sum = &delays{}
				all[w.name] = sum
			}
			sum.commit, sum.applied = append(sum.commit, d.commit...), append(sum.applied, d.applied...)
		}
	}
	l.say("  all rounds together; what came before the acknowledgement counts as 0")
	bare := all[ways[len(ways)-1].name]
	for _, w := range ways {
		d := all[w.name]
		l.fact(w.name+", p50", clamped(d.applied, 0.5), "ms")
		if w.path == "" {
			l.fact(w.name+", p99", clamped(d.applied, 0.99), "ms")
			continue
		}
		l.verdict(w.name+", p99", clamped(d.applied, 0.99), liveGoal, false, "ms")
		l.fact("  begin of commit to receipt, to the bare loop, p50", whole(d, 0.5)/whole(bare, 0.5), "×")
		l.fact("  begin of commit to receipt, to the bare loop, p99", whole(d, 0.99)/whole(bare, 0.99), "×")
	}
	return nil
}

// one makes one commit after the other. seen returns when what follows the log had
// got it.
func (l *following) one(ctx context.Context, db *database, commits int, seen func(serial int64, begin time.Time) (time.Time, error)) (*delays, error) {
	w, err := openWriter(ctx, db)
	if err != nil {
		return nil, err
	}
	defer w.close()
	if err := db.admin.QueryRow(ctx, "SELECT max(serial) FROM orders").Scan(&w.serial); err != nil {
		return nil, err
	}
	w.forget()
	d := &delays{}
	const unmeasured = 20
	for n := range commits + unmeasured {
		if err := sleep(ctx, rand.N(5*time.Millisecond)); err != nil {
			return nil, err
		}
		began := time.Now()
		if err := w.write(ctx, [][]int{{liveOrders * liveWatched}}); err != nil {
			return nil, err
		}
		at, err := seen(w.serial, began)
		if err != nil {
			return nil, err
		}
		if n < unmeasured {
			continue
		}
		begin, ack := origin.Add(time.Duration(w.begin(w.serial))), origin.Add(time.Duration(w.ack(w.serial)))
		d.commit = append(d.commit, ack.Sub(begin))
		d.applied = append(d.applied, at.Round(0).Sub(ack.Round(0)))
	}
	return d, nil
}

func (l *following) toFollower(ctx context.Context, db *database, sh *shaper, f *follower, commits int, rows string) (_ *delays, err error) {
	if err := sh.start(ctx, l.cpus.server); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sh.stop()) }()
	c, err := gather(ctx, sh.addr, []*follower{f})
	if err != nil {
		return nil, err
	}
	defer c.leave()
	if err := sh.await(ctx, c, 1); err != nil {
		return nil, err
	}
	c.least.Store(0)
	d, err := l.one(ctx, db, commits, func(serial int64, _ time.Time) (time.Time, error) {
		if err := c.until(ctx, "a receipt", func() bool { return f.last.Load() >= serial }); err != nil {
			return time.Time{}, err
		}
		got := c.receipts()[0]
		return origin.Add(time.Duration(got[len(got)-1].at)), nil
	})
	if err != nil {
		return nil, err
	}
	return d, l.judge(ctx, db, c, func(int) int { return liveWatched }, rows)
}

func (l *following) toDecoder(ctx context.Context, db *database, commits int) (*delays, error) {
	c, err := startChild(l.cpus.server, nil, "decode", "-database", db.dsn, "-slot", "bench_decode")
	if err != nil {
		return nil, err
	}
	defer c.close()
	return l.one(ctx, db, commits, func(_ int64, begin time.Time) (time.Time, error) {
		return appliedAfter(ctx, c, begin)
	})
}
