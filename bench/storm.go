package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// The database of storm: accounts whose orders one transaction changes, and pages
// that have nothing to do with them.
const (
	stormAccounts = 5000
	stormOrders   = 200_000
	stormTouched  = 100_000
	stormPages    = 1000
	stormMemory   = 256 // MiB
	stormFills    = 8   // connections that compute answers
)

var stormEndpoints = map[string]string{
	"settled.sql": "-- GET /v1/settled\nSELECT id FROM settled\n",
	"page.sql":    "-- GET /v1/pages/{id}\n-- result: one\nSELECT id, title, body FROM pages WHERE id = :id\n",
	"orders.sql": `-- GET /v1/accounts/{id}/orders
SELECT id, status, total, placed_at FROM orders WHERE account_id = :id ORDER BY placed_at DESC, id DESC LIMIT 20
`,
	"totals.sql": `-- GET /v1/accounts/{id}/totals
SELECT status, count(*) AS orders, sum(total) AS total FROM orders WHERE account_id = :id GROUP BY status ORDER BY status
`,
	"open.sql": `-- GET /v1/accounts/{id}/open
-- result: one
SELECT a.name, (SELECT count(*) FROM orders o WHERE o.account_id = a.id AND o.status = 'open') AS open FROM accounts a WHERE a.id = :id
`,
}

func stormSchema(accounts, orders int) []string {
	return []string{
		"CREATE TABLE settled (id int PRIMARY KEY)", "INSERT INTO settled VALUES (1)",
		"CREATE TABLE accounts (id int PRIMARY KEY, name text NOT NULL)",
		fmt.Sprintf("INSERT INTO accounts SELECT n, 'account ' || n FROM generate_series(1, %d) n", accounts),
		`CREATE TABLE orders (id int PRIMARY KEY, account_id int NOT NULL, status text NOT NULL, total numeric(10,2) NOT NULL,
			placed_at timestamptz NOT NULL)`,
		fmt.Sprintf(`INSERT INTO orders SELECT n, 1 + (n / 2) %% %d, (ARRAY['open','paid','sent'])[1 + n %% 3], n %% 977 + 0.5,
			'2026-01-01'::timestamptz + n * interval '1 minute' FROM generate_series(1, %d) n`, accounts, orders),
		"CREATE INDEX ON orders (account_id, placed_at DESC, id DESC)",
		// The same rows, of which no answer hears: what Postgres itself takes from
		// the machine.
		"CREATE TABLE elsewhere (LIKE orders INCLUDING ALL)",
		"INSERT INTO elsewhere SELECT * FROM orders",
		"CREATE TABLE pages (id int PRIMARY KEY, title text NOT NULL, body text NOT NULL)",
		fmt.Sprintf("INSERT INTO pages SELECT n, 'page ' || n, repeat('words ', 100) FROM generate_series(1, %d) n", stormPages),
	}
}

// storm is one measurement.
type storm struct {
	*sitting
	accounts, orders, touched int
	db                        *database
	tide                      *instance
	oracle                    *oracle
	pages, others             []*ask // not touched by the transaction; touched by it
}

// runStorm changes many rows in one transaction while answers are read that it
// touches and others that it does not.
func runStorm(ctx context.Context, s *sitting) (err error) {
	st := &storm{sitting: s, accounts: stormAccounts, orders: stormOrders, touched: stormTouched}
	quiet, rounds := 5*time.Second, s.rounds
	if s.short {
		st.accounts, st.orders, st.touched = stormAccounts/10, stormOrders/10, stormTouched/10
		quiet, rounds = time.Second, 2
	}
	path, remove, err := program(ctx, s)
	if err != nil {
		return err
	}
	defer remove()
	if err := st.open(ctx, path); err != nil {
		st.close()
		return err
	}
	defer st.close()
	return st.tide.alive(st.measure(ctx, rounds, quiet))
}

func (st *storm) open(ctx context.Context, path string) error {
	var err error
	if st.db, err = openCounted(ctx, st.sitting, nil, stormSchema(st.accounts, st.orders)...); err != nil {
		return err
	}
	files, err := parseEndpoints(stormEndpoints)
	if err != nil {
		return err
	}
	st.tide, err = startInstance(ctx, launch{
		program: path, dsn: st.db.dsn, slot: "bench", endpoints: stormEndpoints,
		settings: []string{
			fmt.Sprintf("--cache.max-memory=%dMiB", stormMemory), fmt.Sprintf("--fill.max-connections=%d", stormFills),
			"--consistency.gc-window=0s", // pins no snapshots, whose connections would be counted
		},
	})
	if err != nil {
		return err
	}
	if st.oracle, err = openOracle(ctx, st.db.dsn, files); err != nil {
		return err
	}
	for id := 1; id <= stormPages; id++ {
		st.pages = append(st.pages, askFor(files["page"], map[string]string{"id": strconv.Itoa(id)}))
	}
	for id := 1; id <= st.accounts; id++ {
		for _, name := range []string{"orders", "totals", "open"} {
			st.others = append(st.others, askFor(files[name], map[string]string{"id": strconv.Itoa(id)}))
		}
	}
	return st.sweep(slices.Concat(st.pages, st.others))
}

func (st *storm) close() {
	if st.oracle != nil {
		st.oracle.close()
	}
	if st.tide != nil {
		st.tide.close()
	}
	if st.db != nil {
		st.db.close()
	}
}

// sweep asks for every answer once.
func (st *storm) sweep(asks []*ask) error {
	w, err := newSweeper(st.tide.addr, 8, asks)
	if err != nil {
		return err
	}
	defer w.close()
	return w.sweep(func(*ask, seen) {})
}

// stormRound is what one round showed.
type stormRound struct {
	quiet, during   time.Duration // p99 of hits on pages
	control         time.Duration // the same, during a transaction of which no answer hears
	connections     int
	resident        int64
	commit          time.Duration // the transaction itself
	recovered       time.Duration // from the commit to the last miss
	misses, sheds   int
	fills, queries  float64
	pageMisses      int
	differ, settled int
}

func (st *storm) measure(ctx context.Context, rounds int, quiet time.Duration) error {
	st.say("answers   %d that the transaction touches, of %d accounts, and %d that it does not", len(st.others), st.accounts, len(st.pages))
	st.say("load      1,000 requests per second of either kind, by the clock; the transaction updates %d rows", st.touched)
	st.say("budget    %d connections for fills, %d MiB of answers", stormFills, stormMemory)
	st.section("rounds")
	var all []stormRound
	for round := range rounds {
		r, err := st.round(ctx, quiet)
		if err != nil {
			return err
		}
		all = append(all, r)
		st.say("  %d  hits p99 %7.3f ms quiet, %7.3f ms control, %7.3f ms during  UPDATE %5.2f s  recovered after %5.2f s  %5d misses, %d shed  %6.0f fills, %6.0f queries  %2d connections  %4d MiB  %d of %d differ",
			round+1, milliseconds(r.quiet), milliseconds(r.control), milliseconds(r.during), r.commit.Seconds(), r.recovered.Seconds(), r.misses, r.sheds, r.fills, r.queries,
			r.connections, r.resident>>20, r.differ, r.settled)
	}
	of := func(f func(stormRound) float64) float64 {
		var v []float64
		for _, r := range all {
			v = append(v, f(r))
		}
		return median(v)
	}
	worst := func(f func(stormRound) float64) (out float64) {
		for _, r := range all {
			out = max(out, f(r))
		}
		return out
	}
	st.section("in all")
	st.fact("p99 of unrelated hits, quiet", of(func(r stormRound) float64 { return milliseconds(r.quiet) }), "ms")
	st.fact("p99 of unrelated hits, during a transaction that no answer reads", of(func(r stormRound) float64 { return milliseconds(r.control) }), "ms")
	st.fact("p99 of unrelated hits, during the storm", of(func(r stormRound) float64 { return milliseconds(r.during) }), "ms")
	st.fact("during, to quiet", of(func(r stormRound) float64 { return float64(r.during) / float64(r.quiet) }), "×")
	st.fact("during, to a transaction of as many rows that no answer reads", of(func(r stormRound) float64 { return float64(r.during) / float64(r.control) }), "×")
	st.fact("unrelated answers that were not hits", worst(func(r stormRound) float64 { return float64(r.pageMisses) }), "")
	st.verdict("connections to the database, most", worst(func(r stormRound) float64 { return float64(r.connections) }), stormConnections, false, "")
	st.verdict("resident memory, most", worst(func(r stormRound) float64 { return float64(r.resident >> 20) }), stormMemory*1.5+256, false, "MiB")
	st.fact("from the commit to the last miss", of(func(r stormRound) float64 { return r.recovered.Seconds() }), "s")
	st.fact("fills until then", of(func(r stormRound) float64 { return r.fills }), "")
	if st.db.counts {
		st.fact("queries of orders until then, by Postgres's count", of(func(r stormRound) float64 { return r.queries }), "")
		st.fact("those to a touched answer", of(func(r stormRound) float64 { return r.queries / float64(len(st.others)) }), "")
	}
	differ := worst(func(r stormRound) float64 { return float64(r.differ) })
	st.verdict("answers that differ from Postgres", differ, 0, false, "")
	if differ > 0 {
		return fmt.Errorf("answers differ from Postgres")
	}
	return nil
}

// stormConnections is what docs/operating.md allows without pinned snapshots.
const stormConnections = stormFills + 6

// round measures a quiet while and a transaction.
func (st *storm) round(ctx context.Context, quiet time.Duration) (r stormRound, err error) {
	probe, err := pgx.Connect(ctx, st.db.dsn)
	if err != nil {
		return r, err
	}
	defer probe.Close(context.Background())
	ours := []int32{int32(probe.PgConn().PID()), int32(st.db.admin.PgConn().PID()), int32(st.oracle.conn.PID())}
	fills, queries, err := st.counters(ctx)
	if err != nil {
		return r, err
	}
	loading, stop := context.WithCancel(ctx)
	defer stop()
	var pages, others []observed
	var loads sync.WaitGroup
	errs := make([]error, 3)
	loads.Go(func() { pages, errs[0] = st.reading(loading, st.pages) })
	loads.Go(func() { others, errs[1] = st.reading(loading, st.others) })
	loads.Go(func() { r.connections, r.resident, errs[2] = st.watch(loading, probe, ours) })

	if err := sleep(ctx, quiet); err != nil {
		return r, err
	}
	control := time.Now()
	if _, err := st.update(ctx, "elsewhere"); err != nil {
		return r, err
	}
	controlled := time.Now()
	if err := sleep(ctx, 2*time.Second); err != nil {
		return r, err
	}
	begin := time.Now()
	token, err := st.update(ctx, "orders")
	if err != nil {
		return r, err
	}
	committed := time.Now()
	r.commit = committed.Sub(begin)
	if err := st.calm(ctx); err != nil {
		return r, err
	}
	// The pace has come round all answers when as many requests were made as
	// there are answers.
	pass := time.Duration(len(st.others)) * stormPace / stormClients
	if err := sleep(ctx, pass+time.Second); err != nil {
		return r, err
	}
	stop()
	loads.Wait()
	for _, err := range errs {
		if err != nil {
			return r, err
		}
	}
	f, q, err := st.counters(ctx)
	if err != nil {
		return r, err
	}
	r.fills, r.queries = f-fills, q-queries
	end := r.recovery(others, begin, committed)
	for _, o := range pages {
		if !o.hit {
			r.pageMisses++
		}
	}
	r.quiet = latency(pages, time.Time{}, control)
	r.control = latency(pages, control, controlled.Add(time.Second))
	r.during = latency(pages, begin, end.Add(time.Second))
	return r, st.check(ctx, token, &r)
}

// update is the transaction. It returns its token.
func (st *storm) update(ctx context.Context, table string) (token string, err error) {
	return token, pgx.BeginFunc(ctx, st.db.admin, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, "UPDATE "+table+" SET status = CASE status WHEN 'open' THEN 'paid' ELSE 'open' END, total = total + 1 WHERE id % $1 = 0",
			st.orders/st.touched)
		if err == nil && tag.RowsAffected() != int64(st.touched) {
			err = fmt.Errorf("%d rows were updated, want %d", tag.RowsAffected(), st.touched)
		}
		if err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT tidemark.token()").Scan(&token)
	})
}

// calm waits until the load finds everything in memory again: no fill has been
// made for a while.
func (st *storm) calm(ctx context.Context) error {
	begin := time.Now()
	var last float64
	for still := 0; still < 5; still++ {
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
		m, err := st.tide.metrics()
		if err != nil {
			return err
		}
		if n := m["tidemark_fills_total"]; n != last {
			last, still = n, 0
		}
		if time.Since(begin) > patience {
			return fmt.Errorf("answers are still being computed after %v", patience)
		}
	}
	return nil
}

// check holds every answer against Postgres.
func (st *storm) check(ctx context.Context, token string, r *stormRound) error {
	asks := fresh(slices.Concat(st.pages, st.others), token)
	if err := st.sweep(asks); err != nil {
		return err
	}
	wrong, err := st.oracle.differing(ctx, asks)
	r.differ, r.settled = len(wrong), len(asks)
	for i, w := range wrong {
		if i < 3 {
			st.say("  %s", w)
		}
	}
	return err
}

func (st *storm) counters(ctx context.Context) (fills, queries float64, err error) {
	m, err := st.tide.metrics()
	if err == nil {
		queries, err = st.db.queries(ctx, "orders")
	}
	return m["tidemark_fills_total"], queries, err
}
