package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/perm/engine"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// Readers of many versions share a cache that is too small for them, while
// versions are made and the schema changes.
func TestCacheIsShared(t *testing.T) {
	s, err := schema.Parse(officeSchema)
	if err != nil {
		t.Fatal(err)
	}
	other, err := schema.Parse(officeSchema[:len(officeSchema)-len(" - banned\n}\n")] + "\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	models := []*engine.Model{engine.Compile(s), engine.Compile(other)}
	cache := engine.NewEagerCache(1 << 13)
	g := graph.New()
	rng := rand.New(rand.NewPCG(1, 1))
	id := func(rng *rand.Rand, kind string, n int) string {
		return fmt.Sprintf("%s:%c%d", kind, kind[0], rng.IntN(n))
	}
	draw := func() string {
		switch rng.IntN(6) {
		case 0:
			return id(rng, "group", 6) + "#member@" + id(rng, "user", 6)
		case 1:
			return id(rng, "group", 6) + "#member@" + id(rng, "group", 6) + "#member"
		case 2:
			return id(rng, "folder", 6) + "#viewer@" + id(rng, "group", 6) + "#member"
		case 3:
			return id(rng, "folder", 6) + "#parent@" + id(rng, "folder", 6)
		case 4:
			return id(rng, "document", 6) + "#parent@" + id(rng, "folder", 6)
		}
		return id(rng, "document", 6) + "#banned@" + id(rng, "user", 6)
	}
	var (
		mu    sync.Mutex
		snaps = []*graph.Snapshot{g.Snapshot()}
		wg    sync.WaitGroup
		stop  = make(chan struct{})
	)
	for reader := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(reader), 2))
			for {
				select {
				case <-stop:
					return
				default:
				}
				mu.Lock()
				snap := snaps[len(snaps)-1-rng.IntN(min(len(snaps), 5))]
				mu.Unlock()
				v := engine.View{Model: models[max(0, rng.IntN(20)-18)], Snapshot: snap, Now: clock}
				d, u := id(rng, "document", 6), id(rng, "user", 6)
				resource, subject := tuple.Object{Type: "document", ID: d[len("document:"):]}, tuple.Subject{Object: tuple.Object{Type: "user", ID: u[len("user:"):]}}
				want, err1 := engine.Check(context.Background(), v, resource, "view", subject, nil, engine.Options{})
				v.Cache = cache
				got, err2 := engine.Check(context.Background(), v, resource, "view", subject, nil, engine.Options{})
				if err1 != nil || err2 != nil || got.Has != want.Has {
					t.Errorf("%s#view@%s: %v %v, not %v %v", d, u, got.Has, err2, want.Has, err1)
					return
				}
			}
		})
	}
	present := map[string]bool{}
	for range 3000 {
		line := draw()
		u := graph.Update{Relationship: parse(t, line)}
		if present[line] = !present[line]; !present[line] {
			u.Op = graph.Remove
		}
		snap, err := g.Apply([]graph.Update{u})
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		snaps = append(snaps, snap)
		mu.Unlock()
	}
	close(stop)
	wg.Wait()
}

// Somebody in more groups than climbing pays for is found too, and what is kept
// of such people stays within its bounds.
func TestManyGroups(t *testing.T) {
	var lines []string
	for g := range 1500 {
		lines = append(lines, fmt.Sprintf("group:g%d#member@user:everywhere", g))
		for u := range 3 {
			if g < 200*(u+1) {
				lines = append(lines, fmt.Sprintf("group:g%d#member@user:u%d", g, u))
			}
		}
		lines = append(lines, fmt.Sprintf("document:d%d#viewer@group:g%d#member", g, g))
	}
	v := view(t, officeSchema, lines...)
	v.Cache = engine.NewCache(1 << 16)
	for range 2 {
		for user, groups := range map[string]int{"u0": 200, "u1": 400, "u2": 600, "everywhere": 1500, "nobody": 0} {
			for _, d := range []int{0, 199, 200, 399, 400, 599, 600, 1499} {
				want := "no"
				if d < groups {
					want = "yes"
				}
				if got := check(t, v, fmt.Sprintf("document:d%d#view@user:%s", d, user), nil); got != want {
					t.Errorf("document %d, user %s: %s", d, user, got)
				}
			}
			subject := tuple.Subject{Object: tuple.Object{Type: "user", ID: user}}
			found, err := engine.LookupResources(context.Background(), v, "document", "view", subject, nil, engine.Page{}, engine.Options{})
			if err != nil || len(found) != groups {
				t.Errorf("%s: %d documents, %v", user, len(found), err)
			}
			if used, kept := v.Cache.Sets(); used > 1<<14 || user == "u0" && kept == 0 {
				t.Errorf("%d bytes are kept in %d sets", used, kept)
			}
		}
	}
}

// After a compaction objects have other numbers, also where no relationship
// stands behind an answer.
func TestCompaction(t *testing.T) {
	v := view(t, "definition user {}\ndefinition page {\nrelation viewer: user\nrelation empty: user\npermission view = empty + self\n}")
	v.Cache = engine.NewEagerCache(1 << 12)
	g := v.Snapshot.Graph()
	add := graph.Update{Relationship: parse(t, "page:a#viewer@user:ana")}
	remove := graph.Update{Op: graph.Remove, Relationship: add.Relationship}
	apply := func(updates ...graph.Update) {
		snap, err := g.Apply(updates)
		if err == nil {
			snap, err = g.Compact()
		}
		if err != nil {
			t.Fatal(err)
		}
		v.Snapshot = snap
	}
	page := func(id, relation string) {
		t.Helper()
		found, err := engine.LookupResources(context.Background(), v, "page", "empty", tuple.Subject{Object: tuple.Object{Type: "page", ID: id}, Relation: "empty"}, nil, engine.Page{}, engine.Options{})
		if err != nil || len(found) != 1 || found[0].ID != id {
			t.Errorf("page %s: %v %v", id, found, err)
		}
		for _, x := range []string{"a", "b"} {
			want := "no"
			if x == id {
				want = "yes"
			}
			if got := check(t, v, "page:"+x+"#view@page:"+id+relation, nil); got != want {
				t.Errorf("page %s of %s: %s", x, id, got)
			}
		}
	}
	apply(add)
	page("a", "")
	page("a", "#empty")
	apply(remove, graph.Update{Relationship: parse(t, "page:b#viewer@user:ana")})
	page("b", "")
	page("b", "#empty")
}
