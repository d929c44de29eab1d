package query

// The kinds of nested queries in expressions (SubLinkType).
const (
	sublinkExists = 0
	sublinkAny    = 2
	sublinkValue  = 4
	sublinkArray  = 6
)

// nested returns the level of an expression that is a nested query of a kind.
func (l *level) nested(n *node, kind int) *level {
	if n == nil || n.Tag != "SUBLINK" || n.Int("subLinkType") != kind {
		return nil
	}
	return l.subs[n.Child("subselect")]
}

// source finds a column of a base table that has all values which a variable
// can have, apart from null. Unlike resolve it may look through a query that
// limits or combines rows: what a row of that table has to pass to be seen there
// is not the variable's business.
func (a *analysis) source(l *level, varno, attno int) *columnRef {
	e := l.lookup(varno)
	if e == nil || attno <= 0 {
		return nil
	}
	switch e.kind {
	case rteJoin:
		return a.sourceIn(l, e.node.List("joinaliasvars"), attno)
	case rteGroup:
		return a.sourceIn(l, e.node.List("groupexprs"), attno)
	}
	if e.ref != nil {
		return a.resolve(l, map[int]bool{varno: false}, varno, attno)
	}
	sub, shared := e.sub, false
	if e.kind == rteCTE {
		if at := l.up(e.node.Int("ctelevelsup")); at != nil && !e.node.Bool("self_reference") {
			name := e.node.Str("ctename")
			sub, shared = at.with[name], at.ctes[name] == nil
		}
	}
	if sub == nil {
		return nil
	}
	col := a.output(sub, attno)
	if col != nil {
		col.shared = col.shared || shared
	}
	return col
}

func (a *analysis) sourceIn(l *level, vars []nodeValue, attno int) *columnRef {
	if attno > len(vars) {
		return nil
	}
	v := vars[attno-1].Node
	if v == nil || v.Tag != "VAR" || v.Int("varlevelsup") != 0 {
		return nil
	}
	return a.source(l, v.Int("varno"), v.Int("varattno"))
}

// output finds the source of an output column.
func (a *analysis) output(l *level, resno int) *columnRef {
	if l.query == nil || l.query.Child("setOperations") != nil {
		return nil
	}
	for _, te := range l.query.Nodes("targetList") {
		if te.Int("resno") != resno || te.Bool("resjunk") {
			continue
		}
		if v := a.variableOf(te.Child("expr")); v != nil && v.Int("varlevelsup") == 0 {
			return a.source(l, v.Int("varno"), v.Int("varattno"))
		}
	}
	return nil
}

// sublink compiles EXISTS and IN over a query. What follows of it when it is
// true is told of the rows around it, and for IN of its own rows: others than
// those with one of the values asked for make a difference only between false
// and null. For EXISTS the query's own clause says that.
func (a *analysis) sublink(sc scope, n *node) *condition {
	c := &condition{kind: condAnd, args: []*condition{unknown()}}
	if sub := sc.level.nested(n, sublinkAny); sub != nil {
		for _, op := range conjuncts(n.Child("testexpr")) {
			args := op.Nodes("args")
			if op.Tag != "OPEXPR" || len(args) != 2 || a.strategy(op) != btreeEqual {
				continue
			}
			for i, arg := range args {
				if resno := a.sublinkColumn(arg); resno > 0 {
					c.args = append(c.args, a.among(sc, args[1-i], sub, resno))
				}
			}
		}
	}
	if sub := sc.level.nested(n, sublinkExists); sub != nil && sub.query != nil {
		c.args = append(c.args, a.correlations(sc, sub)...)
	}
	return c
}

// sublinkColumn returns which output column of the nested query an operand of
// its test is, or 0.
func (a *analysis) sublinkColumn(n *node) int {
	for n != nil && n.Tag == "RELABELTYPE" {
		arg := n.Child("arg")
		if !sameText(a.srv.base(resultType(arg)).oid, a.srv.base(n.OID("resulttype")).oid) {
			return 0
		}
		n = arg
	}
	if n == nil || n.Tag != "PARAM" || n.Int("paramkind") != 2 {
		return 0
	}
	return n.Int("paramid")
}

// among compiles x = ANY of an output column of a nested query.
func (a *analysis) among(sc scope, x *node, sub *level, resno int) *condition {
	var inner *columnRef
	filters := false
	if expr := sub.passes(resno); expr != nil {
		inner = a.resolve(sub, sub.top, expr.Int("varno"), expr.Int("varattno"))
		filters = inner != nil
	}
	if s := a.scalar(sc.level.frame, x); s != nil {
		return a.compare(inner, btreeEqual, s)
	}
	if inner == nil {
		inner = a.output(sub, resno)
	}
	c := &condition{kind: condAmong, other: inner, filtersOther: filters}
	c.col, c.filtersCol = a.anyColumn(sc, x)
	if !c.joins() {
		return unknown()
	}
	return c
}

// correlations compiles what EXISTS says of the rows around it: a column that
// has to be equal to one of the query's rows has one of their values. The query
// may do whatever leaves no row where there was none.
func (a *analysis) correlations(sc scope, sub *level) []*condition {
	q := sub.query
	grouped := len(q.List("groupClause")) > 0
	if q.Child("setOperations") != nil || len(q.List("groupingSets")) > 0 ||
		!grouped && (q.Bool("hasAggs") || q.Child("havingQual") != nil) {
		return nil
	}
	jt := q.Child("jointree")
	if jt == nil {
		return nil
	}
	var out []*condition
	for _, op := range conjuncts(jt.Child("quals")) {
		args := op.Nodes("args")
		if op.Tag != "OPEXPR" || len(args) != 2 || a.strategy(op) != btreeEqual {
			continue
		}
		for i := range args {
			outer, inner := a.variableOf(args[i]), a.variableOf(args[1-i])
			if outer == nil || inner == nil || outer.Int("varlevelsup") != 1 || inner.Int("varlevelsup") != 0 {
				continue
			}
			c := &condition{
				kind: condAmong, filtersCol: true,
				col:   a.resolve(sc.level, sc.entries, outer.Int("varno"), outer.Int("varattno")),
				other: a.source(sub, inner.Int("varno"), inner.Int("varattno")),
			}
			if c.joins() {
				out = append(out, c)
			}
		}
	}
	return out
}
