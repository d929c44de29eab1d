package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/feed"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// decodeOnly is a sink that does nothing but look at its clock.
type decodeOnly struct {
	connected atomic.Bool
	frontier  atomic.Uint64
	last      atomic.Int64
	changes   atomic.Int64
}

func (d *decodeOnly) Connected(context.Context, feed.Session) error {
	d.connected.Store(true)
	return nil
}

func (d *decodeOnly) Apply(_ context.Context, t *change.Transaction) error {
	d.last.Store(time.Now().UnixNano())
	d.changes.Add(int64(t.Count))
	return nil
}

func (d *decodeOnly) Advance(lsn revision.LSN) { d.frontier.Store(uint64(lsn)) }
func (d *decodeOnly) Disconnected(error)       { d.connected.Store(false) }

// openDecode follows a slot and keeps nothing: what the log costs before anybody
// makes anything of it.
func openDecode(parent context.Context, args []string, log *slog.Logger) (any, served, func(), error) {
	opts := feed.Options{Publication: publication, CreateSlot: true, Logger: log}
	if err := childFlags(args, func(f *flag.FlagSet) {
		f.StringVar(&opts.DSN, "database", "", "")
		f.StringVar(&opts.Slot, "slot", "", "")
	}); err != nil {
		return nil, nil, nil, err
	}
	d := &decodeOnly{}
	f := feed.New(opts, d)
	ctx, cancel := context.WithCancel(parent)
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	stop := func() {
		cancel()
		<-done
	}
	if err := until(ctx, d.connected.Load); err != nil {
		stop()
		return nil, nil, nil, fmt.Errorf("the log is not followed: %w: %s", err, f.Status().Why)
	}
	answer := func(_ context.Context, command string, _ []string) (any, error) {
		if command != "figures" {
			return nil, fmt.Errorf("unknown command %q", command)
		}
		return figures{
			Frontier: d.frontier.Load(), LastApply: d.last.Load(), Changes: d.changes.Load(),
			Walsender: int(f.Status().PID), Streaming: d.connected.Load(), At: time.Now().UnixNano(),
		}, nil
	}
	return nil, answer, stop, nil
}
