// Package httpapi serves endpoints over HTTP: GET and HEAD, conditional
// requests, consistency levels, several answers as of one revision, and errors as
// RFC 9457 problems.
//
// It has no idea of freshness of its own: every answer comes from the tenant,
// with the position as of which it is served. Handlers are safe for concurrent
// use.
package httpapi

import (
	"bytes"
	"compress/gzip"
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tidemarkdb/tidemark/internal/answer"
	"github.com/tidemarkdb/tidemark/internal/liveapi"
	"github.com/tidemarkdb/tidemark/internal/tally"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// Header names of tidemark's own, in canonical form.
const (
	HeaderConsistency = "Tidemark-Consistency"
	HeaderSnapshot    = "Tidemark-Snapshot"
	HeaderToken       = "Tidemark-Token"
)

// Handler serves one tenant.
type Handler struct {
	tenant *tenant.Tenant
	live   *liveapi.Handler
	log    *tally.Log
}

// New returns the handler of a tenant's endpoints.
func New(t *tenant.Tenant, log *slog.Logger) *Handler {
	return &Handler{tenant: t, log: tally.New(log)}
}

// Follow has requests that are about following served by l. It is called before
// the handler serves.
func (h *Handler) Follow(l *liveapi.Handler) { h.live = l }

// Server wraps a handler in a server with this package's limits and protocols:
// HTTP/1.1, and HTTP/2 with TLS or with prior knowledge.
func Server(h http.Handler, log *slog.Logger) *http.Server {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(true)
	s := &http.Server{
		Handler:           h,
		Protocols:         p,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      2 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	if h, ok := h.(*Handler); ok && h.live != nil {
		s.RegisterOnShutdown(h.live.Stop)
	}
	return s
}

// maxURI bounds a request's target in bytes.
const maxURI = 8 << 10

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.live != nil && h.live.Wants(r) {
		h.live.ServeHTTP(w, r)
		return
	}
	h.serve(w, r)
}

// serve serves what is about reading.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		if r.URL.EscapedPath() != batchPath {
			refuseMethod(w, r, "GET, HEAD", "write to the database; the next read shows it")
		} else if r.Method != http.MethodPost {
			refuseMethod(w, r, "GET, HEAD, POST", batchHint)
		} else {
			h.batch(w, r)
		}
		return
	}
	if len(r.RequestURI) > maxURI {
		WriteProblem(w, r, Problem{
			Type: TypePrefix + "uri-too-long", Title: "The request target is too long", Status: http.StatusRequestURITooLong,
			Detail: "at most " + strconv.Itoa(maxURI) + " bytes",
		})
		return
	}
	now := time.Now()
	if len(r.Header[HeaderConsistency]) == 0 && len(r.Header[HeaderSnapshot]) == 0 {
		if reply, ok := h.tenant.Hit(r.RequestURI, now); ok {
			h.write(w, r, &reply, now)
			return
		}
	}
	reply, err := h.read(r.Context(), r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.write(w, r, &reply, time.Now())
}

func refuseMethod(w http.ResponseWriter, r *http.Request, allow, hint string) {
	w.Header().Set("Allow", allow)
	WriteProblem(w, r, Problem{
		Type: TypePrefix + "method", Title: "The method is not served here", Status: http.StatusMethodNotAllowed,
		Detail: "only " + allow, Hint: hint,
	})
}

// trust lets those who have a secret read the rows of all accounts.
func (h *Handler) trust(ctx context.Context, r *http.Request) context.Context {
	if h.live != nil && h.live.Trusts(r.Header) {
		return tenant.Trust(ctx)
	}
	return ctx
}

func (h *Handler) read(ctx context.Context, r *http.Request) (tenant.Reply, error) {
	req, err := requirement(r.Header)
	if err != nil {
		return tenant.Reply{}, err
	}
	return h.tenant.Read(h.trust(ctx, r), r.URL.EscapedPath(), r.URL.RawQuery, req)
}

func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	p, ours := problemOf(err)
	if ours && r.Context().Err() != nil {
		// It failed because the client is gone, which is for no log. But net/http
		// takes one that only sends no more for gone, too, and a plain return would
		// tell it 200 and nothing else: without an answer, the connection ends.
		panic(http.ErrAbortHandler)
	}
	if ours {
		h.log.Warn("a request failed", err, "path", r.URL.Path, "status", p.Status)
	}
	WriteProblem(w, r, p)
}

// Header values that never change.
var (
	typeJSON    = []string{"application/json"}
	revalidate  = []string{"no-cache"}
	varyHeaders = []string{"Accept-Encoding, " + HeaderConsistency + ", " + HeaderSnapshot + ", " + HeaderToken}
	gzipCoding  = []string{"gzip"}
)

func (h *Handler) write(w http.ResponseWriter, r *http.Request, reply *tenant.Reply, now time.Time) {
	v := reply.Version
	hd := w.Header()
	hd[HeaderToken] = []string{reply.Token}
	hd["Vary"] = varyHeaders
	// A client may keep the answer, and asks each time whether it still holds.
	hd["Cache-Control"] = revalidate
	m := render(&reply.Reply, now)
	hd["Age"], hd["Cache-Status"] = m.age[:], m.status[:]
	if !v.Found {
		WriteProblem(w, r, noRow)
		return
	}
	body, etag, length := v.Body, m.etag[:], m.length[:]
	if len(body) >= packMinimum && acceptsGzip(r.Header["Accept-Encoding"]) {
		body = h.packed(reply, v)
		etag = []string{strings.TrimSuffix(m.etag[0], `"`) + `-gz"`}
		length = []string{strconv.Itoa(len(body))}
		hd["Content-Encoding"] = gzipCoding
	}
	hd["Etag"] = etag
	if match := r.Header["If-None-Match"]; len(match) > 0 && matches(match, m.etag[0]) {
		delete(hd, "Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	hd["Content-Type"] = typeJSON
	hd["Content-Length"] = length
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that is gone is no error
	}
}

// packMinimum is the size from which a body is worth compressing.
const packMinimum = 1 << 10

// packed returns the gzip form of a version's body, making it once.
func (h *Handler) packed(reply *tenant.Reply, v *answer.Version) []byte {
	if p := v.Packed.Load(); p != nil {
		return *p
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(v.Body) // a buffer takes everything
	_ = z.Close()
	packed := bytes.Clone(b.Bytes())
	h.tenant.KeepPacked(reply.Key, v, packed)
	return packed
}
