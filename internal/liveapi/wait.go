package liveapi

import (
	"context"
	"net/http"
	"time"

	"github.com/tidemarkdb/tidemark/internal/live"
)

// enter counts a request that begins to wait, if it may.
func (h *Handler) enter() error {
	switch {
	case h.waiting.Add(1) > int64(h.o.MaxWaiting):
		h.waiting.Add(-1)
		return errCrowded
	case h.stopping.Err() != nil:
		h.waiting.Add(-1)
		return errStopping
	}
	return nil
}

func (h *Handler) leave() { h.waiting.Add(-1) }

// lasts returns how long a request may go on that may go on for limit: not longer
// than its credential.
func (r *request) lasts(limit time.Duration) time.Duration {
	if r.expires.IsZero() {
		return limit
	}
	return min(limit, time.Until(r.expires))
}

// poll waits for the answer of a poll.
func (h *Handler) poll(ctx context.Context, a *answered) *response {
	if err := h.enter(); err != nil {
		return h.refuse(a.path, err, a.private)
	}
	defer h.leave()
	timer := time.NewTimer(a.lasts(h.o.Poll))
	defer timer.Stop()
	for changed := a.changed; ; {
		over := h.pause(ctx, changed, timer.C, nil) != woken
		if a.expired() {
			return h.refuse(a.path, errExpired, true)
		}
		var b *live.Batch
		var err error
		if b, changed, err = h.lookOnce(ctx, a.shape, a.after); err != nil {
			return h.refuse(a.path, err, a.private)
		}
		if over || !nothing(b) {
			return h.batch(a.request, a.shape, a.after, b)
		}
	}
}

func (h *Handler) lookOnce(ctx context.Context, s live.Shape, after live.Offset) (*live.Batch, *live.News, error) {
	ctx, cancel := h.work(ctx)
	defer cancel()
	return look(ctx, s, after)
}

// cause is what ended a pause.
type cause byte

const (
	woken cause = iota
	beaten
	ended
)

// moment is how long a shape is let be that has changed and brings nothing.
const moment = 2 * time.Millisecond

// pause waits until a shape has changed, or something else ends the wait.
func (h *Handler) pause(ctx context.Context, changed *live.News, end, beat <-chan time.Time) cause {
	var again <-chan time.Time
	if changed == nil {
		t := time.NewTimer(moment)
		defer t.Stop()
		again = t.C
	}
	select {
	case <-changed.Done():
		return woken
	case <-again:
		return woken
	case <-beat:
		return beaten
	case <-end:
	case <-ctx.Done():
	case <-h.stopping.Done():
	}
	return ended
}

// stream writes an event stream until it ends.
func (h *Handler) stream(w http.ResponseWriter, r *http.Request, a *answered) {
	if err := h.enter(); err != nil {
		h.refuse(a.path, err, a.private).write(w, r)
		return
	}
	defer h.leave()
	out := &flusher{w: w, control: http.NewResponseController(w), limit: h.o.WriteLimit}
	// The limit of a request's reading would end the stream.
	_ = out.control.SetReadDeadline(time.Time{})
	head := h.streamHead(a)
	head.head(w.Header())
	w.WriteHeader(head.status)
	if !out.write(h.greeting(a)) {
		return
	}
	end := time.NewTimer(a.lasts(h.streamLength()))
	defer end.Stop()
	beat := time.NewTicker(h.o.Heartbeat)
	defer beat.Stop()
	// due says that the client is to be told that it is up to date, even if nothing
	// else is to be told: it holds back what it has got until then.
	due := a.opening
	for b, changed := a.first, a.changed; ; {
		idle := nothing(b)
		if (!idle || due) && !out.write(h.events(a.shape, b)) {
			return
		}
		due = !b.UpToDate
		if idle {
			switch h.pause(r.Context(), changed, end.C, beat.C) {
			case beaten:
				if !out.write(heartbeat) {
					return
				}
			case ended:
				return
			}
		}
		if a.expired() || h.stopping.Err() != nil {
			return
		}
		var err error
		after := b.End
		if b, changed, err = h.lookOnce(r.Context(), a.shape, after); err != nil {
			if r.Context().Err() == nil {
				out.write(h.lost(a.path, err))
			}
			return
		}
	}
}

// flusher writes to a client that may be slow.
type flusher struct {
	w       http.ResponseWriter
	control *http.ResponseController
	limit   time.Duration
}

// write reports whether the client took it all in time.
func (f *flusher) write(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	_ = f.control.SetWriteDeadline(time.Now().Add(f.limit))
	if _, err := f.w.Write(b); err != nil {
		return false
	}
	if f.control.Flush() != nil {
		return false
	}
	// In HTTP/2 it would end the stream while nothing is written.
	return f.control.SetWriteDeadline(time.Time{}) == nil
}
