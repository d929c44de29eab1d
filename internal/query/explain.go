package query

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/match"
)

// Explanation says how precisely one reference to a table is followed for one
// answer.
type Explanation struct {
	Table string
	// Rung is 0 where every row counts, 1 where those do that pass the tests and
	// whatever else narrows them, and 2 where the answer is changed in place.
	Rung int
	// Tests are what a row has to pass, "user_id = 42", for people to read.
	Tests []string
	// Keys are the values that a row has to have because of what other tables
	// hold: "order_id in keys from public.orders".
	Keys []string
	// Edge is the order by which a row that lies behind a full page does not
	// count: "created desc, id".
	Edge string
	// Group is the row of a nested query's page behind which a row does not count:
	// "2nd row of its user_id by created desc, id".
	Group string
	// Witnesses are the columns of which one row stands for all with its values;
	// where it is not nil but empty, one stands for all.
	Witnesses []string
	// Columns are the columns whose changes count; nil means all. Of those in
	// Tested only what the tests say of them does.
	Columns, Tested []string
	// None says that no row of the table can touch this answer.
	None bool
	// Raise says what would make rung 0 a rung 1; empty on rung 1.
	Raise string
}

// String returns one line.
func (x Explanation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: ", x.Table)
	if x.None {
		b.WriteString("no row can touch this answer")
		return b.String()
	}
	if tests := slices.Concat(x.Tests, x.Keys); len(tests) > 0 {
		b.WriteString("rows where " + strings.Join(tests, " and "))
	} else {
		b.WriteString("every row")
	}
	if x.Edge != "" {
		b.WriteString(" not behind the page by " + x.Edge)
	}
	if x.Group != "" {
		b.WriteString(" not behind the " + x.Group)
	}
	switch {
	case len(x.Witnesses) > 0:
		b.WriteString(", one for each " + strings.Join(x.Witnesses, ", "))
	case x.Witnesses != nil:
		b.WriteString(", any one of them")
	}
	switch {
	case x.Columns == nil:
		b.WriteString(", all columns")
	case len(x.Columns) == 0:
		b.WriteString(", which rows there are and not what they hold")
	default:
		b.WriteString(", columns " + strings.Join(x.Columns, ", "))
	}
	if x.Rung == 2 {
		b.WriteString("; followed in place")
	}
	if x.Raise != "" {
		b.WriteString(" (" + x.Raise + ")")
	}
	return b.String()
}

// Explain describes what an answer depends on, one entry per reference to a
// table, in the order of Reads. It says which keys there are, and not how many:
// that is known of a stored answer only.
func (e *Endpoint) Explain(b *Binding) []Explanation {
	v := b.verdict()
	out := make([]Explanation, len(e.Reads))
	for i := range e.Reads {
		x := e.explain(b, i, v.tests[i], v.exact[i])
		x.None = v.impossible[i]
		for _, s := range e.keys {
			for _, r := range s.restricts {
				if r.col.ref == i {
					x.Keys = append(x.Keys, columnName(r.col.name, r.col.part)+" in keys from "+r.via)
				}
			}
			if s.witness != nil && s.witness.ref == i {
				x.Witnesses = columnNames(s.witness.same)
			}
		}
		if p := e.pages.edge; p != nil && p.ref == i {
			x.Edge = orderName(p.cols)
		}
		x.Group = e.groupName(i, b)
		out[i] = e.settleRung(x, b, i)
	}
	return out
}

func keyCount(n int) string {
	if n == 1 {
		return "1 key"
	}
	return fmt.Sprintf("%d keys", n)
}

// ExplainDeps describes what a stored answer of the binding depends on, one
// entry per reference to a table, in the order of Reads.
func (e *Endpoint) ExplainDeps(deps []match.Dependency, b *Binding) []Explanation {
	v := b.verdict()
	out := make([]Explanation, len(e.Reads))
	for i, r := range e.Reads {
		x := Explanation{Table: r.Name, Columns: r.Columns, None: true}
		for _, d := range deps {
			if d.Reads != r {
				continue
			}
			var tests []match.Test
			var keys []string
			for _, t := range d.Tests {
				if slices.ContainsFunc(v.tests[i], func(o match.Test) bool { return sameTest(o, t) }) {
					tests = append(tests, t)
				} else if t.Op == match.NotEqual {
					keys = append(keys, columnName(t.Column, t.Part)+" not in "+keyCount(len(t.Values))+" that lead to nothing")
				} else {
					keys = append(keys, columnName(t.Column, t.Part)+" in "+keyCount(len(t.Values)))
				}
			}
			x = e.explain(b, i, tests, d.Exact)
			x.Keys = keys
			if d.Edge != nil {
				x.Edge = orderName(d.Edge.Order)
			}
			if d.Groups != nil {
				x.Group = e.groupName(i, b)
			}
			if d.Witnesses != nil {
				x.Witnesses = columnNames(d.Witnesses.For)
			}
		}
		out[i] = e.settleRung(x, b, i)
		for _, s := range e.keys {
			for _, k := range s.restricts {
				if k.col.ref == i && out[i].Raise != "" {
					out[i].Raise = fmt.Sprintf("more than %d rows of %s may be joined with it", MaxKeyRows, k.via)
				}
			}
			if s.chain != nil && out[i].Raise != "" && s.chain.leaves(i, deps, e) {
				out[i].Raise = "all that the rows there are could show is shown"
			}
		}
	}
	return out
}

func (e *Endpoint) explain(b *Binding, ref int, tests []match.Test, exact bool) Explanation {
	r := e.Reads[ref]
	texts := valueTexts{}
	for _, f := range e.filters {
		for _, p := range f.parts {
			texts.collect(p.cond, b.args)
		}
	}
	x := Explanation{Table: r.Name, Columns: r.Columns}
	if exact {
		x.Tested = r.Tested
	}
	for _, t := range tests {
		x.Tests = append(x.Tests, texts.describe(t))
	}
	return x
}

func (e *Endpoint) settleRung(x Explanation, b *Binding, ref int) Explanation {
	t := e.targets[ref]
	switch {
	case x.None:
	case b.Variant() == Followed:
		x.Rung = 2
	case len(x.Tests)+len(x.Keys) > 0 || x.Witnesses != nil || x.Edge != "" || x.Group != "":
		x.Rung = 1
	case t.followed:
		x.Raise = "no condition on it is in force for these parameters"
	default:
		x.Raise = t.why
	}
	return x
}

func columnNames(columns []match.KeyColumn) []string {
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = c.Column
	}
	return out
}

func orderName(order []match.OrderColumn) string {
	out := make([]string, len(order))
	for i, c := range order {
		if out[i] = c.Column; c.Desc {
			out[i] += " desc"
		}
	}
	return strings.Join(out, ", ")
}

func columnName(name string, p match.Part) string {
	if p.Kind != match.Member {
		return name
	}
	return name + " #>> '{" + strings.ReplaceAll(strings.TrimSuffix(p.Path, "\x00"), "\x00", ",") + "}'"
}

// valueTexts is how the values of tests are written: a Datum does not say.
type valueTexts map[match.Datum]string

func (m valueTexts) collect(c *condition, args []argument) {
	switch c.kind {
	case condLike, condStarts:
		if v, known := c.right.value(args); known && !v.null {
			begin := v.text
			if c.kind == condLike {
				begin, _, _ = likePrefix(begin)
			}
			end, _ := textsBehind(begin)
			m.add(match.ClassText, item{text: begin})
			m.add(match.ClassText, item{text: end})
		}
	}
	if c.col != nil && c.kind != condJoin && c.kind != condAmong {
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
	name := columnName(t.Column, t.Part)
	if t.Part.Kind == match.Element {
		name = "an element of " + name
	}
	switch t.Op {
	case match.Equal:
		return name + " = " + m[t.Values[0]]
	case match.In:
		return name + " in (" + m.list(t.Values) + ")"
	case match.NotEqual:
		if len(t.Values) == 1 {
			return name + " <> " + m[t.Values[0]]
		}
		return name + " not in (" + m.list(t.Values) + ")"
	case match.IsNull:
		return name + " is null"
	case match.NotNull:
		return name + " is not null"
	}
	var parts []string
	bound := func(sign string, b match.Bound) {
		if b.Set {
			if b.Inclusive {
				sign += "="
			}
			parts = append(parts, name+" "+sign+" "+m[b.Value])
		}
	}
	bound(">", t.Lo)
	bound("<", t.Hi)
	return strings.Join(parts, " and ")
}

func (m valueTexts) list(values []match.Datum) string {
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = m[v]
	}
	return strings.Join(parts, ", ")
}
