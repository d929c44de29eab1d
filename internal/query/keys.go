package query

import (
	"slices"
	"strconv"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
)

// MaxKeyRows bounds the rows of a KeyStatement. Statements return one more at
// most.
const MaxKeyRows = 1000

const (
	// maxKeyStatements bounds how many further statements an endpoint has.
	maxKeyStatements = 8
	// maxPath bounds the tables that one of them joins.
	maxPath = 6
)

// keyStatement asks what the rows of other references hold at a snapshot.
type keyStatement struct {
	single, many string
	restricts    []restriction
	witness      *witnessPlan
	group        *groupPlan
	chain        *chainPlan
	idle         *columnRef // see idleAlong
}

// restriction says that a column has to be one of the values in a column of the
// statement's rows.
type restriction struct {
	col *columnRef
	at  int
	via string // the table of the column, for explanations
}

// KeyRows are the rows that one KeyStatement returned for one binding; for more
// than MaxKeyRows of them, nil with Cut set.
type KeyRows struct {
	Rows []change.Row
	Cut  bool
}

// KeyStatements returns how many further statements tell which rows of other
// tables an answer hangs on. They are run at the same snapshot.
func (e *Endpoint) KeyStatements() int { return len(e.keys) }

// KeyStatement returns the i-th, with Binding.Args and Placed.Args for
// parameters, or arrays of them with many, like Statement. With many it returns
// "" where that cannot be.
func (e *Endpoint) KeyStatement(i int, many bool) string {
	if many {
		return e.keys[i].many
	}
	return e.keys[i].single
}

// KeyTypes returns the types of a KeyStatement's parameters, for many false.
func (e *Endpoint) KeyTypes() []uint32 {
	if e.pages.edge == nil {
		return e.ParamTypes()
	}
	return append(e.ParamTypes(), e.pages.edge.types...)
}

// Refine returns the dependencies of an answer whose statements returned this,
// all at one snapshot. They hold for that answer only; Deps holds for any.
//
// A row that does not meet one of the keys has no effect at that snapshot. It
// has none later either, as long as there are no more keys; and there are more
// of them only by a row of the reference that they come from, one that passes
// what is said of that reference. Such a change touches the answer, which then
// ends. So for changes in either direction of time, one after the other.
func (b *Binding) Refine(p Placed, keys []KeyRows) []match.Dependency {
	e, v := b.Endpoint, b.verdict()
	witnesses := map[int]*match.Witnesses{}
	groups := map[int]*match.Groups{}
	open := -1 // a reference of which rows count that meet no key
	known := func(i int) bool { return i < len(keys) && !keys[i].Cut && len(keys[i].Rows) <= MaxKeyRows }
	for i, s := range e.keys {
		if s.chain == nil || !known(i) {
			continue
		}
		open = s.chain.refine(witnesses, keys[i].Rows)
	}
	for i, s := range e.keys {
		if !known(i) {
			continue
		}
		for _, r := range s.restricts {
			if t, ok := r.test(keys[i].Rows); ok && r.col.ref != open {
				addTest(&v.tests[r.col.ref], t)
			}
		}
		if s.idle != nil && len(keys[i].Rows) > 0 {
			if t, ok := (restriction{col: s.idle}).test(keys[i].Rows); ok && len(t.Values) > 0 {
				t.Op = match.NotEqual
				addTest(&v.tests[s.idle.ref], t)
			}
		}
		if g := s.group; g != nil {
			groups[g.ref] = match.NewGroups(g.same, g.order, keys[i].Rows)
		}
		if w := s.witness; w != nil {
			witnesses[w.ref] = w.rows(b, keys[i].Rows)
		}
	}
	out := v.dependencies(e)
	for i := range out {
		ref := slices.Index(e.Reads, out[i].Reads)
		out[i].Groups, out[i].Witnesses = groups[ref], witnesses[ref]
		if e.pages.edge != nil && e.pages.edge.ref == ref {
			out[i].Edge = p.Edge
		}
	}
	return out
}

// test returns the test that the column is one of the values.
func (r restriction) test(rows []change.Row) (match.Test, bool) {
	t := match.Test{Column: r.col.name, Type: catalog.OID(r.col.typ), Part: r.col.part, Class: r.col.class, Op: match.In}
	if !ruleKeys && len(rows) > 0 {
		rows = rows[:len(rows)-1]
	}
	seen := make(map[match.Datum]bool, len(rows))
	for _, row := range rows {
		if r.at >= len(row) || row[r.at].Kind == change.Absent {
			return t, false
		}
		if row[r.at].Kind == change.Null {
			continue
		}
		d, ok := match.ParseDatum(t.Class, row[r.at].Text)
		if !ok {
			return t, false
		}
		if !seen[d] {
			seen[d] = true
			t.Values = append(t.Values, d)
		}
	}
	if len(t.Values) == 1 {
		t.Op = match.Equal
	}
	return t, true
}

// keys makes the statements that tell the keys of references.
func (a *analysis) keys(e *Endpoint) {
	if a.srv.err != nil {
		return
	}
	t, all := a.grow(e), edges(e.filters)
	for _, ref := range t.order {
		a.keysOf(e, t, ref, all)
	}
	a.groups(e, t)
	a.witnesses(e, t)
	a.chains(e, t)
	for _, ref := range a.refs {
		e.targets = append(e.targets, a.target(e, t, ref))
	}
}

// target says why a reference is not narrowed where it is not.
func (a *analysis) target(e *Endpoint, t *tree, ref *tableRef) target {
	out := target{why: ref.why}
	if ref.loose {
		return out
	}
	for _, f := range e.filters {
		for _, p := range f.parts {
			out.followed = out.followed || p.cond.mentions(ref.index)
		}
	}
	out.why = "no condition compares one of its columns with a parameter or constant"
	for _, ed := range edges(e.filters) {
		from := a.refs[ed.from.ref]
		switch {
		case ed.to.ref != ref.index:
		case !a.readable(from):
			out.why = "what it is joined with is behind the row security of " + from.rel.String()
		case t.ranks[from.index] == rankNone && len(t.above[from.index]) == 0:
			out.why = "no condition narrows " + from.rel.String() + ", with which it is joined"
		default:
			out.why = "which rows of " + from.rel.String() + " it is joined with cannot be asked for"
		}
	}
	return out
}

// keysOf makes the statements for one reference: one for the edges by which it
// hangs on another, and one for each further edge from a reference before it. A
// row has to meet all of them.
func (a *analysis) keysOf(e *Endpoint, t *tree, ref int, all []edge) {
	if t.ranks[ref] == rankUnique || len(t.above[ref]) == 0 || a.refs[ref].loose {
		return
	}
	a.keysAlong(e, t, t.above[ref])
	a.idleAlong(e, t, t.above[ref], all)
	before := t.order[:slices.Index(t.order, ref)]
	for _, ed := range all {
		if ed.to.ref == ref && !slices.Contains(t.above[ref], ed) && slices.Contains(before, ed.from.ref) && a.readable(a.refs[ed.from.ref]) {
			a.keysAlong(e, t, []edge{ed})
		}
	}
}

// keysAlong makes the statement for edges that come from one reference.
func (a *analysis) keysAlong(e *Endpoint, t *tree, from []edge) {
	var columns []*columnRef
	var restricts []restriction
	for _, ed := range from {
		if t.pinned[ed.to.key()] {
			continue
		}
		at := slices.IndexFunc(columns, func(c *columnRef) bool { return c.key() == ed.from.key() })
		if at < 0 {
			at = len(columns)
			columns = append(columns, ed.from)
		}
		restricts = append(restricts, restriction{col: ed.to, at: at, via: a.refs[ed.from.ref].rel.String()})
	}
	path := t.path(from[0].from.ref)
	if len(columns) == 0 || a.costly(e, t, path) {
		return
	}
	r := renderer{a: a, aliases: map[int]string{}}
	var names, where []string
	for i, at := range path {
		r.aliases[at] = "t" + strconv.Itoa(i)
	}
	for _, c := range columns {
		names = append(names, a.distinct(r.column(c), c))
		where = append(where, r.column(c)+" IS NOT NULL")
	}
	tables, conditions := a.along(e, t, r, path)
	where = append(conditions, where...)
	a.ask(e, keyStatement{
		single: "SELECT DISTINCT " + strings.Join(names, ", ") + " FROM " + tables + " WHERE " + strings.Join(where, " AND ") +
			" LIMIT " + strconv.Itoa(MaxKeyRows+1),
		restricts: restricts,
	})
}

// costly reports whether a statement may read far more than the endpoint does,
// which stops when its page is full: it has to begin with few rows, or to end
// where the page does. It may not join very many tables, either.
func (a *analysis) costly(e *Endpoint, t *tree, path []int) bool {
	if len(path) > maxPath {
		return true
	}
	p := e.pages.edge
	return a.levels[0].query.Child("limitCount") != nil && t.ranks[path[0]] < rankList &&
		(p == nil || p.notNull == 0 || !slices.Contains(path, p.ref))
}

// along writes the references of a path and what their rows have to pass.
func (a *analysis) along(e *Endpoint, t *tree, r renderer, path []int) (from string, where []string) {
	var tables []string
	for i, at := range path {
		ref := a.refs[at]
		table := quoteName(ref.rel.schema) + "." + quoteName(ref.rel.name) + " AS " + r.aliases[at]
		if !ref.entry.node.Bool("inh") {
			table = "ONLY " + table
		}
		tables = append(tables, table)
		if i > 0 {
			for _, ed := range t.above[at] {
				where = append(where, a.equality(r, ed))
			}
		}
		where = append(where, a.conditionsOn(e, r, at)...)
		if p := e.pages.edge; p != nil && p.ref == at && p.notNull > 0 {
			where = append(where, r.inside(p, len(e.Params)))
		}
	}
	return strings.Join(tables, ", "), where
}

// conditionsOn writes what filters the rows of a reference and is about them
// alone. Where an outer join can replace them by nulls, a condition that null
// passes does not filter them.
func (a *analysis) conditionsOn(e *Endpoint, r renderer, ref int) []string {
	var out []string
	for _, f := range e.filters {
		for _, p := range f.parts {
			for _, c := range p.cond.conjuncts() {
				if c.subject() != ref || c.nullable() && !c.strict() {
					continue
				}
				if s, ok := r.condition(c, false); ok {
					out = append(out, s)
				}
			}
		}
	}
	return out
}

// conjuncts returns what has to be true of a row for the condition to be.
func (c *condition) conjuncts() []*condition {
	if c.kind != condAnd && c.kind != condIsTrue {
		return []*condition{c}
	}
	var out []*condition
	for _, arg := range c.args {
		out = append(out, arg.conjuncts()...)
	}
	return out
}

// equality writes an edge. Columns of two collations are compared in none of
// them.
func (a *analysis) equality(r renderer, ed edge) string {
	from, to := r.column(ed.from), r.column(ed.to)
	if a.collation(ed.from) != a.collation(ed.to) {
		from += ` COLLATE "C"`
	}
	return "(" + to + comparisonOf(btreeEqual) + from + ")"
}

// distinct writes a column for DISTINCT, which must not take texts for equal
// whose bytes differ.
func (a *analysis) distinct(text string, c *columnRef) string {
	if !a.srv.deterministic(a.collation(c)) {
		return text + ` COLLATE "C"`
	}
	return text
}

func (a *analysis) collation(c *columnRef) uint32 {
	switch col := a.refs[c.ref].rel.named(c.name); {
	case c.part.Kind == match.Member:
		return defaultCollation
	case col != nil:
		return col.collation
	}
	return 0
}

// inside writes that rows do not lie behind the edge, whose values are the
// parameters after the endpoint's own. Of several references it says so of those
// that are in the statement.
func (r renderer) inside(p *edgePlan, params int) string {
	known := p.notNull
	for known < p.notNull+len(p.then) && r.aliases[p.then[known-p.notNull].ref] != "" {
		known++
	}
	var after string
	for i := known - 1; i >= 0; i-- {
		ref, c := p.column(i)
		column := r.aliases[ref] + "." + quoteName(c.Column)
		value := "$" + strconv.Itoa(params+i+1)
		if c.Class == match.ClassText {
			column += ` COLLATE "C"`
		}
		strategy := btreeLess
		if c.Desc {
			strategy = btreeGreater
		}
		before := "(" + column + comparisonOf(strategy) + value + ")"
		equal := "(" + column + comparisonOf(btreeEqual) + value + ")"
		if after == "" {
			after = "(" + before + " OR " + equal + ")"
		} else {
			after = "(" + before + " OR " + equal + " AND " + after + ")"
		}
	}
	return "($" + strconv.Itoa(params+1) + " IS NULL OR " + after + ")"
}

// mentions reports whether a condition compares a column of a reference with
// values.
func (c *condition) mentions(ref int) bool {
	if c.col != nil && c.other == nil && c.col.ref == ref {
		return true
	}
	return slices.ContainsFunc(c.args, func(arg *condition) bool { return arg.mentions(ref) })
}

// ask adds a statement, if there is room and Postgres takes it from this role.
func (a *analysis) ask(e *Endpoint, s keyStatement) {
	for i := range e.keys {
		if o := &e.keys[i]; o.single == s.single && len(o.restricts) > 0 && len(s.restricts) > 0 {
			o.restricts = append(o.restricts, s.restricts...)
			return
		}
	}
	if s.single == "" || len(e.keys) == maxKeyStatements || !a.accepted(s.single, e.KeyTypes()) {
		return
	}
	casts := e.pages.casts
	if p := e.pages.edge; p != nil {
		casts = slices.Concat(casts, p.casts)
	}
	if len(casts) == len(e.KeyTypes()) {
		s.many = a.planned(batched(s.single, casts), len(casts))
	}
	e.keys = append(e.keys, s)
}

// accepted reports whether Postgres lets this role run a statement: EXPLAIN
// looks at rights, too.
func (a *analysis) accepted(sql string, types []uint32) bool {
	return a.attempt(func() error {
		return a.srv.tx.Conn().PgConn().ExecParams(a.srv.ctx, "EXPLAIN "+sql, make([][]byte, len(types)), types, nil, nil).Read().Err
	})
}
