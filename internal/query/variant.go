package query

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/query/nodetree"
)

// splicer makes variants of an endpoint's statement. What the lexer put
// together, Postgres analyses, and a variant whose tree is not the statement's
// own beside what was added does not exist.
type splicer struct {
	a       *analysis
	top     *level
	sql     string
	head    string // of the probe
	at      clauses
	visible []string // names of the result columns; nil where some are the same
}

func (a *analysis) newSplicer(e *Endpoint, types []uint32) *splicer {
	s := &splicer{a: a, top: a.levels[0], sql: e.SQL, head: a.probeHead(types)}
	at, ok := outline(e.SQL)
	if !ok {
		return s
	}
	s.at = at
	var names []string
	for _, c := range e.Columns {
		// A name that tidemark gives itself could be among those of a SELECT *.
		if slices.Contains(names, c.Name) || strings.HasPrefix(c.Name, reservedPrefix+"_") {
			return s
		}
		names = append(names, c.Name)
	}
	s.visible = names
	return s
}

// source is a base table column as the outermost level sees it.
type source struct {
	col           *columnRef
	varno, varatt int
}

// wanted is one column that a variant has to yield beside the result.
type wanted struct {
	source
	// count asks for count(column), or for count(*) where there is no column.
	count bool
}

func (w wanted) same(o wanted) bool {
	if w.col == nil || o.col == nil {
		return w.col == o.col
	}
	return w.count == o.count && sameRef(w.col, o.col)
}

// sameRef compares by what is meant: two mentions of a column are two
// columnRefs.
func sameRef(a, b *columnRef) bool { return a.ref == b.ref && a.name == b.name }

func columnTargets(cols []source) []wanted {
	out := make([]wanted, len(cols))
	for i, c := range cols {
		out[i] = wanted{source: c}
	}
	return out
}

// form makes the variant that yields more columns, with another LIMIT if one is
// given.
func (s *splicer) form(wants []wanted, limit string) (form, bool) {
	if s.visible == nil || limit != "" && s.at.tail < 0 {
		return form{}, false
	}
	var hidden, targets []string
	var added []wanted
	for _, w := range wants {
		name, ok := s.shown(w)
		if i := slices.IndexFunc(added, w.same); !ok && i >= 0 {
			name, ok = hiddenName(i), true
		}
		if !ok {
			target, spelled := s.spelled(w)
			if !spelled || s.at.from < 0 {
				return form{}, false
			}
			name = hiddenName(len(added))
			added, targets = append(added, w), append(targets, target)
		}
		hidden = append(hidden, name)
	}
	sql := s.sql
	if limit != "" {
		sql = s.at.withLimit(sql, limit)
	}
	sql = s.at.withTargets(sql, targets)
	if sql != s.sql && !s.proven(sql, added, limit != "") {
		return form{}, false
	}
	return form{single: shown(sql, s.visible, hidden), hidden: len(hidden)}, true
}

// shown returns the result column that holds a wanted one already.
func (s *splicer) shown(w wanted) (string, bool) {
	if w.count {
		return "", false
	}
	for _, te := range s.top.query.Nodes("targetList") {
		n := te.Int("resno")
		if !te.Bool("resjunk") && n >= 1 && n <= len(s.visible) && s.is(te.Child("expr"), w) {
			return s.visible[n-1], true
		}
	}
	return "", false
}

// is reports whether an expression of the outermost level is a wanted column.
func (s *splicer) is(expr *node, w wanted) bool {
	if expr == nil {
		return false
	}
	if w.count {
		star := w.col == nil
		if expr.Tag != "AGGREF" || expr.Bool("aggstar") != star || !plainAggregate(expr) {
			return false
		}
		if star {
			return expr.OID("aggfnoid") == countRows
		}
		args := expr.Nodes("args")
		return expr.OID("aggfnoid") == countValues && len(args) == 1 && s.is(args[0].Child("expr"), wanted{source: w.source})
	}
	if expr.Tag != "VAR" || expr.Int("varlevelsup") != 0 {
		return false
	}
	col := s.a.resolve(s.top, s.top.top, expr.Int("varno"), expr.Int("varattno"))
	return col != nil && sameRef(col, w.col)
}

// spelled writes a wanted column as the outermost SELECT can.
func (s *splicer) spelled(w wanted) (string, bool) {
	if w.count && w.col == nil {
		return "count(*)", true
	}
	varno, attno := w.varno, w.varatt
	for {
		e := s.top.lookup(varno)
		if e == nil || attno < 1 {
			return "", false
		}
		var behind []nodeValue
		switch e.kind {
		case rteJoin:
			behind = e.node.List("joinaliasvars")
		case rteGroup:
			behind = e.node.List("groupexprs")
		default:
			eref := e.node.Child("eref")
			names := eref.List("colnames")
			if attno > len(names) {
				return "", false
			}
			text := quoteName(eref.Str("aliasname")) + "." + quoteName(names[attno-1].Text)
			if w.count {
				text = "count(" + text + ")"
			}
			return text, true
		}
		if attno > len(behind) || behind[attno-1].Node == nil || behind[attno-1].Node.Tag != "VAR" {
			return "", false
		}
		varno, attno = behind[attno-1].Node.Int("varno"), behind[attno-1].Node.Int("varattno")
	}
}

// proven asks Postgres what a variant means, and reports whether that is what
// the statement means, with the added columns and, with limited, another LIMIT.
func (s *splicer) proven(sql string, added []wanted, limited bool) bool {
	tree, ok := s.a.reprobe(s.head, sql)
	if !ok {
		return false
	}
	q, own := outermost(tree), s.top.query
	if q == nil || len(q.Fields) != len(own.Fields) {
		return false
	}
	for i, f := range own.Fields {
		o := q.Fields[i]
		switch {
		case f.Name != o.Name:
			return false
		case f.Name == "targetList":
			if !s.sameTargets(nodetree.Nodes(f.Value), nodetree.Nodes(o.Value), added) {
				return false
			}
		case limited && (f.Name == "limitCount" || f.Name == "limitOffset"):
		case !(comparison{}).fields(f, o):
			return false
		}
	}
	return true
}

// sameTargets compares two target lists, of which the second has more columns
// behind the visible ones. ORDER BY and the like name entries by a number: the
// expressions behind the numbers have to be the same, whether they are shown or
// not.
func (s *splicer) sameTargets(own, other []*node, added []wanted) bool {
	split := func(list []*node) (visible []*node, byRef map[int]*node) {
		byRef = map[int]*node{}
		for _, te := range list {
			if !te.Bool("resjunk") {
				visible = append(visible, te)
			}
			if ref := te.Int("ressortgroupref"); ref != 0 {
				byRef[ref] = te.Child("expr")
			}
		}
		return visible, byRef
	}
	v1, r1 := split(own)
	v2, r2 := split(other)
	if len(v2) != len(v1)+len(added) || len(r1) != len(r2) {
		return false
	}
	for i, te := range v1 {
		if !(comparison{}).nodes(te, v2[i]) {
			return false
		}
	}
	for i, w := range added {
		te := v2[len(v1)+i]
		if te.Str("resname") != hiddenName(i) || !s.is(te.Child("expr"), w) {
			return false
		}
	}
	for ref, expr := range r1 {
		if r2[ref] == nil || !(comparison{}).nodes(expr, r2[ref]) {
			return false
		}
	}
	return true
}

// batch returns the statement that runs one for many bindings, if that means the
// same for each of them, or "". A column that has no name of its own, for
// example, could get another one.
func (s *splicer) batch(single string, casts []string) string {
	many := batched(single, casts)
	if many == "" {
		return ""
	}
	one, ok1 := s.a.reprobe(s.head, single)
	all, ok2 := s.a.reprobe(s.a.probeHead(slices.Repeat([]uint32{oidTextArray}, len(casts))), many)
	if !ok1 || !ok2 {
		return ""
	}
	own, around := outermost(one), outermost(all)
	if own == nil || around == nil {
		return ""
	}
	for _, entry := range around.Nodes("rtable") {
		if entry.Child("eref").Str("aliasname") == "tidemark_one" && (comparison{batch: true}).nodes(own, entry.Child("subquery")) {
			return s.a.planned(many, len(casts))
		}
	}
	return ""
}

// outermost returns the query of a body.
func outermost(tree nodetree.Value) *node {
	var q *node
	nodetree.Each(tree, func(n *node) {
		if q == nil && n.Tag == "QUERY" {
			q = n
		}
	})
	return q
}

// comparison compares two trees in all but where in the text they stand and what
// the columns of GROUP BY are called.
type comparison struct {
	// batch says that the second tree has the columns of a batch, the first entry
	// of the query around it, where the first has parameters.
	batch bool
	depth int // queries around
}

func (c comparison) fields(a, b nodetree.Field) bool {
	if a.Name != b.Name {
		return false
	}
	switch a.Name {
	case "location", "stmt_location", "stmt_len", "list_start", "list_end":
		return true
	}
	return c.values(a.Value, b.Value)
}

func (c comparison) values(a, b nodeValue) bool {
	if a.Kind == nodetree.Struct && b.Kind == nodetree.Struct {
		return c.nodes(a.Node, b.Node)
	}
	return a.Kind == b.Kind && a.Text == b.Text && slices.Equal(a.Ints, b.Ints) && bytes.Equal(a.Bytes, b.Bytes) &&
		slices.EqualFunc(a.Items, b.Items, c.values)
}

func (c comparison) nodes(a, b *node) bool {
	if a == nil || b == nil {
		return a == b
	}
	if c.batch && a.Tag == "PARAM" && a.Int("paramkind") == 0 {
		return b.Tag == "VAR" && b.Int("varno") == 1 && b.Int("varlevelsup") == c.depth && b.Int("varattno") == a.Int("paramid") &&
			b.OID("vartype") == a.OID("paramtype") && b.Int("vartypmod") == a.Int("paramtypmod") && b.OID("varcollid") == a.OID("paramcollid")
	}
	if a.Tag == "QUERY" {
		c.depth++
	}
	same := c.fields
	if a.Tag == "RANGETBLENTRY" && a.Int("rtekind") == rteGroup {
		same = func(f, o nodetree.Field) bool { return f.Name == "eref" && o.Name == "eref" || c.fields(f, o) }
	}
	return a.Tag == b.Tag && slices.EqualFunc(a.Fields, b.Fields, same)
}

// reprobe is probe for a variant, which may have no meaning.
func (a *analysis) reprobe(head, sql string) (tree nodetree.Value, ok bool) {
	a.attempt(func() error {
		text, err := a.analysed(head, sql)
		if err == nil {
			tree = a.srv.tree(text)
			ok = a.srv.err == nil
		}
		return err
	})
	return tree, ok
}

// planned returns a statement whose parameters are arrays if Postgres can plan
// it, or else "".
func (a *analysis) planned(sql string, params int) string {
	if sql == "" {
		return ""
	}
	values := slices.Repeat([][]byte{[]byte("{NULL}")}, params)
	ok := a.attempt(func() error {
		return a.srv.tx.Conn().PgConn().ExecParams(a.srv.ctx, "EXPLAIN "+sql, values, nil, nil, nil).Read().Err
	})
	if !ok {
		return ""
	}
	return sql
}

// attempt runs something that Postgres may refuse, and undoes it. It reports
// whether it was done.
func (a *analysis) attempt(run func() error) bool {
	s := a.srv
	if s.err != nil {
		return false
	}
	sp, err := s.tx.Begin(s.ctx)
	if err != nil {
		s.fail("a variant of the statement", err)
		return false
	}
	defer sp.Rollback(s.ctx)
	err = run()
	if pe := new(pgconn.PgError); err != nil && !errors.As(err, &pe) {
		s.fail("a variant of the statement", err)
	}
	return err == nil
}
