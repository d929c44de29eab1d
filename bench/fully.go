package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// runFully asks for a thousand answers that hold everything acknowledged so far.
// How much that saves depends on what the query costs, so there are two of them.
func runFully(ctx context.Context, s *sitting) error {
	db, err := openDatabase(ctx, s, nil, shopSchema...)
	if err != nil {
		return err
	}
	defer db.close()
	if err := db.settle(ctx); err != nil {
		return err
	}
	cpus, restore, err := pinned(s)
	if err != nil {
		return err
	}
	defer restore()
	if err := confine(db.server.PID(), cpus.server); err != nil {
		return err
	}
	questions := []*question{latest, report}
	t, err := startTide(ctx, cpus.server, db, "bench_fully", endpoints(questions...))
	if err != nil {
		return err
	}
	defer t.close()
	pool, err := db.pool(ctx, s.connections)
	if err != nil {
		return err
	}
	defer pool.Close()
	s.say("writer    %d commits a second, to rows that nobody asks for", gentle)
	for _, q := range questions {
		if err := fullyOf(ctx, s, q, db, t, pool); err != nil {
			return err
		}
	}
	return nil
}

func fullyOf(ctx context.Context, s *sitting, q *question, db *database, t *tide, pool *pgxpool.Pool) error {
	pages, _, err := q.pages(t.addr, "Tidemark-Consistency: fully_consistent\r\n")
	if err != nil {
		return err
	}
	// What tidemark asks of Postgres is part of what its answers cost.
	tidemark, postgres := t.counted(httpTurn(s, t.addr, pages, t.pid, db.server.PID())), q.queryTurn(s, db, pool)
	s.section(fmt.Sprintf("%s: %s; %d answers of %d bytes", q.name, q.about, len(pages), pages[0].length))
	turns, err := alternate(ctx, s, []contender{
		{"tidemark", tidemark},
		{"postgres through pgx", postgres},
		{"tidemark, writer", db.besideWriter(tidemark)},
		{"postgres through pgx, writer", db.besideWriter(postgres)},
	})
	if err != nil {
		return err
	}
	s.section(q.name + ": ratios, medians over the rounds")
	for _, kind := range []string{"", ", writer"} {
		mine, other := turns["tidemark"+kind], turns["postgres through pgx"+kind]
		s.verdict("answers per second, to postgres through pgx"+kind, ratioOf(mine, other, (*turn).perSecond), 10, true, "×")
		s.fact("answers per CPU-second of all servers"+kind, ratioOf(mine, other, (*turn).perCPUSecond), "×")
		s.fact("p99"+kind, ratioOf(mine, other, p99), "×")
	}
	if err := s.profile(ctx, t, "fully-"+q.name, tidemark); err != nil {
		return err
	}
	return s.profile(ctx, t, "fully-"+q.name+"-writer", db.besideWriter(tidemark))
}

// counted adds to a turn how many answers shared one question to the primary. It
// fails when more than a few were no hits.
func (t *tide) counted(run func(context.Context) (*turn, error)) func(context.Context) (*turn, error) {
	return func(ctx context.Context) (*turn, error) {
		before, err := t.figures()
		if err != nil {
			return nil, err
		}
		done, err := run(ctx)
		if err != nil {
			return nil, err
		}
		after, err := t.figures()
		if err != nil {
			return nil, err
		}
		if missed := after.Misses - before.Misses; missed > int64(done.requests/100) {
			return nil, fmt.Errorf("%d of %d answers were no hits", missed, done.requests)
		}
		done.note = fmt.Sprintf(", answers to a question %.1f", float64(after.Hits-before.Hits)/float64(max(1, after.Questions-before.Questions)))
		return done, nil
	}
}

// gentle is how many commits a second the writer makes.
const gentle = 100

// besideWriter runs a turn while somebody writes to the accounts that nobody
// asks for.
func (db *database) besideWriter(run func(context.Context) (*turn, error)) func(context.Context) (*turn, error) {
	return func(ctx context.Context) (*turn, error) {
		writing, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- db.write(writing) }()
		t, err := run(ctx)
		stop()
		return t, errors.Join(err, <-done)
	}
}

func (db *database) write(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, db.dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	tick := time.NewTicker(time.Second / gentle)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		// An order of an account above shopAsked.
		id := rand.IntN(shopOrders)*shopAccounts + shopAsked + rand.IntN(shopAccounts-shopAsked)
		if _, err := conn.Exec(ctx, "UPDATE orders SET total = total + 1 WHERE id = $1", id); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}
