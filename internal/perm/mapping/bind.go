package mapping

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/patch"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/yamldoc"
)

// Bound is a mapping together with its tables as they were when Bind looked.
type Bound struct {
	mapping *Mapping
	tables  map[catalog.OID]*table
}

// table is one that holds mapped rows.
type table struct {
	rules []*boundRule
	// layout is of the last description of the table that the log gave.
	layout atomic.Pointer[layout]
}

// boundRule is a rule and what its columns are.
type boundRule struct {
	*Rule
	rows    *query.Rows
	columns map[string]*query.RowColumn // those that the relationship is made of
}

// Bind asks Postgres what the tables, columns and conditions are. The connection
// is as for query.Analyze: to the primary, outside a transaction, with the right to
// make temporary objects. What the author has to see to is an error of type
// Problems.
//
// After a change of any definition, a change.Define without a relation included,
// Bind has to be called again and the result compared with Equal: a new partition
// has rows, and a condition can mean something else.
func (m *Mapping) Bind(ctx context.Context, conn *pgx.Conn) (*Bound, error) {
	b := &Bound{mapping: m, tables: map[catalog.OID]*table{}}
	var problems Problems
	opts := query.Options{Publication: m.Publication, SkipPublication: m.Publication == ""}
	for _, r := range m.Rules {
		rows, found, err := query.AnalyzeRows(ctx, conn, m.Path, r.table, r.where, opts)
		if err != nil {
			return nil, err
		}
		if rows != nil {
			br := &boundRule{Rule: r, rows: rows, columns: map[string]*query.RowColumn{}}
			found = br.look()
			for _, t := range rows.Tables {
				if b.tables[t.OID] == nil {
					b.tables[t.OID] = &table{}
				}
				b.tables[t.OID].rules = append(b.tables[t.OID].rules, br)
			}
		}
		for _, p := range found {
			problems = append(problems, r.locate(p))
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return b, nil
}

// locate turns a position in the condition into one in the file; line 0 is the
// table's name, and a negative one is negated already.
func (r *Rule) locate(p query.Problem) query.Problem {
	p.File = r.path
	switch {
	case p.Line < 0:
		p.Line = -p.Line
	case p.Line == 0:
		p.Line, p.Column = r.tableAt.Line, r.tableAt.Column
	case p.Line == 1:
		p.Line, p.Column = r.whereAt.Line, r.whereAt.Column+p.Column-1
	default:
		p.Line += r.whereAt.Line - 1
	}
	return p
}

// look checks the rule's columns and tables.
func (r *boundRule) look() []query.Problem {
	var problems []query.Problem
	problem := func(at yamldoc.Position, hint, format string, args ...any) {
		problems = append(problems, query.Problem{Line: -at.Line, Column: at.Column, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	find := func(name string, at yamldoc.Position) *query.RowColumn {
		c := r.rows.Column(name)
		switch {
		case c == nil:
			hint := ""
			if r.rows.Column(strings.ToLower(name)) != nil {
				hint = "did you mean " + strings.ToLower(name) + "?"
			}
			problem(at, hint, "the table %s has no column %q", r.rows.Table, name)
			return nil
		case c.Generated:
			problem(at, "use what it is computed from, or let the application or a trigger fill an ordinary column",
				"the column %s of %s is generated, and the log does not carry it", name, r.rows.Table)
			return nil
		}
		r.columns[name] = c
		return c
	}
	here := yamldoc.Position{Line: r.Line, Column: r.Column}
	for _, name := range r.idColumns() {
		if c := find(name, here); c != nil && !isText(c) {
			problem(here, "use a column with the id itself", "the column %s is of type %s, whose text cannot be an id", name, c.TypeName)
		}
	}
	for _, e := range r.context {
		if e.value == nil {
			continue
		}
		lone, isLone := e.value.lone()
		for _, name := range e.value.columns {
			c := find(name, e.at)
			switch {
			case c == nil:
			case isLone && name == lone:
				if c.Base == oidJSON || !patch.Renders(c.Base, c.Kind == 'e') {
					problem(e.at, "use a column of type jsonb, text, boolean or of a number, date or time",
						"the column %s is of type %s, whose JSON tidemark does not know", name, c.TypeName)
				}
			case !isText(c):
				problem(e.at, "", "the column %s is of type %s, which cannot be a part of a text here", name, c.TypeName)
			}
		}
	}
	if r.expires != "" {
		if c := find(r.expires, r.expiresAt); c != nil && c.Base != oidTimestamptz && c.Base != oidTimestamp && c.Base != oidDate {
			problem(r.expiresAt, "use a column of type timestamptz", "the column %s is of type %s, not a time", r.expires, c.TypeName)
		}
	}
	for _, t := range r.rows.Tables {
		if !t.Partitioned && t.Identity != catalog.IdentityFull {
			problem(r.tableAt, fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY FULL", pgx.Identifier{t.Schema, t.Name}.Sanitize()),
				"the log does not say what a deleted or updated row of %s was, and so not which relationship ends", t)
		}
	}
	return problems
}

// Object ids of built-in types.
const (
	oidJSON        = 114
	oidDate        = 1082
	oidTimestamp   = 1114
	oidTimestamptz = 1184
)

// isText reports a type whose output hangs on the value alone, so that a session
// of ours and the log have the same. Of the types that came with Postgres, those
// are the ones whose JSON is known; the others hang on settings or on the names of
// other objects. Of composites and the like, IS NOT NULL means something else.
func isText(c *query.RowColumn) bool {
	const firstUserOID = 16384
	switch {
	case c.Kind == 'e':
		return true
	case c.Kind != 'b':
		return false
	case c.Base >= firstUserOID:
		return !strings.HasSuffix(c.TypeName, "[]")
	}
	return patch.Renders(c.Base, false)
}

// Reads reports whether the mapping is about a table of the log.
func (b *Bound) Reads(rel *catalog.Relation) bool { return b.tables[rel.OID] != nil }

// Equal reports whether a mapping is bound to the same tables as before, with all
// that the meaning of their rows hangs on. Where it is not, the relationships have
// to be read anew.
func (b *Bound) Equal(o *Bound) bool {
	if len(b.tables) != len(o.tables) || b.mapping != o.mapping {
		return false
	}
	for oid, t := range b.tables {
		other := o.tables[oid]
		if other == nil || len(t.rules) != len(other.rules) {
			return false
		}
		for i, r := range t.rules {
			if r.Rule != other.rules[i].Rule || !reflect.DeepEqual(r.rows, other.rules[i].rows) {
				return false
			}
		}
	}
	return true
}

// SameShape reports whether a table is still one of which rows can be read: the
// columns that the mapping uses are there, with their types, and the identity is
// FULL. It does not see what else a definition can change.
func (b *Bound) SameShape(rel *catalog.Relation) bool {
	t := b.tables[rel.OID]
	if t == nil {
		return true
	}
	_, err := newLayout(t, rel)
	return err == nil
}

// example returns a relationship as the rule's rows mean, with ids made up.
func (r *Rule) example() tuple.Relationship {
	p := &r.parts
	id := func(t *template) string {
		if len(t.columns) == 0 {
			return t.literals[0]
		}
		return strings.Join(t.literals, "x")
	}
	out := tuple.Relationship{
		Resource: tuple.Object{Type: p.resourceType, ID: id(p.resourceID)}, Relation: p.relation,
		Subject: tuple.Subject{Object: tuple.Object{Type: p.subjectType, ID: id(p.subjectID)}, Relation: p.subjectRelation},
		Caveat:  r.caveat,
	}
	if r.expires != "" {
		out.Expires = 1
	}
	return out
}
