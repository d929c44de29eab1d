package tenant

import (
	"context"
	"errors"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Part is one of several answers read together. Err, if not nil, is about this
// path alone: it names no endpoint, or its parameters are wrong, or its
// statement fails.
type Part struct {
	Reply
	Err error
}

// ReadTogether answers several paths, each with its query, as of one position,
// and returns the token of it. An error is that of all of them.
func (t *Tenant) ReadTogether(ctx context.Context, uris []string, req revision.Requirement) ([]Part, string, error) {
	return nil, "", errors.ErrUnsupported
}
