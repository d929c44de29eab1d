// Package query turns endpoint files into endpoints: SQL that Postgres has
// analysed, parameters that can be checked without it, and the rows and tables
// that each answer depends on.
//
// The road of a file:
//
//	ParseFile   text → File          header, route, :name parameters (pure)
//	Analyze     File → Endpoint      what it means and reads, by the server's own analysis
//	Bind        Endpoint → Binding   one set of parameters: the key of an answer (pure)
//	Deps        Binding → match.Dependency, one per reference to a table (pure)
//	Statement   Endpoint → the SQL that a fill runs, for one binding or for many
//	Place       Binding, rows → which of them are shown, and the edge of the page (pure)
//	Refine      Binding, what the key statements returned → the dependencies of that one answer (pure)
//	Follow      Binding, rows → the patch.State by which it needs no further query (pure)
//
// Contract: a statement is analysed by Postgres and never by tidemark. Every
// table that it can read, through views, functions and row security, is among
// Endpoint.Reads, or the file has a problem. A row that does not pass the Tests
// of a Dependency takes no part in the answer; what is not understood narrows
// nothing. A file whose answer something other than rows can change is refused
// with the reason, unless its author accepts that with volatile: ok and a ttl.
//
// What it trusts: the IMMUTABLE label of functions in languages other than SQL;
// that fills run with the role, the search_path and the Settings of the
// analysis; and that an endpoint is analysed again after a change of a
// definition, which Snapshot, or else Fingerprint, tells.
//
// A statement without ORDER BY has no order of its own, and one whose LIMIT
// cuts between equal rows has several answers: any of them may be kept.
//
// Files, endpoints, bindings and routers are immutable and safe for concurrent
// use. Nothing here executes an endpoint.
package query

import (
	"time"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Endpoint is an endpoint file as Postgres understands it. It is immutable and
// safe for concurrent use; a change of a definition makes a new one.
type Endpoint struct {
	Name  string // of the file, without .sql
	File  string
	Route Route
	TTL   time.Duration
	One   bool // answers an object, not an array

	// Volatile says that rows are not all that can change the answer, for the
	// Reasons given, and that the author accepts it until the TTL.
	Volatile bool
	Reasons  []string

	SQL     string // with $1, $2 ... for Params
	Params  []Param
	Columns []Column
	// Key are the numbers of the columns by which those who follow the answer tell
	// its rows apart: those that the file names, else the primary key of the only
	// table that rows are of, else all.
	Key []int
	// Account is the number of the column that says to which account a row belongs,
	// or -1.
	Account int
	// Reads are the references to tables, those behind views, functions and
	// policies included. A table that is referred to twice is there twice.
	Reads []*match.Reads
	// Tables are all tables that a change of can touch an answer, by oid.
	Tables []Table
	// Snapshot is from before the analysis looked: it has seen every definition
	// inside, and perhaps later ones. After a change of a definition that is not
	// inside, the endpoint has to be analysed again.
	Snapshot revision.Snapshot

	ties    bool
	filters []filter
	keys    []keyStatement
	targets []target
	byName  map[string]int // parameter by name
	order   []int          // parameters of the query string, by name
	objects objects
	pages   pages

	limits    []*limit
	coercions []coercion
}

// Column is one column of the result.
type Column struct {
	Name     string
	Type     catalog.OID
	TypeName string
	Modifier int32 // of the type, or -1
}

// Table is one base table that an endpoint depends on.
type Table struct {
	OID      catalog.OID
	Schema   string
	Name     string
	Identity catalog.Identity
	// HasKey says that the identity is there: a primary key for the default
	// one, an index for IdentityIndex. Without it, Postgres refuses UPDATE and
	// DELETE on a published table unless the identity is FULL.
	HasKey bool
	// Partitioned tables hold no rows; the log names their partitions.
	Partitioned bool
}

// String returns schema.name.
func (t Table) String() string { return t.Schema + "." + t.Name }

// target is what is known of one of Reads beyond it.
type target struct {
	followed bool   // conditions of its own may narrow it
	why      string // it is not narrowed, if they do not
}

// objects are the definitions that an analysis rests on.
type objects struct {
	relations, functions, types []uint32
	functionNames               []string
	publication                 string
}

// ParamTypes returns the types of $1, $2 ... as the statement was analysed
// with. A fill passes them, so that Postgres infers nothing else.
func (e *Endpoint) ParamTypes() []uint32 {
	out := make([]uint32, len(e.Params))
	for i, p := range e.Params {
		out[i] = uint32(p.Type)
	}
	return out
}

// FillSQL returns the statement that yields one row per result row, with one
// column: the row as JSON text. Column order, and names that occur twice, are
// kept; so is ORDER BY, because Postgres does not reorder the rows of a
// subquery that nothing is done to.
func (e *Endpoint) FillSQL() string {
	return "SELECT row_to_json(tidemark_row.*)::text FROM (" + e.SQL + "\n) tidemark_row"
}

// Setting is one parameter of a session.
type Setting struct{ Name, Value string }

// Settings are what a session that fills answers has to set. The analysis sets
// them too, because they decide what some constants mean, and a STABLE function
// that depends on nothing else counts as a function of the rows.
func Settings() []Setting {
	return []Setting{
		{"TimeZone", "UTC"},
		{"DateStyle", "ISO, MDY"},
		{"IntervalStyle", "postgres"},
		{"bytea_output", "hex"},
		{"extra_float_digits", "3"},
		{"standard_conforming_strings", "on"},
		{"transform_null_equals", "off"},
	}
}
