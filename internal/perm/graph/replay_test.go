package graph

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestReplay makes every version again from every earlier one.
func TestReplay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, m := New(), model{}
		type version struct {
			updates  []Update
			snapshot *Snapshot
			model    model
		}
		versions := []version{{nil, g.Snapshot(), model{}}}
		for n := range rapid.IntRange(1, 12).Draw(t, "versions") {
			var updates []Update
			if rapid.IntRange(0, 3).Draw(t, "many") == 0 { // a wide object grows and shrinks
				from, to := rapid.IntRange(0, 200).Draw(t, "from"), rapid.IntRange(0, 400).Draw(t, "to")
				for i := from; i < to; i++ {
					r := member("group", "wide", "member", "user", fmt.Sprintf("m%d", i), "")
					op := Add
					if m[r] > 0 {
						op = Remove
					}
					updates = append(updates, Update{op, r})
				}
			} else {
				present := sorted(slices.Collect(maps.Keys(m)))
				for range rapid.IntRange(0, 5).Draw(t, "updates") {
					if len(present) > 0 && rapid.Bool().Draw(t, "remove") {
						i := rapid.IntRange(0, len(present)-1).Draw(t, "which")
						updates = append(updates, Update{Remove, present[i]})
						present = slices.Delete(present, i, i+1)
						continue
					}
					r := relationships().Draw(t, "relationship")
					if rapid.IntRange(0, 4).Draw(t, "new name") == 0 {
						r.Resource.Type, r.Resource.ID = fmt.Sprintf("late%d", n), fmt.Sprintf("late%d", n)
					}
					updates = append(updates, Update{Add, r})
				}
			}
			m.apply(updates)
			s, err := g.Apply(updates)
			if err != nil {
				t.Fatal(err)
			}
			versions = append(versions, version{updates, s, maps.Clone(m)})
		}
		newest := g.Snapshot()
		if rapid.Bool().Draw(t, "compact") {
			if _, err := g.Compact(); err != nil {
				t.Fatal(err)
			}
		}
		from := rapid.IntRange(0, len(versions)-1).Draw(t, "from")
		replay := NewReplayer(newest)
		s := versions[from].snapshot
		for i := from + 1; i < len(versions); i++ {
			var err error
			if s, err = replay.Apply(s, versions[i].updates); err != nil {
				t.Fatal(err)
			}
			was := versions[i].snapshot
			if s.Graph() != g || s.Seq() != was.Seq() || s.Epoch() != was.Epoch() {
				t.Fatalf("version %d of epoch %d, want %d of %d", s.Seq(), s.Epoch(), was.Seq(), was.Epoch())
			}
			for p := Pair(1); int(p) <= was.Pairs(); p++ {
				if s.Changed(p) != was.Changed(p) {
					t.Fatalf("pair %d changed in %d, want %d", p, s.Changed(p), was.Changed(p))
				}
			}
			check(t, s, versions[i].model)
			check(t, was, versions[i].model)
		}
		if _, err := replay.Apply(newest, nil); err == nil {
			t.Fatal("a version behind the last one was made")
		}
		if _, err := NewReplayer(New().Snapshot()).Apply(versions[0].snapshot, nil); err == nil {
			t.Fatal("a version was made with another graph's names")
		}
	})
}
