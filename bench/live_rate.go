package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"
)

// The rates are of rows, at which transactions are offered.
const (
	liveFixed   = 1000             // at which the cost of a change is taken
	liveFirst   = 2000             // of those that grow, up to the last
	liveLast    = 200_000          //
	liveGrowth  = 1.5              // from one to the next
	liveBound   = time.Second      // from the acknowledgement to the last receipt
	liveChanges = 5000             // per second: the goal
	livePublic  = "4,000 to 6,000" // that Electric publishes
)

// population is a server with a number of followers, each of a shape of its own.
type population struct {
	*shaper
	followers []*follower
	// Rows per second that were held, in transactions of one and of several, and
	// where all are in one of the shapes.
	one, many, same []float64
	costs           map[string][]float64
	idle            []float64 // milliseconds of CPU per second without a change
}

// changes are of which rows they are.
type changes struct {
	name    string
	arrives bool
	pick    func(shapes, n int) int
}

var liveLoads = []changes{
	{"of the shapes in turn", true, func(shapes, n int) int {
		return liveOrders*(1+n*stride%shapes) + n/shapes%liveOrders
	}},
	{"of one of the shapes", true, func(_, n int) int { return liveOrders + n%liveOrders }},
	{"of none of the shapes", false, func(_, n int) int { return liveOrders*liveStranger + n%liveOrders }},
}

// rates measures the changes that are held with one shape and with many.
func (l *following) rates(ctx context.Context, db *database) error {
	w, err := openWriter(ctx, db)
	if err != nil {
		return err
	}
	defer w.close()
	turn, step := 5*time.Second, 3*time.Second
	if l.short {
		turn, step = time.Second, time.Second
	}
	var all []*population
	defer func() {
		for _, p := range all {
			p.close()
		}
	}()
	for _, n := range []int{1, 100, l.shapes} {
		p := &population{costs: map[string][]float64{}}
		if p.shaper, err = prepareShaper(ctx, db, fmt.Sprintf("bench_%d", n)); err != nil {
			return err
		}
		all = append(all, p)
		for i := range n {
			p.followers = append(p.followers, &follower{path: shapeOf(nth(i)), stream: true})
		}
	}
	l.section("changes per second with 1 shape and with many, each followed by one event stream")
	l.say("  cost: %d changes per second in transactions of one row. held: the most that was written and received within %v of its commit", liveFixed, liveBound)
	for round := range l.rounds {
		for _, p := range all {
			if err := l.populate(ctx, db, w, p, round, turn, step); err != nil {
				return fmt.Errorf("%s: %w", count(len(p.followers), "shape"), err)
			}
		}
	}
	if l.profiles != "" {
		for _, p := range all {
			if err := l.profileRate(ctx, db, w, p, turn); err != nil {
				return err
			}
		}
	}
	l.say("  medians")
	few, most := all[0], all[len(all)-1]
	for _, p := range all {
		name := count(len(p.followers), "shape")
		l.fact(name+", without a change", median(p.idle), "ms of CPU per second")
		for _, o := range liveLoads {
			if len(p.costs[o.name]) > 0 {
				l.fact(name+", a change "+o.name, median(p.costs[o.name]), "µs of CPU")
			}
		}
		l.verdict(name+", held, transactions of one row", median(p.one), liveChanges, true, "/s")
		l.verdict(name+", held, transactions of ten rows", median(p.many), liveChanges, true, "/s")
	}
	l.say("     Electric publishes %s changes per second, flat in the number of shapes, on a machine of its own", livePublic)
	l.verdict("held with the most shapes, to that with one, one row", median(ratios(most.one, few.one)), 0.8, true, "×")
	l.verdict("held with the most shapes, to that with one, ten rows", median(ratios(most.many, few.many)), 0.8, true, "×")
	l.verdict("held with all changes of one of the most shapes, to one", median(ratios(most.same, few.same)), 0.8, true, "×")
	for _, o := range liveLoads[1:] {
		l.verdict("cost with the most shapes, to that with one, "+o.name, median(ratios(most.costs[o.name], few.costs[o.name])), 1.5, false, "×")
	}
	return nil
}

// populated starts one server with its followers, and returns when it has read
// what the others' turns have left in the log.
func (l *following) populated(ctx context.Context, w *writer, p *population) (*crowd, error) {
	if err := p.start(ctx, l.cpus.server); err != nil {
		return nil, err
	}
	c, err := gather(ctx, p.addr, p.followers)
	if err != nil {
		return nil, err
	}
	if err = p.await(ctx, c, len(c.all)); err == nil {
		c.least.Store(w.serial + 1)
		err = w.write(ctx, [][]int{{liveOrders}})
	}
	if err == nil {
		err = c.until(ctx, "a first receipt", func() bool { return c.count.Load() > 0 })
	}
	if err != nil {
		c.leave()
		return nil, err
	}
	return c, nil
}

// profileRate gives one server a turn that does not count.
func (l *following) profileRate(ctx context.Context, db *database, w *writer, p *population, d time.Duration) (err error) {
	defer func() { err = errors.Join(err, p.stop()) }()
	c, err := l.populated(ctx, w, p)
	if err != nil {
		return err
	}
	defer c.leave()
	name := filepath.Join(l.profiles, fmt.Sprintf("live-rate%d.pprof", len(p.followers)))
	return p.profiled(name, func() error {
		_, err := l.step(ctx, db, p, c, w, 2*liveFirst, 1, d, liveLoads[0])
		return err
	})
}

// populate gives one server its turn.
func (l *following) populate(ctx context.Context, db *database, w *writer, p *population, round int, turn, step time.Duration) (err error) {
	defer func() { err = errors.Join(err, p.stop()) }()
	begin := time.Now()
	c, err := l.populated(ctx, w, p)
	if err != nil {
		return err
	}
	defer c.leave()
	shapes := len(p.followers)
	name := count(shapes, "shape")
	l.say("  %d  %s: followed within %.1f s of the start", round+1, name, time.Since(begin).Seconds())
	idle, err := p.rest(ctx)
	if err != nil {
		return err
	}
	if err := sleep(ctx, turn); err != nil {
		return err
	}
	p.idle = append(p.idle, milliseconds(timeOf(p.pid)-idle)/turn.Seconds())
	for i, o := range liveLoads {
		if i == 1 && shapes == 1 {
			p.costs[o.name] = append(p.costs[o.name], p.costs[liveLoads[0].name][round])
			continue // the same
		}
		s, err := l.step(ctx, db, p, c, w, liveFixed, 1, turn, o)
		if err != nil {
			return err
		}
		l.say("       %-24s %s", o.name, s)
		p.costs[o.name] = append(p.costs[o.name], s.cost)
	}
	for _, k := range []struct {
		rows int
		load changes
		held *[]float64
	}{{1, liveLoads[0], &p.one}, {10, liveLoads[0], &p.many}, {1, liveLoads[1], &p.same}} {
		if k.held == &p.same && shapes == 1 {
			p.same = append(p.same, p.one[round])
			continue // the same
		}
		best, beyond, err := l.climb(ctx, db, p, c, w, k.rows, step, k.load)
		if err != nil {
			return err
		}
		*k.held = append(*k.held, best.rate)
		l.say("       %s, held, %d to a transaction", k.load.name, k.rows)
		l.say("       %24s %s", "", best)
		l.say("       %24s %7.0f/s were offered: %.0f/s were written, and received within %.0f ms", "", beyond.offered, beyond.rate, milliseconds(beyond.most))
	}
	return l.judge(ctx, db, c, nth, tableRows)
}

// climb offers more and more until it is not held, then once what lies between. It
// returns the most that was held, and the least that was not.
func (l *following) climb(ctx context.Context, db *database, p *population, c *crowd, w *writer, rows int, d time.Duration, o changes) (best, beyond stepped, err error) {
	// Once more if it is not: something else may have had the machine.
	try := func(rate float64) (bool, error) {
		for range 2 {
			s, err := l.step(ctx, db, p, c, w, rate, rows, d, o)
			if err != nil {
				return false, err
			}
			if s.held() {
				best = s
				return true, nil
			}
			beyond = s
		}
		return false, nil
	}
	for rate := float64(liveFirst); rate < liveLast; rate *= liveGrowth {
		held, err := try(rate)
		if err != nil {
			return best, beyond, err
		}
		if !held {
			_, err = try(rate / math.Sqrt(liveGrowth))
			return best, beyond, err
		}
	}
	return best, beyond, nil
}

// stepped is what one rate showed.
type stepped struct {
	offered, rate  float64
	p50, p99, most time.Duration
	cost, postgres float64 // µs of CPU of a change
	tidemark, own  float64 // CPUs in use, by tidemark and the load generator
}

// held is whether the writer kept to the rate and the followers to the bound.
func (s stepped) held() bool { return s.rate >= 0.95*s.offered && s.most <= liveBound }

func (s stepped) String() string {
	return fmt.Sprintf("%7.0f/s  received after p50 %7.2f  p99 %7.2f  max %7.2f ms  CPU of a change: tidemark %6.1f µs, postgres %6.1f µs  CPUs: tidemark %.2f, generator %.2f",
		s.rate, milliseconds(s.p50), milliseconds(s.p99), milliseconds(s.most), s.cost, s.postgres, s.tidemark, s.own)
}

// step offers changes at a rate and waits until all were received, each once.
func (l *following) step(ctx context.Context, db *database, p *population, c *crowd, w *writer, rate float64, rows int, d time.Duration, o changes) (s stepped, err error) {
	used, err := p.rest(ctx)
	if err != nil {
		return s, err
	}
	c.receipts()
	c.least.Store(w.serial + 1)
	w.forget()
	meter := newMeter(db.server.PID())
	postgres, err := meter.read()
	if err != nil {
		return s, err
	}
	own := ownTime()
	s.offered = rate
	took, err := w.offer(ctx, rate, rows, d, func(n int) int { return o.pick(len(p.followers), n) })
	if err != nil {
		return s, err
	}
	n := len(w.acked)
	own = ownTime() - own
	s.own = own.Seconds() / took.Seconds()
	s.tidemark = (timeOf(p.pid) - used).Seconds() / took.Seconds()
	if o.arrives {
		if err := c.until(ctx, fmt.Sprintf("%d receipts", n), func() bool { return int(c.count.Load()) >= n }); err != nil {
			return s, fmt.Errorf("%w: %d receipts", err, c.count.Load())
		}
	}
	after, err := p.rest(ctx)
	if err != nil {
		return s, err
	}
	now, err := meter.read()
	if err != nil {
		return s, err
	}
	s.rate = float64(n) / took.Seconds()
	s.cost, s.postgres = microseconds(after-used)/float64(n), microseconds(now-postgres)/float64(n)
	if !o.arrives {
		return s, nil
	}
	delayed := make([]time.Duration, 0, n)
	seen := make([]bool, n)
	for _, got := range c.receipts() {
		for _, r := range got {
			if at := r.serial - w.at - 1; seen[at] {
				l.wrong++
				l.say("  the change with serial number %d was received twice", r.serial)
			} else {
				seen[at] = true
			}
			delayed = append(delayed, max(0, time.Duration(r.at-w.ack(r.serial))))
		}
	}
	slices.Sort(delayed)
	s.p50, s.p99, s.most = quantile(delayed, 0.5), quantile(delayed, 0.99), delayed[len(delayed)-1]
	return s, nil
}
