package tenant

import (
	"context"
	"errors"
	"time"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// AuditRequest says which cached answers are compared with the database: those
// of one Endpoint, or of all; Sample of them at most, chosen at random, or all.
type AuditRequest struct {
	Endpoint string
	Sample   int
}

// AuditReport is the outcome of an audit.
type AuditReport struct {
	Checked int // answers that were compared
	Wrong   int // of these, not what the database says
	// Skipped could not be compared: they ended, or no position was proven.
	Skipped int
	// Undecided differ, but so may two runs of their statement: it cuts between
	// rows that its ORDER BY does not tell apart.
	Undecided int
	Findings  []Finding
}

// Finding is one wrong answer with what is needed to see why.
type Finding struct {
	Endpoint, Key, SQL string
	Args               []string // NULL for what is not given
	Position           revision.LSN
	From, To           revision.LSN // of the cached answer; To 0: open
	Snapshot           string
	Cached, Database   string // bodies
	Dependencies       []string
	Transactions       []string // of the log between From and Position
	At                 time.Time
}

// Audit compares cached answers with the database, each at a position at which
// both are known.
func (t *Tenant) Audit(ctx context.Context, req AuditRequest) (AuditReport, error) {
	return AuditReport{}, errors.ErrUnsupported
}

// AuditStatus is what all audits since the start have found.
type AuditStatus struct {
	Checked, Wrong, Skipped, Undecided int64
	LastWrong                          time.Time
}

// ClearAudit trusts an endpoint again that an audit found wrong.
func (t *Tenant) ClearAudit(endpoint string) error { return errors.ErrUnsupported }
