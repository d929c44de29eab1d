package perm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

func all(t *testing.T, s *graph.Snapshot) []string {
	t.Helper()
	seq, err := s.Relationships(graph.Filter{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for r := range seq {
		out = append(out, r.String())
	}
	slices.Sort(out)
	return out
}

// wanted is what one version should be.
type wanted struct {
	at            revision.LSN
	relationships []string
	seq, epoch    uint64
	changed       []uint64
	schema        int64
	counters      int
}

func want(t *testing.T, v *Version) wanted {
	w := wanted{at: v.LSN, relationships: all(t, v.Graph), seq: v.Graph.Seq(), epoch: v.Graph.Epoch(), schema: v.SchemaVersion, counters: len(v.Counters)}
	for p := graph.Pair(1); int(p) <= v.Graph.Pairs(); p++ {
		w.changed = append(w.changed, v.Graph.Changed(p))
	}
	return w
}

func (w *wanted) check(t *testing.T, v *Version) {
	t.Helper()
	got := want(t, v)
	if got.at != w.at || got.seq != w.seq || got.epoch != w.epoch || got.schema != w.schema || got.counters != w.counters {
		t.Fatalf("got %+v\nwant %+v", got, *w)
	}
	if !slices.Equal(got.relationships, w.relationships) {
		t.Fatalf("as of %d: %v\nwant %v", w.at, got.relationships, w.relationships)
	}
	for p, c := range w.changed {
		if got.changed[p] != c {
			t.Fatalf("as of %d, pair %d changed in %d, want %d", w.at, p+1, got.changed[p], c)
		}
	}
}

// TestPast asks for every version that was, in any order, while more come.
func TestPast(t *testing.T) {
	for seed := range uint64(4) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		s := NewState(time.Hour)
		s.compactAbove = 20
		g := graph.New()
		s.Begin(10, Start{Graph: g})
		present := map[tuple.Relationship]bool{}
		v, _ := s.Current()
		versions := []wanted{want(t, v)}
		lsn := revision.LSN(10)
		for n := range 400 {
			lsn += revision.LSN(1 + rnd.IntN(5))
			d := &Delta{End: lsn}
			updates := rnd.IntN(5)
			if rnd.IntN(50) == 0 {
				updates = 1100
			}
			for range updates {
				r := relationship(rnd.IntN(6), n/40, rnd.IntN(40))
				if updates > 5 {
					r = relationship(rnd.IntN(6), n/40, rnd.IntN(1500))
				}
				op := graph.Add
				if present[r] {
					op = graph.Remove
				}
				present[r] = !present[r]
				d.Updates = append(d.Updates, graph.Update{Op: op, Relationship: r})
			}
			if n%40 == 0 { // what the objects of before were named by goes
				for r, there := range present {
					if there {
						d.Updates = append(d.Updates, graph.Update{Op: graph.Remove, Relationship: r})
					}
				}
				clear(present)
			}
			if rnd.IntN(30) == 0 {
				text := fmt.Sprintf("definition user {}\ndefinition doc%d {}", n)
				d.Schema, d.SchemaVersion = &text, int64(n+1)
			}
			if rnd.IntN(30) == 0 {
				d.Counters = map[string]*graph.Filter{fmt.Sprint(n): {}}
			}
			if err := s.Apply(d); err != nil {
				t.Fatal(err)
			}
			v, err := s.Current()
			if err != nil {
				t.Fatal(err)
			}
			versions = append(versions, want(t, v))
			for range 2 {
				w := &versions[rnd.IntN(len(versions))]
				v, err := s.At(w.at)
				if err != nil {
					t.Fatal(err)
				}
				w.check(t, v)
			}
		}
		if versions[len(versions)-1].epoch == 0 {
			t.Error("the graph was never compacted")
		}
		for i := 0; i < len(versions); i += 1 + rnd.IntN(4) {
			v, err := s.At(versions[i].at)
			if err != nil {
				t.Fatal(err)
			}
			versions[i].check(t, v)
			if i+1 < len(versions) { // a position between two
				if v, err = s.At(versions[i+1].at - 1); err != nil {
					t.Fatal(err)
				}
				versions[i].check(t, v)
			}
		}
		if _, err := s.At(9); !errors.Is(err, ErrExpired) {
			t.Fatalf("before the beginning: %v", err)
		}
	}
}

func relationship(doc, group, user int) tuple.Relationship {
	return tuple.Relationship{
		Resource: tuple.Object{Type: fmt.Sprintf("doc%d", group), ID: fmt.Sprint(doc)}, Relation: "viewer",
		Subject: tuple.Subject{Object: tuple.Object{Type: "user", ID: fmt.Sprintf("%d-%d", group, user)}},
	}
}

// TestPastIsBounded writes more than may be kept.
func TestPastIsBounded(t *testing.T) {
	s := NewState(time.Hour)
	s.past.limit = 4 << 20
	s.Begin(1, Start{Graph: graph.New()})
	early, err := s.CursorAt(1)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 20_000 {
		r := relationship(n, 0, n)
		if err := s.Apply(&Delta{End: revision.LSN(n + 2), Updates: []graph.Update{{Op: graph.Add, Relationship: r}}}); err != nil {
			t.Fatal(err)
		}
	}
	if st := s.Stats(); st.Bytes > 4<<20 || st.Versions < 200 {
		t.Errorf("kept: %+v", st)
	}
	if _, err := s.At(2); !errors.Is(err, ErrExpired) {
		t.Errorf("a version that went: %v", err)
	}
	if _, _, err := early.Next(); !errors.Is(err, ErrBehind) {
		t.Errorf("a watcher of what went: %v", err)
	}
	for at := revision.LSN(20_001); at > 19_900; at-- {
		if v, err := s.At(at); err != nil || v.Graph.Len() != int(at)-1 {
			t.Fatalf("as of %d: %v", at, err)
		}
	}
	var sum int64
	for i := range s.past.entries {
		sum += s.past.entries[i].size
	}
	if sum != s.past.bytes {
		t.Errorf("the sum of what is kept is %d, counted as %d", sum, s.past.bytes)
	}
}

// TestVersionsAge has versions go with time, and events stay.
func TestVersionsAge(t *testing.T) {
	s := NewState(time.Minute)
	s.Begin(1, Start{Graph: graph.New()})
	for n := range 300 {
		r := relationship(n, 0, n)
		if err := s.Apply(&Delta{End: revision.LSN(n + 2), Updates: []graph.Update{{Op: graph.Add, Relationship: r}}}); err != nil {
			t.Fatal(err)
		}
	}
	s.Sweep(time.Now().Add(30 * time.Second))
	if v, err := s.At(2); err != nil || v.Graph.Len() != 1 {
		t.Fatalf("within the window: %v", err)
	}
	s.Sweep(time.Now().Add(2 * time.Minute))
	if _, err := s.At(300); !errors.Is(err, ErrExpired) {
		t.Errorf("after the window: %v", err)
	}
	if v, err := s.At(301); err != nil || v.Graph.Len() != 300 {
		t.Errorf("the newest: %v", err)
	}
	c, err := s.CursorAt(1)
	if err != nil {
		t.Fatal(err)
	}
	events, _, err := c.Next()
	if err != nil || len(events) != 300 || len(events[7].Changes) != 1 {
		t.Errorf("%d events, %v", len(events), err)
	}
}
