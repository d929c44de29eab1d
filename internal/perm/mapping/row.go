package mapping

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/patch"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// Problem is a row that would mean a relationship that cannot be written, and
// therefore means none.
type Problem struct {
	Rule   *Rule
	Reason string
}

func (p Problem) String() string { return fmt.Sprintf("a row of %s: %s", p.Rule, p.Reason) }

// layout is where a table's rows have the columns of its rules.
type layout struct {
	rel   *catalog.Relation
	rules []ruleLayout
}

type ruleLayout struct {
	*boundRule
	resource, subject []int
	context           [][]int // for each entry that has columns
	expires           int
}

func newLayout(t *table, rel *catalog.Relation) (*layout, error) {
	if rel.Identity != catalog.IdentityFull {
		return nil, fmt.Errorf("%v has no REPLICA IDENTITY FULL any more: what its rows meant is not known when they change", rel)
	}
	l := &layout{rel: rel}
	for _, r := range t.rules {
		var err error
		find := func(names []string) []int {
			at := make([]int, len(names))
			for i, name := range names {
				if at[i] = rel.Column(name); at[i] < 0 || rel.Columns[at[i]].Type != r.columns[name].Type {
					err = fmt.Errorf("the column %s of %v is gone or has another type", name, rel)
				}
			}
			return at
		}
		rl := ruleLayout{boundRule: r, resource: find(r.parts.resourceID.columns), subject: find(r.parts.subjectID.columns), expires: -1}
		for _, e := range r.context {
			var at []int
			if e.value != nil {
				at = find(e.value.columns)
			}
			rl.context = append(rl.context, at)
		}
		if r.expires != "" {
			rl.expires = find([]string{r.expires})[0]
		}
		if err != nil {
			return nil, err
		}
		l.rules = append(l.rules, rl)
	}
	return l, nil
}

func (b *Bound) layout(rel *catalog.Relation) (*layout, error) {
	t := b.tables[rel.OID]
	if t == nil {
		return nil, nil
	}
	if l := t.layout.Load(); l != nil && l.rel == rel {
		return l, nil
	}
	l, err := newLayout(t, rel)
	if err == nil {
		t.layout.Store(l)
	}
	return l, err
}

// Row returns the relationships that a row of a table means. The error says that
// the row is not wholly known.
func (b *Bound) Row(rel *catalog.Relation, row change.Row) ([]tuple.Relationship, []Problem, error) {
	l, err := b.layout(rel)
	if l == nil || err != nil {
		return nil, nil, err
	}
	var out []tuple.Relationship
	var problems []Problem
	for i := range l.rules {
		rule := &l.rules[i]
		r, reason, err := rule.read(rel, row)
		switch {
		case err != nil:
			return nil, nil, err
		case reason != "":
			problems = append(problems, Problem{Rule: rule.Rule, Reason: reason})
		case r != tuple.Relationship{}:
			out = append(out, r)
		}
	}
	return out, problems, nil
}

// Changes returns the relationships that end and begin with a change of a row,
// and those of the problems that are the new row's. What both rows mean is in
// neither list.
//
// The error says that something is not known. After it, after a TRUNCATE, which
// does not list the rows that go, and after a change of a definition, the
// relationships have to be read anew.
func (b *Bound) Changes(c *change.Change) (removed, added []tuple.Relationship, problems []Problem, err error) {
	if c.Relation == nil || !b.Reads(c.Relation) {
		return nil, nil, nil, nil
	}
	l, err := b.layout(c.Relation)
	if err != nil {
		return nil, nil, nil, err
	}
	old, new := c.Old, c.New
	switch c.Op {
	case change.Insert:
		old = nil
	case change.Delete:
		new = nil
	case change.Update:
	default:
		return nil, nil, nil, fmt.Errorf("the rows of %v are not known after its %v", c.Relation, c.Op)
	}
	if c.Op != change.Insert && old == nil || c.Op != change.Delete && new == nil {
		return nil, nil, nil, fmt.Errorf("the log does not have the row of %v", c.Relation)
	}
	for i := range l.rules {
		rule := &l.rules[i]
		var before, after tuple.Relationship
		if old != nil {
			if before, _, err = rule.read(c.Relation, old); err != nil {
				return nil, nil, nil, err
			}
		}
		if new != nil {
			var reason string
			if after, reason, err = rule.read(c.Relation, new); err != nil {
				return nil, nil, nil, err
			}
			if reason != "" {
				problems = append(problems, Problem{Rule: rule.Rule, Reason: reason})
			}
		}
		if before == after {
			continue
		}
		if before != (tuple.Relationship{}) {
			removed = append(removed, before)
		}
		if after != (tuple.Relationship{}) {
			added = append(added, after)
		}
	}
	return removed, added, problems, nil
}

// read returns what a row means: a relationship, or none, or none for a reason.
// It says what the rule's SELECT says.
func (r *ruleLayout) read(rel *catalog.Relation, row change.Row) (tuple.Relationship, string, error) {
	var none tuple.Relationship
	if len(row) != len(rel.Columns) {
		return none, "", fmt.Errorf("a row of %v has %d columns, not %d", rel, len(row), len(rel.Columns))
	}
	switch r.rows.Pass(rel, row) {
	case match.No:
		return none, "", nil
	case match.Unknown:
		return none, "", fmt.Errorf("it cannot be told whether a row of %v passes the condition of the rule in line %d", rel, r.Line)
	}
	resource, ok1, err := r.parts.resourceID.fill(row, r.resource)
	if err != nil {
		return none, "", fmt.Errorf("%v: %w", rel, err)
	}
	subject, ok2, err := r.parts.subjectID.fill(row, r.subject)
	if err != nil {
		return none, "", fmt.Errorf("%v: %w", rel, err)
	}
	if !ok1 || !ok2 {
		return none, "", nil
	}
	if len(r.resource) > 0 && !isID(resource) {
		return none, badResource, nil
	}
	if len(r.subject) > 0 && !isID(subject) {
		return none, badSubject, nil
	}
	out := tuple.Relationship{
		Resource: tuple.Object{Type: r.parts.resourceType, ID: resource}, Relation: r.parts.relation,
		Subject: tuple.Subject{Object: tuple.Object{Type: r.parts.subjectType, ID: subject}, Relation: r.parts.subjectRelation},
		Caveat:  r.caveat,
	}
	if r.expires >= 0 {
		var ok bool
		if out.Expires, ok, err = expiration(row[r.expires]); err != nil {
			return none, "", fmt.Errorf("%v: %w", rel, err)
		}
		if !ok {
			return none, badExpires, nil
		}
	}
	if len(r.Rule.context) > 0 {
		if out.Context, err = r.contextOf(row); err != nil {
			return none, "", fmt.Errorf("%v: %w", rel, err)
		}
	}
	return out, "", nil
}

// isID is what the SELECT checks of ids that columns are in: a wildcard can only
// be written in the file.
func isID(id string) bool { return id != tuple.Wildcard && tuple.CheckID(id) == nil }

// fill puts the columns in. It returns false where one is null.
func (t *template) fill(row change.Row, at []int) (string, bool, error) {
	if len(at) == 0 {
		return t.literals[0], true, nil
	}
	null := false
	length := 0
	for _, i := range at {
		switch row[i].Kind {
		case change.Absent:
			return "", false, errAbsent
		case change.Null:
			null = true
		}
		length += len(row[i].Text)
	}
	if null {
		return "", false, nil
	}
	var b strings.Builder
	for i, l := range t.literals {
		b.Grow(length + len(l))
		b.WriteString(l)
		if i < len(at) {
			b.Write(row[at[i]].Text)
		}
	}
	return b.String(), true, nil
}

var errAbsent = fmt.Errorf("the log does not have every value of a row")

// contextOf writes the context, without the parameters of which a column is null.
func (r *ruleLayout) contextOf(row change.Row) (string, error) {
	text := []byte{'{'}
	for i, e := range r.Rule.context {
		start := len(text)
		if start > 1 {
			text = append(text, ',')
		}
		text = append(append(text, jsonString(e.name)...), ':')
		if e.value == nil {
			text = append(text, e.constant...)
			continue
		}
		whole, ok, err := e.value.fill(row, r.context[i])
		if err != nil {
			return "", err
		}
		if !ok {
			text = text[:start]
			continue
		}
		if name, lone := e.value.lone(); lone {
			c := r.columns[name]
			if text, ok = patch.AppendJSON(text, c.Base, c.Kind == 'e', []byte(whole)); !ok {
				return "", fmt.Errorf("the column %s has a value that is not understood", name)
			}
		} else {
			text = append(text, jsonString(whole)...)
		}
	}
	return tuple.Canonical(append(text, '}'))
}

func jsonString(s string) string {
	text, _ := json.Marshal(s) // of a string, it cannot fail
	return string(text)
}

// expiration reads a date or time as the log writes it, in microseconds; 0 is
// never. It returns false for one that no expiration can be.
func expiration(v change.Value) (int64, bool, error) {
	switch v.Kind {
	case change.Absent:
		return 0, false, errAbsent
	case change.Null:
		return 0, true, nil
	}
	text := string(v.Text)
	if text == "infinity" {
		return 0, true, nil
	}
	text = strings.TrimSuffix(text, "+00")
	for _, layout := range [...]string{"2006-01-02 15:04:05.999999", "2006-01-02"} {
		if at, err := time.Parse(layout, text); err == nil && tuple.CheckExpiration(at) == nil {
			return tuple.Expiration(at), true, nil
		}
	}
	return 0, false, nil
}
