package liveapi_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/liveapi"
)

// TestSubset asks for subsets in both forms.
func TestSubset(t *testing.T) {
	r := open(t, liveapi.Options{})
	r.items.Insert(200, 3, "c")
	const uri = "/v1/shape?columns=%22id%22%2Cv&handle=items-1&log=changes_only&offset=200_0&table=items"
	show := func(s live.Subset) string {
		text, _ := json.Marshal(s)
		return string(text)
	}
	check := func(got reply, offset, want string) {
		t.Helper()
		var body struct {
			Metadata struct {
				Xmin, Xmax string
				Mark       int `json:"snapshot_mark"`
			}
			Data []any
		}
		if err := json.Unmarshal([]byte(got.text), &body); got.StatusCode != 200 || err != nil || body.Metadata.Xmin == "" || body.Data == nil {
			t.Fatalf("%s %s: %v", got.Status, got.text, err)
		}
		r.header(got, "Electric-Handle", "items-1", "Electric-Offset", offset, "Electric-Schema", r.items.Schema(), "Electric-Snapshot", "true",
			"Cache-Control", "no-cache", "Content-Type", "application/json", "Electric-Up-To-Date", "", "Etag", "")
		if s := show(r.tables.LastSubset()); s != want {
			t.Errorf("asked for %s, want %s", s, want)
		}
		if d := r.tables.Last(); !d.ChangesOnly || d.Table != "items" {
			t.Errorf("of %+v", d)
		}
	}
	const all = `{"Where":"id \u003e $1","Params":{"1":"5"},"OrderBy":"id desc","Limit":3,"Offset":0}`
	q := url.Values{"subset__where": {"id > $1"}, "subset__params": {`{"1":"5"}`}, "subset__order_by": {"id desc"}, "subset__limit": {"3"}, "subset__offset": {"0"}, "subset__where_expr": {"{}"}}
	check(r.get(uri+"&"+q.Encode()), "200_0", all)
	// Never held, even if the client says so.
	check(r.get(uri+"&live=true&"+q.Encode()), "200_0", all)
	check(r.send("POST", uri, `{"where":"id > $1","params":{"1":5},"order_by":"id desc","limit":3,"offset":0,"where_expr":{"type":"ref"}}`, "Content-Type", "application/json"), "200_0", all)
	check(r.send("POST", uri, `{}`), "200_0", `{"Where":"","Params":null,"OrderBy":"","Limit":null,"Offset":null}`)
	check(r.send("POST", uri, ``), "200_0", `{"Where":"","Params":null,"OrderBy":"","Limit":null,"Offset":null}`)
	// Who is nowhere yet goes on from before the subset.
	for _, offset := range []string{"now", "-1"} {
		check(r.send("POST", "/v1/shape?log=changes_only&offset="+offset+"&table=items", `{"where":"true"}`), whole(200), `{"Where":"true","Params":null,"OrderBy":"","Limit":null,"Offset":null}`)
	}
	for _, tt := range []struct{ body, parameter, message string }{
		{`{"limit":5}`, "order_by", "needed"},
		{`{"offset":5}`, "order_by", "needed"},
		{`{"limit":0,"order_by":"id"}`, "limit", "less than 1"},
		{`{"offset":-1,"order_by":"id"}`, "offset", "less than 0"},
		{`{"params":{"x":1}}`, "params", "number"},
		{`{"params":{"1":{}}}`, "params", "neither"},
		{`{"params":5}`, "params", "JSON object"},
		{`{"limit":"5"}`, "", "the body is not"},
		{`[]`, "", "the body is not"},
		{`{`, "", "the body is not"},
	} {
		r.problem(r.send("POST", uri, tt.body), 400, "bad-request", tt.parameter, tt.message)
	}
	r.problem(r.send("POST", uri, `{}`, "Content-Encoding", "gzip"), 400, "bad-request", "", "compressed")
	r.problem(r.send("POST", uri, fmt.Sprintf(`{"where":%q}`, strings.Repeat("x", 1<<20))), 413, "body-too-large", "", "")
	r.want(r.send("POST", strings.Replace(uri, "items-1", "items-0", 1), `{}`), 409, "must-refetch")
}
