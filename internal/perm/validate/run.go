package validate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/engine"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
	"github.com/tidemarkdb/tidemark/internal/yamldoc"
)

// Report is what came of a file.
type Report struct {
	Path string
	// How many there are of each.
	Relationships, Assertions, Expected int
	Problems                            []Problem
}

// Run reads a file and asks everything that it says. If it does not say it
// properly, nothing is asked.
func Run(ctx context.Context, path string, now time.Time) Report {
	file, problems := Read(path)
	report := Report{Path: path, Problems: problems}
	if file == nil {
		return report
	}
	report.Relationships, report.Assertions, report.Expected = len(file.Relationships), len(file.Assertions), len(file.Expected)
	if len(problems) > 0 {
		return report
	}
	view, problems := file.load(now)
	if len(problems) > 0 {
		report.Problems = problems
		return report
	}
	for _, a := range file.Assertions {
		report.Problems = append(report.Problems, file.assert(ctx, view, a)...)
	}
	x := newExpansion(ctx, view)
	for _, e := range file.Expected {
		report.Problems = append(report.Problems, file.compare(x, e)...)
	}
	return report
}

func (f *File) problem(at yamldoc.Position, format string, args ...any) Problem {
	return Problem{Path: f.Path, Line: at.Line, Column: at.Column, Message: fmt.Sprintf(format, args...)}
}

// load makes schema and relationships what questions are asked of.
func (f *File) load(now time.Time) (engine.View, []Problem) {
	sch, err := schema.Parse(f.schema.value)
	if err != nil {
		p := Problem{Path: f.schemaPath, Message: err.Error()}
		var at *schema.Error
		if errors.As(err, &at) {
			where := f.schema.atLine(at.Line, at.Column)
			p.Line, p.Column, p.Message = where.Line, where.Column, "schema: "+at.Message
		}
		return engine.View{}, []Problem{p}
	}
	var problems []Problem
	var updates []graph.Update
	seen := map[tuple.Relationship]Relationship{}
	for _, r := range f.Relationships {
		if err := perm.Fits(sch, perm.Update{Op: perm.Touch, Relationship: r.Relationship}); err != nil {
			problems = append(problems, f.problem(r.at, "%s: %v", r.Relationship, err))
			continue
		}
		if first, ok := seen[r.Key()]; ok {
			if first.Relationship != r.Relationship {
				problems = append(problems, f.problem(r.at, "%s: line %d has it too, under another condition", r.Relationship, first.at.Line))
			}
			continue
		}
		seen[r.Key()] = r
		updates = append(updates, graph.Update{Op: graph.Add, Relationship: r.Relationship})
	}
	if len(problems) > 0 {
		return engine.View{}, problems
	}
	snapshot, err := graph.New().Apply(updates)
	if err != nil {
		return engine.View{}, []Problem{{Path: f.Path, Message: err.Error()}}
	}
	return engine.View{Model: engine.Compile(sch), Snapshot: snapshot, Now: now}, nil
}

// assert asks one question.
func (f *File) assert(ctx context.Context, v engine.View, a Assertion) []Problem {
	given := map[string]any{}
	if a.Context != "" {
		var err error
		if given, err = tuple.DecodeContext(a.Context); err != nil {
			return []Problem{f.problem(a.at, "%s: %v", a.Text, err)}
		}
	}
	res, err := engine.Check(ctx, v, a.Resource, a.Relation, a.Subject, given, engine.Options{Trace: true})
	if err != nil {
		p := f.problem(a.at, "%s %s: %v", a.Want, a.Text, err)
		p.Trace = explain(res.Trace)
		return []Problem{p}
	}
	wanted := map[Want]engine.Has{WantTrue: engine.Yes, WantCaveated: engine.Conditional, WantFalse: engine.No}[a.Want]
	if res.Has == wanted {
		return nil
	}
	p := f.problem(a.at, "%s %s: expected %s, found %s", a.Want, a.Text, describe(wanted, nil), describe(res.Has, res.Missing))
	p.Trace = explain(res.Trace)
	return []Problem{p}
}

func describe(has engine.Has, missing []string) string {
	switch {
	case has == engine.Conditional && len(missing) > 0:
		return "caveated, which needs " + strings.Join(missing, ", ")
	case has == engine.Conditional:
		return "caveated"
	}
	return has.String()
}

// Bounds of a trace for a person.
const (
	maxLines = 16
	maxLevel = 8
)

// explain writes the way to an answer, indented.
func explain(t *engine.Trace) []string {
	var lines []string
	var walk func(t *engine.Trace, level int)
	walk = func(t *engine.Trace, level int) {
		if level > maxLevel || len(lines) > maxLines {
			return
		}
		indent := strings.Repeat("  ", level)
		line := fmt.Sprintf("%s%s#%s: %s", indent, t.Resource, t.Name, describe(t.Has, t.Missing))
		if t.Err != nil {
			line = fmt.Sprintf("%s%s#%s: %v", indent, t.Resource, t.Name, t.Err)
		}
		lines = append(lines, line)
		for _, c := range t.Caveats {
			context, _ := json.Marshal(c.Context) // JSON is where it came from
			lines = append(lines, fmt.Sprintf("%s  caveat %s: %s, with %.200s", indent, c.Name, describe(c.Has, c.Missing), context))
		}
		for _, s := range t.Sub {
			walk(s, level+1)
		}
	}
	if t != nil {
		walk(t, 0)
	}
	if len(lines) > maxLines {
		lines = append(lines[:maxLines], "…")
	}
	return lines
}

// compare holds who has a permission to who is expected.
func (f *File) compare(x *expansion, e Expected) []Problem {
	found, err := x.of(e.Resource, e.Name)
	if err != nil {
		return []Problem{f.problem(e.at, "%s#%s: %v", e.Resource, e.Name, err)}
	}
	var problems []Problem
	expected := map[tuple.Subject]bool{}
	for _, s := range e.Subjects {
		if expected[s.Subject] {
			problems = append(problems, f.problem(s.at, "%s is expected twice", s.Subject))
			continue
		}
		expected[s.Subject] = true
		who := ExpectedSubject{Subject: s.Subject}
		p := found[group{s.Subject.Type, s.Subject.Relation}]
		if p == nil || !p.find(&who) {
			problems = append(problems, f.problem(s.at, "%s#%s: expected %s, who does not have it", e.Resource, e.Name, s.person()))
			continue
		}
		if s.person() != who.person() {
			problems = append(problems, f.problem(s.at, "%s#%s: expected %s, found %s", e.Resource, e.Name, s.person(), who.person()))
		} else if s.Ways != nil && !slices.Equal(s.Ways, who.Ways) {
			problems = append(problems, f.problem(s.at, "%s#%s: expected %s by %s, found %s", e.Resource, e.Name, s.person(), paths(s.Ways), paths(who.Ways)))
		}
	}
	for _, who := range found.list() {
		if !expected[who.Subject] {
			problems = append(problems, f.problem(e.at, "%s#%s: %s has it too and is not expected; it would be: %s is %s", e.Resource, e.Name, who.Subject, who.person(), paths(who.Ways)))
		}
	}
	return problems
}

// find completes who a subject is; false: it is not there.
func (p *part) find(who *ExpectedSubject) bool {
	m := p.one[who.Subject.ID]
	if who.Subject.ID == tuple.Wildcard {
		m = p.all
		for id, t := range p.but {
			if t > no {
				if who.Excluded == nil {
					who.Excluded = map[string]bool{}
				}
				who.Excluded[id] = t == maybe
			}
		}
	}
	who.Caveated, who.Ways = m.has == maybe, m.ways
	return m.has > no
}

// list returns everybody in order.
func (s set) list() []ExpectedSubject {
	var out []ExpectedSubject
	for g, p := range s {
		for id := range ids(p.one, map[string]bool{tuple.Wildcard: true}) {
			who := ExpectedSubject{Subject: tuple.Subject{Object: tuple.Object{Type: g.typ, ID: id}, Relation: g.relation}}
			if p.find(&who) {
				out = append(out, who)
			}
		}
	}
	slices.SortFunc(out, func(a, b ExpectedSubject) int { return strings.Compare(a.Subject.String(), b.Subject.String()) })
	return out
}

// person writes a subject as a line of a file has it.
func (e *ExpectedSubject) person() string {
	marked := func(name string, caveated bool) string {
		if caveated {
			return name + mark
		}
		return name
	}
	text := marked(e.Subject.String(), e.Caveated)
	if len(e.Excluded) > 0 {
		var but []string
		for _, id := range slices.Sorted(maps.Keys(e.Excluded)) {
			but = append(but, marked(e.Subject.Type+":"+id, e.Excluded[id]))
		}
		text += " - {" + strings.Join(but, ", ") + "}"
	}
	return "[" + text + "]"
}

func paths(ways []string) string { return "<" + strings.Join(ways, ">/<") + ">" }
