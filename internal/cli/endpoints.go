package cli

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"text/tabwriter"
)

type endpointsCmd struct{ adminFlags }

// endpointList is what is shown of /v1/endpoints.
type endpointList struct {
	Endpoints []struct {
		Name, Route, TTL, Distrusted string
		Tables                       []struct{ Table string }
		Problems                     []string

		Answers, Hits, Misses, Fills, Shed, Errors int64

		HitRatio  *float64 `json:"hit_ratio"`
		Precision *float64
		Causes    []endpointCause
	}
}

type endpointCause struct {
	Table, Op   string
	Ended, Vain int64
}

// worstCauses bounds how many causes of one endpoint are shown.
const worstCauses = 3

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
	fmt.Fprintln(w, "NAME\tROUTE\tTTL\tANSWERS\tHITS\tMISSES\tHIT RATIO\tFILLS\tPRECISION\tERRORS\tREADS")
	for _, e := range l.Endpoints {
		var tables []string
		for _, t := range e.Tables {
			tables = append(tables, t.Table)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%s\t%d\t%s\t%d\t%s\n", plain(e.Name), plain(e.Route), plain(e.TTL),
			e.Answers, e.Hits, e.Misses, percent(e.HitRatio), e.Fills, percent(e.Precision), e.Errors, plain(strings.Join(tables, ", ")))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	var notes []string
	for _, e := range l.Endpoints {
		for i, c := range e.Causes {
			if c.Vain > 0 && i < worstCauses {
				notes = append(notes, fmt.Sprintf("%s: %d of %d dropped by %s of %s in vain", e.Name, c.Vain, c.Ended, c.Op, c.Table))
			}
		}
		if e.Shed > 0 {
			notes = append(notes, fmt.Sprintf("%s: %d turned away because too many answers waited to be computed", e.Name, e.Shed))
		}
		if e.Distrusted != "" {
			notes = append(notes, fmt.Sprintf("%s follows whole tables: %s", e.Name, e.Distrusted))
		}
		for _, p := range e.Problems {
			notes = append(notes, fmt.Sprintf("%s cannot be served: %s", e.Name, p))
		}
	}
	for i, n := range notes {
		if i == 0 {
			fmt.Fprintln(a.stdout)
		}
		fmt.Fprintln(a.stdout, plain(n))
	}
	return nil
}

// percent writes a share. What is not all does not look like all.
func percent(share *float64) string {
	if share == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", math.Floor(*share*1000)/10)
}
