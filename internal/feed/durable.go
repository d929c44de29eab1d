package feed

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// durable makes what was applied durable, in a goroutine of its own: a disk may
// take its time, and the server has to hear from us meanwhile.
type durable struct {
	call func() (revision.LSN, error)
	log  *slog.Logger
	// wanted holds a token from begin until the call, done one from its end until
	// that was noticed.
	wanted, done chan struct{}
	lsn          atomic.Uint64
	failing      bool // the last call failed; belongs to whoever calls
}

func newDurable(call func() (revision.LSN, error), log *slog.Logger) *durable {
	return &durable{call: call, log: log, wanted: make(chan struct{}, 1), done: make(chan struct{}, 1)}
}

func (d *durable) position() revision.LSN { return revision.LSN(d.lsn.Load()) }

// begin asks for a flush, and reports false if an update should not wait for
// it: there is nothing to flush, or the last flush has not even begun.
func (d *durable) begin() bool {
	if d == nil {
		return false
	}
	select {
	case d.wanted <- struct{}{}:
		return true
	default:
		return false
	}
}

// run flushes whenever that is wanted until ctx ends.
func (d *durable) run(ctx context.Context, covered func() revision.LSN) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.wanted:
			d.flush(covered())
			poke(d.done)
		}
	}
}

// flush makes durable at least what is covered. If it cannot, that and no more
// goes without.
func (d *durable) flush(covered revision.LSN) {
	at, err := d.call()
	if err != nil {
		if !d.failing {
			d.log.Warn("what was applied is not durable, and is acknowledged all the same", "err", err)
		}
		at = covered
	}
	d.failing = err != nil
	d.lsn.Store(uint64(at))
}
