package adminapi

import (
	"math"
	"net/http"
	"time"

	"github.com/tidemarkdb/tidemark/internal/tenant"
)

type endpointReply struct {
	Name       string      `json:"name"`
	Route      string      `json:"route"`
	File       string      `json:"file"`
	TTL        string      `json:"ttl"`
	Result     string      `json:"result"`
	Volatile   bool        `json:"volatile,omitempty"`
	Distrusted string      `json:"distrusted,omitempty"`
	Tables     []tableRead `json:"tables"`
	Problems   []string    `json:"problems,omitempty"`
	Answers    int64       `json:"answers"`
	Hits       int64       `json:"hits"`
	Misses     int64       `json:"misses"`
	Stale      int64       `json:"stale"`
	HitRatio   *float64    `json:"hit_ratio,omitempty"`
	Fills      int64       `json:"fills"`
	Filled     int64       `json:"filled"`
	Refills    int64       `json:"refills"`
	Shed       int64       `json:"shed"`
	Errors     int64       `json:"errors"`
	Ended      int64       `json:"ended"`
	Patched    int64       `json:"patched"`
	Passed     int64       `json:"passed"`
	Compared   int64       `json:"compared"`
	Vain       int64       `json:"vain"`
	Precision  *float64    `json:"precision,omitempty"`
	Causes     []cause     `json:"causes"`
}

type tableRead struct {
	Table   string   `json:"table"`
	Columns []string `json:"columns,omitempty"` // absent: all
}

type cause struct {
	Table string `json:"table"`
	Op    string `json:"op"`
	Ended int64  `json:"ended"`
	Vain  int64  `json:"vain"`
}

func (a *api) endpoints(w http.ResponseWriter, _ *http.Request) {
	out := []endpointReply{}
	for _, e := range a.tenant.Endpoints() {
		r := endpointReply{
			Name: e.Name, Route: e.Route, File: e.File, TTL: e.TTL.String(), Result: "many", Volatile: e.Volatile,
			Distrusted: e.Distrusted, Tables: []tableRead{}, Problems: e.Problems, Answers: e.Answers,
			Hits: e.Hits, Misses: e.Misses, Stale: e.Stale, HitRatio: hitRatio(&e),
			Fills: e.Fills, Filled: e.Filled, Refills: e.Refills, Shed: e.Shed, Errors: e.Errors,
			Ended: e.Ended, Patched: e.Patched, Passed: e.Passed, Compared: e.Compared, Vain: e.Vain,
			Precision: precision(&e), Causes: []cause{},
		}
		if e.One {
			r.Result = "one"
		}
		for _, t := range e.Tables {
			r.Tables = append(r.Tables, tableRead(t))
		}
		for _, c := range e.Causes {
			r.Causes = append(r.Causes, cause(c))
		}
		out = append(out, r)
	}
	a.reply(w, map[string]any{"endpoints": out})
}

// hitRatio is how many of the answers that were served came from memory and were
// true; nil when there were none.
func hitRatio(e *tenant.EndpointStatus) *float64 {
	return share(e.Hits, e.Hits+e.Stale+e.Misses)
}

// precision is how many of the changes that touched an answer did change it, as
// far as both answers are known; nil when there were none. What is patched in
// place has changed.
func precision(e *tenant.EndpointStatus) *float64 {
	known := e.Compared + e.Patched
	return share(known-e.Vain, known)
}

func share(part, whole int64) *float64 {
	if whole <= 0 {
		return nil
	}
	// The counters are not read at one moment.
	f := math.Round(min(1, max(0, float64(part)/float64(whole)))*1e4) / 1e4
	return &f
}

type dependencyReply struct {
	Table   string   `json:"table"`
	Rung    int      `json:"rung"`
	Tests   []string `json:"tests,omitempty"`
	Columns []string `json:"columns"` // null: all
	None    bool     `json:"untouchable,omitempty"`
	Raise   string   `json:"raise,omitempty"`
	Text    string   `json:"text"`
}

type explainReply struct {
	Endpoint     string            `json:"endpoint"`
	Answer       string            `json:"answer"`
	File         string            `json:"file"`
	Volatile     bool              `json:"volatile"`
	Distrusted   string            `json:"distrusted,omitempty"`
	Dependencies []dependencyReply `json:"dependencies"`
	Cached       bool              `json:"cached"`
	Followed     bool              `json:"followed"`
	TrueFrom     string            `json:"true_from,omitempty"`
	TrueBefore   string            `json:"true_before,omitempty"`
	Filled       *time.Time        `json:"filled,omitempty"`
	Expires      *time.Time        `json:"expires,omitempty"`
	EndedBy      string            `json:"ended_by,omitempty"`
	LastEndedBy  string            `json:"last_ended_by,omitempty"`
	Reads        float64           `json:"expected_reads"`
	Kept         int               `json:"kept_versions"`
	Bytes        int64             `json:"bytes"`
}

func (a *api) explain(w http.ResponseWriter, r *http.Request) {
	path, raw, err := split(r.URL.Query().Get("path"))
	if err != nil {
		a.fail(w, r, err)
		return
	}
	x, err := a.tenant.Explain(r.Context(), path, raw)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	out := explainReply{
		Endpoint: x.Endpoint, Answer: x.Key, File: x.File, Volatile: x.Volatile, Distrusted: x.Distrusted,
		Dependencies: []dependencyReply{}, Cached: x.Cached, Followed: x.Followed,
		Reads: math.Round(x.Reads*100) / 100, Kept: x.Kept, Bytes: x.Bytes,
	}
	for _, d := range x.Dependencies {
		out.Dependencies = append(out.Dependencies, dependencyReply{
			Table: d.Table, Rung: d.Rung, Tests: d.Tests, Columns: d.Columns, None: d.None, Raise: d.Raise, Text: d.String(),
		})
	}
	if !x.Filled.IsZero() {
		out.TrueFrom, out.Filled, out.Expires = x.From.String(), &x.Filled, &x.Expires
	}
	if x.To != 0 {
		out.TrueBefore = x.To.String()
	}
	if x.Ended != nil {
		out.EndedBy = x.Ended.String()
	}
	if x.Last != nil {
		out.LastEndedBy = x.Last.String()
	}
	a.reply(w, out)
}
