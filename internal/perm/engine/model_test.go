package engine_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/perm/engine"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

var (
	scenarios = flag.Int("scenarios", 400, "how many random scenarios are held to the oracle")
	first     = flag.Uint64("first", 1, "the first scenario")
)

func TestAnswersAreTheOracles(t *testing.T) {
	tried, questions := 0, 0
	clear(tally)
	for seed := *first; tried < *scenarios; seed++ {
		s := draw(seed)
		if _, err := schema.Parse(s.text()); err != nil {
			continue
		}
		tried++
		n, err := s.run()
		if questions += n; err != nil {
			s, err = shrink(s, err)
			t.Fatalf("scenario %d: %v\n%s", seed, err, s)
		}
	}
	t.Logf("%d questions: %v", questions, tally)
	for _, kind := range []string{"no", "conditional", "yes", "opposed", "too deep", "resources", "subjects", "wildcards", "excluded"} {
		if tally[kind] < questions/20_000 {
			t.Errorf("of %d questions only %d have the answer %s", questions, tally[kind], kind)
		}
	}
}

// tally counts answers, to see that they are of all kinds.
var tally = map[string]int{}

// moment is a snapshot with what it must hold.
type moment struct {
	snap *graph.Snapshot
	rels []tuple.Relationship
}

// run asks everything after each transaction, of the new snapshot and of some
// earlier one, through one cache.
func (s *scenario) run() (questions int, err error) {
	sch, err := schema.Parse(s.text())
	if err != nil {
		return 0, nil
	}
	rng := rand.New(rand.NewPCG(s.seed, 11))
	g := graph.New()
	model, cache := engine.Compile(sch), engine.NewEagerCache(1<<12)
	past := []moment{{snap: g.Snapshot()}}
	for _, batch := range s.batches {
		now := past[len(past)-1]
		rels := slices.Clone(now.rels)
		for _, u := range batch {
			if u.Op == graph.Add {
				rels = append(rels, u.Relationship)
			} else if i := slices.Index(rels, u.Relationship); i >= 0 {
				rels = slices.Delete(rels, i, i+1)
			} else {
				return questions, nil // what shrinking left makes no sense
			}
		}
		snap, err := g.Apply(batch)
		if err != nil {
			return questions, err
		}
		past = append(past, moment{snap, rels})
		if rng.IntN(8) == 0 {
			if snap, err = g.Compact(); err != nil {
				return questions, err
			}
			past = append(past, moment{snap, rels})
		}
		for _, m := range []moment{past[len(past)-1], past[rng.IntN(len(past))], past[len(past)-1]} {
			v := engine.View{Model: model, Snapshot: m.snap, Now: clock, Cache: cache}
			if rng.IntN(4) == 0 {
				v.Cache = nil
			}
			n, err := s.askAll(rng, v, sch, m.rels)
			questions += n
			if err == nil {
				err = s.expandAll(v, sch, m.rels)
			}
			if err != nil {
				return questions, err
			}
		}
	}
	return questions, nil
}

// question is about one subject, with a context.
type question struct {
	engine.View
	sch     *schema.Schema
	rels    []tuple.Relationship
	subject tuple.Subject
	given   map[string]any
	opts    engine.Options
}

func (s *scenario) askAll(rng *rand.Rand, v engine.View, sch *schema.Schema, rels []tuple.Relationship) (int, error) {
	given := map[string]any{}
	for _, f := range fieldNames {
		if rng.IntN(4) == 0 {
			given[f] = float64(rng.IntN(2))
		}
	}
	any := newOracle(sch, s.objects, rels, clock, nil, tuple.Subject{})
	opposed := any.opposed()
	n := 0
	// One kind of subject whole, and some of the others.
	d := sch.Definition(typeNames[0])
	if rng.IntN(2) == 0 {
		d = sch.Definition(typeNames[rng.IntN(len(typeNames))])
	}
	relation := ""
	if names := membersOf(d); len(names) > 0 && rng.IntN(2) == 0 {
		relation = names[rng.IntN(len(names))]
	}
	verdictsOf := map[tuple.Subject]verdicts{}
	for _, o := range s.objects {
		subject := tuple.Subject{Object: o}
		if names := membersOf(sch.Definition(o.Type)); len(names) > 0 && rng.IntN(3) == 0 {
			subject.Relation = names[rng.IntN(len(names))]
		}
		if o.Type == d.Name {
			subject.Relation = relation
		} else if rng.IntN(3) > 0 {
			continue
		}
		q := question{v, sch, rels, subject, given, engine.Options{Depth: 100_000, Trace: rng.IntN(6) == 0}}
		if rng.IntN(10) == 0 {
			q.opts.Depth = 1 + rng.IntN(6)
		}
		want, asked, err := s.ask(rng, q, opposed)
		n += asked
		if err != nil {
			return n, err
		}
		verdictsOf[subject] = want
	}
	q := question{v, sch, rels, tuple.Subject{}, given, engine.Options{Depth: 100_000}}
	return n, s.lookUpSubjects(q, d, relation, verdictsOf, opposed, any.places)
}

// ask compares everything about one subject, in any order.
func (s *scenario) ask(rng *rand.Rand, q question, opposed map[place]bool) (verdicts, int, error) {
	or := newOracle(q.sch, s.objects, q.rels, q.Now, q.given, q.subject)
	want, undefined := or.solve()
	places := slices.Clone(or.places)
	rng.Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
	for i, p := range places {
		got, err := engine.Check(context.Background(), q.View, p.object, p.member, q.subject, q.given, q.opts)
		var depth *engine.DepthError
		switch {
		case errors.As(err, &depth) && (depth.Negation && opposed[p] || !depth.Negation && q.opts.Depth < 100):
			if depth.Negation {
				tally["opposed"]++
			} else {
				tally["too deep"]++
			}
			continue
		case err != nil:
			return nil, i, fmt.Errorf("%s#%s@%s given %v: %w, not %v", p.object, p.member, q.subject, q.given, err, want[p])
		case undefined[p]:
			return nil, i, fmt.Errorf("%s#%s@%s given %v: %v, not undefined", p.object, p.member, q.subject, q.given, got.Has)
		case int(got.Has) != want[p].truth || !slices.Equal(got.Missing, want[p].missing()):
			return nil, i, fmt.Errorf("%s#%s@%s given %v, depth %d, trace %t: %v %v, not %v", p.object, p.member, q.subject, q.given, q.opts.Depth, q.opts.Trace, got.Has, got.Missing, want[p])
		case q.opts.Trace && got.Trace.Has != got.Has:
			return nil, i, fmt.Errorf("%s#%s@%s: the trace says %v", p.object, p.member, q.subject, got.Trace.Has)
		}
		tally[got.Has.String()]++
	}
	return want, len(places), s.lookUpResources(rng, q, want, opposed)
}

// lookUpResources compares the lookups of a subject with the oracle's verdicts,
// whole and in pages.
func (s *scenario) lookUpResources(rng *rand.Rand, q question, want verdicts, opposed map[place]bool) error {
	q.opts.Trace = false
	for _, d := range q.sch.Definitions {
		for _, member := range membersOf(d) {
			var expected []string
			excused := q.opts.Depth < 100
			for _, o := range s.objects {
				p := place{o, member}
				if o.Type != d.Name {
					continue
				}
				excused = excused || opposed[p]
				if v := want[p]; v.truth > 0 {
					expected = append(expected, fmt.Sprint(o.ID, v))
				}
			}
			slices.Sort(expected)
			size := rng.IntN(3) // 0: everything at once
			var got []string
			page := engine.Page{Limit: size}
			for {
				found, err := engine.LookupResources(context.Background(), q.View, d.Name, member, q.subject, q.given, page, q.opts)
				var depth *engine.DepthError
				if excused && errors.As(err, &depth) {
					got = expected
					break
				}
				if err != nil {
					return fmt.Errorf("resources %s#%s@%s given %v: %w", d.Name, member, q.subject, q.given, err)
				}
				for _, f := range found {
					got = append(got, fmt.Sprint(f.ID, f.Has, " ", f.Missing))
					page.After = f.ID
				}
				if size == 0 || len(found) < size {
					break
				}
			}
			if !slices.Equal(got, expected) {
				return fmt.Errorf("resources %s#%s@%s given %v, pages of %d, depth %d: %v, not %v", d.Name, member, q.subject, q.given, size, q.opts.Depth, got, expected)
			}
			tally["resources"] += len(expected)
		}
	}
	return nil
}

func membersOf(d *schema.Definition) []string {
	var names []string
	for _, r := range d.Relations {
		names = append(names, r.Name)
	}
	for _, p := range d.Permissions {
		names = append(names, p.Name)
	}
	return names
}

// shrink takes away what a failure does not need.
func shrink(s *scenario, err error) (*scenario, error) {
	try := func(c *scenario) bool {
		if _, e := c.run(); e != nil {
			s, err = c, e
			return true
		}
		return false
	}
	for again := true; again; {
		again = false
		for b := len(s.batches) - 1; b >= 0; b-- {
			for i := len(s.batches[b]) - 1; i >= 0; i-- {
				c := *s
				c.batches = slices.Clone(s.batches)
				c.batches[b] = slices.Delete(slices.Clone(s.batches[b]), i, i+1)
				again = try(&c) || again
			}
		}
		for b := len(s.batches) - 1; b >= 0; b-- {
			c := *s
			c.batches = slices.Delete(slices.Clone(s.batches), b, b+1)
			again = try(&c) || again
		}
		for d := range s.schema {
			for i := len(s.schema[d].members) - 1; i >= 0; i-- {
				c := *s
				c.schema = slices.Clone(s.schema)
				c.schema[d].members = slices.Delete(slices.Clone(s.schema[d].members), i, i+1)
				again = try(&c) || again
			}
		}
	}
	return s, err
}
