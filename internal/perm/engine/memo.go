package engine

import (
	"math/bits"

	"github.com/tidemarkdb/tidemark/internal/perm/graph"
)

// spot is one sub-question about the request's subject: an object and a member
// of its definition.
type spot uint64

func at(o graph.ID, m memberID) spot { return spot(o)<<32 | spot(m) }

func (s spot) object() graph.ID { return graph.ID(s >> 32) }
func (s spot) member() memberID { return memberID(s) }

// scramble spreads spots over tables.
func (s spot) scramble() uint64 {
	h, l := bits.Mul64(uint64(s)^0x9e3779b97f4a7c15, 0xd6e8feb86659fd93)
	return h ^ l
}

// state says how far the answer to a sub-question is.
type state uint8

const (
	fresh       state = iota // to be asked; the value is a lower bound
	active                   // being asked further up
	provisional              // a lower bound, as far as a cycle that is not closed yet allows
	done
)

// entry is a sub-question with its answer.
type entry struct {
	spot  spot
	value value
	state state
	// traits says that a caveat or an expiration was met on the way.
	traits bool
	index  int32 // active: its place on the stack
	low    int32 // provisional: the lowest place that it depends on
	denied int32 // how many exclusions it stands on the subtracted side of
	depth  int32 // done: how deep that was
	asked  bool  // the shared cache does not have it
	slot   int32 // in the table
}

// memo holds the sub-questions of one request.
type memo struct {
	table   []int32 // one more than the index in entries; a power of two of them
	entries []entry
}

const smallMemo = 128

func (m *memo) reset() {
	if len(m.table) > 64*smallMemo || m.table == nil {
		m.table, m.entries = make([]int32, smallMemo), nil
	}
	for n := range m.entries {
		m.table[m.entries[n].slot] = 0
	}
	m.entries = m.entries[:0]
}

// find returns the index of a sub-question, which is new if need be.
func (m *memo) find(s spot) int32 {
	mask := uint64(len(m.table) - 1)
	i := s.scramble() & mask
	for ; m.table[i] != 0; i = (i + 1) & mask {
		if n := m.table[i] - 1; m.entries[n].spot == s {
			return n
		}
	}
	n := int32(len(m.entries))
	m.entries = append(m.entries, entry{spot: s, slot: int32(i)})
	m.table[i] = n + 1
	if len(m.entries)*2 > len(m.table) {
		m.grow()
	}
	return n
}

func (m *memo) grow() {
	m.table = make([]int32, 2*len(m.table))
	mask := uint64(len(m.table) - 1)
	for n := range m.entries {
		i := m.entries[n].spot.scramble() & mask
		for m.table[i] != 0 {
			i = (i + 1) & mask
		}
		m.table[i], m.entries[n].slot = int32(n)+1, int32(i)
	}
}
