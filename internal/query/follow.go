package query

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/patch"
)

const (
	// maxFollowed bounds OFFSET + LIMIT of a list that is followed: its state
	// holds the rows before the page, too.
	maxFollowed = 200
	// maxUnlimited bounds the rows of a list without a LIMIT that is followed.
	maxUnlimited = 500
)

// slack is how many rows behind a page are kept to move up into it.
func slack(limit int) int { return min(max(limit/4, 4), 25) }

// slackSQL is slack of an SQL expression.
func slackSQL(limit string) string { return "least(greatest(" + limit + " / 4, 4), 25)" }

// Object ids of the aggregates that a state keeps.
const (
	countValues = 2147 // count("any")
	countRows   = 2803 // count(*)
	sumInt8     = 2107
	sumInt4     = 2108
	sumInt2     = 2109
	sumNumeric  = 2114
)

// followPlan says how the answers of an endpoint follow the rows of its only
// table.
type followPlan struct {
	plan *patch.Plan
	// pinned are the columns of the key that ORDER BY does not have: the order is
	// total, and a lookup finds one row at most, if the parameters pin them to one
	// value each.
	pinned        []string
	limit, offset *scalar // nil where there is none
}

// Variant returns how the binding's answer is computed.
func (b *Binding) Variant() Variant {
	if b.bound() != nil {
		return Followed
	}
	return Plain
}

// Follow returns the state by which the answer follows its rows, which are those
// of the binding's variant, or nil.
func (b *Binding) Follow(rows []patch.Row) *patch.State {
	bound := b.bound()
	if bound == nil || bound.Limit < 0 && len(rows) > maxUnlimited {
		return nil
	}
	return patch.Start(bound, rows)
}

// bound returns the plan with the binding's parameters, or nil where these do
// not allow to follow the rows.
func (b *Binding) bound() *patch.Bound {
	f := b.Endpoint.pages.follow
	if f == nil {
		return nil
	}
	tests, ok := b.entire()
	if !ok {
		return nil
	}
	for _, name := range f.pinned {
		if !slices.ContainsFunc(tests, func(t match.Test) bool {
			return t.Column == name && t.Part.Kind == match.Whole && t.Op == match.Equal
		}) {
			return nil
		}
	}
	out := &patch.Bound{Plan: f.plan, Tests: tests, Limit: -1}
	limit, offset := -1, 0
	if f.limit != nil {
		if limit, ok = b.count(f.limit); !ok {
			return nil
		}
	}
	if f.offset != nil {
		if offset, ok = b.count(f.offset); !ok {
			return nil
		}
		offset = max(offset, 0)
	}
	switch {
	case f.plan.Aggregates != nil:
		return out
	case len(f.plan.Order) == 0 || limit < 0:
		if offset > 0 || limit == 0 || limit < 0 && len(f.plan.Order) > 0 && f.plan.One {
			return nil
		}
		return out
	case limit == 0 || limit > maxFollowed || offset > maxFollowed-limit || f.plan.One && limit != 1:
		return nil
	}
	out.Limit, out.Offset, out.Slack = limit, offset, slack(limit)
	return out
}

// oneTable reports whether the statement takes the rows of one table as they
// come, or adds them up, in one query.
func (a *analysis) oneTable() bool {
	l := a.levels[0]
	q := l.query
	if len(a.levels) != 1 || len(a.refs) != 1 || len(l.entries) != 1 || l.entries[0].ref == nil || a.refs[0].loose ||
		len(l.top) != 1 || q.Bool("hasSubLinks") || q.Bool("hasWindowFuncs") || q.Bool("hasTargetSRFs") ||
		q.Int("limitOption") != 0 {
		return false
	}
	for _, field := range [...]string{"setOperations", "groupClause", "groupingSets", "havingQual", "distinctClause", "rowMarks", "cteList"} {
		if v := q.Get(field); v.Node != nil || len(v.Items) > 0 {
			return false
		}
	}
	return true
}

// following finds out whether answers can follow the rows of one table.
func (a *analysis) following(e *Endpoint, s *splicer) {
	l := a.levels[0]
	q := l.query
	if !a.oneTable() {
		return
	}
	if a.srv.secured(a.refs[0].rel, l.frame.reader) {
		return
	}
	if q.Bool("hasAggs") {
		a.followAggregates(e, s)
	} else {
		a.followRows(e, s)
	}
}

func (a *analysis) followAggregates(e *Endpoint, s *splicer) {
	q := a.levels[0].query
	if len(q.List("sortClause")) > 0 || q.Child("limitCount") != nil || q.Child("limitOffset") != nil {
		return
	}
	plan := &patch.Plan{Reads: e.Reads[0], One: e.One}
	var counts []wanted
	for i, te := range q.Nodes("targetList") {
		agg, of, ok := a.aggregate(te.Child("expr"))
		if !ok || te.Bool("resjunk") || i >= len(e.Columns) {
			return
		}
		agg.Name = e.Columns[i].Name
		plan.Aggregates = append(plan.Aggregates, agg)
		counts = append(counts, wanted{source: of, count: true})
	}
	if f, ok := s.form(counts, ""); ok && len(counts) > 0 {
		e.pages.forms[Followed] = f
		e.pages.follow = &followPlan{plan: plan}
	}
}

// plainAggregate reports whether an aggregate is over all rows of its query as
// they come.
func plainAggregate(n *node) bool {
	for _, field := range [...]string{"aggdistinct", "aggorder", "aggdirectargs", "aggfilter"} {
		if v := n.Get(field); v.Node != nil || len(v.Items) > 0 {
			return false
		}
	}
	return n.Int("agglevelsup") == 0
}

// aggregate returns what a result column counts or adds up.
func (a *analysis) aggregate(n *node) (agg patch.Aggregate, of source, ok bool) {
	if n == nil || n.Tag != "AGGREF" || !plainAggregate(n) {
		return agg, of, false
	}
	fn := n.OID("aggfnoid")
	if fn == countRows {
		return patch.Aggregate{Kind: patch.CountRows}, of, n.Bool("aggstar")
	}
	args := n.Nodes("args")
	if len(args) != 1 {
		return agg, of, false
	}
	v := args[0].Child("expr")
	if v == nil {
		return agg, of, false
	}
	if of, ok = a.topColumn(v); !ok {
		return agg, of, false
	}
	agg = patch.Aggregate{Kind: patch.Sum, Column: of.col.name, Type: catalog.OID(of.col.typ), Base: catalog.OID(of.col.base)}
	switch {
	case fn == countValues:
		agg.Kind = patch.Count
		return agg, of, true
	case fn == sumInt2 && of.col.typ == oidInt2, fn == sumInt4 && of.col.typ == oidInt4, fn == sumInt8 && of.col.typ == oidInt8:
		return agg, of, true
	case fn == sumNumeric && of.col.typ == oidNumeric:
		// The scale is the low half of the modifier, signed since Postgres 15.
		mod := v.Int("vartypmod") - 4
		agg.Scale = (mod&0x7ff ^ 0x400) - 0x400
		return agg, of, mod >= 0 && agg.Scale >= 0
	}
	return agg, of, false
}

// topColumn resolves a bare column of the outermost level.
func (a *analysis) topColumn(v *node) (source, bool) {
	l := a.levels[0]
	if v.Tag != "VAR" || v.Int("varlevelsup") != 0 {
		return source{}, false
	}
	s := source{varno: v.Int("varno"), varatt: v.Int("varattno")}
	s.col = a.resolve(l, l.top, s.varno, s.varatt)
	return s, s.col != nil
}

func (a *analysis) followRows(e *Endpoint, s *splicer) {
	l := a.levels[0]
	q := l.query
	f := &followPlan{plan: &patch.Plan{Reads: e.Reads[0], One: e.One}}
	for _, te := range q.Nodes("targetList") {
		if te.Bool("resjunk") {
			continue
		}
		i := len(f.plan.Columns)
		expr := te.Child("expr")
		if expr == nil || i >= len(e.Columns) {
			return
		}
		of, ok := a.topColumn(expr)
		if !ok {
			return
		}
		enum := a.srv.base(of.col.typ).kind == "e"
		if !patch.Renders(catalog.OID(of.col.base), enum) || a.shownByCast(of.col.base) {
			return
		}
		f.plan.Columns = append(f.plan.Columns, patch.Column{
			Name: e.Columns[i].Name, Column: of.col.name,
			Type: catalog.OID(of.col.typ), Base: catalog.OID(of.col.base), Enum: enum,
		})
	}
	order := a.ordering(l)
	if len(f.plan.Columns) == 0 || len(order) != len(q.List("sortClause")) {
		return
	}
	var hidden, key []source
	for _, o := range order {
		f.plan.Order = append(f.plan.Order, o.OrderColumn)
		hidden = append(hidden, o.source)
	}
	for _, number := range a.keyOf(a.refs[0]) {
		of := source{varno: 1, varatt: number}
		if of.col = a.resolve(l, l.top, 1, number); of.col == nil || of.col.class == match.ClassNone {
			return
		}
		c := match.KeyColumn{Column: of.col.name, Type: catalog.OID(of.col.typ), Class: of.col.class}
		key, f.plan.Key = append(key, of), append(f.plan.Key, c)
		if !slices.ContainsFunc(order, func(o ordered) bool { return o.Column == c.Column }) {
			f.pinned = append(f.pinned, c.Column)
			if len(order) > 0 {
				f.plan.Order = append(f.plan.Order, match.OrderColumn{Column: c.Column, Type: c.Type, Class: c.Class})
				hidden = append(hidden, of)
			}
		}
	}
	if len(key) == 0 {
		return
	}
	limit, ok := a.followLimit(f, l)
	if !ok {
		return
	}
	if len(order) == 0 {
		limit = "" // a lookup has one row
	}
	form, ok := s.form(columnTargets(append(hidden, key...)), limit)
	if !ok {
		return
	}
	e.pages.forms[Followed], e.pages.follow = form, f
}

// followLimit compiles LIMIT and OFFSET, and returns the LIMIT that takes the
// rows before the page and the slack in.
func (a *analysis) followLimit(f *followPlan, l *level) (string, bool) {
	count, skip := l.query.Child("limitCount"), l.query.Child("limitOffset")
	from := "0"
	if skip != nil {
		f.offset = a.scalar(l.frame, skip)
		text, ok := f.offset.bigint()
		if !ok {
			return "", false
		}
		from = "coalesce(" + text + ", 0)"
	}
	if count == nil {
		return "", skip == nil
	}
	f.limit = a.scalar(l.frame, count)
	limit, ok := f.limit.bigint()
	return from + " + " + limit + " + " + slackSQL(limit), ok
}

// bigint writes an integer scalar as SQL of type bigint.
func (s *scalar) bigint() (string, bool) {
	if s == nil || s.class != match.ClassInt || s.elem != 0 {
		return "", false
	}
	switch s.kind {
	case scalarConst:
		if s.item.null {
			return "NULL::bigint", true
		}
		return "'" + s.item.text + "'::bigint", true
	case scalarParam:
		return fmt.Sprintf("CAST($%d AS bigint)", s.param+1), true
	case scalarCast:
		return s.args[0].bigint()
	case scalarCoalesce:
		parts := make([]string, len(s.args))
		for i, arg := range s.args {
			var ok bool
			if parts[i], ok = arg.bigint(); !ok {
				return "", false
			}
		}
		return "coalesce(" + strings.Join(parts, ", ") + ")", true
	}
	return "", false
}

// shownByCast reports whether a type has a cast by which JSON shows it.
func (a *analysis) shownByCast(oid uint32) bool {
	return oid >= firstUserOID && len(column1[uint32](a.srv, "a cast",
		`SELECT castfunc FROM pg_cast WHERE castsource = $1 AND casttarget = 'json'::regtype`, oid)) > 0
}
