package liveapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidemarkdb/tidemark/internal/live"
)

// Names of headers, in canonical form where they are read.
const (
	headerConsistency = "Tidemark-Consistency"
	headerSnapshot    = "Tidemark-Snapshot"
	headerToken       = "tidemark-token"
)

const (
	typeJSON   = "application/json"
	typeEvents = "text/event-stream"
	allowed    = "GET, HEAD, POST, DELETE, OPTIONS"
	exposed    = "electric-cursor, electric-handle, electric-offset, electric-schema, electric-snapshot, electric-up-to-date, etag, retry-after, tidemark-token"
	vary       = "Accept, Authorization, Tidemark-Consistency"
)

// What caches may do with a response.
const (
	// cacheStart is for the beginning of a shape: it stays true, as what follows it
	// is in the log.
	cacheStart   = "public, max-age=604800, s-maxage=3600, stale-while-revalidate=2629746"
	cacheLog     = "public, max-age=60, stale-while-revalidate=300"
	cacheLive    = "public, max-age=5, stale-while-revalidate=5"
	cacheSubset  = "no-cache"
	cacheGone    = "public, max-age=60, must-revalidate"
	cacheLost    = "public, max-age=1, must-revalidate"
	cachePrivate = "private, no-cache"
	cacheNever   = "no-store"
)

// response is one response. It is not changed once it is made, and may have been
// made for many.
type response struct {
	status int
	fields []field
	body   []byte
}

type field struct{ name, value string }

func (r *response) add(name, value string) { r.fields = append(r.fields, field{name, value}) }

// shared adds what all responses have.
func (r *response) shared() *response {
	r.add("access-control-allow-origin", "*")
	r.add("access-control-allow-methods", allowed)
	r.add("access-control-expose-headers", exposed)
	r.add("vary", vary)
	return r
}

func (r *response) hasBody() bool {
	return r.status != http.StatusNotModified && r.status != http.StatusNoContent
}

// write writes the response by net/http.
func (r *response) write(w http.ResponseWriter, to *http.Request) {
	r.head(w.Header())
	if r.hasBody() {
		w.Header().Set("Content-Length", strconv.Itoa(len(r.body)))
	}
	w.WriteHeader(r.status)
	if r.hasBody() && to.Method != http.MethodHead {
		_, _ = w.Write(r.body) // a client that is gone is no error
	}
}

func (r *response) head(h http.Header) {
	for _, f := range r.fields {
		h[http.CanonicalHeaderKey(f.name)] = []string{f.value}
	}
}

// append writes the response as HTTP/1.1 has it. A stream has no length and is in
// chunks; the last response of a connection says so.
func (r *response) append(b []byte, stream, last bool) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(r.status), 10)
	b = append(append(append(b, ' '), http.StatusText(r.status)...), "\r\n"...)
	for _, f := range r.fields {
		b = append(append(append(append(b, f.name...), ": "...), f.value...), "\r\n"...)
	}
	b = time.Now().UTC().AppendFormat(append(b, "date: "...), http.TimeFormat)
	if last {
		b = append(b, "\r\nconnection: close"...)
	}
	switch {
	case stream:
		return append(b, "\r\ntransfer-encoding: chunked\r\n\r\n"...)
	case r.hasBody():
		b = strconv.AppendInt(append(b, "\r\ncontent-length: "...), int64(len(r.body)), 10)
		return append(append(b, "\r\n\r\n"...), r.body...)
	}
	return append(b, "\r\n\r\n"...)
}

// batch makes the response that brings a batch.
func (h *Handler) batch(r *request, s live.Shape, after live.Offset, b *live.Batch) *response {
	w := &response{status: http.StatusOK, fields: make([]field, 0, 16)}
	h.position(w, r, s, b.End)
	if b.UpToDate {
		w.add("electric-up-to-date", "true")
	}
	tag := h.tag(s, after, b)
	w.add("etag", tag)
	w.add("cache-control", r.caching())
	if token := h.token(b); token != "" {
		w.add(headerToken, token)
	}
	if !r.live && matches(r.match, tag) {
		w.status = http.StatusNotModified
		return w.shared()
	}
	w.add("content-type", typeJSON)
	messages := slices.Clip(b.Messages)
	if b.UpToDate {
		messages = live.AppendUpToDate(messages, b.At, h.o.Host.Token(b.At), false)
	}
	w.body = live.AppendBody(make([]byte, 0, len(messages)+2), messages)
	return w.shared()
}

// position adds the headers that say where in a shape a client is then.
func (h *Handler) position(w *response, r *request, s live.Shape, end live.Offset) {
	w.add("electric-handle", s.Handle())
	w.add("electric-offset", end.String())
	if !r.live || r.fresh() {
		w.add("electric-schema", s.Schema())
	}
	if r.live {
		w.add("electric-cursor", h.cursor(r.cursor, time.Now()))
	}
}

// token names what a client has at least once it has a batch; empty while it has
// but a part of a snapshot.
func (h *Handler) token(b *live.Batch) string {
	switch {
	case b.UpToDate || b.At != 0:
		return h.o.Host.Token(b.At)
	case b.End.LSN > 1 && b.End != live.Start:
		// A part of the transaction that ends there may be missing.
		return h.o.Host.Token(b.End.LSN - 1)
	}
	return ""
}

// tag names a batch. One that brings nothing has a name of its own each time.
func (h *Handler) tag(s live.Shape, after live.Offset, b *live.Batch) string {
	t := append(make([]byte, 0, 96), '"')
	t = append(append(t, s.Handle()...), ':')
	t = append(append(t, after.String()...), ':')
	t = append(t, b.End.String()...)
	if nothing(b) {
		t = strconv.AppendInt(append(t, ':'), h.start, 36)
		t = strconv.AppendUint(append(t, '.'), h.tags.Add(1), 36)
	}
	return string(append(t, '"'))
}

// matches reports whether an If-None-Match field names a tag, which has no comma.
func matches(lines []string, tag string) bool {
	for _, line := range lines {
		for t := range strings.SplitSeq(line, ",") {
			t = strings.TrimPrefix(strings.TrimSpace(t), "W/")
			if t == tag || t == "*" {
				return true
			}
		}
	}
	return false
}

// caching says what caches may do with a batch.
func (r *request) caching() string {
	switch {
	case r.private || r.named():
		// Another may send the same request and be entitled to something else.
		return cachePrivate
	case r.live || r.offset == live.Now:
		return cacheLive
	case r.offset == live.Start:
		return cacheStart
	}
	return cacheLog
}

// refetch makes the response that ends a handle.
func refetch(handle string, private bool) *response {
	w := &response{status: http.StatusConflict, body: []byte(live.MustRefetch)}
	caching := cacheLost
	if handle != "" {
		w.add("electric-handle", handle)
		caching = cacheGone
	}
	if private {
		caching = cacheNever
	}
	w.add("cache-control", caching)
	w.add("content-type", typeJSON)
	return w.shared()
}

// cursor returns the cursor after one that a client sent: all who poll in one
// interval get the same, so that caches see one address. One who got it in this
// interval already gets another, so that a cached answer does not come again.
func (h *Handler) cursor(sent string, now time.Time) string {
	interval := max(1, int64(h.o.Poll/time.Second))
	c := now.Unix() / interval * interval
	text := strconv.FormatInt(c, 10)
	if text != sent {
		return text
	}
	return strconv.FormatInt(c+1+int64(jitter(time.Duration(max(1, interval-1)))), 10)
}

// accepted makes the response to a DELETE.
func accepted() *response {
	w := &response{status: http.StatusAccepted}
	w.add("cache-control", cacheNever)
	return w.shared()
}

// preflight answers what a browser asks before a request to another origin.
func preflight(r *http.Request) *response {
	w := &response{status: http.StatusNoContent}
	names := strings.Join(r.Header["Access-Control-Request-Headers"], ", ")
	if names == "" || len(names) > 1<<10 || strings.ContainsFunc(names, notInNames) {
		names = "authorization, content-type, if-none-match, last-event-id, tidemark-consistency"
	}
	w.add("access-control-allow-headers", names)
	w.add("access-control-max-age", "86400")
	return w.shared()
}

// notInNames reports whether a character cannot stand in a list of field names.
func notInNames(c rune) bool {
	return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_, ", c))
}

// health says whether shapes are served.
func (h *Handler) health(r *http.Request) *response {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return h.refuse(HealthPath, errMethod, false)
	}
	state := h.o.Host.Health()
	w := &response{status: http.StatusOK, body: []byte(`{"status":` + strconv.Quote(state) + "}\n")}
	if state != "active" {
		w.status = http.StatusServiceUnavailable
		w.add("retry-after", "1")
	}
	w.add("content-type", typeJSON)
	w.add("cache-control", cacheNever)
	return w.shared()
}
