package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/query"
)

// The database of scale: ten tables of items that belong to owners, five
// endpoints over each.
const (
	scaleTables   = 10
	scaleKinds    = 5
	scaleMemory   = 16 // GiB: nothing is evicted
	scaleChanges  = 20_000
	scaleEach     = 100 // changes to a transaction
	scaleSpare    = 1000
	scalePerOwner = 2
)

// scaleEndpoints are small answers of the kinds that applications have most of.
func scaleEndpoints() map[string]string {
	out := map[string]string{"settled.sql": "-- GET /v1/settled\nSELECT id FROM settled\n"}
	for t := range scaleTables {
		for name, sql := range map[string]string{
			"one":    "-- GET /v1/t%[1]d/one/{id}\n-- result: one\nSELECT id, owner_id, status, amount FROM items%[1]d WHERE id = :id\n",
			"list":   "-- GET /v1/t%[1]d/list/{id}\nSELECT id, status, at FROM items%[1]d WHERE owner_id = :id ORDER BY at DESC, id DESC LIMIT 5\n",
			"open":   "-- GET /v1/t%[1]d/open/{id}\nSELECT id, amount FROM items%[1]d WHERE owner_id = :id AND status = 'open' ORDER BY id\n",
			"count":  "-- GET /v1/t%[1]d/count/{id}\n-- result: one\nSELECT count(*) AS n, sum(amount) AS amount FROM items%[1]d WHERE owner_id = :id\n",
			"joined": "-- GET /v1/t%[1]d/joined/{id}\nSELECT i.id, i.status, o.name FROM items%[1]d i JOIN owners o ON o.id = i.owner_id WHERE i.owner_id = :id ORDER BY i.id\n",
		} {
			out[fmt.Sprintf("t%d_%s.sql", t, name)] = fmt.Sprintf(sql, t)
		}
	}
	return out
}

// scaleSchema has, beyond the owners that are asked for, some that are only
// written to.
func scaleSchema(owners int) []string {
	out := []string{
		"CREATE TABLE settled (id int PRIMARY KEY)", "INSERT INTO settled VALUES (1)",
		"CREATE TABLE owners (id int PRIMARY KEY, name text NOT NULL)",
		fmt.Sprintf("INSERT INTO owners SELECT n, 'owner ' || n FROM generate_series(1, %d) n", owners+scaleSpare),
	}
	for t := range scaleTables {
		out = append(out,
			fmt.Sprintf("CREATE TABLE items%d (id int PRIMARY KEY, owner_id int NOT NULL, status text NOT NULL, amount int NOT NULL, note text NOT NULL, at timestamptz NOT NULL)", t),
			// The first item of an owner has its number.
			fmt.Sprintf(`INSERT INTO items%d SELECT n, 1 + (n - 1) %% %d, (ARRAY['open','paid'])[1 + n %% 2], n %% 100, 'note ' || n,
				'2026-01-01'::timestamptz + n * interval '1 minute' FROM generate_series(1, %d) n`, t, owners+scaleSpare, scalePerOwner*(owners+scaleSpare)),
			fmt.Sprintf("CREATE INDEX ON items%d (owner_id)", t))
	}
	return out
}

// scale is one measurement.
type scale struct {
	*sitting
	owners int // that are asked for by the larger server
	db     *database
	conn   *pgx.Conn
	files  map[string]*query.File
	few    *scaled
	many   *scaled
	serial int // of changes
}

// scaled is a server with a number of answers.
type scaled struct {
	*instance
	name   string
	owners int
	bodies int64 // bytes of all answers
}

func (s *scaled) answers() int { return s.owners * scaleTables * scaleKinds }

// runScale keeps two servers that follow the same log at the same time, one with
// a thousand answers and one with a million.
func runScale(ctx context.Context, s *sitting) (err error) {
	sc := &scale{sitting: s, owners: s.answers / (scaleTables * scaleKinds)}
	changes := scaleChanges
	if s.short {
		sc.owners, changes = 200, 2000
	}
	path, remove, err := program(ctx, s)
	if err != nil {
		return err
	}
	defer remove()
	defer func() { sc.close() }()
	if err := sc.open(ctx, path); err != nil {
		return err
	}
	if err := sc.fill(ctx); err != nil {
		return sc.many.alive(err)
	}
	return sc.measure(ctx, changes)
}

func (sc *scale) open(ctx context.Context, path string) (err error) {
	texts := scaleEndpoints()
	if sc.files, err = parseEndpoints(texts); err != nil {
		return err
	}
	if sc.db, err = openCounted(ctx, sc.sitting, map[string]string{"fsync": "off"}, scaleSchema(sc.owners)...); err != nil {
		return err
	}
	if sc.conn, err = sc.db.application(ctx); err != nil {
		return err
	}
	settings := append([]string{fmt.Sprintf("--cache.max-memory=%dGiB", scaleMemory), "--consistency.gc-window=1s"}, withoutRefill(ctx, path)...)
	for _, at := range []struct {
		name   string
		owners int
		to     **scaled
	}{{"few", min(few/(scaleTables*scaleKinds), sc.owners), &sc.few}, {"many", sc.owners, &sc.many}} {
		in, err := startInstance(ctx, launch{
			program: path, dsn: sc.db.dsn, slot: "bench_" + at.name, endpoints: texts, settings: settings,
			environment: []string{"GODEBUG=gctrace=1"},
		})
		if err != nil {
			return err
		}
		*at.to = &scaled{instance: in, name: at.name, owners: at.owners}
	}
	return nil
}

func (sc *scale) close() {
	for _, s := range []*scaled{sc.few, sc.many} {
		if s != nil {
			s.close()
		}
	}
	if sc.conn != nil {
		_ = sc.conn.Close(context.Background())
	}
	if sc.db != nil {
		sc.db.close()
	}
}

// fill asks both servers for their answers.
func (sc *scale) fill(ctx context.Context) error {
	sc.section("filling")
	for _, s := range []*scaled{sc.few, sc.many} {
		begin := time.Now()
		if err := sc.fetch(ctx, s, s.owners); err != nil {
			return err
		}
		took := time.Since(begin)
		m, err := s.metrics()
		if err != nil {
			return err
		}
		if int(m["tidemark_answers"]) < s.answers() {
			return fmt.Errorf("%.0f answers are kept, want %d", m["tidemark_answers"], s.answers())
		}
		sc.say("  %8d answers within %.1f s, %.0f per second, with %.0f queries", s.answers(), took.Seconds(), float64(s.answers())/took.Seconds(), m["tidemark_fills_total"])
	}
	return nil
}

// fetch asks for every answer about the first owners.
func (sc *scale) fetch(ctx context.Context, s *scaled, owners int) error {
	const connections = 16
	var all sync.WaitGroup
	errs, sizes := make([]error, connections), make([]int64, connections)
	for i := range connections {
		all.Go(func() {
			p, err := dialPipe(s.addr)
			if err != nil {
				errs[i] = err
				return
			}
			defer p.close()
			for owner := 1 + i; owner <= owners && ctx.Err() == nil && errs[i] == nil; owner += connections {
				asks := sc.about(owner)
				errs[i] = p.get(asks, func(*ask, seen) {})
				for _, a := range asks {
					sizes[i] += int64(len(a.body))
				}
			}
		})
	}
	all.Wait()
	s.bodies = 0
	for _, n := range sizes {
		s.bodies += n
	}
	return errors.Join(append(errs, context.Cause(ctx))...)
}

// about are the answers about one owner.
func (sc *scale) about(owner int) []*ask {
	out := make([]*ask, 0, len(sc.files))
	for name, f := range sc.files {
		if name != "settled" {
			out = append(out, askFor(f, map[string]string{"id": strconv.Itoa(owner)}))
		}
	}
	return out
}

// collection is what the Go runtime tells of one collection (GODEBUG=gctrace=1).
type collection struct {
	live  float64       // bytes that it found in use
	pause time.Duration // the longer of the two stops
}

// collections reads them from what a process has said.
func collections(text string) (out []collection) {
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		// gc 7 @0.1s 2%: 0.018+1.3+0.076 ms clock, … ms cpu, 4->5->2 MB, …
		line := lines.Text()
		_, rest, ok := strings.Cut(line, "%: ")
		if !ok || !strings.HasPrefix(line, "gc ") {
			continue
		}
		clock, rest, _ := strings.Cut(rest, " ms clock")
		phases := strings.Split(clock, "+")
		_, rest, _ = strings.Cut(rest, " ms cpu, ")
		sizes, _, _ := strings.Cut(rest, " MB")
		heap := strings.Split(sizes, "->")
		if len(phases) != 3 || len(heap) != 3 {
			continue
		}
		first, _ := strconv.ParseFloat(phases[0], 64)
		last, _ := strconv.ParseFloat(phases[2], 64)
		live, _ := strconv.ParseFloat(heap[2], 64)
		out = append(out, collection{live * (1 << 20), time.Duration(max(first, last) * float64(time.Millisecond))})
	}
	return out
}

// collected waits until a collection has seen all that is kept now. The runtime
// makes one every two minutes at the latest.
func (s *scaled) collected(ctx context.Context) (collection, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	before := len(collections(s.out.String()))
	for {
		if err := sleep(ctx, 500*time.Millisecond); err != nil {
			return collection{}, fmt.Errorf("no collection: %w", err)
		}
		// One that was under way may have begun too early, but nothing was kept
		// since the question was asked.
		if all := collections(s.out.String()); len(all) > before {
			return all[len(all)-1], nil
		}
	}
}

func (sc *scale) measure(ctx context.Context, changes int) error {
	if err := sc.costs(ctx, changes); err != nil {
		return err
	}
	if err := sc.fetch(ctx, sc.many, sc.owners); err != nil {
		return err
	}
	if err := sc.fetch(ctx, sc.few, sc.few.owners); err != nil {
		return err
	}
	if err := sc.memory(ctx); err != nil {
		return err
	}
	return sc.check(ctx)
}

// check holds some of the answers of the larger server to Postgres: those that
// changes have touched, and as many others.
func (sc *scale) check(ctx context.Context) error {
	o, err := openOracle(ctx, sc.db.dsn, sc.files)
	if err != nil {
		return err
	}
	defer o.close()
	token, err := sc.db.text(ctx, "SELECT tidemark.token()")
	if err != nil {
		return err
	}
	var asks []*ask
	for owner := range 2 * sc.few.owners {
		if owner >= sc.few.owners {
			owner = sc.owners / 2 * owner / sc.few.owners
		}
		asks = append(asks, sc.about(1+owner)...)
	}
	asks = fresh(asks, token)
	w, err := newSweeper(sc.many.addr, 4, asks)
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.sweep(func(*ask, seen) {}); err != nil {
		return err
	}
	wrong, err := o.differing(ctx, asks)
	if err != nil {
		return err
	}
	sc.section("at the end")
	sc.say("  %d answers compared with Postgres", len(asks))
	sc.verdict("answers that differ", float64(len(wrong)), 0, false, "")
	if len(wrong) > 0 {
		return fmt.Errorf("%d answers differ from Postgres:\n%s", len(wrong), wrong[0])
	}
	return nil
}

// costs compares what one change costs the two servers. Each change is an update
// of one row; it touches nothing, or what is kept about one item of one owner.
func (sc *scale) costs(ctx context.Context, changes int) error {
	hot := sc.few.owners
	for _, kind := range []struct {
		name    string
		changes int
		owner   func(n int) int
		again   bool // both servers have lost answers
	}{
		{"touching none", changes, func(n int) int { return sc.owners + 1 + n%scaleSpare }, false},
		// Fewer, because what they ended has to be computed again.
		{"touching what is kept about an item", changes / 10, func(n int) int { return 1 + n%hot }, true},
	} {
		sc.section(fmt.Sprintf("%d changes, %s", kind.changes, kind.name))
		var cost [2][]float64
		for round := range sc.rounds {
			var used [2]time.Duration
			done := 0
			for done < kind.changes {
				// No row twice in between: the second time it would touch nothing.
				n := kind.changes
				if kind.again {
					n = min(n, hot*scaleTables)
				}
				took, err := sc.change(ctx, n, kind.owner)
				if err != nil {
					return err
				}
				used[0], used[1] = used[0]+took[0], used[1]+took[1]
				done += n
				if kind.again {
					for _, s := range []*scaled{sc.few, sc.many} {
						if err := sc.fetch(ctx, s, hot); err != nil {
							return err
						}
					}
				}
			}
			for i := range used {
				cost[i] = append(cost[i], float64(used[i].Nanoseconds())/float64(done)/1000)
			}
			sc.say("  %d  a change: %6.2f µs of CPU with %d answers, %6.2f µs with %d", round+1, cost[0][round], sc.few.answers(), cost[1][round], sc.many.answers())
		}
		sc.say("     medians: %.2f µs with %d answers, %.2f µs with %d", median(cost[0]), sc.few.answers(), median(cost[1]), sc.many.answers())
		sc.verdict("cost with many answers, to that with few", median(ratios(cost[1], cost[0])), 1.5, false, "×")
	}
	return nil
}

// change makes changes and returns the CPU time that either server spent on them.
func (sc *scale) change(ctx context.Context, n int, owner func(int) int) (used [2]time.Duration, err error) {
	// Collections that earlier work has left behind are not the changes' own.
	if err := sleep(ctx, 20*time.Millisecond); err != nil {
		return used, err
	}
	both := [2]*scaled{sc.few, sc.many}
	for i, s := range both {
		used[i] = -timeOf(s.pid)
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
		used[i] += timeOf(s.pid)
	}
	return used, nil
}

// memory weighs what is kept beside the bodies.
func (sc *scale) memory(ctx context.Context) error {
	sc.section("memory")
	var live, resident, accounted [2]float64
	for i, s := range []*scaled{sc.few, sc.many} {
		c, err := s.collected(ctx)
		if err != nil {
			return err
		}
		m, err := s.metrics()
		if err != nil {
			return err
		}
		live[i], resident[i], accounted[i] = c.live, float64(residentOf(s.pid)), m["tidemark_cache_bytes"]
		sc.say("  %8d answers of %.0f bytes: %6.0f MiB live, %6.0f MiB resident, %6.0f MiB by tidemark's account, %.0f dependencies",
			s.answers(), float64(s.bodies)/float64(s.answers()), live[i]/(1<<20), resident[i]/(1<<20), accounted[i]/(1<<20), m["tidemark_dependencies"])
	}
	more := float64(sc.many.answers() - sc.few.answers())
	body := float64(sc.many.bodies) / float64(sc.many.answers())
	sc.verdict("bytes of heap per answer, beside its body", (live[1]-live[0])/more-body, 1024, false, "bytes")
	sc.fact("bytes of the process per answer, beside its body", (resident[1]-resident[0])/more-body, "bytes")
	sc.fact("tidemark's account, to the heap", (accounted[1]-accounted[0])/(live[1]-live[0]), "×")

	sc.section("collections of garbage, with many answers, since the start")
	var pauses []time.Duration
	for _, c := range collections(sc.many.out.String()) {
		pauses = append(pauses, c.pause)
	}
	slices.Sort(pauses)
	sc.say("     %d of them", len(pauses))
	sc.fact("pause, median", milliseconds(quantile(pauses, 0.5)), "ms")
	sc.fact("pause, longest", milliseconds(quantile(pauses, 1)), "ms")
	return nil
}
