package tenant

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/answer"
	"github.com/tidemarkdb/tidemark/internal/feed"
	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Status describes a tenant at one moment.
type Status struct {
	Ready  bool
	Why    string // when not ready
	Feed   feed.Status
	Store  answer.Stats
	Token  string // of the frontier
	Source revision.Source

	Frontier revision.LSN
	// LastCommit is the server's time of the last transaction applied, LastApply
	// this process's when it was.
	LastCommit, LastApply time.Time
	// Lag is how long ago the log was last heard.
	Lag time.Duration

	Transactions, Changes int64
	Questions, Flushes    int64 // asked of the primary
	FillConnections       int32 // in use
	DefinitionTriggers    bool
	Audit                 AuditStatus
}

// Status returns the current figures, without asking the database.
func (t *Tenant) Status() Status {
	s := Status{
		Feed: t.feed.Status(), Store: t.store.Stats(),
		Transactions: t.applied.Load(), Changes: t.changes.Load(),
		Questions: t.primary.asked.Load(), Flushes: t.primary.flushes.Load(),
		FillConnections: t.pool.Stat().AcquiredConns(), DefinitionTriggers: t.triggers.Load(),
		Audit: t.audits.status(),
	}
	frontier := t.store.Frontier()
	s.Source, s.Frontier = frontier.Source, frontier.Load()
	s.Token = t.token(s.Source, s.Frontier, true)
	if l := t.last.Load(); l != nil {
		s.LastCommit, s.LastApply = l.committed, l.applied
	}
	s.Lag = t.silence()
	switch sess := t.session.Load(); {
	case sess == nil:
		s.Why, s.Lag = "the log has not been reached since the start", 0
		if s.Feed.Why != "" {
			s.Why += ": " + s.Feed.Why
		}
	case !sess.connected:
		s.Why = "the log is not followed"
		if sess.err != nil {
			s.Why += ": " + sess.err.Error()
		}
	case s.Store.Frozen:
		s.Why = "the log has been silent for longer than consistency.wait_timeout"
	default:
		s.Ready = true
	}
	return s
}

// Retained asks the database how much log the slot makes it keep, in bytes, and
// how far the end of the log is ahead of the frontier.
func (t *Tenant) Retained(ctx context.Context) (retained, behind int64, err error) {
	conn, err := t.pool.Acquire(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer conn.Release()
	err = conn.QueryRow(ctx, `SELECT coalesce(max(pg_wal_lsn_diff(pg_current_wal_insert_lsn(), restart_lsn)), 0)::bigint,
		pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $2::text::pg_lsn)::bigint
		FROM pg_replication_slots WHERE slot_name = $1`,
		t.opts.Slot, t.store.Frontier().Load().String()).Scan(&retained, &behind)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, 0, nil
	}
	return retained, max(behind, 0), err
}

// EndpointStatus describes one endpoint.
type EndpointStatus struct {
	Name, Route, File string
	TTL               time.Duration
	One               bool
	Volatile          bool
	Tables            []TableRead
	Problems          []string

	Hits, Misses, Stale, Errors, Ended, Answers int64
	Fills                                       int64 // queries sent
	Filled                                      int64 // answers that they computed
	Refills                                     int64 // of these, before anybody asked
	Shed                                        int64 // requests turned away
	Patched                                     int64 // answers changed in place, without a query
	Passed                                      int64 // answers found unchanged in place
	Compared                                    int64 // answers computed again after a change ended them
	Vain                                        int64 // of these, equal to what they were
	// Causes are the kinds of change that ended answers, those in vain first.
	Causes []Cause
	// Distrusted says why the endpoint follows whole tables: an audit found an
	// answer wrong. Empty otherwise.
	Distrusted string
}

// Cause is one kind of change and what it did to the answers of an endpoint.
type Cause struct {
	Table, Op   string
	Ended, Vain int64 // Vain of those that were compared
}

// TableRead is one table reference of an endpoint.
type TableRead struct {
	Table   string
	Columns []string // nil: all
}

// Endpoints lists the endpoints that are served.
func (t *Tenant) Endpoints() []EndpointStatus {
	var out []EndpointStatus
	for _, s := range t.endpoints.Load().served {
		ep, g := s.endpoint, s.group
		e := EndpointStatus{
			Name: ep.Name, Route: ep.Route.String(), File: s.file.Path, TTL: ep.TTL, One: ep.One, Volatile: ep.Volatile,
			Hits: g.Hits.Load(), Misses: g.Misses.Load(), Stale: g.Stale.Load(), Fills: g.Fills.Load(),
			Filled: g.Filled.Load(), Refills: g.Refills.Load(), Shed: g.Shed.Load(),
			Patched: g.Patched.Load(), Passed: g.Passed.Load(), Compared: g.Compared.Load(), Vain: g.Vain.Load(),
			Errors: g.Errors.Load(), Ended: g.Ended.Load(), Answers: g.Answers.Load(), Distrusted: s.why,
		}
		for _, c := range g.Causes() {
			e.Causes = append(e.Causes, Cause{Table: c.Table, Op: c.Op.String(), Ended: c.Ended, Vain: c.Vain})
		}
		slices.SortStableFunc(e.Causes, func(a, b Cause) int { return cmp.Compare(b.Vain, a.Vain) })
		for _, r := range ep.Reads {
			e.Tables = append(e.Tables, TableRead{r.Name, r.Columns})
		}
		for _, p := range s.broken {
			e.Problems = append(e.Problems, p.String())
		}
		out = append(out, e)
	}
	return out
}

// Explanation says how one answer is kept right.
type Explanation struct {
	Endpoint, Key, File string
	Dependencies        []query.Explanation
	Volatile            bool
	Cached              bool
	From, To            revision.LSN
	Filled, Expires     time.Time
	Ended               *answer.Reason
	Kept                int
	Bytes               int64
	// Followed says that changes are applied to the answer without a query.
	Followed bool
	// Last is why the version before the current one ended, or nil.
	Last *answer.Reason
	// Reads is how often the answer is expected to be read until the next change.
	Reads float64
	// Distrusted is as in EndpointStatus.
	Distrusted string
}

// Explain describes the answer of a path with its query. Of an answer in memory it
// tells what it depends on, as the database says now: that takes a query.
func (t *Tenant) Explain(ctx context.Context, path, rawQuery string) (*Explanation, error) {
	set := t.endpoints.Load()
	s, b, err := set.bind(path, rawQuery)
	if err != nil {
		return nil, err
	}
	x := &Explanation{
		Endpoint: s.endpoint.Name, Key: b.Key, File: s.file.Path,
		Dependencies: s.endpoint.Explain(b), Volatile: s.endpoint.Volatile, Distrusted: s.why,
	}
	d, _ := t.store.Describe(b.Key)
	x.Kept, x.Bytes, x.Followed, x.Last, x.Reads = d.Kept, d.Bytes, d.Followed, d.Ended, d.Reads
	if d.Refined {
		q := t.query(set, s, b)
		if res, err := q.Source.Fill(ctx, []*answer.Query{q}); err == nil {
			x.Dependencies = s.endpoint.ExplainDeps(res[0].Deps, b)
		}
	}
	if v := d.Current; v != nil {
		x.From, x.To = v.Interval()
		x.Cached, x.Filled, x.Expires, x.Ended = x.To == 0, v.Filled(), v.Expires(), v.Reason()
	}
	return x, nil
}

// PurgeAnswer drops the answer of a path with its query.
func (t *Tenant) PurgeAnswer(path, rawQuery string) (int, error) {
	_, b, err := t.endpoints.Load().bind(path, rawQuery)
	if err != nil {
		return 0, err
	}
	return t.store.PurgeKey(b.Key), nil
}

// ErrUnknownName: there is no endpoint or table of that name.
var ErrUnknownName = errors.New("no such name")

// PurgeEndpoint drops the answers of one endpoint.
func (t *Tenant) PurgeEndpoint(name string) (int, error) {
	s := t.endpoints.Load().byName[name]
	if s == nil {
		return 0, ErrUnknownName
	}
	return t.store.PurgeGroup(s.group), nil
}

// PurgeTable drops the answers that read a table, named schema.table, or by its
// bare name where that is not ambiguous.
func (t *Tenant) PurgeTable(name string) (int, error) {
	n, found := 0, false
	for _, s := range t.endpoints.Load().served {
		for _, r := range s.endpoint.Reads {
			if r.Name != name && bareName(r.Name) != name {
				continue
			}
			found = true
			for _, oid := range r.Tables {
				n += t.store.PurgeTable(oid)
			}
		}
	}
	if !found {
		return 0, ErrUnknownName
	}
	return n, nil
}

func bareName(name string) string {
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '.' {
			return name[i+1:]
		}
	}
	return name
}

// PurgeAll drops every answer.
func (t *Tenant) PurgeAll() int { return t.store.PurgeAll() }
