package schema

// node is a part of a permission's expression and where it stands.
type node struct {
	op       operator
	children []*node
	name     string // of opRef, and the left side of opArrow
	target   string // of opArrow
	arrow    ArrowKind
	depth    int // of the tree from here down
	span
}

type operator uint8

const (
	opRef operator = iota
	opArrow
	opNil
	opSelf
	opUnion
	opIntersection
	opExclusion
)

// levels are the binary operators from the loosest to the tightest: union binds
// tightest and exclusion loosest, so a - b + c is a - (b + c), and a + b & c is
// (a + b) & c.
var levels = []struct {
	token tokenKind
	op    operator
}{{tokenMinus, opExclusion}, {tokenAnd, opIntersection}, {tokenPlus, opUnion}}

// expression reads an expression that stands within a number of parentheses.
func (p *parser) expression(parens int) *node { return p.binary(0, parens) }

func (p *parser) binary(level, parens int) *node {
	if level == len(levels) {
		return p.operand(parens)
	}
	left := p.binary(level+1, parens)
	for p.tok.kind == levels[level].token {
		p.advance()
		left = p.combine(levels[level].op, left, p.binary(level+1, parens))
	}
	return left
}

// combine joins two expressions. Unions of unions are one union, and so are
// intersections; exclusions are not.
func (p *parser) combine(op operator, left, right *node) *node {
	n := &node{op: op, span: left.to(right.span)}
	if op != opExclusion && left.op == op {
		// The left side grows in place: a long chain is read in linear time.
		n.children, n.depth = left.children, left.depth-1
	} else {
		n.children, n.depth = []*node{left}, left.depth
	}
	if op != opExclusion && right.op == op {
		n.children = append(n.children, right.children...)
		n.depth = max(n.depth, right.depth-1)
	} else {
		n.children = append(n.children, right)
		n.depth = max(n.depth, right.depth)
	}
	n.depth++
	if n.depth > maxDepth {
		p.fail(right.span, "the expression is nested deeper than %d here: make permissions of its parts", maxDepth)
	}
	return n
}

func (p *parser) operand(parens int) *node {
	at := p.tok.span
	switch word := p.word(); {
	case p.tok.kind == tokenOpen:
		if parens == maxDepth {
			p.fail(at, "more than %d parentheses are open here: make permissions of the expression's parts", maxDepth)
		}
		p.advance()
		n := p.expression(parens + 1)
		end := p.take(tokenClose, "an expression that begins with ( ends with )")
		if len(n.children) > 0 {
			n.span = at.to(end.span)
		}
		return n
	case word == "nil":
		p.advance()
		return &node{op: opNil, span: at}
	case word == useSelf && p.file.uses[useSelf]:
		p.advance()
		return &node{op: opSelf, span: at}
	}
	n := p.name("a relation or permission, or nil")
	switch {
	case p.accept(tokenArrow):
		return p.arrow(n, ArrowPlain, p.name("the relation or permission that the arrow leads to"))
	case p.accept(tokenDot):
		kind := ArrowAny
		switch function := p.name("a function, any or all"); function.text {
		case "any":
		case "all":
			kind = ArrowAll
		default:
			p.fail(function.span, "%q is no function: there are any and all, as in `parent.all(view)`", function.text)
		}
		p.take(tokenOpen, "any and all take a relation or permission in parentheses, as in `parent.all(view)`")
		target := p.name("a relation or permission")
		end := p.take(tokenClose, "any and all take one name")
		target.span = target.to(end.span)
		return p.arrow(n, kind, target)
	}
	return &node{op: opRef, name: n.text, span: n.span}
}

func (p *parser) arrow(left named, kind ArrowKind, target named) *node {
	n := &node{op: opArrow, name: left.text, arrow: kind, target: target.text, span: left.to(target.span)}
	if p.tok.kind == tokenArrow || p.tok.kind == tokenDot {
		p.fail(n.to(p.tok.span), "an arrow leads one step: give the definition there a permission of its own for the next one")
	}
	return n
}

// lower is the expression without where it stands.
func (n *node) lower() Expr {
	switch n.op {
	case opRef:
		return Ref{n.name}
	case opArrow:
		return Arrow{Relation: n.name, Kind: n.arrow, Target: n.target}
	case opNil:
		return Nil{}
	case opSelf:
		return Self{}
	case opExclusion:
		return Exclusion{Base: n.children[0].lower(), Subtracted: n.children[1].lower()}
	}
	children := make([]Expr, len(n.children))
	for i, c := range n.children {
		children[i] = c.lower()
	}
	if n.op == opUnion {
		return Union{children}
	}
	return Intersection{children}
}

// walk calls f with every operand.
func (n *node) walk(f func(*node)) {
	if len(n.children) == 0 {
		f(n)
	}
	for _, c := range n.children {
		c.walk(f)
	}
}
