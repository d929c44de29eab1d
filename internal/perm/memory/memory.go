// Package memory keeps permissions in memory alone: for tests of applications and
// for validation files. Every write is a transaction with a position of its own,
// and is visible to everybody before the call returns, so all consistency levels
// but the exact one come to the same.
package memory

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/engine"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Backend implements perm.Backend.
type Backend struct {
	source revision.Source
	state  *perm.State
	cache  *engine.Cache

	mu sync.Mutex // one write at a time
}

// first is the position of the empty store; tokens of position 0 look forged.
const first = revision.LSN(1)

// maxCache bounds what a store remembers of answers, in bytes. There may be many
// stores, and the graph of a test is small.
const maxCache = 1 << 17

// New returns an empty store whose tokens no other store takes. Versions are kept
// for the window after they ended.
func New(window time.Duration) *Backend {
	b := &Backend{
		source: revision.Source{SystemID: rand.Uint64(), Timeline: 1},
		state:  perm.NewState(window), cache: engine.NewCache(maxCache),
	}
	b.state.Begin(first, perm.Start{Graph: graph.New()})
	return b
}

// position is where the newest version is. A store is never loading.
func (b *Backend) position() revision.LSN {
	v, _ := b.state.Current()
	return v.LSN
}

// View implements perm.Backend.
func (b *Backend) View(_ context.Context, req revision.Requirement) (perm.View, error) {
	if req.Level == revision.AtLeastAsFresh || req.Level == revision.AtExactSnapshot {
		if err := b.mine(req.Token); err != nil {
			return perm.View{}, err
		}
	}
	if req.Level == revision.AtExactSnapshot {
		v, err := b.state.At(req.Token.LSN)
		return perm.View{Version: v, Token: b.Token(req.Token.LSN), Cache: b.cache}, err
	}
	v, err := b.state.Current()
	if err != nil {
		return perm.View{}, err
	}
	return perm.View{Version: v, Token: b.Token(v.LSN), Cache: b.cache}, nil
}

// mine refuses tokens of other stores and of what was not written yet.
func (b *Backend) mine(t revision.Token) error {
	switch {
	case t.Source != b.source:
		return revision.ErrForeignToken
	case t.LSN > b.position():
		return revision.ErrFutureToken
	}
	return nil
}

// commit makes the next version.
func (b *Backend) commit(d perm.Delta) (string, error) {
	d.End, d.At = b.position()+1, time.Now()
	if err := b.state.Apply(&d); err != nil {
		return "", err
	}
	return b.Token(d.End), nil
}

// Write implements perm.Backend.
func (b *Backend) Write(_ context.Context, w perm.Write) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v, err := b.state.Current()
	if err != nil {
		return "", err
	}
	for _, u := range w.Updates {
		if err := perm.Fits(v.Schema, u); err != nil {
			return "", err
		}
	}
	if err := preconditions(v, w.Preconditions); err != nil {
		return "", err
	}
	d := perm.Delta{Metadata: w.Metadata}
	for _, u := range w.Updates {
		there := v.Graph.Lookup(u.Key())
		if u.Op == perm.Create && len(there) > 0 {
			return "", &perm.ExistsError{Relationship: u.Relationship}
		}
		if u.Op == perm.Touch && slices.Contains(there, u.Relationship) {
			continue
		}
		for _, old := range there {
			d.Updates = append(d.Updates, graph.Update{Op: graph.Remove, Relationship: old})
		}
		if u.Op != perm.Delete {
			d.Updates = append(d.Updates, graph.Update{Op: graph.Add, Relationship: u.Relationship})
		}
	}
	return b.commit(d)
}

func preconditions(v *perm.Version, conditions []perm.Precondition) error {
	now := time.Now().UnixMicro()
	for _, p := range conditions {
		p.Filter.Now = now
		all, err := v.Graph.Relationships(p.Filter, nil)
		if err != nil {
			return err
		}
		found := false
		for range all {
			found = true
			break
		}
		if found == p.Absent {
			return &perm.PreconditionError{Precondition: p}
		}
	}
	return nil
}

// Delete implements perm.Backend.
func (b *Backend) Delete(_ context.Context, req perm.Deletion) (out perm.Deleted, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v, err := b.state.Current()
	if err != nil {
		return out, err
	}
	if err := preconditions(v, req.Preconditions); err != nil {
		return out, err
	}
	all, err := v.Graph.Relationships(req.Filter, nil)
	if err != nil {
		return out, err
	}
	d := perm.Delta{Metadata: req.Metadata}
	for r := range all {
		if req.Limit > 0 && len(d.Updates) == int(req.Limit) {
			out.More = true
			break
		}
		d.Updates = append(d.Updates, graph.Update{Op: graph.Remove, Relationship: r})
	}
	if out.More && !req.Partial {
		return perm.Deleted{}, perm.ErrTooMany
	}
	out.Count = uint64(len(d.Updates))
	out.Token, err = b.commit(d)
	return out, err
}

// Import implements perm.Backend.
func (b *Backend) Import(_ context.Context, next func() ([]tuple.Relationship, error)) (uint64, error) {
	var d perm.Delta
	seen := map[tuple.Relationship]bool{}
	for {
		batch, err := next()
		if err != nil {
			return 0, err
		}
		if batch == nil {
			break
		}
		for _, r := range batch {
			if seen[r.Key()] {
				return 0, &perm.ExistsError{Relationship: r}
			}
			seen[r.Key()] = true
			d.Updates = append(d.Updates, graph.Update{Op: graph.Add, Relationship: r})
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	v, err := b.state.Current()
	if err != nil {
		return 0, err
	}
	for _, u := range d.Updates {
		if err := perm.Fits(v.Schema, perm.Update{Op: perm.Create, Relationship: u.Relationship}); err != nil {
			return 0, err
		}
		if len(v.Graph.Lookup(u.Relationship.Key())) > 0 {
			return 0, &perm.ExistsError{Relationship: u.Relationship}
		}
	}
	_, err = b.commit(d)
	return uint64(len(d.Updates)), err
}

// WriteSchema implements perm.Backend.
func (b *Backend) WriteSchema(_ context.Context, text string) (string, error) {
	sch, err := schema.Parse(text)
	if err != nil {
		return "", err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	v, err := b.state.Current()
	if err != nil {
		return "", err
	}
	if v.Schema != nil {
		if err := orphan(v, schema.Dropped(v.Schema, sch)); err != nil {
			return "", err
		}
	}
	written := sch.Text()
	return b.commit(perm.Delta{Schema: &written, SchemaVersion: v.SchemaVersion + 1})
}

// orphan finds a relationship that rests on what a schema would take away.
func orphan(v *perm.Version, drops []schema.Drop) error {
	if len(drops) == 0 {
		return nil
	}
	all, err := v.Graph.Relationships(graph.Filter{}, nil)
	if err != nil {
		return err
	}
	for r := range all {
		for _, d := range drops {
			if d.Covers(r) {
				return &perm.OrphanError{Dropped: d, Relationship: r}
			}
		}
	}
	return nil
}

// SetCounter implements perm.Backend.
func (b *Backend) SetCounter(_ context.Context, name string, filter *graph.Filter) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	v, err := b.state.Current()
	if err != nil {
		return err
	}
	_, there := v.Counters[name]
	switch {
	case filter == nil && !there:
		return perm.ErrNoCounter
	case filter != nil && there:
		return perm.ErrCounterExists
	}
	_, err = b.commit(perm.Delta{Counters: map[string]*graph.Filter{name: filter}})
	return err
}

// Watch implements perm.Backend.
func (b *Backend) Watch(_ context.Context, token string) (*perm.Cursor, error) {
	at := b.position()
	if token != "" {
		t, err := revision.ParseToken(token)
		if err != nil {
			return nil, err
		}
		if err := b.mine(t); err != nil {
			return nil, err
		}
		at = t.LSN
	}
	return b.state.CursorAt(at)
}

// Through implements perm.Backend.
func (b *Backend) Through() revision.LSN { return b.position() }

// Token implements perm.Backend.
func (b *Backend) Token(lsn revision.LSN) string {
	return revision.Token{Source: b.source, LSN: lsn}.String()
}

// Parse implements perm.Backend.
func (b *Backend) Parse(token string) (revision.Token, error) {
	t, err := revision.ParseToken(token)
	if err == nil && t.Kind != revision.KindPosition {
		err = errors.Join(revision.ErrForeignToken, errors.New("this store gives out no such tokens"))
	}
	return t, err
}

// Mapped implements perm.Backend.
func (b *Backend) Mapped(string, string) bool { return false }
