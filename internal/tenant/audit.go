package tenant

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidemarkdb/tidemark/internal/answer"
	"github.com/tidemarkdb/tidemark/internal/query"
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
	Findings  []Finding // the first hundred
}

// maxFindings bounds the wrong answers that a report describes.
const maxFindings = 100

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

// AuditStatus is what all audits since the start have found.
type AuditStatus struct {
	Checked, Wrong, Skipped, Undecided int64
	LastWrong                          time.Time
}

// auditor counts what audits find.
type auditor struct {
	checked, wrong, skipped, undecided atomic.Int64
	lastWrong                          atomic.Int64 // Unix nanoseconds
}

func (a *auditor) status() AuditStatus {
	s := AuditStatus{
		Checked: a.checked.Load(), Wrong: a.wrong.Load(), Skipped: a.skipped.Load(), Undecided: a.undecided.Load(),
	}
	if at := a.lastWrong.Load(); at != 0 {
		s.LastWrong = time.Unix(0, at)
	}
	return s
}

// auditWidth is how many answers one audit compares at once.
const auditWidth = 32

// Audit compares cached answers with the database, each at a position at which
// both are known.
func (t *Tenant) Audit(ctx context.Context, req AuditRequest) (AuditReport, error) {
	set := t.endpoints.Load()
	if req.Endpoint != "" && set.byName[req.Endpoint] == nil {
		return AuditReport{}, ErrUnknownName
	}
	n := req.Sample
	if n <= 0 || req.Endpoint != "" {
		n = math.MaxInt
	}
	var mu sync.Mutex
	var report AuditReport
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(auditWidth)
	taken := 0
	for _, key := range t.store.Sample(n) {
		if req.Endpoint != "" {
			s, _, err := set.bindURI(key)
			if err != nil || s.endpoint.Name != req.Endpoint {
				continue
			}
			if taken++; req.Sample > 0 && taken > req.Sample {
				break
			}
		}
		g.Go(func() error {
			r, err := t.auditOne(ctx, key)
			mu.Lock()
			defer mu.Unlock()
			report.Checked += r.Checked
			report.Wrong += r.Wrong
			report.Skipped += r.Skipped
			report.Undecided += r.Undecided
			if len(report.Findings) < maxFindings {
				report.Findings = append(report.Findings, r.Findings...)
			}
			return err
		})
	}
	err := g.Wait()
	return report, err
}

// auditOne compares one answer. An error says that nothing can be asked of the
// database.
func (t *Tenant) auditOne(ctx context.Context, key string) (report AuditReport, err error) {
	set := t.endpoints.Load()
	s, b, err := set.bindURI(key)
	if err != nil || s.endpoint.Volatile {
		report.Skipped = 1 // the endpoint has gone since, or no two runs are alike
		t.audits.skipped.Add(1)
		return report, nil
	}
	q := t.query(set, s, b)
	r, err := t.store.Audit(ctx, q)
	if err != nil {
		if ctx.Err() != nil {
			return report, context.Cause(ctx)
		}
		report.Skipped = 1
		t.audits.skipped.Add(1)
		return report, nil
	}
	switch {
	case r.Verdict == answer.Skipped:
		report.Skipped = 1
		t.audits.skipped.Add(1)
		return report, nil
	case r.Verdict == answer.Same, r.HaveFound == r.WantFound && equivalent(r.Have, r.Want):
		report.Checked = 1
		t.audits.checked.Add(1)
		return report, nil
	case s.endpoint.Ties():
		report.Undecided = 1
		t.audits.undecided.Add(1)
		return report, nil
	}
	report.Checked, report.Wrong = 1, 1
	t.audits.checked.Add(1)
	t.audits.wrong.Add(1)
	now := time.Now()
	t.audits.lastWrong.Store(now.UnixNano())
	f := Finding{
		Endpoint: s.endpoint.Name, Key: key, SQL: s.endpoint.SQL, Position: r.Position, From: r.From, To: r.To,
		Snapshot: r.Snapshot.String(), Cached: string(r.Have), Database: string(r.Want), At: now,
	}
	for _, arg := range b.Args {
		if arg == nil {
			f.Args = append(f.Args, "NULL")
		} else {
			f.Args = append(f.Args, quoteLiteral(string(arg)))
		}
	}
	for _, d := range s.endpoint.Explain(b) {
		f.Dependencies = append(f.Dependencies, d.String())
	}
	for _, tx := range r.Transactions {
		f.Transactions = append(f.Transactions, fmt.Sprintf("%d at %s", tx.XID, tx.End))
	}
	report.Findings = []Finding{f}
	t.log.Error("an audit found a wrong answer in the cache",
		"endpoint", f.Endpoint, "answer", f.Key, "sql", f.SQL, "args", f.Args, "position", f.Position.String(),
		"from", f.From.String(), "to", f.To.String(), "snapshot", f.Snapshot, "cached", f.Cached, "database", f.Database,
		"dependencies", f.Dependencies, "transactions", f.Transactions)
	t.distrust(f.Endpoint, fmt.Sprintf("an audit found %s wrong at %s", f.Key, f.Position))
	return report, nil
}

// distrust drops the answers of an endpoint and has it depend on whole tables
// from now on.
func (t *Tenant) distrust(endpoint, why string) {
	t.retrust(endpoint, func(s *served) bool {
		if s.tables != nil {
			return false
		}
		s.tables, s.why = wholeTables(s.endpoint), why
		return true
	})
}

// ClearAudit trusts an endpoint again that an audit found wrong.
func (t *Tenant) ClearAudit(endpoint string) error {
	if t.endpoints.Load().byName[endpoint] == nil {
		return ErrUnknownName
	}
	t.retrust(endpoint, func(s *served) bool {
		if s.tables == nil {
			return false
		}
		s.tables, s.why = nil, ""
		return true
	})
	return nil
}

// retrust replaces an endpoint by a changed copy with answers of its own, if
// change says that there is anything to change.
func (t *Tenant) retrust(endpoint string, change func(*served) bool) {
	t.replan.mu.Lock()
	defer t.replan.mu.Unlock()
	old := t.endpoints.Load()
	was := old.byName[endpoint]
	if was == nil {
		return
	}
	now := &served{file: was.file, endpoint: was.endpoint, tables: was.tables, why: was.why, broken: was.broken}
	now.definition.Store(was.definition.Load())
	if !change(now) {
		return
	}
	now.group = t.newGroup(now.endpoint, was)
	set := *old
	set.served, set.byName, set.of = nil, map[string]*served{}, map[*query.Endpoint]*served{}
	for _, s := range old.served {
		if s == was {
			s = now
		}
		set.add(s)
	}
	t.swap(old, &set)
}

// auditLoop compares answers at random for as long as the tenant runs.
func (t *Tenant) auditLoop(ctx context.Context) {
	if t.opts.AuditPerMinute <= 0 {
		return
	}
	every(ctx, time.Minute/time.Duration(t.opts.AuditPerMinute), func() {
		if s := t.session.Load(); s == nil || !s.connected {
			return
		}
		for _, key := range t.store.Sample(1) {
			if _, err := t.auditOne(ctx, key); err != nil {
				return
			}
		}
	})
}
