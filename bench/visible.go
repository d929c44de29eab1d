package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

var visibleSchema = []string{
	`CREATE TABLE points (id int PRIMARY KEY, value int NOT NULL, label text NOT NULL)`,
	`INSERT INTO points SELECT n, 0, 'point ' || n FROM generate_series(1, 1000) n`,
	`ALTER TABLE points REPLICA IDENTITY FULL`,
	`CREATE PUBLICATION ` + publication + ` FOR TABLE points`,
}

var visibleEndpoints = map[string]string{
	"point.sql": "-- GET /v1/points/{id}\n-- result: one\nSELECT id, value, label FROM points WHERE id = :id\n",
}

// delays are how long after a commit was acknowledged something happened. They
// may be negative: the log is read before the acknowledgement is.
type delays struct {
	commit   []time.Duration // the commit itself, by the writer's clock
	applied  []time.Duration
	answered []time.Duration
	did      figures
}

// runVisible commits to one row, again and again, and watches for the new value.
func runVisible(ctx context.Context, s *sitting) error {
	db, err := openDatabase(ctx, s, nil, visibleSchema...)
	if err != nil {
		return err
	}
	defer db.close()
	if err := db.settle(ctx); err != nil {
		return err
	}
	s.say("commits   %d in a turn, synchronous, one at a time, up to 5 ms apart", s.commits)
	s.section("rounds: milliseconds from the acknowledgement of the commit")
	contenders := []struct {
		name string
		turn func(context.Context, *sitting, *database) (*delays, error)
	}{
		{"tidemark, polled", visibleOverHTTP},
		{"tidemark, not polled", visibleAtTidemark},
		{"bare loop that decodes", visibleToDecoder},
	}
	all := map[string]*delays{}
	for round := range s.rounds {
		for _, c := range contenders {
			d, err := c.turn(ctx, s, db)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			s.say("  %d  %-24s commit    %s", round+1, c.name, describe(d.commit))
			s.say("     %-24s applied   %s", "", describe(d.applied))
			if d.answered != nil {
				s.say("     %-24s answered  %s", "", describe(d.answered))
				s.say("     %-24s %d hits, %d fills, %d questions to the primary, %d flushes", "",
					d.did.Hits, d.did.Fills, d.did.Questions, d.did.Flushes)
			}
			sum := all[c.name]
			if sum == nil {
				sum = &delays{}
				all[c.name] = sum
			}
			sum.commit = append(sum.commit, d.commit...)
			sum.applied = append(sum.applied, d.applied...)
			sum.answered = append(sum.answered, d.answered...)
		}
	}
	s.section("all rounds together; what came before the acknowledgement counts as 0")
	polled, quiet, bare := all[contenders[0].name], all[contenders[1].name], all[contenders[2].name]
	s.verdict("commit to answer over HTTP, p50", clamped(polled.answered, 0.5), 1, false, "ms")
	s.verdict("commit to answer over HTTP, p99", clamped(polled.answered, 0.99), 5, false, "ms")
	for _, f := range []struct {
		what string
		d    []time.Duration
	}{
		{"commit to applied, polled", polled.applied},
		{"commit to applied, not polled", quiet.applied},
		{"commit to decoded by the bare loop", bare.applied},
	} {
		s.fact(f.what+", p50", clamped(f.d, 0.5), "ms")
		s.fact(f.what+", p99", clamped(f.d, 0.99), "ms")
	}
	// From before the commit, everything is positive and can be divided.
	s.fact("begin of commit to applied, to the bare loop, p50", whole(quiet, 0.5)/whole(bare, 0.5), "×")
	s.fact("begin of commit to applied, to the bare loop, p99", whole(quiet, 0.99)/whole(bare, 0.99), "×")
	return nil
}

func describe(d []time.Duration) string {
	sorted := slices.Sorted(slices.Values(d))
	early := 0
	for early < len(sorted) && sorted[early] < 0 {
		early++
	}
	return fmt.Sprintf("p50 %7.3f  p90 %7.3f  p99 %7.3f  max %7.3f  before it: %d of %d",
		milliseconds(quantile(sorted, 0.5)), milliseconds(quantile(sorted, 0.9)), milliseconds(quantile(sorted, 0.99)),
		milliseconds(sorted[len(sorted)-1]), early, len(sorted))
}

func clamped(d []time.Duration, q float64) float64 {
	return max(0, milliseconds(quantile(slices.Sorted(slices.Values(d)), q)))
}

// whole is a quantile of the time from the beginning of the commit.
func whole(d *delays, q float64) float64 {
	sum := make([]time.Duration, len(d.applied))
	for i := range sum {
		sum[i] = d.commit[i] + d.applied[i]
	}
	slices.Sort(sum)
	return milliseconds(quantile(sum, q))
}

// watchedPoint is the row that is written.
const watchedPoint = 7

// commits makes one commit after the other. seen returns when something showed
// the value that was committed, if anything looks for it, and then applied when
// the process that follows the log had applied it.
func commits(ctx context.Context, s *sitting, db *database, follower *child, seen func(context.Context, int64) (time.Time, error)) (*delays, error) {
	conn, err := pgx.Connect(ctx, db.dsn)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.Background())
	d := &delays{}
	const unmeasured = 20
	for n := range s.commits + unmeasured {
		if err := sleep(ctx, rand.N(5*time.Millisecond)); err != nil {
			return nil, err
		}
		value, err := nextValue(ctx, conn)
		if err != nil {
			return nil, err
		}
		watch := make(chan struct{})
		var at time.Time
		var watchErr error
		if seen != nil {
			go func() {
				defer close(watch)
				at, watchErr = seen(ctx, value)
			}()
		}
		begin := time.Now()
		var got int64
		err = conn.QueryRow(ctx, "UPDATE points SET value = $1 WHERE id = $2 RETURNING value", value, watchedPoint).Scan(&got)
		acknowledged := time.Now()
		if err != nil {
			return nil, err
		}
		if seen != nil {
			<-watch
			if watchErr != nil {
				return nil, watchErr
			}
		}
		applied, err := appliedAfter(ctx, follower, begin)
		if err != nil {
			return nil, err
		}
		if n < unmeasured {
			continue
		}
		d.commit = append(d.commit, acknowledged.Sub(begin))
		d.applied = append(d.applied, applied.Sub(acknowledged.Round(0)))
		if seen != nil {
			d.answered = append(d.answered, at.Sub(acknowledged))
		}
	}
	return d, nil
}

func nextValue(ctx context.Context, conn *pgx.Conn) (value int64, err error) {
	err = conn.QueryRow(ctx, "SELECT value + 1 FROM points WHERE id = $1", watchedPoint).Scan(&value)
	return value, err
}

// appliedAfter returns when a child applied the first transaction after a moment.
// Nobody else writes. The child is asked afterwards, so that asking does not
// disturb.
func appliedAfter(ctx context.Context, follower *child, begin time.Time) (time.Time, error) {
	var f figures
	for try := 0; try < 2000; try++ {
		if err := follower.ask(&f, "figures"); err != nil {
			return time.Time{}, err
		}
		if f.LastApply > begin.UnixNano() {
			return time.Unix(0, f.LastApply), nil
		}
		if err := sleep(ctx, 2*time.Millisecond); err != nil {
			return time.Time{}, err
		}
	}
	return time.Time{}, errors.New("a commit was not applied")
}

// visibleOverHTTP polls the answer in a tight loop, as a client that waits for
// its own write would.
func visibleOverHTTP(ctx context.Context, s *sitting, db *database) (*delays, error) {
	t, err := startTide(ctx, nil, db, "bench_visible", visibleEndpoints)
	if err != nil {
		return nil, err
	}
	defer t.close()
	polling, stop := context.WithCancel(ctx)
	p := &poller{conn: newHTTPConn(t.addr), shown: make(chan time.Time, 1)}
	done := make(chan error, 1)
	go func() { done <- p.run(polling) }()
	d, err := commits(ctx, s, db, t.child, p.await)
	stop()
	if err := errors.Join(err, <-done); err != nil {
		return nil, err
	}
	d.did, err = t.figures()
	return d, err
}

// poller asks for one answer over and over.
type poller struct {
	conn  *httpConn
	want  atomic.Int64 // 0: nothing
	shown chan time.Time
}

func (p *poller) run(ctx context.Context) error {
	defer p.conn.close()
	ask := request("/v1/points/"+strconv.Itoa(watchedPoint), "")
	for ctx.Err() == nil {
		r, err := p.conn.get(ask)
		if err != nil {
			return err
		}
		now := time.Now()
		_, text, ok := bytes.Cut(r.body, []byte(`"value":`))
		text, _, ok2 := bytes.Cut(text, []byte(","))
		if !ok || !ok2 || r.status != 200 {
			return fmt.Errorf("%w: %s%s", errResponse, r.head, r.body)
		}
		value, err := strconv.ParseInt(string(text), 10, 64)
		if err != nil {
			return err
		}
		if want := p.want.Load(); want != 0 && value >= want {
			p.want.Store(0)
			p.shown <- now
		}
	}
	return nil
}

func (p *poller) await(ctx context.Context, value int64) (time.Time, error) {
	p.want.Store(value)
	select {
	case at := <-p.shown:
		return at, nil
	case <-time.After(patience):
		return time.Time{}, errors.New("the new value never came")
	case <-ctx.Done():
		return time.Time{}, context.Cause(ctx)
	}
}

// visibleAtTidemark lets nobody ask, so that nothing but the log moves.
func visibleAtTidemark(ctx context.Context, s *sitting, db *database) (*delays, error) {
	t, err := startTide(ctx, nil, db, "bench_visible", visibleEndpoints)
	if err != nil {
		return nil, err
	}
	defer t.close()
	return commits(ctx, s, db, t.child, nil)
}

// visibleToDecoder follows the log and does nothing with it.
func visibleToDecoder(ctx context.Context, s *sitting, db *database) (*delays, error) {
	c, err := startChild(nil, nil, "decode", "-database", db.dsn, "-slot", "bench_decode")
	if err != nil {
		return nil, err
	}
	defer c.close()
	return commits(ctx, s, db, c, nil)
}
