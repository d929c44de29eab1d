package patch

import "bytes"

// member returns the JSON of the i-th member of an object that has the heads
// given.
func member(heads []head, i int, object []byte) ([]byte, bool) {
	for j := range heads[:min(i+1, len(heads))] {
		rest, ok := bytes.CutPrefix(object, heads[j].text)
		if !ok {
			return nil, false
		}
		n := valueLength(rest)
		if j == i {
			return rest[:n], n > 0
		}
		object = rest[n:]
	}
	return nil, false
}

// valueLength returns how much of b, which follows the colon of a member, is the
// member's value.
func valueLength(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
		case '}', ']', ',':
			if depth == 0 {
				return i
			}
			if b[i] != ',' {
				depth--
			}
		}
	}
	return 0
}
