package grpcapi_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/memory"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// TestTokens: every token that a check can bring has a definite answer.
func TestTokens(t *testing.T) {
	c := withSchema(t, documents)
	token := c.touch(t, "document:plan#reader@user:ana")
	later := c.write(t, remove, "document:plan#reader@user:ana")
	now, err := revision.ParseToken(later)
	if err != nil {
		t.Fatal(err)
	}
	future := now
	future.LSN += 1000
	foreign := withSchema(t, documents).touch(t, "document:plan#reader@user:ana")
	old := serve(t, memory.New(time.Nanosecond))
	if _, err := old.WriteSchema(t.Context(), &v1.WriteSchemaRequest{Schema: documents}); err != nil {
		t.Fatal(err)
	}
	expired := old.touch(t, "document:plan#reader@user:ana")
	for range 100 { // of the past only some versions are kept whole, and those before go together
		old.touch(t, "document:plan#reader@user:ben")
		old.write(t, remove, "document:plan#reader@user:ben")
	}
	const (
		has    = v1.CheckPermissionResponse_PERMISSIONSHIP_HAS_PERMISSION
		hasNot = v1.CheckPermissionResponse_PERMISSIONSHIP_NO_PERMISSION
	)
	for _, tt := range []struct {
		name  string
		c     *client
		at    *v1.Consistency
		code  codes.Code
		want  v1.CheckPermissionResponse_Permissionship
		token string
	}{
		{"none", c, nil, codes.OK, hasNot, later},
		{"full", c, full(), codes.OK, hasNot, later},
		{"minimize latency", c, &v1.Consistency{Requirement: &v1.Consistency_MinimizeLatency{MinimizeLatency: true}}, codes.OK, hasNot, later},
		{"exact", c, exact(token), codes.OK, has, token},
		{"exact, the last", c, exact(later), codes.OK, hasNot, later},
		{"at least", c, atLeast(token), codes.OK, hasNot, later},
		{"exact, expired", old, exact(expired), codes.OutOfRange, 0, ""},
		{"at least, expired", old, atLeast(expired), codes.OK, has, ""},
		{"exact, future", c, exact(future.String()), codes.OutOfRange, 0, ""},
		{"at least, future", c, atLeast(future.String()), codes.OutOfRange, 0, ""},
		{"exact, foreign", c, exact(foreign), codes.InvalidArgument, 0, ""},
		{"at least, foreign", c, atLeast(foreign), codes.InvalidArgument, 0, ""},
		{"exact, garbage", c, exact("garbage!"), codes.InvalidArgument, 0, ""},
		{"at least, garbage", c, atLeast("garbage!"), codes.InvalidArgument, 0, ""},
		{"exact, empty", c, exact(""), codes.InvalidArgument, 0, ""},
		{"at least, empty", c, atLeast(""), codes.InvalidArgument, 0, ""},
		{"exact, SpiceDB's", c, exact("GhUKEzE3MTQ0OTYwOTgwMDAwMDAwMDA="), codes.InvalidArgument, 0, ""},
		{"exact, cut", c, exact(token[:len(token)-1]), codes.InvalidArgument, 0, ""},
	} {
		req := question(t, "document:plan#view@user:ana")
		req.Consistency = tt.at
		resp, err := tt.c.CheckPermission(t.Context(), req)
		refused(t, err, tt.code, noReason)
		if resp.GetPermissionship() != tt.want || tt.token != "" && resp.GetCheckedAt().GetToken() != tt.token {
			t.Errorf("%s: %v, want %v at %s", tt.name, resp, tt.want, tt.token)
		}
	}
}

// ctx is short for what every method of a backend begins with.
type ctx = context.Context

// failing is a backend that can do nothing.
type failing struct {
	perm.Backend
	err error
}

func (b failing) View(ctx, revision.Requirement) (perm.View, error) { return perm.View{}, b.err }
func (b failing) Write(ctx, perm.Write) (string, error)             { return "", b.err }
func (b failing) Delete(ctx, perm.Deletion) (perm.Deleted, error)   { return perm.Deleted{}, b.err }
func (b failing) WriteSchema(ctx, string) (string, error)           { return "", b.err }
func (b failing) Watch(ctx, string) (*perm.Cursor, error)           { return nil, b.err }
func (b failing) Import(ctx, func() ([]tuple.Relationship, error)) (uint64, error) {
	return 0, b.err
}

type retry struct{}

func (retry) Error() string     { return "the database is away" }
func (retry) Unavailable() bool { return true }

// TestBackendErrors: what a backend cannot do has a code that clients understand,
// in every call.
func TestBackendErrors(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code codes.Code
	}{
		{revision.ErrTokenMalformed, codes.InvalidArgument},
		{revision.ErrForeignToken, codes.InvalidArgument},
		{revision.ErrBoundToken, codes.InvalidArgument},
		{revision.ErrForgotten, codes.OutOfRange},
		{revision.ErrFutureToken, codes.OutOfRange},
		{perm.ErrExpired, codes.OutOfRange},
		{perm.ErrBehind, codes.OutOfRange},
		{revision.ErrNotReached, codes.DeadlineExceeded},
		{fmt.Errorf("%w: %w", revision.ErrNotReached, context.DeadlineExceeded), codes.DeadlineExceeded},
		{revision.ErrSplit, codes.Unavailable},
		{perm.ErrLoading, codes.Unavailable},
		{perm.ErrSerialization, codes.Aborted},
		{&perm.MappedError{Type: "document", Relation: "reader"}, codes.FailedPrecondition},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
		{retry{}, codes.Unavailable},
		{errors.New("something else"), codes.Internal},
		{status.Error(codes.ResourceExhausted, "enough"), codes.ResourceExhausted},
	} {
		c := serve(t, failing{memory.New(time.Minute), fmt.Errorf("the backend: %w", tt.err)})
		_, err := c.CheckPermission(t.Context(), question(t, "document:plan#view@user:ana"))
		errs := []error{err}
		_, err = c.WriteRelationships(t.Context(), &v1.WriteRelationshipsRequest{Updates: updates(t, touch, "document:plan#reader@user:ana")})
		errs = append(errs, err)
		_, err = c.WriteSchema(t.Context(), &v1.WriteSchemaRequest{Schema: documents})
		errs = append(errs, err)
		_, err = all(c.LookupResources(t.Context(), resources("document", "view", "user:ana")))
		errs = append(errs, err)
		_, err = all(c.LookupSubjects(t.Context(), subjectsOf("document:plan", "view", "user")))
		errs = append(errs, err)
		_, err = all(c.Watch(t.Context(), &v1.WatchRequest{}))
		errs = append(errs, err)
		for i, err := range errs {
			if status.Code(err) != tt.code {
				t.Errorf("%v, call %d: %v, want %s", tt.err, i, err, tt.code)
			}
		}
	}
}
