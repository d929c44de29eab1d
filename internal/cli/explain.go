package cli

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"text/tabwriter"
)

type explainCmd struct {
	adminFlags
	Path string `arg:"" help:"Path of the answer with its query, such as /v1/orders/7."`
}

// explanation is what is shown of /v1/explain.
type explanation struct {
	Endpoint, Answer, File, Distrusted string

	Volatile, Cached, Followed bool

	Dependencies []struct {
		Table, Raise, Text string
		Rung               int
		Untouchable        bool
	}
	TrueFrom    string `json:"true_from"`
	TrueBefore  string `json:"true_before"`
	Filled      string
	Expires     string
	EndedBy     string  `json:"ended_by"`
	LastEndedBy string  `json:"last_ended_by"`
	Reads       float64 `json:"expected_reads"`
	Kept        int     `json:"kept_versions"`
	Bytes       int64
}

func (c *explainCmd) Run(a *app) error {
	body, err := c.client(a).get(a.ctx, "/v1/explain?path="+url.QueryEscape(rooted(c.Path)))
	if err != nil {
		return err
	}
	var x explanation
	if c.JSON || json.Unmarshal(body, &x) != nil || x.Endpoint == "" {
		return a.print(body, c.JSON)
	}
	return x.print(a)
}

func (x *explanation) print(a *app) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	line := func(label, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", label, plain(fmt.Sprintf(format, args...)))
	}
	line("answer", "%s", x.Answer)
	line("endpoint", "%s, from %s", x.Endpoint, x.File)
	switch {
	case x.Cached:
		line("in memory", "true from %s on, computed %s, kept until %s", x.TrueFrom, x.Filled, x.Expires)
		line("memory", "%d bytes, %s", x.Bytes, number(x.Kept, "older version"))
	case x.TrueBefore != "":
		line("in memory", "not the current one; the last was true from %s to before %s", x.TrueFrom, x.TrueBefore)
	default:
		line("in memory", "no")
	}
	if x.EndedBy != "" {
		line("ended by", "%s", x.EndedBy)
	}
	if x.LastEndedBy != "" && x.LastEndedBy != x.EndedBy {
		line("the one before", "ended by %s", x.LastEndedBy)
	}
	if x.Reads > 0 {
		line("expected reads", "%g until the next change", x.Reads)
	}
	switch {
	case x.Distrusted != "":
		line("followed by", "whole tables: %s", x.Distrusted)
	case x.Volatile:
		line("followed by", "its time to live: the endpoint is volatile")
	case x.Followed:
		line("followed by", "applying changes to it, without a query")
	default:
		line("followed by", "computing it again after a change that can touch it")
	}
	fmt.Fprintln(w)
	if err := w.Flush(); err != nil {
		return err
	}
	w = tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TABLE\tRUNG\tCAN BE TOUCHED BY")
	for _, d := range x.Dependencies {
		// The reason for a rung has a line of its own.
		what := strings.TrimPrefix(d.Text, d.Table+": ")
		if d.Raise != "" {
			what = strings.TrimSuffix(what, " ("+d.Raise+")")
		}
		rung := fmt.Sprint(d.Rung)
		if d.Untouchable {
			rung = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", plain(d.Table), rung, plain(what))
		if d.Raise != "" {
			fmt.Fprintf(w, "\t\t  why not higher: %s\n", plain(d.Raise))
		}
	}
	return w.Flush()
}

// rooted puts the slash in front that a person may leave out.
func rooted(path string) string {
	if path == "" || path[0] != '/' {
		return "/" + path
	}
	return path
}
