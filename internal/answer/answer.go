// Package answer keeps answers: their versions, the interval of positions in
// which each is true, the fills that compute them, and the memory they take.
//
// It is where a query result meets the log. An answer computed at a snapshot is
// kept only when every transaction up to a position has been compared with that
// snapshot, and it ends at the first transaction that touches it. The order is:
//
//  1. Apply enters a transaction in the history, ends the versions that it
//     touches, and returns. Only then may the frontier move past it.
//  2. A fill runs its query, waits until the frontier has passed the position
//     at which the query was done, and then, under the lock that Apply holds,
//     compares the history with the snapshot and registers the version.
//
// So a version without an end is true at the frontier, always.
//
// Some versions follow a transaction that touches them: then the old one ends and
// a new one begins where the transaction does, without a query.
//
// The package does not know what an answer is made from. A Source fills, a
// match.Dependency says what touches it, a patch.State follows. Calls of a Source
// share a bounded number of slots. Locks, outermost first: Store.mu, shard.mu,
// Entry.mu, and inside that fill.mu or queue.mu. A hit takes none but its shard's,
// for reading, unless it meets the moment in which a transaction is applied.
package answer

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/patch"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Errors that callers test for.
var (
	// ErrNotFresh: the asked freshness could not be reached in time.
	ErrNotFresh = errors.New("not fresh enough within the wait timeout")
	// ErrSnapshotExpired: no version and no snapshot of that position is left.
	ErrSnapshotExpired = errors.New("snapshot expired")
	// ErrPlanOutdated: a definition changed since the query was analysed.
	// Analyse it again and repeat.
	ErrPlanOutdated = errors.New("the query was analysed before a definition changed")
	// ErrVolatile: an answer that changes without a committed row has no
	// snapshots.
	ErrVolatile = errors.New("a volatile answer has no exact snapshots")
	// ErrEpoch: the log does not continue; what was waited for will not come.
	ErrEpoch = errors.New("the log was replaced by another")
)

// Source computes answers.
type Source interface {
	// Fill computes the answers of queries of one group, all at one snapshot, and
	// returns them in their order. It is called on the first query's Source.
	Fill(ctx context.Context, queries []*Query) ([]Result, error)
	// FillAt computes its own query's answer at a pinned snapshot.
	FillAt(ctx context.Context, p *Pin) (Result, error)
}

// Result is what a Source computed.
type Result struct {
	Body  []byte
	Found bool // false: there is no such thing, and Body is empty
	// Source is the log of the database that the query ran on.
	Source revision.Source
	// Snapshot is what the query saw. Upper is an insert position read once the
	// snapshot existed: whatever the snapshot holds ends at or before it.
	Snapshot revision.Snapshot
	Upper    revision.LSN
	// After is an insert position read once the query was done. A truncation or
	// a changed definition that committed between the snapshot and the query
	// shows in the result although the snapshot does not hold it; it ends at or
	// before After. Where nothing committed in between, After may be Upper.
	After revision.LSN
	// Deps are the dependencies of this very answer, or nil for those of its
	// query, which hold at every snapshot.
	Deps []match.Dependency
	// State is how the answer follows its rows without a query, or nil. Its body
	// is Body. Then the dependencies are of one table reference, and hold for all
	// rows that the state knows, shown or not.
	State *patch.State
}

// Pin is a snapshot that is held open in the database.
type Pin struct {
	ID       string // as pg_export_snapshot gave it
	Source   revision.Source
	Snapshot revision.Snapshot
	Upper    revision.LSN
	Taken    time.Time
}

// Group is a set of answers that come and go together: one endpoint as it was
// analysed once.
type Group struct {
	Name string
	// Volatile answers are only for those who ask for no freshness.
	Volatile bool
	// Guarded answers are not for everybody: Hit does not serve them.
	Guarded bool
	// Batch is how many queries one Fill may have; 0 means 1.
	Batch int
	// Query makes the query of a key anew, for answers that are computed before
	// somebody asks. Without it they never are.
	Query func(key string) (*Query, error)
	*Counters
	retired atomic.Bool

	// Guarded by queue.mu.
	waiting [priorities]waitList
	running [priorities]int // slots that it has
	took    time.Duration   // by one fill's share of a slot, recently
}

// Query says which answer is asked for and how it is computed.
type Query struct {
	Key      string
	Group    *Group
	Deps     []match.Dependency
	TTL      time.Duration
	Volatile bool
	// Planned is what the analysis of the query saw.
	Planned *Seen
	Source  Source
}

// Cause is the kind of event that ends a version.
type Cause byte

// The causes.
const (
	ByChange     Cause = iota // a committed row
	ByDefinition              // a changed definition
	ByTTL                     // its time to live
	ByPurge                   // by hand
	ByEviction                // for want of memory
	ByEpoch                   // the log was replaced
	BySnapshot                // it was known at one position only

	reasonCount = int(BySnapshot) + 1
)

var reasonNames = [reasonCount]string{"change", "definition", "ttl", "purge", "eviction", "epoch", "snapshot"}

func (c Cause) String() string { return reasonNames[c] }

// Reason says why a version ended.
type Reason struct {
	Cause Cause
	Table string // through which table reference
	Op    change.Op
	At    revision.LSN
	XID   revision.XID
}

func (r *Reason) String() string {
	switch {
	case r.Cause == ByChange && r.Table == "":
		return fmt.Sprintf("change at %s by transaction %d", r.At, r.XID)
	case r.Cause == ByChange:
		return fmt.Sprintf("%s of %s at %s by transaction %d", r.Op, r.Table, r.At, r.XID)
	case r.Cause == ByDefinition:
		return fmt.Sprintf("definition changed at %s by transaction %d", r.At, r.XID)
	}
	return r.Cause.String()
}

// Outcome says how a reply came about.
type Outcome byte

// The outcomes.
const (
	Hit    Outcome = iota // from memory
	Filled                // computed for this request, or for one that it joined
	Stale                 // from memory, known to be stale, within what was allowed
	Pinned                // computed at a pinned snapshot
)

// Reply is one answer as served.
type Reply struct {
	Version *Version
	// At is the position as of which it is served. If Exact is false the answer
	// is what the database said when asked, not proven equal to any one
	// position, and At bounds what it may hold.
	At      revision.LSN
	Exact   bool
	Outcome Outcome
	// Ended says why the version before this one is not served, if there was one.
	Ended *Reason
	// Joined says that another request's fill was waited for.
	Joined bool
	Stored bool
}
