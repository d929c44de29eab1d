package query

import "strconv"

// What Postgres may refuse of the parameters alone, whatever rows there are.

// limit is the LIMIT or OFFSET of the statement itself, as far as constants and
// parameters decide it: a scalar, or what COALESCE, LEAST and GREATEST choose.
type limit struct {
	kind   limitKind
	scalar *scalar
	args   []*limit
}

type limitKind byte

const (
	limitScalar limitKind = iota
	limitCoalesce
	limitLeast
	limitGreatest
)

// limits compiles what Postgres evaluates before any row, and refuses if it is
// negative.
func (a *analysis) limits() []*limit {
	if len(a.levels) == 0 || a.levels[0].query == nil {
		return nil
	}
	l := a.levels[0]
	var out []*limit
	for _, name := range []string{"limitCount", "limitOffset"} {
		if n := l.query.Child(name); n != nil {
			out = append(out, a.limit(l.frame, n))
		}
	}
	return out
}

func (a *analysis) limit(f *frame, n *node) *limit {
	l := &limit{}
	switch n.Tag {
	case "COALESCEEXPR":
		l.kind = limitCoalesce
	case "MINMAXEXPR":
		l.kind = limitGreatest
		if n.Int("op") == 1 {
			l.kind = limitLeast
		}
	case "FUNCEXPR": // a cast to bigint
		if args := n.Nodes("args"); len(args) == 1 {
			if _, ok := castFunction(n.OID("funcid")); ok {
				return a.limit(f, args[0])
			}
		}
		return l
	default:
		l.scalar = a.scalar(f, n)
		return l
	}
	for _, arg := range n.Nodes("args") {
		l.args = append(l.args, a.limit(f, arg))
	}
	return l
}

// value evaluates a limit, and returns which parameter says so, or -1.
func (l *limit) value(args []argument) (n int64, null bool, param int, known bool) {
	if l.kind == limitScalar {
		v, known := l.scalar.value(args)
		if !known {
			return 0, false, -1, false
		}
		if param = -1; l.scalar.kind == scalarParam {
			param = l.scalar.param
		}
		if v.null {
			return 0, true, param, true
		}
		n, err := strconv.ParseInt(v.text, 10, 64)
		return n, false, param, err == nil
	}
	null, param = true, -1
	for _, arg := range l.args {
		v, none, by, known := arg.value(args)
		switch {
		case !known:
			return 0, false, -1, false
		case none:
			continue
		case null || l.kind == limitLeast && v < n || l.kind == limitGreatest && v > n:
			n, null, param = v, false, by
		}
		if l.kind == limitCoalesce {
			break
		}
	}
	return n, null, param, true
}

// NegativeLimit reports whether the parameters make the statement's own LIMIT or
// OFFSET negative, which Postgres refuses whatever rows there are. The name is
// that of the parameter, if there is one.
func (b *Binding) NegativeLimit() (name string, negative bool) {
	for _, l := range b.Endpoint.limits {
		n, null, param, known := l.value(b.args)
		if known && !null && n < 0 {
			if param >= 0 {
				name = b.Endpoint.Params[param].Name
			}
			return name, true
		}
	}
	return "", false
}

// coercion says that the statement turns a scalar into a type whose input may
// refuse it: a domain, or any type from text.
type coercion struct {
	scalar *scalar
	typ    uint32
}

func (a *analysis) coercion(f *frame, n *node) {
	s := a.scalar(f, n.Child("arg"))
	if s == nil || s.elem != 0 || n.Tag == "COERCEVIAIO" && !isText(s.typ) {
		return
	}
	a.coercions = append(a.coercions, coercion{s, n.OID("resulttype")})
}

// Coerced is a value that the statement makes of parameters alone.
type Coerced struct {
	Type uint32 // what it is made
	Text []byte // nil is NULL
	// Param is the name of the parameter that is the value, or "".
	Param string
}

// Coerced returns the values that the statement turns into other types, where
// parameters and constants decide them.
func (b *Binding) Coerced() []Coerced {
	var out []Coerced
	for _, c := range b.Endpoint.coercions {
		v, known := c.scalar.value(b.args)
		if !known {
			continue
		}
		co := Coerced{Type: c.typ}
		if !v.null {
			co.Text = []byte(v.text)
		}
		if c.scalar.kind == scalarParam {
			co.Param = b.Endpoint.Params[c.scalar.param].Name
		}
		out = append(out, co)
	}
	return out
}
