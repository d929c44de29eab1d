// Package server runs one tidemark process: a tenant, its HTTP listener, its
// admin listener and, where permissions are on, theirs.
//
// Run acquires everything that can fail for a reason that the operator should
// see at once (addresses, files, the database, the endpoints) before it serves
// anything. When its context ends it stops accepting, finishes the requests
// under way, then stops following the log.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidemarkdb/tidemark/internal/adminapi"
	"github.com/tidemarkdb/tidemark/internal/config"
	"github.com/tidemarkdb/tidemark/internal/grpcapi"
	"github.com/tidemarkdb/tidemark/internal/httpapi"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// Options are what a server needs beside its configuration.
type Options struct {
	// Reload asks, with each value, to read the endpoint files again.
	Reload <-chan struct{}
	Log    *slog.Logger
	// Listening is called once all listeners are open.
	Listening func(Addresses)
}

// Addresses are where a server listens, as host:port; what is off is empty.
type Addresses struct{ HTTP, Admin, GRPC, Gateway string }

// drain bounds how long requests under way may take once the server stops.
const drain = 10 * time.Second

// Run serves until ctx ends, which is no error.
func Run(ctx context.Context, cfg *config.Config, o Options) error {
	public, err := listen(ctx, "listen.http", cfg.Listen.HTTP)
	if err != nil {
		return err
	}
	defer public.Close()
	admin, err := listen(ctx, "listen.admin", cfg.Listen.Admin)
	if err != nil {
		return err
	}
	defer admin.Close()
	var cert *tls.Certificate
	scheme := "http"
	if cfg.Listen.TLSCert != "" {
		c, err := tls.LoadX509KeyPair(cfg.Listen.TLSCert, cfg.Listen.TLSKey)
		if err != nil {
			return fmt.Errorf("listen.tls_cert, listen.tls_key: %w", err)
		}
		cert, scheme = &c, "https"
		public = secure(public, cert, "h2", "http/1.1")
	}
	permissions, err := listenPermissions(ctx, cfg.Listen.GRPC, cfg.Listen.GRPCGateway, cert)
	if err != nil {
		return err
	}
	defer permissions.close()
	var withPermissions *tenant.PermissionOptions
	if permissions.rpc != nil {
		withPermissions = &tenant.PermissionOptions{Mapping: cfg.Permissions.Mapping, Connections: cfg.Permissions.Connections}
	}
	t, err := tenant.Open(ctx, tenant.Options{
		Database: cfg.Database, Endpoints: cfg.Endpoints, Slot: cfg.Slot, Publication: cfg.Publication,
		WaitTimeout: cfg.Consistency.WaitTimeout, MaxStaleness: cfg.Consistency.MaxStaleness,
		GCWindow: cfg.Consistency.GCWindow, Quantization: cfg.Consistency.RevisionQuantizationInterval,
		MaxMemory: cfg.Cache.MaxMemory, TTL: cfg.Cache.TTL,
		FillConnections: cfg.Fill.MaxConnections, StatementTimeout: cfg.Fill.StatementTimeout,
		Queue: cfg.Fill.Queue, Batch: cfg.Fill.Batch, NoRefill: !cfg.Fill.Refill, AuditPerMinute: cfg.Audit.PerMinute,
		GuardAccounts: len(cfg.Live.Secrets) > 0 || cfg.Live.AccountKey != "",
		Permissions:   withPermissions, Live: liveOptions(cfg), Logger: o.Log,
	})
	if err != nil {
		return err
	}
	defer t.Close()
	at := Addresses{HTTP: public.Addr().String(), Admin: admin.Addr().String()}
	log := o.Log.With("http", scheme+"://"+at.HTTP, "admin", "http://"+at.Admin, "endpoints", len(t.Endpoints()))
	handler := httpapi.New(t, o.Log)
	var waiting func() int
	if cfg.Live.Dir != "" {
		followers := newLiveFace(cfg, t, o.Log)
		handler.Follow(followers)
		waiting = followers.Waiting
	}
	var answers face = httpapi.NewFront(handler, o.Log)
	if cert != nil {
		answers = httpapi.Server(handler, o.Log)
	}
	also := []func(context.Context){func(ctx context.Context) { reloads(ctx, t, o) }}
	services := []service{listening{answers, public}, listening{httpapi.Server(adminapi.New(t, waiting, o.Log), o.Log), admin}}
	if permissions.rpc != nil {
		at.GRPC, at.Gateway = permissions.addresses()
		log = log.With("grpc", at.GRPC, "gateway", at.Gateway)
		f, err := newPermissionFace(ctx, permissions, grpcapi.Keys(cfg.Permissions.Keys, t.Permissions()), o.Log)
		if err != nil {
			return err
		}
		f.rpc.SetServing(false) // nothing is loaded yet
		// It stops first: its watches have no end of their own.
		services = append([]service{f}, services...)
		also = append(also, func(ctx context.Context) { f.follow(ctx, t) })
	}
	log.Info("serving")
	if o.Listening != nil {
		o.Listening(at)
	}
	return serve(ctx, t, services, o.Log, also)
}

func listen(ctx context.Context, key, addr string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return l, nil
}

// face serves on a listener.
type face interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
}

// service is what is served and where. start runs what serves; refuse accepts
// nothing more; stop finishes what is under way, as long as ctx lasts.
type service interface {
	start(run func(func() error))
	refuse()
	stop(ctx context.Context) error
}

// listening is a face with one listener.
type listening struct {
	face
	on net.Listener
}

func (l listening) start(run func(func() error))   { run(func() error { return l.Serve(l.on) }) }
func (l listening) refuse()                        { l.on.Close() }
func (l listening) stop(ctx context.Context) error { return l.Shutdown(ctx) }

// serveAll serves, and does what else there is to do, until ctx ends or a listener
// fails. Services stop in their order.
func serveAll(ctx context.Context, services []service, log *slog.Logger, also []func(context.Context)) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range services {
		s.start(func(serve func() error) {
			group.Go(func() error {
				if err := serve(); ctx.Err() == nil && !errors.Is(err, http.ErrServerClosed) {
					return err
				}
				return nil
			})
		})
	}
	group.Go(func() error {
		<-ctx.Done()
		draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
		defer cancel()
		for _, s := range services {
			s.refuse()
		}
		for _, s := range services {
			if err := s.stop(draining); err != nil {
				log.Warn("requests under way were cut off", "err", err)
			}
		}
		return nil
	})
	for _, f := range also {
		group.Go(func() error {
			f(ctx)
			return nil
		})
	}
	return group.Wait()
}

func serve(ctx context.Context, t *tenant.Tenant, services []service, log *slog.Logger, also []func(context.Context)) error {
	// The tenant goes on until the last request is answered.
	following, stopFollowing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopFollowing()
	var follow errgroup.Group
	follow.Go(func() error { return t.Run(following) })
	err := serveAll(ctx, services, log, also)
	stopFollowing()
	if ferr := follow.Wait(); err == nil {
		err = ferr
	}
	return err
}

// reloads reads the endpoints again whenever that is asked for.
func reloads(ctx context.Context, t *tenant.Tenant, o Options) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.Reload:
			reload(ctx, t, o.Log)
		}
	}
}

func reload(ctx context.Context, t *tenant.Tenant, log *slog.Logger) {
	if err := t.ReloadTables(); err != nil {
		log.Error("which tables may be followed could not be read again; what could be followed before stays", "err", err)
	}
	err := t.Reload(ctx)
	var problems *tenant.ProblemsError
	switch {
	case err == nil:
		log.Info("endpoints were read again", "endpoints", len(t.Endpoints()))
	case errors.As(err, &problems):
		for _, p := range problems.Problems {
			log.Error("bad endpoint; what was served before stays", "problem", p.String())
		}
	default:
		log.Error("endpoints could not be read again; what was served before stays", "err", err)
	}
}
