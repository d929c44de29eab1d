// Package rules says which tables may be followed.
//
// A rules file is a list of tables and schemas. Of a table it may fix a
// condition, the columns, and the column that names the account that a row
// belongs to; nothing that a client asks for goes beyond that. Names are written
// as in SQL: without quotes they mean lower case.
//
// What is wrong with a file is an error of type Problems, each with the line
// that it stands in. A File is immutable.
package rules

import (
	"fmt"
	"os"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/yamldoc"
)

// File is a rules file.
type File struct {
	Path  string
	Rules []Rule
}

// Rule lets one table be followed, or all of one schema.
type Rule struct {
	Schema string
	Table  string // empty: every table of Schema, also those made later
	// Where is a condition that every row meets that anybody is given, as SQL.
	// Columns are the only ones that are given; nil: all. Account is the column
	// that says whose a row is. A rule for a schema has no Where and no Columns.
	Where   string
	Columns []string
	Account string

	at, whereAt, columnsAt, accountAt yamldoc.Position
}

// String names what the rule is for, as SQL.
func (r *Rule) String() string {
	if r.Table == "" {
		return "schema " + quote(r.Schema)
	}
	return quote(r.Schema) + "." + quote(r.Table)
}

// Problems is the error for everything that the author of a file has to see to.
type Problems []query.Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Load reads a rules file. What is wrong with its contents is an error of type
// Problems.
func Load(path string) (*File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the tables that may be followed: %w", err)
	}
	return Parse(path, text)
}
