package livetest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// response is one of the shape API, without any client in between.
type response struct {
	status   int
	header   http.Header
	body     string
	messages []message // if the body is a list
}

// ask sends one request for a shape. Parameters are those of the query.
func (m *tidemark) ask(method, path string, params map[string]string, headers ...string) response {
	m.t.Helper()
	q := url.Values{}
	for k, v := range params {
		q.Set(k, v)
	}
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, m.url(path)+"?"+q.Encode(), nil)
	if err != nil {
		m.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		m.t.Fatalf("%s: %v", req.URL, err)
	}
	r := response{status: res.StatusCode, header: res.Header, body: string(b)}
	if strings.HasPrefix(r.body, "[") {
		if err := json.Unmarshal(b, &r.messages); err != nil {
			m.t.Fatalf("%s: %v in %.300s", req.URL, err, b)
		}
	}
	return r
}

// reader reads one shape to its end, again and again.
type reader struct {
	m       *tidemark
	path    string
	params  map[string]string
	headers []string
	offset  string
	handle  string
	schema  string
	token   string // of the last response
}

func (m *tidemark) reader(params map[string]string, headers ...string) *reader {
	return &reader{m: m, path: "/v1/shape", params: params, headers: headers, offset: "-1"}
}

// next returns what has come since the last time, until the shape is up to date.
// It does not wait for more.
func (r *reader) next() []message {
	r.m.t.Helper()
	var all []message
	for end := time.Now().Add(settleTimeout); ; {
		params := map[string]string{"offset": r.offset}
		if r.handle != "" {
			params["handle"] = r.handle
		}
		for k, v := range r.params {
			params[k] = v
		}
		res := r.m.ask(http.MethodGet, r.path, params, r.headers...)
		if res.status != http.StatusOK {
			r.m.t.Fatalf("%s %v: %d %s", r.path, params, res.status, res.body)
		}
		r.offset, r.handle, r.token = res.header.Get("electric-offset"), res.header.Get("electric-handle"), res.header.Get("Tidemark-Token")
		if s := res.header.Get("electric-schema"); s != "" {
			r.schema = s
		}
		all = append(all, res.messages...)
		if n := len(res.messages); n > 0 && res.messages[n-1].Headers.Control == "up-to-date" {
			return all
		}
		if time.Now().After(end) {
			r.m.t.Fatalf("%s %v was not up to date within %s, at %s", r.path, r.params, settleTimeout, r.offset)
		}
	}
}

// rows are the rows of messages, as key -> row, for what has inserts only.
func rows(messages []message) []map[string]any {
	all := []map[string]any{}
	for _, m := range messages {
		if m.Headers.Operation == "insert" {
			all = append(all, m.Value)
		}
	}
	return all
}

func (r response) String() string {
	return fmt.Sprintf("%d %v %.400s", r.status, r.header, r.body)
}
