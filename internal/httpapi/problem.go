package httpapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/tidemarkdb/tidemark/internal/answer"
	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/revision"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// Problem is an error as clients see it (RFC 9457).
type Problem struct {
	Type      string `json:"type"` // stable; see docs/consistency.md
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail,omitempty"`
	Parameter string `json:"parameter,omitempty"`
	Hint      string `json:"hint,omitempty"`
	// RetryAfter is in seconds; it is the Retry-After of a response.
	RetryAfter int `json:"retry_after,omitempty"`
}

// TypePrefix begins the type of every problem.
const TypePrefix = "urn:tidemark:problem:"

// kind is one row of the table of errors.
type kind struct {
	err    error
	status int
	slug   string
	title  string
	hint   string
}

// kinds maps errors to what clients are told. The first that matches counts.
var kinds = []kind{
	{tenant.ErrNoEndpoint, http.StatusNotFound, "no-endpoint", "No endpoint has this path", ""},
	{tenant.ErrGuarded, http.StatusUnauthorized, "unauthorized", "A credential is needed", "send Authorization: Bearer with one of live.secrets; one account's rows can be followed with its token"},
	{revision.ErrTokenMalformed, http.StatusBadRequest, "malformed-token", "The token is malformed", "pass a token exactly as it was received"},
	{revision.ErrConsistencyMalformed, http.StatusBadRequest, "malformed-consistency", "The consistency level is malformed", ""},
	{errSnapshot, http.StatusBadRequest, "malformed-snapshot", "The snapshot header is malformed", "send " + HeaderSnapshot + ": same, from the second request on with the " + HeaderToken + " of the first response, and no " + HeaderConsistency},
	{revision.ErrForeignToken, http.StatusConflict, "foreign-token", "The token belongs to another database or timeline", "drop the token and read again"},
	{revision.ErrFutureToken, http.StatusBadRequest, "future-token", "The token is beyond what the database has written", ""},
	{revision.ErrBoundToken, http.StatusBadRequest, "inexact-token", "The token names no exact snapshot", "use it with at_least_as_fresh"},
	{answer.ErrVolatile, http.StatusBadRequest, "volatile-endpoint", "A volatile endpoint has no exact snapshots", ""},
	{answer.ErrSnapshotExpired, http.StatusGone, "snapshot-expired", "No snapshot of that position is left", "read with at_least_as_fresh, or keep snapshots longer or closer together (consistency.gc_window, consistency.revision_quantization_interval)"},
	{revision.ErrForgotten, http.StatusGone, "snapshot-expired", "No snapshot of that position is left", "read with at_least_as_fresh"},
	{answer.ErrNotFresh, http.StatusGatewayTimeout, "not-fresh", "The asked freshness was not reached in time", "try again, or ask for less; consistency.wait_timeout bounds the wait"},
	{revision.ErrNotReached, http.StatusGatewayTimeout, "not-fresh", "The asked freshness was not reached in time", "try again, or ask for less; consistency.wait_timeout bounds the wait"},
	{tenant.ErrStatementTimeout, http.StatusGatewayTimeout, "statement-timeout", "The endpoint's statement ran too long", "fill.statement_timeout bounds it"},
	{revision.ErrSplit, http.StatusServiceUnavailable, "log-replaced", "The database that answers is not the one whose log is followed", "try again; the log is followed anew in a moment"},
	{answer.ErrEpoch, http.StatusServiceUnavailable, "log-replaced", "The log was replaced by another while the request waited", "try again"},
	{answer.ErrClosing, http.StatusServiceUnavailable, "shutting-down", "The server is shutting down", "try again"},
	{tenant.ErrDatabaseGone, http.StatusServiceUnavailable, "database-gone", "The database cannot be reached", "try again"},
	{tenant.ErrSeveralRows, http.StatusInternalServerError, "endpoint-error", "The endpoint promises one row, and there are several", "add a condition or LIMIT 1, or remove `result: one`"},
	{tenant.ErrAnswerTooLarge, http.StatusInternalServerError, "endpoint-error", "The answer is too large", "add a LIMIT"},
}

// noRow says that an endpoint that promises one row has none. It is an answer.
var noRow = Problem{Type: TypePrefix + "no-row", Title: "There is no such row", Status: http.StatusNotFound}

// ProblemOf turns an error into what the client is told.
func ProblemOf(err error) Problem {
	p, _ := problemOf(err)
	return p
}

// problemOf turns an error into what the client is told. The second result says
// that the error is the server's and belongs in its log.
func problemOf(err error) (Problem, bool) {
	var param *query.ParamError
	if errors.As(err, &param) {
		return Problem{
			Type: TypePrefix + "bad-parameter", Title: "A parameter is wrong", Status: http.StatusBadRequest,
			Detail: param.Error(), Parameter: param.Name,
		}, false
	}
	var stmt *tenant.StatementError
	if errors.As(err, &stmt) {
		if stmt.Parameter {
			p := Problem{
				Type: TypePrefix + "bad-parameter", Title: "A parameter is wrong", Status: http.StatusBadRequest,
				Detail: stmt.Error(), Parameter: stmt.Name,
			}
			if p.Parameter != "" {
				p.Detail = "parameter " + p.Parameter + " is refused: " + p.Detail
			}
			return p, false
		}
		return Problem{
			Type: TypePrefix + "endpoint-error", Title: "The endpoint's statement failed",
			Status: http.StatusInternalServerError, Detail: "endpoint " + stmt.Endpoint + ", SQLSTATE " + stmt.Err.Code,
			Hint: "the server's log has the message",
		}, true
	}
	var broken *tenant.BrokenError
	if errors.As(err, &broken) {
		return Problem{
			Type: TypePrefix + "endpoint-broken", Title: "The endpoint cannot be served since a definition changed",
			Status: http.StatusInternalServerError, Detail: "endpoint " + broken.Endpoint,
			Hint: "tidemark endpoints says why",
		}, true
	}
	var overloaded *answer.OverloadedError
	if errors.As(err, &overloaded) {
		// Not for the log: it comes in thousands, and is counted.
		return Problem{
			Type: TypePrefix + "overloaded", Title: "Too many answers wait to be computed",
			Status: http.StatusServiceUnavailable, Hint: "try again after the seconds of Retry-After",
			RetryAfter: max(1, int((overloaded.RetryAfter+time.Second-1)/time.Second)),
		}, false
	}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			p := Problem{Type: TypePrefix + k.slug, Title: k.title, Status: k.status, Hint: k.hint}
			// What the database said is for the log, not for clients.
			if k.status < 500 {
				p.Detail = err.Error()
			}
			return p, k.status >= 500
		}
	}
	return Problem{
		Type: TypePrefix + "internal", Title: "Something went wrong", Status: http.StatusInternalServerError,
		Hint: "the server's log has the message",
	}, true
}

// WriteProblem writes a problem as the response.
func WriteProblem(w http.ResponseWriter, r *http.Request, p Problem) {
	body, err := json.Marshal(p)
	if err != nil {
		http.Error(w, p.Title, p.Status)
		return
	}
	body = append(body, '\n')
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if p.Status == http.StatusServiceUnavailable {
		h.Set("Retry-After", strconv.Itoa(max(1, p.RetryAfter)))
	}
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that is gone is no error
	}
}
