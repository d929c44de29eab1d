package validate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
	"github.com/tidemarkdb/tidemark/internal/yamldoc"
)

// Expected lists who must have a relation or permission of a resource: everybody
// who does, and nobody else.
type Expected struct {
	Resource tuple.Object
	Name     string // of the relation or permission
	Subjects []ExpectedSubject
	at       yamldoc.Position
}

// ExpectedSubject is one line of an Expected.
type ExpectedSubject struct {
	Subject tuple.Subject
	// Caveated: under a condition. Of a wildcard, Excluded are the ids to which it
	// does not apply, those with true only under a condition.
	Caveated bool
	Excluded map[string]bool
	// Ways are the relations, written object#relation, in which the subject
	// stands; nil: they do not matter.
	Ways []string
	Text string
	at   yamldoc.Position
}

func (r *reader) expected(node ast.Node) {
	fields, ok := yamldoc.Pairs(node)
	if !ok {
		r.problem(yamldoc.At(node), "validation wants resources with permissions below it, such as document:plan#view")
	}
	for _, f := range fields {
		key, _ := r.text(f.Key)
		object, name, err := objectAndName(key.value)
		if err != nil {
			r.problem(key.start, "%v", err)
			continue
		}
		e := Expected{Resource: object, Name: name, at: key.start}
		complete := true
		for _, t := range r.list(f) {
			s, err := parseExpected(t.value)
			if err != nil {
				r.problem(t.start, "%.200q: %v", t.value, err)
				complete = false
				continue
			}
			s.at = t.start
			e.Subjects = append(e.Subjects, s)
		}
		if complete { // else those that could not be read would be missing
			r.file.Expected = append(r.file.Expected, e)
		}
	}
}

// objectAndName reads document:plan#view.
func objectAndName(s string) (tuple.Object, string, error) {
	object, name, ok := strings.Cut(strings.TrimSpace(s), "#")
	if !ok {
		return tuple.Object{}, "", fmt.Errorf("%.200q: want a resource with a relation or permission, such as document:plan#view", s)
	}
	o, err := tuple.ParseObject(object)
	if err == nil {
		err = tuple.CheckRelation(name)
	}
	return o, name, err
}

// parseExpected reads a line such as
//
//	[user:ana] is <document:plan#owner>/<group:eng#member>
//	[user:ben[...]] is <document:plan#viewer>
//	[user:* - {user:cem, user:dan[...]}] is <document:plan#viewer>
func parseExpected(line string) (ExpectedSubject, error) {
	e := ExpectedSubject{Text: strings.TrimSpace(line)}
	rest := e.Text
	if !strings.HasPrefix(rest, "[") {
		return e, fmt.Errorf("want a subject in brackets, such as [user:ana]")
	}
	inner, after, ok := closing(rest[1:])
	if !ok {
		return e, fmt.Errorf("the bracket of the subject is not closed")
	}
	who, exceptions, excepts := strings.Cut(inner, " - ")
	var err error
	if e.Subject, e.Caveated, err = subjectMark(who); err != nil {
		return e, err
	}
	if excepts {
		if err := e.except(exceptions); err != nil {
			return e, err
		}
	}
	after = strings.TrimSpace(after)
	if after == "" {
		return e, nil
	}
	ways, ok := strings.CutPrefix(after, "is ")
	if !ok {
		return e, fmt.Errorf("want the word is and relations behind the subject, such as is <document:plan#owner>")
	}
	for way := range strings.SplitSeq(ways, ">/<") {
		way = strings.Trim(strings.TrimSpace(way), "<>")
		if _, _, err := objectAndName(way); err != nil {
			return e, err
		}
		e.Ways = append(e.Ways, way)
	}
	slices.Sort(e.Ways)
	e.Ways = slices.Compact(e.Ways)
	return e, nil
}

// closing splits behind the bracket that closes one that was open before.
func closing(s string) (inside, after string, ok bool) {
	depth := 1
	for i := range len(s) {
		switch s[i] {
		case '[':
			depth++
		case ']':
			if depth--; depth == 0 {
				return s[:i], s[i+1:], true
			}
		}
	}
	return "", "", false
}

func (e *ExpectedSubject) except(text string) error {
	inner, ok := strings.CutPrefix(strings.TrimSpace(text), "{")
	if ok {
		inner, ok = strings.CutSuffix(inner, "}")
	}
	if !ok || e.Subject.ID != tuple.Wildcard {
		return fmt.Errorf("want what a wildcard does not apply to in braces, such as [user:* - {user:ben}]")
	}
	e.Excluded = map[string]bool{}
	for one := range strings.SplitSeq(inner, ",") {
		s, caveated, err := subjectMark(one)
		if err != nil {
			return err
		}
		if s.Type != e.Subject.Type || s.Relation != "" || s.ID == tuple.Wildcard {
			return fmt.Errorf("%s cannot be taken away from %s", s, e.Subject)
		}
		e.Excluded[s.ID] = caveated
	}
	return nil
}

// mark stands behind a subject that a caveat decides about.
const mark = "[...]"

func subjectMark(s string) (tuple.Subject, bool, error) {
	s, caveated := strings.CutSuffix(strings.TrimSpace(s), mark)
	subject, err := tuple.ParseSubject(s)
	return subject, caveated, err
}
