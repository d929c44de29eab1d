package match

// span is one interval in a treap that is ordered by lower bound and carries
// the greatest upper bound of each subtree (an augmented interval tree: Cormen
// et al., Introduction to Algorithms, chapter "Augmenting Data Structures";
// balance by random priorities: Seidel and Aragon, 1996). Methods accept a nil
// receiver as the empty tree and return the new root.
type span[T any] struct {
	node        *Node[T]
	lo, hi      Bound
	maxHi       Bound
	seq         uint64 // makes equal lower bounds distinct
	prio        uint64
	left, right *span[T]
}

func newSpan[T any](n *Node[T], lo, hi Bound, seq uint64) *span[T] {
	// A fixed mixing of the sequence number is random enough for balance and
	// keeps runs repeatable.
	return &span[T]{node: n, lo: lo, hi: hi, maxHi: hi, seq: seq, prio: mix(seq)}
}

// before orders spans by lower bound, an open one first, then by sequence.
func (s *span[T]) before(o *span[T]) bool {
	if c := compareLo(s.lo, o.lo); c != 0 {
		return c < 0
	}
	return s.seq < o.seq
}

func compareLo(a, b Bound) int {
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

// higher returns the upper bound that reaches further.
func higher(a, b Bound) Bound {
	if !a.Set || !b.Set {
		return Bound{}
	}
	c := a.Value.Compare(b.Value)
	if c > 0 || c == 0 && a.Inclusive {
		return a
	}
	return b
}

func (s *span[T]) update() {
	s.maxHi = s.hi
	if s.left != nil {
		s.maxHi = higher(s.maxHi, s.left.maxHi)
	}
	if s.right != nil {
		s.maxHi = higher(s.maxHi, s.right.maxHi)
	}
}

func (s *span[T]) insert(n *span[T]) *span[T] {
	if s == nil {
		return n
	}
	if n.prio > s.prio {
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
	case s.prio > r.prio:
		s.right = s.right.join(r)
		s.update()
		return s
	}
	r.left = s.join(r.left)
	r.update()
	return r
}

// stab collects the nodes whose interval holds d.
func (s *span[T]) stab(d Datum, collect func(*Node[T])) {
	if s == nil || !below(d, s.maxHi) {
		return
	}
	s.left.stab(d, collect)
	if !above(d, s.lo) {
		// Everything to the right begins later still.
		return
	}
	if below(d, s.hi) {
		collect(s.node)
	}
	s.right.stab(d, collect)
}

func (s *span[T]) walk(collect func(*Node[T])) {
	if s == nil {
		return
	}
	s.left.walk(collect)
	collect(s.node)
	s.right.walk(collect)
}
