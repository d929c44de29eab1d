package grpcapi_test

import (
	"context"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tidemarkdb/tidemark/internal/grpcapi"
	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/memory"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

const key = "a key of the tests"

// bearer sends a key with every call.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return false }

// client is everything that a server offers.
type client struct {
	v1.PermissionsServiceClient
	v1.SchemaServiceClient
	v1.WatchServiceClient
	v1.ExperimentalServiceClient
	conn *grpc.ClientConn
	addr string
}

// serve starts a server over a backend and returns a client of it.
func serve(t testing.TB, b perm.Backend) *client {
	t.Helper()
	_, addr := start(t, grpcapi.Options{Backend: grpcapi.Keys([]string{key}, b), Heartbeat: 20 * time.Millisecond})
	return dial(t, addr, key)
}

// start starts a server, which the test's end stops, and returns its address.
func start(t testing.TB, o grpcapi.Options) (*grpcapi.Server, string) {
	t.Helper()
	s := grpcapi.New(o)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s, l.Addr().String()
}

func dial(t testing.TB, addr, key string) *client {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(bearer(key)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{
		v1.NewPermissionsServiceClient(conn), v1.NewSchemaServiceClient(conn), v1.NewWatchServiceClient(conn),
		v1.NewExperimentalServiceClient(conn), conn, addr,
	}
}

func fresh(t testing.TB) *client {
	t.Helper()
	return serve(t, memory.New(time.Minute))
}

// conformance returns the public validation files, or skips.
func conformance(t *testing.T) []string {
	t.Helper()
	dir := os.Getenv("TIDEMARK_CONFORMANCE")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "conformance")
	}
	files, err := filepath.Glob(filepath.Join(dir, "spicedb", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("the public validation files are not here; TIDEMARK_CONFORMANCE names their folder")
	}
	return files
}

// refused fails the test unless an error has a code, a reason ("" for no
// ErrorInfo at all) and exactly these metadata keys.
func refused(t *testing.T, err error, code codes.Code, reason v1.ErrorReason, keys ...string) {
	t.Helper()
	st := status.Convert(err)
	if st.Code() != code {
		t.Errorf("%v; want the code %s", err, code)
		return
	}
	var info *errdetails.ErrorInfo
	for _, d := range st.Details() {
		if x, ok := d.(*errdetails.ErrorInfo); ok {
			info = x
		}
	}
	switch {
	case info == nil && reason == noReason:
	case info == nil:
		t.Errorf("%v has no ErrorInfo; want %s", err, reason)
	case reason == noReason:
		t.Errorf("%v has %v; want no ErrorInfo", err, info)
	case info.Domain != "authzed.com" || info.Reason != reason.String():
		t.Errorf("%v has %s %s; want %s", err, info.Domain, info.Reason, reason)
	default:
		slices.Sort(keys)
		if got := slices.Sorted(maps.Keys(info.Metadata)); !slices.Equal(got, keys) {
			t.Errorf("%v has the metadata %v; want the keys %v", err, info.Metadata, keys)
		}
	}
}

// noReason says that an error has no ErrorInfo.
const noReason v1.ErrorReason = -1

// withSchema returns a client of a server with a schema and relationships.
func withSchema(t testing.TB, schema string, rels ...string) *client {
	t.Helper()
	c := fresh(t)
	if _, err := c.WriteSchema(t.Context(), &v1.WriteSchemaRequest{Schema: schema}); err != nil {
		t.Fatal(err)
	}
	if len(rels) > 0 {
		c.touch(t, rels...)
	}
	return c
}

// touch writes relationships and returns the token of that.
func (c *client) touch(t testing.TB, rels ...string) string { return c.write(t, touch, rels...) }

const (
	create = v1.RelationshipUpdate_OPERATION_CREATE
	touch  = v1.RelationshipUpdate_OPERATION_TOUCH
	remove = v1.RelationshipUpdate_OPERATION_DELETE
)

func (c *client) write(t testing.TB, op v1.RelationshipUpdate_Operation, rels ...string) string {
	t.Helper()
	resp, err := c.WriteRelationships(t.Context(), &v1.WriteRelationshipsRequest{Updates: updates(t, op, rels...)})
	if err != nil {
		t.Fatal(err)
	}
	return resp.WrittenAt.Token
}

func updates(t testing.TB, op v1.RelationshipUpdate_Operation, rels ...string) []*v1.RelationshipUpdate {
	t.Helper()
	out := make([]*v1.RelationshipUpdate, len(rels))
	for i, text := range rels {
		out[i] = &v1.RelationshipUpdate{Operation: op, Relationship: rel(t, text)}
	}
	return out
}

func parse(t testing.TB, text string) tuple.Relationship {
	t.Helper()
	r, err := tuple.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// rel reads a relationship's text.
func rel(t testing.TB, text string) *v1.Relationship {
	t.Helper()
	return toProto(t, parse(t, text))
}

// text writes a relationship as text.
func text(t testing.TB, r *v1.Relationship) string {
	t.Helper()
	out := tuple.Relationship{
		Resource: tuple.Object{Type: r.Resource.ObjectType, ID: r.Resource.ObjectId}, Relation: r.Relation,
		Subject: tuple.Subject{
			Object:   tuple.Object{Type: r.Subject.Object.ObjectType, ID: r.Subject.Object.ObjectId},
			Relation: r.Subject.OptionalRelation,
		},
		Caveat: r.OptionalCaveat.GetCaveatName(),
	}
	if s := r.OptionalCaveat.GetContext(); len(s.GetFields()) > 0 {
		b, err := protojson.Marshal(s)
		if err == nil {
			out.Context, err = tuple.Canonical(b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if r.OptionalExpiresAt != nil {
		out.Expires = tuple.Expiration(r.OptionalExpiresAt.AsTime())
	}
	return out.String()
}

// question is the request of a check that is written as a relationship.
func question(t testing.TB, text string) *v1.CheckPermissionRequest {
	t.Helper()
	r := rel(t, text)
	return &v1.CheckPermissionRequest{Resource: r.Resource, Permission: r.Relation, Subject: r.Subject}
}

// all receives everything from a stream.
func all[T any](s grpc.ServerStreamingClient[T], err error) ([]*T, error) {
	var out []*T
	for err == nil {
		var m *T
		if m, err = s.Recv(); err == nil {
			out = append(out, m)
		}
	}
	if err == io.EOF {
		err = nil
	}
	return out, err
}

func full() *v1.Consistency {
	return &v1.Consistency{Requirement: &v1.Consistency_FullyConsistent{FullyConsistent: true}}
}

func exact(token string) *v1.Consistency {
	return &v1.Consistency{Requirement: &v1.Consistency_AtExactSnapshot{AtExactSnapshot: &v1.ZedToken{Token: token}}}
}

func atLeast(token string) *v1.Consistency {
	return &v1.Consistency{Requirement: &v1.Consistency_AtLeastAsFresh{AtLeastAsFresh: &v1.ZedToken{Token: token}}}
}
