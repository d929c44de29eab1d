package schema

import (
	"reflect"
	"slices"
)

// ChangeKind says what a Change is about, and so which of its fields are set.
type ChangeKind uint8

const (
	DefinitionAdded          ChangeKind = iota // Definition
	DefinitionRemoved                          // Definition
	DefinitionCommentChanged                   // Definition
	RelationAdded                              // Definition, Relation
	RelationRemoved                            // Definition, Relation
	RelationCommentChanged                     // Definition, Relation
	SubjectTypeAdded                           // Definition, Relation, Type
	SubjectTypeRemoved                         // Definition, Relation, Type
	PermissionAdded                            // Definition, Permission
	PermissionRemoved                          // Definition, Permission
	PermissionCommentChanged                   // Definition, Permission
	PermissionExprChanged                      // Definition, Permission
	CaveatAdded                                // Caveat
	CaveatRemoved                              // Caveat
	CaveatCommentChanged                       // Caveat
	CaveatExprChanged                          // Caveat
	ParameterAdded                             // Caveat, Parameter
	ParameterRemoved                           // Caveat, Parameter
	ParameterTypeChanged                       // Caveat, Parameter, PreviousType
)

// Change is one difference between two schemas. What it points to is of the new
// schema, or of the old one where something was removed; the relation and the
// caveat that lost a subject type or a parameter are of the new one.
type Change struct {
	Kind         ChangeKind
	Definition   *Definition
	Relation     *Relation
	Permission   *Permission
	Type         AllowedType
	Caveat       *Caveat
	Parameter    Parameter
	PreviousType string
}

// Diff lists what changed from one schema to another: definitions that came, that
// went and that changed, then caveats likewise, each sorted by name.
func Diff(old, next *Schema) []Change {
	var all, changed []Change
	for _, d := range byName(next.Definitions, func(d *Definition) string { return d.Name }) {
		if before := old.Definition(d.Name); before == nil {
			all = append(all, Change{Kind: DefinitionAdded, Definition: d})
		} else {
			changed = append(changed, diffDefinition(before, d)...)
		}
	}
	for _, d := range byName(old.Definitions, func(d *Definition) string { return d.Name }) {
		if next.Definition(d.Name) == nil {
			all = append(all, Change{Kind: DefinitionRemoved, Definition: d})
		}
	}
	all, changed = append(all, changed...), nil
	for _, c := range byName(next.Caveats, func(c *Caveat) string { return c.Name }) {
		if before := old.Caveat(c.Name); before == nil {
			all = append(all, Change{Kind: CaveatAdded, Caveat: c})
		} else {
			changed = append(changed, diffCaveat(before, c)...)
		}
	}
	for _, c := range byName(old.Caveats, func(c *Caveat) string { return c.Name }) {
		if next.Caveat(c.Name) == nil {
			all = append(all, Change{Kind: CaveatRemoved, Caveat: c})
		}
	}
	return append(all, changed...)
}

func diffDefinition(old, next *Definition) []Change {
	var all []Change
	add := func(c Change) {
		if c.Definition == nil {
			c.Definition = next
		}
		all = append(all, c)
	}
	if old.Comment != next.Comment {
		add(Change{Kind: DefinitionCommentChanged})
	}
	for _, r := range old.Relations {
		if now, _ := next.Member(r.Name); now == nil {
			add(Change{Kind: RelationRemoved, Relation: r, Definition: old})
		}
	}
	for _, r := range next.Relations {
		if before, _ := old.Member(r.Name); before == nil {
			add(Change{Kind: RelationAdded, Relation: r})
		}
	}
	for _, p := range old.Permissions {
		if _, now := next.Member(p.Name); now == nil {
			add(Change{Kind: PermissionRemoved, Permission: p, Definition: old})
		}
	}
	for _, p := range next.Permissions {
		switch _, before := old.Member(p.Name); {
		case before == nil:
			add(Change{Kind: PermissionAdded, Permission: p})
		default:
			if !reflect.DeepEqual(before.Expr, p.Expr) || !slices.Equal(before.Types, p.Types) {
				add(Change{Kind: PermissionExprChanged, Permission: p})
			}
			if before.Comment != p.Comment {
				add(Change{Kind: PermissionCommentChanged, Permission: p})
			}
		}
	}
	for _, r := range next.Relations {
		before, _ := old.Member(r.Name)
		if before == nil {
			continue
		}
		if before.Comment != r.Comment {
			add(Change{Kind: RelationCommentChanged, Relation: r})
		}
		for _, t := range before.Types {
			if !r.Allows(t) {
				add(Change{Kind: SubjectTypeRemoved, Relation: r, Type: t})
			}
		}
		for _, t := range r.Types {
			if !before.Allows(t) {
				add(Change{Kind: SubjectTypeAdded, Relation: r, Type: t})
			}
		}
	}
	return all
}

func diffCaveat(old, next *Caveat) []Change {
	var all []Change
	if old.Comment != next.Comment {
		all = append(all, Change{Kind: CaveatCommentChanged, Caveat: next})
	}
	for _, p := range old.Parameters {
		if _, ok := next.parameter(p.Name); !ok {
			all = append(all, Change{Kind: ParameterRemoved, Caveat: next, Parameter: p})
		}
	}
	for _, p := range next.Parameters {
		before, ok := old.parameter(p.Name)
		switch {
		case !ok:
			all = append(all, Change{Kind: ParameterAdded, Caveat: next, Parameter: p})
		case before.Type != p.Type:
			all = append(all, Change{Kind: ParameterTypeChanged, Caveat: next, Parameter: p, PreviousType: before.Type})
		}
	}
	if old.Expression != next.Expression {
		all = append(all, Change{Kind: CaveatExprChanged, Caveat: next})
	}
	return all
}
