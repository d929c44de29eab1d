package server

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/memory"
)

// TestingOptions say where permissions for tests are served.
type TestingOptions struct {
	GRPC string // host:port
	HTTP string // host:port of the gateway, or empty
	Log  *slog.Logger
	// Listening is called once the listeners are open; gateway may be empty.
	Listening func(grpc, gateway string)
}

// Bounds of the stores of RunTesting.
const (
	maxStores   = 1000
	idleStore   = 10 * time.Minute
	storeWindow = 10 * time.Minute
)

// RunTesting serves permissions that are in memory only, until ctx ends, which is
// no error. Every bearer token opens a store of its own, which begins empty.
func RunTesting(ctx context.Context, o TestingOptions) error {
	l, err := listenPermissions(ctx, o.GRPC, o.HTTP, nil)
	if err != nil {
		return err
	}
	defer l.close()
	stores := memory.NewStores(maxStores, idleStore, storeWindow)
	face, err := newPermissionFace(ctx, l, func(_ context.Context, key string) (perm.Backend, error) {
		b, err := stores.Open(key)
		if err != nil {
			return nil, status.Errorf(codes.ResourceExhausted, "%v: there are %d, one for each key, and none has been left alone for %s",
				err, maxStores, idleStore)
		}
		return b, nil
	}, o.Log)
	if err != nil {
		return err
	}
	if o.Listening != nil {
		o.Listening(l.addresses())
	}
	return serveAll(ctx, []service{face}, o.Log, nil)
}
