package schema

import (
	"slices"
	"strings"
)

// Text is the schema in the one form that it is handed out in: flags, then
// caveats, then definitions, each sorted by name, with a blank line between.
// Relations and permissions keep the order of the source, with a blank line
// before those that have a comment. An expression within another one stands in
// parentheses.
func (s *Schema) Text() string {
	var blocks []string
	if len(s.Uses) > 0 {
		blocks = append(blocks, "use "+strings.Join(s.Uses, "\nuse "))
	}
	for _, c := range byName(s.Caveats, func(c *Caveat) string { return c.Name }) {
		blocks = append(blocks, c.text())
	}
	for _, d := range byName(s.Definitions, func(d *Definition) string { return d.Name }) {
		blocks = append(blocks, d.text())
	}
	return strings.Join(blocks, "\n\n")
}

func byName[T any](all []T, name func(T) string) []T {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b T) int { return strings.Compare(name(a), name(b)) })
	return all
}

func (c *Caveat) text() string {
	var b strings.Builder
	writeComment(&b, c.Comment, "")
	b.WriteString("caveat " + c.Name + "(")
	for i, p := range c.Parameters {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(p.Name + " " + p.Type)
	}
	b.WriteString(") {\n\t" + c.Expression + "\n}")
	return b.String()
}

func (d *Definition) text() string {
	var b strings.Builder
	writeComment(&b, d.Comment, "")
	b.WriteString("definition " + d.Name + " {")
	for i, name := range d.order {
		b.WriteString("\n")
		r, p := d.Member(name)
		comment := ""
		if r != nil {
			comment = r.Comment
		} else {
			comment = p.Comment
		}
		if comment != "" && i > 0 {
			b.WriteString("\n")
		}
		writeComment(&b, comment, "\t")
		b.WriteString("\t")
		if r != nil {
			r.write(&b)
		} else {
			p.write(&b)
		}
	}
	if len(d.order) > 0 {
		b.WriteString("\n")
	}
	b.WriteString("}")
	return b.String()
}

func (r *Relation) write(b *strings.Builder) {
	b.WriteString("relation " + r.Name + ":")
	for i, t := range r.Types {
		if i > 0 {
			b.WriteString(" |")
		}
		b.WriteString(" " + t.String())
	}
}

func (p *Permission) write(b *strings.Builder) {
	b.WriteString("permission " + p.Name)
	if len(p.Types) > 0 {
		b.WriteString(": " + strings.Join(p.Types, " | "))
	}
	b.WriteString(" = ")
	writeExpr(b, p.Expr)
}

func writeComment(b *strings.Builder, comment, indent string) {
	if comment == "" {
		return
	}
	for l := range strings.SplitSeq(comment, "\n") {
		b.WriteString(indent + l + "\n")
	}
}

// Source is the expression as a schema writes it.
func Source(e Expr) string {
	var b strings.Builder
	writeExpr(&b, e)
	return b.String()
}

func writeExpr(b *strings.Builder, e Expr) {
	switch e := e.(type) {
	case Union:
		writeChildren(b, " + ", e.Children...)
	case Intersection:
		writeChildren(b, " & ", e.Children...)
	case Exclusion:
		writeChildren(b, " - ", e.Base, e.Subtracted)
	case Ref:
		b.WriteString(e.Name)
	case Arrow:
		switch e.Kind {
		case ArrowPlain:
			b.WriteString(e.Relation + "->" + e.Target)
		case ArrowAny:
			b.WriteString(e.Relation + ".any(" + e.Target + ")")
		case ArrowAll:
			b.WriteString(e.Relation + ".all(" + e.Target + ")")
		}
	case Nil:
		b.WriteString("nil")
	case Self:
		b.WriteString("self")
	}
}

func writeChildren(b *strings.Builder, operator string, children ...Expr) {
	for i, c := range children {
		if i > 0 {
			b.WriteString(operator)
		}
		switch c.(type) {
		case Union, Intersection, Exclusion:
			b.WriteString("(")
			writeExpr(b, c)
			b.WriteString(")")
		default:
			writeExpr(b, c)
		}
	}
}
