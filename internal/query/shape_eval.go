package query

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
)

// ShapeRow is a row of the log, with the table that holds it.
type ShapeRow struct {
	Relation *catalog.Relation
	Row      change.Row
}

// EvalSQL returns a statement that says of which of given rows the condition is
// true: it yields their numbers, from 1, as bigint, in order. Its last parameter is
// the rows, as ArrayText of what RowText makes of each; the others are as given.
//
// The statement reads no table. Its session needs the ShapeSettings. It fails if
// the condition fails for one of the rows; Refusal tells.
func (r *ShapeRows) EvalSQL() (sql string, args [][]byte, types []uint32) {
	return r.evalSQL(), r.args, append(r.types(), oidTextArray)
}

// evalSQL makes a row of the table's own type of each text: the input function of
// the type reads every column with that of its type, whatever it is. The nested
// query has the row as its only table, under the name that the condition knows.
func (c *ShapeCondition) evalSQL() string {
	return "SELECT tidemark_in.tidemark_n FROM pg_catalog.unnest($" + strconv.Itoa(len(c.params)+1) +
		"::pg_catalog.text[]) WITH ORDINALITY AS tidemark_in(tidemark_row, tidemark_n) WHERE EXISTS (SELECT FROM pg_catalog.unnest(ARRAY[CAST(tidemark_in.tidemark_row AS " +
		c.From() + ")]) AS " + quoteName(c.Table.Name) + " WHERE " + c.sql + ") ORDER BY 1"
}

// evaluable checks that Postgres takes the statement of EvalSQL.
func (s *shapeAnalysis) evaluable(c *ShapeCondition) error {
	for _, col := range c.Columns {
		// A null stands for what the log lacks, and a domain may refuse it.
		if col.Generated && s.srv.typ(uint32(col.Type)).kind == "d" {
			s.problem(ShapeTable, -1, "", "the column %s is generated and of a domain, and rows of it cannot be made up", col.Name)
			return nil
		}
	}
	var cast bool
	s.srv.row("a cast", `
		SELECT EXISTS (SELECT FROM pg_cast JOIN pg_class ON reltype = casttarget
			WHERE pg_class.oid = $1 AND castsource IN ('text'::regtype, 'varchar'::regtype))`, []any{uint32(c.Table.OID)}, &cast)
	if cast {
		s.problem(ShapeTable, -1, "drop the cast", "there is a cast from text to rows of %s", c.Table)
		return nil
	}
	_, err := s.srv.tx.Conn().PgConn().Prepare(s.srv.ctx, "", c.evalSQL(), append(c.types(), oidTextArray))
	if msg, ok := serverMessage(err); ok {
		s.problem(ShapeWhere, -1, "name the columns without a schema", "%s", msg)
		return nil
	}
	return err
}

// RowText returns a row as the text of the table's row type. It returns false
// where the log does not have a column, or has it with another type.
func (c *ShapeCondition) RowText(rel *catalog.Relation, row change.Row) ([]byte, bool) {
	b := []byte{'('}
	for i, col := range c.Columns {
		if i > 0 {
			b = append(b, ',')
		}
		at := rel.Column(col.Name)
		switch {
		case col.Generated:
			continue // the condition does not read it
		case at < 0 || at >= len(row) || rel.Columns[at].Type != col.Type || row[at].Kind == change.Absent:
			return nil, false
		case row[at].Kind == change.Null:
			continue
		}
		b = append(b, '"')
		for _, ch := range row[at].Text {
			if ch == '"' || ch == '\\' {
				b = append(b, ch)
			}
			b = append(b, ch)
		}
		b = append(b, '"')
	}
	return append(b, ')'), true
}

// errUnknownColumn says that a row cannot be evaluated.
var errUnknownColumn = errors.New("a column of the row is not known, or of another type than it was")

// Evaluate asks Postgres of which rows the condition is true, over a session with
// the ShapeSettings. Of an error, Refusal says whether it is the condition's.
func (r *ShapeRows) Evaluate(ctx context.Context, conn *pgconn.PgConn, rows []ShapeRow) ([]bool, error) {
	out, texts := make([]bool, len(rows)), make([][]byte, len(rows))
	for i, row := range rows {
		var ok bool
		if texts[i], ok = r.RowText(row.Relation, row.Row); !ok {
			return nil, fmt.Errorf("evaluate a condition on %s: %w", row.Relation, errUnknownColumn)
		}
	}
	sql, args, types := r.EvalSQL()
	args = append(args[:len(args):len(args)], ArrayText(texts))
	result := conn.ExecParams(ctx, sql, args, types, nil, nil).Read()
	if result.Err != nil {
		return nil, fmt.Errorf("evaluate a condition on %s: %w", r.Table, result.Err)
	}
	for _, row := range result.Rows {
		n, err := strconv.Atoi(string(row[0]))
		if err != nil || n < 1 || n > len(out) {
			return nil, fmt.Errorf("evaluate a condition on %s: row %q of %d", r.Table, row[0], len(out))
		}
		out[n-1] = true
	}
	return out, nil
}

// Refusal returns what Postgres says where it fails because of what a client wrote
// or what a row holds, and false for any other error.
func Refusal(err error) (message string, ok bool) { return serverMessage(err) }
