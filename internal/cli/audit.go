package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"text/tabwriter"
)

type auditCmd struct {
	adminFlags
	Sample   int    `placeholder:"N" help:"Compare N answers at most, chosen at random, and not all of them."`
	Clear    string `placeholder:"ENDPOINT" help:"Trust an endpoint again that an audit found wrong."`
	Endpoint string `arg:"" optional:"" help:"Audit the answers of one endpoint only."`
}

// auditReport is what is shown of the reply to an audit.
type auditReport struct {
	Checked                   *int
	Wrong, Skipped, Undecided int
	Findings                  []auditFinding
}

type auditFinding struct {
	Endpoint, Answer, At, Position, Snapshot, SQL, Cached, Database string

	TrueFrom                         string `json:"true_from"`
	TrueBefore                       string `json:"true_before"`
	Args, Dependencies, Transactions []string
}

func (c *auditCmd) Run(a *app) error {
	switch {
	case c.Clear != "" && (c.Endpoint != "" || c.Sample != 0):
		return usageError{errors.New("--clear goes alone")}
	case c.Sample < 0:
		return usageError{errors.New("--sample is a number of answers")}
	case c.Clear != "":
		return c.clear(a)
	}
	what := map[string]any{}
	if c.Endpoint != "" {
		what["endpoint"] = c.Endpoint
	}
	if c.Sample > 0 {
		what["sample"] = c.Sample
	}
	request, err := json.Marshal(what)
	if err != nil {
		return err
	}
	server := c.client(a)
	server.wait = true // as long as there are answers
	_, body, err := server.do(a.ctx, http.MethodPost, "/v1/audit", nil, request)
	if err != nil {
		return err
	}
	var r auditReport
	if json.Unmarshal(body, &r) != nil || r.Checked == nil {
		return a.print(body, c.JSON)
	}
	if c.JSON {
		err = a.write(body)
	} else {
		err = r.print(a)
	}
	if err == nil && r.Wrong > 0 {
		return errSilent
	}
	return err
}

func (c *auditCmd) clear(a *app) error {
	request, err := json.Marshal(map[string]string{"endpoint": c.Clear})
	if err != nil {
		return err
	}
	_, body, err := c.client(a).do(a.ctx, http.MethodPost, "/v1/audit/clear", nil, request)
	if err != nil {
		return err
	}
	if c.JSON {
		return a.write(body)
	}
	_, err = fmt.Fprintf(a.stdout, "%s is trusted again\n", plain(c.Clear))
	return err
}

func (r *auditReport) print(a *app) error {
	for _, f := range r.Findings {
		w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
		interval := f.TrueFrom + " on"
		if f.TrueBefore != "" {
			interval = f.TrueFrom + " to before " + f.TrueBefore
		}
		for _, l := range [][2]string{
			{"wrong answer", f.Answer},
			{"endpoint", f.Endpoint},
			{"compared", "at " + f.Position + ", " + f.At},
			{"held for true", interval},
			{"snapshot", f.Snapshot},
			{"cached", f.Cached},
			{"database", f.Database},
			{"statement", strings.Join(strings.Fields(f.SQL), " ")},
			{"parameters", plainList(f.Args)},
		} {
			fmt.Fprintf(w, "%s\t%s\n", l[0], plain(l[1]))
		}
		for i, d := range f.Dependencies {
			fmt.Fprintf(w, "%s\t%s\n", first(i, "depends on"), plain(d))
		}
		for i, t := range f.Transactions {
			fmt.Fprintf(w, "%s\t%s\n", first(i, "transactions since"), plain(t))
		}
		fmt.Fprintln(w)
		if err := w.Flush(); err != nil {
			return err
		}
	}
	fmt.Fprintf(a.stdout, "%d checked, %d wrong", *r.Checked, r.Wrong)
	if r.Skipped > 0 {
		fmt.Fprintf(a.stdout, ", %d skipped", r.Skipped)
	}
	if r.Undecided > 0 {
		fmt.Fprintf(a.stdout, ", %d undecided", r.Undecided)
	}
	_, err := fmt.Fprintln(a.stdout)
	return err
}

// first labels the first of several lines.
func first(i int, label string) string {
	if i > 0 {
		return ""
	}
	return label
}

func plainList(words []string) string {
	if len(words) == 0 {
		return "-"
	}
	return strings.Join(words, ", ")
}
