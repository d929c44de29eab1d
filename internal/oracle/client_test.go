package oracle

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/tidemarkdb/tidemark/internal/httpapi"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// record is one request, and what came back.
type record struct {
	req         *request
	client      int
	level       revision.Level
	asked       string // the token
	status      int
	problem     string
	result      result
	token       revision.Token
	cacheStatus string
	validated   bool // the body is the one that a 304 spoke of
	batched     bool // with others, all at one position
	begun       time.Time
	ended       time.Time
	err         error // of the connection
}

func (r *record) String() string {
	s := fmt.Sprintf("%s\nclient %d, %s", r.req, r.client, r.level)
	if r.batched {
		s += ", in a batch"
	}
	if r.asked != "" {
		if t, err := revision.ParseToken(r.asked); err == nil {
			s += fmt.Sprintf(" of kind %d, %s, transaction %d", t.Kind, t.LSN, t.XID)
		}
	}
	s += fmt.Sprintf(", begun %s, ended %s\nstatus %d %s, served as of %s, kind %d, validated %v\n%s", clock(r.begun), clock(r.ended),
		r.status, r.problem, r.token.LSN, r.token.Kind, r.validated, r.cacheStatus)
	if r.err != nil {
		s += "\n" + r.err.Error()
	}
	return s
}

// client is somebody who reads over HTTP.
type client struct {
	*rand.Rand
	id   int
	run  *run
	http *http.Client
	last string // the token that came last
	seen map[string]validated
}

// validated is a body with the tag that it came under.
type validated struct {
	etag   string
	result result
}

func (run *run) newClient(r *rand.Rand) *client {
	run.clients++
	return &client{
		Rand: rand.New(rand.NewPCG(r.Uint64(), 3)), id: run.clients, run: run, seen: map[string]validated{},
		http: &http.Client{Transport: &credentials{&http.Transport{MaxIdleConnsPerHost: 2}, run.secret}, Timeout: 15 * time.Second},
	}
}

// credentials sends a secret with each request, if there is one.
type credentials struct {
	*http.Transport
	secret string
}

func (c *credentials) RoundTrip(r *http.Request) (*http.Response, error) {
	if c.secret != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+c.secret)
	}
	return c.Transport.RoundTrip(r)
}

// loop reads until ctx ends.
func (c *client) loop(ctx context.Context) {
	defer c.http.CloseIdleConnections()
	for ctx.Err() == nil {
		c.readOnce(ctx)
		pause(ctx, time.Duration(c.IntN(int(readPause))))
	}
}

// request picks one. Some are asked far more often than others.
func (c *client) request() *request {
	e := c.run.eps[min(c.IntN(len(c.run.eps)), c.IntN(len(c.run.eps)))]
	return e.asked[min(c.IntN(len(e.asked)), c.IntN(len(e.asked)))]
}

func (c *client) readOnce(ctx context.Context) {
	if chance(c.Rand, 8) {
		c.batchOnce(ctx)
		return
	}
	req := c.request()
	switch n := c.IntN(100); {
	case n < 50:
		c.read(ctx, req, revision.MinimizeLatency, "")
	case n < 65:
		c.read(ctx, req, revision.FullyConsistent, "")
	case n < 83:
		if token := c.token(c.IntN(3) > 0); token != "" {
			c.read(ctx, req, revision.AtLeastAsFresh, token)
		}
	default:
		if token := c.token(chance(c.Rand, 40)); token != "" {
			c.read(ctx, req, revision.AtExactSnapshot, token)
		}
	}
}

func (c *client) batchOnce(ctx context.Context) {
	switch token := c.token(chance(c.Rand, 60)); {
	case token == "" || chance(c.Rand, 30):
		c.batch(ctx, pick(c.Rand, []revision.Level{revision.MinimizeLatency, revision.FullyConsistent}), "")
	case chance(c.Rand, 70):
		c.batch(ctx, revision.AtLeastAsFresh, token)
	default:
		c.batch(ctx, revision.AtExactSnapshot, token)
	}
}

// token returns the client's last, or one that somebody else has seen.
func (c *client) token(own bool) string {
	if own && c.last != "" {
		return c.last
	}
	return c.run.tokens.pick(c.Rand)
}

// read asks for one answer and records what comes.
func (c *client) read(ctx context.Context, q *request, level revision.Level, token string) *record {
	rec := &record{req: q, client: c.id, level: level, asked: token}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.run.subject.url+q.path, nil)
	if err != nil {
		panic(err)
	}
	switch {
	case token != "":
		r.Header.Set(httpapi.HeaderConsistency, fmt.Sprintf("%s; token=%q", level, token))
	case level != revision.MinimizeLatency || chance(c.Rand, 20):
		r.Header.Set(httpapi.HeaderConsistency, level.String())
	}
	old, held := c.seen[q.path]
	if held && chance(c.Rand, 40) {
		r.Header.Set("If-None-Match", old.etag)
	}
	rec.begun = time.Now()
	rec.err = c.do(r, rec, old)
	rec.ended = time.Now()
	if ctx.Err() != nil && rec.err != nil {
		return rec // the run is over
	}
	if rec.err == nil && rec.token != (revision.Token{}) {
		c.last = rec.token.String()
		c.run.tokens.add(c.last)
	}
	c.run.read(rec)
	return rec
}

func (c *client) do(r *http.Request, rec *record, old validated) error {
	resp, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	rec.status, rec.cacheStatus = resp.StatusCode, resp.Header.Get("Cache-Status")
	if t := resp.Header.Get(httpapi.HeaderToken); t != "" {
		if rec.token, err = revision.ParseToken(t); err != nil {
			return err
		}
	}
	switch rec.status {
	case http.StatusOK:
		rec.result = result{rec.req.ep.comparable(string(body)), true}
		if tag := resp.Header.Get("ETag"); tag != "" {
			c.seen[rec.req.path] = validated{tag, rec.result}
		}
	case http.StatusNotModified:
		rec.result, rec.validated = old.result, true
	default:
		var p httpapi.Problem
		if err := json.Unmarshal(body, &p); err != nil {
			return fmt.Errorf("status %d is no problem: %w", rec.status, err)
		}
		rec.problem = slug(&p)
	}
	return nil
}

// purse holds the tokens that went around lately.
type purse struct {
	mu     sync.Mutex
	tokens [96]string
	n      int
}

func (p *purse) add(token string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tokens[p.n%len(p.tokens)] = token
	p.n++
}

func (p *purse) pick(r *rand.Rand) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n == 0 {
		return ""
	}
	return p.tokens[r.IntN(min(p.n, len(p.tokens)))]
}

// readOwn reads with the token of the writer's own write: everything of that
// write must be there.
func (w *writer) readOwn(ctx context.Context, token string) {
	w.run.tokens.add(token)
	level := revision.AtLeastAsFresh
	if chance(w.Rand, 30) {
		level = revision.AtExactSnapshot
	}
	w.client.read(ctx, w.client.request(), level, token)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
