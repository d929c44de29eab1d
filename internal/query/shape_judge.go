package query

import (
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/query/nodetree"
)

// lone checks that the statement reads one table with a condition, and nothing
// else.
func (s *shapeAnalysis) lone(q *node) bool {
	if q == nil || len(s.levels) == 0 || s.levels[0].query != q || len(s.levels[0].entries) != 1 {
		s.problem(ShapeWhere, -1, ownRowHint, "the condition reads more than one row")
		return false
	}
	e := s.levels[0].entries[0]
	if rel := s.srv.relation(e.node.OID("relid")); e.kind == rteRelation && rel.kind == "v" {
		s.problem(ShapeTable, -1, endpointHint, "%s is a view", rel)
		return false
	}
	if len(s.refusals) > 0 && e.ref == nil {
		for _, r := range s.refusals {
			s.problem(ShapeTable, -1, "", "%s", r.Message)
		}
		return false
	}
	if e.ref == nil || e.ref.loose {
		s.problem(ShapeTable, -1, "", "%s is not a table", s.text.Table)
		return false
	}
	for _, field := range [...]string{
		"setOperations", "groupClause", "groupingSets", "havingQual", "distinctClause", "rowMarks", "cteList",
		"sortClause", "limitOffset", "limitCount", "windowClause",
	} {
		if v := q.Get(field); v.Node != nil || len(v.Items) > 0 {
			s.problem(ShapeWhere, -1, ownRowHint, "the condition goes on behind its end")
			return false
		}
	}
	if s.srv.secured(e.ref.rel, s.srv.role) {
		s.problem(ShapeTable, -1, "ALTER ROLE ... BYPASSRLS for the role that tidemark connects as",
			"row security hides rows of %s from tidemark, which the log does not", e.ref.rel)
		return false
	}
	return true
}

// proven checks that the statement's condition is that of its parts, joined with
// AND, each as Postgres understands it where it stands alone.
func (s *shapeAnalysis) proven(q *node, types []uint32) bool {
	have := conjuncts(q.Child("jointree").Child("quals"))
	head := s.probeHead(types)
	for i := range s.parts {
		p := &s.parts[i]
		tree, ok := s.reprobe(head, "SELECT 1 FROM "+s.named+" WHERE "+p.sql)
		own := outermost(tree)
		if !ok || own == nil {
			s.problem(p.name, -1, "", "the condition means something else alone than together with others")
			return false
		}
		want := conjuncts(own.Child("jointree").Child("quals"))
		if len(want) > len(have) || !slices.EqualFunc(want, have[:len(want)], (comparison{}).nodes) {
			s.problem(p.name, -1, "", "the condition means something else alone than together with others")
			return false
		}
		p.conjuncts, have = have[:len(want)], have[len(want):]
	}
	if len(have) > 0 {
		s.problem(ShapeWhere, -1, "", "the condition means something else alone than together with others")
		return false
	}
	return true
}

// judge refuses what is about more than the columns of the row, and notes the
// columns that the client's condition reads.
func (s *shapeAnalysis) judge() bool {
	ref := s.levels[0].entries[0].ref
	missing := map[string]bool{} // from rows of the log
	for _, oid := range ref.tables {
		r := s.srv.relation(oid)
		for _, c := range r.columns {
			missing[c.name] = missing[c.name] || c.generated
		}
	}
	visit := func(part string, n *node) {
		at := locationOf(n)
		problem := func(hint, format string, args ...any) {
			place := -1
			// From Postgres 17 on, stored trees do not say where in the text something is.
			if begin := s.levels[0].frame.prefix; at >= begin && at-begin <= len(s.file.SQL) {
				_, column := s.file.Position(at - begin)
				part, place = s.locate(column - 1)
			}
			s.problem(part, place, hint, format, args...)
		}
		switch n.Tag {
		case "SUBLINK":
			problem(endpointHint, "a condition cannot have a subquery")
		case "CONST":
			if typ := s.srv.base(n.OID("consttype")); isNameType(typ.oid) || isNameType(typ.element) {
				problem(ownRowHint, "a constant of type %s "+reasonCatalog, typ.name)
			}
		case "VAR":
			attno := n.Int("varattno")
			c := ref.rel.column(attno)
			switch {
			case n.Int("varlevelsup") != 0 || n.Int("varno") != 1:
				problem("", "tidemark cannot tell which column is meant here")
			case attno == 0:
				problem("name the columns", "a condition cannot be about the row as a whole")
			case c == nil:
				problem(ownRowHint, "a condition cannot use the system columns, such as ctid, xmin and tableoid")
			case missing[c.name]:
				problem("use what it is computed from", "the column %s is generated, and the log does not carry it", c.name)
			}
		}
	}
	for _, p := range s.parts {
		for _, c := range p.conjuncts {
			eachNode(c, func(n *node) { visit(p.name, n) })
		}
	}
	if len(s.problems) > 0 {
		return false
	}
	if len(s.refs) != 1 {
		s.problem(ShapeWhere, -1, endpointHint, "the condition calls a function that reads a table")
		return false
	}
	for oid := range s.tables {
		if !slices.Contains(ref.tables, oid) {
			s.problem(ShapeWhere, -1, endpointHint, "the condition reads %s", s.srv.relation(oid))
			return false
		}
	}
	return true
}

// eachNode calls visit with an expression and all in it.
func eachNode(n *node, visit func(*node)) {
	if n == nil {
		return
	}
	visit(n)
	for _, field := range n.Fields {
		nodetree.Each(field.Value, func(below *node) { eachNode(below, visit) })
	}
}

// compose makes the result.
func (s *shapeAnalysis) compose(e *Endpoint) *ShapeCondition {
	l := s.levels[0]
	ref := l.entries[0].ref
	c := &ShapeCondition{
		Tables: e.Tables, Columns: s.rowColumns(ref.rel), where: &condition{kind: condAnd},
		reads: &match.Reads{Tables: oids(ref.tables), Name: ref.rel.String()},
	}
	for _, t := range e.Tables {
		if t.OID == catalog.OID(ref.rel.oid) {
			c.Table = t
		}
	}
	closed := true
	for _, p := range s.parts {
		for _, n := range p.conjuncts {
			cond := s.condition(scope{l, map[int]bool{1: false}}, n)
			c.where.args = append(c.where.args, cond)
			if !isClients(p) {
				continue
			}
			closed = closed && !cond.open()
			eachNode(n, func(v *node) {
				if v.Tag != "VAR" {
					return
				}
				if name := ref.rel.column(v.Int("varattno")).name; !slices.Contains(c.Mentions, name) {
					c.Mentions = append(c.Mentions, name)
				}
			})
		}
	}
	c.sql = s.guarded(closed)
	return c
}

// open reports whether a condition may do more than tidemark knows of, such as to
// fail: LIKE does with a pattern that ends in a backslash, where a text gets so far.
func (c *condition) open() bool {
	switch c.kind {
	case condUnknown:
		return true
	case condLike:
		return c.right.kind != scalarConst || strings.Contains(c.right.item.text, `\`)
	}
	return slices.ContainsFunc(c.args, (*condition).open)
}

// guarded writes the whole condition. A client's condition that could fail, with
// an error that shows what is in a row, or tell in some other way that there is
// one, is evaluated only for the rows that the others let through. One that is
// closed, of nothing but comparisons, cannot, and then indexes serve it, too.
func (s *shapeAnalysis) guarded(closed bool) string {
	var guard []string
	where := ""
	for _, p := range s.parts {
		if p.name == ShapeWhere {
			where = "(" + p.sql + "\n)"
			continue
		}
		guard = append(guard, "("+p.sql+"\n)")
	}
	first := strings.Join(guard, " AND ")
	switch {
	case first == "" && where == "":
		return "true"
	case first == "":
		return where
	case where == "":
		return first
	case closed:
		return first + " AND " + where
	}
	return first + " AND CASE WHEN " + first + " THEN " + where + " ELSE false END"
}
