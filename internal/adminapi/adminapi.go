// Package adminapi serves the operator's side: health, metrics, status,
// explanations, tokens, purges and audits. It binds loopback unless told otherwise and
// knows no users: whoever reaches it may do all of it.
package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tidemarkdb/tidemark/internal/httpapi"
	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// New returns the admin handler of a tenant. Waiting returns how many followers
// wait; it is nil where there are none.
func New(t *tenant.Tenant, waiting func() int, log *slog.Logger) http.Handler {
	a := &api{tenant: t, waiting: waiting, log: log}
	reg := prometheus.NewRegistry()
	registerMetrics(reg, a)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", a.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
	mux.HandleFunc("GET /v1/status", a.status)
	mux.HandleFunc("GET /v1/endpoints", a.endpoints)
	mux.HandleFunc("GET /v1/explain", a.explain)
	mux.HandleFunc("GET /v1/token", a.token)
	mux.HandleFunc("POST /v1/purge", a.purge)
	mux.HandleFunc("POST /v1/audit", a.audit)
	mux.HandleFunc("POST /v1/audit/clear", a.clearAudit)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		problem(w, r, http.StatusNotFound, "no-route", "There is no such thing here",
			"/healthz, /readyz, /metrics, /v1/status, /v1/endpoints, /v1/explain?path=…, /v1/token, POST /v1/purge, POST /v1/audit, POST /v1/audit/clear")
	})
	return mux
}

type api struct {
	tenant  *tenant.Tenant
	waiting func() int
	log     *slog.Logger
}

func problem(w http.ResponseWriter, r *http.Request, status int, slug, title, hint string) {
	httpapi.WriteProblem(w, r, httpapi.Problem{
		Type: httpapi.TypePrefix + slug, Title: title, Status: status, Hint: hint,
	})
}

func (a *api) reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		a.log.Debug("an admin reply was not sent", "err", err)
	}
}

func (a *api) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := httpapi.ProblemOf(err)
	if errors.Is(err, tenant.ErrUnknownName) {
		p = httpapi.Problem{
			Type: httpapi.TypePrefix + "unknown-name", Title: "There is no endpoint or table of that name",
			Status: http.StatusNotFound, Hint: "tidemark endpoints lists them",
		}
	}
	if p.Status >= 500 {
		a.log.Warn("an admin request failed", "path", r.URL.Path, "err", err)
	}
	httpapi.WriteProblem(w, r, p)
}

// read decodes the body of a POST. It writes the problem if there is one, under
// the given type if the body is JSON and not what it should be.
func (a *api) read(w http.ResponseWriter, r *http.Request, v any, status int, slug, hint string) bool {
	// A browser cannot send this type to another origin without asking first.
	if ct, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); ct != "application/json" {
		problem(w, r, http.StatusUnsupportedMediaType, "not-json", "The request has to be application/json", hint)
		return false
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		problem(w, r, status, slug, "The request could not be read: "+err.Error(), hint)
		return false
	}
	return true
}

func (a *api) ready(w http.ResponseWriter, r *http.Request) {
	s := a.tenant.Status()
	if !s.Ready {
		problem(w, r, http.StatusServiceUnavailable, "not-ready", s.Why, "")
		return
	}
	if p := permissions(a.tenant); p != nil && !p.Loaded {
		problem(w, r, http.StatusServiceUnavailable, "not-ready",
			fmt.Sprintf("the relationships are being loaded, %d so far", p.Read), "")
		return
	}
	_, _ = io.WriteString(w, "ready\n")
}

type statusReply struct {
	Ready         bool         `json:"ready"`
	Why           string       `json:"why,omitempty"`
	Source        sourceReply  `json:"source"`
	Frontier      string       `json:"frontier"`
	Token         string       `json:"token"`
	Epoch         uint64       `json:"epoch"`
	EpochReason   string       `json:"epoch_reason,omitempty"`
	LagSeconds    float64      `json:"lag_seconds"`
	LagBytes      *int64       `json:"lag_bytes,omitempty"`
	RetainedBytes *int64       `json:"retained_bytes,omitempty"`
	LastCommit    *time.Time   `json:"last_commit,omitempty"`
	Feed          feedReply    `json:"feed"`
	Cache         cacheReply   `json:"cache"`
	History       historyReply `json:"history"`
	Audit         auditStatus  `json:"audit"`

	Permissions *permissionReply `json:"permissions,omitempty"`
	Live        *liveReply       `json:"live,omitempty"`

	Transactions   int64  `json:"transactions"`
	Changes        int64  `json:"changes"`
	Questions      int64  `json:"questions_to_primary"`
	Flushes        int64  `json:"forced_flushes"`
	FillsUnderWay  int32  `json:"fill_connections_in_use"`
	DefinitionsVia string `json:"definition_changes_by"`
}

type sourceReply struct {
	SystemID uint64 `json:"system_id,string"`
	Timeline uint32 `json:"timeline"`
}

type feedReply struct {
	State        string     `json:"state"`
	Why          string     `json:"why,omitempty"`
	Slot         string     `json:"slot"`
	Publication  string     `json:"publication"`
	Received     string     `json:"received"`
	Acknowledged string     `json:"acknowledged"`
	ServerEnd    string     `json:"server_end"`
	LastMessage  *time.Time `json:"last_message,omitempty"`
	QueuedBytes  int        `json:"queued_bytes"`
	SpilledBytes uint64     `json:"spilled_bytes"`
	Sessions     uint64     `json:"sessions"`
}

type cacheReply struct {
	Answers   int64 `json:"answers"`
	Bytes     int64 `json:"bytes"`
	MaxBytes  int64 `json:"max_bytes"`
	Evictions int64 `json:"evictions"`
}

type historyReply struct {
	Transactions int   `json:"transactions"`
	Bytes        int64 `json:"bytes"`
	Unproven     int   `json:"unproven"`
	Pins         int   `json:"pinned_snapshots"`
}

func (a *api) status(w http.ResponseWriter, r *http.Request) {
	s := a.tenant.Status()
	out := statusReply{
		Ready: s.Ready, Why: s.Why, Source: sourceReply{s.Source.SystemID, s.Source.Timeline},
		Frontier: s.Frontier.String(), Token: s.Token, Epoch: s.Feed.Epoch, EpochReason: s.Feed.EpochReason,
		LagSeconds: s.Lag.Seconds(), LastCommit: timeOf(s.LastCommit),
		Feed: feedReply{
			State: string(s.Feed.State), Why: s.Feed.Why, Slot: s.Feed.Slot, Publication: s.Feed.Publication,
			Received: s.Feed.Received.String(), Acknowledged: s.Feed.Acknowledged.String(),
			ServerEnd: s.Feed.ServerEnd.String(), LastMessage: timeOf(s.Feed.LastMessage),
			QueuedBytes: s.Feed.Queued, SpilledBytes: s.Feed.Spilled, Sessions: s.Feed.Sessions,
		},
		Cache: cacheReply{s.Store.Entries, s.Store.Bytes, s.Store.MaxBytes, s.Store.Evictions},
		History: historyReply{
			s.Store.History, s.Store.HistoryBytes, s.Store.Unproven, s.Store.Pins,
		},
		Audit: auditStatus{
			s.Audit.Checked, s.Audit.Wrong, s.Audit.Skipped, s.Audit.Undecided, timeOf(s.Audit.LastWrong),
		},
		Transactions: s.Transactions, Changes: s.Changes, Questions: s.Questions, Flushes: s.Flushes,
		FillsUnderWay: s.FillConnections, DefinitionsVia: "polling", Permissions: permissions(a.tenant), Live: a.live(),
	}
	if s.DefinitionTriggers {
		out.DefinitionsVia = "event trigger"
	}
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	if retained, behind, err := a.tenant.Retained(ctx); err == nil {
		out.RetainedBytes, out.LagBytes = &retained, &behind
	}
	a.reply(w, out)
}

func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// split parts a path with its query, as a client would request it.
func split(uri string) (path, rawQuery string, err error) {
	u, err := url.ParseRequestURI(uri)
	if err != nil || u.Host != "" {
		return "", "", &query.ParamError{Name: "path", Reason: "it is a path with its query, such as /v1/users/42?limit=5"}
	}
	return u.EscapedPath(), u.RawQuery, nil
}

func (a *api) token(w http.ResponseWriter, r *http.Request) {
	t, err := a.tenant.Token(r.Context())
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.reply(w, map[string]string{"token": t})
}

type purgeRequest struct {
	Answer   string `json:"answer"`
	Endpoint string `json:"endpoint"`
	Table    string `json:"table"`
	All      bool   `json:"all"`
}

const purgeHint = `send exactly one of {"answer":"/v1/…"}, {"endpoint":"name"}, {"table":"schema.name"}, {"all":true}`

func (a *api) purge(w http.ResponseWriter, r *http.Request) {
	var req purgeRequest
	if !a.read(w, r, &req, http.StatusBadRequest, "bad-purge", purgeHint) {
		return
	}
	given := 0
	for _, b := range []bool{req.Answer != "", req.Endpoint != "", req.Table != "", req.All} {
		if b {
			given++
		}
	}
	if given != 1 {
		problem(w, r, http.StatusBadRequest, "bad-purge", "What is to be purged is not clear", purgeHint)
		return
	}
	n, err := a.purgeWhat(req)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.log.Info("purged by hand", "answers", n, "what", req)
	a.reply(w, map[string]int{"purged": n})
}

func (a *api) purgeWhat(req purgeRequest) (int, error) {
	switch {
	case req.Answer != "":
		path, raw, err := split(req.Answer)
		if err != nil {
			return 0, err
		}
		return a.tenant.PurgeAnswer(path, raw)
	case req.Endpoint != "":
		return a.tenant.PurgeEndpoint(req.Endpoint)
	case req.Table != "":
		return a.tenant.PurgeTable(req.Table)
	}
	return a.tenant.PurgeAll(), nil
}
