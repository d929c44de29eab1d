package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// runMemory fills stores and weighs them.
func runMemory(ctx context.Context, s *sitting) error {
	s.say("answers   %d, of 200 bytes, with one dependency each", s.answers)
	s.section("a store alone: bytes per answer, its body included")
	var taken, off []float64
	for round := range s.rounds {
		if err := ctx.Err(); err != nil {
			return err
		}
		m, err := weighStore(s.answers)
		if err != nil {
			return err
		}
		s.say("  %d  %s", round+1, m)
		taken = append(taken, m.each(m.Heap))
		off = append(off, m.off())
	}
	s.fact("bytes of heap per answer", median(taken), "bytes")
	s.fact("beside its body", median(taken)-200, "bytes")
	s.fact("the store's account, to the truth", median(off), "×")

	n := min(s.answers, 100_000)
	s.section(fmt.Sprintf("a whole tidemark, of whose %d answers each was asked for over HTTP", n))
	return s.weighServer(ctx, n)
}

// each returns a number of bytes per answer.
func (m memory) each(bytes int64) float64 { return float64(bytes) / float64(m.Answers) }

// off is how much of the truth the store's account is.
func (m memory) off() float64 { return float64(m.Accounted) / float64(m.Heap) }

func (m memory) String() string {
	return fmt.Sprintf("on the heap %6.1f   by the store's account %6.1f   of the process %6.1f",
		m.each(m.Heap), m.each(m.Accounted), m.each(m.Resident))
}

func weighStore(answers int) (m memory, err error) {
	c, err := startChild(nil, nil, "answers", "-answers", itoa(answers))
	if err != nil {
		return m, err
	}
	defer c.close()
	return m, c.ask(&m, "memory")
}

// weighServer weighs a tidemark before and after it answered, and again after it
// answered from memory: what a face keeps beside an answer counts too.
func (s *sitting) weighServer(ctx context.Context, n int) error {
	db, err := openDatabase(ctx, s, nil,
		`CREATE TABLE points (id int PRIMARY KEY, label text NOT NULL)`,
		fmt.Sprintf(`INSERT INTO points SELECT n, rpad('point ' || n, 176, '.') FROM generate_series(1, %d) n`, n),
		`CREATE PUBLICATION `+publication+` FOR TABLE points`)
	if err != nil {
		return err
	}
	defer db.close()
	if err := db.settle(ctx); err != nil {
		return err
	}
	t, err := startTide(ctx, nil, db, "bench_memory", map[string]string{
		"point.sql": "-- GET /v1/points/{id}\n-- result: one\nSELECT id, label FROM points WHERE id = :id\n",
	})
	if err != nil {
		return err
	}
	defer t.close()
	var before memory
	if err := t.ask(&before, "memory"); err != nil {
		return err
	}
	var after memory
	for _, what := range []string{"filled", "then hit once"} {
		if err := fetchAll(t.addr, n); err != nil {
			return err
		}
		if err := t.ask(&after, "memory"); err != nil {
			return err
		}
		if after.Answers != int64(n) {
			return fmt.Errorf("%d answers are cached, want %d", after.Answers, n)
		}
		after.Heap -= before.Heap
		s.say("     %-13s  %s", what, after)
		s.fact("the store's account, to the truth, "+what, after.off(), "×")
	}
	return nil
}

// fetchAll asks for every point, with a few connections that then end.
func fetchAll(addr string, n int) error {
	const conns = 8
	var all sync.WaitGroup
	errs := make([]error, conns)
	for i := range conns {
		all.Go(func() {
			conn := newHTTPConn(addr)
			defer conn.close()
			for id := 1 + i; id <= n && errs[i] == nil; id += conns {
				r, err := conn.get(request(fmt.Sprintf("/v1/points/%d", id), ""))
				if err == nil && r.status != 200 {
					err = fmt.Errorf("point %d: %w: %s%s", id, errResponse, r.head, r.body)
				}
				errs[i] = err
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
