package schema

import (
	"slices"
	"strings"
)

// check says what does not fit together, in the order of the source.
func (c *compiler) check(s *Schema) *Error {
	for _, b := range c.file.definitions {
		d := s.Definition(b.name.text)
		for _, m := range b.members {
			var err *Error
			if m.kind == lineRelation {
				err = c.checkRelation(s, d, m)
			} else {
				err = c.checkPermission(s, d, m)
			}
			if err != nil {
				return err
			}
		}
		if err := c.checkCycles(d, b); err != nil {
			return err
		}
	}
	return c.checkBounds(s)
}

func (c *compiler) checkRelation(s *Schema, d *Definition, m *line) *Error {
	fail := func(at span, format string, args ...any) *Error { return c.fault(at, Type, d.Name, format, args...) }
	seen := make(map[AllowedType]bool, len(m.types))
	for _, t := range m.types {
		of := s.Definition(t.Type)
		switch {
		case of == nil && s.Caveat(t.Type) != nil:
			return fail(t.name, "relation %q has subjects of type %q, which is a caveat: it follows `with`", m.name.text, t.Type)
		case of == nil:
			return fail(t.name, "relation %q has subjects of type %q, of which there is no definition", m.name.text, t.Type)
		case t.Relation != "" && !of.Has(t.Relation):
			return fail(t.relation, "definition %q has no relation or permission %q", t.Type, t.Relation)
		case t.Caveat == useExpiration && s.Caveat(t.Caveat) == nil:
			return fail(t.caveat, "expiration needs the line `use expiration` at the top of the schema")
		case t.Caveat != "" && s.Caveat(t.Caveat) == nil:
			return fail(t.caveat, "there is no caveat %q", t.Caveat)
		case seen[t.AllowedType]:
			return fail(t.span, "relation %q has the subject type %q twice", m.name.text, t.AllowedType)
		}
		seen[t.AllowedType] = true
	}
	return nil
}

func (c *compiler) checkPermission(s *Schema, d *Definition, m *line) *Error {
	var err *Error
	fail := func(at span, format string, args ...any) {
		if err == nil {
			err = c.fault(at, Type, d.Name, format, args...)
		}
	}
	m.expr.walk(func(n *node) {
		if n.op != opRef && n.op != opArrow {
			return
		}
		at := span{n.start, n.start + len(n.name)} // a name without prefixes begins what it is part of
		switch r, p := d.Member(n.name); {
		case r == nil && p == nil && n.name == useSelf:
			fail(at, "definition %q has no relation or permission \"self\": for the object itself add the line `use self` at the top of the schema", d.Name)
		case r == nil && p == nil:
			fail(at, "definition %q has no relation or permission %q", d.Name, n.name)
		case n.op == opArrow && p != nil:
			fail(at, "an arrow starts at a relation, and %q is a permission", n.name)
		}
	})
	for _, t := range m.bounds {
		if c.file.uses[useTypechecking] && s.Definition(t.text) == nil {
			fail(t.span, "permission %q is said to have subjects of type %q, of which there is no definition", m.name.text, t.text)
		}
	}
	return err
}

// maxCycle is how many names of a cycle an error lists.
const maxCycle = 10

// checkCycles finds permissions that are computed from themselves on the same
// object, which have no meaning. An arrow leads to other objects, and data may
// make cycles there that end.
func (c *compiler) checkCycles(d *Definition, b *block) *Error {
	const (
		open = 1
		done = 2
	)
	at := make(map[string]*line, len(b.members))
	for _, m := range b.members {
		at[m.name.text] = m
	}
	state := make(map[string]int, len(at))
	var path []string
	var visit func(name string) *Error
	visit = func(name string) (err *Error) {
		m := at[name]
		if m.kind != linePermission || state[name] == done {
			return nil
		}
		if state[name] == open {
			cycle := append(path[slices.Index(path, name):], name)
			first := at[name]
			if len(cycle) > maxCycle {
				cycle = append(cycle[:maxCycle-1], "…", name)
			}
			return c.fault(first.name.span, Type, d.Name, "permission %q is computed from itself: %s", name, strings.Join(cycle, " from "))
		}
		state[name] = open
		path = append(path, name)
		m.expr.walk(func(n *node) {
			if err == nil && n.op == opRef {
				err = visit(n.name)
			}
		})
		path = path[:len(path)-1]
		state[name] = done
		return err
	}
	for _, m := range b.members {
		if err := visit(m.name.text); err != nil {
			return err
		}
	}
	return nil
}

// checkBounds compares the types that permissions are said to have with those
// that they can have.
func (c *compiler) checkBounds(s *Schema) *Error {
	if !c.file.uses[useTypechecking] {
		return nil
	}
	types := s.subjectTypes()
	for _, b := range c.file.definitions {
		for _, m := range b.members {
			if len(m.bounds) == 0 {
				continue
			}
			for _, t := range types[Pair{b.name.text, m.name.text}] {
				if !slices.ContainsFunc(m.bounds, func(n named) bool { return n.text == t }) {
					return c.fault(m.name.span, Type, b.name.text, "permission %q can have subjects of type %q, which its annotation leaves out", m.name.text, t)
				}
			}
		}
	}
	return nil
}
