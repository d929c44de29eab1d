package tenant

import (
	"context"
	"errors"
)

// ErrGuarded: the answer holds the rows of several accounts, and who asks may not
// see all of them.
var ErrGuarded = errors.New("the answer holds the rows of several accounts")

type trustKey struct{}

// Trust returns a context in which the rows of all accounts may be read.
func Trust(ctx context.Context) context.Context { return context.WithValue(ctx, trustKey{}, true) }

func trusted(ctx context.Context) bool { return ctx.Value(trustKey{}) != nil }
