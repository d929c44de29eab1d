package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// following is one measurement of what it takes to follow.
type following struct {
	*sitting
	cpus      layout
	followers int // of one shape
	shapes    int // at most
	compared  int // followers, with Postgres
	wrong     int
}

// runLive follows tables and endpoints.
func runLive(ctx context.Context, s *sitting) error {
	l := &following{sitting: s, followers: liveCustomers, shapes: liveCustomers}
	if s.short {
		l.followers, l.shapes, s.rounds = 1000, 1000, min(s.rounds, 2)
	}
	cpus, restore, err := pinned(s)
	if err != nil {
		return err
	}
	defer restore()
	l.cpus = cpus
	// With one CPU and many followers, the collections of this process would be
	// seen in every figure.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	if err := l.latencies(ctx); err != nil {
		return err
	}
	// What follows is about tidemark's part of many commits, not about the disk.
	db, err := openDatabase(ctx, s, map[string]string{"fsync": "off", "max_wal_size": "8GB"}, liveSchema(liveCustomers)...)
	if err != nil {
		return err
	}
	defer db.close()
	if err := db.settle(ctx); err != nil {
		return err
	}
	if err := confine(db.server.PID(), cpus.server); err != nil {
		return err
	}
	for _, part := range []func(context.Context, *database) error{l.rates, l.fans, l.weights} {
		if err := part(ctx, db); err != nil {
			return err
		}
	}
	l.section("at the end")
	l.say("  %d times a follower's rows were compared with Postgres", l.compared)
	l.verdict("followers whose rows differ", float64(l.wrong), 0, false, "")
	if l.wrong > 0 {
		return errors.New("followers differ from Postgres")
	}
	return nil
}

// judge compares followers who have everything.
func (l *following) judge(ctx context.Context, db *database, c *crowd, customer func(int) int, sql string) error {
	wrong, first, err := judge(ctx, db, c.all, customer, sql)
	l.compared += len(c.all)
	l.wrong += wrong
	if wrong > 0 {
		l.say("  %d of %d followers differ from Postgres: %s", wrong, len(c.all), first)
	}
	return err
}

// nth returns a customer for each of some followers, in order.
func nth(i int) int { return 1 + i }

func count(n int, what string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, what)
	}
	return fmt.Sprintf("%d %ss", n, what)
}
