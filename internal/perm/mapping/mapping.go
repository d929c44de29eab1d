// Package mapping says which rows of the application's tables mean which
// relationships.
//
// A mapping is a YAML file of rules, each about one table. A rule's relationships
// have two sources that agree exactly: its SELECT, run by Postgres, and the rows
// of the log, of which Bound tells the same without asking anybody. That is why a
// condition may say only what tidemark decides as Postgres does, and why every
// table needs REPLICA IDENTITY FULL: a row that goes takes its relationships with
// it.
//
// A row of which a part of an id is null means nothing. So does one that makes no
// relationship that could be written, such as one with a space in an id; such
// rows are reported, see Rule.Invalid and Problem.
//
// A Mapping and a Bound are immutable and may be used by several goroutines.
package mapping

import (
	"fmt"
	"os"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/yamldoc"
)

// Mapping is a mapping file.
type Mapping struct {
	Path  string
	Rules []*Rule
	// Publication, where it is set, has to tell of every change of every table;
	// Bind looks.
	Publication string
}

// A Rule says which rows of one table mean which relationship.
type Rule struct {
	Line, Column int // in the file

	table  string // as SQL
	where  string // SQL, or empty
	text   string // of the relationship
	parts  relationship
	caveat string
	// context has the caveat's parameters in the order of the file.
	context []entry
	expires string // a column, or empty

	path      string
	tableAt   yamldoc.Position
	whereAt   yamldoc.Position
	caveatAt  yamldoc.Position
	expiresAt yamldoc.Position
	// inline says that where is a part of a longer line.
	inline bool
}

// entry is one parameter of a context.
type entry struct {
	name     string
	at       yamldoc.Position
	constant string    // JSON, where there is no template
	value    *template // of which a lone column keeps its type
}

// relationship is the templates of a relationship.
type relationship struct {
	resourceType    string
	resourceID      *template
	relation        string
	subjectType     string
	subjectID       *template
	subjectRelation string
}

// ResourceType returns the type of the rule's resources.
func (r *Rule) ResourceType() string { return r.parts.resourceType }

// Relation returns the relation that the rule's rows mean.
func (r *Rule) Relation() string { return r.parts.relation }

// Table returns the table's name as the file has it.
func (r *Rule) Table() string { return r.table }

// String returns the relationship as the file has it.
func (r *Rule) String() string { return r.text + " from " + r.table }

// Mapped reports whether a relation's relationships come from tables. They are
// then written by writing rows, and in no other way.
func (m *Mapping) Mapped(typ, relation string) bool {
	for _, r := range m.Rules {
		if r.parts.resourceType == typ && r.parts.relation == relation {
			return true
		}
	}
	return false
}

// Problems is the error for everything that the author of a file has to see to.
type Problems []query.Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
		if p.Line > 0 && p.Column > 0 {
			at := fmt.Sprintf("%s:%d", p.File, p.Line)
			lines[i] = fmt.Sprintf("%s:%d%s", at, p.Column, strings.TrimPrefix(lines[i], at))
		}
	}
	return strings.Join(lines, "\n")
}

// Load reads a mapping file. What is wrong with its contents is an error of type
// Problems.
func Load(path string) (*Mapping, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read mapping: %w", err)
	}
	return Parse(path, text)
}
