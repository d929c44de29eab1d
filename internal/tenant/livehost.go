package tenant

import (
	"context"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// LiveHost is the tenant as the face of those who follow sees it.
type LiveHost struct{ t *Tenant }

// LiveHost returns what the tenant lends to that face.
func (t *Tenant) LiveHost() LiveHost { return LiveHost{t} }

// Pass waits, up to the tenant's time-out, until a requirement is met.
func (h LiveHost) Pass(ctx context.Context, req revision.Requirement) (revision.Passage, error) {
	ctx, cancel := context.WithTimeout(ctx, h.t.opts.WaitTimeout)
	defer cancel()
	for {
		frontier := h.t.store.Frontier()
		pass, err := h.t.gate(frontier).Pass(ctx, req)
		if err == nil && pass.Unreached {
			// There is no other source that could be asked instead.
			if err = frontier.Wait(ctx, pass.Position); err != nil && ctx.Err() != nil {
				err = revision.ErrNotReached
			}
			pass.Unreached = false
		}
		if frontier == h.t.store.Frontier() {
			return pass, err
		}
	}
}

// Token names the state that has everything up to a position.
func (h LiveHost) Token(at revision.LSN) string {
	return h.t.token(h.t.store.Frontier().Source, at, true)
}

// Takes reports whether the endpoint of an escaped path has a parameter of that
// name in its query string.
func (h LiveHost) Takes(path, name string) bool {
	e, _, ok := h.t.endpoints.Load().router.Match(path)
	if !ok {
		return false
	}
	for i := range e.Params {
		if e.Params[i].Name == name {
			return !e.Params[i].InPath
		}
	}
	return false
}

// Health is active once what is followed is followed up to now, and waiting or
// starting before that.
func (h LiveHost) Health() string {
	switch s := h.t.session.Load(); {
	case s == nil:
		return "starting"
	case !s.connected || h.t.silent.Load():
		return "waiting"
	}
	return "active"
}
