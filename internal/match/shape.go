package match

import (
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/catalog"
)

// shapeKey identifies a shape: the table reference, and what is compared.
type shapeKey struct {
	reads *Reads
	cols  string
}

// keyColumn is what of a column is compared.
type keyColumn struct {
	column string
	typ    catalog.OID
	part   Part
	class  Class
}

func keyOf(t *Test) keyColumn { return keyColumn{t.Column, t.Type, t.Part, t.Class} }

type shape[T any] struct {
	id     shapeKey
	reads  *Reads
	never  bool        // no row takes part
	equal  []keyColumn // an Element is the last
	ranged *keyColumn  // the column of the interval tree, if any
	lists  map[uint64]*node[T]
	trees  map[uint64]*span[T]
	nodes  int
	last   *limits // of the newest part; most are alike
}

// selection is how the tests of a dependency are indexed.
type selection struct {
	never  bool
	n      int
	equal  [maxEqual]*Test // for the key
	ranged *Test           // for the interval tree
	rest   int             // how many are evaluated
}

// choose selects what is hashed: every equality first, then the longest IN list
// that fits, then the others as long as the product is small.
func choose(tests []Test) selection {
	var s selection
	if impossible(tests) {
		s.never = true
		return s
	}
	for i := range tests {
		switch t := &tests[i]; {
		case t.Op == Equal:
			s.add(t)
		case t.Op == Range && t.Part.Kind != Element && s.ranged == nil:
			s.ranged = t
		}
	}
	for product := 1; ; {
		var longest *Test
		for i := range tests {
			t := &tests[i]
			fits := len(t.Values) <= maxKeys && (product == 1 || product*len(t.Values) <= maxProduct)
			if t.Op == In && fits && !s.compares(t) && (longest == nil || len(t.Values) > len(longest.Values)) {
				longest = t
			}
		}
		if longest == nil || !s.add(longest) {
			break
		}
		product *= len(longest.Values)
	}
	slices.SortFunc(s.equal[:s.n], func(a, b *Test) int {
		if a.Part.Kind != b.Part.Kind {
			return int(a.Part.Kind) - int(b.Part.Kind)
		}
		if c := strings.Compare(a.Column, b.Column); c != 0 {
			return c
		}
		return strings.Compare(a.Part.Path, b.Part.Path)
	})
	s.rest = len(tests) - s.n
	if s.ranged != nil {
		s.rest--
	}
	return s
}

// compares reports whether a test cannot be part of the key because of what is:
// each part of a column is compared once, and one array at most, because each of
// its elements makes a key.
func (s *selection) compares(t *Test) bool {
	return slices.ContainsFunc(s.equal[:s.n], func(o *Test) bool {
		return o.Column == t.Column && o.Part == t.Part || o.Part.Kind == Element && t.Part.Kind == Element
	})
}

func (s *selection) add(t *Test) bool {
	if s.n == maxEqual || s.compares(t) {
		return false
	}
	s.equal[s.n] = t
	s.n++
	return true
}

func (s *selection) has(t *Test) bool { return t == s.ranged || slices.Contains(s.equal[:s.n], t) }

func (ix *Index[T]) shape(r *Reads, sel *selection) *shape[T] {
	var buf [256]byte
	name := buf[:0]
	if sel.never {
		name = append(name, "never"...)
	}
	for _, t := range sel.equal[:sel.n] {
		name = keyOf(t).append(append(name, '='))
	}
	if sel.ranged != nil {
		name = keyOf(sel.ranged).append(append(name, '<'))
	}
	if s, ok := ix.shapes[shapeKey{r, string(name)}]; ok {
		return s
	}
	s := &shape[T]{id: shapeKey{r, string(name)}, reads: r, never: sel.never}
	for _, t := range sel.equal[:sel.n] {
		s.equal = append(s.equal, keyOf(t))
	}
	if sel.ranged != nil {
		k := keyOf(sel.ranged)
		s.ranged = &k
		s.trees = map[uint64]*span[T]{}
	} else {
		s.lists = map[uint64]*node[T]{}
	}
	ix.shapes[s.id] = s
	for _, table := range r.Tables {
		ix.tables[table] = append(ix.tables[table], &boundShape[T]{shape: s})
	}
	return s
}

func (k keyColumn) append(b []byte) []byte {
	b = append(append(b, k.column...), 0, byte(k.class), byte(k.part.Kind))
	b = append(b, byte(k.typ>>24), byte(k.typ>>16), byte(k.typ>>8), byte(k.typ))
	b = append(b, byte(strings.Count(k.part.Path, "\x00")))
	return append(b, k.part.Path...)
}

// limit returns what is evaluated on the nodes of a dependency, nil if nothing
// is, and whether it was made for this one.
func (s *shape[T]) limit(d *Dependency, sel *selection) (l *limits, fresh bool) {
	plain := d.Edge == nil && d.Groups == nil && d.Witnesses == nil
	if plain && !d.Exact && sel.rest == 0 {
		return nil, false
	}
	l = &limits{exact: d.Exact, edge: d.Edge, groups: d.Groups, witnesses: d.Witnesses}
	if w := d.Witnesses; w != nil && w.certain {
		l.hashed = sel.hashed(w)
		if s.last != nil && slices.EqualFunc(l.hashed, s.last.hashed, Test.same) {
			l.hashed = s.last.hashed
		}
	}
	if s.last.sameTests(d, sel) {
		if plain && s.last.plain() && s.last.exact == d.Exact {
			return s.last, false
		}
		l.tests, l.shared = s.last.tests, true
		s.last = l
		return l, true
	}
	s.last = l
	if sel.rest > 0 {
		l.tests = make([]Test, 0, sel.rest)
	}
	for i := range d.Tests {
		if sel.has(&d.Tests[i]) {
			continue
		}
		t := d.Tests[i]
		if len(t.Values) >= searched && !t.sorted {
			t.Values = slices.Clone(t.Values)
			t.Sort()
		}
		l.tests = append(l.tests, t)
	}
	return l, true
}

func (l *limits) plain() bool { return l.edge == nil && l.groups == nil && l.witnesses == nil }

// sameTests reports whether limits made for another dependency have the tests
// that those of d need.
func (l *limits) sameTests(d *Dependency, sel *selection) bool {
	if l == nil || len(l.tests) != sel.rest {
		return false
	}
	j := 0
	for i := range d.Tests {
		t := &d.Tests[i]
		if sel.has(t) {
			continue
		}
		if !t.same(l.tests[j]) {
			return false
		}
		j++
	}
	return true
}

func (t Test) same(o Test) bool {
	return keyOf(&t) == keyOf(&o) && t.Op == o.Op && t.Lo == o.Lo && t.Hi == o.Hi && slices.Equal(t.Values, o.Values)
}

// hashed returns the tests of the key that a row has not passed by having the
// values of witnesses.
func (s *selection) hashed(w *Witnesses) []Test {
	var out []Test
	for _, t := range s.equal[:s.n] {
		said := func(c KeyColumn) bool { return t.Part.Kind == Whole && c.Column == t.Column }
		if !slices.ContainsFunc(w.For, said) {
			out = append(out, *t)
		}
	}
	return out
}

func (s *shape[T]) insert(n *node[T], ranged *Test, seq uint64) {
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

func (s *shape[T]) remove(n *node[T]) {
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

// all appends every part of the shape.
func (s *shape[T]) all(found []*part[T]) []*part[T] {
	for _, n := range s.nodesOf(nil) {
		if n == n.part.at(0) {
			found = append(found, n.part)
		}
	}
	return found
}

func (s *shape[T]) nodesOf(into []*node[T]) []*node[T] {
	into = slices.Grow(into, s.nodes)
	for _, n := range s.lists {
		for ; n != nil; n = n.next {
			into = append(into, n)
		}
	}
	for _, root := range s.trees {
		into = root.walk(into)
	}
	return into
}
