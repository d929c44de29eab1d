package liveapi

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// answered is how far a request was answered at once: it has a response, or a
// place in a shape from which it gets one as soon as there is something.
type answered struct {
	response *response

	*request
	shape live.Shape
	after live.Offset
	// changed is of Changed, before Next had nothing.
	changed *live.News
	// first is what a stream begins with. refetch says that its client is told
	// before to forget what it has, opening that it is told that it has everything
	// even if it is told nothing else.
	first            *live.Batch
	refetch, opening bool
}

// answer authorises a request, understands it, and answers it as far as that
// needs no waiting for changes.
func (h *Handler) answer(ctx context.Context, r *http.Request) *answered {
	path := r.URL.EscapedPath()
	fail := func(err error, private bool) *answered { return &answered{response: h.refuse(path, err, private)} }
	switch {
	case len(r.RequestURI) > maxURI:
		return fail(errURI, false)
	case path == ShapePath && (r.Method == http.MethodPost || r.Method == http.MethodDelete):
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return fail(errMethod, false)
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return fail(errQuery, false)
	}
	who, err := h.gate.subscriber(r.Header, values, func(name string) bool {
		return path != ShapePath && h.o.Host.Takes(path, name)
	})
	if err != nil {
		return fail(err, false)
	}
	q, err := h.parse(r, values)
	if err != nil {
		return fail(err, who.private)
	}
	q.subscriber = who
	q.def.Account = who.account
	ctx, cancel := h.work(ctx)
	defer cancel()
	a := &answered{request: q}
	switch {
	case r.Method == http.MethodDelete:
		err = h.end(ctx, q)
		a.response = accepted()
	case q.subset != nil:
		a.response, err = h.readSubset(ctx, q)
	default:
		err = h.begin(ctx, a)
	}
	if err != nil {
		return fail(err, who.private)
	}
	return a
}

// work bounds ctx by the patience with a shape and by the handler's end.
func (h *Handler) work(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, h.o.Patience)
	unhook := context.AfterFunc(h.closing, cancel)
	return ctx, func() { unhook(); cancel() }
}

// open returns the shape of a request, once the freshness that it asks for is
// reached.
func (h *Handler) open(ctx context.Context, q *request) (live.Shape, revision.LSN, error) {
	var need revision.LSN
	if q.named() {
		p, err := h.o.Host.Pass(ctx, q.need)
		if err == nil && p.Unreached {
			err = revision.ErrNotReached // what the database itself says now is no place in a shape
		}
		if err != nil {
			return nil, 0, err
		}
		need = p.Position
	}
	var s live.Shape
	var err error
	switch {
	case !q.table:
		s, err = h.o.Answers.Open(ctx, q.path, q.query, q.handle, q.account)
	case h.o.Tables == nil:
		err = live.ErrNoShape
	default:
		s, err = h.o.Tables.Open(ctx, q.def, q.handle)
	}
	return s, need, err
}

// begin answers a request for what is in a shape.
func (h *Handler) begin(ctx context.Context, a *answered) error {
	s, need, err := h.open(ctx, a.request)
	if err != nil {
		return err
	}
	a.shape, a.after = s, a.offset
	if !a.fresh() && s.Handle() != a.handle {
		err = &live.GoneError{Handle: s.Handle(), Reason: "another handle took its place"}
	}
	var b *live.Batch
	switch {
	case err != nil:
	case a.offset == live.Now:
		b, a.after, err = newest(ctx, s, need)
	default:
		b, a.changed, err = h.next(ctx, s, a.after, need)
	}
	var gone *live.GoneError
	if errors.As(err, &gone) && a.resume {
		// A browser's stream does not come back after an error: it is told in the
		// stream instead, and begins again there.
		a.refetch, a.offset, a.after, a.handle = true, live.Start, live.Start, gone.Handle
		if a.shape, need, err = h.open(ctx, a.request); err == nil {
			b, a.changed, err = h.next(ctx, a.shape, a.after, need)
		}
	}
	if errors.As(err, &gone) && gone.Handle == a.handle {
		err = &live.GoneError{Reason: gone.Reason} // to be sent back to a dead handle is no help
	}
	if err != nil {
		return err
	}
	switch {
	case a.stream && !a.noWait:
		a.first, a.opening = b, a.fresh() || a.named()
		if len(b.Messages) == 0 {
			a.after = b.End // it may have gone on without anything to tell
		}
	case a.live && !a.noWait && nothing(b) && !a.named() && !a.fresh():
	default:
		a.response = h.batch(a.request, a.shape, a.offset, b)
	}
	return nil
}

// next returns what comes after an offset: not before there is something to tell
// or all was looked through, and not up to date before the position need.
func (h *Handler) next(ctx context.Context, s live.Shape, after live.Offset, need revision.LSN) (*live.Batch, *live.News, error) {
	if err := reach(ctx, s, need); err != nil {
		return nil, nil, err
	}
	for pause := time.Millisecond; ; {
		b, changed, err := look(ctx, s, after)
		switch {
		case err != nil:
			return nil, nil, err
		case !b.UpToDate && len(b.Messages) == 0 && b.End != after:
			after = b.End
		case !b.UpToDate || b.At >= need:
			return b, changed, nil
		default:
			// The gate has let the request pass a moment before the shape knows.
			if err := sleep(ctx, pause); err != nil {
				return nil, nil, revision.ErrNotReached
			}
			pause = min(2*pause, 20*time.Millisecond)
		}
	}
}

// reach waits until a shape can be up to date as of a position, if that takes it
// longer than the log.
func reach(ctx context.Context, s live.Shape, need revision.LSN) error {
	if r, ok := s.(interface {
		Reach(context.Context, revision.LSN) error
	}); ok && need > 0 {
		if err := r.Reach(ctx, need); ctx.Err() != nil {
			return revision.ErrNotReached
		} else if err != nil {
			return err
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// newest returns a batch that brings nothing, and where it ends: where one is who
// has everything.
func newest(ctx context.Context, s live.Shape, need revision.LSN) (*live.Batch, live.Offset, error) {
	err := reach(ctx, s, need)
	if err != nil {
		return nil, live.Offset{}, err
	}
	after, err := s.Last(ctx)
	for pause := time.Millisecond; err == nil; {
		var b *live.Batch
		if b, err = s.Next(ctx, after); err != nil {
			break
		}
		after = b.End
		switch {
		case !b.UpToDate:
		case b.At >= need:
			return &live.Batch{End: b.End, UpToDate: true, At: b.At}, after, nil
		default:
			if sleep(ctx, pause) != nil {
				return nil, after, revision.ErrNotReached
			}
			pause = min(2*pause, 20*time.Millisecond)
		}
	}
	return nil, after, err
}

// look returns what comes after an offset, and the news of Changed that was asked
// for before, so that nothing comes unnoticed between the two.
func look(ctx context.Context, s live.Shape, after live.Offset) (*live.Batch, *live.News, error) {
	changed := s.Changed(after)
	b, err := s.Next(ctx, after)
	return b, changed, err
}

// nothing reports whether a batch says that there is nothing new.
func nothing(b *live.Batch) bool { return b.UpToDate && len(b.Messages) == 0 }

// readSubset answers a request for a subset.
func (h *Handler) readSubset(ctx context.Context, q *request) (*response, error) {
	s, _, err := h.open(ctx, q)
	if err != nil {
		return nil, err
	}
	at := q.offset
	if q.fresh() {
		// The client goes on from the offset of this response. It is to be from before
		// the subset's snapshot, whose rows the client knows to have seen already.
		if at, err = s.Last(ctx); err != nil {
			return nil, err
		}
	} else if s.Handle() != q.handle {
		return nil, &live.GoneError{Handle: s.Handle(), Reason: "another handle took its place"}
	}
	body, err := h.o.Tables.Subset(ctx, q.def, *q.subset)
	if err != nil {
		return nil, err
	}
	w := &response{status: http.StatusOK, body: body}
	w.add("electric-handle", s.Handle())
	w.add("electric-offset", at.String())
	w.add("electric-schema", s.Schema())
	w.add("electric-snapshot", "true")
	w.add("cache-control", cacheSubset)
	w.add("content-type", typeJSON)
	return w.shared(), nil
}

// end ends a shape.
func (h *Handler) end(ctx context.Context, q *request) error {
	if q.account != nil {
		return live.ErrForbidden // others follow it, too
	}
	if q.def.Table == "" && q.handle == "" {
		return bad(paramTable, "the parameter table is missing, and so is handle")
	}
	if !h.o.AllowDelete {
		return live.ErrNoShape
	}
	err := live.ErrNoShape
	if h.o.Tables != nil {
		var d *live.Definition
		if q.def.Table != "" {
			d = &q.def
		}
		err = h.o.Tables.Delete(ctx, d, q.handle)
	}
	if errors.Is(err, live.ErrNoShape) && q.handle != "" && q.def.Table == "" {
		err = h.o.Answers.Delete(ctx, q.handle)
	}
	return err
}
