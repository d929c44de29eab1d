package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// untilSignalled returns a context that ends at the first SIGINT or SIGTERM;
// the second one ends the process. reload gets a value at each SIGHUP, of which
// those that come faster than they are taken become one.
func untilSignalled(ctx context.Context) (_ context.Context, reload <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	reloads := make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case s := <-signals:
				if s == syscall.SIGHUP {
					select {
					case reloads <- struct{}{}:
					default:
					}
					continue
				}
				signal.Reset(os.Interrupt, syscall.SIGTERM)
				cancel()
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, reloads, func() {
		signal.Stop(signals)
		cancel()
		<-done
	}
}
