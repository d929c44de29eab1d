package query

import (
	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/match"
)

// outcome is a condition whose parameters are known: a literal, a test of one
// column, a combination, or something that tidemark does not follow.
type outcome struct {
	// kind is condUnknown, condLiteral, condAnd, condOr, condIsTrue, condCompare,
	// condJoin, or condNot, which is the negation of a condJoin.
	kind conditionKind
	join *condition
	lit  truth
	args []outcome
	col  *columnRef
	test match.Test
	// implied says that the test may be true where the condition is not.
	implied bool
	// nulls says that the condition is null where the test is false.
	nulls bool
}

func literal(t truth) outcome { return outcome{kind: condLiteral, lit: t} }

func literalBool(b bool) outcome {
	if b {
		return literal(truthTrue)
	}
	return literal(truthFalse)
}

func (o outcome) is(t truth) bool { return o.kind == condLiteral && o.lit == t }

// fold evaluates what the arguments decide. The result is true for a row if
// and only if the condition is, and likewise false and null.
func (c *condition) fold(args []argument) outcome {
	switch c.kind {
	case condLiteral:
		return literal(c.literal)
	case condAnd, condOr:
		return c.foldConnective(args)
	case condNot:
		return negate(c.args[0].fold(args))
	case condIsTrue:
		o := c.args[0].fold(args)
		if o.kind == condLiteral {
			return literalBool(o.lit == truthTrue)
		}
		// What is not true is false here and not null, which only matters below
		// a negation.
		return outcome{kind: condIsTrue, args: []outcome{o}}
	case condColumn:
		return test(c.col, match.Test{Op: match.Equal}, item{text: "t"})
	case condCompare:
		return c.foldCompare(args)
	case condIn:
		return c.foldIn(args)
	case condColumnNull:
		op := match.IsNull
		if c.literal == truthFalse {
			op = match.NotNull
		}
		return test(c.col, match.Test{Op: op})
	case condValue:
		v, known := c.left.value(args)
		switch {
		case !known:
			return outcome{}
		case v.null:
			return literal(truthNull)
		}
		return literalBool(v.text == "t" || v.text == "true")
	case condValues:
		return c.foldValues(args)
	case condValueIn:
		return c.foldValueIn(args)
	case condValueNull:
		null, known := c.left.isNull(args)
		if !known {
			return outcome{}
		}
		return literalBool(null == (c.literal == truthTrue))
	case condLike, condStarts:
		return c.foldPrefix(args)
	case condElement:
		v, known := c.right.value(args)
		switch {
		case !known:
			return outcome{}
		case v.null:
			// Nothing equals a null, but in an empty array it is not looked for: false
			// there and null elsewhere, which below a negation is not the same.
			return outcome{kind: condIsTrue, args: []outcome{literal(truthFalse)}}
		}
		return test(c.col, match.Test{Op: match.Equal}, v)
	case condContains, condOverlaps:
		return c.foldElements(args)
	case condJoin, condAmong:
		return outcome{kind: condJoin, join: c}
	case condCase:
		for i := 0; i+1 < len(c.args); i += 2 {
			when := c.args[i].fold(args)
			if when.kind != condLiteral {
				return outcome{}
			}
			if when.lit == truthTrue {
				return c.args[i+1].fold(args)
			}
		}
		return c.args[len(c.args)-1].fold(args)
	}
	return outcome{}
}

func (c *condition) foldConnective(args []argument) outcome {
	// AND is decided by one false, OR by one true; the other one is neutral.
	decides, neutral := truthFalse, truthTrue
	if c.kind == condOr {
		decides, neutral = truthTrue, truthFalse
	}
	o := outcome{kind: c.kind}
	for _, arg := range c.args {
		f := arg.fold(args)
		if f.is(decides) {
			return f
		}
		if !f.is(neutral) {
			o.args = append(o.args, f)
		}
	}
	switch len(o.args) {
	case 0:
		return literal(neutral)
	case 1:
		return o.args[0]
	}
	return o
}

// negate pushes NOT inwards. A test of a column is null for a null column, and
// so is its opposite.
func negate(o outcome) outcome {
	switch o.kind {
	case condLiteral:
		switch o.lit {
		case truthTrue:
			return literal(truthFalse)
		case truthFalse:
			return literal(truthTrue)
		}
		return o
	case condAnd, condOr:
		n := outcome{kind: condAnd + condOr - o.kind}
		for _, arg := range o.args {
			n.args = append(n.args, negate(arg))
		}
		return n
	case condJoin:
		// A condAmong is of any row of a query, and not of one.
		if o.join.kind == condJoin {
			return outcome{kind: condNot, join: o.join}
		}
	case condNot:
		return outcome{kind: condJoin, join: o.join}
	case condCompare:
		switch {
		case o.implied, o.col.part.Kind == match.Element:
			// What is true where the condition is says nothing of where it is not,
			// and one element says nothing of the others.
		case o.nulls:
			// False or null, which make a difference below another negation only.
			return outcome{kind: condIsTrue, args: []outcome{literal(truthFalse)}}
		default:
			return opposite(o)
		}
	}
	return outcome{}
}

func opposite(o outcome) outcome {
	t := o.test
	switch t.Op {
	case match.IsNull:
		t.Op = match.NotNull
	case match.NotNull:
		t.Op = match.IsNull
	case match.Range:
		if t.Lo.Set == t.Hi.Set {
			return outcome{}
		}
		t.Lo, t.Hi = t.Hi, t.Lo
		t.Lo.Inclusive, t.Hi.Inclusive = t.Lo.Set && !t.Lo.Inclusive, t.Hi.Set && !t.Hi.Inclusive
	case match.In:
		t.Op = match.NotEqual
	case match.NotEqual:
		t = in(t, t.Values)
	case match.Equal:
		if t.Class != match.ClassBool {
			t.Op = match.NotEqual
			break
		}
		text := "t"
		if yes, _ := match.ParseDatum(match.ClassBool, []byte("t")); t.Values[0] == yes {
			text = "f"
		}
		return test(o.col, match.Test{Op: match.Equal}, item{text: text})
	default:
		return outcome{}
	}
	o.test = t
	return o
}

// test makes the test of one column. Values that have no Datum make it
// unknown.
func test(col *columnRef, t match.Test, values ...item) outcome {
	t.Column, t.Type, t.Part, t.Class = col.name, catalog.OID(col.typ), col.part, col.class
	for _, v := range values {
		d, ok := match.ParseDatum(col.class, []byte(v.text))
		if !ok {
			return outcome{}
		}
		t.Values = append(t.Values, d)
	}
	return outcome{kind: condCompare, col: col, test: t}
}

func (c *condition) foldCompare(args []argument) outcome {
	v, known := c.right.value(args)
	if !known {
		return outcome{}
	}
	if v.null {
		return literal(truthNull)
	}
	if c.strategy == btreeEqual {
		return test(c.col, match.Test{Op: match.Equal}, v)
	}
	d, ok := match.ParseDatum(c.col.class, []byte(v.text))
	if !ok {
		return outcome{}
	}
	t := match.Test{Op: match.Range}
	bound := match.Bound{Set: true, Value: d, Inclusive: c.strategy == btreeLessEqual || c.strategy == btreeGreaterEqual}
	if c.strategy < btreeEqual {
		t.Hi = bound
	} else {
		t.Lo = bound
	}
	return test(c.col, t)
}

func (c *condition) foldIn(args []argument) outcome {
	items, null, known := c.right.list(args)
	if !known {
		return outcome{}
	}
	if null {
		return literal(truthNull)
	}
	var values []item
	nulls := false
	for _, it := range items {
		if it.null {
			nulls = true
		} else {
			values = append(values, it)
		}
	}
	if len(values) == 0 {
		if nulls {
			return literal(truthNull)
		}
		return literal(truthFalse)
	}
	o := test(c.col, match.Test{Op: match.In}, values...)
	if o.kind == condCompare {
		o.test, o.nulls = in(o.test, o.test.Values), nulls
	}
	return o
}

// in makes a test for a set of values.
func in(t match.Test, values []match.Datum) match.Test {
	t.Op, t.Values = match.In, uniqueData(values)
	if len(t.Values) == 1 {
		t.Op = match.Equal
	}
	return t
}

func (c *condition) foldValues(args []argument) outcome {
	l, known1 := c.left.value(args)
	r, known2 := c.right.value(args)
	switch {
	case known1 && l.null, known2 && r.null:
		return literal(truthNull)
	case !known1 || !known2:
		return outcome{}
	}
	a, ok1 := match.ParseDatum(c.left.class, []byte(l.text))
	b, ok2 := match.ParseDatum(c.right.class, []byte(r.text))
	if !ok1 || !ok2 {
		return outcome{}
	}
	if c.strategy == btreeEqual {
		return literalBool(a == b)
	}
	cmp := a.Compare(b)
	return literalBool(map[int]bool{
		btreeLess: cmp < 0, btreeLessEqual: cmp <= 0, btreeGreaterEqual: cmp >= 0, btreeGreater: cmp > 0,
	}[c.strategy])
}

func (c *condition) foldValueIn(args []argument) outcome {
	l, known1 := c.left.value(args)
	items, null, known2 := c.right.list(args)
	if !known1 || !known2 {
		return outcome{}
	}
	if null {
		return literal(truthNull)
	}
	if len(items) == 0 {
		return literal(truthFalse)
	}
	if l.null {
		return literal(truthNull)
	}
	a, ok := match.ParseDatum(c.left.class, []byte(l.text))
	if !ok {
		return outcome{}
	}
	found := literal(truthFalse)
	for _, it := range items {
		if it.null {
			found = literal(truthNull)
			continue
		}
		b, ok := match.ParseDatum(c.left.class, []byte(it.text))
		if !ok {
			return outcome{}
		}
		if a == b {
			return literal(truthTrue)
		}
	}
	return found
}
