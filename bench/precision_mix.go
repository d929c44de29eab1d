package main

import (
	"context"
	"slices"
)

// mixed is what the second pass counted.
type mixed struct {
	Writes, Reads    int
	First            int // reads of what had not been asked for before
	Hits, TableHits  int
	Fills, Questions float64
}

// mix is the second pass: reads of any answer, Zipf distributed like the writes
// between them. The hits of a cache that drops answers by table are worked out
// from the same reads.
func (p *precision) mix(ctx context.Context) (m mixed, err error) {
	m.Writes = p.writes / 10
	k := newKeys(3)
	pipe, err := dialPipe(p.tide.addr)
	if err != nil {
		return m, err
	}
	defer pipe.close()
	known, filled := map[string]*ask{}, map[*ask]int{}
	for _, a := range p.asks { // in memory since the first pass
		known[a.path], filled[a] = a, 0
	}
	written := map[string]int{} // the last write of a table
	byName := map[string]*shape{}
	for i := range shapes {
		byName[shapes[i].name] = &shapes[i]
	}
	read := func(n int) ([]*ask, error) {
		var asks []*ask
		for range precisionReads {
			s := &shapes[k.IntN(len(shapes))]
			a := askFor(p.files[s.name], s.values(k))
			if known[a.path] == nil {
				known[a.path] = a
			}
			a = known[a.path]
			asks = append(asks, a)
			m.Reads++
			at, before := filled[a]
			if !before {
				m.First++
			}
			if before && !slices.ContainsFunc(byName[a.endpoint].tables, func(t string) bool { return written[t] > at }) {
				m.TableHits++
			} else {
				filled[a] = n
			}
		}
		return asks, pipe.get(asks, func(_ *ask, s seen) {
			if s.hit {
				m.Hits++
			}
		})
	}
	// What a cache holds when it has run for a while; these reads do not count.
	for range m.Writes / 2 {
		if _, err := read(0); err != nil {
			return m, err
		}
	}
	m.Reads, m.First, m.Hits, m.TableHits = 0, 0, 0, 0
	fills, questions, err := p.counters(ctx)
	if err != nil {
		return m, err
	}
	for n := 1; n <= m.Writes; n++ {
		if _, err := p.write(ctx); err != nil {
			return m, err
		}
		for t := range p.writer.affected {
			written[t] = n
		}
		asks, err := read(n)
		if err != nil {
			return m, err
		}
		if n%precisionCompare == 0 {
			if err := p.compare(ctx, asks); err != nil {
				return m, err
			}
		}
	}
	f, q, err := p.counters(ctx)
	m.Fills, m.Questions = f-fills, q-questions
	if err != nil {
		return m, err
	}
	// Everything that was ever asked for, once more: what is still in memory too.
	all := make([]*ask, 0, len(known))
	for _, a := range known {
		all = append(all, a)
	}
	if err := pipe.get(all, func(*ask, seen) {}); err != nil {
		return m, err
	}
	return m, p.compare(ctx, all)
}
