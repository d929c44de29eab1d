package match

import (
	"slices"
	"unsafe"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
)

// Index finds the owners that a change touches. Its cost for a change grows
// with the number of shapes over the changed table (which the endpoints bound)
// and with the owners found, not with the owners registered.
//
// Dependencies that read the same table reference and compare the same columns
// have one shape. A shape keeps its nodes by a hash of the values compared; two
// values that collide are both found. Tests that are not part of the hash are
// evaluated on each node found.
type Index[T any] struct {
	tables map[catalog.OID][]*boundShape[T]
	shapes map[shapeKey]*shape[T]
	nodes  int
	seq    uint64

	// What a call of Touch works with, kept so that it need not allocate.
	before, after side
	candidates    []*node[T]
	found         []*part[T]
}

// NewIndex returns an empty index.
func NewIndex[T any]() *Index[T] {
	return &Index[T]{tables: map[catalog.OID][]*boundShape[T]{}, shapes: map[shapeKey]*shape[T]{}}
}

// Handle is what an index holds for one owner. The zero Handle holds nothing. It
// is part of the index, so it must not be copied; owners have it inside them,
// which brings what is found next to what it is found for.
type Handle[T any] struct {
	first part[T] // without a shape, there is none
	size  int64
}

// Size returns the bytes that the index needs for the owner beside the Handle.
// Strings that the dependencies share with others count.
func (h *Handle[T]) Size() int64 { return h.size }

// Len returns the number of nodes.
func (h *Handle[T]) Len() int {
	if h.first.shape == nil {
		return 0
	}
	n := 0
	for p := &h.first; p != nil; p = p.sibling {
		n += p.len()
	}
	return n
}

// part is one dependency of one owner.
type part[T any] struct {
	owner   T
	shape   *shape[T] // nil once removed
	sibling *part[T]
	limits  *limits // nil: what is found counts
	node    node[T]
	more    *[]node[T] // all nodes, where there is not exactly one
}

// node is one place in a shape.
type node[T any] struct {
	key        uint64
	part       *part[T]
	next, prev *node[T] // in the list of the key
	span       *span[T] // in the interval tree, for shapes with a range
}

func (p *part[T]) len() int {
	if p.more == nil {
		return 1
	}
	return len(*p.more)
}

func (p *part[T]) at(i int) *node[T] {
	if p.more == nil {
		return &p.node
	}
	return &(*p.more)[i]
}

// limits is what of a dependency is evaluated on the nodes found. Parts may
// share it, and then nobody changes it; one with witnesses has a part of its own.
type limits struct {
	tests     []Test // those that the key and the interval do not cover
	exact     bool
	shared    bool // tests belong to others
	edge      *Edge
	groups    *Groups
	witnesses *Witnesses
	// hashed are tests that a key covers only as far as a hash can say. A row
	// that is to be a witness has to pass them.
	hashed []Test
}

// Bounds of the nodes of one dependency. One IN list may have as many as keys of
// a join have; several may multiply up to maxProduct. What is beyond is
// evaluated instead of indexed.
const (
	maxKeys    = 1024
	maxProduct = 64
	maxEqual   = 8
)

// noReads stands for the table references of owners that have none.
var noReads = &Reads{}

// Add registers an owner's dependencies, which it keeps, under a Handle that
// holds nothing.
func (ix *Index[T]) Add(h *Handle[T], owner T, deps []Dependency) {
	for i := range deps {
		ix.add(h, owner, &deps[i])
	}
	if h.first.shape == nil {
		// Nothing but a changed definition touches it.
		ix.place(h, owner, ix.shape(noReads, &selection{never: true}), &selection{}, nil)
	}
}

func (ix *Index[T]) add(h *Handle[T], owner T, d *Dependency) {
	sel := choose(d.Tests)
	s := ix.shape(d.Reads, &sel)
	if s.never {
		ix.place(h, owner, s, &sel, nil)
		return
	}
	l, fresh := s.limit(d, &sel)
	ix.place(h, owner, s, &sel, l)
	if fresh {
		h.size += l.size()
	}
}

// place makes a part with a node for each combination of the values selected.
func (ix *Index[T]) place(h *Handle[T], owner T, s *shape[T], sel *selection, l *limits) {
	n := 1
	for _, t := range sel.equal[:sel.n] {
		n *= len(t.Values)
	}
	p := &h.first
	if p.shape != nil {
		p = &part[T]{sibling: h.first.sibling}
		h.first.sibling = p
		h.size += int64(unsafe.Sizeof(*p))
	}
	if n != 1 {
		nodes := make([]node[T], n)
		p.more = &nodes
		h.size += int64(unsafe.Sizeof(nodes)) + int64(n)*int64(unsafe.Sizeof(node[T]{}))
	}
	p.owner, p.shape, p.limits = owner, s, l
	h.size += int64(n) * mapEntry
	if sel.ranged != nil {
		h.size += int64(n) * int64(unsafe.Sizeof(span[T]{}))
	}
	var at [maxEqual]int
	for i := range n {
		node := p.at(i)
		node.part, node.key = p, hashSeed
		for j, t := range sel.equal[:sel.n] {
			node.key = t.Values[at[j]].hash(node.key)
		}
		ix.seq++
		s.insert(node, sel.ranged, ix.seq)
		for j := range sel.n {
			if at[j]++; at[j] < len(sel.equal[j].Values) {
				break
			}
			at[j] = 0
		}
	}
	ix.nodes += n
}

// mapEntry is what one key takes in a map of this package, at its usual load.
const mapEntry = 28

func (l *limits) size() int64 {
	n := int64(unsafe.Sizeof(*l))
	if !l.shared {
		n += int64(cap(l.tests)) * int64(unsafe.Sizeof(Test{}))
		for i := range l.tests {
			for _, v := range l.tests[i].Values {
				n += int64(unsafe.Sizeof(v)) + int64(len(v.s))
			}
		}
	}
	if l.edge != nil {
		n += int64(unsafe.Sizeof(*l.edge))
		for _, p := range l.edge.Last {
			n += int64(unsafe.Sizeof(p)) + int64(len(p.Value.s))
		}
	}
	if l.groups != nil {
		n += l.groups.Size()
	}
	if l.witnesses != nil {
		n += l.witnesses.Size() + int64(cap(l.hashed))*int64(unsafe.Sizeof(Test{}))
	}
	return n
}

// Remove takes an owner's nodes out of the index and leaves a Handle that holds
// nothing. Removing that does nothing.
func (ix *Index[T]) Remove(h *Handle[T]) {
	if h.first.shape == nil {
		return
	}
	for p := &h.first; p != nil; p = p.sibling {
		s := p.shape
		p.shape = nil
		n := p.len()
		for i := range n {
			s.remove(p.at(i))
		}
		ix.nodes -= n
		if s.nodes == 0 {
			ix.drop(s)
		}
	}
	*h = Handle[T]{}
}

func (ix *Index[T]) drop(s *shape[T]) {
	delete(ix.shapes, s.id)
	for _, table := range s.reads.Tables {
		left := slices.DeleteFunc(ix.tables[table], func(b *boundShape[T]) bool { return b.shape == s })
		if ix.tables[table] = left; len(left) == 0 {
			delete(ix.tables, table)
		}
	}
}

// Len returns the number of nodes.
func (ix *Index[T]) Len() int { return ix.nodes }

// Touch calls visit with every owner that the change can touch, perhaps more
// than once, and with the table reference through which it does. visit may add
// and remove owners; those that it removes are not visited afterwards, and those
// that it adds are not visited for this change, but for one that it removes and
// adds again under the same Handle, which may be.
func (ix *Index[T]) Touch(c *change.Change, visit func(T, *Reads)) {
	found := ix.found
	ix.found = nil
	if c.Op == change.Define && c.Relation == nil {
		for _, s := range ix.shapes {
			found = s.all(found)
		}
	} else {
		for _, b := range ix.tables[c.Relation.OID] {
			found = ix.touch(b, c, found)
		}
	}
	ix.visit(found, visit)
}

// TouchTable calls visit with every owner that reads the table, in the way that
// Touch does.
func (ix *Index[T]) TouchTable(table catalog.OID, visit func(T, *Reads)) {
	found := ix.found
	ix.found = nil
	for _, b := range ix.tables[table] {
		found = b.all(found)
	}
	ix.visit(found, visit)
}

// keptCap bounds what a call of Touch leaves for the next.
const keptCap = 1 << 12

func (ix *Index[T]) visit(found []*part[T], visit func(T, *Reads)) {
	for _, p := range found {
		if p.shape != nil {
			visit(p.owner, p.shape.reads)
		}
	}
	ix.found = reuse(found)
}

// reuse empties a slice of pointers for the next call.
func reuse[E any](s []E) []E {
	if cap(s) > keptCap {
		return nil
	}
	clear(s)
	return s[:0]
}

// touch appends the parts of a shape that a change can touch.
func (ix *Index[T]) touch(b *boundShape[T], c *change.Change, found []*part[T]) []*part[T] {
	if c.Op == change.Define {
		return b.all(found)
	}
	if b.never {
		return found
	}
	if c.Op == change.Truncate {
		return b.all(found)
	}
	b.bind(c.Relation)
	e := read
	if c.Op == change.Update {
		if e = b.extent(c); e == unread {
			return found
		}
	}
	before, after := &ix.before, &ix.after
	b.see(before, c.Old, c.Op != change.Insert)
	b.see(after, c.New, c.Op != change.Delete)
	near := ix.candidates
	if before.unknown || after.unknown {
		near = b.nodesOf(near)
	} else {
		near = b.near(after, near, nil)
		near = b.near(before, near, after)
	}
	for _, n := range near {
		if b.touches(n, before, after, e) {
			found = append(found, n.part)
		}
	}
	ix.candidates = reuse(near)
	before.forget()
	after.forget()
	return found
}
