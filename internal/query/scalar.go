package query

import (
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/match"
)

// scalar is an expression that holds no column and whose value is therefore
// decided by the constants and parameters in it. A nil scalar is one that
// tidemark does not follow.
type scalar struct {
	kind     scalarKind
	typ      uint32      // base type of the value
	class    match.Class // of typ, or of the elements of an array
	elem     uint32      // base type of the elements of an array
	item     item        // constant
	items    []item      // constant array
	param    int         // from 0
	args     []*scalar   // coalesce, array
	midnight bool        // cast: a date becomes a timestamp
}

type scalarKind byte

const (
	scalarConst scalarKind = iota
	scalarConstArray
	scalarParam
	scalarCoalesce
	scalarArray // ARRAY[...] of args
	scalarCast  // args[0] with another class
	scalarConcat
)

// item is one value in text form, or null.
type item struct {
	null bool
	text string
}

// argument is the value of one parameter: text form, and elements where the
// type is an array.
type argument struct {
	item
	items []item
}

// value evaluates a scalar. known is false when tidemark cannot.
func (s *scalar) value(args []argument) (v item, known bool) {
	if s == nil {
		return item{}, false
	}
	switch s.kind {
	case scalarConst:
		return s.item, true
	case scalarParam:
		if s.param < len(args) && (s.elem == 0 || args[s.param].null) {
			return args[s.param].item, true
		}
	case scalarConstArray, scalarArray:
		return item{}, false
	case scalarCoalesce:
		for _, a := range s.args {
			v, known := a.value(args)
			if !known || !v.null {
				return v, known
			}
		}
		return item{null: true}, true
	case scalarConcat:
		var all item
		for _, a := range s.args {
			v, known := a.value(args)
			if !known || v.null {
				return v, known
			}
			all.text += v.text
		}
		return all, true
	case scalarCast:
		v, known := s.args[0].value(args)
		if known && !v.null && s.midnight && !strings.Contains(v.text, "infinity") {
			v.text += " 00:00:00"
		}
		return v, known
	}
	return item{}, false
}

// isNull reports whether a scalar is null; an array is known not to be one.
func (s *scalar) isNull(args []argument) (null, known bool) {
	if s == nil {
		return false, false
	}
	switch s.kind {
	case scalarConstArray, scalarArray:
		return false, true
	case scalarParam:
		if s.param < len(args) {
			return args[s.param].null, true
		}
	}
	v, known := s.value(args)
	return v.null, known
}

// list evaluates an array. A null array has no elements and is null.
func (s *scalar) list(args []argument) (items []item, null, known bool) {
	if s == nil {
		return nil, false, false
	}
	switch s.kind {
	case scalarConst:
		return nil, s.item.null, s.item.null
	case scalarConstArray:
		return s.items, false, true
	case scalarParam:
		if s.param >= len(args) || s.elem == 0 {
			return nil, false, false
		}
		return args[s.param].items, args[s.param].null, true
	case scalarArray:
		for _, a := range s.args {
			v, known := a.value(args)
			if !known {
				return nil, false, false
			}
			items = append(items, v)
		}
		return items, false, true
	case scalarCoalesce:
		for _, a := range s.args {
			items, null, known := a.list(args)
			if !known || !null {
				return items, null, known
			}
		}
		return nil, true, true
	case scalarCast:
		return s.args[0].list(args)
	}
	return nil, false, false
}

// class returns the class of a type, enums and domains included.
func (a *analysis) class(oid uint32) match.Class {
	t := a.srv.base(oid)
	if t.kind == "e" {
		return match.ClassText
	}
	return match.ClassOf(catalog.OID(t.oid))
}

// typed fills in what follows from the type of a scalar.
func (a *analysis) typed(s *scalar, oid uint32) *scalar {
	t := a.srv.base(oid)
	s.typ, s.class = t.oid, a.class(oid)
	if t.element != 0 {
		s.elem, s.class = a.srv.base(t.element).oid, a.class(t.element)
	}
	return s
}

// scalar compiles an expression, or returns nil.
func (a *analysis) scalar(f *frame, n *node) *scalar {
	if n == nil {
		return nil
	}
	switch n.Tag {
	case "CONST":
		return a.constant(n)
	case "PARAM":
		i := n.Int("paramid") - 1
		if n.Int("paramkind") != 0 || i < 0 || i >= len(f.params) {
			return nil
		}
		// A function's argument is of the declared type; another type here
		// means a coercion that is not followed.
		if s := f.params[i]; s != nil && s.typ == a.srv.base(n.OID("paramtype")).oid {
			return s
		}
	case "NAMEDARGEXPR":
		return a.scalar(f, n.Child("arg"))
	case "COALESCEEXPR":
		return a.scalars(f, n, "args", scalarCoalesce, n.OID("coalescetype"))
	case "ARRAYEXPR":
		if !n.Bool("multidims") {
			return a.scalars(f, n, "elements", scalarArray, n.OID("array_typeid"))
		}
	case "RELABELTYPE":
		s := a.scalar(f, n.Child("arg"))
		if s != nil && sameText(s.typ, a.srv.base(n.OID("resulttype")).oid) {
			return a.cast(s, n.OID("resulttype"))
		}
	case "COERCETODOMAIN":
		// A value that the domain refuses fails the query.
		if s := a.scalar(f, n.Child("arg")); s != nil && s.typ == a.srv.base(n.OID("resulttype")).oid {
			return s
		}
	case "ARRAYCOERCEEXPR":
		return a.arrayCoercion(f, n)
	case "FUNCEXPR":
		return a.castFunction(f, n)
	case "OPEXPR":
		if op := a.srv.operator(n.OID("opno")); op.builtin("||", oidText, oidText) {
			s := a.scalars(f, n, "args", scalarConcat, oidText)
			if !slices.Contains(s.args, nil) {
				return s
			}
		}
	}
	return nil
}

func (a *analysis) scalars(f *frame, n *node, field string, kind scalarKind, typ uint32) *scalar {
	s := a.typed(&scalar{kind: kind}, typ)
	for _, arg := range n.Nodes(field) {
		s.args = append(s.args, a.scalar(f, arg))
	}
	return s
}

func (a *analysis) cast(s *scalar, typ uint32) *scalar {
	return a.typed(&scalar{kind: scalarCast, args: []*scalar{s}}, typ)
}

// sameText reports types that share their text form and what it means: a
// binary coercion between them changes nothing.
func sameText(from, to uint32) bool {
	return from == to || isText(from) && isText(to)
}

func isText(oid uint32) bool { return oid == oidText || oid == oidVarchar }

// arrayCoercion follows the coercion of every element between text types.
func (a *analysis) arrayCoercion(f *frame, n *node) *scalar {
	s, elem := a.scalar(f, n.Child("arg")), n.Child("elemexpr")
	to := a.srv.base(n.OID("resulttype"))
	if s == nil || elem == nil || elem.Tag != "RELABELTYPE" || !sameText(s.elem, a.srv.base(to.element).oid) {
		return nil
	}
	if arg := elem.Child("arg"); arg == nil || arg.Tag != "CASETESTEXPR" {
		return nil
	}
	return a.cast(s, n.OID("resulttype"))
}

// castFunctions are the built-in casts that keep a value, by function, and
// those of the integer types are exact because Postgres fails on overflow.
func castFunction(oid uint32) (midnight, ok bool) {
	switch oid {
	case 313, 314, 480, 481, 714, 754, // between int2, int4 and int8
		1740, 1781, 1782, // integers to numeric
		235, 316, 482, // integers to float8
		1746: // numeric to float8
		return false, true
	case 1174, 2024: // date to timestamptz, in UTC, and to timestamp
		return true, true
	}
	return false, false
}

func (a *analysis) castFunction(f *frame, n *node) *scalar {
	midnight, ok := castFunction(n.OID("funcid"))
	args := n.Nodes("args")
	if !ok || len(args) != 1 {
		return nil
	}
	s := a.scalar(f, args[0])
	if s == nil || s.elem != 0 {
		return nil
	}
	c := a.cast(s, n.OID("funcresulttype"))
	c.midnight = midnight
	return c
}

// uniqueData returns the values of a list without repetitions.
func uniqueData(in []match.Datum) []match.Datum {
	out := in[:0]
	for _, d := range in {
		if !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return out
}
