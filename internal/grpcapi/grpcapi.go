// Package grpcapi is the face of permissions: SpiceDB's v1 gRPC services.
//
// Each call finds its perm.Backend by its bearer token, takes one view that
// satisfies the consistency that it asks for, and answers from that alone. The
// same services stand behind an HTTP gateway (see Gateway).
package grpcapi

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/tidemarkdb/tidemark/internal/perm"
)

// Options configure a server.
type Options struct {
	// Backend returns the permissions that a bearer token opens, or a status
	// error.
	Backend func(ctx context.Context, token string) (perm.Backend, error)
	TLS     *tls.Config // nil: plain text
	Log     *slog.Logger
	// Heartbeat is how often a watcher without news is told how far it has seen;
	// 1 s.
	Heartbeat time.Duration
}

// Server serves gRPC.
type Server struct {
	*grpc.Server
	health *health.Server
	api    *api
	drain  sync.Once
}

// api implements all services.
type api struct {
	v1.UnimplementedPermissionsServiceServer
	v1.UnimplementedSchemaServiceServer
	v1.UnimplementedWatchServiceServer
	v1.UnimplementedExperimentalServiceServer
	opts Options
	// closing is closed when the server drains: streams without an end end.
	closing chan struct{}
}

// maxMessage bounds a request: an import's message holds many relationships.
const maxMessage = 64 << 20

// workers is how many goroutines are kept for calls. Their stacks have grown
// already, which costs a short call more than the answer. Where all are busy,
// with watches perhaps, calls get goroutines of their own.
const workers = 128

// New returns a server that serves nothing yet.
func New(o Options) *Server {
	if o.Heartbeat == 0 {
		o.Heartbeat = time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	a := &api{opts: o, closing: make(chan struct{})}
	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(codec{}),
		grpc.UnaryInterceptor(a.unary),
		grpc.StreamInterceptor(a.stream),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.WaitForHandlers(true),
		grpc.NumStreamWorkers(workers),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
	}
	if o.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(o.TLS)))
	}
	s := &Server{Server: grpc.NewServer(options...), health: health.NewServer(), api: a}
	v1.RegisterPermissionsServiceServer(s, a)
	v1.RegisterSchemaServiceServer(s, a)
	v1.RegisterWatchServiceServer(s, a)
	v1.RegisterExperimentalServiceServer(s, a)
	healthpb.RegisterHealthServer(s, s.health)
	s.SetServing(true)
	reflection.Register(s)
	return s
}

// SetServing says in the server's health whether calls can be answered. It is
// healthy at first, and never again once it drains.
func (s *Server) SetServing(on bool) {
	state := healthpb.HealthCheckResponse_NOT_SERVING
	if on {
		state = healthpb.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", state)
	for name := range s.GetServiceInfo() {
		s.health.SetServingStatus(name, state)
	}
}

// Drain says that the server is about to stop: it is not healthy any more, and
// streams without an end end. Other calls are answered until Shutdown.
func (s *Server) Drain() {
	s.drain.Do(func() {
		s.health.Shutdown()
		close(s.api.closing)
	})
}

// Shutdown drains and finishes the calls under way, as long as ctx lasts.
func (s *Server) Shutdown(ctx context.Context) error {
	s.Drain()
	done := make(chan struct{})
	go func() {
		s.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.Stop()
		<-done
		return ctx.Err()
	}
}

// backendKey is under what a call's backend stands in its context.
type backendKey struct{}

func backend(ctx context.Context) perm.Backend { return ctx.Value(backendKey{}).(perm.Backend) }

// open reports whether a method is for anybody: health and reflection.
func open(method string) bool { return strings.HasPrefix(method, "/grpc.") }

func (a *api) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer a.recovered(ctx, info.FullMethod, &err)
	if open(info.FullMethod) {
		return next(ctx, req)
	}
	ctx, err = a.authenticate(ctx)
	if err != nil {
		return nil, err
	}
	if err := validate(req); err != nil {
		return nil, err
	}
	resp, err = next(ctx, req)
	if err != nil {
		return nil, a.failed(ctx, info.FullMethod, err)
	}
	return resp, nil
}

func (a *api) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer a.recovered(ss.Context(), info.FullMethod, &err)
	if open(info.FullMethod) {
		return a.unending(srv, ss, next)
	}
	ctx, err := a.authenticate(ss.Context())
	if err != nil {
		return err
	}
	return a.failed(ctx, info.FullMethod, next(srv, &stream{ServerStream: ss, ctx: ctx}))
}

// recovered turns a panic into the error of the call that it happened in.
func (a *api) recovered(ctx context.Context, method string, err *error) {
	if p := recover(); p != nil {
		a.opts.Log.ErrorContext(ctx, "a call panicked", "method", method, "panic", p, "stack", string(debug.Stack()))
		*err = status.Error(codes.Internal, "the call failed inside the server; its log says where")
	}
}

// farewell is how long whoever watches the server's health has to hear that it
// stops.
const farewell = 100 * time.Millisecond

// unending ends a stream of health or reflection, which clients may leave open for
// ever, when the server drains.
func (a *api) unending(srv any, ss grpc.ServerStream, next grpc.StreamHandler) error {
	ended := make(chan error, 1)
	go func() { ended <- next(srv, ss) }()
	select {
	case err := <-ended:
		return err
	case <-a.closing:
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(farewell):
		return status.Error(codes.Unavailable, "the server is stopping")
	}
}

// stream carries the backend and checks what comes in.
type stream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *stream) Context() context.Context { return s.ctx }

func (s *stream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return validate(m)
}

func (a *api) authenticate(ctx context.Context) (context.Context, error) {
	var given string
	if values := metadata.ValueFromIncomingContext(ctx, "authorization"); len(values) > 0 {
		scheme, token, _ := strings.Cut(values[0], " ")
		if strings.EqualFold(scheme, "bearer") {
			given = strings.TrimSpace(token)
		}
	}
	if given == "" {
		return ctx, status.Error(codes.Unauthenticated, "no key was given: send the metadata authorization: Bearer KEY")
	}
	b, err := a.opts.Backend(ctx, given)
	if err != nil {
		return ctx, err
	}
	return context.WithValue(ctx, backendKey{}, b), nil
}

// Keys returns a Backend function for a server with preshared keys.
func Keys(keys []string, b perm.Backend) func(context.Context, string) (perm.Backend, error) {
	sums := make([][32]byte, len(keys))
	for i, k := range keys {
		sums[i] = sha256.Sum256([]byte(k))
	}
	return func(_ context.Context, token string) (perm.Backend, error) {
		sum := sha256.Sum256([]byte(token))
		ok := 0
		for i := range sums {
			ok |= subtle.ConstantTimeCompare(sums[i][:], sum[:])
		}
		if ok == 0 {
			return nil, status.Error(codes.PermissionDenied, "the key is not one of those that this server knows")
		}
		return b, nil
	}
}
