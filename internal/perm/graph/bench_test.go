package graph

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// world is relationships of nested groups, a tree of folders, and documents with
// a parent, an owner, and viewers that are users and groups.
type world struct{ rels []tuple.Relationship }

// newWorld makes about 100,000 relationships times scale.
func newWorld(scale float64) *world {
	rng := rand.New(rand.NewPCG(1, 1))
	n := func(base int) int { return max(int(float64(base)*scale), 1) }
	users, groups, folders, docs := n(10_000), n(1_000), 1_555, n(20_000)
	w := &world{}
	name := func(prefix string, i int) string { return prefix + strconv.Itoa(i) }
	add := func(resType, res, rel, subType, sub, subRel string) {
		w.rels = append(w.rels, member(resType, res, rel, subType, sub, subRel))
	}
	for g := range groups {
		for range 20 {
			add("group", name("g", g), "member", "user", name("u", rng.IntN(users)), "")
		}
		if g >= 10 {
			add("group", name("g", g/10), "member", "group", name("g", g), "member")
		}
	}
	for f := range folders {
		if f > 0 {
			add("folder", name("f", f), "parent", "folder", name("f", (f-1)/6), "")
		}
		add("folder", name("f", f), "owner", "user", name("u", rng.IntN(users)), "")
		if rng.IntN(2) == 0 {
			add("folder", name("f", f), "viewer", "group", name("g", rng.IntN(groups)), "member")
		}
	}
	for d := range docs {
		add("document", name("d", d), "parent", "folder", name("f", rng.IntN(folders)), "")
		add("document", name("d", d), "owner", "user", name("u", rng.IntN(users)), "")
		for range 1 + rng.IntN(2) {
			add("document", name("d", d), "viewer", "user", name("u", rng.IntN(users)), "")
		}
		if rng.IntN(5) == 0 {
			add("document", name("d", d), "viewer", "group", name("g", rng.IntN(groups)), "member")
		}
		if rng.IntN(10) == 0 {
			add("document", name("d", d), "banned", "user", name("u", rng.IntN(users)), "")
		}
	}
	return w
}

func (w *world) graph(t testing.TB) *Graph {
	b := NewBuilder()
	for _, r := range w.rels {
		if err := b.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// question is a document, and a user who is an owner or viewer half of the time.
type question struct {
	res, sub ID
	rel      Pair
}

func (w *world) names(s *Snapshot) []question {
	rng := rand.New(rand.NewPCG(2, 2))
	var out []question
	for len(out) < 1<<16 {
		r := w.rels[rng.IntN(len(w.rels))]
		if r.Resource.Type != "document" || r.Subject.Type != "user" {
			continue
		}
		e, _ := s.resolve(&r)
		if len(out)%2 == 0 {
			other := w.rels[rng.IntN(len(w.rels))].Subject
			if other.Type == "user" {
				e.sub, _ = s.Object("user", other.ID)
			}
		}
		out = append(out, question{e.res, e.sub, e.rel})
	}
	return out
}

// scale is how many hundred thousand relationships benchmarks have.
func scale() float64 {
	if v, err := strconv.ParseFloat(os.Getenv("TIDEMARK_GRAPH_SCALE"), 64); err == nil {
		return v
	}
	return 10
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// BenchmarkBuilder reports what the graph keeps, and what loading had at most.
func BenchmarkBuilder(b *testing.B) {
	w := newWorld(scale())
	for b.Loop() {
		before := heap()
		start := time.Now()
		g := w.graph(b)
		took := time.Since(start)
		b.ReportMetric(float64(heap()-before)/float64(g.Snapshot().Len()), "B/relationship")
		b.ReportMetric(float64(len(w.rels))/took.Seconds(), "relationships/s")
		gc := time.Now()
		runtime.GC()
		b.ReportMetric(float64(time.Since(gc).Microseconds()), "µs/collection")
		runtime.KeepAlive(g)
	}
}

func BenchmarkRead(b *testing.B) {
	w := newWorld(scale())
	s := w.graph(b).Snapshot()
	asked := w.names(s)
	w.rels = nil
	runtime.GC()
	run := func(name string, f func(q question) int) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			n, i := 0, 0
			for b.Loop() {
				n += f(asked[i%len(asked)])
				i++
			}
			if n == 0 {
				b.Error("nothing was found")
			}
		})
	}
	run("Find", func(q question) int {
		found, _ := s.Find(q.res, q.rel, q.sub, 0)
		if found {
			return 1
		}
		return 0
	})
	run("Out", func(q question) (n int) {
		r := s.Out(q.res, q.rel)
		for _, ok := r.Next(); ok; _, ok = r.Next() {
			n++
		}
		return n
	})
	run("In", func(q question) (n int) {
		r := s.In(q.sub, 0, q.rel)
		for _, ok := r.Next(); ok; _, ok = r.Next() {
			n++
		}
		return n
	})
	run("Name", func(q question) int {
		_, id := s.Name(q.res)
		return len(id)
	})
	ids := make([]string, len(asked))
	for i, q := range asked {
		_, ids[i] = s.Name(q.res)
	}
	k := 0
	run("Object", func(question) int {
		k++
		o, _ := s.Object("document", ids[k%len(ids)])
		return int(o)
	})
}

func BenchmarkApply(b *testing.B) {
	w := newWorld(scale())
	for _, size := range []int{1, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			g := w.graph(b)
			rng := rand.New(rand.NewPCG(3, 3))
			users := int(scale() * 10_000)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				var updates []Update
				for range size {
					i++
					r := member("document", fmt.Sprint("new", i), "viewer", "user", fmt.Sprint("u", rng.IntN(users)), "")
					updates = append(updates, Update{Add, r})
				}
				apply(b, g, updates...)
			}
		})
	}
	b.Run("wide", func(b *testing.B) { // somebody joins or leaves a group of a million
		build := NewBuilder()
		for i := range 1_000_000 {
			if err := build.Add(member("group", "all", "member", "user", fmt.Sprint("u", i), "")); err != nil {
				b.Fatal(err)
			}
		}
		g, err := build.Graph()
		if err != nil {
			b.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(4, 4))
		b.ReportAllocs()
		for b.Loop() {
			r := member("group", "all", "member", "user", fmt.Sprint("u", rng.IntN(1_000_000)), "")
			apply(b, g, Update{Remove, r})
			apply(b, g, Update{Add, r})
		}
	})
}
