package schema

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/perm/caveat"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// maxMembers bounds what partials may expand to.
const maxMembers = 100_000

// Parse reads a schema and checks it. The error is an *Error.
func Parse(text string) (*Schema, error) {
	f, err := parse(text)
	if err != nil {
		return nil, err
	}
	c := &compiler{text: text, file: f, partials: map[string]*partial{}}
	s, fault := c.compile()
	if fault != nil {
		return nil, fault
	}
	return s, nil
}

// compiler turns what a text says into a Schema.
type compiler struct {
	text     string
	file     *file
	partials map[string]*partial
	members  int
}

// partial is a named list of lines that definitions take over.
type partial struct {
	*block
	lines []*line // with the partials in it expanded
	state expansion
}

type expansion uint8

const (
	unexpanded expansion = iota
	expanding
	expanded
)

func (c *compiler) compile() (*Schema, *Error) {
	if err := c.names(); err != nil {
		return nil, err
	}
	for _, d := range c.file.definitions {
		lines, err := c.expand(d)
		if err != nil {
			return nil, err
		}
		d.members = lines
	}
	if err := c.memberNames(); err != nil {
		return nil, err
	}
	s := &Schema{}
	for _, d := range c.file.caveats {
		made, err := c.caveat(d)
		if err != nil {
			return nil, err
		}
		s.Caveats = append(s.Caveats, made)
	}
	for _, d := range c.file.definitions {
		made, err := c.definition(d)
		if err != nil {
			return nil, err
		}
		s.Definitions = append(s.Definitions, made)
	}
	s.index()
	if err := c.check(s); err != nil {
		return nil, err
	}
	s.Uses = s.uses()
	return s, nil
}

func (c *compiler) fault(at span, kind Kind, definition, format string, args ...any) *Error {
	return fault(c.text, at, kind, definition, format, args...)
}

// names checks the names of definitions, caveats and partials. Definitions and
// caveats share theirs.
func (c *compiler) names() *Error {
	seen := map[string]bool{}
	take := func(n named, check func(string) error) *Error {
		if err := check(n.text); err != nil {
			return c.fault(n.span, Syntax, n.text, "%v", err)
		}
		if seen[n.text] {
			return c.fault(n.span, Syntax, n.text, "%q is already the name of a definition or a caveat", n.text)
		}
		seen[n.text] = true
		return nil
	}
	type entry struct {
		named
		check func(string) error
	}
	var all []entry
	for _, d := range c.file.definitions {
		all = append(all, entry{d.name, tuple.CheckType})
	}
	for _, d := range c.file.caveats {
		all = append(all, entry{d.name, tuple.CheckCaveat})
	}
	// The later of two is the one that is wrong.
	slices.SortStableFunc(all, func(a, b entry) int { return cmp.Compare(a.start, b.start) })
	for _, e := range all {
		if err := take(e.named, e.check); err != nil {
			return err
		}
	}
	for _, b := range c.file.partials {
		if c.partials[b.name.text] != nil {
			return c.fault(b.name.span, Syntax, b.name.text, "there is already a partial %q", b.name.text)
		}
		c.partials[b.name.text] = &partial{block: b}
	}
	return nil
}

// expand replaces each spread by the lines of its partial.
func (c *compiler) expand(b *block) ([]*line, *Error) {
	var lines []*line
	for _, m := range b.members {
		if m.kind != lineSpread {
			lines = append(lines, m)
			continue
		}
		p := c.partials[m.name.text]
		switch {
		case p == nil:
			return nil, c.fault(m.name.span, Syntax, b.name.text, "there is no partial %q", m.name.text)
		case p.state == expanding:
			return nil, c.fault(m.name.span, Syntax, b.name.text, "the partial %q contains itself", m.name.text)
		case p.state == unexpanded:
			p.state = expanding
			var err *Error
			if p.lines, err = c.expand(p.block); err != nil {
				return nil, err
			}
			p.state = expanded
		}
		if c.members += len(p.lines); c.members > maxMembers {
			return nil, c.fault(m.name.span, Syntax, b.name.text, "the partials expand to more than %d lines", maxMembers)
		}
		lines = append(lines, p.lines...)
	}
	return lines, nil
}

// memberNames checks the names of relations and permissions.
func (c *compiler) memberNames() *Error {
	for _, d := range c.file.definitions {
		for _, m := range d.members {
			if err := tuple.CheckRelation(m.name.text); err != nil {
				return c.fault(m.name.span, Syntax, d.name.text, "%v", err)
			}
		}
	}
	return nil
}

func (c *compiler) definition(b *block) (*Definition, *Error) {
	d := &Definition{Name: b.name.text, Comment: b.comment, members: make(map[string]member, len(b.members))}
	for _, m := range b.members {
		if d.Has(m.name.text) {
			return nil, c.fault(m.name.span, Type, d.Name, "definition %q already has a relation or permission %q", d.Name, m.name.text)
		}
		d.order = append(d.order, m.name.text)
		if m.kind == lineRelation {
			r := &Relation{Name: m.name.text, Comment: m.comment}
			for _, t := range m.types {
				r.Types = append(r.Types, t.AllowedType)
			}
			d.Relations = append(d.Relations, r)
			d.members[r.Name] = member{relation: r}
			continue
		}
		p := &Permission{Name: m.name.text, Comment: m.comment, Expr: m.expr.lower()}
		if c.file.uses[useTypechecking] { // annotations mean nothing without
			for _, t := range m.bounds {
				p.Types = append(p.Types, t.text)
			}
		}
		d.Permissions = append(d.Permissions, p)
		d.members[p.Name] = member{permission: p}
	}
	return d, nil
}

func (c *compiler) caveat(d *condition) (*Caveat, *Error) {
	name := d.name.text
	made := &Caveat{Name: name, Comment: d.comment, Expression: d.expression.text}
	slices.SortFunc(d.parameters, func(a, b parameter) int { return strings.Compare(a.name.text, b.name.text) })
	for _, p := range d.parameters {
		if first := p.name.text[0]; '0' <= first && first <= '9' {
			return nil, c.fault(p.name.span, Syntax, name, "the name of a parameter cannot begin with a digit")
		}
		if _, err := caveat.ParseType(p.typ.text); err != nil {
			return nil, c.fault(p.typ.span, Syntax, name, "parameter %q: %v", p.name.text, err)
		}
		made.Parameters = append(made.Parameters, Parameter{Name: p.name.text, Type: p.typ.text})
	}
	program, err := caveat.Compile(name, made.Parameters, made.Expression)
	if err != nil {
		return nil, c.caveatFault(d, err)
	}
	made.Program = program
	return made, nil
}

// caveatFault says where in the text a caveat does not compile. What is wrong
// with the expression is a matter of syntax; that a parameter is not used is one
// of types.
func (c *compiler) caveatFault(d *condition, err error) *Error {
	name := d.name.text
	var wrong *caveat.CompileError
	if !errors.As(err, &wrong) {
		return c.fault(d.name.span, Syntax, name, "%v", err)
	}
	message := fmt.Sprintf("caveat %q: %s", name, wrong.Message)
	if wrong.Offset >= 0 {
		at := min(d.expression.start+wrong.Offset, d.expression.end)
		end := d.expression.end
		if n := strings.IndexByte(c.text[at:end], '\n'); n >= 0 {
			end = at + n
		}
		return c.fault(span{at, end}, Syntax, name, "%s", message)
	}
	at := d.name.span
	for _, p := range d.parameters {
		if strings.Contains(wrong.Message+" ", "parameter "+p.name.text+" ") {
			at = p.name.span
		}
	}
	return c.fault(at, Type, name, "%s", message)
}

// uses are the flags without which the schema would not be read as it is meant.
func (s *Schema) uses() []string {
	need := map[string]bool{}
	for _, d := range s.Definitions {
		for _, r := range d.Relations {
			for _, t := range r.Types {
				if t.Expiration {
					need[useExpiration] = true
				}
			}
		}
		for _, p := range d.Permissions {
			if len(p.Types) > 0 {
				need[useTypechecking] = true
			}
			walk(p.Expr, func(e Expr) {
				if _, ok := e.(Self); ok {
					need[useSelf] = true
				}
			})
		}
	}
	return slices.Sorted(maps.Keys(need))
}

// walk calls f with every operand of an expression.
func walk(e Expr, f func(Expr)) {
	switch e := e.(type) {
	case Union:
		for _, c := range e.Children {
			walk(c, f)
		}
	case Intersection:
		for _, c := range e.Children {
			walk(c, f)
		}
	case Exclusion:
		walk(e.Base, f)
		walk(e.Subtracted, f)
	default:
		f(e)
	}
}
