package match

import (
	"cmp"
	"slices"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
)

// boundShape is a shape as seen by one relation: where its columns are. -1 is a
// column that is not there or of another type.
type boundShape[T any] struct {
	*shape[T]
	rel     *catalog.Relation
	equalI  []int
	rangeI  int
	columns []readColumn
}

// readColumn is a column that the shape's reference reads.
type readColumn struct {
	i      int
	extent extent
}

// bind finds the shape's columns in a relation.
func (b *boundShape[T]) bind(rel *catalog.Relation) {
	if b.rel == rel {
		return
	}
	b.rel, b.equalI, b.rangeI, b.columns = rel, b.equalI[:0], -1, b.columns[:0]
	find := func(k *keyColumn) int {
		i := rel.Column(k.column)
		if i >= 0 && rel.Columns[i].Type != k.typ {
			return -1
		}
		return i
	}
	for i := range b.equal {
		b.equalI = append(b.equalI, find(&b.equal[i]))
	}
	if b.ranged != nil {
		b.rangeI = find(b.ranged)
	}
	r := b.shape.reads
	if r.Columns == nil {
		for i := range rel.Columns {
			b.columns = append(b.columns, readColumn{i, r.extent(rel.Columns[i].Name)})
		}
	}
	for _, name := range r.Columns {
		b.columns = append(b.columns, readColumn{rel.Column(name), r.extent(name)})
	}
}

// extent is extentOf for the bound relation.
func (b *boundShape[T]) extent(c *change.Change) extent {
	if c.Old == nil {
		return read
	}
	found := unread
	for _, r := range b.columns {
		if r.extent > found && columnChanged(c, r.i) {
			if found = r.extent; found == read {
				break
			}
		}
	}
	return found
}

// side is one version of a changed row as a shape sees it.
type side struct {
	row     change.Row
	keys    []sideKey // in order; none: no node's key is the row's
	unknown bool      // the keys are not known
	texts   []change.Value
	value   change.Value // of the range's column
	datum   Datum        // of value, if that is Text
}

// sideKey is a hash of what the row has in the shape's columns.
type sideKey struct {
	hash    uint64
	element []byte // where the last column is an array
	mixed   bool   // more than one element has this hash
}

// see sets a side to a version of a row. Without exists there is none, and
// nothing of a row that is nil is known.
func (b *boundShape[T]) see(s *side, row change.Row, exists bool) {
	s.row, s.unknown, s.value, s.datum = row, false, change.Value{}, Datum{}
	if !exists {
		return
	}
	h, null := uint64(hashSeed), false
	array := -1
	for i := range b.equal {
		k := &b.equal[i]
		if k.part.Kind == Element {
			array = i
			break
		}
		v := k.part.of(at(row, b.equalI[i]))
		s.texts = append(s.texts, v)
		null = null || v.Kind == change.Null
		ok := false
		if v.Kind == change.Text {
			h, ok = hashText(h, k.class, v.Text)
		}
		s.unknown = s.unknown || !ok && v.Kind != change.Null
	}
	if b.ranged != nil {
		s.value = b.ranged.part.of(at(row, b.rangeI))
		null = null || s.value.Kind == change.Null
		if s.value.Kind == change.Text {
			d, ok := viewDatum(b.ranged.class, s.value.Text)
			if s.datum = d; !ok {
				s.value = change.Value{}
			}
		}
	}
	switch {
	case null:
		s.unknown = false
	case s.unknown:
	case array >= 0:
		s.seeElements(h, b.equal[array].class, at(row, b.equalI[array]))
	default:
		s.keys = append(s.keys, sideKey{hash: h})
	}
}

func (s *side) seeElements(h uint64, class Class, v change.Value) {
	known := eachElement(v, func(e change.Value) bool {
		if e.Kind == change.Null {
			return true
		}
		k, ok := hashText(h, class, e.Text)
		s.unknown = s.unknown || !ok
		s.keys = append(s.keys, sideKey{hash: k, element: e.Text})
		return true
	})
	if !known {
		s.unknown = true
	}
	s.keys = distinct(s.keys)
}

// distinct puts keys in order and merges those of one hash.
func distinct(keys []sideKey) []sideKey {
	if len(keys) < 2 {
		return keys
	}
	slices.SortFunc(keys, func(a, b sideKey) int { return cmp.Compare(a.hash, b.hash) })
	n := 0
	for _, k := range keys[1:] {
		last := &keys[n]
		if k.hash != last.hash {
			n++
			keys[n] = k
		} else if string(k.element) != string(last.element) {
			last.mixed = true
		}
	}
	return keys[:n+1]
}

// forget lets go of the row.
func (s *side) forget() {
	s.keys, s.texts = reuse(s.keys), reuse(s.texts)
	s.row, s.value, s.datum = nil, change.Value{}, Datum{}
}

func at(row change.Row, i int) change.Value {
	if i < 0 || i >= len(row) {
		return change.Value{}
	}
	return row[i]
}

func (s *side) find(key uint64) *sideKey {
	i, ok := slices.BinarySearchFunc(s.keys, key, func(k sideKey, h uint64) int { return cmp.Compare(k.hash, h) })
	if !ok {
		return nil
	}
	return &s.keys[i]
}

// sameKey reports whether what two versions have for a key, which both have, is
// the same text, and not only of the same hash.
func (s *side) sameKey(o *side, key uint64) bool {
	a, b := s.find(key), o.find(key)
	return !a.mixed && !b.mixed && string(a.element) == string(b.element) &&
		slices.EqualFunc(s.texts, o.texts, change.Value.Equal)
}

// near appends the nodes whose key and interval the side's row may have, except
// those that a side before it gave.
func (b *boundShape[T]) near(s *side, into []*node[T], but *side) []*node[T] {
	for i := range s.keys {
		k := s.keys[i].hash
		if b.ranged == nil {
			if but != nil && but.find(k) != nil {
				continue
			}
			for n := b.lists[k]; n != nil; n = n.next {
				into = append(into, n)
			}
			continue
		}
		had := len(into)
		if s.value.Kind == change.Text {
			into = b.trees[k].stab(&s.datum, into)
		} else {
			into = b.trees[k].walk(into)
		}
		if but != nil && but.find(k) != nil {
			seen := func(n *node[T]) bool { return b.reaches(but, n) != No }
			into = append(into[:had], slices.DeleteFunc(into[had:], seen)...)
		}
	}
	return into
}

// reaches says whether a row has the key and the interval of a node. Two values
// of one hash count as equal.
func (b *boundShape[T]) reaches(s *side, n *node[T]) Verdict {
	v := Yes
	switch {
	case s.unknown:
		v = Unknown
	case s.find(n.key) == nil:
		return No
	}
	if b.ranged != nil {
		switch {
		case s.value.Kind != change.Text:
			v = Unknown
		case !above(s.datum, &n.span.lo) || !below(s.datum, &n.span.hi):
			return No
		}
	}
	return v
}

// takes says whether a version of the row takes part in what the node stands for,
// witnesses apart.
func (b *boundShape[T]) takes(s *side, n *node[T]) Verdict {
	v := b.reaches(s, n)
	l := n.part.limits
	if v == No || l == nil {
		return v
	}
	return min(v, takes(l.tests, l.edge, l.groups, b.rel, s.row))
}

func (b *boundShape[T]) touches(n *node[T], before, after *side, e extent) bool {
	l := n.part.limits
	if l != nil && l.witnesses != nil {
		return b.unrepresented(n, before, after, e)
	}
	return b.moves(n, before, after, b.takes(before, n), b.takes(after, n), e)
}

// moves judges an update of a row by its versions.
func (b *boundShape[T]) moves(n *node[T], before, after *side, old, now Verdict, e extent) bool {
	exact := (e == tested || !ruleTested) && n.part.limits != nil && n.part.limits.exact
	if touches(old, now, exact) {
		return true
	}
	// Values of one hash need not be equal.
	return exact && old == Yes && !before.sameKey(after, n.key)
}

// unrepresented is touches where witnesses stand for rows. It keeps count of
// them: a version that goes is none any more, one that comes may be.
func (b *boundShape[T]) unrepresented(n *node[T], before, after *side, e extent) bool {
	old, now := b.takes(before, n), b.takes(after, n)
	if !b.moves(n, before, after, old, now, e) {
		return false
	}
	l := n.part.limits
	var buf [128]byte
	if old != No {
		switch p, _ := l.witnesses.look(buf[:], b.rel, before.row); p.stance {
		case alone:
			return true
		case spare:
			l.witnesses = l.witnesses.dismiss(p.at)
		}
	}
	if now != No {
		switch p, row := l.witnesses.look(buf[:], b.rel, after.row); {
		case p.stance == alone:
			return true
		case p.stance == spare:
			// Another row has had this key: which of them is here is not known.
			l.witnesses = l.witnesses.dismiss(p.at)
		case now == Yes && l.witnesses.certain && Eval(l.hashed, b.rel, after.row) == Yes:
			l.witnesses = l.witnesses.appoint(p, row)
		}
	}
	return false
}
