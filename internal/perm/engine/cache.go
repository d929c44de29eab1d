package engine

import (
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/tidemarkdb/tidemark/internal/perm/graph"
)

// An answer is kept if the graph was asked that often for it, a question's own
// more readily than those below it. What takes less is found as fast again, and
// looking for it in a large cache would cost more than it saves.
const (
	worthAsking  = 16
	worthKeeping = 64
)

// keptLists is how many answers to lookups are kept, for those who come back for
// the next page.
const keptLists = 16

// Cache keeps answers to sub-questions between requests, in bounded memory and
// without locks. Any number of goroutines may use it.
//
// An answer is kept with its stamp: the last change to the relations that it
// rests on. It is given to whoever has the same stamp in a snapshot of the same
// graph, newer or older, because then those relations hold the same. Answers in
// which caveats or expirations had a part are not kept.
//
// A cache is filled for one model and one graph at a time, and empties itself
// for another that is not older.
type Cache struct {
	bytes   int
	eager   bool // keeps everything
	current atomic.Pointer[generation]
}

// NewCache returns a cache that uses about so many bytes at most.
func NewCache(bytes int) *Cache { return &Cache{bytes: bytes} }

// generation is what a cache keeps for a model and a graph.
type generation struct {
	model *Model
	graph *graph.Graph
	seq   atomic.Uint64 // of the newest snapshot that it was used for

	eager bool
	// kept says by member whether anything was kept, of questions themselves and
	// of those below them.
	kept    [2][]atomic.Bool
	answers []answer // a power of two
	sets    []atomic.Pointer[keptGroups]
	room    atomic.Int64 // bytes left for sets
	hand    atomic.Uint64
	lists   [keptLists]atomic.Pointer[keptList]
	most    int // results in a list that is kept
}

// answer is one slot. The version is odd while the rest is being written; a
// reader takes what it finds if the version was even and has not changed.
type answer struct {
	version atomic.Uint64
	objects atomic.Uint64 // resource and subject
	members atomic.Uint64 // of each
	result  atomic.Uint64 // stamp, and in the last bit the answer
}

// keptList is the answer to a lookup of resources.
type keptList struct {
	goal    memberID
	subject spot
	stamp   uint64
	found   []Found // in order
}

type keptGroups struct {
	subject spot
	stamp   uint64
	groups  *groups
}

func (k *keptGroups) size() int64 {
	return int64(unsafe.Sizeof(*k)+unsafe.Sizeof(*k.groups)) + int64(8*cap(k.groups.spots)+4*cap(k.groups.table))
}

// generation returns what there is for a model and a snapshot's graph; nil: the
// cache is in use for a newer one.
func (c *Cache) generation(m *Model, s *graph.Snapshot) *generation {
	for {
		g := c.current.Load()
		if g != nil && g.model == m && g.graph == s.Graph() {
			for seq := g.seq.Load(); seq < s.Seq() && !g.seq.CompareAndSwap(seq, s.Seq()); seq = g.seq.Load() {
			}
			return g
		}
		if g != nil && g.graph == s.Graph() && g.seq.Load() > s.Seq() {
			return nil
		}
		n := 64
		for n*2*int(unsafe.Sizeof(answer{})) <= c.bytes/2 {
			n *= 2
		}
		next := &generation{model: m, graph: s.Graph(), eager: c.eager, answers: make([]answer, n), sets: make([]atomic.Pointer[keptGroups], max(16, n/4))}
		next.most = c.bytes / 4 / keptLists / int(unsafe.Sizeof(Found{}))
		for i := range next.kept {
			next.kept[i] = make([]atomic.Bool, len(m.members))
		}
		next.seq.Store(s.Seq())
		next.room.Store(int64(c.bytes / 4))
		if c.current.CompareAndSwap(g, next) {
			return next
		}
	}
}

// stamp returns when relations last changed. Where they never did, it tells
// epochs apart, in which objects have other numbers; an epoch is never later
// than a change in it.
func (r *request) stamp(relations []*member) uint64 {
	last := r.snap.Epoch()
	for _, m := range relations {
		if p := r.names.pairOf[m.id]; p != 0 && int(p) <= r.snap.Pairs() {
			last = max(last, r.snap.Changed(p))
		}
	}
	return last
}

// stampOf returns when what a member rests on last changed.
func (r *request) stampOf(m *member) uint64 {
	if len(r.stamps) == 0 {
		n := len(r.model.members)
		if cap(r.stamps) < n {
			r.stamps = make([]uint64, n)
		}
		r.stamps = r.stamps[:n]
		clear(r.stamps)
	}
	if r.stamps[m.id] == 0 {
		r.stamps[m.id] = r.stamp(m.rests) + 1
	}
	return r.stamps[m.id] - 1
}

// below is 0 for a question itself, and 1 for those below it.
func below(depth int) int { return min(depth-1, 1) }

// cached looks for an answer that was kept.
func (r *request) cached(m *member, o graph.ID, depth int) (Has, bool) {
	if o >= lastObject || r.subject >= lastObject || !r.cache.kept[below(depth)][m.id].Load() {
		return No, false
	}
	objects, members := uint64(o)<<32|uint64(r.subject), uint64(m.id)<<32|uint64(r.member)
	i := r.cache.slot(objects, members)
	for _, a := range []*answer{&r.cache.answers[i], &r.cache.answers[i^1]} {
		if result, ok := a.load(objects, members); ok && result>>1 == r.stampOf(m) {
			if result&1 != 0 {
				return Yes, true
			}
			return No, true
		}
	}
	return No, false
}

// keep keeps an answer for which the graph was asked so often, if it pays.
func (r *request) keep(m *member, o graph.ID, v value, depth, work int) {
	if o >= lastObject || r.subject >= lastObject || !r.cache.eager && work < [...]int{worthAsking, worthKeeping}[below(depth)] {
		return
	}
	result := r.stampOf(m) << 1
	switch v.has {
	case Yes:
		result |= 1
	case No:
	default:
		return
	}
	objects, members := uint64(o)<<32|uint64(r.subject), uint64(m.id)<<32|uint64(r.member)
	i := r.cache.slot(objects, members)
	a, b := &r.cache.answers[i], &r.cache.answers[i^1]
	// Of two, the one goes that says the same, or else the one that became
	// untrue first.
	if _, same := b.load(objects, members); same || b.result.Load()>>1 < a.result.Load()>>1 {
		a = b
	}
	a.store(objects, members, result)
	if kept := &r.cache.kept[below(depth)][m.id]; !kept.Load() {
		kept.Store(true)
	}
}

func (g *generation) slot(objects, members uint64) uint64 {
	h := spot(objects).scramble() ^ spot(members).scramble()*3
	return h & uint64(len(g.answers)-1)
}

func (a *answer) load(objects, members uint64) (result uint64, ok bool) {
	before := a.version.Load()
	if before == 0 || before&1 != 0 || a.objects.Load() != objects || a.members.Load() != members {
		return 0, false
	}
	result = a.result.Load()
	return result, a.version.Load() == before
}

func (a *answer) store(objects, members, result uint64) {
	v := a.version.Load()
	if v&1 != 0 || !a.version.CompareAndSwap(v, v+1) {
		return // somebody else writes it now
	}
	a.objects.Store(objects)
	a.members.Store(members)
	a.result.Store(result)
	a.version.Store(v + 2)
}

func (r *request) list(goal *member) *atomic.Pointer[keptList] {
	h := at(r.subject, r.member).scramble() ^ spot(goal.id).scramble()
	return &r.cache.lists[h%keptLists]
}

// cachedList looks for the answer to a lookup that was kept.
func (r *request) cachedList(goal *member) ([]Found, bool) {
	if r.cache == nil || r.subject >= lastObject {
		return nil, false
	}
	k := r.list(goal).Load()
	if k == nil || k.goal != goal.id || k.subject != at(r.subject, r.member) || k.stamp != r.stampOf(goal) {
		return nil, false
	}
	return k.found, true
}

// keepList keeps the answer to a lookup if it has a size that pays.
func (r *request) keepList(goal *member, found []Found) {
	if r.cache == nil || r.met || r.subject >= lastObject || !r.cache.eager && (r.work < worthKeeping || len(found) > r.cache.most) {
		return
	}
	r.list(goal).Store(&keptList{goal.id, at(r.subject, r.member), r.stampOf(goal), slices.Clip(found)})
}

func (g *generation) set(subject spot) *atomic.Pointer[keptGroups] {
	return &g.sets[subject.scramble()&uint64(len(g.sets)-1)]
}

// groups returns the sets that a subject is in, if they were kept.
func (g *generation) groups(subject spot, stamp uint64) *groups {
	if k := g.set(subject).Load(); k != nil && k.subject == subject && k.stamp == stamp {
		return k.groups
	}
	return nil
}

// keepGroups keeps the sets that a subject is in, and gives up others if they
// take too much room.
func (g *generation) keepGroups(subject spot, stamp uint64, found *groups) {
	k := &keptGroups{subject, stamp, found}
	g.room.Add(-k.size())
	if old := g.set(subject).Swap(k); old != nil {
		g.room.Add(old.size())
	}
	for range g.sets {
		if g.room.Load() >= 0 {
			return
		}
		i := g.hand.Add(1) & uint64(len(g.sets)-1)
		if old := g.sets[i].Swap(nil); old != nil {
			g.room.Add(old.size())
		}
	}
}
