//lint:file-ignore SA1019 the older reflection is offered too

package grpcapi_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"

	"github.com/tidemarkdb/tidemark/internal/grpcapi"
	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/memory"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// anonymous connects without a key.
func anonymous(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestKeys(t *testing.T) {
	c := withSchema(t, documents)
	conn := anonymous(t, c.addr)
	for header, code := range map[string]codes.Code{
		"":               codes.Unauthenticated,
		"Bearer":         codes.Unauthenticated,
		"Bearer ":        codes.Unauthenticated,
		"Basic " + key:   codes.Unauthenticated,
		key:              codes.Unauthenticated,
		"Bearer x":       codes.PermissionDenied,
		"Bearer " + key:  codes.OK,
		"bearer " + key:  codes.OK,
		"Bearer  " + key: codes.OK,
	} {
		ctx := t.Context()
		if header != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", header)
		}
		_, err := v1.NewPermissionsServiceClient(conn).CheckPermission(ctx, question(t, "document:plan#view@user:ana"))
		refused(t, err, code, noReason)
		_, err = all(v1.NewPermissionsServiceClient(conn).LookupResources(ctx, resources("document", "view", "user:ana")))
		refused(t, err, code, noReason)
		// Without a key nothing is said about the request.
		if code != codes.OK {
			_, err = v1.NewPermissionsServiceClient(conn).CheckPermission(ctx, &v1.CheckPermissionRequest{})
			refused(t, err, code, noReason)
		}
	}
	several := grpcapi.Keys([]string{"one", "two"}, memory.New(time.Minute))
	for given, ok := range map[string]bool{"one": true, "two": true, "three": false, "": false} {
		if b, err := several(t.Context(), given); (err == nil) != ok || (b != nil) != ok {
			t.Errorf("the key %q: %v, %v", given, b, err)
		}
	}
}

// TestOpen: health and reflection are for anybody.
func TestOpen(t *testing.T) {
	conn := anonymous(t, fresh(t).addr)
	for _, service := range []string{"", "authzed.api.v1.PermissionsService", "authzed.api.v1.WatchService"} {
		resp, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil || resp.Status != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("the health of %q: %v, %v", service, resp, err)
		}
	}
	want := []string{
		"authzed.api.v1.ExperimentalService", "authzed.api.v1.PermissionsService", "authzed.api.v1.SchemaService",
		"authzed.api.v1.WatchService", "grpc.health.v1.Health",
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s, err := reflectv1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	if err == nil {
		err = s.Send(&reflectv1.ServerReflectionRequest{MessageRequest: &reflectv1.ServerReflectionRequest_ListServices{}})
	}
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.Recv()
	var names []string
	for _, x := range resp.GetListServicesResponse().GetService() {
		if !strings.HasPrefix(x.Name, "grpc.reflection.") {
			names = append(names, x.Name)
		}
	}
	slices.Sort(names)
	if err != nil || !slices.Equal(names, want) {
		t.Errorf("reflection: %v, %v", names, err)
	}
	old, err := reflectv1alpha.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	if err == nil {
		err = old.Send(&reflectv1alpha.ServerReflectionRequest{
			MessageRequest: &reflectv1alpha.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "authzed.api.v1.PermissionsService"},
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := old.Recv(); err != nil || len(resp.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
		t.Errorf("the older reflection: %v, %v", resp, err)
	}
}

func TestTLS(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	_, addr := start(t, grpcapi.Options{
		Backend: grpcapi.Keys([]string{key}, memory.New(time.Minute)),
		TLS:     &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}, MinVersion: tls.VersionTLS12},
	})
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})),
		grpc.WithPerRPCCredentials(bearer(key)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = v1.NewSchemaServiceClient(conn).ReadSchema(t.Context(), &v1.ReadSchemaRequest{})
	refused(t, err, codes.NotFound, noReason)
	_, err = v1.NewSchemaServiceClient(anonymous(t, addr)).ReadSchema(t.Context(), &v1.ReadSchemaRequest{})
	refused(t, err, codes.Unavailable, noReason)
}

// TestShutdown: a watch that is open does not hold the server up, a call under
// way is finished, and a second shutdown does no harm.
func TestShutdown(t *testing.T) {
	b := &waiting{Backend: memory.New(time.Minute), began: make(chan struct{}), done: make(chan struct{})}
	s, addr := start(t, grpcapi.Options{Backend: grpcapi.Keys([]string{key}, b)})
	c := dial(t, addr, key)
	if _, err := c.WriteSchema(t.Context(), &v1.WriteSchemaRequest{Schema: documents}); err != nil {
		t.Fatal(err)
	}
	w, err := c.Watch(t.Context(), &v1.WatchRequest{OptionalUpdateKinds: []v1.WatchKind{v1.WatchKind_WATCH_KIND_INCLUDE_CHECKPOINTS}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Recv(); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := c.CheckPermission(t.Context(), question(t, "document:plan#view@user:ana"))
		answered <- err
	}()
	<-b.began
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(t.Context()) }()
	if _, err := w.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the watch ended with %v", err)
	}
	select {
	case err := <-stopped:
		t.Errorf("the server did not wait for a call: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(b.done)
	if err := <-answered; err != nil {
		t.Errorf("the call under way: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("shut down again: %v", err)
	}
}

// TestShutdownInTime: a call that does not end is cut off.
func TestShutdownInTime(t *testing.T) {
	b := &waiting{Backend: memory.New(time.Minute), began: make(chan struct{}), done: make(chan struct{})}
	s, addr := start(t, grpcapi.Options{Backend: grpcapi.Keys([]string{key}, b)})
	c := dial(t, addr, key)
	answered := make(chan error, 1)
	go func() {
		_, err := c.CheckPermission(t.Context(), question(t, "document:plan#view@user:ana"))
		answered <- err
	}()
	<-b.began
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); err != context.DeadlineExceeded {
		t.Errorf("shutdown: %v", err)
	}
	if err := <-answered; err == nil {
		t.Error("the call ended well")
	}
}

// waiting is a backend whose views take until done is closed.
type waiting struct {
	perm.Backend
	began, done chan struct{}
}

func (b *waiting) View(ctx ctx, req revision.Requirement) (perm.View, error) {
	close(b.began)
	select {
	case <-b.done:
	case <-ctx.Done():
		return perm.View{}, ctx.Err()
	}
	return b.Backend.View(ctx, req)
}

// TestPanic: a fault of the server's costs one call.
func TestPanic(t *testing.T) {
	var log bytes.Buffer
	b := &panicking{Backend: memory.New(time.Minute)}
	_, addr := start(t, grpcapi.Options{Backend: grpcapi.Keys([]string{key}, b), Log: slog.New(slog.NewTextHandler(&log, nil))})
	c := dial(t, addr, key)
	_, err := c.CheckPermission(t.Context(), question(t, "document:plan#view@user:ana"))
	refused(t, err, codes.Internal, noReason)
	_, err = all(c.LookupResources(t.Context(), resources("document", "view", "user:ana")))
	refused(t, err, codes.Internal, noReason)
	if strings.Contains(err.Error(), "out of bounds") || strings.Count(log.String(), "out of bounds") != 2 {
		t.Errorf("the client hears %v, the log says %s", err, log.String())
	}
	b.well = true
	_, err = c.ReadSchema(t.Context(), &v1.ReadSchemaRequest{})
	refused(t, err, codes.NotFound, noReason)
}

type panicking struct {
	perm.Backend
	well bool
}

func (b *panicking) View(ctx ctx, req revision.Requirement) (perm.View, error) {
	if !b.well {
		panic("out of bounds")
	}
	return b.Backend.View(ctx, req)
}
