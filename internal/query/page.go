package query

import (
	"slices"
	"strconv"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/patch"
)

// Variant says which statement computes an answer.
type Variant byte

// The variants.
const (
	// Plain is the endpoint's own statement.
	Plain Variant = iota
	// Followed is the statement with rows before and behind the page, for
	// answers that follow their rows without a query.
	Followed
	variants
)

// pages is what is known of the rows of an endpoint's result.
type pages struct {
	// casts are the types of the parameters for batched; nil where there is no
	// batch.
	casts  []string
	forms  [variants]form
	edge   *edgePlan
	follow *followPlan
}

// form is one variant of the statement.
type form struct {
	single, many string
	hidden       int
}

// edgePlan says which rows of one reference sort after the last row of a page.
// The reference's columns begin the ORDER BY, and every row that goes into the
// page takes its values of them from one row of the reference.
type edgePlan struct {
	ref  int
	cols []match.OrderColumn
	// notNull is how many of the columns, from the first, are never null.
	notNull int
	// then are columns of other references by which the page goes on after cols,
	// none of them ever null.
	then []thenColumn
	// types and casts are those of the columns that are never null, for
	// KeyStatement.
	types []uint32
	casts []string
	limit *scalar
}

// thenColumn is a column of another reference than that of the edge.
type thenColumn struct {
	ref int
	match.OrderColumn
}

// Statement returns the statement that computes an answer. Each row is one of
// the result: the row as JSON text, then HiddenColumns(v) more columns. The
// statement takes Binding.Args, of the types ParamTypes returns.
//
// With many it computes the answers of several bindings. Each parameter is a
// text[] with one element per binding (see ArrayText), and each row begins with
// the number of its binding, from 1; the rows of one binding are in order. It
// returns "" where that cannot be.
func (e *Endpoint) Statement(v Variant, many bool) string {
	f := e.pages.forms[v]
	switch {
	case many:
		return f.many
	case f.single == "":
		return e.FillSQL()
	}
	return f.single
}

// HiddenColumns returns how many columns of a variant follow the JSON text.
func (e *Endpoint) HiddenColumns(v Variant) int { return e.pages.forms[v].hidden }

// Placed is what the rows of a statement say of the answer.
type Placed struct {
	// From and To bound the rows that the answer shows.
	From, To int
	// Edge is the end of a full page, or nil.
	Edge *match.Edge
	// Args are the edge for KeyStatement, after Binding.Args; all nil without.
	Args [][]byte
}

// Place reads the rows of the binding's variant.
func (b *Binding) Place(rows []patch.Row) Placed {
	p := Placed{To: len(rows)}
	full, limited := 0, false
	if bound := b.bound(); bound != nil {
		if bound.Limit >= 0 {
			p.From = min(bound.Offset, len(rows))
			p.To = min(bound.Offset+bound.Limit, len(rows))
			full, limited = bound.Offset+bound.Limit+bound.Slack, true
		}
	} else if edge := b.Endpoint.pages.edge; edge != nil {
		full, limited = b.count(edge.limit)
	}
	if edge := b.Endpoint.pages.edge; edge != nil {
		p.Args = make([][]byte, edge.notNull+len(edge.then))
		if limited && full > 0 && len(rows) == full {
			p.Edge = edge.behind(rows[full-1].Hidden, p.Args)
		}
	}
	return p
}

// column returns the i-th of the columns that are never null.
func (e *edgePlan) column(i int) (ref int, c match.OrderColumn) {
	if i < e.notNull {
		return e.ref, e.cols[i]
	}
	t := e.then[i-e.notNull]
	return t.ref, t.OrderColumn
}

// behind returns the edge that a row makes, with the text of the values for
// KeyStatement, or nil where one of them is not known.
func (e *edgePlan) behind(row []change.Value, args [][]byte) *match.Edge {
	if len(row) < len(e.cols)+len(e.then) {
		return nil
	}
	edge := &match.Edge{Order: e.cols}
	for i, c := range e.cols {
		place, ok := match.PlaceOf(c, row[i])
		if !ok || i < e.notNull && place.Null {
			return nil
		}
		edge.Last = append(edge.Last, place)
	}
	for i := range args {
		if i >= e.notNull && row[i].Kind != change.Text {
			clear(args)
			return nil
		}
		args[i] = row[i].Text
	}
	return edge
}

// count evaluates a LIMIT or OFFSET. Null is -1: as if there were none.
func (b *Binding) count(s *scalar) (int, bool) {
	v, known := s.value(b.args)
	if !known || v.null {
		return -1, known
	}
	n, err := strconv.ParseInt(v.text, 10, 32)
	return int(n), err == nil && n >= 0
}

// pages finds out which further columns the statement can yield, and what they
// tell.
func (a *analysis) pages(e *Endpoint, types []uint32) {
	e.pages.casts = a.castNames(types)
	e.pages.forms[Plain] = form{single: e.FillSQL()}
	if len(a.levels) == 0 || a.srv.err != nil {
		return
	}
	s := a.newSplicer(e, types)
	if !e.Volatile {
		a.edge(e, s)
		a.following(e, s)
	}
	for v := range e.pages.forms {
		if f := &e.pages.forms[v]; f.single != "" {
			f.many = s.batch(f.single, e.pages.casts)
		}
	}
}

// edge finds the columns that order a page.
func (a *analysis) edge(e *Endpoint, s *splicer) {
	l := a.levels[0]
	q := l.query
	if q.Child("limitCount") == nil || q.Int("limitOption") != 0 || q.Child("setOperations") != nil ||
		q.Bool("hasWindowFuncs") || q.Bool("hasTargetSRFs") || q.Bool("hasDistinctOn") ||
		len(q.List("groupingSets")) > 0 || len(q.List("rowMarks")) > 0 {
		return
	}
	p := &edgePlan{ref: -1}
	if p.limit = a.scalar(l.frame, q.Child("limitCount")); p.limit == nil {
		return
	}
	grouped := q.Bool("hasAggs") || len(q.List("groupClause")) > 0 || q.Child("havingQual") != nil
	var cols []source
	for _, o := range a.ordering(l) {
		// A row that an outer join can do without has an effect through nulls, too.
		if o.col.nullable {
			break
		}
		if p.ref >= 0 && o.col.ref != p.ref || len(p.then) > 0 {
			if grouped || o.col.ref == p.ref || o.col.shared || !a.notNull(a.refs[o.col.ref])[o.col.name] {
				break
			}
			p.then = append(p.then, thenColumn{o.col.ref, o.OrderColumn})
			cols = append(cols, o.source)
			continue
		}
		// The place of a group is that of its rows if they all have it.
		if grouped && !groups(q, o.target) && !a.groupsRow(l, a.refs[o.col.ref]) {
			break
		}
		p.ref = o.col.ref
		p.cols = append(p.cols, o.OrderColumn)
		cols = append(cols, o.source)
	}
	if len(cols) == 0 {
		return
	}
	fixed := a.notNull(a.refs[p.ref])
	for p.notNull < len(p.cols) && fixed[cols[p.notNull].col.name] {
		p.notNull++
	}
	if p.notNull < len(p.cols) {
		p.then = nil
	}
	f, ok := s.form(columnTargets(cols[:len(p.cols)+len(p.then)]), "")
	if !ok {
		p.then = nil
		if f, ok = s.form(columnTargets(cols[:len(p.cols)]), ""); !ok {
			return
		}
	}
	for _, c := range slices.Concat(cols[:p.notNull], cols[len(p.cols):len(p.cols)+len(p.then)]) {
		p.types = append(p.types, c.col.base)
	}
	p.casts = a.castNames(p.types)
	e.pages.edge, e.pages.forms[Plain] = p, f
}

// groupsRow reports whether all rows of a group have the same row of a
// reference in them, because GROUP BY has its primary key.
func (a *analysis) groupsRow(l *level, ref *tableRef) bool {
	key := a.keyOf(ref)
	for _, number := range key {
		name := ref.rel.column(number).name
		found := slices.ContainsFunc(l.query.Nodes("groupClause"), func(g *node) bool {
			expr := sortExpr(l.query, g.Int("tleSortGroupRef"))
			if expr == nil || expr.Tag != "VAR" || expr.Int("varlevelsup") != 0 {
				return false
			}
			col := a.resolve(l, l.top, expr.Int("varno"), expr.Int("varattno"))
			return col != nil && !col.nullable && col.ref == ref.index && col.name == name
		})
		if !found {
			return false
		}
	}
	return len(key) > 0
}

// keyOf returns the columns of a reference's primary key, by number. The key of
// a table is not one of the tables that inherit from it.
func (a *analysis) keyOf(ref *tableRef) []int {
	if len(ref.tables) > 1 && ref.rel.kind != "p" {
		return nil
	}
	return a.primaryKey(ref.rel)
}

// primaryKey returns the columns of a table's primary key, by number.
func (a *analysis) primaryKey(rel *relation) []int {
	var out []int
	for _, n := range column1[int32](a.srv, "a primary key", `
		SELECT k::int FROM pg_index, unnest(indkey) WITH ORDINALITY u(k, n)
		WHERE indrelid = $1 AND indisprimary AND indisvalid ORDER BY n`, rel.oid) {
		out = append(out, int(n))
	}
	return out
}

// ordered is one entry of ORDER BY that is a plain column.
type ordered struct {
	match.OrderColumn
	source
	target int // ressortgroupref
}

// ordering returns the entries of a level's ORDER BY up to the first that is
// not a column of a base table in an order that match reproduces.
func (a *analysis) ordering(l *level) []ordered {
	var out []ordered
	for _, clause := range l.query.Nodes("sortClause") {
		ref := clause.Int("tleSortGroupRef")
		expr := sortExpr(l.query, ref)
		v := expr
		if v != nil && v.Tag == "COLLATEEXPR" {
			v = v.Child("arg")
		}
		if v == nil || v.Tag != "VAR" || v.Int("varlevelsup") != 0 {
			return out
		}
		col := a.resolve(l, l.top, v.Int("varno"), v.Int("varattno"))
		op := a.srv.operator(clause.OID("sortop"))
		if col == nil || op.oid == 0 || op.oid >= firstUserOID || op.strategy != btreeLess && op.strategy != btreeGreater {
			return out
		}
		collation := v.OID("varcollid")
		if expr != v {
			collation = expr.OID("collOid")
		}
		if !a.placed(col, op, collation) {
			return out
		}
		out = append(out, ordered{
			OrderColumn: match.OrderColumn{
				Column: col.name, Type: catalog.OID(col.typ), Class: col.class,
				Desc: op.strategy == btreeGreater, NullsFirst: clause.Bool("nulls_first"),
			},
			source: source{col, v.Int("varno"), v.Int("varattno")}, target: ref,
		})
	}
	return out
}

// sortExpr returns the expression of the target entry with a reference.
func sortExpr(q *node, ref int) *node {
	for _, te := range q.Nodes("targetList") {
		if te.Int("ressortgroupref") == ref {
			return te.Child("expr")
		}
	}
	return nil
}

// placed reports whether an operator orders a column as match does.
func (a *analysis) placed(col *columnRef, op *operator, collation uint32) bool {
	switch {
	case col.class == match.ClassText:
		// An enum has the order of its labels.
		return isText(col.base) && op.left == oidText && op.right == oidText && a.srv.bytewise(collation)
	case col.class == match.ClassFloat && col.base != oidFloat8:
		return false
	}
	return col.class.Ordered() && op.left == col.base && op.right == col.base
}

// bytewise reports whether a collation orders texts by their bytes.
func (s *server) bytewise(oid uint32) bool {
	const c, posix = 950, 951
	if oid != defaultCollation && oid != c && oid != posix {
		return false
	}
	var utf8, plain bool
	s.row("the database's collation", `
		SELECT pg_encoding_to_char(encoding) = 'UTF8',
		       datcollate IN ('C', 'POSIX') AND coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') = 'c'
		FROM pg_database d WHERE datname = current_database()`, nil, &utf8, &plain)
	return utf8 && (plain || oid != defaultCollation)
}

// notNull returns the columns that are null in no row of a reference.
func (a *analysis) notNull(ref *tableRef) map[string]bool {
	out := map[string]bool{}
	for _, name := range column1[string](a.srv, "columns", `
		SELECT attname::text FROM pg_attribute
		WHERE attrelid = ANY ($1) AND attnotnull AND attnum > 0 AND NOT EXISTS (
			SELECT FROM pg_constraint WHERE conrelid = attrelid AND contype = 'n' AND NOT convalidated AND attnum = ANY (conkey))
		GROUP BY attname HAVING count(*) = $2`, ref.tables, len(ref.tables)) {
		out[name] = true
	}
	return out
}
