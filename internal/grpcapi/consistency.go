package grpcapi

import (
	"context"
	"errors"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// view returns the version that a request's consistency asks for.
func view(ctx context.Context, c *v1.Consistency) (perm.View, error) {
	req, err := requirement(ctx, c)
	if err != nil {
		return perm.View{}, err
	}
	return backend(ctx).View(ctx, req)
}

func requirement(ctx context.Context, c *v1.Consistency) (req revision.Requirement, err error) {
	switch r := c.GetRequirement().(type) {
	case *v1.Consistency_FullyConsistent:
		req.Level = revision.FullyConsistent
	case *v1.Consistency_AtLeastAsFresh:
		req.Level = revision.AtLeastAsFresh
		req.Token, err = backend(ctx).Parse(r.AtLeastAsFresh.GetToken())
	case *v1.Consistency_AtExactSnapshot:
		req.Level = revision.AtExactSnapshot
		req.Token, err = backend(ctx).Parse(r.AtExactSnapshot.GetToken())
	}
	return req, err
}

// tokenError turns what may be wrong with a token into the code that says so, or
// returns nil.
func tokenError(err error) error {
	for _, e := range []struct {
		err  error
		code codes.Code
		what string
	}{
		{revision.ErrTokenMalformed, codes.InvalidArgument, "invalid revision requested"},
		{revision.ErrForeignToken, codes.InvalidArgument, "the token belongs to another database; read again without it"},
		{revision.ErrBoundToken, codes.InvalidArgument, "the token can be used with at_least_as_fresh only"},
		{revision.ErrForgotten, codes.OutOfRange, "the token's transaction is too long ago for an exact snapshot"},
		{revision.ErrFutureToken, codes.OutOfRange, "the token is from the future: nothing has been written that far"},
		{perm.ErrExpired, codes.OutOfRange, "the snapshot has expired"},
		{perm.ErrBehind, codes.OutOfRange, "begin again from a fresh read"},
		{revision.ErrNotReached, codes.DeadlineExceeded, "the log was not applied that far in time"},
		{revision.ErrSplit, codes.Unavailable, "the database has just failed over"},
	} {
		if errors.Is(err, e.err) {
			return status.Errorf(e.code, "%s: %v", e.what, err)
		}
	}
	return nil
}

func zedToken(token string) *v1.ZedToken { return &v1.ZedToken{Token: token} }
