package query

import (
	"strings"

	"github.com/tidemarkdb/tidemark/internal/match"
)

// member resolves what ->> and #>> give of a jsonb column: text.
func (a *analysis) member(sc scope, n *node) *columnRef {
	path, n := a.memberPath(sc.level.frame, n, true)
	if n == nil || n.Int("varlevelsup") != 0 {
		return nil
	}
	col := a.resolve(sc.level, sc.entries, n.Int("varno"), n.Int("varattno"))
	if col == nil || col.base != oidJSONB || col.part.Kind != match.Whole {
		return nil
	}
	of := *col
	of.part = match.Part{Kind: match.Member, Path: path}
	of.base, of.class = oidText, match.ClassText
	return &of
}

// memberPath returns the names along which an expression goes into a variable.
// The last step gives text, those before it jsonb.
func (a *analysis) memberPath(f *frame, n *node, last bool) (path string, variable *node) {
	if n == nil || n.Tag != "OPEXPR" {
		return "", nil
	}
	op, args := a.srv.operator(n.OID("opno")), n.Nodes("args")
	one, many := "->", "#>"
	if last {
		one, many = "->>", "#>>"
	}
	const oidTextArray = 1009
	if len(args) != 2 || !op.builtin(one, oidJSONB, oidText) && !op.builtin(many, oidJSONB, oidTextArray) {
		return "", nil
	}
	s := a.scalar(f, args[1])
	switch {
	case s == nil:
		return "", nil
	case s.kind == scalarConst && isMember(s.item):
		path = s.item.text + "\x00"
	case s.kind == scalarConstArray && len(s.items) > 0:
		for _, it := range s.items {
			if !isMember(it) {
				return "", nil
			}
			path += it.text + "\x00"
		}
	default:
		return "", nil
	}
	if args[0].Tag == "VAR" {
		return path, args[0]
	}
	before, variable := a.memberPath(f, args[0], false)
	return before + path, variable
}

// isMember reports a name that is one for ->> and #>> alike: for a number, one of
// them goes into arrays.
func isMember(it item) bool {
	return !it.null && (it.text == "" || strings.Trim(it.text, "+- \t\n\v\f\r0123456789") != "")
}

// arrayColumn resolves an array column whose elements are of a class.
func (a *analysis) arrayColumn(sc scope, n *node) *columnRef {
	if n != nil && n.Tag == "RELABELTYPE" {
		arg := n.Child("arg")
		if !sameText(a.srv.base(a.srv.base(resultType(arg)).element).oid, a.srv.base(a.srv.base(n.OID("resulttype")).element).oid) {
			return nil
		}
		n = arg
	}
	if n == nil || n.Tag != "VAR" || n.Int("varlevelsup") != 0 {
		return nil
	}
	col := a.resolve(sc.level, sc.entries, n.Int("varno"), n.Int("varattno"))
	if col == nil || col.part.Kind != match.Whole {
		return nil
	}
	elem := a.srv.base(col.typ).element
	if elem == 0 {
		return nil
	}
	of := *col
	of.part = match.Part{Kind: match.Element}
	of.base, of.class = a.srv.base(elem).oid, a.class(elem)
	return &of
}

// element compiles x = ANY (column).
func (a *analysis) element(sc scope, x, list *node) *condition {
	s, col := a.scalar(sc.level.frame, x), a.arrayColumn(sc, list)
	if s == nil || s.elem != 0 || col == nil || !compares(col.class, col.base, s.class, s.typ, btreeEqual) {
		return unknown()
	}
	return &condition{kind: condElement, col: col, right: s}
}

// containment compiles the operators of arrays and of the beginnings of texts,
// or returns nil.
func (a *analysis) containment(sc scope, n *node) *condition {
	op, args := a.srv.operator(n.OID("opno")), n.Nodes("args")
	if len(args) != 2 || op.oid >= firstUserOID || !a.srv.deterministic(n.OID("inputcollid")) {
		return nil
	}
	switch op.name {
	case "@>", "&&", "<@":
		kind, left, right := condContains, args[0], args[1]
		switch {
		case op.name == "<@":
			left, right = right, left
		case op.name == "&&":
			kind = condOverlaps
			if a.scalar(sc.level.frame, left) != nil {
				left, right = right, left
			}
		}
		s, col := a.scalar(sc.level.frame, right), a.arrayColumn(sc, left)
		if s != nil && col != nil && s.elem != 0 && compares(col.class, col.base, s.class, s.elem, btreeEqual) {
			return &condition{kind: kind, col: col, right: s}
		}
	case "~~", "^@":
		if op.left == oidText && op.right == oidText {
			kind := condLike
			if op.name == "^@" {
				kind = condStarts
			}
			return a.prefix(sc, kind, args[0], args[1])
		}
	}
	return nil
}

// foldElements reads @> as one test for each element, and && as one for any.
func (c *condition) foldElements(args []argument) outcome {
	items, null, known := c.right.list(args)
	switch {
	case !known:
		return outcome{}
	case null:
		return literal(truthNull)
	}
	var values []item
	for _, it := range items {
		switch {
		case !it.null:
			values = append(values, it)
		case c.kind == condContains:
			// No array contains a null. One that is null itself makes it null, which
			// is as good as false here, but not below a negation.
			return outcome{kind: condIsTrue, args: []outcome{literal(truthFalse)}}
		}
	}
	if c.kind == condOverlaps {
		if len(values) == 0 {
			return outcome{kind: condIsTrue, args: []outcome{literal(truthFalse)}}
		}
		o := test(c.col, match.Test{Op: match.In}, values...)
		if o.kind == condCompare {
			o.test = in(o.test, o.test.Values)
		}
		return o
	}
	all := outcome{kind: condAnd}
	for _, v := range values {
		all.args = append(all.args, test(c.col, match.Test{Op: match.Equal}, v))
	}
	if len(all.args) == 0 {
		return outcome{} // whatever is not null
	}
	return all
}

// startsWith compiles starts_with(column, text), or returns nil.
func (a *analysis) startsWith(sc scope, n *node) *condition {
	fn, args := a.srv.function(n.OID("funcid")), n.Nodes("args")
	if !fn.builtin() || fn.name != "starts_with" || len(args) != 2 || !a.srv.deterministic(n.OID("inputcollid")) {
		return nil
	}
	return a.prefix(sc, condStarts, args[0], args[1])
}

func (a *analysis) prefix(sc scope, kind conditionKind, column, pattern *node) *condition {
	s, col := a.scalar(sc.level.frame, pattern), a.column(sc, column)
	if s == nil || col == nil || s.elem != 0 || s.class != match.ClassText || !isText(col.base) {
		return nil
	}
	return &condition{kind: kind, col: col, right: s}
}

// foldPrefix makes a range of bytes of the texts that begin alike.
func (c *condition) foldPrefix(args []argument) outcome {
	v, known := c.right.value(args)
	switch {
	case !known:
		return outcome{}
	case v.null:
		return literal(truthNull)
	}
	begin, rest := v.text, "%"
	if c.kind == condLike {
		var ok bool
		if begin, rest, ok = likePrefix(v.text); !ok {
			return outcome{}
		}
	}
	switch {
	case rest == "":
		return test(c.col, match.Test{Op: match.Equal}, item{text: begin})
	case begin == "":
		o := test(c.col, match.Test{Op: match.NotNull})
		o.implied = true
		return o
	}
	lo, _ := match.ParseDatum(match.ClassText, []byte(begin))
	t := match.Test{Op: match.Range, Lo: match.Bound{Set: true, Inclusive: true, Value: lo}}
	if end, ok := textsBehind(begin); ok {
		hi, _ := match.ParseDatum(match.ClassText, []byte(end))
		t.Hi = match.Bound{Set: true, Value: hi}
	}
	o := test(c.col, t)
	o.implied = rest != "%" || !t.Hi.Set
	return o
}

// textsBehind returns the first text behind all that begin with one. No byte is
// 0xff in UTF-8.
func textsBehind(begin string) (string, bool) {
	if begin == "" || begin[len(begin)-1] == 0xff {
		return "", false
	}
	end := []byte(begin)
	end[len(end)-1]++
	return string(end), true
}

// likePrefix returns how a text that matches a pattern begins, and the pattern
// from its first wildcard on.
func likePrefix(pattern string) (begin, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '%', '_':
			return b.String(), pattern[i:], true
		case '\\':
			if i++; i == len(pattern) {
				return "", "", false // an error for most texts
			}
		}
		b.WriteByte(pattern[i])
	}
	return b.String(), "", true
}

// prefixes reports whether a pattern may be one text, or all that begin with one.
func (s *scalar) prefixes() bool {
	switch s.kind {
	case scalarConst:
		begin, rest, ok := likePrefix(s.item.text)
		return ok && (rest == "" || rest == "%" && begin != "")
	case scalarConcat:
		for i, arg := range s.args {
			last := i == len(s.args)-1
			if last && (arg.kind != scalarConst || arg.item.text != "%") || !last && !arg.prefixes() && arg.kind != scalarParam {
				return false
			}
		}
		return true
	}
	return false
}

// textRange compiles the order of texts where it is that of their bytes, or
// returns nil.
func (a *analysis) textRange(sc scope, n, column *node, strategy int, value *scalar) *condition {
	col := a.column(sc, column)
	if strategy == btreeEqual || col == nil || !isText(col.base) || value.elem != 0 || !isText(value.typ) || !a.srv.bytewise(n.OID("inputcollid")) {
		return nil
	}
	return &condition{kind: condCompare, col: col, strategy: strategy, right: value}
}
