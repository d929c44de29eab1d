package query

import (
	"fmt"
	"sort"
	"strings"
)

// Problem is one reason why an endpoint file cannot be served. It is something
// for the author of the file to act on, unlike an error, which says that the
// question could not be asked.
type Problem struct {
	File         string
	Line, Column int // from 1; 0 where the whole file is meant
	Message      string
	Hint         string // what to do; may be empty
}

// String returns "endpoints/orders.sql:3: message; hint".
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	b.WriteString(": ")
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString("; ")
		b.WriteString(p.Hint)
	}
	return b.String()
}

// Error makes a Problem usable as an error where one is all there is.
func (p Problem) Error() string { return p.String() }

// sortProblems orders by file and line and drops repetitions.
func sortProblems(ps []Problem) []Problem {
	sort.SliceStable(ps, func(i, j int) bool {
		if ps[i].File != ps[j].File {
			return ps[i].File < ps[j].File
		}
		return ps[i].Line < ps[j].Line
	})
	out := ps[:0]
	for i, p := range ps {
		if i == 0 || p != ps[i-1] {
			out = append(out, p)
		}
	}
	return out
}
