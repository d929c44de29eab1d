package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"
)

// few is the number of answers that many are compared with.
const few = 1000

// runChange applies changes to a store with few answers and to one with many.
//
// Among a thousand accounts, both stores touch the same memory, and what is left
// is how the work grows. Among all, the larger one also finds what it needs in no
// cache of the CPU.
func runChange(ctx context.Context, s *sitting) error {
	if s.answers < few {
		return fmt.Errorf("-answers must be at least %d", few)
	}
	s.say("answers   of 200 bytes, of %d endpoints over one table, each narrowed to one account; a change is an update", bankEndpoints)
	sizes := []int{few, s.answers}
	banks := make([]*child, len(sizes))
	for i, n := range sizes {
		var built time.Duration
		c, err := startChild(nil, &built, "answers", "-answers", itoa(n))
		if err != nil {
			return err
		}
		defer c.close()
		s.say("          %8d cached within %v", n, built.Round(time.Millisecond))
		banks[i] = c
	}
	hot, all := few, s.answers
	for _, m := range []struct {
		name string
		kind kind
	}{
		{"touching one answer, of a thousand accounts", kind{Each: 1, Touching: true, Accounts: hot}},
		{"touching none, of a thousand accounts", kind{Each: 1, Accounts: hot}},
		{"touching one answer, of all accounts", kind{Each: 1, Touching: true, Accounts: all}},
		{"touching none, of as many accounts", kind{Each: 1, Accounts: all}},
		{"100 to a transaction, touching one answer each, of all accounts", kind{Each: 100, Touching: true, Accounts: all}},
		{"100 to a transaction, touching none, of as many accounts", kind{Each: 100, Accounts: all}},
	} {
		m.kind.For = s.duration / 10 // of applying; filling again comes on top
		s.section(m.name)
		if err := s.changes(ctx, banks, sizes, m.kind); err != nil {
			return err
		}
	}
	if s.profiles == "" {
		return nil
	}
	path, err := filepath.Abs(filepath.Join(s.profiles, "change.pprof"))
	if err != nil {
		return err
	}
	s.say("profile   %s", path)
	return banks[1].profile(path, func() error {
		_, err := apply(banks[1], kind{Each: 1, Touching: true, Accounts: all, For: s.duration})
		return err
	})
}

// changes gives each store its turns with one kind of change.
func (s *sitting) changes(ctx context.Context, banks []*child, sizes []int, k kind) error {
	took := make([][]float64, len(banks))
	for round := range s.rounds {
		for i, n := range sizes {
			if err := ctx.Err(); err != nil {
				return err
			}
			c, err := apply(banks[i], k)
			if err != nil {
				return err
			}
			s.say("  %d  %8d answers  a change: median %6.0f ns  p99 %7.0f ns  mean %6.0f ns of CPU  %4.1f allocations of %4.0f bytes  %d collections",
				round+1, n, c.Median, c.P99, c.Mean, c.Allocations, c.Bytes, c.Collections)
			took[i] = append(took[i], c.Median)
		}
	}
	s.say("     medians: %.0f ns with %d answers, %.0f ns with %d", median(took[0]), sizes[0], median(took[1]), sizes[1])
	s.verdict(fmt.Sprintf("cost with %d answers, to that with %d", sizes[1], sizes[0]), median(ratios(took[1], took[0])), 1.5, false, "×")
	return nil
}

func apply(bank *child, k kind) (c cost, err error) {
	text, err := json.Marshal(k)
	if err != nil {
		return c, err
	}
	return c, bank.ask(&c, "apply", string(text))
}
