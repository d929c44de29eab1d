package httpapi

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/answer"
	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/revision"
	"github.com/tidemarkdb/tidemark/internal/structured"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

func TestMatches(t *testing.T) {
	const tag = `"abc"`
	for _, tt := range []struct {
		lines []string
		want  bool
	}{
		{[]string{`"abc"`}, true},
		{[]string{`W/"abc"`}, true},
		{[]string{`"abc-gz"`}, true},
		{[]string{`"x", "abc"`}, true},
		{[]string{`"x"`, ` , "abc" `}, true},
		{[]string{`*`}, true},
		{[]string{`"x, \"abc\""`}, false},
		{[]string{`"abcd"`}, false},
		{[]string{`abc`}, false},
		{[]string{`"abc`}, false},
		{[]string{``}, false},
	} {
		if got := matches(tt.lines, tag); got != tt.want {
			t.Errorf("matches(%q) = %v", tt.lines, got)
		}
	}
}

func TestAcceptsGzip(t *testing.T) {
	for line, want := range map[string]bool{
		"gzip": true, "deflate, GZIP;q=0.5": true, "*": true, "br, *;q=0.1": true,
		"": false, "gzip;q=0": false, "*;q=0": false, "gzip;q=0, *": false, "br": false, "gzip;q=x": false,
	} {
		if got := acceptsGzip([]string{line}); got != want {
			t.Errorf("acceptsGzip(%q) = %v", line, got)
		}
	}
}

func TestProblemOf(t *testing.T) {
	for _, tt := range []struct {
		err    error
		status int
		slug   string
		ours   bool
	}{
		{tenant.ErrNoEndpoint, 404, "no-endpoint", false},
		{fmt.Errorf("x: %w", revision.ErrTokenMalformed), 400, "malformed-token", false},
		{revision.ErrConsistencyMalformed, 400, "malformed-consistency", false},
		{revision.ErrForeignToken, 409, "foreign-token", false},
		{revision.ErrFutureToken, 400, "future-token", false},
		{revision.ErrNotReached, 504, "not-fresh", true},
		{answer.ErrNotFresh, 504, "not-fresh", true},
		{answer.ErrSnapshotExpired, 410, "snapshot-expired", false},
		{tenant.ErrDatabaseGone, 503, "database-gone", true},
		{&query.ParamError{Name: "id", Reason: "is wrong"}, 400, "bad-parameter", false},
		{&tenant.StatementError{Parameter: true, Err: &pgconn.PgError{Message: "bad"}}, 400, "bad-parameter", false},
		{&tenant.StatementError{Err: &pgconn.PgError{Message: "secret"}}, 500, "endpoint-error", true},
		{errors.New("other"), 500, "internal", true},
	} {
		p, ours := problemOf(tt.err)
		if p.Status != tt.status || p.Type != TypePrefix+tt.slug || ours != tt.ours {
			t.Errorf("%v: %+v, ours %v", tt.err, p, ours)
		}
		if p.Status >= 500 && p.Detail == "secret" {
			t.Errorf("%v: what the database said is told to clients", tt.err)
		}
	}
	w := httptest.NewRecorder()
	WriteProblem(w, httptest.NewRequest("HEAD", "/", nil), Problem{Status: 503, Title: "gone"})
	if w.Body.Len() != 0 || w.Header().Get("Retry-After") == "" || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("HEAD 503: %v %q", w.Header(), w.Body)
	}
}

func TestCacheStatusIsStructured(t *testing.T) {
	v := &answer.Version{Filled: time.Now()}
	for _, r := range []answer.Reply{
		{Version: v, Exact: true},
		{Version: v, Exact: true, Outcome: answer.Stale, Ended: &answer.Reason{Table: `public."a\b"`, Op: 'U'}},
		{Version: v, Outcome: answer.Filled, Ended: &answer.Reason{Table: "tü", Op: 'T'}, Joined: true, Stored: true},
		{Version: v, Exact: true, Outcome: answer.Pinned},
	} {
		s := cacheStatus(&r, time.Now())
		it, err := structured.ParseItem(s)
		if err != nil || it.Value != structured.Token("tidemark") {
			t.Errorf("%s: %v", s, err)
		}
		_, hit := it.Param("hit")
		_, fwd := it.Param("fwd")
		if hit == fwd {
			t.Errorf("%s: it is either a hit or forwarded", s)
		}
	}
}
