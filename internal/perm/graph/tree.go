package graph

import "slices"

const (
	leafBits   = 4 // objects of a leaf
	leafSize   = 1 << leafBits
	branchBits = 4 // leaves of a branch
	branchSize = 1 << branchBits
	pageBits   = 7 // branches of a page
	pageSize   = 1 << pageBits

	branchShift = leafBits + branchBits
	pageShift   = branchShift + pageBits

	endsWords = leafSize / 4 // words of a slab's head
	wideAbove = 128          // edges that an object has beside its neighbours'
	wideBelow = wideAbove / 2
)

// tree finds the edges of an object by its ID: a trie of fixed height, whose
// versions share what has not changed.
type tree []*page

type page [pageSize]*branch

type branch [branchSize]leaf

// leaf is the edges of leafSize objects. The slab has where the edges of each
// end, 16 bits each, and then the edges themselves; so that the collector has
// one thing without pointers to see to for all of them.
type leaf struct {
	slab  []uint64
	sides *[leafSize]*side // nil unless an object needs one
}

// side is what an object has beside its edges in the slab.
type side struct {
	notes []note
	wide  *node // all edges, and the notes, of an object with many
}

// at returns the edges of an object within the leaf.
func (l *leaf) at(slot ID) []uint64 {
	if l.slab == nil {
		return nil
	}
	start := uint16(0)
	if slot > 0 {
		start = l.end(slot - 1)
	}
	return l.slab[endsWords:][start:l.end(slot)]
}

func (l *leaf) end(slot ID) uint16 { return uint16(l.slab[slot/4] >> (slot % 4 * 16)) }

func (l *leaf) side(slot ID) *side {
	if l.sides == nil {
		return nil
	}
	return l.sides[slot]
}

func (t tree) leaf(o ID) *leaf {
	if int(o>>pageShift) >= len(t) {
		return nil
	}
	p := t[o>>pageShift]
	if p == nil {
		return nil
	}
	b := p[o>>branchShift%pageSize]
	if b == nil {
		return nil
	}
	return &b[o>>leafBits%branchSize]
}

// edges returns those of an object, or the tree of them where it has many.
func (t tree) edges(o ID) ([]uint64, *node) {
	l := t.leaf(o)
	if l == nil {
		return nil, nil
	}
	return l.edges(o % leafSize)
}

func (l *leaf) edges(slot ID) ([]uint64, *node) {
	if s := l.side(slot); s != nil && s.wide != nil {
		return nil, s.wide
	}
	return l.at(slot), nil
}

// find returns an edge with its marks by its key.
func (t tree) find(o ID, key uint64) (uint64, bool) {
	edges, wide := t.edges(o)
	if wide != nil {
		l, i := wide.seek(key)
		if l == nil {
			return 0, false
		}
		return l.edges[i], l.edges[i]&^marks == key
	}
	if i := search(edges, key); i < len(edges) && edges[i]&^marks == key {
		return edges[i], true
	}
	return 0, false
}

// note returns the alternatives of an edge that is marked.
func (t tree) note(o ID, key uint64) *alternatives {
	s := t.leaf(o).side(o % leafSize)
	if s.wide != nil {
		l, _ := s.wide.seek(key)
		return findNote(l.notes, key)
	}
	return findNote(s.notes, key)
}

func (t tree) has(o ID) bool {
	edges, wide := t.edges(o)
	return wide != nil || len(edges) > 0
}

// editor is room for the writer to work in.
type editor struct{ slab, run []uint64 }

// with returns the tree after changes, which are in order of object and key.
func (t tree) with(e *editor, changes []change) tree {
	if len(changes) == 0 {
		return t
	}
	pages := int(changes[len(changes)-1].object>>pageShift) + 1
	out := make(tree, max(len(t), pages))
	copy(out, t)
	for len(changes) > 0 {
		i := changes[0].object >> pageShift
		n := same(changes, pageShift)
		p := new(page)
		if out[i] != nil {
			*p = *out[i]
		}
		p.change(e, changes[:n])
		out[i] = p
		changes = changes[n:]
	}
	return out
}

// same returns how many changes at the start have the first one's object but for
// some low bits.
func same(changes []change, shift int) int {
	n := 1
	for n < len(changes) && changes[n].object>>shift == changes[0].object>>shift {
		n++
	}
	return n
}

func (p *page) change(e *editor, changes []change) {
	for len(changes) > 0 {
		i := changes[0].object >> branchShift % pageSize
		n := same(changes, branchShift)
		b := new(branch)
		if p[i] != nil {
			*b = *p[i]
		}
		b.change(e, changes[:n])
		p[i] = b
		changes = changes[n:]
	}
}

func (b *branch) change(e *editor, changes []change) {
	for len(changes) > 0 {
		i := changes[0].object >> leafBits % branchSize
		n := same(changes, leafBits)
		b[i] = b[i].with(e, changes[:n])
		changes = changes[n:]
	}
}

func (l *leaf) with(e *editor, changes []change) leaf {
	e.begin()
	var sides [leafSize]*side
	for slot := range ID(leafSize) {
		edges, s := l.at(slot), l.side(slot)
		if len(changes) > 0 && changes[0].object%leafSize == slot {
			n := same(changes, 0)
			edges, s = e.changed(edges, s, changes[:n])
			changes = changes[n:]
		}
		e.add(slot, edges)
		sides[slot] = s
	}
	return e.leaf(&sides)
}

// changed returns the edges of an object that stay in the slab, and what is
// beside them, after changes.
func (e *editor) changed(edges []uint64, s *side, changes []change) ([]uint64, *side) {
	var notes []note
	if s != nil && s.wide != nil {
		wide := root(s.wide.with(e.run, changes))
		if wide != nil && wide.n >= wideBelow {
			return nil, &side{wide: wide}
		}
		e.run = e.run[:0]
		if wide != nil {
			e.run, notes = wide.flat(e.run, nil)
		}
	} else {
		if s != nil {
			notes = s.notes
		}
		e.run = mergeEdges(e.run[:0], edges, changes)
		notes = mergeNotes(notes, changes)
	}
	return split(e.run, notes)
}

// split decides where the edges of an object are kept.
func split(edges []uint64, notes []note) ([]uint64, *side) {
	switch {
	case len(edges) > wideAbove:
		return nil, &side{wide: newWide(edges, notes)}
	case len(notes) > 0:
		return edges, &side{notes: notes}
	}
	return edges, nil
}

// begin starts a leaf.
func (e *editor) begin() {
	e.slab = append(e.slab[:0], make([]uint64, endsWords)...)
}

// add gives the edges of each object, in order.
func (e *editor) add(slot ID, edges []uint64) {
	e.slab = append(e.slab, edges...)
	e.slab[slot/4] |= uint64(len(e.slab)-endsWords) << (slot % 4 * 16)
}

// leaf returns what was added.
func (e *editor) leaf(sides *[leafSize]*side) leaf {
	var l leaf
	if len(e.slab) > endsWords {
		l.slab = make([]uint64, len(e.slab))
		copy(l.slab, e.slab)
	}
	if slices.ContainsFunc(sides[:], func(s *side) bool { return s != nil }) {
		kept := *sides
		l.sides = &kept
	}
	return l
}
