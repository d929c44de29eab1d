package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// cpuEach is the CPU time of the server per request, in µs.
func cpuEach(t *turn) float64 { return microseconds(t.server) / float64(t.requests) }

func sortLatencies(t *turn) {
	slices.Sort(t.latencies)
	t.requests = len(t.latencies)
}

// checks holds checks to their goals.
func (p *permissions) checks() {
	p.section("checks, medians over the rounds")
	least, full := p.turns[workloads[0].String()], p.turns[workloads[1].String()]
	p.verdict("checks per second at minimize_latency", medianOf(least, (*turn).perSecond), 20_000, true, "/s")
	p.verdict("CPU of tidemark per check at minimize_latency", medianOf(least, cpuEach), 50, false, "µs")
	p.fact("checks per second at fully_consistent", medianOf(full, (*turn).perSecond), "/s")
	p.verdict("checks per second, fully_consistent to minimize_latency", ratioOf(full, least, (*turn).perSecond), 0.7, true, "×")
	p.fact("CPU of tidemark per check at fully_consistent", medianOf(full, cpuEach), "µs")
	p.fact("CPU of Postgres per check at fully_consistent", median(p.postgres[workloads[1].String()]), "µs")
}

// others tells what the rest takes.
func (p *permissions) others() {
	p.section("the rest, medians over the rounds; CPU of tidemark and of Postgres")
	for i := range workloads {
		w := &workloads[i]
		each := medianOf(p.turns[w.String()], cpuEach)
		switch w.name {
		case "check":
			continue
		case "bulk":
			p.fact(w.String()+", CPU per check of "+itoa(bulkSize), each/bulkSize, "µs")
			p.fact(w.String()+", checks per second", bulkSize*medianOf(p.turns[w.String()], (*turn).perSecond), "/s")
		case "lookup":
			p.verdict(w.String()+", CPU", each/1000, 5, false, "ms")
		default:
			p.fact(w.String()+", CPU", each, "µs")
			p.fact(w.String()+", CPU of Postgres", median(p.postgres[w.String()]), "µs")
			p.fact(w.String()+", per second", medianOf(p.turns[w.String()], (*turn).perSecond), "/s")
		}
	}
}

// load starts the server over a table that is full.
func (p *permissions) load(ctx context.Context) error {
	p.section("loading")
	begin := time.Now()
	if err := p.server.start(nil); err != nil {
		return err
	}
	if err := p.server.await(ctx); err != nil {
		return err
	}
	took := time.Since(begin)
	p.say("  %d relationships, from the start of the process to its first answer: %.1f s, %.1f s of tidemark's CPU",
		p.relationships, took.Seconds(), timeOf(p.server.pid).Seconds())
	p.verdict("relationships per second", float64(p.relationships)/took.Seconds(), 300_000, true, "/s")
	return p.weigh("after the load")
}

// weigh says what the server takes. What is resident is read before it collects
// its garbage.
func (p *permissions) weigh(when string) error {
	var m memory
	if err := p.server.ask(&m, "memory"); err != nil {
		return err
	}
	p.verdict("resident bytes per relationship, "+when, float64(m.Resident)/float64(p.relationships), 100, false, "bytes")
	p.fact("bytes of live heap per relationship, "+when, float64(m.Heap)/float64(p.relationships), "bytes")
	p.fact("resident bytes per relationship, at most so far", float64(peakOf(p.server.pid))/float64(p.relationships), "bytes")
	return nil
}

// peakOf is the most memory that a process ever had, 0 where nobody says.
func peakOf(pid int) int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(text)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// profileAll takes one more turn of each workload, with the profiler on.
func (p *permissions) profileAll(ctx context.Context, all []workload) error {
	if p.profiles == "" {
		return nil
	}
	for i := range all {
		w := &all[i]
		name := fmt.Sprintf("permissions-%s.pprof", strings.NewReplacer(" ", "-", ",", "").Replace(w.String()))
		path, err := filepath.Abs(filepath.Join(p.profiles, name))
		if err != nil {
			return err
		}
		p.say("profile   %s", path)
		if err := p.server.profile(path, func() error {
			_, err := p.turn(ctx, w)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}
