package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tidemarkdb/tidemark/internal/query"
)

// board is the link board of lobsters: schema, rows and endpoints.
//
//go:embed lobsters
var board embed.FS

// Sizes of the board, as lobsters/load.sql makes it.
const (
	boardUsers    = 3000
	boardStories  = 10_000
	boardComments = 60_000
)

const (
	boardSkew   = 1.15 // of the Zipf distribution
	boardWrites = 5    // percent
)

// boardPages are what visitors open, and how often, in percent: the front page,
// a story with its discussion, somebody's page, the latest comments. A page is
// one or two reads.
var boardPages = []struct {
	share     int
	endpoints []string
}{
	{30, []string{"front"}},
	{45, []string{"story", "comments"}},
	{15, []string{"user", "user_stories"}},
	{10, []string{"recent"}},
}

// lobsters is one measurement.
type lobsters struct {
	*sitting
	files   map[string]*query.File
	db      *database
	pool    *pgxpool.Pool // of the application: its writes, and its reads without tidemark
	tide    *instance
	newest  atomic.Int64 // story
	comment atomic.Int64
	submit  sync.Mutex // stories become visible in the order of their numbers
	mu      sync.Mutex
	asked   map[string]*ask
	missed  map[string][]time.Duration // by endpoint, in all turns of tidemark
	hits    map[string]int
}

// runLobsters has visitors read and write, through tidemark and without it, by
// turns.
func runLobsters(ctx context.Context, s *sitting) error {
	if s.short {
		s.rounds, s.duration, s.connections = 2, time.Second, min(s.connections, 16)
	}
	l := &lobsters{sitting: s, asked: map[string]*ask{}, missed: map[string][]time.Duration{}, hits: map[string]int{}}
	l.newest.Store(boardStories)
	l.comment.Store(boardComments)
	path, remove, err := program(ctx, s)
	if err != nil {
		return err
	}
	defer remove()
	defer l.close()
	cpus, restore, err := pinned(s)
	if err != nil {
		return err
	}
	defer restore()
	if err := l.open(ctx, path, cpus.server); err != nil {
		return err
	}
	return l.tide.alive(l.measure(ctx))
}

func (l *lobsters) open(ctx context.Context, path string, cpus []int) error {
	schema, err := board.ReadFile("lobsters/schema.sql")
	if err != nil {
		return err
	}
	rows, err := board.ReadFile("lobsters/load.sql")
	if err != nil {
		return err
	}
	settings := map[string]string{"max_connections": strconv.Itoa(l.connections + 50)}
	if l.db, err = openCounted(ctx, l.sitting, settings, string(schema), string(rows)); err != nil {
		return err
	}
	if err := confine(l.db.server.PID(), cpus); err != nil {
		return err
	}
	texts, files, err := readEndpoints(board, "lobsters/endpoints")
	if err != nil {
		return err
	}
	l.files = files
	if l.tide, err = startInstance(ctx, launch{program: path, cpus: cpus, dsn: l.db.dsn, slot: "bench", endpoints: texts}); err != nil {
		return err
	}
	l.pool, err = l.db.pool(ctx, l.connections)
	return err
}

func (l *lobsters) close() {
	if l.pool != nil {
		l.pool.Close()
	}
	if l.tide != nil {
		l.tide.close()
	}
	if l.db != nil {
		l.db.close()
	}
}

// turn lets visitors come for a while, whose reads are made as open says.
func (l *lobsters) turn(ctx context.Context, seed int, server []int, open func(*visitor) (closing func())) (*turn, error) {
	visitors := make([]*visitor, l.connections)
	for i := range visitors {
		visitors[i] = l.visitor(uint64(1000*seed + i))
		defer open(visitors[i])()
	}
	if err := visit(ctx, warmUp, visitors); err != nil {
		return nil, err
	}
	for _, v := range visitors {
		v.took, v.wrote = nil, 0
		v.missed, v.hits = map[string][]time.Duration{}, map[string]int{}
	}
	cpu := newMeter(server...)
	before, err := cpu.read()
	if err != nil {
		return nil, err
	}
	own, begin := ownTime(), time.Now()
	if err := visit(ctx, l.duration, visitors); err != nil {
		return nil, err
	}
	t := &turn{elapsed: time.Since(begin), generator: ownTime() - own}
	after, err := cpu.read()
	if err != nil {
		return nil, err
	}
	t.server = after - before
	wrote := 0
	for _, v := range visitors {
		t.latencies = append(t.latencies, v.took...)
		wrote += v.wrote
	}
	slices.Sort(t.latencies)
	t.requests = len(t.latencies)
	t.note = fmt.Sprintf("  %.1f %% writes", share(wrote, wrote+t.requests))
	if t.requests == 0 || t.server == 0 {
		return nil, errors.New("the turn was too short to count anything")
	}
	return t, nil
}

// boardWarm is how many pages are opened before anything counts: what a cache
// holds that has run for a while.
const boardWarm = 40_000

// warm opens pages through tidemark while nobody writes.
func (l *lobsters) warm(ctx context.Context) error {
	const visitors = 8
	pages := boardWarm / visitors
	if l.short {
		pages /= 10
	}
	var all sync.WaitGroup
	errs := make([]error, visitors)
	for i := range visitors {
		v := l.visitor(uint64(i))
		leave := l.throughTidemark(v)
		all.Go(func() {
			for n := 0; n < pages && errs[i] == nil; n++ {
				errs[i] = v.page(ctx)
			}
			v.missed, v.hits = nil, nil // these do not count
			leave()
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// visit has every visitor go on until the time is over or one fails.
func visit(ctx context.Context, d time.Duration, visitors []*visitor) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	start := time.Now()
	for _, v := range visitors {
		all.Go(func() {
			for time.Since(start) < d && ctx.Err() == nil {
				if err := v.step(ctx); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

func (l *lobsters) measure(ctx context.Context) error {
	l.say("load      %d visitors; Zipf with exponent %v; %d %% of the requests are writes, in SQL", l.connections, boardSkew, boardWrites)
	if err := l.warm(ctx); err != nil {
		return err
	}
	l.section("rounds: reads")
	// Both contenders are visited by the same people in a round.
	var seeds [2]int
	postgres := l.db.server.PID()
	turns, err := alternate(ctx, l.sitting, []contender{
		{"tidemark", func(ctx context.Context) (*turn, error) {
			seeds[0]++
			return l.turn(ctx, seeds[0], []int{l.tide.pid, postgres}, l.throughTidemark)
		}},
		{"postgres alone", func(ctx context.Context) (*turn, error) {
			seeds[1]++
			return l.turn(ctx, seeds[1], []int{postgres}, l.throughPostgres)
		}},
	})
	if err != nil {
		return err
	}
	l.endpoints()
	l.section("ratios, medians over the rounds")
	mine, theirs := turns["tidemark"], turns["postgres alone"]
	l.fact("reads per second, to postgres alone", ratioOf(mine, theirs, (*turn).perSecond), "×")
	l.fact("reads per CPU-second of all servers, to postgres alone", ratioOf(mine, theirs, (*turn).perCPUSecond), "×")
	l.fact("p50, to postgres alone", ratioOf(mine, theirs, p50), "×")
	l.fact("p99, to postgres alone", ratioOf(mine, theirs, p99), "×")
	return l.check(ctx)
}

// endpoints says how each fared.
func (l *lobsters) endpoints() {
	l.section("through tidemark, by endpoint")
	hits, reads := 0, 0
	for _, page := range boardPages {
		for _, name := range page.endpoints {
			missed := l.missed[name]
			slices.Sort(missed)
			n := l.hits[name] + len(missed)
			l.say("  %-14s %8d reads  %5.1f %% hits  a miss: p50 %7.3f ms  p99 %7.3f ms", name, n, share(l.hits[name], n),
				milliseconds(quantile(missed, 0.5)), milliseconds(quantile(missed, 0.99)))
			hits, reads = hits+l.hits[name], reads+n
		}
	}
	l.fact("hits", share(hits, reads), "%")
}

// check holds every answer that was asked for against Postgres.
func (l *lobsters) check(ctx context.Context) error {
	o, err := openOracle(ctx, l.db.dsn, l.files)
	if err != nil {
		return err
	}
	defer o.close()
	token, err := l.db.text(ctx, "SELECT tidemark.token()")
	if err != nil {
		return err
	}
	var asks []*ask
	for _, a := range l.asked {
		asks = append(asks, a)
	}
	asks = fresh(asks, token)
	w, err := newSweeper(l.tide.addr, 4, asks)
	if err != nil {
		return err
	}
	defer w.close()
	var hits atomic.Int64
	if err := w.sweep(func(_ *ask, s seen) {
		if s.hit {
			hits.Add(1)
		}
	}); err != nil {
		return err
	}
	wrong, err := o.differing(ctx, asks)
	if err != nil {
		return err
	}
	l.section("at the end")
	l.say("  %d answers compared with Postgres, %d of them from memory", len(asks), hits.Load())
	l.verdict("answers that differ", float64(len(wrong)), 0, false, "")
	if len(wrong) > 0 {
		return fmt.Errorf("%d answers differ from Postgres:\n%s", len(wrong), wrong[0])
	}
	return nil
}
