package tenant

import (
	"context"
	"time"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/feed"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Connected implements feed.Sink.
func (t *Tenant) Connected(ctx context.Context, s feed.Session) error {
	old := t.session.Load()
	fresh := old == nil || old.Epoch != s.Epoch
	if fresh {
		if old != nil {
			t.log.Warn("the log does not continue: every answer is dropped", "epoch", s.Epoch, "reason", s.Reason)
		}
		// The transactions under way are read after the position from which the
		// session delivers is fixed, and before any answer is kept.
		unknown, err := t.inProgress(ctx)
		if err != nil {
			return err
		}
		if t.perms != nil {
			t.perms.Forget() // before positions are of another log
		}
		t.store.Reset(s.Source, s.Start)
		t.store.SetUnknown(unknown)
		t.primary.reset()
		t.confirm(ctx)
	} else {
		t.store.Connected()
	}
	if t.perms != nil {
		t.perms.Connected()
	}
	if t.tables != nil {
		reason := ""
		if fresh && old != nil {
			reason = s.Reason
		}
		if err := t.tables.connected(ctx, s, reason); err != nil {
			return err
		}
	}
	t.heard.Store(time.Now().UnixNano())
	t.silent.Store(false)
	t.session.Store(&session{Session: s, connected: true, since: time.Now()})
	return nil
}

// Disconnected implements feed.Sink.
func (t *Tenant) Disconnected(err error) {
	t.store.Disconnected()
	if old := t.session.Load(); old != nil {
		t.session.Store(&session{Session: old.Session, since: time.Now(), err: err})
	}
}

// Apply implements feed.Sink.
func (t *Tenant) Apply(ctx context.Context, tx *change.Transaction) error {
	whole := tx
	tx, redefined := t.definitions(tx)
	if err := t.store.Apply(ctx, tx); err != nil {
		return err
	}
	if t.perms != nil {
		t.perms.Apply(whole)
	}
	if t.tables != nil {
		t.tables.apply(whole)
	}
	if redefined() {
		if t.tables != nil {
			t.tables.suspect.Store(true)
		}
		t.log.Info("a definition changed", "position", tx.End.String(), "xid", uint64(tx.XID))
		t.replan.request()
	}
	t.applied.Add(1)
	t.changes.Add(int64(tx.Count))
	now := time.Now()
	t.last.Store(&lastCommit{committed: tx.Time, applied: now, end: tx.End})
	t.heard.Store(now.UnixNano())
	return nil
}

// Advance implements feed.Sink.
func (t *Tenant) Advance(lsn revision.LSN) {
	if t.tables != nil {
		t.tables.cover(lsn)
	}
	t.store.Frontier().Advance(lsn)
	if t.tables != nil {
		t.tables.advance(lsn)
	}
	t.heard.Store(time.Now().UnixNano())
}

// definitions decides what the Define changes of a transaction mean here. The
// first description of a table that the analysis knew says nothing new. Any
// other may change what an endpoint reads, so it touches everything.
func (t *Tenant) definitions(tx *change.Transaction) (out *change.Transaction, redefined func() bool) {
	found := false
	redefined = func() bool { return found }
	judge := func(c *change.Change) (keep bool) {
		if c.Op != change.Define {
			return true
		}
		if c.Relation != nil && !t.learn(c.Relation) {
			return false
		}
		found = true
		return true
	}
	if tx.Spilled != nil {
		each := tx.Spilled
		copied := *tx
		copied.Spilled = func(yield func(*change.Change) error) error {
			return each(func(c *change.Change) error {
				if !judge(c) {
					return nil
				}
				return yield(anyDefinition(c))
			})
		}
		return &copied, redefined
	}
	plain := true
	for i := range tx.Changes {
		if tx.Changes[i].Op == change.Define {
			plain = false
			break
		}
	}
	if plain {
		return tx, redefined
	}
	copied := *tx
	copied.Changes = make([]change.Change, 0, len(tx.Changes))
	for i := range tx.Changes {
		if c := &tx.Changes[i]; judge(c) {
			copied.Changes = append(copied.Changes, *anyDefinition(c))
		}
	}
	return &copied, redefined
}

func anyDefinition(c *change.Change) *change.Change {
	if c.Op == change.Define && c.Relation != nil {
		return &change.Change{Op: change.Define}
	}
	return c
}

// learn notes a relation as the log describes it and reports whether that may
// change what an endpoint reads.
func (t *Tenant) learn(rel *catalog.Relation) bool {
	seen := t.relations[rel.OID]
	t.relations[rel.OID] = rel
	if seen != nil {
		return !seen.SameShape(rel)
	}
	return !t.endpoints.Load().known[rel.OID] && !knownToPermissions(rel)
}
