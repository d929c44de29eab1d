package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
)

type endpointsCmd struct{ adminFlags }

// endpointList is what is shown of /v1/endpoints.
type endpointList struct {
	Endpoints []struct {
		Name, Route, TTL string
		Tables           []struct{ Table string }
		Problems         []string

		Answers, Hits, Misses, Stale, Fills, Errors int64
	}
}

func (c *endpointsCmd) Run(a *app) error {
	body, err := c.client(a).get(a.ctx, "/v1/endpoints")
	if err != nil {
		return err
	}
	var l endpointList
	if c.JSON || json.Unmarshal(body, &l) != nil || l.Endpoints == nil {
		return a.print(body, c.JSON)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tROUTE\tTTL\tANSWERS\tHITS\tMISSES\tERRORS\tREADS")
	for _, e := range l.Endpoints {
		var tables []string
		for _, t := range e.Tables {
			tables = append(tables, t.Table)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\n", plain(e.Name), plain(e.Route), plain(e.TTL),
			e.Answers, e.Hits, e.Misses, e.Errors, plain(strings.Join(tables, ", ")))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, e := range l.Endpoints {
		for _, p := range e.Problems {
			fmt.Fprintf(a.stdout, "\n%s cannot be served: %s\n", plain(e.Name), plain(p))
		}
	}
	return nil
}
