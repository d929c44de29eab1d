package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// runPermissions asks a server for permissions over gRPC.
func runPermissions(ctx context.Context, s *sitting) error {
	if s.large {
		return runPermissionsLarge(ctx, s)
	}
	p, err := openPermissions(ctx, s, 1, nil)
	if err != nil {
		return err
	}
	defer p.close()
	cpus, restore, err := pinned(s)
	if err != nil {
		return err
	}
	defer restore()
	if err := confine(p.db.server.PID(), cpus.server); err != nil {
		return err
	}
	if err := p.server.start(cpus.server); err != nil {
		return err
	}
	if err := p.server.await(ctx); err != nil {
		return err
	}
	p.readers = p.office.readers(1500)
	p.say("lookups   of %d users, with %d documents on average", len(p.readers), mean(p.readers))
	if err := p.measure(ctx, workloads); err != nil {
		return err
	}
	p.checks()
	p.others()
	if err := p.profileAll(ctx, workloads); err != nil {
		return err
	}
	restore()
	return runPublicClient(ctx, s, p.server)
}

// runPermissionsLarge loads a hundred offices.
func runPermissionsLarge(ctx context.Context, s *sitting) error {
	scale := 100
	if s.short {
		scale = 2
	}
	p, err := openPermissions(ctx, s, scale, map[string]string{"fsync": "off", "max_wal_size": "16GB"})
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.load(ctx); err != nil {
		return err
	}
	cpus, restore, err := pinned(s)
	if err != nil {
		return err
	}
	defer restore()
	for _, pid := range []int{p.db.server.PID(), p.server.pid} {
		if err := confine(pid, cpus.server); err != nil {
			return err
		}
	}
	only := []workload{workloads[0], workloads[1]}
	if err := p.measure(ctx, only); err != nil {
		return err
	}
	p.checks()
	if err := p.weigh("after the checks"); err != nil {
		return err
	}
	return p.profileAll(ctx, only)
}

// permissions is one measurement.
type permissions struct {
	*sitting
	office        *office
	relationships int64
	db            *database
	server        *authority
	readers       []reader
	notes         atomic.Int64
	turns         map[string][]*turn
	postgres      map[string][]float64 // µs per request
	callers       uint64               // so far; each draws in a way of its own
}

func openPermissions(ctx context.Context, s *sitting, scale int, settings map[string]string) (_ *permissions, err error) {
	p := &permissions{sitting: s, postgres: map[string][]float64{}}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.db, err = openDatabase(ctx, s, settings); err != nil {
		return nil, err
	}
	if p.server, err = prepareAuthority(ctx, p.db, "bench_permissions"); err != nil {
		return nil, err
	}
	begin := time.Now()
	p.office = newOffice(scale)
	if p.relationships, err = p.db.fill(ctx, p.office, p.server.slot); err != nil {
		return nil, err
	}
	s.say("model     %d relationships: %d users, %d groups in 3 levels, %d folders in %d levels, %d documents; in the table after %.0f s",
		p.relationships, p.office.users, p.office.leaves+p.office.mids+p.office.top, len(p.office.up), officeDepth, p.office.documents,
		time.Since(begin).Seconds())
	return p, nil
}

func (p *permissions) close() {
	if p.server != nil {
		p.server.close()
	}
	if p.db != nil {
		p.db.close()
	}
}

// workload is one kind of request at one level.
type workload struct {
	name  string
	level level
	ask   func(*caller, context.Context, int) error
}

var workloads = []workload{
	{"check", minimizeLatency, (*caller).check},
	{"check", fullyConsistent, (*caller).check},
	{"bulk", minimizeLatency, (*caller).bulk},
	{"bulk", fullyConsistent, (*caller).bulk},
	{"lookup", minimizeLatency, (*caller).lookup},
	{"lookup", fullyConsistent, (*caller).lookup},
	{"mixed", minimizeLatency, (*caller).mixed},
	{"mixed", fullyConsistent, (*caller).mixed},
	{"write", minimizeLatency, (*caller).write},
	{"write, check at token", minimizeLatency, (*caller).writeAndCheck},
	{"write, check", fullyConsistent, (*caller).writeAndCheck},
}

func (w *workload) String() string {
	if w.name == "write" || w.name == "write, check at token" {
		return w.name // has a level of its own
	}
	return w.name + " " + w.level.String()
}

// measure gives every workload its turns.
func (p *permissions) measure(ctx context.Context, all []workload) (err error) {
	p.section("rounds")
	contenders := make([]contender, len(all))
	for i := range all {
		w := &all[i]
		contenders[i] = contender{w.String(), func(ctx context.Context) (*turn, error) { return p.turn(ctx, w) }}
	}
	p.turns, err = alternate(ctx, p.sitting, contenders)
	return err
}

// turn drives one workload. The server's time is tidemark's own.
func (p *permissions) turn(ctx context.Context, w *workload) (*turn, error) {
	workers := make([]worker, p.connections)
	for i := range workers {
		p.callers++
		workers[i] = &caller{
			PermissionsServiceClient: p.server.client(i), office: p.office, level: w.level, ask: w.ask,
			rng: rand.New(rand.NewPCG(7, p.callers)), readers: p.readers, notes: &p.notes,
		}
	}
	if _, _, err := drive(ctx, warmUp, workers); err != nil {
		return nil, err
	}
	before, err := newMeter(p.db.server.PID()).read()
	if err != nil {
		return nil, err
	}
	t := &turn{}
	own, server := ownTime(), timeOf(p.server.pid)
	if t.elapsed, t.latencies, err = drive(ctx, p.duration, workers); err != nil {
		return nil, err
	}
	t.server, t.generator = timeOf(p.server.pid)-server, ownTime()-own
	after, err := newMeter(p.db.server.PID()).read()
	if err != nil {
		return nil, err
	}
	sortLatencies(t)
	if t.requests == 0 || t.server == 0 {
		return nil, errors.New("the turn was too short to count anything")
	}
	postgres := microseconds(after-before) / float64(t.requests)
	p.postgres[w.String()] = append(p.postgres[w.String()], postgres)
	t.note = fmt.Sprintf("  CPU of each: tidemark %.1f µs, postgres %.1f µs", cpuEach(t), postgres)
	return t, nil
}
