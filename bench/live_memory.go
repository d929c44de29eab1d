package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// weights measures what an idle follower takes.
func (l *following) weights(ctx context.Context, db *database) error {
	l.section("memory of the server with idle followers, after a collection")
	for i, k := range []struct {
		name   string
		path   func(customer int) string
		shared bool
		stream bool
		goal   float64
		sql    string
	}{
		{"followers of a table's shape by long polls", shapeOf, true, false, 8, tableRows},
		{"followers of a table's shape by event streams", shapeOf, true, true, 8, tableRows},
		{"followers of an endpoint by long polls", answerOf, true, false, 8, answerRows},
		{"followers of an endpoint by event streams", answerOf, true, true, 8, answerRows},
		// Of each a shape of its own: the figure of Electric's next server is 7 to 9.
		{"shapes of a table, each with a follower by long polls", shapeOf, false, false, 9, tableRows},
		{"answers, each with a follower by long polls", answerOf, false, false, 9, answerRows},
	} {
		customer := nth
		if k.shared {
			customer = func(int) int { return liveWatched }
		}
		all := make([]*follower, l.followers)
		for i := range all {
			all[i] = &follower{path: k.path(customer(i)), stream: k.stream}
		}
		each, err := l.weight(ctx, db, fmt.Sprintf("weight%d", i), k.name, all, customer, k.sql)
		if err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		l.verdict("KiB for each of the "+k.name, each, k.goal, false, "KiB")
	}
	return nil
}

func (l *following) weight(ctx context.Context, db *database, slot, name string, all []*follower, customer func(int) int, sql string) (each float64, err error) {
	sh, err := prepareShaper(ctx, db, "bench_"+slot)
	if err != nil {
		return 0, err
	}
	defer func() {
		sh.close()
		err = errors.Join(err, db.exec(context.WithoutCancel(ctx), "SELECT pg_drop_replication_slot('bench_"+slot+"')"))
	}()
	if err := sh.start(ctx, l.cpus.server); err != nil {
		return 0, err
	}
	// One first, so that what all share is there before.
	first, err := gather(ctx, sh.addr, []*follower{{path: all[0].path, stream: all[0].stream}})
	if err != nil {
		return 0, err
	}
	err = sh.await(ctx, first, 1)
	first.leave()
	if err != nil {
		return 0, err
	}
	if _, err := sh.rest(ctx); err != nil {
		return 0, err
	}
	var before, after weight
	if err := sh.ask(&before, "weigh"); err != nil {
		return 0, err
	}
	c, err := gather(ctx, sh.addr, all)
	if err != nil {
		return 0, err
	}
	defer c.leave()
	if err := sh.await(ctx, c, len(all)); err != nil {
		return 0, err
	}
	// What was made for newcomers is held for others for a while.
	rest := 25 * time.Second
	if l.short {
		rest = time.Second
	}
	if err := sleep(ctx, rest); err != nil {
		return 0, err
	}
	if _, err := sh.rest(ctx); err != nil {
		return 0, err
	}
	if err := sh.ask(&after, "weigh"); err != nil {
		return 0, err
	}
	if l.profiles != "" {
		if err := sh.ask(nil, "heap", filepath.Join(l.profiles, "live-"+slot+"-heap.pprof")); err != nil {
			return 0, err
		}
	}
	n := float64(len(all))
	l.say("  %d %s: %.1f MiB resident before, %.1f after; of each %.2f KiB of heap, %.2f KiB of stacks; %d goroutines", len(all), name,
		float64(before.Resident)/(1<<20), float64(after.Resident)/(1<<20), float64(after.Heap-before.Heap)/n/1024,
		float64(after.Stacks-before.Stacks)/n/1024, after.Goroutines)
	if err := l.judge(ctx, db, c, customer, sql); err != nil {
		return 0, err
	}
	return float64(after.Resident-before.Resident) / n / 1024, nil
}
