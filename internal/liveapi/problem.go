package liveapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Problem is an error as clients see it: the members of RFC 9457, and those by
// which clients of the shape API know one.
type Problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail,omitempty"`
	Parameter string `json:"parameter,omitempty"`
	Hint      string `json:"hint,omitempty"`
	// RetryAfter is in seconds; it is the Retry-After of a response.
	RetryAfter int `json:"retry_after,omitempty"`
}

// typePrefix begins the type of every problem.
const typePrefix = "urn:tidemark:problem:"

var (
	errUnauthorised = errors.New("no credential, or one that opens nothing")
	errExpired      = errors.New("the token has expired")
	errCrowded      = errors.New("too many requests wait")
	errStopping     = errors.New("the server is shutting down")
	errURI          = errors.New("the request target is too long")
	errBody         = errors.New("the body is too large")
	errMethod       = errors.New("the method is not served here")
	errQuery        = errors.New("the query string is malformed")
	errExact        = errors.New("a shape has no exact snapshots")
)

// kinds maps errors to what clients are told. The first that matches counts.
var kinds = []struct {
	err    error
	status int
	slug   string
	title  string
	hint   string
}{
	{errUnauthorised, http.StatusUnauthorized, "unauthorized", "A credential is needed", "send a secret or a token as the parameter secret, or as Authorization: Bearer"},
	{errExpired, http.StatusUnauthorized, "unauthorized", "The token has expired", "send one that is still valid"},
	{live.ErrForbidden, http.StatusForbidden, "forbidden", "This is not for this subscriber", ""},
	{live.ErrNoShape, http.StatusNotFound, "no-shape", "There is no such shape", ""},
	{errMethod, http.StatusMethodNotAllowed, "method", "The method is not served here", ""},
	{errURI, http.StatusRequestURITooLong, "uri-too-long", "The request target is too long", "ask for subsets with POST"},
	{errBody, http.StatusRequestEntityTooLarge, "body-too-large", "The body is too large", ""},
	{errQuery, http.StatusBadRequest, "bad-request", "The request cannot be understood", "the query string is malformed"},
	{errExact, http.StatusBadRequest, "bad-request", "A shape has no exact snapshots", "ask for at_least_as_fresh"},
	{revision.ErrTokenMalformed, http.StatusBadRequest, "malformed-token", "The token is malformed", "pass a token exactly as it was received"},
	{revision.ErrConsistencyMalformed, http.StatusBadRequest, "malformed-consistency", "The consistency level is malformed", ""},
	{revision.ErrFutureToken, http.StatusBadRequest, "future-token", "The token is beyond what the database has written", ""},
	// Not 409: clients of shapes take that for the end of a handle.
	{revision.ErrForeignToken, http.StatusBadRequest, "foreign-token", "The token belongs to another database or timeline", "drop the token"},
	{revision.ErrNotReached, http.StatusGatewayTimeout, "not-fresh", "The asked freshness was not reached in time", "try again, or ask for less"},
	{errCrowded, http.StatusServiceUnavailable, "too-many-followers", "Too many requests wait for what comes next", "try again after the seconds of Retry-After"},
	{errStopping, http.StatusServiceUnavailable, "shutting-down", "The server is shutting down", "try again"},
	{live.ErrUnavailable, http.StatusServiceUnavailable, "live-unavailable", "Shapes cannot be followed at the moment", "try again after the seconds of Retry-After"},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, "busy", "The shape is not ready yet", "try again after the seconds of Retry-After"},
	{context.Canceled, http.StatusServiceUnavailable, "shutting-down", "The server is shutting down", "try again"},
}

// problem turns an error into what the client is told. The second result says
// that the error is the server's and belongs in its log.
func (h *Handler) problem(err error) (p Problem, ours bool) {
	var req *live.RequestError
	if errors.As(err, &req) {
		return Problem{
			Type: typePrefix + "bad-request", Title: "The request cannot be served", Status: http.StatusBadRequest,
			Detail: req.Message, Parameter: req.Field, Hint: req.Hint,
		}, false
	}
	for _, k := range kinds {
		if !errors.Is(err, k.err) {
			continue
		}
		p := Problem{Type: typePrefix + k.slug, Title: k.title, Status: k.status, Hint: k.hint}
		if (k.status < 500 || k.err == live.ErrUnavailable) && err != k.err { // what else the database said is for the log
			p.Detail = err.Error()
		}
		// A crowd comes in thousands, what is unavailable is so to all, and an end is no
		// fault.
		return p, k.status >= 500 && k.err != errCrowded && k.err != live.ErrUnavailable && k.slug != "shutting-down"
	}
	if h.o.Explain != nil {
		return h.o.Explain(err)
	}
	return Problem{
		Type: typePrefix + "internal", Title: "Something went wrong", Status: http.StatusInternalServerError,
		Hint: "the server's log has the message",
	}, true
}

// refuse makes the response to a request that failed, of a path or a handle.
func (h *Handler) refuse(of string, err error, private bool) *response {
	var gone *live.GoneError
	if errors.As(err, &gone) {
		return refetch(gone.Handle, private)
	}
	p, ours := h.problem(err)
	if ours {
		// Not its address: secrets are in the query.
		h.log.Warn("a request for a shape failed", err, "of", of, "status", p.Status)
	}
	return p.response(err)
}

func (p Problem) response(err error) *response {
	message := p.Detail
	if message == "" {
		message = p.Title
	}
	var errs map[string][]string
	if p.Parameter != "" {
		errs = map[string][]string{p.Parameter: {message}}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(struct { // texts and numbers are always encoded
		Message string              `json:"message"`
		Errors  map[string][]string `json:"errors,omitempty"`
		Problem
	}{message, errs, p})
	r := &response{status: p.Status, body: b.Bytes()}
	r.add("content-type", typeJSON)
	r.add("cache-control", "no-store")
	switch {
	case p.Status == http.StatusUnauthorized:
		r.add("www-authenticate", "Bearer")
	case errors.Is(err, errMethod):
		r.add("allow", allowed)
	case p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests:
		// Those who were turned away together come back one by one.
		after := max(1, p.RetryAfter)
		r.add("retry-after", strconv.Itoa(after+int(jitter(5*time.Second)/time.Second)))
	}
	return r.shared()
}
