package query

import (
	"fmt"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/match"
)

// Explanation says how precisely one reference to a table is followed for one
// answer.
type Explanation struct {
	Table string
	Rung  int // 0: every row counts; 1: rows that pass the tests do
	// Tests are what a row has to pass, "user_id = 42", for people to read.
	Tests []string
	// Columns are the columns whose changes count; nil means all.
	Columns []string
	// None says that no row of the table can touch this answer.
	None bool
	// Raise says what would make rung 0 a rung 1; empty on rung 1.
	Raise string
}

// String returns one line.
func (x Explanation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: ", x.Table)
	switch {
	case x.None:
		b.WriteString("no row can touch this answer")
		return b.String()
	case x.Rung == 1:
		b.WriteString("rows where " + strings.Join(x.Tests, " and "))
	default:
		b.WriteString("every row")
	}
	switch {
	case x.Columns == nil:
		b.WriteString(", all columns")
	case len(x.Columns) == 0:
		b.WriteString(", which rows there are and not what they hold")
	default:
		b.WriteString(", columns " + strings.Join(x.Columns, ", "))
	}
	if x.Raise != "" {
		b.WriteString(" (" + x.Raise + ")")
	}
	return b.String()
}

// Explain describes what an answer depends on, one entry per reference to a
// table, in the order of Reads.
func (e *Endpoint) Explain(b *Binding) []Explanation {
	tests, impossible := b.tests()
	texts := valueTexts{}
	for _, f := range e.filters {
		texts.collect(f.cond, b.args)
	}
	out := make([]Explanation, len(e.Reads))
	for i, r := range e.Reads {
		x := Explanation{Table: r.Name, Columns: r.Columns, None: impossible[i]}
		for _, t := range tests[i] {
			x.Tests = append(x.Tests, texts.describe(t))
		}
		switch {
		case x.None:
		case len(x.Tests) > 0:
			x.Rung = 1
		case e.targets[i].followed:
			x.Raise = "no condition on it is in force for these parameters"
		default:
			x.Raise = e.targets[i].why
		}
		out[i] = x
	}
	return out
}

// valueTexts is how the values of tests are written: a Datum does not say.
type valueTexts map[match.Datum]string

func (m valueTexts) collect(c *condition, args []argument) {
	if c.col != nil && c.kind != condJoin {
		m.add(c.col.class, item{text: "true"})
		m.add(c.col.class, item{text: "false"})
		v, _ := c.right.value(args)
		m.add(c.col.class, v)
		items, _, _ := c.right.list(args)
		for _, it := range items {
			m.add(c.col.class, it)
		}
	}
	for _, arg := range c.args {
		m.collect(arg, args)
	}
}

func (m valueTexts) add(class match.Class, v item) {
	d, ok := match.ParseDatum(class, []byte(v.text))
	if !ok || v.null {
		return
	}
	switch class {
	case match.ClassBool, match.ClassInt, match.ClassNumeric, match.ClassFloat:
		if v.text == "t" || v.text == "f" {
			return
		}
		m[d] = v.text
	default:
		m[d] = "'" + strings.ReplaceAll(v.text, "'", "''") + "'"
	}
}

func (m valueTexts) describe(t match.Test) string {
	switch t.Op {
	case match.Equal:
		return t.Column + " = " + m[t.Values[0]]
	case match.In:
		parts := make([]string, len(t.Values))
		for i, v := range t.Values {
			parts[i] = m[v]
		}
		return t.Column + " in (" + strings.Join(parts, ", ") + ")"
	case match.IsNull:
		return t.Column + " is null"
	case match.NotNull:
		return t.Column + " is not null"
	}
	var parts []string
	bound := func(sign string, b match.Bound) {
		if b.Set {
			if b.Inclusive {
				sign += "="
			}
			parts = append(parts, t.Column+" "+sign+" "+m[b.Value])
		}
	}
	bound(">", t.Lo)
	bound("<", t.Hi)
	return strings.Join(parts, " and ")
}
