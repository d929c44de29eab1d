package grpcapi

import (
	"context"
	"fmt"
	"testing"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

func withKey(ctx context.Context) context.Context {
	return metadata.NewIncomingContext(ctx, metadata.Pairs("authorization", "Bearer a key of some length"))
}

// BenchmarkCheck is a check between the transport's bytes of the request and
// those of the response.
func BenchmarkCheck(b *testing.B) {
	a := services(b, Options{Backend: Keys([]string{"a key of some length"}, fuzzBackend(b))})
	wire, err := proto.Marshal(&v1.CheckPermissionRequest{
		Consistency: &v1.Consistency{Requirement: &v1.Consistency_MinimizeLatency{MinimizeLatency: true}},
		Resource:    &v1.ObjectReference{ObjectType: "tenant/document", ObjectId: "plan"}, Permission: "all",
		Subject: &v1.SubjectReference{Object: &v1.ObjectReference{ObjectType: "user", ObjectId: "plan"}},
	})
	if err != nil {
		b.Fatal(err)
	}
	info := &grpc.UnaryServerInfo{FullMethod: v1.PermissionsService_CheckPermission_FullMethodName}
	next := func(ctx context.Context, req any) (any, error) {
		return a.CheckPermission(ctx, req.(*v1.CheckPermissionRequest))
	}
	ctx := withKey(b.Context())
	b.ReportAllocs()
	for b.Loop() {
		req := &v1.CheckPermissionRequest{}
		if err := (codec{}).Unmarshal(mem.BufferSlice{mem.SliceBuffer(wire)}, req); err != nil {
			b.Fatal(err)
		}
		resp, err := a.unary(ctx, req, info, next)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := (codec{}).Marshal(resp); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLookupResources finds 1,500 documents.
func BenchmarkLookupResources(b *testing.B) {
	backend := fuzzBackend(b)
	var w perm.Write
	for i := range 1500 {
		r, err := tuple.Parse(fmt.Sprintf("tenant/document:d%d#view@user:reader", i))
		if err != nil {
			b.Fatal(err)
		}
		w.Updates = append(w.Updates, perm.Update{Relationship: r})
	}
	if _, err := backend.Write(b.Context(), w); err != nil {
		b.Fatal(err)
	}
	a := services(b, Options{})
	ctx := context.WithValue(b.Context(), backendKey{}, backend)
	s := &counting{ctx: ctx}
	req := &v1.LookupResourcesRequest{
		ResourceObjectType: "tenant/document", Permission: "all",
		Subject: &v1.SubjectReference{Object: &v1.ObjectReference{ObjectType: "user", ObjectId: "reader"}},
	}
	b.ReportAllocs()
	for b.Loop() {
		s.n = 0
		if err := a.LookupResources(req, &grpc.GenericServerStream[v1.LookupResourcesRequest, v1.LookupResourcesResponse]{ServerStream: s}); err != nil || s.n < 1500 {
			b.Fatal(s.n, err)
		}
	}
}

type counting struct {
	grpc.ServerStream
	ctx context.Context
	n   int
}

func (s *counting) Context() context.Context { return s.ctx }

func (s *counting) SendMsg(m any) error {
	s.n++
	_, err := codec{}.Marshal(m)
	return err
}
