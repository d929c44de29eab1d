// Package server runs one tidemark process: a tenant, its HTTP listener and its
// admin listener.
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
	"github.com/tidemarkdb/tidemark/internal/httpapi"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// Options are what a server needs beside its configuration.
type Options struct {
	// Reload asks, with each value, to read the endpoint files again.
	Reload <-chan struct{}
	Log    *slog.Logger
	// Listening is called once both listeners are open.
	Listening func(httpAddr, adminAddr string)
}

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
	scheme := "http"
	if cfg.Listen.TLSCert != "" {
		cert, err := tls.LoadX509KeyPair(cfg.Listen.TLSCert, cfg.Listen.TLSKey)
		if err != nil {
			return fmt.Errorf("listen.tls_cert, listen.tls_key: %w", err)
		}
		public = tls.NewListener(public, &tls.Config{
			Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		})
		scheme = "https"
	}
	t, err := tenant.Open(ctx, tenant.Options{
		Database: cfg.Database, Endpoints: cfg.Endpoints, Slot: cfg.Slot, Publication: cfg.Publication,
		WaitTimeout: cfg.Consistency.WaitTimeout, MaxStaleness: cfg.Consistency.MaxStaleness,
		GCWindow: cfg.Consistency.GCWindow, Quantization: cfg.Consistency.RevisionQuantizationInterval,
		MaxMemory: cfg.Cache.MaxMemory, TTL: cfg.Cache.TTL,
		FillConnections: cfg.Fill.MaxConnections, StatementTimeout: cfg.Fill.StatementTimeout,
		Queue: cfg.Fill.Queue, Batch: cfg.Fill.Batch, NoRefill: !cfg.Fill.Refill, AuditPerMinute: cfg.Audit.PerMinute,
		Logger: o.Log,
	})
	if err != nil {
		return err
	}
	defer t.Close()
	o.Log.Info("serving", "http", scheme+"://"+public.Addr().String(), "admin", "http://"+admin.Addr().String(),
		"endpoints", len(t.Endpoints()))
	if o.Listening != nil {
		o.Listening(public.Addr().String(), admin.Addr().String())
	}
	return serve(ctx, t, public, admin, cfg.Listen.TLSCert != "", o)
}

func listen(ctx context.Context, key, addr string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return l, nil
}

// face is one listener's server.
type face interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
}

func serve(ctx context.Context, t *tenant.Tenant, public, admin net.Listener, secure bool, o Options) error {
	// The tenant goes on until the last request is answered.
	following, stopFollowing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopFollowing()
	faces, ctx := errgroup.WithContext(ctx)
	var follow errgroup.Group
	follow.Go(func() error { return t.Run(following) })
	handler := httpapi.New(t, o.Log)
	var front face = httpapi.NewFront(handler, o.Log)
	if secure {
		front = httpapi.Server(handler, o.Log)
	}
	servers := []face{front, httpapi.Server(adminapi.New(t, o.Log), o.Log)}
	for i, l := range []net.Listener{public, admin} {
		faces.Go(func() error {
			if err := servers[i].Serve(l); ctx.Err() == nil && !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
	}
	faces.Go(func() error {
		<-ctx.Done()
		draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
		defer cancel()
		public.Close()
		for _, s := range servers {
			if err := s.Shutdown(draining); err != nil {
				o.Log.Warn("requests under way were cut off", "err", err)
			}
		}
		return nil
	})
	faces.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-o.Reload:
				reload(ctx, t, o.Log)
			}
		}
	})
	err := faces.Wait()
	stopFollowing()
	if ferr := follow.Wait(); err == nil {
		err = ferr
	}
	return err
}

func reload(ctx context.Context, t *tenant.Tenant, log *slog.Logger) {
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
