package patch

import (
	"encoding/binary"

	"github.com/tidemarkdb/tidemark/internal/match"
)

// stencil is what the answers of a plan have in common whose tests differ in
// nothing but the values that they compare with. A state has the rest in its
// side: there are many states and few stencils.
type stencil struct {
	plan  *Plan
	tests []match.Test // frames
	next  *stencil     // of the same plan
}

// maxStencils bounds those that a plan keeps for others.
const maxStencils = 16

// stencilOf returns the stencil of a bound plan.
func stencilOf(b *Bound) *stencil {
	p := b.Plan
	head := p.stencils.Load()
	n := 0
	for s := head; s != nil; s = s.next {
		if s.fits(b.Tests) {
			return s
		}
		n++
	}
	s := &stencil{plan: p, tests: make([]match.Test, len(b.Tests)), next: head}
	for i := range b.Tests {
		s.tests[i] = b.Tests[i].Frame()
	}
	// Where another one came first, this one is for its own answer.
	if n >= maxStencils || !p.stencils.CompareAndSwap(head, s) {
		s.next = nil
	}
	return s
}

func (s *stencil) fits(tests []match.Test) bool {
	if len(tests) != len(s.tests) {
		return false
	}
	for i := range tests {
		if !tests[i].HasFrame(&s.tests[i]) {
			return false
		}
	}
	return true
}

// appendHead appends what a bound plan has beside its stencil, with which a side
// begins.
func appendHead(b []byte, bound *Bound) []byte {
	for _, n := range [...]int{bound.Offset, bound.Limit, bound.Slack} {
		b = binary.AppendVarint(b, int64(n))
	}
	for i := range bound.Tests {
		b = bound.Tests[i].AppendOperands(b)
	}
	return b
}

// opened is the bound plan of a state, and the head of its side.
type opened struct {
	Bound
	head []byte
}

// open takes the bound plan out of a state, and returns the side without it. It
// shares the state's bytes.
func (o *opened) open(s *State) (side []byte) {
	o.Plan = s.stencil.plan
	side = s.side
	for _, n := range [...]*int{&o.Offset, &o.Limit, &o.Slack} {
		i, w := binary.Varint(side)
		*n, side = int(i), side[w:]
	}
	frames := s.stencil.tests
	for len(o.Tests) < len(frames) {
		o.Tests = append(o.Tests, match.Test{})
	}
	o.Tests = o.Tests[:len(frames)]
	for i := range frames {
		side = o.Tests[i].SetOperands(&frames[i], side)
	}
	o.head = s.side[:len(s.side)-len(side)]
	return side
}

// cleared returns it for another use, holding nothing.
func (o *opened) cleared() opened {
	tests := o.Tests[:cap(o.Tests)]
	for i := range tests {
		values := tests[i].Values
		clear(values[:cap(values)])
		tests[i] = match.Test{Values: values[:0]}
	}
	return opened{Bound: Bound{Tests: tests[:0]}}
}
