package graph

import (
	"cmp"
	"slices"

	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// Builder makes a graph of many relationships at once, in any order. It is used
// by one goroutine.
type Builder struct {
	names  names
	traits traits

	rows  []*batch
	n     int     // of rows
	notes []noted // what a row stands for that is marked: one for each such row
	err   error   // of the first Add that failed
	seq   uint64
	epoch uint64
}

// batch is edges by resource.
type batch struct {
	res  [1 << 14]ID
	edge [1 << 14]uint64
}

type noted struct {
	res ID
	note
}

// NewBuilder returns a builder of a graph.
func NewBuilder() *Builder { return &Builder{names: newNames()} }

// Add adds one of a relationship.
func (b *Builder) Add(r tuple.Relationship) error {
	w, err := b.names.row(&r)
	var alts *alternatives
	if err == nil {
		alts, err = b.traits.of(&r)
	}
	if err != nil {
		b.err = cmp.Or(b.err, err)
		return err
	}
	b.add(w.res, pack(w.rel, w.subRel, w.sub), alts)
	return nil
}

func (b *Builder) add(res ID, key uint64, alts *alternatives) {
	if alts != once {
		b.notes = append(b.notes, noted{res, note{key, alts}})
		key |= qualified
	}
	const size = len(batch{}.res)
	if b.n%size == 0 {
		b.rows = append(b.rows, new(batch))
	}
	last := b.rows[len(b.rows)-1]
	last.res[b.n%size], last.edge[b.n%size] = res, key
	b.n++
}

// Graph returns the graph of what was added, or the error of an Add: a graph
// without something is none. The builder is of no more use.
func (b *Builder) Graph() (*Graph, error) {
	if b.err != nil {
		return nil, b.err
	}
	g := &Graph{names: b.names, traits: b.traits}
	s := &Snapshot{seq: b.seq, epoch: b.epoch, changed: make([]uint64, len(b.names.vocabulary.pairs))}
	for p := range s.changed {
		s.changed[p] = s.seq
	}
	slices.SortStableFunc(b.notes, func(x, y noted) int {
		return cmp.Or(cmp.Compare(x.res, y.res), cmp.Compare(x.key, y.key))
	})
	out := newGrouped(b.names.objects.end(), make([]uint64, b.n), b.each)
	b.rows = nil
	s.out = out.tree(func(res ID, edges []uint64) ([]uint64, []note) {
		edges, notes, n := b.combine(res, edges)
		s.size += n
		return edges, notes
	})
	in := newGrouped(b.names.objects.end(), out.edges, func(f func(ID, uint64)) {
		s.out.each(func(res ID, e uint64) {
			rel, subRel, sub := unpack(e)
			f(sub, pack(subRel, rel, res)|e&marks)
		})
	})
	s.in = in.tree(func(_ ID, edges []uint64) ([]uint64, []note) { return edges, nil })
	g.publish(s)
	for t := range s.Types() {
		for range s.Objects(Type(t+1), 0) {
			g.live++
		}
	}
	return g, nil
}

func (b *Builder) each(f func(ID, uint64)) {
	for i, p := range b.rows {
		for k := range min(len(p.res), b.n-i*len(p.res)) {
			f(p.res[k], p.edge[k])
		}
	}
}

// combine makes one edge, in place, of those with one key. It returns how many
// relationships the edges are as well. Resources come in order.
func (b *Builder) combine(res ID, edges []uint64) (out []uint64, notes []note, size int) {
	simple := true
	for i, e := range edges {
		simple = simple && e&marks == 0 && (i == 0 || edges[i-1] != e)
	}
	if simple {
		return edges, nil, len(edges)
	}
	out = edges[:0]
	for i := 0; i < len(edges); {
		key, free := edges[i]&^marks, 0
		for ; i < len(edges) && edges[i]&^marks == key; i++ {
			if edges[i]&marks == 0 {
				free++
			}
		}
		alts := once
		if free != 1 {
			alts = &alternatives{free: free}
		}
		if free == 0 {
			alts = none
		}
		for len(b.notes) > 0 && b.notes[0].res == res && b.notes[0].key == key {
			alts, _ = alts.plus(b.notes[0].alts, 1)
			b.notes = b.notes[1:]
		}
		size += alts.size()
		if alts != once {
			notes = append(notes, note{key, alts})
			key |= qualified
		}
		out = append(out, key)
	}
	return out, notes, size
}

// grouped is edges by object, of all IDs below an end. Those of an object end
// where ends says and start where those of the one before end.
type grouped struct {
	edges []uint64
	ends  []int
}

// newGrouped groups the edges that each gives, twice in the same order, in the
// room of edges.
func newGrouped(end int, edges []uint64, each func(func(ID, uint64))) grouped {
	ends := make([]int, end+1)
	each(func(o ID, _ uint64) { ends[o+1]++ })
	for o := range end {
		ends[o+1] += ends[o]
	}
	each(func(o ID, e uint64) {
		edges[ends[o]] = e
		ends[o]++
	})
	return grouped{edges, ends[:end]}
}

// tree returns the tree of the edges. For each object that has some, in order,
// object is given them sorted, and returns them as they are kept.
func (g *grouped) tree(object func(ID, []uint64) ([]uint64, []note)) tree {
	out := make(tree, (len(g.ends)+1<<pageShift-1)>>pageShift)
	var e editor
	start := 0
	for first := 0; first < len(g.ends); first += leafSize {
		if g.ends[first+leafSize-1] == start {
			continue
		}
		var sides [leafSize]*side
		e.begin()
		for slot := range ID(leafSize) {
			o := ID(first) + slot
			edges := g.edges[start:g.ends[o]]
			start = g.ends[o]
			if len(edges) > 0 {
				slices.Sort(edges)
				edges, sides[slot] = split(object(o, edges))
			}
			e.add(slot, edges)
		}
		p := &out[first>>pageShift]
		if *p == nil {
			*p = new(page)
		}
		b := &(*p)[first>>branchShift%pageSize]
		if *b == nil {
			*b = new(branch)
		}
		(*b)[first>>leafBits%branchSize] = e.leaf(&sides)
	}
	return out
}

// each calls f with the edges of all objects.
func (t tree) each(f func(ID, uint64)) {
	for i, p := range t {
		if p == nil {
			continue
		}
		for k, b := range p {
			if b == nil {
				continue
			}
			for slot := range ID(1 << branchShift) {
				o := ID(i)<<pageShift | ID(k)<<branchShift | slot
				edges, wide := b[slot>>leafBits].edges(slot % leafSize)
				for _, e := range edges {
					f(o, e)
				}
				if wide != nil {
					wide.each(func(e uint64) { f(o, e) })
				}
			}
		}
	}
}

func (n *node) each(f func(uint64)) {
	for _, kid := range n.kids {
		kid.each(f)
	}
	for _, e := range n.edges {
		f(e)
	}
}
