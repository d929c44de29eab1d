package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/tidemarkdb/tidemark/internal/grpcapi"
	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// permissionFace serves permissions: by gRPC, and as HTTP and JSON through a
// gateway that calls the gRPC server without leaving the process.
type permissionFace struct {
	on      permissionListeners
	rpc     *grpcapi.Server
	gateway *http.Server
	pipe    *bufconn.Listener
	conn    *grpc.ClientConn
}

// permissionListeners are where; nil is off.
type permissionListeners struct{ rpc, gateway net.Listener }

// listenPermissions opens the addresses, with TLS if there is a certificate. An
// empty address is none.
func listenPermissions(ctx context.Context, rpc, gateway string, cert *tls.Certificate) (l permissionListeners, err error) {
	if rpc != "" {
		if l.rpc, err = listen(ctx, "listen.grpc", rpc); err != nil {
			return l, err
		}
	}
	if gateway != "" {
		if l.gateway, err = listen(ctx, "listen.grpc_gateway", gateway); err != nil {
			l.close()
			return l, err
		}
	}
	if cert != nil {
		l.rpc, l.gateway = secure(l.rpc, cert, "h2"), secure(l.gateway, cert, "h2", "http/1.1")
	}
	return l, nil
}

// secure puts TLS in front of what speaks the protocols.
func secure(l net.Listener, cert *tls.Certificate, protocols ...string) net.Listener {
	if l == nil {
		return nil
	}
	return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12, NextProtos: protocols})
}

func (l permissionListeners) close() {
	for _, one := range []net.Listener{l.rpc, l.gateway} {
		if one != nil {
			one.Close()
		}
	}
}

func (l permissionListeners) addresses() (rpc, gateway string) {
	if l.gateway != nil {
		gateway = l.gateway.Addr().String()
	}
	return l.rpc.Addr().String(), gateway
}

// pipeSize is how many bytes may be under way between gateway and server.
const pipeSize = 1 << 18

// newPermissionFace makes a face of what a bearer token opens.
func newPermissionFace(ctx context.Context, on permissionListeners, backend func(context.Context, string) (perm.Backend, error),
	log *slog.Logger,
) (*permissionFace, error) {
	f := &permissionFace{on: on, rpc: grpcapi.New(grpcapi.Options{Backend: backend, Log: log}), pipe: bufconn.Listen(pipeSize)}
	var err error
	f.conn, err = grpc.NewClient("passthrough:gateway", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return f.pipe.DialContext(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReply)))
	if err != nil {
		return nil, fmt.Errorf("the HTTP gateway: %w", err)
	}
	handler, err := grpcapi.Gateway(ctx, f.conn)
	if err != nil {
		return nil, err
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	// A watch has no end, so there is no limit on how long a reply takes.
	f.gateway = &http.Server{
		Handler: handler, Protocols: protocols, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 32 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return f, nil
}

// maxReply bounds one message of a reply to the gateway.
const maxReply = 256 << 20

func (f *permissionFace) start(run func(func() error)) {
	run(func() error { return f.rpc.Serve(f.on.rpc) })
	if f.on.gateway != nil {
		run(func() error { return f.rpc.Serve(f.pipe) })
		run(func() error { return f.gateway.Serve(f.on.gateway) })
	}
}

// healthEvery is how often the health of permissions is looked at.
const healthEvery = 100 * time.Millisecond

// follow keeps the health that clients see at what it is: calls cannot be answered
// while the relationships are being loaded.
func (f *permissionFace) follow(ctx context.Context, t *tenant.Tenant) {
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	serving := false // as the server began
	for {
		if s, _ := t.PermissionStatus(); s.Loaded != serving {
			serving = s.Loaded
			f.rpc.SetServing(serving)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (f *permissionFace) refuse() { f.on.close() }

// stop ends watches, then finishes what is under way, the gateway's requests first
// because they need the server behind it.
func (f *permissionFace) stop(ctx context.Context) error {
	f.rpc.Drain()
	err := f.gateway.Shutdown(ctx)
	if e := f.rpc.Shutdown(ctx); err == nil {
		err = e
	}
	f.pipe.Close()
	f.conn.Close()
	return err
}
