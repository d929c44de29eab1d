package oracle

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/revision"
	"github.com/tidemarkdb/tidemark/internal/setup"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// run is one life of a random schema with random endpoints, writers and readers,
// under the faults of one lane.
type run struct {
	testing.TB
	seed   uint64
	lane   *lane
	s      *schema
	eps    []*endpoint
	server *pgtest.Server
	db     *pgtest.Database
	proxy  *proxy

	subject *subject
	secret  string // that clients send; empty: none is needed
	tokens  purse
	clients int
	life    atomic.Int64 // how often the server was started anew
	lives   lives        // that are over

	mu      sync.Mutex
	txs     []*transaction
	records []*record
	answers int            // records that hold one
	strange map[string]int // errors of writers that nothing explains
}

func (run *run) wrote(tx *transaction) {
	run.mu.Lock()
	defer run.mu.Unlock()
	run.txs = append(run.txs, tx)
}

func (run *run) read(rec *record) {
	run.mu.Lock()
	defer run.mu.Unlock()
	run.records = append(run.records, rec)
	if rec.err == nil && rec.status < 400 {
		run.answers++
	}
}

func (run *run) answered() int {
	run.mu.Lock()
	defer run.mu.Unlock()
	return run.answers
}

// quiet reports whether too little was read or written to show anything.
func (run *run) quiet() bool {
	run.mu.Lock()
	defer run.mu.Unlock()
	return run.answers < fewAnswers || len(run.txs) < 2*fewTransactions
}

func (run *run) unexpected(err error) {
	if err == nil || expected(err) {
		return
	}
	run.mu.Lock()
	defer run.mu.Unlock()
	run.strange[err.Error()]++
}

// execute runs a lane with a seed for a while, and checks everything after it.
func execute(t testing.TB, l *lane, seed uint64, duration time.Duration) {
	t.Helper()
	began := time.Now()
	r := rand.New(rand.NewPCG(seed, 1))
	run := &run{TB: t, seed: seed, lane: l, strange: map[string]int{}}
	defer func() {
		if t.Failed() {
			t.Logf("to repeat it: TIDEMARK_SEED=%d TIDEMARK_LANE=%s", seed, l.name)
		}
	}()
	run.server = pgtest.Start(t, pgtest.Options{Settings: l.settings(), TCP: l.proxied})
	if chance(r, 50) {
		run.s = randomSchema(r)
		run.s.seedRows(r)
		run.eps = randomEndpoints(r, run.s, 13)
	} else {
		// The shapes of the grid, where few answers are empty, and some others.
		run.s = skeleton(r)
		run.s.seedRows(r)
		run.eps = append(randomEndpoints(r, run.s, 2), lively(t, r, run.server, run.s, gridEndpoints)...)
	}
	if l.few {
		r.Shuffle(len(run.eps), func(i, j int) { run.eps[i], run.eps[j] = run.eps[j], run.eps[i] })
		run.eps = run.eps[:4]
	}
	run.prepare()
	run.open(r)
	defer func() {
		if err := run.subject.close(); err != nil {
			t.Errorf("tidemark ended with: %v", err)
		}
		if t.Failed() {
			t.Logf("what tidemark said last:\n%s", run.subject.log)
		}
	}()
	ready := time.Now()
	run.traffic(r, duration)
	over := time.Now()
	run.check()
	t.Logf("%s: seed %d, %.1fs to start, %.1fs of traffic, %.1fs to check", l.name, seed,
		ready.Sub(began).Seconds(), over.Sub(ready).Seconds(), time.Since(over).Seconds())
}

// prepare makes the schema, its first rows, and what tidemark needs.
func (run *run) prepare() {
	run.db = run.server.DB(run)
	for _, sql := range run.s.ddl {
		run.db.Exec(run, sql)
	}
	for _, sql := range run.s.seeds {
		run.db.Exec(run, sql)
	}
	run.db.Exec(run, "CREATE PUBLICATION "+orderPublication+" FOR ALL TABLES")
	run.db.Exec(run, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", orderSlot)
	in := setup.Input{Publication: "tidemark", Slot: "tidemark", ReplicaIdentity: setup.Keep}
	for _, t := range run.s.tables {
		in.Tables = append(in.Tables, setup.Table{Schema: "public", Name: t.name})
	}
	ctx := context.Background()
	conn := run.db.Conn(run)
	report, err := setup.Inspect(ctx, conn, in)
	if err != nil {
		run.Fatal(err)
	}
	if _, err := setup.Apply(ctx, conn, report, setup.Patience{}, nil); err != nil {
		run.Fatal(err)
	}
	// A mistake here would look like one of tidemark's.
	for _, e := range run.eps {
		sql, _ := e.numbered()
		if _, err := conn.Prepare(ctx, "", sql); err != nil {
			run.Fatalf("endpoint %s: %v\n%s", e.name, err, sql)
		}
	}
}

// gridEndpoints is how many endpoints of the grid a run has.
const gridEndpoints = 14

// seedRows makes SQL for the first rows, the same for both databases.
func (s *schema) seedRows(r *rand.Rand) {
	w := &writer{Rand: r}
	for _, t := range s.tables {
		for range keys {
			s.seeds = append(s.seeds, fmt.Sprintf("INSERT INTO %s (%s) VALUES %s ON CONFLICT DO NOTHING", t.name, columnNames(t.cols, ""), w.tuple(t.cols)))
		}
	}
}

// open starts tidemark.
func (run *run) open(r *rand.Rand) {
	dir := run.TempDir()
	if err := writeEndpoints(dir, run.eps); err != nil {
		run.Fatal(err)
	}
	user := "postgres"
	if run.s.restrict {
		user = role
	}
	opts := tenant.Options{
		Database: run.db.UserDSN(user), Endpoints: dir, Slot: "tidemark", Publication: "tidemark",
		WaitTimeout: 3 * time.Second, GCWindow: 2 * time.Second, Quantization: 150 * time.Millisecond,
		MaxMemory: pick(r, []int64{64 << 10, 1 << 20, 64 << 20}), FillConnections: 1 + r.IntN(6),
	}
	if chance(r, 30) {
		opts.MaxStaleness = 100 * time.Millisecond
	}
	if chance(r, 30) {
		opts.Batch = 1 + r.IntN(3)
	}
	opts.NoRefill = chance(r, 25)
	if run.lane.proxied {
		run.proxy = newProxy(run, run.server.Port())
		opts.Database = run.proxy.dsn(opts.Database)
	}
	var err error
	if run.subject, err = newSubject(opts); err != nil {
		run.Fatal(err)
	}
	if run.lane.child {
		err = run.subject.startChild()
	} else {
		err = run.subject.start(context.Background())
	}
	if err != nil {
		run.Fatalf("tidemark does not start: %v\n%s", err, run.describe())
	}
	run.records = run.recover("after the start")
}

// recover waits until tidemark answers a request that it can only answer when
// it follows the log. It returns what was recorded before.
func (run *run) recover(when string) []*record {
	run.Helper()
	ctx := context.Background()
	conn := run.connect(run.db)
	defer conn.Close(ctx)
	var token string
	if err := conn.QueryRow(ctx, "SELECT tidemark.token()").Scan(&token); err != nil {
		run.Fatal(err)
	}
	c := run.newClient(rand.New(rand.NewPCG(run.seed, 5)))
	defer c.http.CloseIdleConnections()
	before := run.records
	for deadline := time.Now().Add(20 * time.Second); ; {
		rec := c.read(ctx, run.eps[0].asked[0], revision.AtLeastAsFresh, token)
		if rec.err == nil && rec.status < 500 {
			return before
		}
		if time.Now().After(deadline) {
			run.Fatalf("%s it does not follow the log\n%s\n%s", when, rec, run.subject.log)
		}
		pause(ctx, 20*time.Millisecond)
	}
}

func (run *run) describe() string {
	s := ""
	for _, sql := range run.s.ddl {
		s += sql + ";\n"
	}
	return s
}

// Fewer show nothing. Of the transactions that were begun to commit, some may
// have been undone.
const (
	fewAnswers      = 150
	fewTransactions = 10
)

// traffic runs writers, readers and faults until the time is over; for longer
// where little came of it: the machine may be busy, or a transaction that changes
// one row thousands of times may hold up the others.
func (run *run) traffic(r *rand.Rand, duration time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*duration)
	defer cancel()
	go func() {
		for pause(ctx, duration); ctx.Err() == nil && run.quiet(); {
			pause(ctx, 100*time.Millisecond)
		}
		cancel()
	}()
	var wg, faults sync.WaitGroup
	for range 3 + r.IntN(2) + run.lane.writers {
		w := &writer{Rand: rand.New(rand.NewPCG(r.Uint64(), 2)), run: run, client: run.newClient(r)}
		wg.Go(func() { w.loop(ctx) })
	}
	for range 4 + r.IntN(3) + run.lane.readers {
		c := run.newClient(r)
		wg.Go(func() { c.loop(ctx) })
	}
	for _, f := range run.lane.faults {
		r := rand.New(rand.NewPCG(r.Uint64(), 4))
		faults.Go(func() { f(ctx, run, r) })
	}
	// A fault heals before its function returns, so that nobody hangs after it.
	faults.Wait()
	wg.Wait()
}

// connect opens a connection that does not end with the test's patience.
func (run *run) connect(db *pgtest.Database) *pgx.Conn {
	run.Helper()
	conn, err := pgx.Connect(context.Background(), db.DSN())
	if err != nil {
		run.Fatal(err)
	}
	return conn
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

// expected are the errors that writers bring upon each other: deadlocks, lock
// timeouts, keys taken meanwhile, tables without a table.
func expected(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return true // the connection
	}
	switch pg.Code {
	case "40P01", "55P03", "23505", "40001", "25P02":
		return true
	}
	return strings.HasPrefix(pg.Code, "57P")
}
