// Package liveapi serves shapes over HTTP, as Electric's shape API has it: the
// rows of a shape, then its changes, by long polls or as server-sent events.
//
// What a shape is, and what comes after an offset, is for live.Tables and
// live.Answers to say, and how fresh a request is answered for the Host's gate.
// The package knows parameters, headers, caching and who may see what. A request
// is authorised where it is served, after its route is known: there is no road to
// a shape around that.
//
// A Handler is safe for concurrent use. As an http.Handler it needs a goroutine
// for each request that waits. A server that has connections of its own gives
// them to Take, which keeps those that wait without one.
package liveapi

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/revision"
	"github.com/tidemarkdb/tidemark/internal/tally"
)

// The paths that are shapes' own.
const (
	ShapePath  = "/v1/shape"
	HealthPath = "/v1/health"
)

// Host is the tenant whose shapes are served.
type Host interface {
	// Pass waits until a requirement is met. It bounds the wait itself.
	Pass(ctx context.Context, req revision.Requirement) (revision.Passage, error)
	// Token names the state that has everything up to a position.
	Token(at revision.LSN) string
	// Takes reports whether the endpoint of an escaped path has a parameter of that
	// name in its query string.
	Takes(path, name string) bool
	// Health is active once shapes are served, else waiting or starting.
	Health() string
}

// Options are what a Handler needs. Durations and numbers have defaults.
type Options struct {
	Host    Host
	Tables  live.Tables // nil: no table may be followed
	Answers live.Answers

	// Secrets open everything. AccountKey signs the tokens that bind a subscriber
	// to an account. If there is either, a request needs a credential.
	Secrets    []string
	AccountKey string
	// AllowDelete lets clients end shapes.
	AllowDelete bool

	Poll       time.Duration // that a long poll waits; 20 s
	Stream     time.Duration // an event stream ends a little before it; 60 s
	Heartbeat  time.Duration // of an event stream; 21 s
	WriteLimit time.Duration // that a client may take to receive a batch; 10 s
	Patience   time.Duration // with a shape that is opened; 50 s
	MaxWaiting int           // requests that wait at a time; 100,000

	// Explain says what a client is told of an error that is not of this package,
	// and whether it belongs in the log. It may be nil.
	Explain func(error) (p Problem, ours bool)
	Logger  *slog.Logger
}

// The bounds of a request.
const (
	maxURI  = 16 << 10
	maxBody = 1 << 20
)

// Handler serves shapes.
type Handler struct {
	o     Options
	log   *tally.Log
	gate  keyring
	hub   hub
	made  made
	start int64 // makes tags that no other process makes
	tags  atomic.Uint64
	// waiting counts the requests that wait for what comes next.
	waiting atomic.Int64

	stopping context.Context // of what waits: done once Stop was called
	stop     context.CancelFunc
	closing  context.Context // of what is under way: done a while later
	close    context.CancelFunc
}

// New returns a handler. Stop ends what it has begun.
func New(o Options) *Handler {
	defaults := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	defaults(&o.Poll, 20*time.Second)
	defaults(&o.Stream, time.Minute)
	defaults(&o.Heartbeat, 21*time.Second)
	defaults(&o.WriteLimit, 10*time.Second)
	defaults(&o.Patience, 50*time.Second)
	if o.MaxWaiting <= 0 {
		o.MaxWaiting = 100_000
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Handler{o: o, log: tally.New(o.Logger), gate: newKeyring(o.Secrets, o.AccountKey), start: time.Now().UnixMicro()}
	h.stopping, h.stop = context.WithCancel(context.Background())
	h.closing, h.close = context.WithCancel(context.Background())
	h.hub.init(h)
	return h
}

// finish is how long requests under way go on after Stop.
const finish = 3 * time.Second

// Stop ends long polls and event streams with a clean answer, and soon what else
// is under way. No request waits from then on.
func (h *Handler) Stop() {
	h.stop()
	time.AfterFunc(finish, h.close)
	h.hub.drain()
}

// Waiting returns how many requests wait for what comes next.
func (h *Handler) Waiting() int { return int(h.waiting.Load()) }

// Wants reports whether a request is about following, so that it is to be given to
// the handler.
func (h *Handler) Wants(r *http.Request) bool {
	path := r.URL.EscapedPath()
	if path == ShapePath || path == HealthPath {
		return true
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
	default:
		return false
	}
	if acceptsEvents(r.Header) {
		return true
	}
	if r.URL.RawQuery == "" {
		return false
	}
	values := r.URL.Query()
	for _, name := range telling {
		if values.Has(name) && !h.o.Host.Takes(path, name) {
			return true
		}
	}
	return false
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	switch {
	case r.Method == http.MethodOptions:
		preflight(r).write(w, r)
	case path == HealthPath:
		h.health(r).write(w, r)
	default:
		h.serve(w, r)
	}
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	a := h.answer(r.Context(), r)
	if a.response == nil && a.stream {
		h.stream(w, r, a)
		return
	}
	reply := a.response
	if reply == nil {
		reply = h.poll(r.Context(), a)
	}
	if reply.status >= 500 && r.Context().Err() != nil {
		// It failed because the client is gone. But net/http takes one that only sends
		// no more for gone, too: without an answer, the connection ends.
		panic(http.ErrAbortHandler)
	}
	reply.write(w, r)
}

// jitter returns up to d, less than all of it.
func jitter(d time.Duration) time.Duration { return rand.N(max(d, 1)) }
