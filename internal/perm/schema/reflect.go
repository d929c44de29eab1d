package schema

import (
	"errors"
	"strings"
)

// Filter selects parts of a schema. Each name is a prefix of the names that fit;
// an empty one says nothing.
type Filter struct {
	Definition string
	Caveat     string
	Relation   string // of the definitions that fit
	Permission string // of the definitions that fit
}

// What a filter cannot ask for.
var (
	errFilterBoth       = errors.New("a filter selects definitions or caveats, not both: use two filters")
	errFilterMembers    = errors.New("a filter selects relations or permissions, not both: use two filters")
	errFilterRelation   = errors.New("a filter by the name of a relation needs the name of a definition")
	errFilterPermission = errors.New("a filter by the name of a permission needs the name of a definition")
)

// Reflect returns the definitions and the caveats that fit at least one of the
// filters, or all if there is none, sorted by name. A definition comes with the
// relations and the permissions that a filter selects; one that asks for neither
// selects all.
func (s *Schema) Reflect(filters []Filter) ([]*Definition, []*Caveat, error) {
	for _, f := range filters {
		if err := f.check(); err != nil {
			return nil, nil, err
		}
	}
	if len(filters) == 0 {
		filters = []Filter{{}}
	}
	var definitions []*Definition
	for _, d := range byName(s.Definitions, func(d *Definition) string { return d.Name }) {
		var relation, permission []func(string) bool
		for _, f := range filters {
			if f.Caveat != "" || !strings.HasPrefix(d.Name, f.Definition) {
				continue
			}
			whole := f.Relation == "" && f.Permission == ""
			relation = append(relation, func(name string) bool {
				return whole || f.Relation != "" && strings.HasPrefix(name, f.Relation)
			})
			permission = append(permission, func(name string) bool {
				return whole || f.Permission != "" && strings.HasPrefix(name, f.Permission)
			})
		}
		if len(relation) > 0 {
			definitions = append(definitions, d.restrict(relation, permission))
		}
	}
	var caveats []*Caveat
	for _, c := range byName(s.Caveats, func(c *Caveat) string { return c.Name }) {
		for _, f := range filters {
			if f.Definition == "" && strings.HasPrefix(c.Name, f.Caveat) {
				caveats = append(caveats, c)
				break
			}
		}
	}
	return definitions, caveats, nil
}

func (f Filter) check() error {
	switch {
	case f.Definition != "" && f.Caveat != "":
		return errFilterBoth
	case f.Relation != "" && f.Permission != "":
		return errFilterMembers
	case f.Relation != "" && f.Definition == "":
		return errFilterRelation
	case f.Permission != "" && f.Definition == "":
		return errFilterPermission
	}
	return nil
}

// restrict is a definition with the members that fit one of the conditions.
func (d *Definition) restrict(relation, permission []func(string) bool) *Definition {
	fits := func(name string, conditions []func(string) bool) bool {
		for _, c := range conditions {
			if c(name) {
				return true
			}
		}
		return false
	}
	part := &Definition{Name: d.Name, Comment: d.Comment, members: map[string]member{}}
	for _, name := range d.order {
		switch r, p := d.Member(name); {
		case r != nil && fits(name, relation):
			part.Relations = append(part.Relations, r)
		case p != nil && fits(name, permission):
			part.Permissions = append(part.Permissions, p)
		default:
			continue
		}
		part.members[name] = d.members[name]
		part.order = append(part.order, name)
	}
	return part
}
