package httpapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tidemarkdb/tidemark/internal/tenant"
)

const (
	// batchPath is where several answers are asked for with one POST. A GET of it
	// is an endpoint's, if there is one.
	batchPath = "/v1/batch"
	// maxBatch bounds the paths of a batch, maxBatchBody the bytes of its request.
	maxBatch     = 100
	maxBatchBody = 64 << 10
)

const batchHint = `send {"paths": ["/v1/…", "/v1/…?…"]}`

// batch answers several paths as of one revision.
func (h *Handler) batch(w http.ResponseWriter, r *http.Request) {
	paths, uris, p := readBatch(w, r)
	if p != nil {
		WriteProblem(w, r, *p)
		return
	}
	req, err := requirement(r.Header)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	parts, token, err := h.tenant.ReadTogether(h.trust(r.Context(), r), uris, req)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.writeBatch(w, r, paths, parts, token)
}

// readBatch returns the paths of a batch as they were sent and as requests have
// them, or what is wrong with the request.
func readBatch(w http.ResponseWriter, r *http.Request) (paths, uris []string, p *Problem) {
	if r.URL.RawQuery != "" {
		return nil, nil, badBatch("it takes no parameters in its own address")
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "application/json" || r.Header.Get("Content-Encoding") != "" {
		return nil, nil, &Problem{
			Type: TypePrefix + "not-json", Title: "A batch is application/json, and not compressed",
			Status: http.StatusUnsupportedMediaType, Hint: batchHint,
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBatchBody))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, nil, &Problem{
			Type: TypePrefix + "batch-too-large", Title: "The batch is too large", Status: http.StatusRequestEntityTooLarge,
			Detail: "at most " + strconv.Itoa(maxBatchBody) + " bytes", Hint: "send several",
		}
	}
	if err != nil {
		return nil, nil, badBatch("it could not be read")
	}
	var req struct {
		Paths []string `json:"paths"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&req); err != nil {
		return nil, nil, badBatch(strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, nil, badBatch("there is more behind the object")
	}
	if len(req.Paths) == 0 || len(req.Paths) > maxBatch {
		return nil, nil, badBatch(fmt.Sprintf("it has %d paths, and may have 1 to %d", len(req.Paths), maxBatch))
	}
	for i, path := range req.Paths {
		u, err := url.ParseRequestURI(path)
		if err != nil || path[0] != '/' {
			return nil, nil, badBatch(fmt.Sprintf("paths[%d] is no path with its query, such as /v1/users/42?limit=5", i))
		}
		uri := u.EscapedPath()
		if u.RawQuery != "" {
			uri += "?" + u.RawQuery
		}
		if len(uri) > maxURI {
			return nil, nil, badBatch(fmt.Sprintf("paths[%d] is longer than %d bytes", i, maxURI))
		}
		uris = append(uris, uri)
	}
	return req.Paths, uris, nil
}

func badBatch(detail string) *Problem {
	return &Problem{
		Type: TypePrefix + "bad-batch", Title: "The batch cannot be understood", Status: http.StatusBadRequest,
		Detail: detail, Hint: batchHint,
	}
}

// batchEntry is one answer of a batch. The body of one that is there follows it.
type batchEntry struct {
	Path        string   `json:"path"`
	Status      int      `json:"status"`
	ETag        string   `json:"etag,omitempty"`
	CacheStatus string   `json:"cache_status,omitempty"`
	Problem     *Problem `json:"problem,omitempty"`
}

func (h *Handler) writeBatch(w http.ResponseWriter, r *http.Request, paths []string, parts []tenant.Part, token string) {
	now := time.Now()
	// Bodies are not copied: they may be large, and there may be many.
	pieces := [][]byte{fmt.Appendf(nil, `{"token":%s,"answers":[`, encode(token))}
	for i, part := range parts {
		e := batchEntry{Path: paths[i], Status: http.StatusOK}
		var body []byte
		switch v := part.Version; {
		case part.Err != nil:
			p, ours := problemOf(part.Err)
			if ours {
				h.log.Warn("a request failed", part.Err, "path", paths[i], "status", p.Status)
			}
			e.Status, e.Problem = p.Status, &p
		case !v.Found:
			e.Status, e.Problem, e.CacheStatus = noRow.Status, &noRow, cacheStatus(&part.Reply.Reply, now)
		default:
			e.ETag, e.CacheStatus, body = string(v.AppendETag(nil)), cacheStatus(&part.Reply.Reply, now), v.Body
		}
		head := encode(e)
		head = head[:len(head)-1] // its end comes behind the body
		if body != nil {
			head = append(head, `,"body":`...)
		}
		tail := "}"
		if i < len(parts)-1 {
			tail = "},"
		}
		pieces = append(pieces, head, body, []byte(tail))
	}
	pieces = append(pieces, []byte("]}\n"))

	length := 0
	for _, p := range pieces {
		length += len(p)
	}
	hd := w.Header()
	hd[HeaderToken] = []string{token}
	hd["Content-Type"] = typeJSON
	hd["Cache-Control"] = []string{"no-store"}
	var out io.Writer = w
	if length >= packMinimum && acceptsGzip(r.Header["Accept-Encoding"]) {
		hd["Content-Encoding"] = gzipCoding
		z := gzip.NewWriter(w)
		defer z.Close()
		out = z
	} else {
		hd["Content-Length"] = []string{strconv.Itoa(length)}
	}
	w.WriteHeader(http.StatusOK)
	for _, p := range pieces {
		if _, err := out.Write(p); err != nil {
			return // a client that is gone is no error
		}
	}
}

// encode writes JSON without escaping what only HTML minds.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // strings and numbers are always encoded
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
