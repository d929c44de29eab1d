package query

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/query/nodetree"
)

// Rows is a table with a condition on its rows, of which every row of the log
// says what Postgres says: whether the condition is true.
type Rows struct {
	// Table is the table that was named, Tables are it and all below it by
	// inheritance or partitioning: the log names those that hold the row.
	Table   Table
	Tables  []Table
	Columns []RowColumn

	where outcome
}

// RowColumn is a column of a table.
type RowColumn struct {
	Name      string
	Type      catalog.OID // declared
	TypeName  string
	Base      catalog.OID // below domains
	Kind      byte        // of the base type, as pg_type.typtype
	Labels    []string    // of an enum
	Generated bool        // which the log may not carry
}

// Column returns the named column, or nil.
func (r *Rows) Column(name string) *RowColumn { return namedColumn(r.Columns, name) }

func namedColumn(columns []RowColumn, name string) *RowColumn {
	for i := range columns {
		if columns[i].Name == name {
			return &columns[i]
		}
	}
	return nil
}

// AnalyzeRows asks Postgres what a table and a condition on its rows mean; an
// empty condition is true. It returns them, or the problems for the author, or
// an error when the question could not be asked. The lines of problems count from
// the first of the condition, 0 is for the table. The connection is as for
// Analyze.
//
// A condition of which tidemark cannot say from a row alone, and exactly, whether
// it is true is a problem.
func AnalyzeRows(ctx context.Context, conn *pgx.Conn, path, table, where string, opts Options) (*Rows, []Problem, error) {
	const head = "-- GET /row\nSELECT 1 AS one FROM "
	if !isTableName(table) {
		return nil, []Problem{{File: path, Message: fmt.Sprintf("%q is not the name of a table", table)}}, nil
	}
	text, first := head+table, 0
	if strings.TrimSpace(where) != "" {
		text += "\nWHERE (\n"
		first = strings.Count(text, "\n")
		text += where + "\n)"
	}
	f, problems := ParseFile(path, []byte(text))
	if len(problems) > 0 {
		return nil, relocate(problems, first), nil
	}
	if len(f.Params) > 0 {
		return nil, []Problem{{File: path, Line: 1, Message: fmt.Sprintf("there is no value for :%s", f.Params[0])}}, nil
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadWrite})
	if err != nil {
		return nil, nil, fmt.Errorf("analyse %s: %w", path, err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) // of a transaction that nobody needs
	a := newAnalysis(ctx, tx, f)
	e, problems, err := a.run(opts)
	var rows *Rows
	if err == nil && len(problems) == 0 {
		rows, problems = a.rows(e)
		err = a.srv.err
	}
	if err != nil {
		return nil, nil, fmt.Errorf("analyse %s: %w", path, err)
	}
	if len(problems) > 0 {
		return nil, relocate(sortProblems(problems), first), nil
	}
	return rows, nil, nil
}

// relocate makes the lines of a statement those of the condition in it, and drops
// the hints that are for authors of endpoints.
func relocate(problems []Problem, first int) []Problem {
	for i := range problems {
		p := &problems[i]
		if strings.Contains(p.Hint, "volatile: ok") {
			p.Hint = ""
		}
		if p.Line -= first; p.Line <= 0 || first == 0 {
			p.Line, p.Column = 0, 0
		}
	}
	return problems
}

// isTableName reports a name, perhaps with a schema.
func isTableName(s string) bool {
	l := newLexer(s)
	for i := 0; ; i++ {
		t, ok := l.next()
		switch {
		case !ok:
			return (i == 1 || i == 3) && l.broken < 0
		case i%2 == 0 && t.kind != tokenWord, i%2 == 1 && s[t.pos:t.end] != ".":
			return false
		}
	}
}

// rows judges an analysed statement.
func (a *analysis) rows(e *Endpoint) (*Rows, []Problem) {
	line, column := a.file.Position(0)
	problem := func(hint, format string, args ...any) (*Rows, []Problem) {
		return nil, []Problem{{File: a.file.Path, Line: line, Column: column, Message: fmt.Sprintf(format, args...), Hint: hint}}
	}
	if len(a.refs) > 0 && a.srv.secured(a.refs[0].rel, a.srv.role) {
		return problem("ALTER ROLE ... BYPASSRLS for the role that tidemark connects as",
			"row security hides rows of %s from tidemark, which the log does not", a.refs[0].rel)
	}
	if !a.oneTable() || a.levels[0].query.Bool("hasAggs") || len(a.levels[0].query.List("sortClause")) > 0 ||
		a.levels[0].query.Child("limitCount") != nil || a.levels[0].query.Child("limitOffset") != nil {
		return problem("", "a mapping is of one table, with a condition on its columns")
	}
	ref := a.refs[0]
	out := &Rows{Tables: e.Tables, Columns: a.rowColumns(ref.rel), where: literal(truthTrue)}
	for _, t := range e.Tables {
		if uint32(t.OID) == ref.rel.oid {
			out.Table = t
		}
	}
	l := a.levels[0]
	quals := l.query.Child("jointree").Child("quals")
	if quals == nil {
		return out, nil
	}
	sc := scope{l, l.top}
	out.where = a.condition(sc, quals).fold(nil)
	if out.where.decided() {
		return out, nil
	}
	const hint = "let the application or a trigger keep what it says in a column of its own, and test that"
	n := a.undecided(sc, quals)
	if at := locationOf(n) - l.frame.prefix; locationOf(n) >= 0 && at >= 0 && at < len(a.file.SQL) {
		line, column = a.file.Position(at)
		part := strings.TrimSuffix(a.file.SQL[at:], "\n)")
		return problem(hint, "tidemark cannot tell from a row of the log whether the condition is true, because of the part that begins with %s", excerpt(part))
	}
	return problem(hint, "tidemark cannot tell from a row of the log whether the condition is true")
}

// rowColumns describes the columns of a table.
func (a *analysis) rowColumns(rel *relation) []RowColumn {
	var out []RowColumn
	for _, c := range rel.columns {
		base := a.srv.base(c.typ)
		out = append(out, RowColumn{
			Name: c.name, Type: catalog.OID(c.typ), TypeName: a.srv.typ(c.typ).name, Base: catalog.OID(base.oid),
			Kind: (base.kind + "\x00")[0], Labels: base.labels, Generated: c.generated,
		})
	}
	return out
}

func excerpt(s string) string {
	const most = 40
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

// undecided returns the smallest part of a condition that is not decided.
func (a *analysis) undecided(sc scope, n *node) *node {
	if n.Tag == "BOOLEXPR" {
		for _, arg := range n.Nodes("args") {
			if !a.condition(sc, arg).fold(nil).decided() {
				return a.undecided(sc, arg)
			}
		}
	}
	return n
}

// locationOf returns where an expression begins, as far as its nodes say, or -1.
func locationOf(n *node) int {
	at := -1
	if n.Get("location").Text != "" {
		at = n.Int("location")
	}
	for _, field := range n.Fields {
		nodetree.Each(field.Value, func(below *node) {
			if l := locationOf(below); l >= 0 && (at < 0 || l < at) {
				at = l
			}
		})
	}
	return at
}

// decided reports whether the outcome is true of a row if and only if truth says
// so. Tests of columns that null passes are those for null; negation is pushed
// down to them, so that false and null need not be told apart.
func (o outcome) decided() bool {
	switch o.kind {
	case condLiteral:
		return true
	case condCompare:
		return !o.implied && !o.col.nullable && o.test.Part.Kind == match.Whole
	case condAnd, condOr, condIsTrue:
		return !slices.ContainsFunc(o.args, func(arg outcome) bool { return !arg.decided() })
	}
	return false
}

// Pass says whether the condition is true of a row. It is unknown only where a
// column is, or has another type than it had.
func (r *Rows) Pass(rel *catalog.Relation, row change.Row) match.Verdict {
	return r.where.pass(rel, row)
}

// pass says whether an outcome is true of a row; it is unknown where tidemark
// cannot tell.
func (o outcome) pass(rel *catalog.Relation, row change.Row) match.Verdict {
	switch o.kind {
	case condLiteral:
		if o.lit == truthTrue {
			return match.Yes
		}
		return match.No
	case condCompare:
		v := match.Eval([]match.Test{o.test}, rel, row)
		if v == match.Unknown && o.test.Part.Kind == match.Whole {
			v = remote(&o.test, rel, row)
		}
		if v == match.Yes && o.implied {
			return match.Unknown
		}
		return v
	case condAnd:
		all := match.Yes
		for _, arg := range o.args {
			all = min(all, arg.pass(rel, row))
		}
		return all
	case condOr:
		any := match.No
		for _, arg := range o.args {
			any = max(any, arg.pass(rel, row))
		}
		return any
	case condIsTrue:
		return o.args[0].pass(rel, row)
	}
	return match.Unknown
}

// remote evaluates a test on a date or time before the year 1 or after 9999,
// which has no Datum. The constants of a test have one: they are between, or
// infinite.
func remote(t *match.Test, rel *catalog.Relation, row change.Row) match.Verdict {
	i := rel.Column(t.Column)
	if t.Class != match.ClassDate && t.Class != match.ClassTime || i < 0 || i >= len(row) ||
		rel.Columns[i].Type != t.Type || row[i].Kind != change.Text {
		return match.Unknown
	}
	text := string(row[i].Text)
	year, _, dated := strings.Cut(text, "-")
	early := strings.HasSuffix(text, " BC")
	if !early && (!dated || len(year) < 5) {
		return match.Unknown
	}
	switch t.Op {
	case match.Equal, match.In:
		return match.No
	case match.NotEqual:
		return match.Yes
	case match.Range:
		// An early one is below all but -infinity, a late one above all but infinity.
		fails, except := t.Lo, "-infinity"
		if !early {
			fails, except = t.Hi, "infinity"
		}
		infinite, _ := match.ParseDatum(t.Class, []byte(except))
		opposite := t.Hi
		if !early {
			opposite = t.Lo
		}
		if fails.Set && fails.Value != infinite || opposite.Set && opposite.Value == infinite {
			return match.No
		}
		return match.Yes
	}
	return match.Unknown
}
