package graph

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

const (
	pairBits = 15 // of a Pair in an edge
	maxPairs = 1 << pairBits
	maxTypes = 1 << 16
)

// vocabulary numbers types and relations. A version's is not changed.
type vocabulary struct {
	types   []string
	typeIDs map[string]Type
	pairs   []pairName
	pairIDs map[pairName]Pair
}

type pairName struct{ typ, rel string }

func newVocabulary() *vocabulary {
	return &vocabulary{types: []string{""}, typeIDs: map[string]Type{}, pairs: []pairName{{}}, pairIDs: map[pairName]Pair{}}
}

func (v *vocabulary) clone() *vocabulary {
	return &vocabulary{slices.Clone(v.types), maps.Clone(v.typeIDs), slices.Clone(v.pairs), maps.Clone(v.pairIDs)}
}

func (v *vocabulary) addType(name string) (Type, error) {
	if len(v.types) == maxTypes {
		return 0, fmt.Errorf("type %s: %w", name, ErrFull)
	}
	t := Type(len(v.types))
	name = strings.Clone(name)
	v.types = append(v.types, name)
	v.typeIDs[name] = t
	return t, nil
}

func (v *vocabulary) addPair(typ, rel string) (Pair, error) {
	if len(v.pairs) == maxPairs {
		return 0, fmt.Errorf("relation %s#%s: %w", typ, rel, ErrFull)
	}
	p := Pair(len(v.pairs))
	name := pairName{strings.Clone(typ), strings.Clone(rel)}
	v.pairs = append(v.pairs, name)
	v.pairIDs[name] = p
	return p, nil
}
