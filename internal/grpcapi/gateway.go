package grpcapi

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"

	"github.com/authzed/authzed-go/proto"
	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
)

// Gateway returns a handler that offers the services as HTTP and JSON, under the
// paths that their definitions name. It calls the server at conn, with the key
// that each request brings.
func Gateway(ctx context.Context, conn *grpc.ClientConn) (http.Handler, error) {
	mux, c := runtime.NewServeMux(), wide{conn}
	if err := errors.Join(
		v1.RegisterPermissionsServiceHandlerClient(ctx, mux, v1.NewPermissionsServiceClient(c)),
		v1.RegisterSchemaServiceHandlerClient(ctx, mux, v1.NewSchemaServiceClient(c)),
		v1.RegisterWatchServiceHandlerClient(ctx, mux, v1.NewWatchServiceClient(c)),
		v1.RegisterExperimentalServiceHandlerClient(ctx, mux, v1.NewExperimentalServiceClient(c)),
	); err != nil {
		return nil, fmt.Errorf("the HTTP gateway: %w", err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/openapi.json" && r.Method == http.MethodGet {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(proto.OpenAPISchema))
			return
		}
		if r.Body != nil && strings.HasPrefix(r.URL.Path, "/v1/") {
			r.Body = http.MaxBytesReader(w, r.Body, maxMessage)
		}
		mux.ServeHTTP(w, r)
	}), nil
}

// wide is a connection that takes messages of any size: the server is a trusted
// one.
type wide struct{ *grpc.ClientConn }

func (c wide) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return c.ClientConn.Invoke(ctx, method, args, reply, append(opts, grpc.MaxCallRecvMsgSize(math.MaxInt32))...)
}

func (c wide) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.ClientConn.NewStream(ctx, desc, method, append(opts, grpc.MaxCallRecvMsgSize(math.MaxInt32))...)
}
