package match

// span is one interval in a treap that is ordered by lower bound and carries
// the greatest upper bound of each subtree (an augmented interval tree: Cormen
// et al., Introduction to Algorithms, chapter "Augmenting Data Structures";
// balance by random priorities: Seidel and Aragon, 1996). Methods accept a nil
// receiver as the empty tree and return the new root.
type span[T any] struct {
	node        *node[T]
	lo, hi      Bound
	far         *span[T] // the one of the subtree whose upper bound reaches furthest
	seq         uint64   // makes equal lower bounds distinct
	left, right *span[T]
}

func newSpan[T any](n *node[T], lo, hi Bound, seq uint64) *span[T] {
	s := &span[T]{node: n, lo: lo, hi: hi, seq: seq}
	s.far = s
	return s
}

// priority is a fixed mixing of the sequence number, so that runs are
// repeatable. Intervals often come in the order of their bounds; one step of mix
// spreads numbers in a row too evenly to balance those.
func (s *span[T]) priority() uint64 { return mix(mix(s.seq) + hashSeed) }

// before orders spans by lower bound, an open one first, then by sequence.
func (s *span[T]) before(o *span[T]) bool {
	if c := compareLo(&s.lo, &o.lo); c != 0 {
		return c < 0
	}
	return s.seq < o.seq
}

func compareLo(a, b *Bound) int {
	switch {
	case !a.Set && !b.Set:
		return 0
	case !a.Set:
		return -1
	case !b.Set:
		return 1
	}
	if c := a.Value.Compare(b.Value); c != 0 {
		return c
	}
	switch {
	case a.Inclusive == b.Inclusive:
		return 0
	case a.Inclusive:
		return -1
	}
	return 1
}

// further reports whether an upper bound reaches further than another.
func further(a, b *Bound) bool {
	if !a.Set || !b.Set {
		return !a.Set && b.Set
	}
	c := a.Value.Compare(b.Value)
	return c > 0 || c == 0 && a.Inclusive && !b.Inclusive
}

func (s *span[T]) update() {
	s.far = s
	for _, child := range [2]*span[T]{s.left, s.right} {
		if child != nil && further(&child.far.hi, &s.far.hi) {
			s.far = child.far
		}
	}
}

func (s *span[T]) insert(n *span[T]) *span[T] {
	if s == nil {
		return n
	}
	if n.priority() > s.priority() {
		n.left, n.right = s.split(n)
		n.update()
		return n
	}
	if n.before(s) {
		s.left = s.left.insert(n)
	} else {
		s.right = s.right.insert(n)
	}
	s.update()
	return s
}

// split parts the tree into what is before n and what is not.
func (s *span[T]) split(n *span[T]) (l, r *span[T]) {
	if s == nil {
		return nil, nil
	}
	if n.before(s) {
		l, s.left = s.left.split(n)
		s.update()
		return l, s
	}
	s.right, r = s.right.split(n)
	s.update()
	return s, r
}

func (s *span[T]) remove(n *span[T]) *span[T] {
	if s == nil {
		return nil
	}
	if s == n {
		return s.left.join(s.right)
	}
	if n.before(s) {
		s.left = s.left.remove(n)
	} else {
		s.right = s.right.remove(n)
	}
	s.update()
	return s
}

func (s *span[T]) join(r *span[T]) *span[T] {
	switch {
	case s == nil:
		return r
	case r == nil:
		return s
	case s.priority() > r.priority():
		s.right = s.right.join(r)
		s.update()
		return s
	}
	r.left = s.join(r.left)
	r.update()
	return r
}

// stab appends the nodes whose interval holds d.
func (s *span[T]) stab(d *Datum, into []*node[T]) []*node[T] {
	if s == nil || !below(*d, &s.far.hi) {
		return into
	}
	into = s.left.stab(d, into)
	if !above(*d, &s.lo) {
		// Everything to the right begins later still.
		return into
	}
	if below(*d, &s.hi) {
		into = append(into, s.node)
	}
	return s.right.stab(d, into)
}

func (s *span[T]) walk(into []*node[T]) []*node[T] {
	if s == nil {
		return into
	}
	return s.right.walk(append(s.left.walk(into), s.node))
}
