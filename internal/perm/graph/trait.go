package graph

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"weak"

	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// Trait is what a relationship holds under. It is shared and must not be changed.
type Trait struct {
	Caveat      string         // name, or empty
	Context     map[string]any // ContextText decoded, numbers as json.Number; nil where that is empty
	ContextText string
	Expires     int64 // Unix time in microseconds; 0: never
}

func compareTraits(a, b Trait) int {
	return cmp.Or(cmp.Compare(a.Caveat, b.Caveat), cmp.Compare(a.ContextText, b.ContextText), cmp.Compare(a.Expires, b.Expires))
}

// alternatives is everything that is said about one resource, relation and
// subject. It is not changed. The most frequent one, once and unconditionally,
// is not kept: an edge without a mark means it.
type alternatives struct {
	free   int     // how often it holds unconditionally
	traits []Trait // in order
	counts []int   // of the traits; nil: each once
	base   *alternatives
}

var (
	none = &alternatives{}        // no edge
	once = &alternatives{free: 1} // what an edge without a mark means
)

// visible returns the traits that an answer depends on.
func (a *alternatives) visible() []Trait {
	if a.free > 0 {
		return nil
	}
	return a.traits
}

// size returns how many relationships these are.
func (a *alternatives) size() int {
	if a.free > 0 {
		return len(a.traits) + 1
	}
	return len(a.traits)
}

// at returns the relationship of an index below size: the unconditional one
// first.
func (a *alternatives) at(i int) Trait {
	if a.free > 0 {
		if i == 0 {
			return Trait{}
		}
		i--
	}
	return a.traits[i]
}

func (a *alternatives) count(i int) int {
	if a.counts == nil {
		return 1
	}
	return a.counts[i]
}

// plus returns the alternatives with n more of each of b, which may be fewer. A
// false says that there are not so many.
func (a *alternatives) plus(b *alternatives, n int) (*alternatives, bool) {
	free := a.free + n*b.free
	switch {
	case free < 0:
		return nil, false
	case a == none && n == 1:
		return b, true // shared
	case len(a.traits)+len(b.traits) == 0 && free == 0:
		return none, true
	case len(a.traits)+len(b.traits) == 0 && free == 1:
		return once, true
	}
	sum := &alternatives{free: free, base: a.base}
	sum.traits = slices.Clone(a.traits)
	for i := range a.traits {
		sum.counts = append(sum.counts, a.count(i))
	}
	for k, t := range b.traits {
		i, found := slices.BinarySearchFunc(sum.traits, t, compareTraits)
		if !found {
			sum.traits = slices.Insert(sum.traits, i, t)
			sum.counts = slices.Insert(sum.counts, i, 0)
		}
		sum.counts[i] += n * b.count(k)
		if sum.counts[i] < 0 {
			return nil, false
		}
		if sum.counts[i] == 0 {
			sum.traits = slices.Delete(sum.traits, i, i+1)
			sum.counts = slices.Delete(sum.counts, i, i+1)
		}
	}
	if !slices.ContainsFunc(sum.counts, func(n int) bool { return n != 1 }) {
		sum.counts = nil
	}
	return sum, true
}

// same reports whether the relationships are the same, however often each is
// there.
func (a *alternatives) same(b *alternatives) bool {
	return (a.free > 0) == (b.free > 0) && slices.EqualFunc(a.traits, b.traits, func(x, y Trait) bool { return compareTraits(x, y) == 0 })
}

// traits shares what is equal. It keeps nothing alive that no relationship has.
type traits struct {
	known map[traitKey]weak.Pointer[alternatives]
	sweep int // len of known at which those that are gone are looked for
}

type traitKey struct{ caveat, context string }

// of returns what a relationship says, alone.
func (t *traits) of(r *tuple.Relationship) (*alternatives, error) {
	if r.Caveat == "" && r.Context == "" {
		if r.Expires == 0 {
			return once, nil
		}
		return &alternatives{traits: []Trait{{Expires: r.Expires}}}, nil
	}
	base := t.known[traitKey{r.Caveat, r.Context}].Value()
	if base == nil {
		values, err := tuple.DecodeContext(r.Context)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r, err)
		}
		key := traitKey{strings.Clone(r.Caveat), strings.Clone(r.Context)}
		base = &alternatives{traits: []Trait{{Caveat: key.caveat, ContextText: key.context, Context: values}}}
		t.keep(key, base)
	}
	if r.Expires == 0 {
		return base, nil
	}
	trait := base.traits[0]
	trait.Expires = r.Expires
	return &alternatives{traits: []Trait{trait}, base: base}, nil
}

func (t *traits) keep(key traitKey, a *alternatives) {
	if len(t.known) >= t.sweep {
		for k, p := range t.known {
			if p.Value() == nil {
				delete(t.known, k)
			}
		}
		t.sweep = 2*len(t.known) + 1024
	}
	if t.known == nil {
		t.known = map[traitKey]weak.Pointer[alternatives]{}
	}
	t.known[key] = weak.Make(a)
}
