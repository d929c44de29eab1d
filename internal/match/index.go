package match

import (
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
)

// Index finds the owners that a change touches. Its cost for a change grows
// with the number of shapes over the changed table (which the endpoints bound)
// and with the owners found, not with the owners registered.
//
// Dependencies that read the same table reference and compare the same columns
// for equality have one shape. A shape keeps its nodes by a hash of the values
// compared; two values that collide are both found. Tests that are not part of
// the hash are evaluated on each node found.
type Index[T any] struct {
	tables map[catalog.OID][]*boundShape[T]
	shapes map[shapeKey]*shape[T]
	nodes  int
	seq    uint64
}

// NewIndex returns an empty index.
func NewIndex[T any]() *Index[T] {
	return &Index[T]{tables: map[catalog.OID][]*boundShape[T]{}, shapes: map[shapeKey]*shape[T]{}}
}

// Node is one dependency of one owner in the index.
type Node[T any] struct {
	owner      T
	shape      *shape[T]
	key        uint64
	tests      []Test // those that the key and the interval do not cover
	next, prev *Node[T]
	span       *span[T] // in the interval tree, for shapes with a range
}

// shapeKey identifies a shape: the table reference, and the columns compared.
type shapeKey struct {
	reads *Reads
	cols  string
}

type keyColumn struct {
	name  string
	typ   catalog.OID
	class Class
}

type shape[T any] struct {
	id     shapeKey
	reads  *Reads
	equal  []keyColumn
	ranged *keyColumn // the column of the interval tree, if any
	lists  map[uint64]*Node[T]
	trees  map[uint64]*span[T]
	nodes  int
}

// boundShape is a shape as seen by one relation: where its columns are.
type boundShape[T any] struct {
	*shape[T]
	rel    *catalog.Relation
	loose  bool // the relation is not as the shape expects: everything matches
	equalI []int
	rangeI int
	readI  []int // nil: all
}

// maxKeys bounds the nodes that the IN lists of one dependency may need; past
// it an IN list is evaluated instead of indexed.
const maxKeys = 64

// Add registers an owner's dependencies and returns their nodes, for Remove.
func (ix *Index[T]) Add(owner T, deps []Dependency) []*Node[T] {
	nodes := make([]*Node[T], 0, len(deps))
	for i := range deps {
		nodes = ix.add(nodes, owner, &deps[i])
	}
	return nodes
}

func (ix *Index[T]) add(nodes []*Node[T], owner T, d *Dependency) []*Node[T] {
	var equal [8]*Test // one per column, in column order
	n, keys := 0, 1
	var ranged *Test
	var rest []Test
	for i := range d.Tests {
		t := &d.Tests[i]
		indexable := t.Op == Equal || t.Op == In && len(t.Values) > 0 && keys*len(t.Values) <= maxKeys
		taken := slices.ContainsFunc(equal[:n], func(e *Test) bool { return e.Column == t.Column })
		switch {
		case indexable && !taken && n < len(equal):
			equal[n] = t
			n++
			keys *= len(t.Values)
		case t.Op == Range && ranged == nil:
			ranged = t
		default:
			rest = append(rest, *t)
		}
	}
	eq := equal[:n]
	slices.SortFunc(eq, func(a, b *Test) int { return strings.Compare(a.Column, b.Column) })
	s := ix.shape(d.Reads, eq, ranged)

	// One node for each combination of values.
	var at [8]int
	for {
		h := uint64(hashSeed)
		for i, t := range eq {
			h = t.Values[at[i]].hash(h)
		}
		node := &Node[T]{owner: owner, shape: s, key: h, tests: rest}
		ix.seq++
		s.insert(node, ranged, ix.seq)
		ix.nodes++
		nodes = append(nodes, node)
		i := 0
		for ; i < n; i++ {
			if at[i]++; at[i] < len(eq[i].Values) {
				break
			}
			at[i] = 0
		}
		if i == n {
			return nodes
		}
	}
}

// Remove takes nodes out of the index. Each may be removed once.
func (ix *Index[T]) Remove(nodes []*Node[T]) {
	for _, n := range nodes {
		s := n.shape
		s.remove(n)
		ix.nodes--
		if s.nodes > 0 {
			continue
		}
		delete(ix.shapes, s.id)
		for _, table := range s.reads.Tables {
			left := slices.DeleteFunc(ix.tables[table], func(b *boundShape[T]) bool { return b.shape == s })
			if ix.tables[table] = left; len(left) == 0 {
				delete(ix.tables, table)
			}
		}
	}
}

// Len returns the number of nodes.
func (ix *Index[T]) Len() int { return ix.nodes }

// Touch calls visit with every owner that the change can touch, perhaps more
// than once, and with the table reference through which it does. visit may
// remove nodes of the owner that it is called with, and no others.
func (ix *Index[T]) Touch(c *change.Change, visit func(T, *Reads)) {
	if c.Op == change.Define && c.Relation == nil {
		for _, s := range ix.shapes {
			s.all(visit)
		}
		return
	}
	// A copy: visit may remove the last node of a shape, and with it the shape.
	for _, b := range slices.Clone(ix.tables[c.Relation.OID]) {
		b.touch(c, visit)
	}
}

// TouchTable calls visit with every owner that reads the table.
func (ix *Index[T]) TouchTable(table catalog.OID, visit func(T, *Reads)) {
	for _, b := range slices.Clone(ix.tables[table]) {
		b.all(visit)
	}
}

func (ix *Index[T]) shape(r *Reads, eq []*Test, ranged *Test) *shape[T] {
	var buf [128]byte
	name := buf[:0]
	for _, t := range eq {
		name = append(append(name, t.Column...), 0)
	}
	if ranged != nil {
		name = append(append(name, 1), ranged.Column...)
	}
	if s, ok := ix.shapes[shapeKey{r, string(name)}]; ok {
		return s
	}
	s := &shape[T]{id: shapeKey{r, string(name)}, reads: r}
	for _, t := range eq {
		s.equal = append(s.equal, keyColumn{t.Column, t.Type, t.Class})
	}
	if ranged != nil {
		s.ranged = &keyColumn{ranged.Column, ranged.Type, ranged.Class}
		s.trees = map[uint64]*span[T]{}
	} else {
		s.lists = map[uint64]*Node[T]{}
	}
	ix.shapes[s.id] = s
	for _, table := range r.Tables {
		ix.tables[table] = append(ix.tables[table], &boundShape[T]{shape: s})
	}
	return s
}

func (s *shape[T]) insert(n *Node[T], ranged *Test, seq uint64) {
	s.nodes++
	if s.ranged != nil {
		n.span = newSpan(n, ranged.Lo, ranged.Hi, seq)
		s.trees[n.key] = s.trees[n.key].insert(n.span)
		return
	}
	if n.next = s.lists[n.key]; n.next != nil {
		n.next.prev = n
	}
	s.lists[n.key] = n
}

func (s *shape[T]) remove(n *Node[T]) {
	s.nodes--
	if s.ranged != nil {
		if root := s.trees[n.key].remove(n.span); root != nil {
			s.trees[n.key] = root
		} else {
			delete(s.trees, n.key)
		}
		return
	}
	if n.next != nil {
		n.next.prev = n.prev
	}
	switch {
	case n.prev != nil:
		n.prev.next = n.next
	case n.next != nil:
		s.lists[n.key] = n.next
	default:
		delete(s.lists, n.key)
	}
}

// all visits every owner of the shape. Nodes are collected first, because visit
// may remove some of them.
func (s *shape[T]) all(visit func(T, *Reads)) {
	found := make([]*Node[T], 0, s.nodes)
	for _, n := range s.lists {
		for ; n != nil; n = n.next {
			found = append(found, n)
		}
	}
	for _, root := range s.trees {
		root.walk(func(n *Node[T]) { found = append(found, n) })
	}
	for _, n := range found {
		visit(n.owner, s.reads)
	}
}

// bind finds the shape's columns in a relation.
func (b *boundShape[T]) bind(rel *catalog.Relation) {
	if b.rel == rel {
		return
	}
	b.rel, b.loose, b.equalI, b.rangeI, b.readI = rel, false, b.equalI[:0], -1, nil
	find := func(k keyColumn) int {
		i := rel.Column(k.name)
		if i < 0 || rel.Columns[i].Type != k.typ {
			b.loose = true
		}
		return i
	}
	for _, k := range b.equal {
		b.equalI = append(b.equalI, find(k))
	}
	if b.ranged != nil {
		b.rangeI = find(*b.ranged)
	}
	if b.reads.Columns != nil {
		b.readI = make([]int, 0, len(b.reads.Columns))
		for _, name := range b.reads.Columns {
			b.readI = append(b.readI, rel.Column(name))
		}
	}
}

func (b *boundShape[T]) touch(c *change.Change, visit func(T, *Reads)) {
	if c.Op == change.Truncate || c.Op == change.Define {
		b.all(visit)
		return
	}
	b.bind(c.Relation)
	if b.loose || c.Op == change.Update && c.Old == nil {
		b.all(visit)
		return
	}
	switch c.Op {
	case change.Insert:
		b.probe(c.New, visit)
	case change.Delete:
		b.probe(c.Old, visit)
	case change.Update:
		if b.changed(c) {
			b.probe(c.New, visit)
			b.probe(c.Old, visit)
		}
	}
}

func (b *boundShape[T]) changed(c *change.Change) bool {
	if b.readI == nil {
		return readsChanged(b.reads, c)
	}
	for _, i := range b.readI {
		if columnChanged(c, i) {
			return true
		}
	}
	return false
}

// probe visits the owners whose tests one version of a row may pass.
func (b *boundShape[T]) probe(row change.Row, visit func(T, *Reads)) {
	h := uint64(hashSeed)
	for i, col := range b.equalI {
		if col >= len(row) || row[col].Kind == change.Absent {
			b.all(visit)
			return
		}
		if row[col].Kind == change.Null {
			return
		}
		var ok bool
		if h, ok = hashText(h, b.equal[i].class, row[col].Text); !ok {
			b.all(visit)
			return
		}
	}
	if b.ranged == nil {
		for n := b.lists[h]; n != nil; {
			next := n.next
			if passesAll(n.tests, b.rel, row) {
				visit(n.owner, b.reads)
			}
			n = next
		}
		return
	}
	b.stab(b.trees[h], row, visit)
}

func (b *boundShape[T]) stab(root *span[T], row change.Row, visit func(T, *Reads)) {
	if root == nil {
		return
	}
	var found []*Node[T]
	collect := func(n *Node[T]) { found = append(found, n) }
	v := change.Value{}
	if b.rangeI < len(row) {
		v = row[b.rangeI]
	}
	if v.Kind == change.Null {
		return
	}
	d, known := Datum{}, false
	if v.Kind == change.Text {
		d, known = ParseDatum(b.ranged.class, v.Text)
	}
	if known {
		root.stab(d, collect)
	} else {
		root.walk(collect)
	}
	for _, n := range found {
		if passesAll(n.tests, b.rel, row) {
			visit(n.owner, b.reads)
		}
	}
}
