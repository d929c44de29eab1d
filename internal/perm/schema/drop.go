package schema

import (
	"fmt"

	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// DropKind says what a new schema takes away.
type DropKind uint8

const (
	DropDefinition DropKind = iota // Type
	DropRelation                   // Type and Relation: there is none, or a permission
	DropAllowed                    // Type, Relation and Allowed
	DropCaveat                     // Caveat
	DropParameter                  // Caveat and Parameter: there is none, or another type
)

// Drop is something that relationships may rest on and that a new schema takes
// away.
type Drop struct {
	Kind      DropKind
	Type      string // of resources
	Relation  string
	Allowed   AllowedType
	Caveat    string
	Parameter string
}

// Dropped lists what a new schema takes away. No relationship that was valid
// under the old one is invalid under the new one unless one of the drops covers
// it.
func Dropped(old, next *Schema) []Drop {
	var drops []Drop
	for _, d := range old.Definitions {
		now := next.Definition(d.Name)
		if now == nil {
			drops = append(drops, Drop{Kind: DropDefinition, Type: d.Name})
			continue
		}
		for _, r := range d.Relations {
			rel, _ := now.Member(r.Name)
			if rel == nil {
				drops = append(drops, Drop{Kind: DropRelation, Type: d.Name, Relation: r.Name})
				continue
			}
			for _, a := range r.Types {
				if !rel.Allows(a) {
					drops = append(drops, Drop{Kind: DropAllowed, Type: d.Name, Relation: r.Name, Allowed: a})
				}
			}
		}
	}
	for _, c := range old.Caveats {
		now := next.Caveat(c.Name)
		if now == nil {
			drops = append(drops, Drop{Kind: DropCaveat, Caveat: c.Name})
			continue
		}
		for _, p := range c.Parameters {
			if q, ok := now.parameter(p.Name); !ok || q.Type != p.Type {
				drops = append(drops, Drop{Kind: DropParameter, Caveat: c.Name, Parameter: p.Name})
			}
		}
	}
	return drops
}

// Covers reports whether a relationship rests on what is taken away. A changed
// parameter covers every relationship with its caveat, whatever their context.
func (d Drop) Covers(r tuple.Relationship) bool {
	switch d.Kind {
	case DropDefinition:
		return r.Resource.Type == d.Type
	case DropRelation:
		return r.Resource.Type == d.Type && r.Relation == d.Relation
	case DropAllowed:
		return r.Resource.Type == d.Type && r.Relation == d.Relation && TypeOf(r) == d.Allowed
	default:
		return r.Caveat == d.Caveat
	}
}

// String says what is taken away.
func (d Drop) String() string {
	switch d.Kind {
	case DropDefinition:
		return fmt.Sprintf("definition %s", d.Type)
	case DropRelation:
		return fmt.Sprintf("relation %s#%s", d.Type, d.Relation)
	case DropAllowed:
		return fmt.Sprintf("subject type %q of relation %s#%s", d.Allowed, d.Type, d.Relation)
	case DropCaveat:
		return fmt.Sprintf("caveat %s", d.Caveat)
	default:
		return fmt.Sprintf("parameter %s of caveat %s, or its type", d.Parameter, d.Caveat)
	}
}

func (c *Caveat) parameter(name string) (Parameter, bool) {
	for _, p := range c.Parameters {
		if p.Name == name {
			return p, true
		}
	}
	return Parameter{}, false
}
