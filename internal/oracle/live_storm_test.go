package oracle

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// stormPoll is how long a request of a follower waits: longer than stormLimit,
	// so that one who is forgotten does not find out by asking again.
	stormPoll  = 25 * time.Second
	stormLimit = 10 * time.Second
)

// addStorm adds a table of which each row is in an answer of its own, and
// endpoints with these answers.
func (lr *liveRun) addStorm() {
	n := lr.lane.storm
	lr.addTable("storm", "id int PRIMARY KEY, bucket int NOT NULL, v int NOT NULL")
	lr.s.seeds = append(lr.s.seeds, fmt.Sprintf("INSERT INTO storm SELECT i, i, 0 FROM generate_series(1, %d) i", n), "CREATE INDEX ON storm (bucket)")
	for i, sql := range []string{
		"SELECT id, v FROM storm WHERE bucket = :b::int ORDER BY id",
		"SELECT count(*) AS n, sum(v) AS v FROM storm WHERE bucket = :b::int",
		"SELECT s.id, s.v, o.v AS w FROM storm s JOIN storm o ON o.id = s.bucket WHERE s.bucket = :b::int ORDER BY s.v DESC, s.id LIMIT 3",
	} {
		e := &endpoint{name: fmt.Sprintf("storm%d", i), route: fmt.Sprintf("/storm%d/{b}", i), sql: sql, stormed: true, reads: []string{"storm"}}
		e.params = []*param{{name: "b", inPath: true}}
		for b := i + 1; b <= n; b += 3 {
			v := itoa(b)
			e.asked = append(e.asked, &request{ep: e, path: strings.Replace(e.route, "{b}", v, 1), args: []*string{&v}})
		}
		lr.eps = append(lr.eps, e)
	}
}

// storms has single transactions touch all of those answers. The last one has to
// come to everybody who waits, before anybody is told to stop.
func (lr *liveRun) storms(ctx context.Context, _ *run, r *rand.Rand) {
	w := &writer{Rand: r, run: lr.run}
	for w.conn == nil || w.conn.IsClosed() {
		w.connect()
	}
	defer func() { _ = w.conn.Close(context.Background()) }()
	n := itoa(lr.lane.storm)
	kinds := [][]string{
		{"UPDATE storm SET v = v + 1"},
		{"UPDATE storm SET v = v + 1"},
		{"UPDATE storm SET bucket = bucket % " + n + " + 1"},
		{"DELETE FROM storm WHERE id % 2 = 0", "UPDATE storm SET v = v + 1"},
		{"DELETE FROM storm", "INSERT INTO storm SELECT i, i, i FROM generate_series(1, " + n + ") i"},
		{"INSERT INTO storm SELECT i, i, 0 FROM generate_series(1, " + n + ") i ON CONFLICT DO NOTHING", "UPDATE storm SET v = v + 1"},
	}
	for ctx.Err() == nil {
		if err := w.blow(pick(r, kinds)); err != nil {
			lr.Errorf("a storm failed: %v", err)
			return
		}
		pause(ctx, between(r, 0, 500))
	}
	// Each answer has a row then that it never had.
	for _, last := range [][]string{kinds[4], {"UPDATE storm SET v = v + 1000000"}} {
		if err := w.blow(last); err != nil {
			lr.Errorf("a storm failed: %v", err)
			return
		}
	}
	lr.awaitStorm(w.tx)
}

// blow runs a transaction of which each statement does the same to a replica: no
// other writes to the table.
func (w *writer) blow(statements []string) error {
	w.tx = &transaction{life: int(w.run.life.Load())}
	if err := w.exec("BEGIN"); err != nil {
		return err
	}
	for _, sql := range statements {
		if err := w.exec(sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
		w.tx.effects = append(w.tx.effects, effect{sql: sql})
	}
	if !w.commit() {
		return fmt.Errorf("it is not known whether it was committed")
	}
	return nil
}

// awaitStorm waits until each follower of a touched answer is up to date behind
// the last transaction.
func (lr *liveRun) awaitStorm(tx *transaction) {
	ctx := context.Background()
	conn := lr.connect(lr.db)
	defer conn.Close(ctx)
	log, err := readRows(ctx, conn)
	if err != nil {
		lr.Error(err)
		return
	}
	i := slices.IndexFunc(log, func(l logged) bool { return l.xid == uint32(tx.xid) })
	if i < 0 {
		lr.Errorf("the last storm is not in the log: %s", tx)
		return
	}
	var forgotten []*follower
	for deadline := time.Now().Add(stormLimit); ; pause(ctx, 20*time.Millisecond) {
		forgotten = forgotten[:0]
		for _, f := range lr.followers {
			if f.sh.stormed && f.seen.Load() < uint64(log[i].end) {
				forgotten = append(forgotten, f)
			}
		}
		if len(forgotten) == 0 {
			return
		}
		if time.Now().After(deadline) {
			break
		}
	}
	lr.Errorf("%d of %d who follow were not told of the last storm, which ends at %d; one is up to date at %d: %s",
		len(forgotten), len(lr.followers), uint64(log[i].end), forgotten[0].seen.Load(), forgotten[0])
}
