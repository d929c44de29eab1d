package adminapi

import (
	"net/http"
	"time"

	"github.com/tidemarkdb/tidemark/internal/tenant"
)

type auditStatus struct {
	Checked   int64      `json:"checked"`
	Wrong     int64      `json:"wrong"`
	Skipped   int64      `json:"skipped"`
	Undecided int64      `json:"undecided"`
	LastWrong *time.Time `json:"last_wrong,omitempty"`
}

type auditRequest struct {
	Endpoint string `json:"endpoint"` // empty: all
	Sample   int    `json:"sample"`   // 0: every answer
}

type auditReply struct {
	Checked   int       `json:"checked"`
	Wrong     int       `json:"wrong"`
	Skipped   int       `json:"skipped"`
	Undecided int       `json:"undecided"`
	Findings  []finding `json:"findings"`
}

// finding is a wrong answer with what is needed to see why.
type finding struct {
	Endpoint     string    `json:"endpoint"`
	Answer       string    `json:"answer"`
	At           time.Time `json:"at"`
	Position     string    `json:"position"`
	TrueFrom     string    `json:"true_from"`
	TrueBefore   string    `json:"true_before,omitempty"` // absent: not ended
	Snapshot     string    `json:"snapshot"`
	SQL          string    `json:"sql"`
	Args         []string  `json:"args"`
	Cached       string    `json:"cached"`
	Database     string    `json:"database"`
	Dependencies []string  `json:"dependencies"`
	Transactions []string  `json:"transactions"`
}

const auditHint = `send {"endpoint":"name","sample":100}; without endpoint all are audited, without sample every answer`

func (a *api) audit(w http.ResponseWriter, r *http.Request) {
	var req auditRequest
	if !a.read(w, r, &req, http.StatusBadRequest, "bad-audit", auditHint) {
		return
	}
	if req.Sample < 0 {
		problem(w, r, http.StatusBadRequest, "bad-audit", "A sample cannot be less than nothing", auditHint)
		return
	}
	// It takes as long as there are answers, and ends when the client goes away.
	c := http.NewResponseController(w)
	_, _ = c.SetReadDeadline(time.Time{}), c.SetWriteDeadline(time.Time{})
	rep, err := a.tenant.Audit(r.Context(), tenant.AuditRequest(req))
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.log.Info("audited by hand", "endpoint", req.Endpoint, "checked", rep.Checked, "wrong", rep.Wrong)
	out := auditReply{
		Checked: rep.Checked, Wrong: rep.Wrong, Skipped: rep.Skipped, Undecided: rep.Undecided, Findings: []finding{},
	}
	for _, f := range rep.Findings {
		n := finding{
			Endpoint: f.Endpoint, Answer: f.Key, At: f.At, Position: f.Position.String(), TrueFrom: f.From.String(),
			Snapshot: f.Snapshot, SQL: f.SQL, Args: f.Args, Cached: f.Cached, Database: f.Database,
			Dependencies: f.Dependencies, Transactions: f.Transactions,
		}
		if f.To != 0 {
			n.TrueBefore = f.To.String()
		}
		out.Findings = append(out.Findings, n)
	}
	a.reply(w, out)
}

const clearHint = `send {"endpoint":"name"}`

func (a *api) clearAudit(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Endpoint string `json:"endpoint"`
	}
	if !a.read(w, r, &req, http.StatusBadRequest, "bad-audit", clearHint) {
		return
	}
	if req.Endpoint == "" {
		problem(w, r, http.StatusBadRequest, "bad-audit", "Which endpoint is trusted again is not said", clearHint)
		return
	}
	if err := a.tenant.ClearAudit(req.Endpoint); err != nil {
		a.fail(w, r, err)
		return
	}
	a.log.Info("an endpoint is trusted again", "endpoint", req.Endpoint)
	a.reply(w, map[string]string{"cleared": req.Endpoint})
}
