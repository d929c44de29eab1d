package liveapi

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/liveapi/liveapitest"
)

// FuzzColumns has lists of names, quoted as clients do, read back.
func FuzzColumns(f *testing.F) {
	f.Add("id", `a "b", c`)
	f.Add("", "\x00")
	f.Fuzz(func(t *testing.T, a, b string) {
		parseColumns(a) // it does not panic
		if a == "" || b == "" {
			return
		}
		quote := func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
		got, ok := parseColumns(quote(a) + "," + quote(b) + " , plain_1")
		if !ok || !slices.Equal(got, []string{a, b, "plain_1"}) {
			t.Errorf("%q, %q: %q %v", a, b, got, ok)
		}
	})
}

// FuzzRequest has any query string, event id and Accept field: what is understood
// is a place in a shape, and what reaches an endpoint is nothing of ours.
func FuzzRequest(f *testing.F) {
	f.Add("offset=-1&table=items", "", "")
	f.Add("live=true&handle=h&offset=5_0&params[1]=x&subset__limit=1&subset__order_by=id", "h/5_0", "text/event-stream")
	f.Add("a=1&%6cive=true&a;b", "/", "text/event-stream;q=x")
	h := New(Options{Host: liveapitest.NewHost(1)})
	f.Fuzz(func(t *testing.T, query, id, accept string) {
		for _, path := range []string{ShapePath, "/v1/orders"} {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.URL.RawQuery = query
			r.Header = http.Header{"Accept": {accept}, headerLastEvent: {id}}
			values, err := url.ParseQuery(query)
			if err != nil {
				continue
			}
			q, err := h.parse(r, values)
			if err != nil {
				continue
			}
			if !q.fresh() && q.handle == "" {
				t.Errorf("%+v has an offset and no handle", q)
			}
			if again, err := live.ParseOffset(q.offset.String()); err != nil || again != q.offset {
				t.Errorf("the offset %v is %v when read again, %v", q.offset, again, err)
			}
			if q.table && q.def.Table == "" {
				t.Errorf("%+v is of no table", q)
			}
			rest, err := url.ParseQuery(q.query)
			if err != nil {
				t.Errorf("%q became %q: %v", query, q.query, err)
			}
			for name, v := range rest {
				if isFollowing(name) || !slices.Equal(v, values[name]) {
					t.Errorf("%q became %q", query, q.query)
				}
			}
			if !q.table && len(rest) < len(values) {
				for name := range values {
					if !isFollowing(name) && !rest.Has(name) {
						t.Errorf("%q became %q", query, q.query)
					}
				}
			}
		}
	})
}
