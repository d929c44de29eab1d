// Package validate holds validation files against the engine: a schema,
// relationships, assertions and expected relations, in the YAML form that
// SpiceDB's tools have.
//
// Whatever is wrong, with a file or with an answer, is a Problem that knows its
// line. Nothing but the files is read.
package validate

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
	"github.com/tidemarkdb/tidemark/internal/yamldoc"
)

// File is a validation file.
type File struct {
	Path          string
	Relationships []Relationship
	Assertions    []Assertion
	Expected      []Expected

	schema     text
	schemaPath string // of the file that has the schema
}

// Relationship is one line of the relationships.
type Relationship struct {
	tuple.Relationship
	at yamldoc.Position
}

// Want is what an assertion expects.
type Want int

// The three lists of assertions.
const (
	WantTrue Want = iota
	WantCaveated
	WantFalse
)

func (w Want) String() string { return wants[w] }

var wants = [...]string{"assertTrue", "assertCaveated", "assertFalse"}

// Assertion is a question with the answer that it must have.
type Assertion struct {
	tuple.Relationship        // whose relation may be a permission
	Context            string // JSON object, or empty
	Want               Want
	Text               string
	at                 yamldoc.Position
}

// Problem is something wrong with a file, or an answer that is not the one it
// expects.
type Problem struct {
	Path         string
	Line, Column int // from 1; 0: not known
	Message      string
	// Trace says in lines why the answer is what it is, where there is one.
	Trace []string
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Path)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
		if p.Column > 0 {
			fmt.Fprintf(&b, ":%d", p.Column)
		}
	}
	b.WriteString(": " + p.Message)
	for _, line := range p.Trace {
		b.WriteString("\n    " + line)
	}
	return b.String()
}

// Read reads a validation file. Problems are those of its form; the file is what
// could be read of it, or nil.
func Read(path string) (*File, []Problem) {
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, []Problem{{Path: path, Message: reason(err)}}
	}
	r := &reader{file: &File{Path: path, schemaPath: path}, source: string(source)}
	r.read(source)
	slices.SortStableFunc(r.problems, func(a, b Problem) int { return cmp.Or(a.Line-b.Line, a.Column-b.Column) })
	return r.file, r.problems
}

// reason is an error of the file system without the path.
func reason(err error) string {
	var at *os.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return "the file cannot be read: " + err.Error()
}

type reader struct {
	file     *File
	source   string
	problems []Problem
}

func (r *reader) problem(at yamldoc.Position, format string, args ...any) {
	r.problems = append(r.problems, Problem{Path: r.file.Path, Line: at.Line, Column: at.Column, Message: fmt.Sprintf(format, args...)})
}

func (r *reader) read(source []byte) {
	body, wrong := yamldoc.Parse(source)
	if body != nil {
		r.document(body)
	} else if wrong == nil {
		r.problem(yamldoc.Position{Line: 1, Column: 1}, "the file is empty; want a schema, relationships and assertions")
	}
	if wrong != nil {
		r.problem(wrong.At, "%s", wrong.Message)
	}
}

func (r *reader) document(body ast.Node) {
	fields, ok := yamldoc.Pairs(body)
	if !ok {
		r.problem(yamldoc.At(body), "want schema, relationships, assertions and validation")
		return
	}
	given := map[string]bool{}
	for _, f := range fields {
		name, _ := r.text(f.Key)
		given[name.value] = true
		if f.Value.Type() == ast.NullType {
			continue
		}
		switch name.value {
		case "schema":
			r.file.schema = r.want(f)
		case "schemaFile":
			r.schemaFile(r.want(f))
		case "relationships":
			r.relationships(r.want(f))
		case "assertions":
			r.assertions(f.Value)
		case "validation":
			r.expected(f.Value)
		default:
			r.problem(yamldoc.At(f.Key), "there is no %q in a validation file; it has schema or schemaFile, relationships, assertions and validation", name.value)
		}
	}
	switch {
	case given["schema"] && given["schemaFile"]:
		r.problem(yamldoc.At(body), "the schema is given twice, by schema and by schemaFile")
	case !given["schema"] && !given["schemaFile"]:
		r.problem(yamldoc.At(body), "the file has no schema")
	}
}

// want returns the text of a field.
func (r *reader) want(f *ast.MappingValueNode) text {
	t, ok := r.text(f.Value)
	if !ok {
		r.problem(yamldoc.At(f.Value), "%s wants a text", f.Key.GetToken().Value)
	}
	return t
}

func (r *reader) schemaFile(name text) {
	if name.value == "" {
		return
	}
	path := name.value
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(r.file.Path), path)
	}
	source, err := os.ReadFile(path)
	if err != nil {
		r.problem(name.start, "schemaFile: %s: %s", path, reason(err))
		return
	}
	r.file.schemaPath, r.file.schema = path, whole(string(source))
}

func (r *reader) relationships(block text) {
	offset := 0
	for line := range strings.Lines(block.value) {
		trimmed := strings.TrimSpace(line)
		start := offset + strings.Index(line, trimmed)
		offset += len(line)
		if trimmed == "" || strings.HasPrefix(trimmed, "//") {
			continue
		}
		rel, err := tuple.Parse(trimmed)
		if err != nil {
			r.badTuple(block, start, err)
			continue
		}
		r.file.Relationships = append(r.file.Relationships, Relationship{rel, block.at(start)})
	}
}

// badTuple reports an error of package tuple in a text that begins at an offset.
func (r *reader) badTuple(in text, start int, err error) {
	var p *tuple.ParseError
	if errors.As(err, &p) {
		r.problem(in.at(start+p.Column-1), "%.200q: %s", p.Text, p.Message)
		return
	}
	r.problem(in.at(start), "%v", err)
}

func (r *reader) assertions(node ast.Node) {
	lists, ok := yamldoc.Pairs(node)
	if !ok {
		r.problem(yamldoc.At(node), "assertions wants assertTrue, assertCaveated and assertFalse below it")
	}
	for _, l := range lists {
		want := Want(-1)
		for w, name := range wants {
			if l.Key.GetToken().Value == name {
				want = Want(w)
			}
		}
		if want < 0 {
			r.problem(yamldoc.At(l.Key), "there is no %q; want assertTrue, assertCaveated or assertFalse", l.Key.GetToken().Value)
			continue
		}
		for _, t := range r.list(l) {
			rel, context, err := tuple.ParseWith(t.value)
			if err != nil {
				r.badTuple(t, 0, err)
				continue
			}
			r.file.Assertions = append(r.file.Assertions, Assertion{rel, context, want, strings.TrimSpace(t.value), t.start})
		}
	}
}

// list returns the texts of a list, which may be missing.
func (r *reader) list(f *ast.MappingValueNode) []text {
	if f.Value.Type() == ast.NullType {
		return nil
	}
	items, ok := f.Value.(*ast.SequenceNode)
	if !ok {
		r.problem(yamldoc.At(f.Value), "%s wants a list", f.Key.GetToken().Value)
		return nil
	}
	var out []text
	for _, item := range items.Values {
		t, ok := r.text(item)
		if !ok {
			r.problem(yamldoc.At(item), "want a text; one with a colon and a space, or a comma, stands in quotes")
			continue
		}
		out = append(out, t)
	}
	return out
}
