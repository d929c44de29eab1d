package graph

import "slices"

const (
	chunkEdges = 512 // at most, of a leaf of a wide object's tree
	nodeKids   = 64  // at most
)

// node is a part of the edges of one object that has many: a B+ tree, whose
// versions share what has not changed.
type node struct {
	n      int // edges below
	firsts []uint64
	kids   []*node // by firsts, the least that may be in each; nil for a leaf
	edges  []uint64
	notes  []note
}

// newWide returns the tree of edges, which it copies, in order.
func newWide(edges []uint64, notes []note) *node { return root(leaves(edges, notes)) }

// leaves cuts edges into pieces of about the same size.
func leaves(edges []uint64, notes []note) []*node {
	var out []*node
	for pieces := (len(edges) + chunkEdges - 1) / chunkEdges; pieces > 0; pieces-- {
		n := (len(edges) + pieces - 1) / pieces
		leaf := &node{n: n, edges: make([]uint64, n)}
		copy(leaf.edges, edges)
		edges = edges[n:]
		k := len(notes)
		if len(edges) > 0 {
			k = 0
			for k < len(notes) && notes[k].key < edges[0]&^marks {
				k++
			}
		}
		leaf.notes = slices.Clone(notes[:k])
		notes = notes[k:]
		out = append(out, leaf)
	}
	return out
}

// parents puts nodes under as few as possible.
func parents(kids []*node) []*node {
	var out []*node
	for pieces := (len(kids) + nodeKids - 1) / nodeKids; pieces > 0; pieces-- {
		n := (len(kids) + pieces - 1) / pieces
		p := &node{kids: slices.Clone(kids[:n]), firsts: make([]uint64, 0, n)}
		for _, kid := range p.kids {
			p.n += kid.n
			p.firsts = append(p.firsts, kid.first())
		}
		kids = kids[n:]
		out = append(out, p)
	}
	return out
}

// root returns the node above all, or nil for none.
func root(nodes []*node) *node {
	for len(nodes) > 1 {
		nodes = parents(nodes)
	}
	if len(nodes) == 0 {
		return nil
	}
	for len(nodes[0].kids) == 1 {
		nodes = nodes[0].kids
	}
	return nodes[0]
}

func (n *node) first() uint64 {
	if n.kids == nil {
		return n.edges[0] &^ marks
	}
	return n.firsts[0]
}

// with returns the nodes that take the place of this one after the changes,
// which are in order. buf is room to work in.
func (n *node) with(buf []uint64, changes []change) []*node {
	if n.kids == nil {
		return leaves(mergeEdges(buf[:0], n.edges, changes), mergeNotes(n.notes, changes))
	}
	kids := make([]*node, 0, len(n.kids)+1)
	for i, kid := range n.kids {
		k := len(changes)
		if i+1 < len(n.kids) {
			k = 0
			for k < len(changes) && changes[k].key() < n.firsts[i+1] {
				k++
			}
		}
		if k == 0 {
			kids = append(kids, kid)
			continue
		}
		kids = append(kids, kid.with(buf, changes[:k])...)
		changes = changes[k:]
	}
	return parents(joined(kids))
}

// joined puts neighbours together of which one has become small. All are of one
// height.
func joined(kids []*node) []*node {
	out := kids[:0]
	for _, kid := range kids {
		if len(out) > 0 {
			if both := join(out[len(out)-1], kid); both != nil {
				out[len(out)-1] = both
				continue
			}
		}
		out = append(out, kid)
	}
	return out
}

func join(a, b *node) *node {
	if a.kids == nil {
		if min(a.n, b.n) >= chunkEdges/4 || a.n+b.n > chunkEdges*3/4 {
			return nil
		}
		return leaves(append(slices.Clip(a.edges), b.edges...), append(slices.Clip(a.notes), b.notes...))[0]
	}
	if min(len(a.kids), len(b.kids)) >= nodeKids/4 || len(a.kids)+len(b.kids) > nodeKids*3/4 {
		return nil
	}
	return parents(append(slices.Clip(a.kids), b.kids...))[0]
}

// seek returns the leaf with the first edge that is at least x, and that edge's
// index, or nil if there is none.
func (n *node) seek(x uint64) (*node, int) {
	var right *node // what follows the path down
	for n.kids != nil {
		i := max(behind(n.firsts, x)-1, 0)
		if i+1 < len(n.kids) {
			right = n.kids[i+1]
		}
		n = n.kids[i]
	}
	if i := search(n.edges, x); i < len(n.edges) {
		return n, i
	}
	if right == nil {
		return nil, 0
	}
	for right.kids != nil {
		right = right.kids[0]
	}
	return right, 0
}

// rank returns how many edges are less than or equal to x.
func (n *node) rank(x uint64) int {
	below := 0
	for n.kids != nil {
		i := max(behind(n.firsts, x)-1, 0)
		for _, kid := range n.kids[:i] {
			below += kid.n
		}
		n = n.kids[i]
	}
	return below + behind(n.edges, x)
}

// flat appends all edges and notes.
func (n *node) flat(edges []uint64, notes []note) ([]uint64, []note) {
	for _, kid := range n.kids {
		edges, notes = kid.flat(edges, notes)
	}
	return append(edges, n.edges...), append(notes, n.notes...)
}
