package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// worker is one client of a closed loop: it makes one request after the other.
type worker interface {
	// request makes the n-th request and checks its response.
	request(ctx context.Context, n int) error
	close()
}

// turn is what one contender achieved in one turn.
type turn struct {
	requests  int
	elapsed   time.Duration
	server    time.Duration // CPU time of the server's processes
	generator time.Duration // of this one
	latencies []time.Duration
	note      string
}

func (t *turn) perSecond() float64    { return float64(t.requests) / t.elapsed.Seconds() }
func (t *turn) perCPUSecond() float64 { return float64(t.requests) / t.server.Seconds() }

func (t *turn) String() string {
	return fmt.Sprintf("%9.0f req/s  %9.0f req/CPU-s  p50 %7.3f ms  p99 %7.3f ms  CPUs: server %.2f, generator %.2f%s",
		t.perSecond(), t.perCPUSecond(),
		milliseconds(quantile(t.latencies, 0.5)), milliseconds(quantile(t.latencies, 0.99)),
		t.server.Seconds()/t.elapsed.Seconds(), t.generator.Seconds()/t.elapsed.Seconds(), t.note)
}

// warmUp is how long a load runs before it counts.
const warmUp = 500 * time.Millisecond

// load runs workers for a while against a server that consists of processes and
// of all that is below them. What they use is read while nothing is asked of them,
// because reading it takes long on a busy machine.
func load(ctx context.Context, d time.Duration, workers []worker, server ...int) (*turn, error) {
	if _, _, err := drive(ctx, warmUp, workers); err != nil {
		return nil, err
	}
	cpu := newMeter(server...)
	before, err := cpu.read()
	if err != nil {
		return nil, err
	}
	t := &turn{}
	own := ownTime()
	if t.elapsed, t.latencies, err = drive(ctx, d, workers); err != nil {
		return nil, err
	}
	t.generator = ownTime() - own
	after, err := cpu.read()
	if err != nil {
		return nil, err
	}
	t.server = after - before
	slices.Sort(t.latencies)
	t.requests = len(t.latencies)
	if t.requests == 0 || t.server == 0 {
		return nil, errors.New("the turn was too short to count anything")
	}
	return t, nil
}

// drive has every worker make requests until the time is over or one fails, and
// returns when the last has its response.
func drive(ctx context.Context, d time.Duration, workers []worker) (time.Duration, []time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	latencies := make([][]time.Duration, len(workers))
	var all sync.WaitGroup
	start := time.Now()
	for i, w := range workers {
		all.Go(func() {
			own := make([]time.Duration, 0, 1<<12)
			begin := time.Now()
			for n := i; begin.Sub(start) < d && ctx.Err() == nil; n++ {
				if err := w.request(ctx, n); err != nil {
					cancel(err)
					break
				}
				end := time.Now()
				own = append(own, end.Sub(begin))
				begin = end
			}
			latencies[i] = own
		})
	}
	all.Wait()
	return time.Since(start), slices.Concat(latencies...), context.Cause(ctx)
}

// sleep waits, and returns why it was cut short.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// page is one thing to ask for over HTTP, and the length of the right answer.
type page struct {
	path    string
	request []byte
	length  int
}

// httpWorker asks for one page after the other.
type httpWorker struct {
	*httpConn
	pages []page
}

// stride spreads the clients over the pages.
const stride = 7919

func (w *httpWorker) request(_ context.Context, n int) error {
	p := &w.pages[n*stride%len(w.pages)]
	r, err := w.get(p.request)
	if err != nil {
		return err
	}
	if r.status != 200 || len(r.body) != p.length {
		return fmt.Errorf("%w: status %d with %d bytes, want 200 with %d\n%s%s", errResponse, r.status, len(r.body), p.length, r.head, r.body)
	}
	return nil
}

// contender takes part in a comparison.
type contender struct {
	name string
	turn func(context.Context) (*turn, error)
}

// alternate gives every contender its turn, round after round, and returns the
// turns of each.
func alternate(ctx context.Context, s *sitting, contenders []contender) (map[string][]*turn, error) {
	out := map[string][]*turn{}
	for round := range s.rounds {
		for _, c := range contenders {
			t, err := c.turn(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			s.say("  %d  %-28s %s", round+1, c.name, t)
			out[c.name] = append(out[c.name], t)
		}
	}
	s.section("medians")
	for _, c := range contenders {
		s.say("     %-28s %9.0f req/s  %9.0f req/CPU-s  p50 %7.3f ms  p99 %7.3f ms", c.name,
			medianOf(out[c.name], (*turn).perSecond), medianOf(out[c.name], (*turn).perCPUSecond),
			medianOf(out[c.name], func(t *turn) float64 { return milliseconds(quantile(t.latencies, 0.5)) }),
			medianOf(out[c.name], func(t *turn) float64 { return milliseconds(quantile(t.latencies, 0.99)) }))
	}
	return out, nil
}

func each(turns []*turn, f func(*turn) float64) []float64 {
	out := make([]float64, len(turns))
	for i, t := range turns {
		out[i] = f(t)
	}
	return out
}

func medianOf(turns []*turn, f func(*turn) float64) float64 { return median(each(turns, f)) }

// ratioOf is the median over the rounds of one contender's figure to another's.
func ratioOf(a, b []*turn, f func(*turn) float64) float64 {
	return median(ratios(each(a, f), each(b, f)))
}

// layout says which CPUs belong to the servers and which to the load generator.
// Without CPUs nobody is confined.
type layout struct{ server, generator []int }

// pinned reserves the last CPU for the load generator. A server that shares a
// CPU with its load is measured on what the load left of it.
func pinned(s *sitting) (l layout, restore func(), err error) {
	nothing := func() {}
	if !s.pin {
		s.say("CPUs      shared by servers and load generator")
		return l, nothing, nil
	}
	cpus, err := allowed()
	if err != nil {
		return l, nothing, err
	}
	if len(cpus) < 2 {
		s.say("CPUs      one, shared by servers and load generator")
		return l, nothing, nil
	}
	last := len(cpus) - 1
	l = layout{cpus[:last], cpus[last:]}
	s.say("CPUs      %d for the servers, %d for the load generator", len(l.server), len(l.generator))
	return l, func() { _ = confineSelf(cpus) }, confineSelf(l.generator)
}
