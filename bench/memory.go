package main

import (
	"context"
)

// runMemory fills stores and weighs them.
func runMemory(ctx context.Context, s *sitting) error {
	s.say("answers   %d, of 200 bytes, with one dependency each", s.answers)
	s.section("rounds: bytes per answer, its body included")
	var taken, off []float64
	for round := range s.rounds {
		if err := ctx.Err(); err != nil {
			return err
		}
		m, err := weigh(s.answers)
		if err != nil {
			return err
		}
		n := float64(m.Answers)
		s.say("  %d  on the heap %6.1f   by the store's account %6.1f   of the process %6.1f",
			round+1, float64(m.Heap)/n, float64(m.Accounted)/n, float64(m.Resident)/n)
		taken = append(taken, float64(m.Heap)/n)
		off = append(off, float64(m.Accounted)/float64(m.Heap))
	}
	s.section("medians")
	s.fact("bytes of heap per answer", median(taken), "bytes")
	s.fact("beside its body", median(taken)-200, "bytes")
	s.fact("the store's account, to the truth", median(off), "×")
	return nil
}

func weigh(answers int) (m memory, err error) {
	c, err := startChild(nil, nil, "answers", "-answers", itoa(answers))
	if err != nil {
		return m, err
	}
	defer c.close()
	return m, c.ask(&m, "memory")
}
