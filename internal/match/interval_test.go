package match

import "testing"

// TestIntervalDepth adds intervals in the order of their bounds.
func TestIntervalDepth(t *testing.T) {
	ix := NewIndex[int]()
	reads := &Reads{}
	for i := range 20_000 {
		ix.with(i, []Dependency{benchDeps["range"](reads, i)})
	}
	for _, s := range ix.shapes {
		for _, root := range s.trees {
			if d := depth(root); d > 60 {
				t.Errorf("the tree is %d deep", d)
			}
		}
	}
}

func depth(s *span[int]) int {
	if s == nil {
		return 0
	}
	return 1 + max(depth(s.left), depth(s.right))
}
