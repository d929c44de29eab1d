package answer

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/rand/v2"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Verdict is the outcome of an audit.
type Verdict byte

// The verdicts.
const (
	Same    Verdict = iota // the answer in memory is what the database says
	Differs                // it is not: a wrong answer was kept
	Skipped                // the two cannot be compared
)

var verdictNames = [...]string{"same", "differs", "skipped"}

func (v Verdict) String() string { return verdictNames[v] }

// AuditResult is what an audit of one answer found.
type AuditResult struct {
	Verdict Verdict
	Why     string // of a Skipped
	// Position is where both are known, From and To the interval of the version
	// in memory; To is 0 for an open one.
	Position, From, To revision.LSN
	Snapshot           revision.Snapshot // of the query
	// Have is the body in memory, Want what the database says; for Differs.
	Have, Want           []byte
	HaveFound, WantFound bool
	// Transactions are those in the history after From and up to Position, for
	// Differs; the last of them if there are many.
	Transactions []AuditTransaction
}

// AuditTransaction is one transaction that an audit looked at.
type AuditTransaction struct {
	XID revision.XID
	End revision.LSN
}

const maxAuditTransactions = 100

// Audit computes an answer anew and compares it with the version in memory that
// is true at the position where the new one is proven. Nothing is stored. The
// query waits its turn in the background of others.
func (s *Store) Audit(ctx context.Context, q *Query) (AuditResult, error) {
	switch e := s.find(q.Key); {
	case q.Volatile:
		return AuditResult{Verdict: Skipped, Why: "a volatile answer is true at no position"}, nil
	case e == nil || e.group != q.Group || e.current.Load() == nil:
		return AuditResult{Verdict: Skipped, Why: "no version is in memory"}, nil
	}
	// Of an entry of its own: who asks for the answer does not wait for this.
	e := &Entry{key: q.Key, group: q.Group, dead: true}
	f := s.newFill(e, q, background)
	f.audit = &AuditResult{}
	f.job.worth, f.job.alone = math.MaxFloat32, true
	e.mu.Lock()
	victim, err := s.queue.push(&f.job)
	e.fill = f
	f.waiters = 1
	e.mu.Unlock()
	if victim != nil {
		s.mu.Lock()
		s.giveWay(victim.fill)
		s.mu.Unlock()
	}
	if errors.Is(err, errNotWorth) {
		return AuditResult{Verdict: Skipped, Why: "too many audits wait"}, nil
	} else if err != nil {
		return AuditResult{}, err
	}
	defer s.leave(f)
	select {
	case <-ctx.Done():
		return AuditResult{}, context.Cause(ctx)
	case <-f.done:
	}
	switch {
	case errors.Is(f.err, ErrNotFresh):
		return AuditResult{Verdict: Skipped, Why: "no position could be proven for the result"}, nil
	case f.err != nil:
		return AuditResult{}, f.err
	}
	return *f.audit, nil
}

// settleAudit places a result as settle does, and compares it with the version
// in memory that is true there. It reports false if the query is to be repeated.
func (s *Store) settleAudit(a *AuditResult, q *Query, session uint64, res *Result) bool {
	fresh := resultVersion(res, q, s.opts.Now())
	s.mu.Lock()
	defer s.mu.Unlock()
	_, how := s.place(fresh, q, session, res)
	switch how {
	case settledUnknown:
		return false
	case settledOutdated:
		*a = AuditResult{Verdict: Skipped, Why: "a definition changed"}
		return true
	}
	p := fresh.From
	*a = AuditResult{Position: p, Snapshot: res.Snapshot}
	v := s.versionAt(q, p)
	if v == nil {
		a.Verdict, a.Why = Skipped, "no version in memory is true at the position of the result"
		return true
	}
	a.From, a.To = v.Interval()
	if v.Found == fresh.Found && bytes.Equal(v.Body, fresh.Body) {
		a.Verdict = Same
		return true
	}
	a.Verdict = Differs
	a.Have, a.HaveFound, a.Want, a.WantFound = v.Body, v.Found, fresh.Body, fresh.Found
	for _, r := range s.history.after(a.From) {
		if r.end > p {
			break
		}
		a.Transactions = append(a.Transactions, AuditTransaction{r.xid, r.end})
	}
	if n := len(a.Transactions); n > maxAuditTransactions {
		a.Transactions = a.Transactions[n-maxAuditTransactions:]
	}
	return true
}

// versionAt returns the version in memory that holds at a position, or nil.
// Store.mu is held.
func (s *Store) versionAt(q *Query, p revision.LSN) *Version {
	e := s.find(q.Key)
	if e == nil || e.group != q.Group || e.dead {
		return nil
	}
	if v := e.current.Load(); v != nil && v.TrueAt(p) {
		return v
	}
	return e.before(p)
}

// Sample returns the keys of up to n answers whose version in memory is open,
// chosen at random.
func (s *Store) Sample(n int) []string {
	var keys []string
	for i, at := range rand.Perm(shardCount) {
		left := shardCount - i
		quota := (n - len(keys)) / left
		if (n-len(keys))%left > 0 {
			quota++
		}
		sh := &s.shards[at]
		sh.mu.RLock()
		for e := range sh.all {
			if quota <= 0 {
				break
			}
			if v := e.current.Load(); v != nil && v.until() == 0 && !e.group.retired.Load() {
				keys = append(keys, e.key)
				quota--
			}
		}
		sh.mu.RUnlock()
	}
	return keys
}
