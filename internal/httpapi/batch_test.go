package httpapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/answer"
	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

func TestReadBatch(t *testing.T) {
	hundred := `"/a"` + strings.Repeat(`,"/a"`, 99)
	const typ = "application/json"
	for _, tt := range []struct {
		kind, target, body string
		status             int
		want               string // of the detail, or the addresses that come out
	}{
		{typ, "/v1/batch", `{"paths":["/v1/a","/v1/b?x=1&y=%20z"]}`, 0, "/v1/a /v1/b?x=1&y=%20z"},
		{typ + "; charset=utf-8", "/v1/batch", ` {"paths":["/v1/ü","/v1/%2F%6e","/a?"]} `, 0, "/v1/%C3%BC /v1/%2F%6e /a"},
		{typ, "/v1/batch", `{"paths":[` + hundred + `]}`, 0, strings.Repeat("/a ", 99) + "/a"},
		{typ, "/v1/batch", `{"paths":[` + hundred + `,"/a"]}`, 400, "it has 101 paths, and may have 1 to 100"},
		{typ, "/v1/batch", `{"paths":[]}`, 400, "it has 0 paths"},
		{typ, "/v1/batch", `{}`, 400, "it has 0 paths"},
		{typ, "/v1/batch", `null`, 400, "it has 0 paths"},
		{typ, "/v1/batch", `{"paths":["/a"],"level":"x"}`, 400, `unknown field "level"`},
		{typ, "/v1/batch", `{"paths":["/a"]}{}`, 400, "there is more behind the object"},
		{typ, "/v1/batch", `{"paths":"/a"}`, 400, "cannot unmarshal string"},
		{typ, "/v1/batch", `{"paths":["/a",7]}`, 400, "cannot unmarshal number"},
		{typ, "/v1/batch", `{"paths":["/a",null]}`, 400, "paths[1] is no path"},
		{typ, "/v1/batch", `{"paths":["a"]}`, 400, "paths[0] is no path"},
		{typ, "/v1/batch", `{"paths":["http://x/a"]}`, 400, "paths[0] is no path"},
		{typ, "/v1/batch", `{"paths":["/a%zz"]}`, 400, "paths[0] is no path"},
		{typ, "/v1/batch", `{"paths":["/a\n"]}`, 400, "paths[0] is no path"},
		{typ, "/v1/batch", `{"paths":["/` + strings.Repeat("a", maxURI) + `"]}`, 400, "paths[0] is longer than 8192 bytes"},
		{typ, "/v1/batch", `["/a"]`, 400, "cannot unmarshal array"},
		{typ, "/v1/batch", ``, 400, "EOF"},
		{typ, "/v1/batch?level=1", `{"paths":["/a"]}`, 400, "no parameters"},
		{typ, "/v1/batch", `{"paths":["` + strings.Repeat("a", maxBatchBody) + `"]}`, 413, "at most 65536 bytes"},
		{"text/plain", "/v1/batch", `{"paths":["/a"]}`, 415, ""},
		{"", "/v1/batch", `{"paths":["/a"]}`, 415, ""},
	} {
		r := httptest.NewRequest("POST", tt.target, strings.NewReader(tt.body))
		if tt.kind != "" {
			r.Header.Set("Content-Type", tt.kind)
		}
		paths, uris, p := readBatch(httptest.NewRecorder(), r)
		switch {
		case p == nil && (tt.status != 0 || strings.Join(uris, " ") != tt.want || len(paths) != len(uris)):
			t.Errorf("%.80s: %q", tt.body, uris)
		case p != nil && (p.Status != tt.status || !strings.Contains(p.Detail, tt.want) || p.Hint == ""):
			t.Errorf("%.80s: %+v", tt.body, *p)
		}
	}
}

func TestWriteBatch(t *testing.T) {
	// Postgres's own text: neither its spaces nor the order of its members may change.
	body := `{"b":1.50,"a" : "<&>","big":12345678901234567890}`
	found := func(body string) tenant.Part {
		return tenant.Part{Reply: tenant.Reply{Reply: answer.Reply{
			Exact: true, Outcome: answer.Filled,
			Version: &answer.Version{Body: []byte(body), Found: true},
		}}}
	}
	none := tenant.Part{Reply: tenant.Reply{Reply: answer.Reply{Exact: true, Outcome: answer.Filled, Version: &answer.Version{}}}}
	many := "[" + strings.Repeat(body+",", 100) + body + "]"
	paths := []string{"/v1/a?x=1&y=<", "/v1/none", "/v1/nothing", "/v1/b", "/v1/c", "/v1/d"}
	parts := []tenant.Part{
		found(body), none,
		{Err: tenant.ErrNoEndpoint},
		{Err: &query.ParamError{Name: "id", Reason: "is wrong"}},
		found(many),
		{Err: errors.New("secret")},
	}
	h := New(nil, slog.New(slog.DiscardHandler))
	for _, coding := range []string{"", "gzip"} {
		r := httptest.NewRequest("POST", "/v1/batch", nil)
		if coding != "" {
			r.Header.Set("Accept-Encoding", coding)
		}
		w := httptest.NewRecorder()
		h.writeBatch(w, r, paths, parts, "tm1X")
		hd := w.Header()
		text := w.Body.Bytes()
		if hd.Get("Content-Encoding") != coding || coding == "" && hd.Get("Content-Length") != strconv.Itoa(len(text)) {
			t.Errorf("coding %q: %v", coding, hd)
		}
		if coding != "" {
			z, err := gzip.NewReader(bytes.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			if text, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		if w.Code != http.StatusOK || hd.Get(HeaderToken) != "tm1X" || hd.Get("Content-Type") != "application/json" ||
			hd.Get("Cache-Control") != "no-store" {
			t.Errorf("%d %v", w.Code, hd)
		}
		var got struct {
			Token   string
			Answers []struct {
				Path, ETag   string
				Status       int
				Cache_Status string
				Body         json.RawMessage
				Problem      *Problem
			}
		}
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		var status []int
		for i, a := range got.Answers {
			status = append(status, a.Status)
			if a.Path != paths[i] || (a.Problem == nil) != (a.Status == 200) || (a.Body == nil) != (a.Status != 200) ||
				(a.ETag == "") != (a.Status != 200) || a.Problem != nil && a.Problem.Status != a.Status ||
				(a.Cache_Status == "") != (parts[i].Err != nil) {
				t.Errorf("%d: %+v", i, a)
			}
		}
		if got.Token != "tm1X" || !slices.Equal(status, []int{200, 404, 404, 400, 200, 500}) {
			t.Fatalf("%q, %d", got.Token, status)
		}
		if string(got.Answers[0].Body) != body || string(got.Answers[4].Body) != many {
			t.Errorf("bodies are not verbatim: %s", got.Answers[0].Body)
		}
		if p := got.Answers[3].Problem; p.Parameter != "id" || bytes.Contains(text, []byte("secret")) {
			t.Errorf("%s", text)
		}
		if !bytes.Contains(text, []byte(`"path":"/v1/a?x=1&y=<"`)) {
			t.Errorf("a path is not as it was sent: %.200s", text)
		}
	}
}
