package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/tidemarkdb/tidemark/internal/httpapi"
	"github.com/tidemarkdb/tidemark/internal/revision"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// tide is a tidemark in a process of its own, over one database.
type tide struct {
	*child
	addr string
}

// figures are what a child that follows the log tells of itself. Times are Unix
// nanoseconds: the processes share a clock.
type figures struct {
	Frontier  uint64
	LastApply int64
	Walsender int
	Streaming bool
	Changes   int64
	Hits      int64
	Misses    int64
	Fills     int64
	Answers   int64
	Questions int64 // asked of the primary
	Flushes   int64 // that it was made to do
	At        int64 // when it was told
}

// startTide starts tidemark with endpoints, by file name, and a slot of its own.
func startTide(ctx context.Context, cpus []int, db *database, slot string, endpoints map[string]string) (*tide, error) {
	dir, err := os.MkdirTemp("", "tidemark-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) // the files are read at the start
	for name, sql := range endpoints {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(sql), 0o644); err != nil {
			return nil, err
		}
	}
	t := &tide{}
	t.child, err = startChild(cpus, &t.addr, "serve", "-database", db.dsn, "-endpoints", dir, "-slot", slot)
	return t, err
}

func (t *tide) figures() (f figures, err error) { return f, t.ask(&f, "figures") }

// openServe is the other side of startTide.
func openServe(parent context.Context, args []string, log *slog.Logger) (any, served, func(), error) {
	opts := tenant.Options{
		Publication: publication, MaxMemory: 4 << 30, GCWindow: 30 * time.Second, Logger: log,
	}
	if err := childFlags(args, func(f *flag.FlagSet) {
		f.StringVar(&opts.Database, "database", "", "")
		f.StringVar(&opts.Endpoints, "endpoints", "", "")
		f.StringVar(&opts.Slot, "slot", "", "")
	}); err != nil {
		return nil, nil, nil, err
	}
	t, err := tenant.Open(parent, opts)
	if err != nil {
		return nil, nil, nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Close()
		return nil, nil, nil, err
	}
	ctx, cancel := context.WithCancel(parent)
	followed := make(chan error, 1)
	go func() { followed <- t.Run(ctx) }()
	server := httpapi.NewFront(httpapi.New(t, log), log)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	stop := func() {
		_ = listener.Close()
		draining, stopDraining := context.WithTimeout(context.Background(), time.Second)
		defer stopDraining()
		_ = server.Shutdown(draining)
		cancel()
		<-followed
		if err := <-served; !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			log.Error("the listener ended", "err", err)
		}
		t.Close()
	}
	if err := until(ctx, func() bool { return t.Status().Ready }); err != nil {
		stop()
		return nil, nil, nil, fmt.Errorf("the log is not followed: %w: %s", err, t.Status().Why)
	}
	answer := func(ctx context.Context, command string, args []string) (any, error) {
		switch command {
		case "figures":
			return figuresOf(t), nil
		case "memory":
			st := t.Status().Store
			return memory{Heap: heap(), Accounted: st.Bytes, Answers: st.Entries, Resident: resident()}, nil
		case "await":
			lsn, err := revision.ParseLSN(args[0])
			if err != nil {
				return nil, err
			}
			err = until(ctx, func() bool { return t.Status().Frontier >= lsn })
			return time.Now().UnixNano(), err
		}
		return nil, fmt.Errorf("unknown command %q", command)
	}
	return listener.Addr().String(), answer, stop, nil
}

func figuresOf(t *tenant.Tenant) figures {
	s := t.Status()
	f := figures{
		Frontier: uint64(s.Frontier), Walsender: int(s.Feed.PID), Streaming: s.Ready,
		Changes: s.Changes, Questions: s.Questions, Flushes: s.Flushes, At: time.Now().UnixNano(),
	}
	if !s.LastApply.IsZero() {
		f.LastApply = s.LastApply.UnixNano()
	}
	for _, e := range t.Endpoints() {
		f.Hits += e.Hits
		f.Misses += e.Misses
		f.Fills += e.Fills
		f.Answers += e.Answers
	}
	return f
}

// patience bounds every wait for something that must happen.
const patience = 2 * time.Minute

// until polls a condition every millisecond.
func until(ctx context.Context, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}
