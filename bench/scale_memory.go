package main

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// collection is what the Go runtime tells of one collection (GODEBUG=gctrace=1).
type collection struct {
	live  float64       // bytes that it found in use
	pause time.Duration // the longer of the two stops
}

// collections reads them from what a process has said.
func collections(text string) (out []collection) {
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		// gc 7 @0.1s 2%: 0.018+1.3+0.076 ms clock, … ms cpu, 4->5->2 MB, …
		line := lines.Text()
		_, rest, ok := strings.Cut(line, "%: ")
		if !ok || !strings.HasPrefix(line, "gc ") {
			continue
		}
		clock, rest, _ := strings.Cut(rest, " ms clock")
		phases := strings.Split(clock, "+")
		_, rest, _ = strings.Cut(rest, " ms cpu, ")
		sizes, _, _ := strings.Cut(rest, " MB")
		heap := strings.Split(sizes, "->")
		if len(phases) != 3 || len(heap) != 3 {
			continue
		}
		first, _ := strconv.ParseFloat(phases[0], 64)
		last, _ := strconv.ParseFloat(phases[2], 64)
		live, _ := strconv.ParseFloat(heap[2], 64)
		out = append(out, collection{live * (1 << 20), time.Duration(max(first, last) * float64(time.Millisecond))})
	}
	return out
}

// collected waits until a collection has seen all that is kept now. The runtime
// makes one every two minutes at the latest.
func (s *scaled) collected(ctx context.Context) (collection, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	before := len(collections(s.out.String()))
	for {
		if err := sleep(ctx, 500*time.Millisecond); err != nil {
			return collection{}, fmt.Errorf("no collection: %w", err)
		}
		// One that was under way may have begun too early, but nothing was kept
		// since the question was asked.
		if all := collections(s.out.String()); len(all) > before {
			return all[len(all)-1], nil
		}
	}
}

// memory weighs what is kept beside the bodies.
func (sc *scale) memory(ctx context.Context) error {
	sc.section("memory")
	var live, resident, accounted [2]float64
	for i, s := range []*scaled{sc.few, sc.many} {
		c, err := s.collected(ctx)
		if err != nil {
			return err
		}
		m, err := s.metrics()
		if err != nil {
			return err
		}
		live[i], resident[i], accounted[i] = c.live, float64(residentOf(s.pid)), m["tidemark_cache_bytes"]
		sc.say("  %8d answers of %.0f bytes: %6.0f MiB live, %6.0f MiB resident, %6.0f MiB by tidemark's account, %.0f dependencies",
			s.answers(), float64(s.bodies)/float64(s.answers()), live[i]/(1<<20), resident[i]/(1<<20), accounted[i]/(1<<20), m["tidemark_dependencies"])
	}
	more := float64(sc.many.answers() - sc.few.answers())
	body := float64(sc.many.bodies) / float64(sc.many.answers())
	sc.verdict("bytes of heap per answer, beside its body", (live[1]-live[0])/more-body, 1024, false, "bytes")
	sc.fact("bytes of the process per answer, beside its body", (resident[1]-resident[0])/more-body, "bytes")
	sc.fact("tidemark's account, to the heap", (accounted[1]-accounted[0])/(live[1]-live[0]), "×")

	sc.section("collections of garbage, with many answers, since the start")
	var pauses []time.Duration
	for _, c := range collections(sc.many.out.String()) {
		pauses = append(pauses, c.pause)
	}
	slices.Sort(pauses)
	sc.say("     %d of them", len(pauses))
	sc.fact("pause, median", milliseconds(quantile(pauses, 0.5)), "ms")
	sc.fact("pause, longest", milliseconds(quantile(pauses, 1)), "ms")
	return nil
}
