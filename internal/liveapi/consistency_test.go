package liveapi_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/liveapi"
	"github.com/tidemarkdb/tidemark/internal/liveapi/liveapitest"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

const consistency = "Tidemark-Consistency"

func atLeast(at revision.LSN) string {
	return fmt.Sprintf("at_least_as_fresh; token=%q", revision.Token{Source: liveapitest.Source, LSN: at})
}

// TestConsistency has requests that name how fresh they want to be answered: they
// are as soon as that is reached, with changes or without.
func TestConsistency(t *testing.T) {
	r := open(t, liveapi.Options{})
	r.host.Patience = 5 * time.Second
	r.host.SetEnd(1000)
	const uri = "/v1/shape?handle=items-1&table=items&offset="
	poll := uri + whole(100) + "&cursor=1&live=true"
	got := r.get(poll, consistency, atLeast(100))
	r.want(got, 200, "up-to-date 100")
	r.header(got, "Cache-Control", "private, no-cache")
	for _, u := range []string{poll, uri + whole(100), uri + "now"} {
		began := time.Now()
		at := r.host.Frontier.Load() + 100
		c := r.async(u, consistency, atLeast(at))
		time.Sleep(20 * time.Millisecond)
		r.host.Frontier.Advance(at)
		// The shape comes to know a moment later.
		time.Sleep(20 * time.Millisecond)
		select {
		case got := <-c:
			t.Fatalf("answered before the shape knows: %s", got.text)
		default:
		}
		r.items.Advance(at)
		got := <-c
		r.want(got, 200, fmt.Sprintf("up-to-date %d", at))
		r.header(got, "Tidemark-Token", r.host.Token(at))
		if d := time.Since(began); d > 3*time.Second {
			t.Errorf("%s took %s", u, d)
		}
	}
	r.host.SetEnd(r.host.Frontier.Load())
	r.want(r.get(poll, consistency, "fully_consistent"), 200, "up-to-date 400")
	// A stream says so, too.
	s := r.stream(poll+"&live_sse=true", consistency, atLeast(400))
	r.header(reply{s.Response, ""}, "Cache-Control", "no-store")
	s.expect("up-to-date 0400 @items-1/" + whole(100))
	r.items.Insert(500, 3, "c")
	s.expect("insert 3=c")
	// A level that says nothing is none.
	c := r.async(uri+"500_0&live=true", consistency, "minimize_latency")
	r.waits(2)
	r.items.Insert(600, 4, "d")
	r.want(<-c, 200, "insert 4=d", "up-to-date 600")
}

func TestConsistencyFails(t *testing.T) {
	r := open(t, liveapi.Options{})
	const uri = "/v1/shape?handle=items-1&live=true&table=items&offset=100_0"
	foreign := revision.Token{Source: revision.Source{SystemID: 8, Timeline: 1}, LSN: 5}
	for _, tt := range []struct {
		level  string
		status int
		slug   string
	}{
		{"soon", 400, "malformed-consistency"},
		{"at_least_as_fresh", 400, "malformed-consistency"},
		{`at_least_as_fresh; token="x"`, 400, "malformed-token"},
		{strings.Replace(atLeast(5), "at_least_as_fresh", "at_exact_snapshot", 1), 400, "bad-request"},
		// 409 would be the end of the handle.
		{fmt.Sprintf("at_least_as_fresh; token=%q", foreign), 400, "foreign-token"},
		{atLeast(101), 400, "future-token"},
	} {
		r.problem(r.get(uri, consistency, tt.level), tt.status, tt.slug, "", "")
	}
	r.problem(r.get(uri, "Tidemark-Snapshot", "same"), 400, "bad-request", "", "exact")
	r.host.SetEnd(1000)
	r.problem(r.get(uri, consistency, atLeast(500)), 504, "not-fresh", "", "")
	r.problem(r.get(uri, consistency, "fully_consistent"), 504, "not-fresh", "", "")
}
