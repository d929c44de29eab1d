package schema

import (
	"cmp"
	"slices"
	"strings"
)

// Pair names a relation or a permission of a definition; with an empty Relation
// it is the objects of the type themselves.
type Pair struct{ Type, Relation string }

// member finds what a pair names, if it names something.
func (s *Schema) member(p Pair) (*Relation, *Permission) {
	d := s.Definition(p.Type)
	if d == nil {
		return nil, nil
	}
	return d.Member(p.Relation)
}

// Reference is a relation or a permission of a definition.
type Reference struct {
	Pair
	Permission bool
}

// Closure is every relation whose relationships can matter to who has a member
// of a definition: an answer about it holds for as long as no relationship of
// these changes. It is sorted.
func (s *Schema) Closure(definition, name string) []Pair {
	var all []Pair
	for _, p := range s.reach(Pair{definition, name}, s.needs) {
		if r, _ := s.member(p); r != nil {
			all = append(all, p)
		}
	}
	return all
}

// DependentRelations is every relation and permission on which a permission
// rests, sorted. The error is an *UnknownError, or a *KindError for a relation.
func (s *Schema) DependentRelations(definition, permission string) ([]Reference, error) {
	d := s.Definition(definition)
	if d == nil {
		return nil, &UnknownError{Definition: definition}
	}
	r, p := d.Member(permission)
	switch {
	case r != nil:
		return nil, &KindError{Definition: definition, Member: permission}
	case p == nil:
		return nil, &UnknownError{Definition: definition, Member: permission}
	}
	start := Pair{definition, permission}
	return s.references(start, s.reach(start, s.needs)), nil
}

// ComputablePermissions is every relation and permission that a kind of subject
// may have: the objects of a definition, or with a relation who has it. The
// result is sorted and holds only definitions whose names begin with a prefix.
// The error is an *UnknownError.
func (s *Schema) ComputablePermissions(definition, relation, prefix string) ([]Reference, error) {
	d := s.Definition(definition)
	switch {
	case d == nil:
		return nil, &UnknownError{Definition: definition}
	case relation != "" && !d.Has(relation):
		return nil, &UnknownError{Definition: definition, Member: relation}
	}
	above := s.reverse()
	start := Pair{definition, relation}
	all := s.references(start, s.reach(start, func(p Pair, f func(Pair)) {
		for _, q := range above[p] {
			f(q)
		}
	}))
	return slices.DeleteFunc(all, func(r Reference) bool { return !strings.HasPrefix(r.Type, prefix) }), nil
}

// references are pairs but for one, and but for objects themselves.
func (s *Schema) references(but Pair, pairs []Pair) []Reference {
	var all []Reference
	for _, p := range pairs {
		if p != but && p.Relation != "" {
			_, permission := s.member(p)
			all = append(all, Reference{p, permission != nil})
		}
	}
	return all
}

// reach is everything that can be come to from a pair, with that pair, sorted.
func (s *Schema) reach(from Pair, next func(Pair, func(Pair))) []Pair {
	seen := map[Pair]bool{from: true}
	all := []Pair{from}
	for i := 0; i < len(all); i++ {
		next(all[i], func(p Pair) {
			if !seen[p] {
				seen[p] = true
				all = append(all, p)
			}
		})
	}
	slices.SortFunc(all, func(a, b Pair) int {
		return cmp.Or(strings.Compare(a.Type, b.Type), strings.Compare(a.Relation, b.Relation))
	})
	return all
}

// needs calls f with what must be known to compute a pair.
func (s *Schema) needs(p Pair, f func(Pair)) {
	s.holds(p, f)
	if _, permission := s.member(p); permission != nil {
		walk(permission.Expr, func(e Expr) {
			if a, ok := e.(Arrow); ok {
				f(Pair{p.Type, a.Relation})
			}
		})
	}
}

// holds calls f with the kinds of subjects that can be in a pair: objects,
// and those who are in another pair. Walking an arrow is no such step, and a pair
// that is subtracted counts.
func (s *Schema) holds(p Pair, f func(Pair)) {
	relation, permission := s.member(p)
	if relation != nil {
		for _, t := range relation.Types {
			f(Pair{t.Type, t.Relation})
		}
	}
	if permission == nil {
		return
	}
	walk(permission.Expr, func(e Expr) {
		switch e := e.(type) {
		case Ref:
			f(Pair{p.Type, e.Name})
		case Self:
			f(Pair{p.Type, ""})
		case Arrow:
			left, _ := s.member(Pair{p.Type, e.Relation})
			for _, t := range left.Types {
				if s.Definition(t.Type).Has(e.Target) {
					f(Pair{t.Type, e.Target})
				}
			}
		}
	})
}

// reverse gives for each pair those that hold it.
func (s *Schema) reverse() map[Pair][]Pair {
	above := map[Pair][]Pair{}
	for _, d := range s.Definitions {
		for _, name := range d.order {
			p := Pair{d.Name, name}
			s.holds(p, func(q Pair) { above[q] = append(above[q], p) })
		}
	}
	return above
}

// subjectTypes gives for each relation and permission the types of objects that
// can be in it, sorted.
func (s *Schema) subjectTypes() map[Pair][]string {
	above := s.reverse()
	types := map[Pair][]string{}
	for _, d := range s.Definitions {
		up := s.reach(Pair{d.Name, ""}, func(p Pair, f func(Pair)) {
			for _, q := range above[p] {
				f(q)
			}
		})
		for _, p := range up {
			if p.Relation != "" {
				types[p] = append(types[p], d.Name)
			}
		}
	}
	for _, t := range types {
		slices.Sort(t)
	}
	return types
}
