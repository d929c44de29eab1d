package tenant

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/tidemarkdb/tidemark/internal/answer"
	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Part is one of several answers read together. Err, if not nil, is about this
// path alone: it names no endpoint, or its parameters are wrong, or its
// statement fails, or it is volatile and so has no position.
type Part struct {
	Reply
	Err error
}

// ReadTogether answers several paths, each with its query, as of one position,
// and returns the token of it. An error is that of all of them.
func (t *Tenant) ReadTogether(ctx context.Context, uris []string, req revision.Requirement) (parts []Part, token string, err error) {
	for range 3 {
		if parts, token, err = t.readTogether(ctx, uris, req); !errors.Is(err, answer.ErrEpoch) {
			break
		}
	}
	return parts, token, err
}

func (t *Tenant) readTogether(ctx context.Context, uris []string, req revision.Requirement) ([]Part, string, error) {
	wait, cancel := context.WithTimeoutCause(ctx, t.opts.WaitTimeout, answer.ErrNotFresh)
	defer cancel()
	frontier := t.store.Frontier()
	pass, err := t.gate(frontier).Pass(wait, req)
	if err != nil {
		return nil, "", err
	}
	need := answer.Need{
		Level: pass.Level, Position: pass.Position, XID: pass.XID, Unreached: pass.Unreached,
	}
	for n := 0; ; n++ {
		set := t.endpoints.Load()
		parts, at, err := t.parts(ctx, set, uris, need)
		if errors.Is(err, answer.ErrPlanOutdated) ||
			n < maxOvertaken && slices.ContainsFunc(parts, func(p Part) bool { return overtaken(p.Err) }) {
			if err := t.awaitReplan(wait, set); err != nil {
				return nil, "", err
			}
			continue
		}
		if err != nil {
			return nil, "", err
		}
		if t.store.Frontier() != frontier {
			return nil, "", answer.ErrEpoch
		}
		if at == 0 {
			at = max(frontier.Load(), need.Position) // nothing was read
		}
		exact := !slices.ContainsFunc(parts, func(p Part) bool { return p.Err == nil && !p.Exact })
		token := t.token(frontier.Source, at, exact)
		for i := range parts {
			parts[i].Token = token
		}
		return parts, token, nil
	}
}

// parts answers those paths that can be answered, all at the position returned.
func (t *Tenant) parts(ctx context.Context, set *endpointSet, uris []string, need answer.Need) ([]Part, revision.LSN, error) {
	parts := make([]Part, len(uris))
	queries := make([]*answer.Query, len(uris))
	for i, uri := range uris {
		s, b, err := set.bindURI(uri)
		switch {
		case err != nil:
			parts[i].Err = err
		case s.endpoint.Volatile:
			parts[i].Err = answer.ErrVolatile
		case s.group.Guarded && !trusted(ctx):
			parts[i].Err = ErrGuarded
		default:
			parts[i].Endpoint, parts[i].Key = s.endpoint.Name, b.Key
			queries[i] = t.query(set, s, b)
		}
	}
	// First each by itself, all at once, so that one statement that fails does
	// not take the others with it.
	var g errgroup.Group
	for i, q := range queries {
		if q == nil {
			continue
		}
		g.Go(func() (err error) {
			if need.Level == revision.AtExactSnapshot {
				parts[i].Reply.Reply, err = t.store.ServeAt(ctx, q, need.Position)
			} else {
				parts[i].Reply.Reply, err = t.store.Serve(ctx, q, need)
			}
			if ownFault(err) {
				parts[i].Err, queries[i] = err, nil
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, 0, err
	}
	if need.Level == revision.AtExactSnapshot {
		return parts, need.Position, nil
	}
	var left []*answer.Query
	var which []int
	for i, q := range queries {
		if q != nil {
			left, which = append(left, q), append(which, i)
		}
	}
	if len(left) == 0 {
		return parts, 0, nil
	}
	replies, err := t.store.ServeTogether(ctx, left, need)
	if err != nil {
		return nil, 0, err
	}
	for n, i := range which {
		first := parts[i].Reply.Reply
		parts[i].Reply.Reply = replies[n]
		if replies[n].Outcome == answer.Hit { // it was computed a moment ago
			r := &parts[i].Reply.Reply
			r.Outcome, r.Ended, r.Joined, r.Stored = first.Outcome, first.Ended, first.Joined, first.Stored
		}
	}
	return parts, replies[0].At, nil
}

// ownFault reports whether an error is about one statement and its parameters.
func ownFault(err error) bool {
	var stmt *StatementError
	return errors.As(err, &stmt) || errors.Is(err, ErrSeveralRows) || errors.Is(err, ErrAnswerTooLarge) ||
		errors.Is(err, ErrStatementTimeout)
}

// bindURI binds a path with its query, as a client would request it.
func (set *endpointSet) bindURI(uri string) (*served, *query.Binding, error) {
	u, err := url.ParseRequestURI(uri)
	if err != nil || u.Host != "" || !strings.HasPrefix(uri, "/") {
		return nil, nil, &query.ParamError{Name: "paths", Reason: "each is a path with its query, such as /v1/users/42?limit=5"}
	}
	return set.bind(u.EscapedPath(), u.RawQuery)
}
