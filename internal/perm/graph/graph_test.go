package graph

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

func apply(t testing.TB, g *Graph, updates ...Update) *Snapshot {
	t.Helper()
	s, err := g.Apply(updates)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestReadersSeeTheirVersion has readers look at whichever version is newest
// while the writer goes on. Every version has as many members as its number says
// in each of several groups, in wide and narrow ones, and new objects all along.
func TestReadersSeeTheirVersion(t *testing.T) {
	g := New()
	const versions, groups = 400, 5
	var done atomic.Bool
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for !done.Load() {
				s := g.Snapshot()
				n := int(s.Seq())
				for k := range groups {
					o, ok := s.Object("group", fmt.Sprint("g", k))
					p, known := s.Pair("group", "member")
					if !ok || !known {
						if n > 0 {
							t.Errorf("version %d: no group %d", n, k)
						}
						continue
					}
					r := s.Out(o, p)
					if r.Len() != n {
						t.Errorf("version %d: %d members", n, r.Len())
					}
					for e, ok := r.Next(); ok; e, ok = r.Next() {
						if _, id := s.Name(e.Subject()); id == "" {
							t.Errorf("version %d: a member without a name", n)
						}
					}
				}
				if _, ok := s.Object("user", fmt.Sprint("u", n)); !ok && n > 0 {
					t.Errorf("version %d: no user", n)
				}
				if _, ok := s.Object("user", fmt.Sprint("u", n+1)); ok {
					t.Errorf("version %d: a user that is to come", n)
				}
				if s.Count(Filter{Subject: &SubjectFilter{Type: "user", ID: fmt.Sprint("u", n)}}) != groups && n > 0 {
					t.Errorf("version %d: user in other groups", n)
				}
			}
		})
	}
	for i := 1; i <= versions; i++ {
		var updates []Update
		for k := range groups {
			updates = append(updates, Update{Add, member("group", fmt.Sprint("g", k), "member", "user", fmt.Sprint("u", i), "")})
		}
		apply(t, g, updates...)
	}
	done.Store(true)
	wg.Wait()
}

// TestWideObjects moves objects up to trees of several levels and back, and
// looks at versions on the way when all is over.
func TestWideObjects(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const most = 60_000
	g := New()
	present := map[int]bool{}
	type version struct {
		s       *Snapshot
		members []int
	}
	var versions []version
	step := func(batch int, remove func() bool) {
		var updates []Update
		touched := map[int]bool{}
		for range batch {
			i := rng.IntN(most)
			if touched[i] {
				continue
			}
			touched[i] = true
			r := member("group", "all", "member", "user", fmt.Sprint(i), "")
			if i%100 == 0 {
				r.Expires = int64(i + 1)
			}
			switch {
			case !present[i] && !remove():
				updates = append(updates, Update{Add, r})
				present[i] = true
			case present[i] && remove():
				updates = append(updates, Update{Remove, r})
				delete(present, i)
			}
		}
		apply(t, g, updates...)
	}
	keep := func() {
		v := version{s: g.Snapshot()}
		for i := range present {
			v.members = append(v.members, i)
		}
		versions = append(versions, v)
	}
	for _, phase := range []struct {
		steps, batch int
		remove       float64
	}{{300, 1, 0}, {50, 3000, 0.1}, {300, 20, 0.5}, {100, 6000, 0.9}, {300, 300, 0.99}, {50, 1000, 0.1}} {
		for i := range phase.steps {
			step(phase.batch, func() bool { return rng.Float64() < phase.remove })
			if i%(phase.steps/5) == 0 {
				keep()
			}
		}
	}
	var all []Update
	for i := range present {
		r := member("group", "all", "member", "user", fmt.Sprint(i), "")
		if i%100 == 0 {
			r.Expires = int64(i + 1)
		}
		all = append(all, Update{Remove, r})
	}
	if s := apply(t, g, all...); s.Len() != 0 {
		t.Fatalf("%d are left", s.Len())
	}
	deep := 0
	for _, v := range versions {
		o, _ := v.s.Object("group", "all")
		p, _ := v.s.Pair("group", "member")
		_, wide := v.s.out.edges(o)
		if wide != nil && wide.kids != nil && wide.kids[0].kids != nil {
			deep++
		}
		checkNodes(t, wide)
		var want []ID
		for _, i := range v.members {
			u, ok := v.s.Object("user", fmt.Sprint(i))
			if !ok {
				t.Fatal("unknown user")
			}
			want = append(want, u)
			found, traits := v.s.Find(o, p, u, 0)
			if !found || (i%100 == 0) != (len(traits) == 1 && traits[0].Expires == int64(i+1)) {
				t.Fatalf("%d: %v %v", i, found, traits)
			}
		}
		slices.Sort(want)
		r := v.s.Out(o, p)
		if r.Len() != len(want) {
			t.Fatalf("Len is %d, want %d", r.Len(), len(want))
		}
		for i, u := range want {
			e, ok := r.Next()
			if !ok || e.Subject() != u || r.Len() != len(want)-i-1 {
				t.Fatalf("member %d is %v, want %v; %d left", i, e.Subject(), u, r.Len())
			}
		}
		if _, ok := r.Next(); ok {
			t.Fatal("too many members")
		}
		for i := range most { // and nobody else
			if u, ok := v.s.Object("user", fmt.Sprint(i)); ok {
				found, _ := v.s.Find(o, p, u, 0)
				if _, member := slices.BinarySearch(want, u); found != member {
					t.Fatalf("user %d: %v", i, found)
				}
			}
		}
	}
	if deep == 0 {
		t.Error("no tree had three levels")
	}
}

// checkNodes checks what holds in every tree of a wide object.
func checkNodes(t *testing.T, n *node) (height int) {
	if n == nil {
		return 0
	}
	if n.kids == nil {
		if n.n != len(n.edges) || n.n == 0 || n.n > chunkEdges || !slices.IsSorted(n.edges) {
			t.Fatalf("a leaf of %d edges", len(n.edges))
		}
		return 1
	}
	sum := 0
	for i, kid := range n.kids {
		h := checkNodes(t, kid)
		if i > 0 && (h != height || n.firsts[i] <= n.firsts[i-1]) {
			t.Fatal("the tree is not even")
		}
		height = h
		sum += kid.n
	}
	if sum != n.n || len(n.kids) > nodeKids {
		t.Fatalf("a node of %d edges in %d kids says %d", sum, len(n.kids), n.n)
	}
	return height + 1
}

// TestNamesAreKeptApart has so many names that the hashes of some are the same.
func TestNamesAreKeptApart(t *testing.T) {
	n := newNames()
	const count = 400_000
	ids := make([]ID, 0, count)
	typ := func(i int) string { return [...]string{"user", "group", "doc"}[i%3] }
	for i := range count {
		o, err := n.object(&tuple.Object{Type: typ(i), ID: fmt.Sprint(i / 3)})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, o)
	}
	tags := map[uint64]bool{}
	same := 0
	for _, slot := range n.objects.table {
		if slot != 0 {
			if tags[slot>>32] {
				same++
			}
			tags[slot>>32] = true
		}
	}
	if same == 0 {
		t.Error("no two hashes were the same")
	}
	s := &Snapshot{}
	s.objects, s.vocabulary = n.version()
	seen := map[ID]bool{}
	for i, o := range ids {
		gotType, gotID := s.Name(o)
		back, ok := s.Object(typ(i), fmt.Sprint(i/3))
		if gotType != typ(i) || gotID != fmt.Sprint(i/3) || back != o || !ok || seen[o] {
			t.Fatalf("%s:%d is %v: %s:%s", typ(i), i/3, o, gotType, gotID)
		}
		seen[o] = true
		if o, ok := s.Object(typ(i), fmt.Sprint("x", i)); ok {
			t.Fatalf("an unknown name is %v", o)
		}
	}
}

func TestLongAndEmptyNames(t *testing.T) {
	g := New()
	var want []tuple.Relationship
	for i := range 300 {
		r := member("doc", strings.Repeat("x", i*7)+fmt.Sprint(i), "viewer", "user", strings.Repeat("y", i%3*30_000), "")
		want = append(want, r)
		apply(t, g, Update{Add, r})
	}
	if got := read(t, g.Snapshot(), Filter{}, nil); !slices.Equal(sorted(got), sorted(want)) {
		t.Error("names are not what they were")
	}
	before := g.Snapshot()
	_, err := g.Apply([]Update{{Add, member("doc", strings.Repeat("x", 1<<16), "viewer", "user", "a", "")}})
	if !errors.Is(err, ErrFull) || g.Snapshot() != before {
		t.Errorf("a name that is too long: %v", err)
	}
}

func TestFull(t *testing.T) {
	g := New()
	var updates []Update
	for i := range maxPairs - 1 {
		updates = append(updates, Update{Add, member("doc", "a", fmt.Sprint("r", i), "user", "a", "")})
	}
	s := apply(t, g, updates...)
	o, _ := s.Object("doc", "a")
	u, _ := s.Object("user", "a")
	for i := range updates {
		p, ok := s.Pair("doc", fmt.Sprint("r", i))
		found, _ := s.Find(o, p, u, 0)
		r := s.In(u, 0, p)
		d := s.Usersets(o, p)
		if !ok || !found || r.Len() != 1 || d.Len() != 0 {
			t.Fatalf("relation %d: %v", i, found)
		}
	}
	if _, err := g.Apply([]Update{{Add, member("doc", "a", "more", "user", "a", "")}}); !errors.Is(err, ErrFull) {
		t.Errorf("a relation too many: %v", err)
	}
	if _, err := g.Apply([]Update{{Remove, updates[5].Relationship}}); err != nil {
		t.Errorf("the graph is of no more use: %v", err)
	}
}

func TestErrorsChangeNothing(t *testing.T) {
	g := New()
	a, b := member("doc", "a", "viewer", "user", "a", ""), member("doc", "b", "viewer", "user", "a", "")
	s := apply(t, g, Update{Add, a})
	for name, updates := range map[string][]Update{
		"absent":          {{Add, b}, {Remove, b}, {Remove, b}},
		"absent at first": {{Remove, b}, {Add, b}},
		"broken context":  {{Add, b}, {Add, tuple.Relationship{Resource: a.Resource, Relation: "viewer", Subject: a.Subject, Caveat: "c", Context: "{"}}},
	} {
		if _, err := g.Apply(updates); err == nil || g.Snapshot() != s {
			t.Errorf("%s: %v", name, err)
		}
		check(t, s, model{a: 1})
	}
	bad := b
	bad.Caveat, bad.Context = "c", "{"
	build := NewBuilder()
	if err := build.Add(bad); err == nil {
		t.Error("a builder takes a broken context")
	}
	if _, err := build.Graph(); err == nil {
		t.Error("a builder leaves out what it could not take")
	}
	if _, err := s.Relationships(Filter{}, &tuple.Relationship{Resource: tuple.Object{Type: "doc", ID: "none"}}); !errors.Is(err, ErrPosition) {
		t.Errorf("an unknown position: %v", err)
	}
}

// TestReadingGoesOn reads objects of several types whose numbers take turns.
func TestReadingGoesOn(t *testing.T) {
	g, m := New(), model{}
	for round := range 4 {
		var updates []Update
		for i := range 300 {
			id := fmt.Sprint(round, "-", i)
			updates = append(updates,
				Update{Add, member("doc", id, "viewer", "user", fmt.Sprint(i%40), "")},
				Update{Add, member("folder", id, "viewer", "user", id, "")},
				Update{Add, member("group", id, "viewer", "group", id, "viewer")})
		}
		m.apply(updates)
		apply(t, g, updates...)
	}
	itself, viewer := "", "viewer"
	for _, f := range []Filter{
		{},
		{ResourceType: "folder"},
		{Relation: "viewer"},
		{ResourceIDPrefix: "2-"},
		{ResourceID: "1-7"},
		{Subject: &SubjectFilter{Type: "user"}},
		{Subject: &SubjectFilter{ID: "7"}},
		{Subject: &SubjectFilter{Type: "user", ID: "7"}},
		{Subject: &SubjectFilter{Relation: &itself}},
		{Subject: &SubjectFilter{Relation: &viewer}},
		{Subject: &SubjectFilter{Type: "group", Relation: &viewer}},
		{ResourceType: "doc", Subject: &SubjectFilter{Type: "user", ID: "7"}},
	} {
		checkFilter(t, g.Snapshot(), m, f)
		if _, err := g.Compact(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAnotherTraitIsAChange replaces what a relationship holds under by something
// else.
func TestAnotherTraitIsAChange(t *testing.T) {
	says := make([]tuple.Relationship, 4)
	for i := range says {
		says[i] = member("doc", "a", "viewer", "user", "a", "")
	}
	says[1].Caveat, says[2].Expires = "c", 10
	says[3].Caveat, says[3].Context = "c", `{"n":1}`
	for _, was := range says {
		for _, is := range says {
			g := New()
			old := apply(t, g, Update{Add, was})
			s := apply(t, g, Update{Remove, was}, Update{Add, is})
			check(t, s, model{is: 1})
			check(t, old, model{was: 1})
			checkChanged(t, kept{old, model{was: 1}, nil}, kept{s, model{is: 1}, nil})
		}
	}
}

// TestTraitsAreShared checks that a context is decoded once for all that have
// it, and is let go with the last of them.
func TestTraitsAreShared(t *testing.T) {
	g := New()
	find := func(s *Snapshot, id string) Trait {
		o, _ := s.Object("doc", id)
		p, _ := s.Pair("doc", "viewer")
		u, _ := s.Object("user", "a")
		_, traits := s.Find(o, p, u, 0)
		return traits[0]
	}
	var updates []Update
	for i := range 100 {
		r := member("doc", fmt.Sprint(i), "viewer", "user", "a", "")
		r.Caveat, r.Context, r.Expires = "c", `{"n":1}`, int64(i%3)
		updates = append(updates, Update{Add, r})
	}
	s := apply(t, g, updates...)
	find(s, "0").Context["seen"] = true
	for i := range 100 {
		if trait := find(s, fmt.Sprint(i)); trait.Context["seen"] != true || trait.Expires != int64(i%3) {
			t.Fatalf("%d has %v", i, trait)
		}
	}
	for i := range updates {
		updates[i].Op = Remove
	}
	apply(t, g, updates...)
	for i := range 5000 {
		r := member("doc", "x", "viewer", "user", "a", "")
		r.Caveat, r.Context = "c", fmt.Sprintf(`{"n":%d}`, i+2)
		apply(t, g, Update{Add, r})
		apply(t, g, Update{Remove, r})
		if i%500 == 0 {
			runtime.GC()
		}
	}
	if n := len(g.traits.known); n > 3000 {
		t.Errorf("%d contexts are kept that nothing has", n)
	}
}

func TestReadingTakesNoMemory(t *testing.T) {
	w := newWorld(0.02)
	s := w.graph(t).Snapshot()
	names := w.names(s)
	sum := 0
	if n := testing.AllocsPerRun(100, func() {
		for _, q := range names[:50] {
			found, _ := s.Find(q.res, q.rel, q.sub, 0)
			if found {
				sum++
			}
			out := s.Out(q.res, q.rel)
			for e, ok := out.Next(); ok; e, ok = out.Next() {
				sum += int(e.Subject()) + len(e.Traits())
			}
			in := s.In(q.sub, 0, 0)
			for e, ok := in.Next(); ok; e, ok = in.Next() {
				sum += int(e.Resource())
			}
			typ, id := s.Name(q.sub)
			o, _ := s.Object(typ, id)
			sum += int(o) + in.Len()
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
