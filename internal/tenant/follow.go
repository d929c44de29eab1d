package tenant

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/answer"
	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/follow"
	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// openAnswers prepares shapes of endpoints.
func (t *Tenant) openAnswers() {
	o := t.opts.Live
	if o == nil {
		return
	}
	t.answers = follow.New(follow.Options{
		Host: followHost{t}, Dir: filepath.Join(o.Dir, "answers"), ChunkBytes: o.ChunkSize, Logger: t.log,
	})
}

// Answers serves shapes of endpoints; nil if none may be followed.
func (t *Tenant) Answers() live.Answers {
	if t.answers == nil {
		return nil
	}
	return t.answers
}

// followHost is the tenant as those who follow its answers see it.
type followHost struct{ t *Tenant }

// Bind implements follow.Host.
func (h followHost) Bind(ctx context.Context, path, rawQuery string) (follow.Bound, error) {
	s, b, err := h.t.endpoints.Load().bind(path, rawQuery)
	if err != nil {
		return follow.Bound{}, err
	}
	d, err := h.t.definition(ctx, s)
	if err != nil {
		return follow.Bound{}, err
	}
	return follow.Bound{Key: b.Key, Definition: d}, nil
}

// Read implements follow.Host.
func (h followHost) Read(ctx context.Context, key string, notBefore revision.LSN) (r follow.Reading, err error) {
	for range 3 {
		if r, err = h.read(ctx, key, notBefore); !errors.Is(err, answer.ErrEpoch) {
			break
		}
	}
	if param := (*query.ParamError)(nil); errors.Is(err, ErrNoEndpoint) || errors.As(err, &param) {
		err = fmt.Errorf("%w: %w", follow.ErrNoAnswer, err)
	}
	return r, err
}

func (h followHost) read(ctx context.Context, key string, notBefore revision.LSN) (follow.Reading, error) {
	t := h.t
	wait, cancel := context.WithTimeoutCause(ctx, t.opts.WaitTimeout, answer.ErrNotFresh)
	defer cancel()
	frontier := t.store.Frontier()
	pass, err := t.gate(frontier).Pass(wait, revision.Requirement{
		Level: revision.AtLeastAsFresh, Token: revision.Token{Source: frontier.Source, LSN: notBefore},
	})
	if err != nil {
		return follow.Reading{}, err
	}
	path, rawQuery, _ := strings.Cut(key, "?")
	// Who may see which rows of it is decided for each follower.
	r, s, b, err := t.serve(Trust(ctx), wait, pass, path, rawQuery)
	if err != nil {
		return follow.Reading{}, err
	}
	if b.Key != key {
		return follow.Reading{}, fmt.Errorf("%w: it has the path %s now", follow.ErrNoAnswer, b.Key)
	}
	d, err := t.definition(ctx, s)
	if err != nil {
		return follow.Reading{}, err
	}
	if t.store.Frontier() != frontier {
		return follow.Reading{}, answer.ErrEpoch
	}
	return follow.Reading{Definition: d, Source: frontier.Source, Version: r.Version, At: r.At, Exact: r.Exact}, nil
}

// Watch implements follow.Host.
func (h followHost) Watch(key string, v *answer.Version, w answer.Watcher) bool {
	return h.t.store.Watch(key, v, w)
}

// Unwatch implements follow.Host.
func (h followHost) Unwatch(key string, w answer.Watcher) { h.t.store.Unwatch(key, w) }

// Frontier implements follow.Host.
func (h followHost) Frontier() *revision.Frontier { return h.t.store.Frontier() }

// definition returns an endpoint as its followers see it. What the database says
// of its types is asked for once.
func (t *Tenant) definition(ctx context.Context, s *served) (*follow.Definition, error) {
	if d := s.definition.Load(); d != nil {
		return d, nil
	}
	// After a restart all followers come at once, and the fill of what they follow
	// would wait behind their questions.
	s.defining.Lock()
	defer s.defining.Unlock()
	if d := s.definition.Load(); d != nil {
		return d, nil
	}
	e := s.endpoint
	var oids []uint32
	for _, c := range e.Columns {
		oids = append(oids, uint32(c.Type))
	}
	rows, err := t.pool.Query(ctx, live.TypesSQL, oids)
	var found []live.TypeRow
	if err == nil {
		found, err = pgx.CollectRows(rows, pgx.RowToStructByPos[live.TypeRow])
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the types of endpoint %s: %w", ErrDatabaseGone, e.Name, err)
	}
	types := live.NewTypes(found)
	columns := make([]live.Column, len(e.Columns))
	for i, c := range e.Columns {
		columns[i].Name = c.Name
		if columns[i].Type, err = types.Type(c.Type, c.Modifier, 0); err != nil {
			return nil, err
		}
	}
	d, err := follow.NewDefinition(follow.Endpoint{
		Name: e.Name, Columns: columns, Key: e.Key, Account: e.Account, Volatile: e.Volatile,
	})
	if err != nil {
		return nil, err
	}
	s.definition.Store(d)
	return d, nil
}
