package oracle

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tidemarkdb/tidemark/internal/httpapi"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// batchReply is what a batch is answered with: answers of one revision.
type batchReply struct {
	Token   string
	Answers []struct {
		Path        string
		Status      int
		CacheStatus string `json:"cache_status"`
		Body        json.RawMessage
		Problem     *httpapi.Problem
	}
	status  int // of the whole
	problem *httpapi.Problem
}

// mostBatched is how many paths one batch may have.
const mostBatched = 100

// postBatch asks for several answers at once.
func postBatch(ctx context.Context, c *http.Client, url string, paths []string, consistency string) (*batchReply, error) {
	body, err := json.Marshal(map[string]any{"paths": paths})
	if err != nil {
		panic(err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/batch", bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if consistency != "" {
		r.Header.Set(httpapi.HeaderConsistency, consistency)
	}
	resp, err := c.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		return nil, err
	}
	reply := &batchReply{status: resp.StatusCode}
	if resp.StatusCode != http.StatusOK {
		return reply, json.Unmarshal(body, &reply.problem)
	}
	if err := json.Unmarshal(body, reply); err != nil {
		return nil, err
	}
	if len(reply.Answers) != len(paths) || reply.Token != resp.Header.Get(httpapi.HeaderToken) {
		return nil, fmt.Errorf("a batch of %d paths has %d answers, and the tokens %q and %q", len(paths), len(reply.Answers), reply.Token, resp.Header.Get(httpapi.HeaderToken))
	}
	return reply, nil
}

// result returns the i-th answer as one by itself would be noted.
func (b *batchReply) result(i int, q *request) (res result, problem string) {
	a := b.Answers[i]
	switch {
	case a.Path != q.path:
		return res, "another path: " + a.Path
	case a.Status == http.StatusOK:
		return result{q.ep.comparable(string(a.Body)), true}, ""
	case a.Problem == nil:
		return res, "no problem"
	}
	return res, slug(a.Problem)
}

// slug names a problem, with details unless it is that there is no row.
func slug(p *httpapi.Problem) string {
	s := strings.TrimPrefix(p.Type, httpapi.TypePrefix)
	if s != "no-row" {
		s += " (" + p.Detail + ")"
	}
	return s
}

// batch reads several answers at once, and records each as if it had been asked
// for by itself: all at the one position.
func (c *client) batch(ctx context.Context, level revision.Level, token string) {
	recs := make([]*record, 2+c.IntN(8))
	paths := make([]string, len(recs))
	for i := range recs {
		recs[i] = &record{req: c.request(), client: c.id, level: level, asked: token, batched: true}
		paths[i] = recs[i].req.path
	}
	consistency := level.String()
	if token != "" {
		consistency = fmt.Sprintf("%s; token=%q", level, token)
	}
	begun := time.Now()
	reply, err := postBatch(ctx, c.http, c.run.subject.url, paths, consistency)
	ended := time.Now()
	if ctx.Err() != nil && err != nil {
		return // the run is over
	}
	var at revision.Token
	if err == nil && reply.Token != "" {
		if at, err = revision.ParseToken(reply.Token); err == nil {
			c.last = reply.Token
			c.run.tokens.add(c.last)
		}
	}
	for i, rec := range recs {
		rec.begun, rec.ended, rec.err, rec.token = begun, ended, err, at
		switch {
		case err != nil:
		case reply.status != http.StatusOK:
			rec.status, rec.problem = reply.status, slug(reply.problem)
		default:
			rec.status, rec.cacheStatus = reply.Answers[i].Status, reply.Answers[i].CacheStatus
			rec.result, rec.problem = reply.result(i, rec.req)
		}
		c.run.read(rec)
	}
}

// batches reads answers at a step, many at once.
func (p *player) batches(ctx context.Context, order []int, token revision.Token) error {
	c := &http.Client{Timeout: 15 * time.Second}
	defer c.CloseIdleConnections()
	for len(order) > 0 {
		some := order[:min(len(order), mostBatched)]
		order = order[len(some):]
		var paths []string
		for _, i := range some {
			paths = append(paths, p.asked[i].path)
		}
		for len(paths) > 1 && len(strings.Join(paths, `","`)) > 60<<10 {
			order = append(order, some[len(some)/2:]...)
			some, paths = some[:len(some)/2], paths[:len(paths)/2]
		}
		reply, err := postBatch(ctx, c, p.subject.url, paths, fmt.Sprintf("%s; token=%q", revision.AtLeastAsFresh, token))
		if err != nil {
			return err
		}
		if reply.status != http.StatusOK {
			return fmt.Errorf("a batch failed: %s", slug(reply.problem))
		}
		for n, i := range some {
			got, problem := reply.result(n, p.asked[i])
			if problem == "no-row" {
				problem = ""
			}
			from := "a query"
			if strings.Contains(reply.Answers[n].CacheStatus, "; hit") {
				from = "memory"
			}
			p.compare(i, revision.AtLeastAsFresh, from+", in a batch", got, p.want[i], problem)
		}
	}
	return nil
}
