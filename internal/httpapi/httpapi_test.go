package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
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
		{&answer.OverloadedError{RetryAfter: time.Second}, 503, "overloaded", false},
		{fmt.Errorf("x: %w", errSnapshot), 400, "malformed-snapshot", false},
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

// TestFailuresInLog has all requests fail, and all parts of a batch.
func TestFailuresInLog(t *testing.T) {
	var log bytes.Buffer
	h := New(nil, slog.New(slog.NewTextHandler(&log, nil)))
	paths, parts := make([]string, 50), make([]tenant.Part, 50)
	for i := range parts {
		paths[i], parts[i].Err = fmt.Sprint("/", i), tenant.ErrDatabaseGone
	}
	for range 50 {
		h.fail(httptest.NewRecorder(), httptest.NewRequest("GET", "/x?secret=s", nil), tenant.ErrDatabaseGone)
		h.writeBatch(httptest.NewRecorder(), httptest.NewRequest("POST", "/v1/batch", nil), paths, parts, "")
	}
	if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "path=/x status=503 err=") {
		t.Errorf("the log has %s", text)
	}
}

func TestRetryAfter(t *testing.T) {
	for after, want := range map[time.Duration]string{
		0: "1", time.Millisecond: "1", time.Second: "1", 1001 * time.Millisecond: "2", time.Minute: "60",
	} {
		w := httptest.NewRecorder()
		WriteProblem(w, httptest.NewRequest("GET", "/", nil), ProblemOf(&answer.OverloadedError{RetryAfter: after}))
		if got := w.Header().Get("Retry-After"); w.Code != 503 || got != want {
			t.Errorf("after %s: %d, Retry-After %s, want %s", after, w.Code, got, want)
		}
	}
}

func TestRequirement(t *testing.T) {
	token := revision.Token{Source: revision.Source{SystemID: 7, Timeline: 1}, LSN: 99}
	for _, tt := range []struct {
		level, snapshot, token []string
		want                   revision.Requirement
		err                    error
	}{
		{want: revision.Requirement{}},
		{level: []string{"fully_consistent"}, want: revision.Requirement{Level: revision.FullyConsistent}},
		{level: []string{"fully_consistent", "fully_consistent"}, err: revision.ErrConsistencyMalformed},
		{token: []string{token.String()}, want: revision.Requirement{}},
		{snapshot: []string{"same"}, want: revision.Requirement{}},
		{snapshot: []string{"same"}, token: []string{token.String()}, want: revision.Requirement{Level: revision.AtExactSnapshot, Token: token}},
		{snapshot: []string{"same"}, token: []string{token.String()[:9]}, err: revision.ErrTokenMalformed},
		{snapshot: []string{"same"}, token: []string{""}, err: revision.ErrTokenMalformed},
		{snapshot: []string{"same"}, token: []string{token.String(), token.String()}, err: revision.ErrTokenMalformed},
		{snapshot: []string{"same"}, level: []string{"minimize_latency"}, err: errSnapshot},
		{snapshot: []string{"same"}, level: []string{""}, err: errSnapshot},
		{snapshot: []string{"same", "same"}, err: errSnapshot},
		{snapshot: []string{"Same"}, err: errSnapshot},
		{snapshot: []string{""}, err: errSnapshot},
	} {
		h := http.Header{}
		for name, lines := range map[string][]string{HeaderConsistency: tt.level, HeaderSnapshot: tt.snapshot, HeaderToken: tt.token} {
			if lines != nil {
				h[name] = lines
			}
		}
		if got, err := requirement(h); got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%v: %+v, %v", h, got, err)
		}
	}
}

// A stale answer's time to live is how long ago it ended.
func TestCacheStatusOfStale(t *testing.T) {
	v := &answer.Version{} // as if it had ended at the beginning of time
	r := &answer.Reply{Version: v, Exact: true, Outcome: answer.Stale, Ended: &answer.Reason{Cause: answer.ByTTL}}
	for after, want := range map[time.Duration]int64{
		0: -1, 900 * time.Millisecond: -1, 1500 * time.Millisecond: -2, time.Hour: -3601, -time.Second: -1,
	} {
		it, err := structured.ParseItem(cacheStatus(r, time.Unix(0, 0).Add(after)))
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := it.Param("ttl"); got != want {
			t.Errorf("%s after its end: ttl=%v, want %d", after, got, want)
		}
		if d, _ := it.Param("detail"); !strings.HasPrefix(fmt.Sprint(d), "stale: ") {
			t.Errorf("detail %v", d)
		}
	}
}

func TestCacheStatusIsStructured(t *testing.T) {
	v := &answer.Version{}
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
