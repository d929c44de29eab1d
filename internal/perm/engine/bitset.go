package engine

// bitset is a set of small numbers.
type bitset []uint64

func (b bitset) has(i int) bool { return i>>6 < len(b) && b[i>>6]&(1<<(i&63)) != 0 }

func (b *bitset) set(i int) {
	for i>>6 >= len(*b) {
		*b = append(*b, 0)
	}
	(*b)[i>>6] |= 1 << (i & 63)
}

// merge adds what is in another set, and reports whether there was anything new.
func (b *bitset) merge(c bitset) bool {
	grown := false
	for i, w := range c {
		if i >= len(*b) {
			*b = append(*b, 0)
		}
		grown = grown || w&^(*b)[i] != 0
		(*b)[i] |= w
	}
	return grown
}
