package oracle

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/httpapi"
	"github.com/tidemarkdb/tidemark/internal/liveapi"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/setup"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// What opens the shapes of a run.
const (
	liveSecret     = "oracle-secret"
	liveAccountKey = "oracle-account-key-of-32-bytes-or-more"
)

// liveFace makes what serves followers, with times that fit into a run.
func liveFace(t *tenant.Tenant, log *slog.Logger, poll time.Duration) *liveapi.Handler {
	if poll == 0 {
		poll = time.Second
	}
	return liveapi.New(liveapi.Options{
		Host: t.LiveHost(), Tables: t.Tables(), Answers: t.Answers(),
		Secrets: []string{liveSecret}, AccountKey: liveAccountKey,
		Poll: poll, Stream: 3 * poll, Heartbeat: 300 * time.Millisecond,
		Explain: func(err error) (liveapi.Problem, bool) {
			p := liveapi.Problem(httpapi.ProblemOf(err))
			return p, p.Status >= 500
		},
		Logger: log,
	})
}

// liveRun is a run whose shapes are followed.
type liveRun struct {
	*run
	lane      *liveLane
	rules     []*liveRule
	shapes    []*liveShape
	followers []*follower
	dir       string
	data      string   // what tidemark keeps
	more      []string // tables that no writer knows
}

// executeLive runs a lane with a seed for a while, and judges what its followers
// received. spoil, if not nil, gets to see the judge when all was found to be well.
func executeLive(t testing.TB, l *liveLane, seed uint64, duration time.Duration, spoil func(*liveRun, *liveJudge)) {
	t.Helper()
	began := time.Now()
	r := rand.New(rand.NewPCG(seed, 21))
	lr := &liveRun{run: &run{TB: t, seed: seed, lane: &l.lane, secret: liveSecret, strange: map[string]int{}}, lane: l, dir: t.TempDir()}
	lr.data = filepath.Join(lr.dir, "data")
	if l.smallDisk {
		lr.mountDisk()
	}
	defer func() {
		if t.Failed() {
			t.Logf("to repeat it: TIDEMARK_SEED=%d TIDEMARK_LANE=%s", seed, l.name)
		}
	}()
	settings := l.settings()
	settings["max_replication_slots"] = "10"
	lr.server = pgtest.Start(t, pgtest.Options{Settings: settings, TCP: l.proxied})
	for {
		// Row security keeps a table from being followed at all.
		if lr.s = randomSchema(r); !lr.s.restrict {
			break
		}
	}
	lr.s.forLive(r)
	lr.s.seedRows(r)
	lr.eps = randomEndpoints(r, lr.s, 3)
	if l.maxLog > 0 {
		lr.addFiller()
	}
	if l.storm > 0 {
		lr.addStorm()
	}
	lr.prepare(r)
	lr.shapes = append(lr.tableShapes(r), lr.endpointShapes(r)...)
	if l.maxLog > 0 {
		lr.shapes = append(lr.shapes, lr.idleShapes(r)...)
	}
	lr.open(r)
	defer func() {
		if err := lr.subject.close(); err != nil {
			t.Errorf("tidemark ended with: %v", err)
		}
		if t.Failed() {
			t.Logf("what tidemark said last:\n%s", lr.subject.log)
		}
	}()
	ready := time.Now()
	lr.traffic(r, duration)
	over := time.Now()
	j := lr.judge()
	if spoil != nil && !t.Failed() {
		spoil(lr, j)
	}
	j.close()
	if l.readers > 0 {
		lr.check()
	}
	t.Logf("%s: seed %d, %.1fs to start, %.1fs of traffic, %.1fs to judge", l.name, seed,
		ready.Sub(began).Seconds(), over.Sub(ready).Seconds(), time.Since(over).Seconds())
}

// prepare makes the schema, its first rows, and what tidemark needs.
func (lr *liveRun) prepare(r *rand.Rand) {
	lr.db = lr.server.DB(lr)
	for _, sql := range slices.Concat(lr.s.ddl, lr.s.seeds) {
		lr.db.Exec(lr, sql)
	}
	lr.db.Exec(lr, "CREATE PUBLICATION "+orderPublication+" FOR ALL TABLES")
	lr.db.Exec(lr, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", orderSlot)
	lr.rules = lr.randomRules(r)
	in := setup.Input{Publication: "tidemark", Slot: "tidemark", ReplicaIdentity: setup.Keep}
	for _, name := range append(lr.s.tableNames(), lr.more...) {
		in.Tables = append(in.Tables, setup.Table{Schema: "public", Name: name})
		in.Followed = append(in.Followed, setup.Table{Schema: "public", Name: name})
	}
	ctx := context.Background()
	conn := lr.db.Conn(lr)
	report, err := setup.Inspect(ctx, conn, in)
	if err != nil {
		lr.Fatal(err)
	}
	if _, err := setup.Apply(ctx, conn, report, setup.Patience{}, nil); err != nil {
		lr.Fatal(err)
	}
	for _, e := range lr.eps {
		sql, _ := e.numbered()
		d, err := conn.Prepare(ctx, "", sql)
		if err != nil {
			lr.Fatalf("endpoint %s: %v\n%s", e.name, err, sql)
		}
		var names []string
		for _, f := range d.Fields {
			names = append(names, f.Name)
		}
		e.forLive(r, names)
	}
}

// open starts tidemark.
func (lr *liveRun) open(r *rand.Rand) {
	dir := filepath.Join(lr.dir, "endpoints")
	if err := os.Mkdir(dir, 0o755); err != nil {
		lr.Fatal(err)
	}
	if err := writeEndpoints(dir, lr.eps); err != nil {
		lr.Fatal(err)
	}
	rules := filepath.Join(lr.dir, "tables.yaml")
	if err := os.WriteFile(rules, []byte(rulesText(lr.rules)), 0o644); err != nil {
		lr.Fatal(err)
	}
	opts := tenant.Options{
		Database: lr.db.DSN(), Endpoints: dir, Slot: "tidemark", Publication: "tidemark",
		WaitTimeout: 3 * time.Second, GCWindow: 2 * time.Second, Quantization: 150 * time.Millisecond,
		MaxMemory: pick(r, []int64{64 << 10, 1 << 20, 64 << 20}), FillConnections: 2 + r.IntN(5),
		NoRefill: chance(r, 25),
		Live: &tenant.LiveOptions{
			Dir: lr.data, Tables: rules, ChunkSize: pick(r, []int{1, 300, 2000, 10000, 1 << 20}), MaxLog: lr.lane.maxLog,
		},
	}
	if lr.lane.large {
		opts.Live.ChunkSize = max(opts.Live.ChunkSize, 10000) // else it takes thousands of requests
	}
	if lr.lane.proxied {
		lr.proxy = newProxy(lr, lr.server.Port())
		opts.Database = lr.proxy.dsn(opts.Database)
	}
	var err error
	if lr.subject, err = newSubject(opts); err != nil {
		lr.Fatal(err)
	}
	if lr.lane.storm > 0 {
		lr.subject.poll = stormPoll
	}
	if lr.lane.child {
		err = lr.subject.startChild()
	} else {
		err = lr.subject.start(context.Background())
	}
	if err != nil {
		lr.Fatalf("tidemark does not start: %v\n%s\n%s", err, lr.describe(), rulesText(lr.rules))
	}
	lr.records = lr.recover("after the start")
	lr.awaitTables()
}

// awaitTables waits until tables can be followed, which begins a moment after
// answers are served.
func (lr *liveRun) awaitTables() {
	q := url.Values{"table": {lr.shapes[0].args.Get("table")}, "offset": {"now"}, "secret": {liveSecret}}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		resp, err := http.Get(lr.subject.url + "/v1/shape?" + q.Encode())
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode < 500 {
				return
			}
		}
		if time.Now().After(deadline) {
			lr.Fatalf("after the start tables cannot be followed: %v\n%s", err, lr.subject.log)
		}
	}
}

// traffic runs writers, followers and faults until the time is over, and then has
// every follower catch up.
func (lr *liveRun) traffic(r *rand.Rand, duration time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*duration)
	defer cancel()
	go func() {
		for pause(ctx, duration); ctx.Err() == nil && lr.tooQuiet(); {
			pause(ctx, 100*time.Millisecond)
		}
		cancel()
	}()
	writing, stopWriting := context.WithCancel(context.Background())
	defer stopWriting()
	following, stopFollowing := context.WithCancel(context.Background())
	defer stopFollowing()
	var writers, followers, faults sync.WaitGroup
	for range 2 + r.IntN(2) + lr.lane.writers {
		w := &writer{Rand: rand.New(rand.NewPCG(r.Uint64(), 22)), run: lr.run, client: lr.newClient(r)}
		writers.Go(func() { w.loop(writing) })
	}
	for range lr.lane.readers {
		c := lr.newClient(r)
		writers.Go(func() { c.loop(writing) })
	}
	for _, sh := range lr.shapes {
		for range sh.followers(r) {
			f := newFollower(lr, sh, rand.New(rand.NewPCG(r.Uint64(), 23)))
			lr.followers = append(lr.followers, f)
			followers.Go(func() { f.loop(following) })
		}
	}
	for _, f := range lr.faults() {
		r := rand.New(rand.NewPCG(r.Uint64(), 24))
		faults.Go(func() { f(ctx, lr.run, r) })
	}
	// A fault heals before its function returns, so that nobody hangs after it.
	faults.Wait()
	<-ctx.Done()
	stopFollowing()
	followers.Wait()
	stopWriting()
	writers.Wait()
	lr.settle()
}

// faults are those of the lane.
func (lr *liveRun) faults() []fault {
	all := slices.Clone(lr.lane.faults)
	if lr.lane.maxLog > 0 {
		all = append(all, lr.fillLog)
	}
	if lr.lane.smallDisk {
		all = append(all, lr.fillDisk)
	}
	if lr.lane.storm > 0 {
		all = append(all, lr.storms)
	}
	return all
}

// tooQuiet reports whether too little was written or received to show much.
func (lr *liveRun) tooQuiet() bool {
	lr.mu.Lock()
	defer lr.mu.Unlock()
	return lr.answers < 2*fewAnswers || len(lr.txs) < 6*fewTransactions
}

// settle has every follower come to where everything is at rest.
func (lr *liveRun) settle() {
	lr.records = lr.recover("with everything at rest")
	ctx := context.Background()
	conn := lr.connect(lr.db)
	defer conn.Close(ctx)
	var token string
	if err := conn.QueryRow(ctx, "SELECT tidemark.token()").Scan(&token); err != nil {
		lr.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, f := range lr.followers {
		wg.Go(func() { f.finish(token) })
	}
	wg.Wait()
	lr.trespass()
}

// large reports whether some rows are.
func (s *schema) large() bool {
	return slices.ContainsFunc(s.tables, func(t *table) bool {
		return slices.ContainsFunc(t.cols, func(c *column) bool { return c.kind == kindLong })
	})
}

// forLive adds columns of further types, and identities that followers need.
func (s *schema) forLive(r *rand.Rand) {
	more := []*kind{
		{name: "wait", sql: "interval", values: []string{"1 mon -2 days", "00:00:01.5", "-1 year 3 mons 04:05:06", "0"}, ordered: false},
		{name: "hex", sql: "bytea", values: []string{`\x00ff`, `\x`, `\x0102`}, ordered: false},
		{name: "spans", sql: "interval[]", values: []string{`{"1 day",NULL,"-00:00:01"}`, "{}"}, ordered: false},
		{name: "net", sql: "inet", values: []string{"10.0.0.1", "10.0.0.0/8"}, ordered: false},
		{name: "lsn", sql: "real", values: []string{"0.1", "1e-10", "-0"}, ordered: false},
	}
	more = append(more,
		&kind{name: "pair", sql: "live_pair", values: []string{`(1,"1 mon")`, `(,"-1 day 00:00:02")`, `(3,)`}},
		&kind{name: "delay", sql: "live_delay", values: []string{"1 mon", "00:00:01.5"}},
		&kind{name: "window", sql: "tsrange", values: []string{`["2024-01-01 00:00:00","2024-06-30 23:59:59")`, "empty"}})
	s.ddl = append([]string{"CREATE TYPE live_pair AS (a int, b interval)", "CREATE DOMAIN live_delay AS interval"}, s.ddl...)
	for _, t := range s.tables {
		if t.child != nil || strings.HasSuffix(t.name, "_child") {
			continue
		}
		for _, k := range more {
			if !chance(r, 35) {
				continue
			}
			c := s.column(r, k, true)
			for i, sql := range s.ddl {
				if strings.HasPrefix(sql, "CREATE TABLE "+t.name+" (") {
					s.ddl[i] = strings.Replace(sql, ", PRIMARY KEY", fmt.Sprintf(", %s %s, PRIMARY KEY", c.name, k.sql), 1)
				}
			}
			t.cols = append(t.cols, c)
		}
	}
	for _, t := range s.tables {
		for _, name := range append([]string{t.name}, t.leaves...) {
			s.ddl = append(s.ddl, "ALTER TABLE "+name+" REPLICA IDENTITY FULL")
		}
	}
}
