package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/perm/engine"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

const officeSchema = `definition user {}

definition group {
	relation member: user | group#member
}

definition folder {
	relation parent: folder
	relation owner: user
	relation viewer: user | group#member
	permission edit = owner + parent->edit
	permission view = viewer + edit + parent->view
}

definition document {
	relation parent: folder
	relation owner: user
	relation viewer: user | group#member
	relation banned: user
	permission edit = owner + parent->edit
	permission view = (viewer + edit + parent->view) - banned
}
`

// office is groups nested three deep, folders five deep, and documents in the
// deepest folders: about 100,000 relationships.
type office struct {
	snap            *graph.Snapshot
	graph           *graph.Graph
	model           *engine.Model
	users, folders  int
	documents       int
	owner, viewer   []int // by document
	parent          []int
	up, folderOwner []int // by folder
}

var theOffice = sync.OnceValue(func() *office {
	rng := rand.New(rand.NewPCG(1, 2))
	o := &office{users: 10_000, documents: 20_000}
	b := graph.NewBuilder()
	add := func(format string, args ...any) {
		r, err := tuple.Parse(fmt.Sprintf(format, args...))
		if err == nil {
			err = b.Add(r)
		}
		if err != nil {
			panic(err)
		}
	}
	user := func() int { return rng.IntN(o.users) }
	for g := range 1000 {
		seen := map[int]bool{}
		for len(seen) < 20 {
			if u := user(); !seen[u] {
				seen[u] = true
				add("group:g%d#member@user:u%d", g, u)
			}
		}
	}
	for i := range 100 {
		for j := range 10 {
			add("group:g%d#member@group:g%d#member", 1000+i, i*10+j)
		}
	}
	for i := range 10 {
		for j := range 10 {
			add("group:g%d#member@group:g%d#member", 1100+i, 1000+i*10+j)
		}
	}
	level := []int{0}
	o.up = []int{-1}
	for range 4 {
		var next []int
		for _, p := range level {
			for range 6 {
				next = append(next, len(o.up))
				o.up = append(o.up, p)
			}
		}
		level = next
	}
	for f, p := range o.up {
		if p >= 0 {
			add("folder:f%d#parent@folder:f%d", f, p)
		}
		o.folderOwner = append(o.folderOwner, user())
		add("folder:f%d#owner@user:u%d", f, o.folderOwner[f])
		if f > 0 && rng.IntN(2) == 0 {
			g := rng.IntN(1100)
			if p == 0 {
				g = 1100 + rng.IntN(10)
			}
			add("folder:f%d#viewer@group:g%d#member", f, g)
		}
	}
	o.folders = len(o.up)
	for d := range o.documents {
		p := level[rng.IntN(len(level))]
		o.parent, o.owner, o.viewer = append(o.parent, p), append(o.owner, user()), append(o.viewer, user())
		add("document:d%d#parent@folder:f%d", d, p)
		add("document:d%d#owner@user:u%d", d, o.owner[d])
		add("document:d%d#viewer@user:u%d", d, o.viewer[d])
		if rng.IntN(5) == 0 {
			add("document:d%d#viewer@group:g%d#member", d, rng.IntN(1000))
		}
		if rng.IntN(10) == 0 {
			add("document:d%d#banned@user:u%d", d, user())
		}
	}
	g, err := b.Graph()
	if err != nil {
		panic(err)
	}
	s, err := schema.Parse(officeSchema)
	if err != nil {
		panic(err)
	}
	o.graph, o.snap, o.model = g, g.Snapshot(), engine.Compile(s)
	return o
})

// ask draws a question that is answered with yes in about four of ten cases.
func (o *office) ask(rng *rand.Rand) (document, user int) {
	d := rng.IntN(o.documents)
	switch rng.IntN(8) {
	case 0:
		return d, o.owner[d]
	case 1:
		return d, o.viewer[d]
	case 2:
		f := o.parent[d]
		for range rng.IntN(5) {
			f = max(0, o.up[f])
		}
		return d, o.folderOwner[f]
	}
	return d, rng.IntN(o.users)
}

// spent is this process's CPU time, which other work on the machine does not
// distort as much as the clock's.
func spent(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func names(kind string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%c%d", kind[0], i)
	}
	return out
}

func BenchmarkCheck(b *testing.B) {
	o := theOffice()
	documents, users := names("document", o.documents), names("user", o.users)
	for _, c := range []struct {
		name   string
		cache  *engine.Cache
		writes bool
	}{{name: "alone"}, {name: "cache", cache: engine.NewCache(32 << 20)}, {name: "writes", cache: engine.NewCache(32 << 20), writes: true}} {
		b.Run(c.name, func(b *testing.B) {
			rng := rand.New(rand.NewPCG(3, 4))
			v := engine.View{Model: o.model, Snapshot: o.snap, Now: clock, Cache: c.cache}
			yes, before := 0, spent(b)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if c.writes && i%20 == 0 { // five of a hundred
					b.StopTimer()
					snap, err := o.graph.Apply([]graph.Update{{Relationship: tuple.Relationship{
						Resource: tuple.Object{Type: "document", ID: documents[rng.IntN(len(documents))]}, Relation: "viewer",
						Subject: tuple.Subject{Object: tuple.Object{Type: "user", ID: users[rng.IntN(len(users))]}},
					}}})
					if err != nil {
						b.Fatal(err)
					}
					v.Snapshot = snap
					b.StartTimer()
				}
				d, u := o.ask(rng)
				res, err := engine.Check(context.Background(), v, tuple.Object{Type: "document", ID: documents[d]}, "view",
					tuple.Subject{Object: tuple.Object{Type: "user", ID: users[u]}}, nil, engine.Options{})
				if err != nil {
					b.Fatal(err)
				}
				if res.Has == engine.Yes {
					yes++
				}
			}
			b.ReportMetric(float64(spent(b)-before)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(100*float64(yes)/float64(b.N), "%yes")
		})
	}
}

func BenchmarkLookupResources(b *testing.B) {
	o := theOffice()
	rng := rand.New(rand.NewPCG(5, 6))
	v := engine.View{Model: o.model, Snapshot: o.snap, Now: clock, Cache: engine.NewCache(32 << 20)}
	results := 0
	before := spent(b)
	b.ReportAllocs()
	for b.Loop() {
		u := fmt.Sprintf("u%d", rng.IntN(o.users))
		found, err := engine.LookupResources(context.Background(), v, "document", "view", tuple.Subject{Object: tuple.Object{Type: "user", ID: u}}, nil, engine.Page{}, engine.Options{})
		if err != nil {
			b.Fatal(err)
		}
		results += len(found)
	}
	b.ReportMetric(float64(results)/float64(b.N), "results/op")
	b.ReportMetric(float64(spent(b)-before)/float64(b.N), "cpu-ns/op")
}

func BenchmarkLookupSubjects(b *testing.B) {
	o := theOffice()
	rng := rand.New(rand.NewPCG(5, 6))
	v := engine.View{Model: o.model, Snapshot: o.snap, Now: clock, Cache: engine.NewCache(32 << 20)}
	results := 0
	before := spent(b)
	b.ReportAllocs()
	for b.Loop() {
		d := fmt.Sprintf("d%d", rng.IntN(o.documents))
		found, err := engine.LookupSubjects(context.Background(), v, tuple.Object{Type: "document", ID: d}, "view", "user", "", nil, engine.Options{})
		if err != nil {
			b.Fatal(err)
		}
		results += len(found)
	}
	b.ReportMetric(float64(results)/float64(b.N), "results/op")
	b.ReportMetric(float64(spent(b)-before)/float64(b.N), "cpu-ns/op")
}
