package validate

import (
	"context"
	"math"

	"github.com/tidemarkdb/tidemark/internal/perm/engine"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// expansion finds who has what, with the sets of subjects on the way opened.
type expansion struct {
	ctx   context.Context
	view  engine.View
	known map[spot]set
	open  map[spot]frame
	// negations counts the exclusions on whose subtracted side the way is.
	negations int
	// lowest is the outermost frame that was met again since it was reset.
	lowest int
}

type spot struct {
	object tuple.Object
	name   string
}

// frame is a spot that is being worked out.
type frame struct{ depth, negations int }

const none = math.MaxInt

func newExpansion(ctx context.Context, v engine.View) *expansion {
	return &expansion{ctx: ctx, view: v, known: map[spot]set{}, open: map[spot]frame{}, lowest: none}
}

// of returns who has a relation or permission of an object.
//
// A way that comes back to where it is leads to nobody new. What was found out
// behind such a cut holds only there, and is not remembered.
func (x *expansion) of(object tuple.Object, name string) (set, error) {
	at := spot{object, name}
	if s, ok := x.known[at]; ok {
		return s, nil
	}
	if f, ok := x.open[at]; ok {
		if f.negations != x.negations {
			return nil, &engine.DepthError{Negation: true}
		}
		x.lowest = min(x.lowest, f.depth)
		return set{}, nil
	}
	depth, lowest := len(x.open), x.lowest
	if depth == 0 {
		lowest = none // after an error it may be anything
	}
	x.open[at], x.lowest = frame{depth, x.negations}, none
	defer delete(x.open, at)
	tree, err := engine.Expand(x.ctx, x.view, object, name, engine.Options{})
	if err != nil {
		return nil, err
	}
	s, err := x.tree(tree)
	if err != nil {
		return nil, err
	}
	if x.lowest >= depth {
		x.known[at], x.lowest = s, none
	}
	x.lowest = min(x.lowest, lowest)
	return s, nil
}

func (x *expansion) tree(t *engine.Tree) (s set, err error) {
	switch t.Operation {
	case engine.Leaf:
		s, err = x.leaf(t)
	case engine.Exclusion:
		s, err = x.tree(t.Children[0])
		for _, c := range t.Children[1:] {
			if err != nil {
				return nil, err
			}
			var without set
			x.negations++
			without, err = x.tree(c)
			x.negations--
			if err == nil {
				s = exclusion(s, without)
			}
		}
	default:
		s = set{}
		for i, c := range t.Children {
			var child set
			if child, err = x.tree(c); err != nil {
				return nil, err
			}
			switch {
			case i == 0:
				s = child
			case t.Operation == engine.Union:
				s = union(s, child)
			default:
				s = intersection(s, child)
			}
		}
	}
	if err != nil {
		return nil, err
	}
	if caveated(t.Traits) {
		s = under(s)
	}
	return s, nil
}

func (x *expansion) leaf(t *engine.Tree) (set, error) {
	way := t.Object.String() + "#" + t.Name
	s := set{}
	for _, d := range t.Subjects {
		has := yes
		if caveated(d.Traits) {
			has = maybe
		}
		s.add(d.Subject, has, way)
	}
	for _, d := range t.Subjects {
		if d.Relation == "" {
			continue
		}
		inside, err := x.of(d.Object, d.Relation)
		if err != nil {
			return nil, err
		}
		if caveated(d.Traits) {
			inside = under(inside)
		}
		s = union(s, inside)
	}
	return s, nil
}

// caveated reports whether every alternative has a caveat.
func caveated(traits []graph.Trait) bool {
	for _, t := range traits {
		if t.Caveat == "" {
			return false
		}
	}
	return len(traits) > 0
}
