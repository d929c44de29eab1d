package query

import (
	"fmt"
	"slices"
	"strings"
)

// identity finds the columns that tell the rows of an answer apart, and the one
// that says whose a row is. What it infers has to be unique only as long as it
// can be: rows with equal keys are told apart by their number.
func (a *analysis) identity(e *Endpoint) []Problem {
	var problems []Problem
	find := func(what, name string, pos int) (int, bool) {
		first, hint := -1, ""
		for i, c := range e.Columns {
			if c.Name != name {
				continue
			}
			if first >= 0 {
				first, hint = -2, "name them apart with AS"
				break
			}
			first = i
		}
		if first >= 0 {
			return first, true
		}
		p := Problem{File: a.file.Path, Hint: hint, Message: fmt.Sprintf("the %s names %s, which the statement returns twice", what, name)}
		if first == -1 {
			p.Message, p.Hint = fmt.Sprintf("the %s names %s, which the statement does not return", what, name), nearestColumn(e.Columns, name)
		}
		p.Line, p.Column = a.file.lines.at(pos)
		problems = append(problems, p)
		return 0, false
	}
	e.Account = -1
	if a.file.Account != "" {
		if i, ok := find(keyAccount, a.file.Account, a.file.accountPos); ok {
			e.Account = i
		}
	}
	for _, name := range a.file.Key {
		if i, ok := find(keyKey, name, a.file.keyPos); ok {
			e.Key = append(e.Key, i)
		}
	}
	if a.file.Key == nil && a.srv.err == nil {
		e.Key = a.inferKey(e)
	}
	return problems
}

// nearestColumn says which column is probably meant, or which there are.
func nearestColumn(columns []Column, name string) string {
	best, least := "", 3
	var all []string
	for _, c := range columns {
		shown := c.Name
		if strings.ToLower(shown) != shown || strings.ContainsFunc(shown, func(r rune) bool { return r > 0x7f || !isNamePart(byte(r)) }) {
			shown = `"` + strings.ReplaceAll(shown, `"`, `""`) + `"`
		}
		if d := distance(strings.ToLower(c.Name), strings.ToLower(name)); d < least {
			best, least = shown, d
		}
		all = append(all, shown)
	}
	if best != "" {
		return "did you mean " + best + "?"
	}
	return "it returns " + strings.Join(all, ", ")
}

// inferKey returns the columns that are the primary key of the table that the
// rows are of, or all of them.
func (a *analysis) inferKey(e *Endpoint) []int {
	if key := a.keyInResult(e); key != nil {
		return key
	}
	all := make([]int, len(e.Columns))
	for i := range all {
		all[i] = i
	}
	return all
}

func (a *analysis) keyInResult(e *Endpoint) []int {
	if len(a.levels) == 0 {
		return nil
	}
	l := a.levels[0]
	q := l.query
	if q == nil || q.Child("setOperations") != nil || q.Bool("hasTargetSRFs") || q.Bool("hasAggs") ||
		len(q.List("groupClause")) > 0 || len(q.List("groupingSets")) > 0 {
		return nil
	}
	// The only thing in FROM is one table.
	if len(l.entries) != 1 || l.entries[0].ref == nil {
		return nil
	}
	names := map[int]int{} // column of the table to column of the result
	n := 0
	for _, te := range q.Nodes("targetList") {
		if te.Bool("resjunk") {
			continue
		}
		v := te.Child("expr")
		if v != nil && v.Tag == "VAR" && v.Int("varlevelsup") == 0 && v.Int("varno") == 1 {
			if _, again := names[v.Int("varattno")]; !again {
				names[v.Int("varattno")] = n
			}
		}
		n++
	}
	var out []int
	for _, attno := range a.keyOf(l.entries[0].ref) {
		i, ok := names[attno]
		if !ok {
			return nil
		}
		out = append(out, i)
	}
	slices.Sort(out)
	return out
}
