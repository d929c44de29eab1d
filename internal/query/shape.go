package query

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/query/nodetree"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// ShapeText is a condition on the rows of one table, as it comes from outside.
type ShapeText struct {
	// Table is name or schema.name, each part in double quotes where needed.
	Table string
	// Fixed is a condition of the configuration, "" for none. It is trusted, and
	// takes no parameters.
	Fixed string
	// Account is a column, by its plain name, that has to equal what BindAccount is
	// given; "" for none. It is of the configuration, too.
	Account string
	// Where is the client's condition, with $1 to $Params; "" for none. It can
	// only narrow what the others leave.
	Where  string
	Params int
}

// The parts of a ShapeText, which a Problem of AnalyzeShape names in place of a
// file.
const (
	ShapeTable   = "table"
	ShapeFixed   = "filter"
	ShapeAccount = "account"
	ShapeWhere   = "where"
)

// ShapeCondition is a ShapeText as Postgres understands it: it serves all values
// of the parameters. It is immutable.
type ShapeCondition struct {
	// Table is the table that was named, Tables are it and all below it by
	// inheritance or partitioning: the log names those that hold the row.
	Table   Table
	Tables  []Table
	Columns []RowColumn
	// Mentions are the columns that the client's condition reads.
	Mentions []string
	// Snapshot is older than all that the analysis saw.
	Snapshot revision.Snapshot

	params  []Param // of the client, and then the account
	account bool
	where   *condition
	sql     string // of the whole condition
	reads   *match.Reads
}

// Column returns the named column, or nil.
func (c *ShapeCondition) Column(name string) *RowColumn { return namedColumn(c.Columns, name) }

// From returns the table's name as SQL. A statement with SQL's condition has to
// read FROM it without an alias, and from nothing else.
func (c *ShapeCondition) From() string {
	return quoteName(c.Table.Schema) + "." + quoteName(c.Table.Name)
}

// ShapeSettings are what a session has to set that runs what the SQL and EvalSQL
// of ShapeRows return, so that they mean the same in both. Its values are of the
// form in which clients get them.
func ShapeSettings() []Setting {
	out := Settings()
	for i := range out {
		if out[i].Name == "IntervalStyle" {
			out[i].Value = "iso_8601"
		}
	}
	return out
}

const (
	// maxShapeText bounds the client's condition, in bytes.
	maxShapeText = 1 << 16
	// shapeHead is what stands before a condition where its locations are counted.
	shapeHead = len("SELECT 1 WHERE ")

	endpointHint = "write an endpoint for it: what it answers can be followed, too"
	ownRowHint   = "a condition says what a row's own columns have to be"
)

// shapeAnalysis is an analysis of one ShapeText.
type shapeAnalysis struct {
	*analysis
	text  ShapeText
	named string // the table, as SQL
	// parts of the condition in the statement, in order.
	parts    []shapePart
	problems []Problem
}

// shapePart is one of the conditions that a shape joins with AND.
type shapePart struct {
	name string // ShapeFixed, ShapeAccount or ShapeWhere
	sql  string
	at   int // where it begins in the statement

	conjuncts []*node // as Postgres understands it
}

func isClients(p shapePart) bool { return p.name == ShapeWhere }

// AnalyzeShape asks Postgres what a shape's table and condition mean. It returns
// them, or the problems, whose File is the part of the text that is meant, or an
// error when the question could not be asked. The connection is as for Analyze.
//
// A condition is a problem unless it is decided by the values of one row and
// nothing else: one that reads other rows, the clock or the session, or that can
// have an effect, is refused. So is a text that is not one expression by itself.
func AnalyzeShape(ctx context.Context, conn *pgx.Conn, t ShapeText, opts Options) (*ShapeCondition, []Problem, error) {
	s := &shapeAnalysis{text: t}
	if !s.read() {
		return nil, s.problems, nil
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadWrite})
	if err != nil {
		return nil, nil, fmt.Errorf("analyse a shape of %s: %w", t.Table, err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) // of a transaction that nobody needs
	s.analysis = newAnalysis(ctx, tx, s.statementFile())
	c, err := s.analyze(opts)
	if err == nil {
		err = s.srv.err
	}
	if deep := new(nodetree.Error); errors.As(err, &deep) {
		s.problem(ShapeWhere, -1, "", "the condition is too large or too deeply nested")
		err = nil
	}
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("analyse a shape of %s: %w", t.Table, err)
	case len(s.problems) > 0:
		return nil, sortProblems(s.problems), nil
	}
	return c, nil, nil
}

// problem notes one about a part; at is the character of the part that is meant,
// or negative.
func (s *shapeAnalysis) problem(part string, at int, hint, format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	if part == ShapeWhere && len(s.parts) > 0 && s.text.Params == 0 && !slices.ContainsFunc(s.parts, isClients) {
		part = s.parts[0].name // the client wrote nothing
	}
	if at >= 0 {
		msg = fmt.Sprintf("At location %d: %s", shapeHead+at, msg)
	}
	p := Problem{File: part, Message: strings.ReplaceAll(msg, ":$", "$"), Hint: hint}
	if !slices.Contains(s.problems, p) {
		s.problems = append(s.problems, p)
	}
}

// read looks at the texts without Postgres.
func (s *shapeAnalysis) read() bool {
	schema, name, err := ParseTableName(s.text.Table)
	if err != nil {
		s.problem(ShapeTable, -1, "", "%s", err)
		return false
	}
	if s.named = quoteName(name); schema != "" {
		s.named = quoteName(schema) + "." + s.named
	}
	if strings.TrimSpace(s.text.Fixed) != "" {
		s.parts = append(s.parts, shapePart{name: ShapeFixed, sql: s.text.Fixed})
		s.scanFixed()
	}
	if s.text.Account != "" {
		s.parts = append(s.parts, shapePart{name: ShapeAccount, sql: quoteName(s.text.Account) + " = $" + strconv.Itoa(s.text.Params+1)})
	}
	if strings.TrimFunc(s.text.Where, isArraySpace) != "" {
		s.parts = append(s.parts, shapePart{name: ShapeWhere, sql: s.text.Where})
	}
	s.scanWhere()
	return len(s.problems) == 0
}

// statementFile makes the statement: every part in parentheses of its own.
func (s *shapeAnalysis) statementFile() *File {
	var b strings.Builder
	b.WriteString("SELECT 1 FROM " + s.named)
	for i := range s.parts {
		p := &s.parts[i]
		b.WriteString(map[bool]string{true: " WHERE (", false: " AND ("}[i == 0])
		p.at = b.Len()
		b.WriteString(p.sql + "\n)")
	}
	f := &File{Path: ShapeWhere, SQL: b.String()}
	for n := range s.text.Params {
		f.Params = append(f.Params, "$"+strconv.Itoa(n+1))
	}
	if s.text.Account != "" {
		f.Params = append(f.Params, ShapeAccount)
	}
	// One line: columns are characters of the statement.
	f.lines = lineIndex{text: f.SQL, starts: []int{0}}
	f.segments = []segment{{n: len(f.SQL)}}
	for l := newLexer(f.SQL); ; {
		t, ok := l.next()
		if !ok {
			return f
		}
		switch t.kind {
		case tokenWord:
			f.words = append(f.words, t)
		case tokenPosition:
			if n, err := strconv.Atoi(f.SQL[t.pos+1 : t.end]); err == nil && n >= 1 && n <= len(f.Params) {
				f.words = append(f.words, token{pos: t.pos, text: ":" + f.Params[n-1]})
			}
		case tokenString:
			f.strings = append(f.strings, t)
		}
	}
}

// locate returns the part of the statement that a character is in, and its place
// there.
func (s *shapeAnalysis) locate(character int) (part string, at int) {
	for i := len(s.parts) - 1; i >= 0; i-- {
		p := s.parts[i]
		if n := character - utf8.RuneCountInString(s.file.SQL[:p.at]); n >= 0 {
			return p.name, n
		}
	}
	return ShapeTable, -1
}

func (s *shapeAnalysis) analyze(opts Options) (*ShapeCondition, error) {
	snapshot, err := s.srv.open()
	if err != nil {
		return nil, err
	}
	types, err := s.prepare()
	if err != nil || len(s.problems) > 0 {
		return nil, err
	}
	prefix, tree, found, err := s.probe(types)
	if err != nil || found != nil {
		s.adopt(found)
		return nil, err
	}
	top := &frame{own: true, prefix: prefix, reader: s.srv.role, user: s.srv.role}
	for i, oid := range types {
		top.params = append(top.params, s.typed(&scalar{kind: scalarParam, param: i}, oid))
	}
	e := &Endpoint{byName: map[string]int{}}
	s.parameters(e, top, types)
	s.queries(tree, top)
	s.clock(top)
	if s.srv.err != nil {
		return nil, s.srv.err
	}
	q := outermost(tree)
	if !s.lone(q) || !s.proven(q, types) {
		return nil, s.srv.err
	}
	s.dependencies(e)
	if s.adopt(s.settle(e)); !s.judge() {
		return nil, s.srv.err
	}
	if !opts.SkipPublication {
		for _, p := range s.published(e, opts.Publication) {
			s.problem(ShapeTable, -1, p.Hint, "%s", p.Message)
		}
	}
	if len(s.problems) > 0 || s.srv.err != nil {
		return nil, s.srv.err
	}
	c := s.compose(e)
	c.Snapshot, c.params, c.account = snapshot, e.Params, s.text.Account != ""
	return c, s.evaluable(c)
}

// adopt takes problems whose columns are characters of the statement, of which the
// first is that of none in particular.
func (s *shapeAnalysis) adopt(problems []Problem) {
	for _, p := range problems {
		part, at := ShapeWhere, -1
		if p.Column > 1 {
			part, at = s.locate(p.Column - 1)
		}
		switch {
		case part == ShapeTable && strings.Contains(p.Hint, "volatile: ok"):
			p.Hint = ""
		case strings.Contains(p.Hint, "volatile: ok"), strings.Contains(p.Hint, "endpoint"):
			p.Hint = ownRowHint
		}
		s.problem(part, at, p.Hint, "%s", p.Message)
	}
}

// prepare has Postgres parse the table, every condition by itself behind WHERE,
// where no parenthesis of the statement is there to be closed, and then all. It
// returns the types of the parameters.
func (s *shapeAnalysis) prepare() (types []uint32, err error) {
	var account []uint32
	head := "SELECT 1 FROM " + s.named
	if _, err := s.prepared(ShapeTable, head, 0, nil); err != nil || len(s.problems) > 0 {
		return nil, err
	}
	head += " WHERE "
	for _, p := range s.parts {
		var given []uint32
		if p.name == ShapeAccount {
			// A type for those that it does not mention, and none for its own.
			given = append(slices.Repeat([]uint32{oidText}, s.text.Params), 0)
		}
		sd, err := s.prepared(p.name, head+p.sql, utf8.RuneCountInString(head), given)
		if err != nil || len(s.problems) > 0 {
			return nil, err
		}
		switch p.name {
		case ShapeAccount:
			account = sd.ParamOIDs[s.text.Params:]
		case ShapeWhere:
			types = sd.ParamOIDs
		}
	}
	types = append(types, account...)
	sd, err := s.prepared("", s.file.SQL, 0, types)
	if err != nil || len(s.problems) > 0 {
		return nil, err
	}
	if len(types) != len(s.file.Params) || !slices.Equal(sd.ParamOIDs, types) {
		s.problem(ShapeWhere, -1, "", "the condition does not use its parameters as it says")
		return nil, nil
	}
	return types, nil
}

// prepared prepares a statement in which a part begins behind skip characters;
// no part is all of them, where they stand in the file.
func (s *shapeAnalysis) prepared(part, sql string, skip int, types []uint32) (*pgconn.StatementDescription, error) {
	sd, err := s.srv.tx.Conn().PgConn().Prepare(s.srv.ctx, "", sql, types)
	if err == nil {
		return sd, nil
	}
	var pe *pgconn.PgError
	msg, ok := serverMessage(err)
	if !ok || !errors.As(err, &pe) {
		return nil, refine(err)
	}
	at := int(pe.Position) - 1 - skip
	switch {
	case part == "":
		part, at = s.locate(int(pe.Position) - 1)
	case part == ShapeTable || part == ShapeAccount:
		at = -1
	}
	hint := clause(pe.Hint)
	if pe.Code == "42P18" && hint == "" {
		hint = "say which type it has, as in $1::text"
	}
	s.problem(part, at, hint, "%s", msg)
	return nil, nil
}
