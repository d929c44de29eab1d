package answer

import (
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// A shard is a map and a list, however many of its keys have one hash.
func TestShard(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sh := &shard{entries: map[uint64]*Entry{}}
		hash := func(key string) uint64 { return uint64(len(key)) }
		want := map[string]*Entry{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			key := strconv.Itoa(rapid.IntRange(0, 300).Draw(t, "key"))
			e := sh.get(hash(key), key)
			if e != want[key] {
				t.Fatalf("%s is %v, want %v", key, e, want[key])
			}
			switch {
			case e == nil:
				e = &Entry{key: key}
				sh.add(hash(key), e)
				want[key] = e
			case rapid.Bool().Draw(t, "evict"):
				e = sh.victim()
				fallthrough
			default:
				sh.unlink(hash(e.key), e)
				delete(want, e.key)
			}
			found := map[string]bool{}
			for e := range sh.all {
				found[e.key] = want[e.key] == e
			}
			listed := 0
			for e := sh.head; e != nil; e = e.next {
				if listed++; want[e.key] != e {
					t.Fatalf("%s is in the list", e.key)
				}
			}
			if len(found) != len(want) || sh.len() != len(want) || listed != len(want) {
				t.Fatalf("%d are found, %d counted, %d listed, want %d", len(found), sh.len(), listed, len(want))
			}
			for key, ok := range found {
				if !ok {
					t.Fatalf("%s is another one", key)
				}
			}
		}
	})
}
