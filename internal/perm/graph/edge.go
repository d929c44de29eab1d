package graph

// An edge is packed into a number whose order is the order of reading. From the
// resource: relation, the subject's relation, subject. From the subject: its
// relation, relation, resource. The lowest bits are marks, no part of the key.
const (
	firstShift  = 64 - pairBits
	secondShift = firstShift - pairBits
	objectShift = 2
	marks       = 1<<objectShift - 1
	qualified   = 1 // alternatives are kept beside the edge
)

func pack(first, second Pair, o ID) uint64 {
	return uint64(first)<<firstShift | uint64(second)<<secondShift | uint64(o)<<objectShift
}

func unpack(e uint64) (first, second Pair, o ID) {
	return Pair(e >> firstShift), Pair(e >> secondShift & (maxPairs - 1)), ID(e >> objectShift)
}

// span is the edges from lo to hi, both included. hi has all marks set.
type span struct{ lo, hi uint64 }

var everything = span{0, 1<<64 - 1}

// under returns the span of a first part.
func under(first Pair) span {
	lo := pack(first, 0, 0)
	return span{lo, lo | (1<<firstShift - 1)}
}

// underBoth returns the span of a first and second part.
func underBoth(first, second Pair) span {
	lo := pack(first, second, 0)
	return span{lo, lo | (1<<secondShift - 1)}
}

// search returns the index of the first edge that is at least x.
func search(edges []uint64, x uint64) int {
	i, n := 0, len(edges)
	for n > 0 {
		half := n / 2
		if edges[i+half] < x {
			i += half + 1
			n -= half + 1
		} else {
			n = half
		}
	}
	return i
}

// behind returns the index of the first edge that is greater than x.
func behind(edges []uint64, x uint64) int {
	if x == 1<<64-1 {
		return len(edges)
	}
	return search(edges, x+1)
}

// note keeps the alternatives of an edge.
type note struct {
	key  uint64
	alts *alternatives
}

func findNote(notes []note, key uint64) *alternatives {
	i, n := 0, len(notes)
	for n > 0 {
		half := n / 2
		if notes[i+half].key < key {
			i += half + 1
			n -= half + 1
		} else {
			n = half
		}
	}
	return notes[i].alts // every mark has its note
}

// change puts an edge of an object in place of the one with its key, or takes
// that away.
type change struct {
	object ID
	remove bool
	edge   uint64
	alts   *alternatives // where the edge is marked, and notes are kept on this side
}

func (c *change) key() uint64 { return c.edge &^ marks }

// mergeEdges appends the edges after the changes to dst.
func mergeEdges(dst, edges []uint64, changes []change) []uint64 {
	for i := range changes {
		c := &changes[i]
		k := search(edges, c.key())
		dst = append(dst, edges[:k]...)
		if k < len(edges) && edges[k]&^marks == c.key() {
			k++
		}
		if !c.remove {
			dst = append(dst, c.edge)
		}
		edges = edges[k:]
	}
	return append(dst, edges...)
}

// mergeNotes returns the notes after the changes.
func mergeNotes(notes []note, changes []change) []note {
	if len(notes) == 0 {
		any := false
		for i := range changes {
			any = any || changes[i].alts != nil
		}
		if !any {
			return nil
		}
	}
	var out []note
	for i := range changes {
		c := &changes[i]
		for len(notes) > 0 && notes[0].key < c.key() {
			out = append(out, notes[0])
			notes = notes[1:]
		}
		if len(notes) > 0 && notes[0].key == c.key() {
			notes = notes[1:]
		}
		if c.alts != nil {
			out = append(out, note{c.key(), c.alts})
		}
	}
	return append(out, notes...)
}
