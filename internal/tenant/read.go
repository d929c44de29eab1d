package tenant

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidemarkdb/tidemark/internal/answer"
	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// ErrNoEndpoint: no endpoint has this path.
var ErrNoEndpoint = errors.New("no endpoint has this path")

// BrokenError says that an endpoint cannot be served since a definition in the
// database changed.
type BrokenError struct {
	Endpoint string
	Problems []query.Problem
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("endpoint %s cannot be served since a definition changed: %s", e.Endpoint, e.Problems[0].Message)
}

// Reply is an answer with the token of the revision as of which it is served.
type Reply struct {
	answer.Reply
	Endpoint string
	Key      string
	Token    string
}

// Hit returns the answer that is in memory under a path with its query, in the
// canonical form that a binding's key has, if minimize_latency may have it. It
// is the fast road; Read is the whole one. uri is not kept.
func (t *Tenant) Hit(uri string, now time.Time) (Reply, bool) {
	v, e, at, f := t.store.Hit(uri, now)
	if v == nil {
		return Reply{}, false
	}
	r := Reply{Reply: answer.Reply{Version: v, At: at, Exact: true, Outcome: answer.Hit}, Endpoint: e.Group().Name, Key: e.Key()}
	r.Token = t.token(f.Source, at, true)
	return r, true
}

// HitFully is Hit for fully_consistent. It asks the primary where it stands and
// waits until the log is applied as far; false says that Read has to see to it.
func (t *Tenant) HitFully(uri string) (Reply, bool) {
	frontier := t.store.Frontier()
	// The gate bounds the question and the wait in time.
	pass, err := t.gate(frontier).Pass(context.Background(), revision.Requirement{Level: revision.FullyConsistent})
	if err != nil || pass.Unreached {
		return Reply{}, false
	}
	v, e, at, f := t.store.Hit(uri, time.Now())
	if v == nil || e.Group().Volatile || f != frontier || at < pass.Position {
		return Reply{}, false
	}
	r := Reply{Reply: answer.Reply{Version: v, At: at, Exact: true, Outcome: answer.Hit}, Endpoint: e.Group().Name, Key: e.Key()}
	r.Token = t.token(f.Source, at, true)
	return r, true
}

// Read answers a request for an escaped path and a raw query. A request that
// meets a new epoch begins again in it.
func (t *Tenant) Read(ctx context.Context, path, rawQuery string, req revision.Requirement) (r Reply, err error) {
	for range 3 {
		if r, err = t.read(ctx, path, rawQuery, req); !errors.Is(err, answer.ErrEpoch) {
			break
		}
	}
	return r, err
}

func (t *Tenant) read(ctx context.Context, path, rawQuery string, req revision.Requirement) (Reply, error) {
	wait, cancel := context.WithTimeoutCause(ctx, t.opts.WaitTimeout, answer.ErrNotFresh)
	defer cancel()
	frontier := t.store.Frontier()
	pass, err := t.gate(frontier).Pass(wait, req)
	if err != nil {
		return Reply{}, err
	}
	r, s, b, err := t.serve(ctx, wait, pass, path, rawQuery)
	if err != nil {
		return Reply{}, err
	}
	if t.store.Frontier() != frontier {
		return Reply{}, answer.ErrEpoch // its position would be one of another log
	}
	return Reply{
		Reply: r, Endpoint: s.endpoint.Name, Key: b.Key, Token: t.token(frontier.Source, r.At, r.Exact),
	}, nil
}

// serve answers what has passed the gate. wait bounds how long another analysis
// is waited for.
func (t *Tenant) serve(ctx, wait context.Context, pass revision.Passage, path, rawQuery string) (answer.Reply, *served, *query.Binding, error) {
	for n := 0; ; n++ {
		set := t.endpoints.Load()
		s, b, err := set.bind(path, rawQuery)
		if err != nil {
			return answer.Reply{}, nil, nil, err
		}
		if s.group.Guarded && !trusted(ctx) {
			return answer.Reply{}, nil, nil, ErrGuarded
		}
		q := t.query(set, s, b)
		var r answer.Reply
		if pass.Level == revision.AtExactSnapshot {
			r, err = t.store.ServeAt(ctx, q, pass.Position)
		} else {
			r, err = t.store.Serve(ctx, q, answer.Need{
				Level: pass.Level, Position: pass.Position, XID: pass.XID,
				MaxStaleness: t.opts.MaxStaleness, Unreached: pass.Unreached,
			})
		}
		if errors.Is(err, answer.ErrPlanOutdated) || n < maxOvertaken && overtaken(err) {
			if err := t.awaitReplan(wait, set); err != nil {
				return answer.Reply{}, nil, nil, err
			}
			continue
		}
		return r, s, b, err
	}
}

// maxOvertaken is how often one request waits for another analysis because its
// statement failed: definitions may change faster than they are analysed.
const maxOvertaken = 5

// overtaken reports whether a statement failed that was analysed well: a
// definition must have changed, and another analysis may have another statement.
func overtaken(err error) bool {
	var stmt *StatementError
	return errors.As(err, &stmt) && strings.HasPrefix(stmt.Err.Code, "42")
}

func (set *endpointSet) bind(path, rawQuery string) (*served, *query.Binding, error) {
	ep, args, ok := set.router.Match(path)
	if !ok {
		return nil, nil, ErrNoEndpoint
	}
	s := set.of[ep]
	if s.broken != nil {
		return nil, nil, &BrokenError{ep.Name, s.broken}
	}
	values, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, nil, &query.ParamError{Name: "?" + rawQuery, Reason: "the query string is malformed"}
	}
	b, err := ep.Bind(args, values)
	return s, b, err
}

func (t *Tenant) query(set *endpointSet, s *served, b *query.Binding) *answer.Query {
	deps := s.tables
	if deps == nil {
		deps = b.Deps()
	}
	return &answer.Query{
		Key: b.Key, Group: s.group, Deps: deps, TTL: s.endpoint.TTL, Volatile: s.endpoint.Volatile,
		Planned: &set.seen, Source: &source{tenant: t, binding: b, tables: s.tables},
	}
}

func (t *Tenant) gate(frontier *revision.Frontier) *revision.Gate {
	return &revision.Gate{
		Frontier: frontier, Primary: t.primary,
		Committed: t.store.Committed, Patience: patience,
	}
}

// tokenCache holds the token of the last position that one was asked for.
type tokenCache struct{ p atomic.Pointer[cachedToken] }

type cachedToken struct {
	token revision.Token
	text  string
}

func (t *Tenant) token(source revision.Source, at revision.LSN, exact bool) string {
	tok := revision.Token{Source: source, LSN: at}
	if !exact {
		tok.Kind = revision.KindBound
	}
	if c := t.tokens.p.Load(); c != nil && c.token == tok {
		return c.text
	}
	c := &cachedToken{token: tok, text: tok.String()}
	t.tokens.p.Store(c)
	return c.text
}

// Token returns a token of everything committed so far.
func (t *Tenant) Token(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, t.opts.WaitTimeout)
	defer cancel()
	pos, err := t.primary.Ask(ctx)
	if err != nil {
		return "", err
	}
	return revision.Token{Source: pos.Source, LSN: pos.Insert}.String(), nil
}

// KeepPacked keeps another encoding of an answer's body beside it.
func (t *Tenant) KeepPacked(key string, v *answer.Version, packed []byte) {
	t.store.Packed(key, v, packed)
}
