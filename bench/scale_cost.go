package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// costs compares what one change costs the two servers. Each change is an update
// of one row.
func (sc *scale) costs(ctx context.Context, changes int) error {
	hot, at := sc.few.owners, 0
	if err := sc.costsOf(ctx, costKind{
		name: "touching none", changes: changes,
		owner: func(n int) int { return sc.owners + 1 + n%scaleSpare },
	}); err != nil {
		return err
	}
	// Fewer, because what they ended has to be computed again. No row comes twice in
	// between: the second time it would touch nothing.
	if err := sc.costsOf(ctx, costKind{
		name: "touching what is kept about an item", changes: changes / 10, each: hot * scaleTables,
		owner: func(n int) int { return 1 + n%hot }, few: true, many: true,
	}); err != nil {
		return err
	}
	// A stride that has no factor in common with the owners goes round all of them.
	const step = 7919
	return sc.costsOf(ctx, costKind{
		name: "touching what is kept about an item of any owner, with many answers only", changes: changes / 10, each: hot * scaleTables,
		owner: func(n int) int { return 1 + (at+n)*step%sc.owners },
		next:  func() { at += hot }, many: true,
	})
}

// costKind is a kind of change.
type costKind struct {
	name    string
	changes int
	each    int           // changes until answers that were lost are filled again; 0: none is
	owner   func(int) int // whose item the n-th is about, ten of different tables each
	next    func()
	// few and many say which server loses answers.
	few, many bool
}

func (sc *scale) costsOf(ctx context.Context, k costKind) error {
	sc.section(fmt.Sprintf("%d changes, %s", k.changes, k.name))
	var cost [2][]float64
	for round := range sc.rounds {
		var used [2]time.Duration
		done := 0
		for done < k.changes {
			n := k.changes
			if k.each > 0 {
				n = min(n, k.each)
			}
			took, err := sc.change(ctx, n, k.owner)
			if err != nil {
				return err
			}
			used[0], used[1] = used[0]+took[0], used[1]+took[1]
			done += n
			if err := sc.refill(ctx, k, n/scaleTables); err != nil {
				return err
			}
		}
		for i := range used {
			cost[i] = append(cost[i], float64(used[i].Nanoseconds())/float64(done)/1000)
		}
		sc.say("  %d  a change: %6.2f µs of CPU with %d answers, %6.2f µs with %d", round+1, cost[0][round], sc.few.answers(), cost[1][round], sc.many.answers())
	}
	sc.say("     medians: %.2f µs with %d answers, %.2f µs with %d", median(cost[0]), sc.few.answers(), median(cost[1]), sc.many.answers())
	switch {
	case k.few == k.many:
		sc.verdict("cost with many answers, to that with few", median(ratios(cost[1], cost[0])), 1.5, false, "×")
		sc.touching = median(cost[0])
	default:
		sc.fact("cost with many answers, to that of touching with few", median(cost[1])/sc.touching, "×")
	}
	return nil
}

// refill has what the owners' changes ended computed again.
func (sc *scale) refill(ctx context.Context, k costKind, owners int) error {
	for _, s := range []*scaled{sc.few, sc.many} {
		if s == sc.few && !k.few || s == sc.many && !k.many {
			continue
		}
		conn, err := dialPipe(s.addr)
		if err != nil {
			return err
		}
		for n := range owners {
			if err = conn.get(sc.about(k.owner(n)), func(*ask, seen) {}); err != nil {
				break
			}
		}
		conn.close()
		if err != nil {
			return err
		}
	}
	if k.next != nil {
		k.next()
	}
	return nil
}

// change makes changes and returns the CPU time that either server spent on them,
// with all that they set going: a collection of garbage counts for the changes
// during which it begins, as long as it may take.
func (sc *scale) change(ctx context.Context, n int, owner func(int) int) (used [2]time.Duration, err error) {
	both := [2]*scaled{sc.few, sc.many}
	for i, s := range both {
		begin, err := s.quiet(ctx)
		if err != nil {
			return used, err
		}
		used[i] = -begin
	}
	var token string
	for at := 0; at < n; at += scaleEach {
		batch := &pgx.Batch{}
		for i := at; i < min(at+scaleEach, n); i++ {
			sc.serial++
			batch.Queue(fmt.Sprintf("UPDATE items%d SET amount = $2, status = CASE status WHEN 'open' THEN 'paid' ELSE 'open' END WHERE id = $1", i%scaleTables),
				owner(i/scaleTables), sc.serial)
		}
		batch.Queue("SELECT tidemark.token()").QueryRow(func(r pgx.Row) error { return r.Scan(&token) })
		if err := sc.conn.SendBatch(ctx, batch).Close(); err != nil {
			return used, err
		}
	}
	for i, s := range both {
		conn := newHTTPConn(s.addr)
		err := await(conn, token)
		conn.close()
		if err != nil {
			return used, err
		}
		end, err := s.quiet(ctx)
		if err != nil {
			return used, err
		}
		used[i] += end
	}
	return used, nil
}

// quiet waits until a server has nothing left to do, and returns the CPU time that
// it has used up to then.
func (s *scaled) quiet(ctx context.Context) (time.Duration, error) {
	const (
		while = 10 * time.Millisecond
		idle  = while / 20 // what it uses in that time to keep its connections
	)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for used := timeOf(s.pid); ; {
		if err := sleep(ctx, while); err != nil {
			return 0, fmt.Errorf("%s comes to no rest: %w", s.name, err)
		}
		now := timeOf(s.pid)
		if now-used <= idle {
			return used, nil
		}
		used = now
	}
}
