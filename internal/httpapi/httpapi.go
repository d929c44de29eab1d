// Package httpapi serves endpoints over HTTP: GET and HEAD, conditional
// requests, consistency levels, and errors as RFC 9457 problems.
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
	"github.com/tidemarkdb/tidemark/internal/revision"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// Header names of tidemark's own, in canonical form.
const (
	HeaderConsistency = "Tidemark-Consistency"
	HeaderToken       = "Tidemark-Token"
)

// Handler serves one tenant.
type Handler struct {
	tenant *tenant.Tenant
	log    *slog.Logger
}

// New returns the handler of a tenant's endpoints.
func New(t *tenant.Tenant, log *slog.Logger) *Handler {
	return &Handler{tenant: t, log: log}
}

// Server wraps a handler in a server with this package's limits and protocols:
// HTTP/1.1, and HTTP/2 with TLS or with prior knowledge.
func Server(h http.Handler, log *slog.Logger) *http.Server {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           h,
		Protocols:         p,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      2 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// maxURI bounds a request's target in bytes.
const maxURI = 8 << 10

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		WriteProblem(w, r, Problem{
			Type: TypePrefix + "method", Title: "Only GET and HEAD are served", Status: http.StatusMethodNotAllowed,
			Hint: "write to the database; the next read shows it",
		})
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
	level := r.Header[HeaderConsistency]
	if len(level) == 0 {
		if reply, ok := h.tenant.Hit(r.RequestURI, now); ok {
			h.write(w, r, &reply, now)
			return
		}
	}
	reply, err := h.read(r.Context(), r, level)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.write(w, r, &reply, time.Now())
}

func (h *Handler) read(ctx context.Context, r *http.Request, level []string) (tenant.Reply, error) {
	// Several header lines are one list, which is not one item.
	req, err := revision.ParseConsistency(strings.Join(level, ", "))
	if err != nil {
		return tenant.Reply{}, err
	}
	return h.tenant.Read(ctx, r.URL.EscapedPath(), r.URL.RawQuery, req)
}

func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // nobody is there to be told
	}
	p, ours := problemOf(err)
	if ours {
		h.log.Warn("a request failed", "path", r.URL.Path, "status", p.Status, "err", err)
	}
	WriteProblem(w, r, p)
}

// Header values that never change.
var (
	typeJSON    = []string{"application/json"}
	revalidate  = []string{"no-cache"}
	varyHeaders = []string{"Accept-Encoding, " + HeaderConsistency}
	gzipCoding  = []string{"gzip"}
)

func (h *Handler) write(w http.ResponseWriter, r *http.Request, reply *tenant.Reply, now time.Time) {
	v := reply.Version
	hd := w.Header()
	hd[HeaderToken] = []string{reply.Token}
	hd["Vary"] = varyHeaders
	// A client may keep the answer, and asks each time whether it still holds.
	hd["Cache-Control"] = revalidate
	if reply.Outcome == answer.Hit {
		m := rendered(v, now)
		hd["Age"], hd["Cache-Status"] = m.Age[:], m.Status[:]
	} else {
		hd["Age"] = []string{strconv.FormatInt(age(v, now), 10)}
		hd["Cache-Status"] = []string{cacheStatus(&reply.Reply, now)}
	}
	if !v.Found {
		WriteProblem(w, r, Problem{
			Type: TypePrefix + "no-row", Title: "There is no such row", Status: http.StatusNotFound,
		})
		return
	}
	body, etag, length := v.Body, v.ETag[:], v.Length[:]
	if len(body) >= packMinimum && acceptsGzip(r.Header["Accept-Encoding"]) {
		body = h.packed(reply, v)
		etag = []string{strings.TrimSuffix(v.ETag[0], `"`) + `-gz"`}
		length = []string{strconv.Itoa(len(body))}
		hd["Content-Encoding"] = gzipCoding
	}
	hd["Etag"] = etag
	if match := r.Header["If-None-Match"]; len(match) > 0 && matches(match, v.ETag[0]) {
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

func age(v *answer.Version, now time.Time) int64 {
	return max(0, int64(now.Sub(v.Filled)/time.Second))
}

// rendered returns the header values of a hit, which change once a second.
func rendered(v *answer.Version, now time.Time) *answer.Rendered {
	second := now.Unix()
	if m := v.Rendered.Load(); m != nil && m.Second == second {
		return m
	}
	m := &answer.Rendered{Second: second}
	m.Age[0] = strconv.FormatInt(age(v, now), 10)
	m.Status[0] = "tidemark; hit; ttl=" + strconv.FormatInt(ttl(v, now), 10)
	m.Head = []byte(statusLine(http.StatusOK) + "Age: " + m.Age[0] + "\r\nCache-Control: " + revalidate[0] +
		"\r\nCache-Status: " + m.Status[0] + "\r\nContent-Length: " + v.Length[0] + "\r\nContent-Type: " + typeJSON[0] +
		"\r\nEtag: " + v.ETag[0] + "\r\nVary: " + varyHeaders[0] + "\r\n" + HeaderToken + ": ")
	v.Rendered.Store(m)
	return m
}

func ttl(v *answer.Version, now time.Time) int64 {
	return int64(v.Expires().Sub(now) / time.Second)
}

// cacheStatus says how a reply came about (RFC 9211).
func cacheStatus(r *answer.Reply, now time.Time) string {
	b := []byte("tidemark")
	detail := ""
	switch {
	case r.Outcome == answer.Hit:
		b = append(b, "; hit; ttl="...)
		b = strconv.AppendInt(b, ttl(r.Version, now), 10)
	case r.Outcome == answer.Stale:
		b = append(b, "; hit; ttl=-1"...)
		detail = "stale: "
	case r.Outcome == answer.Pinned:
		b = append(b, "; fwd=request; stored"...)
		detail = "pinned snapshot"
	case r.Ended != nil:
		b = append(b, "; fwd=stale"...)
	default:
		b = append(b, "; fwd=uri-miss"...)
	}
	if r.Outcome == answer.Filled {
		if r.Stored {
			b = append(b, "; stored; ttl="...)
			b = strconv.AppendInt(b, ttl(r.Version, now), 10)
		}
		if r.Joined {
			b = append(b, "; collapsed"...)
		}
	}
	if r.Ended != nil {
		detail += r.Ended.String()
	}
	if !r.Exact {
		if detail != "" {
			detail += "; "
		}
		detail += "not proven equal to one position"
	}
	if detail != "" {
		b = append(b, "; detail="...)
		b = appendString(b, detail)
	}
	return string(b)
}

// appendString writes a Structured Field string (RFC 9651, section 3.3.3). What
// is not printable ASCII becomes a question mark.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20 || c > 0x7e:
			b = append(b, '?')
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
