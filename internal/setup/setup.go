// Package setup finds out what a database lacks before tidemark can follow it,
// and adds it: the tidemark schema with its token function and definition
// trigger, replica identities, and the publication.
//
// Inspect only reads. It returns a plan in which every step is idempotent and
// says what it needs and what is lost without it, and findings that a person
// must act on. Apply runs the plan. Neither ever makes an application's own
// UPDATE or DELETE fail: Postgres refuses them on a table that is published
// without a usable replica identity, so a table enters the publication only
// after it has one. The replication slot is not made here, because a slot can
// only read what was written after its publication exists.
//
// The functions use one connection and are not safe for concurrent use of it.
package setup

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Table names a table that is read or followed.
type Table struct {
	Schema, Name string
}

// ReplicaIdentity says which tables are given replica identity FULL.
type ReplicaIdentity string

// The choices. Under Keep only tables without a usable identity are changed.
const (
	Full ReplicaIdentity = "full"
	Keep ReplicaIdentity = "keep"
)

// Input is what tidemark wants to follow.
type Input struct {
	Publication string
	Slot        string
	// Tables are all tables that endpoints read, under their own names or as
	// the root of their partitions. Views are not tables.
	Tables []Table
	// ReplicaIdentity is Full when empty.
	ReplicaIdentity ReplicaIdentity
	// Permissions says that relationships are kept in this database. Mapped are the
	// application's tables whose rows mean some, under their own names or as the root
	// of their partitions; they need FULL, whatever ReplicaIdentity says.
	Permissions bool
	Mapped      []Table
	// Followed are the tables whose rows may be followed, or with an empty Name all
	// of a schema. They need FULL too; one that is not there yet is no error.
	Followed []Table
	// LongTransaction is the age from which an open transaction is reported;
	// one minute when zero.
	LongTransaction time.Duration
}

// Step is one change of the database, made in one transaction.
type Step struct {
	ID  string `json:"id"`
	SQL string `json:"sql"`
	Why string `json:"why"`
	// Needs is the right that the step takes. Denied says why this login is
	// known to lack it; a step may be refused without that.
	Needs  string `json:"needs"`
	Denied string `json:"denied,omitempty"`
	// Essential steps must succeed. For the others Lost says what is lost when
	// they are refused.
	Essential bool   `json:"essential"`
	Lost      string `json:"lost,omitempty"`
	// After lists the steps without which this one must not run.
	After []string `json:"after,omitempty"`

	// publishes holds the tables that the step adds to the publication, and
	// already the SQLSTATE that says that it was taken before.
	publishes []uint32
	already   string
}

// Severity orders findings.
type Severity int

// The severities. An Error keeps tidemark from working or from telling the
// truth; a Warning will hurt; Info is good to know.
const (
	Info Severity = iota
	Warning
	Error
)

func (s Severity) String() string {
	switch s {
	case Error:
		return "error"
	case Warning:
		return "warning"
	}
	return "info"
}

// MarshalText makes the severity readable in JSON.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Finding is something that a person should know or act on.
type Finding struct {
	Severity Severity `json:"severity"`
	Code     string   `json:"code"` // stable, such as "wal-level"
	What     string   `json:"what"`
	// Type is what to type to put it right: SQL or a command. It may be empty.
	Type string `json:"type,omitempty"`
}

// Report is what Inspect found.
type Report struct {
	Server   string    `json:"server"`   // such as "PostgreSQL 15.18"
	Database string    `json:"database"` // its name
	User     string    `json:"user"`
	Steps    []Step    `json:"steps"`
	Findings []Finding `json:"findings"`
}

// Ready reports whether tidemark can serve: no essential step is left and
// nothing found is an error.
func (r *Report) Ready() bool {
	for _, f := range r.Diagnosis() {
		if f.Severity == Error {
			return false
		}
	}
	return true
}

// Diagnosis returns the findings and, as findings, the steps that were not
// taken yet, worst first.
func (r *Report) Diagnosis() []Finding {
	var all []Finding
	for _, s := range r.Steps {
		f := Finding{Severity: Error, Code: "not-set-up", What: fmt.Sprintf("%s: %s", s.ID, s.Why), Type: s.SQL}
		if !s.Essential {
			f.Severity = Warning
			f.What = fmt.Sprintf("%s is missing: %s", s.ID, s.Lost)
		}
		all = append(all, f)
	}
	all = append(all, r.Findings...)
	var sorted []Finding
	for _, severity := range []Severity{Error, Warning, Info} {
		for _, f := range all {
			if f.Severity == severity {
				sorted = append(sorted, f)
			}
		}
	}
	return sorted
}

// Inspect compares the database with what tidemark needs. The error says that
// the database could not be asked; what is wrong with it is in the report.
func Inspect(ctx context.Context, conn *pgx.Conn, in Input) (*Report, error) {
	if in.ReplicaIdentity == "" {
		in.ReplicaIdentity = Full
	}
	if in.LongTransaction == 0 {
		in.LongTransaction = time.Minute
	}
	in, err := withPermissions(ctx, conn, in)
	if err != nil {
		return nil, fmt.Errorf("inspect the database: %w", err)
	}
	in, absent, err := withFollowed(ctx, conn, in)
	if err != nil {
		return nil, fmt.Errorf("inspect the database: %w", err)
	}
	st, err := readState(ctx, conn, in)
	if err != nil {
		return nil, fmt.Errorf("inspect the database: %w", err)
	}
	r := &Report{Server: "PostgreSQL " + st.Release, Database: st.Database, User: st.User}
	if st.Version < 140000 {
		r.add(Error, "server-version", "", "the server is PostgreSQL %s; tidemark needs 14 or newer", st.Release)
		return r, nil
	}
	if st.InRecovery {
		r.add(Error, "standby", "", "the server is a standby; tidemark follows the primary")
		return r, nil
	}
	r.server(st)
	r.rights(st)
	r.plan(st, in, absent)
	r.slot(st, in)
	r.transactions(st, in)
	return r, nil
}

func (r *Report) add(s Severity, code, typed, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{Severity: s, Code: code, What: fmt.Sprintf(format, args...), Type: typed})
}
