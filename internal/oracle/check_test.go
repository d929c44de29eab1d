package oracle

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// checker holds a run's records against Postgres.
type checker struct {
	*run
	in     []*transaction            // what committed, in the order of the log
	undone []*transaction            // what a crash undid, and could be seen before
	named  map[string]*transaction   // by the token that it was given
	ends   map[uint32][]revision.LSN // where transactions with an id ended: several, where a crash undid the first
	known  []time.Time               // until when everything up to this transaction was acknowledged
	rep    *replica
	failed int
	told   map[string]int // violations of each sort

	tally map[string]int
}

// job is one comparison to be made when the replica holds the first n
// transactions.
type job struct {
	n   int
	rec *record
	// seen says to compare with what could be seen after a moment, rather than
	// with this state: since then, and with that transaction.
	seen  bool
	since time.Time
	with  *transaction
}

// check compares everything that was recorded.
func (run *run) check() {
	ctx := context.Background()
	conn := run.connect(run.db)
	defer conn.Close(ctx)
	finals := run.settle(ctx)
	log, err := commits(ctx, conn)
	if err != nil {
		run.Fatal(err)
	}
	c := &checker{run: run, tally: map[string]int{}, told: map[string]int{}, named: map[string]*transaction{}, ends: map[uint32][]revision.LSN{}}
	for _, t := range log {
		c.ends[t.xid] = append(c.ends[t.xid], t.end)
	}
	for _, tx := range run.txs {
		if tx.token != "" {
			c.named[tx.token] = tx
		}
	}
	var lost []*transaction
	c.in, lost = ordered(run.txs, log, run.lives)
	for _, tx := range lost {
		switch {
		case tx.async && run.lives.crashed(tx.life):
			c.undone = append(c.undone, tx)
		case !tx.acked.IsZero() && !tx.silent():
			run.Errorf("it was acknowledged and is not in the log: %s", tx)
		}
	}
	sort.Slice(c.undone, func(i, j int) bool { return c.undone[i].sent.Before(c.undone[j].sent) })
	c.tally["undone"] = len(c.undone)
	for _, tx := range c.in {
		settled := tx.settledBy()
		if n := len(c.known); n > 0 && c.known[n-1].After(settled) {
			settled = c.known[n-1]
		}
		c.known = append(c.known, settled)
	}
	for msg, n := range run.strange {
		run.Errorf("a writer failed %d times with: %s", n, msg)
	}
	c.openReplica(ctx)
	defer c.rep.conn.Close(ctx)
	c.replay(ctx, c.jobs())
	c.compareTables(ctx, conn)
	for _, rec := range finals {
		c.compare(ctx, rec, "at the end, with everything at rest")
	}
	c.summary()
}

func (c *checker) openReplica(ctx context.Context) {
	db := c.server.DB(c)
	c.rep = &replica{conn: c.connect(db), s: c.s, names: map[*endpoint][]string{}}
	for _, sql := range append(append([]string{"SET synchronous_commit = off"}, c.s.ddl...), c.s.seeds...) {
		if err := c.rep.exec(ctx, sql); err != nil {
			c.Fatal(err)
		}
	}
}

// fail reports a violation. The first of each sort are told in full.
func (c *checker) fail(rec *record, format string, args ...any) {
	c.failed++
	if c.told[format]++; c.told[format] > 2 {
		return
	}
	c.Errorf("%s\n%s", fmt.Sprintf(format, args...), rec)
}

// holding returns how many transactions a position holds.
func (c *checker) holding(p revision.LSN) int {
	return sort.Search(len(c.in), func(i int) bool { return c.in[i].end > p })
}

// jobs checks each record by itself and returns what is left to compare.
func (c *checker) jobs() []job {
	var jobs []job
	for _, rec := range c.records {
		if !c.answered(rec) {
			continue
		}
		exact := rec.token.Kind == revision.KindPosition
		switch {
		case exact:
			jobs = append(jobs, job{n: c.holding(rec.token.LSN), rec: rec})
		case rec.level == revision.MinimizeLatency || rec.level == revision.FullyConsistent:
			c.tally["inexact"]++
		case rec.level == revision.AtLeastAsFresh && c.asked(rec) != nil:
			// The database has been asked, and what it saw holds the transaction.
			c.tally["inexact"]++
			tx := c.asked(rec)
			n, _ := c.acknowledged(tx.sent)
			if tx.end != 0 {
				n = min(n, c.holding(tx.end-1))
			}
			jobs = append(jobs, job{n: n, rec: rec, seen: true, since: tx.sent, with: tx})
			continue
		default:
			c.fail(rec, "%s was given an answer of no exact position", rec.level)
			continue
		}
		switch rec.level {
		case revision.AtLeastAsFresh, revision.AtExactSnapshot:
			c.checkToken(rec)
		case revision.FullyConsistent:
			n, must := c.acknowledged(rec.begun)
			if !exact || len(must) > 0 && must[len(must)-1].end > rec.token.LSN || n > c.holding(rec.token.LSN) {
				jobs = append(jobs, job{n: n, rec: rec, seen: true, since: rec.begun})
			}
		}
	}
	sort.SliceStable(jobs, func(i, j int) bool { return jobs[i].n < jobs[j].n })
	return jobs
}

// answered reports whether a record holds an answer, and fails those that hold
// neither that nor an error that is allowed.
func (c *checker) answered(rec *record) bool {
	if rec.err != nil {
		c.tally["connection errors"]++
		if !c.lane.child {
			c.fail(rec, "the connection failed")
		}
		return false
	}
	c.tally[fmt.Sprint("status ", rec.status)]++
	asked, _ := revision.ParseToken(rec.asked)
	switch rec.status {
	case http.StatusOK, http.StatusNotModified:
		c.count(rec)
		return true
	case http.StatusNotFound:
		if rec.problem == "no-row" && rec.req.ep.one {
			c.count(rec)
			return true
		}
	case http.StatusGone:
		if rec.level == revision.AtExactSnapshot {
			return false
		}
	case http.StatusBadRequest:
		if rec.level == revision.AtExactSnapshot && asked.Kind == revision.KindBound && strings.HasPrefix(rec.problem, "inexact-token") {
			return false
		}
		if c.lane.crashes && strings.HasPrefix(rec.problem, "future-token") {
			return false // what it named was never durable
		}
	case http.StatusGatewayTimeout, http.StatusServiceUnavailable:
		if c.lane.unavailable {
			return false
		}
	}
	c.fail(rec, "no request here deserves this")
	return false
}

// count notes how an answer came about.
func (c *checker) count(rec *record) {
	for what, mark := range map[string]string{"hits": "; hit", "stored": "; stored", "refilled": "fwd=stale", "pinned": "pinned snapshot"} {
		if strings.Contains(rec.cacheStatus, mark) {
			c.tally[what]++
		}
	}
	if rec.level == revision.AtExactSnapshot {
		c.tally["exact snapshots"]++
	}
	c.tally["answers"]++
}

// asked returns the transaction that a record's token names, if it names one.
func (c *checker) asked(rec *record) *transaction {
	t, err := revision.ParseToken(rec.asked)
	if err != nil || t.Kind != revision.KindTransaction {
		return nil
	}
	tx := c.named[rec.asked]
	if tx == nil {
		c.Fatalf("the oracle is wrong: nobody was given the token of transaction %d", t.XID)
	}
	return tx
}

// checkToken compares the position of an answer with the token that it was asked
// with.
func (c *checker) checkToken(rec *record) {
	asked, err := revision.ParseToken(rec.asked)
	if err != nil {
		c.Fatal(err)
	}
	need := asked.LSN
	if asked.Kind == revision.KindTransaction {
		if tx := c.asked(rec); tx.end != 0 {
			need = tx.end
		} else if c.tally["tokens of the undone"]++; rec.level == revision.AtExactSnapshot {
			// Nothing tells it from another to which its id was given again, unless
			// that ended too early.
			if rec.token.LSN <= need || !slices.Contains(c.ends[uint32(asked.XID)], rec.token.LSN) {
				c.fail(rec, "at_exact_snapshot of what was undone was served as of %s", rec.token.LSN)
			}
			return
		}
	}
	switch {
	case rec.level == revision.AtExactSnapshot && rec.token.LSN != need:
		c.fail(rec, "at_exact_snapshot %s was served as of %s", need, rec.token.LSN)
	case rec.token.LSN < need:
		c.fail(rec, "at_least_as_fresh %s was served as of %s", need, rec.token.LSN)
	}
}

// acknowledged returns the transactions that were acknowledged before a moment:
// the first n, and more.
func (c *checker) acknowledged(t time.Time) (n int, more []*transaction) {
	n = sort.Search(len(c.known), func(i int) bool { return !c.known[i].Before(t) })
	for _, tx := range c.in[n:] {
		if !tx.acked.IsZero() && tx.acked.Before(t) {
			more = append(more, tx)
		}
	}
	return n, more
}

// replay takes the replica through the log and makes the comparisons on the way.
func (c *checker) replay(ctx context.Context, jobs []job) {
	at := 0
	answers := map[string]result{} // at this state
	for _, j := range jobs {
		if c.failed > 20 {
			c.Fatalf("%d violations; no more are looked for", c.failed)
		}
		if j.n > at {
			if err := c.rep.apply(ctx, c.in[at:j.n]); err != nil {
				c.Fatal(err)
			}
			at = j.n
			clear(answers)
		}
		if j.seen {
			c.compareSeen(ctx, j)
			continue
		}
		want, ok := answers[j.rec.req.path]
		if !ok {
			var err error
			if want, err = c.ask(ctx, j.rec.req); err != nil {
				c.Fatal(err)
			}
			answers[j.rec.req.path] = want
			c.tally["queries"]++
		}
		if want != j.rec.result {
			c.fail(j.rec, "the answer is not that of its position\ngot  %s\nwant %s\n%s", j.rec.result, want, c.around(at))
		}
	}
	if at < len(c.in) {
		if err := c.rep.apply(ctx, c.in[at:]); err != nil {
			c.Fatal(err)
		}
	}
}

func (c *checker) ask(ctx context.Context, q *request) (res result, err error) {
	err = c.rep.asReader(ctx, func() error {
		res, err = c.rep.query(ctx, q)
		return err
	})
	return res, err
}

// compare holds a record against the replica as it is now.
func (c *checker) compare(ctx context.Context, rec *record, when string) {
	if rec.err != nil || rec.token.Kind != revision.KindPosition {
		c.fail(rec, "%s: no exact answer", when)
		return
	}
	want, err := c.ask(ctx, rec.req)
	if err != nil {
		c.Fatal(err)
	}
	if want != rec.result {
		c.fail(rec, "%s\ngot  %s\nwant %s\n%s", when, rec.result, want, c.around(len(c.in)))
	}
}

// around lists the transactions on both sides of a state, after the latest that
// changed definitions.
func (c *checker) around(n int) string {
	var b strings.Builder
	for i, left := n-4, 3; i >= 0 && left > 0; i-- {
		if slices.ContainsFunc(c.in[i].effects, func(e effect) bool { return e.name == "" }) {
			fmt.Fprintf(&b, "%d before: %s\n", n-i, c.in[i])
			left--
		}
	}
	for i := max(0, n-3); i < min(len(c.in), n+3); i++ {
		if i == n {
			b.WriteString("--- the state is here\n")
		}
		fmt.Fprintln(&b, c.in[i])
	}
	return b.String()
}

// compareTables makes sure that the oracle itself knows what happened.
func (c *checker) compareTables(ctx context.Context, conn *pgx.Conn) {
	now, err := contents(ctx, conn, c.s)
	if err != nil {
		c.Fatal(err)
	}
	replayed, err := contents(ctx, c.rep.conn, c.s)
	if err != nil {
		c.Fatal(err)
	}
	for name, rows := range now {
		if replayed[name] != rows {
			c.Fatalf("the oracle is wrong: replayed, table %s holds\n%s\nand not\n%s", name, replayed[name], rows)
		}
	}
}
