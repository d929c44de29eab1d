package query

// filter is a WHERE or ON clause with the references that it filters: a row of
// one of them for which the clause is not true takes no part in the query.
type filter struct {
	parts []part // joined by AND
	// below are the tables of the clause's own FROM, by index: when the clause
	// can hold for no row, none of theirs takes part.
	below []int
}

// part is one conjunct of a filter.
type part struct {
	cond *condition
	// exact is the reference of which the part says something that tests can say
	// in full, for some parameters at least; or -1.
	exact int
}

// filters compiles the clauses of all levels.
func (a *analysis) filters() []filter {
	var out []filter
	for _, l := range a.levels {
		if l.query == nil {
			continue
		}
		// The scopes of a level before its conditions: a level around it may
		// look through it.
		l.top = map[int]bool{}
		if jt := l.query.Child("jointree"); jt != nil {
			for _, item := range jt.Nodes("fromlist") {
				for n, nullable := range joined(item, nil) {
					l.top[n] = nullable
				}
			}
		}
	}
	for _, l := range a.levels {
		if l.query == nil {
			continue
		}
		jt := l.query.Child("jointree")
		if jt == nil {
			continue
		}
		visit := func(entries map[int]bool, quals *node) {
			if quals != nil {
				out = append(out, a.filter(scope{l, entries}, quals))
			}
		}
		for _, item := range jt.Nodes("fromlist") {
			joined(item, visit)
		}
		visit(l.top, jt.Child("quals"))
	}
	return out
}

func (a *analysis) filter(sc scope, quals *node) filter {
	var f filter
	for _, n := range conjuncts(quals) {
		p := part{cond: a.condition(sc, n), exact: -1}
		if ref := p.cond.subject(); ref >= 0 && p.cond.testable() {
			p.exact = ref
			for m, times := range a.inside[conjunct{sc.level, n}] {
				a.tested[m] += times
			}
		}
		f.parts = append(f.parts, p)
	}
	for n := range sc.entries {
		f.below = appendBelow(f.below, sc.level, n)
	}
	return f
}

// appendBelow adds the tables of one entry of FROM: itself, or those in the
// FROM of the view or subquery that it is.
func appendBelow(out []int, l *level, number int) []int {
	e := l.lookup(number)
	switch {
	case e == nil:
	case e.ref != nil:
		out = append(out, e.ref.index)
	case e.sub != nil:
		for n := range e.sub.top {
			out = appendBelow(out, e.sub, n)
		}
	}
	return out
}

// joined returns the entries below one item of FROM, and whether an outer join
// below it can replace them by nulls. It calls visit with each ON clause and the
// entries that it filters:
//
//   - an inner join's clause filters both sides;
//   - a left join's filters the right side only: a row of the left one that
//     fails it stays, with nulls beside it. In turn a right join's the left;
//   - a full join's filters nothing.
func joined(item *node, visit func(entries map[int]bool, quals *node)) map[int]bool {
	switch item.Tag {
	case "RANGETBLREF":
		return map[int]bool{item.Int("rtindex"): false}
	case "JOINEXPR":
	default:
		return nil
	}
	var left, right map[int]bool
	if n := item.Child("larg"); n != nil {
		left = joined(n, visit)
	}
	if n := item.Child("rarg"); n != nil {
		right = joined(n, visit)
	}
	all := map[int]bool{}
	merge := func(side map[int]bool, nullable bool) {
		for n, already := range side {
			all[n] = already || nullable
		}
	}
	clause := func(entries map[int]bool) {
		if visit != nil {
			visit(entries, item.Child("quals"))
		}
	}
	switch item.Int("jointype") {
	case joinInner:
		merge(left, false)
		merge(right, false)
		clause(all)
	case joinLeft:
		merge(left, false)
		merge(right, true)
		clause(right)
	case joinRight:
		merge(left, true)
		merge(right, false)
		clause(left)
	default:
		merge(left, true)
		merge(right, true)
	}
	return all
}

// resolve finds the base table column behind a variable of a level, looking
// through joins, views and simple subqueries. It returns nil where the variable
// is out of the scope's reach or does not stand for one column.
func (a *analysis) resolve(l *level, entries map[int]bool, varno, attno int) *columnRef {
	e := l.lookup(varno)
	if e == nil || attno <= 0 {
		return nil
	}
	switch e.kind {
	case rteJoin:
		return a.resolveIn(l, entries, e.node.List("joinaliasvars"), attno)
	case rteGroup:
		return a.resolveIn(l, entries, e.node.List("groupexprs"), attno)
	}
	nullable, inScope := entries[varno]
	if !inScope {
		return nil
	}
	if e.ref != nil {
		c := e.ref.rel.column(attno)
		if c == nil || c.generated || e.ref.loose {
			return nil
		}
		return &columnRef{
			ref: e.ref.index, name: c.name, typ: c.typ, base: a.srv.base(c.typ).oid,
			class: a.class(c.typ), nullable: nullable,
		}
	}
	sub := e.sub
	if e.kind == rteCTE {
		if at := l.up(e.node.Int("ctelevelsup")); at != nil && !e.node.Bool("self_reference") {
			sub = at.ctes[e.node.Str("ctename")]
		}
	}
	if sub == nil {
		return nil
	}
	expr := sub.passes(attno)
	if expr == nil {
		return nil
	}
	col := a.resolve(sub, sub.top, expr.Int("varno"), expr.Int("varattno"))
	if col != nil {
		col.nullable = col.nullable || nullable
	}
	return col
}

func (a *analysis) resolveIn(l *level, entries map[int]bool, vars []nodeValue, attno int) *columnRef {
	if attno > len(vars) {
		return nil
	}
	v := vars[attno-1].Node
	if v == nil || v.Tag != "VAR" || v.Int("varlevelsup") != 0 {
		return nil
	}
	return a.resolve(l, entries, v.Int("varno"), v.Int("varattno"))
}

// passes returns the variable behind an output column, if a row whose value
// fails a condition on that column can have no other effect on the level's
// output. It must not limit, number or combine rows beyond the column.
func (l *level) passes(attno int) *node {
	q := l.query
	if q == nil || q.Child("setOperations") != nil || q.Child("limitCount") != nil || q.Child("limitOffset") != nil ||
		q.Bool("hasWindowFuncs") || q.Bool("hasDistinctOn") || len(q.List("groupingSets")) > 0 {
		return nil
	}
	for _, te := range q.Nodes("targetList") {
		if te.Int("resno") != attno || te.Bool("resjunk") {
			continue
		}
		expr := te.Child("expr")
		if expr == nil || expr.Tag != "VAR" || expr.Int("varlevelsup") != 0 {
			return nil
		}
		grouped := q.Bool("hasAggs") || len(q.List("groupClause")) > 0 || q.Child("havingQual") != nil
		if grouped && !groups(q, te.Int("ressortgroupref")) {
			return nil
		}
		return expr
	}
	return nil
}

// groups reports whether GROUP BY has the target entry with a reference.
func groups(q *node, ref int) bool {
	if ref == 0 {
		return false
	}
	for _, g := range q.Nodes("groupClause") {
		if g.Int("tleSortGroupRef") == ref {
			return true
		}
	}
	return false
}
