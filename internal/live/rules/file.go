package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/yamldoc"
)

// Parse reads the text of a rules file. The error is of type Problems.
func Parse(path string, text []byte) (*File, error) {
	p := &fileParser{f: &File{Path: path}}
	body, wrong := yamldoc.Parse(text)
	if body != nil {
		p.document(body)
	}
	if wrong != nil {
		p.problem(wrong.At, "%s", wrong.Message)
	}
	p.twice()
	if len(p.problems) > 0 {
		return nil, p.problems
	}
	return p.f, nil
}

type fileParser struct {
	f        *File
	problems Problems
}

func (p *fileParser) problem(at yamldoc.Position, format string, args ...any) {
	p.problems = append(p.problems, query.Problem{
		File: p.f.Path, Line: at.Line, Column: at.Column, Message: fmt.Sprintf(format, args...),
	})
}

func (p *fileParser) document(body ast.Node) {
	fields, _ := yamldoc.Pairs(body)
	if fields == nil {
		p.problem(yamldoc.At(body), "want tables: with a list of tables and schemas below it")
	}
	for _, pair := range fields {
		if word, _ := yamldoc.Scalar(pair.Key); word != "tables" {
			p.problem(yamldoc.At(pair.Key), "there is no setting %.80q; want tables", word)
			continue
		}
		list, ok := pair.Value.(*ast.SequenceNode)
		if !ok {
			p.problem(yamldoc.At(pair.Value), "want a list of tables and schemas below tables")
			continue
		}
		for _, item := range list.Values {
			p.rule(item)
		}
	}
}

// rule reads one item: the name of a table, or a mapping.
func (p *fileParser) rule(node ast.Node) {
	at := yamldoc.At(node)
	r := Rule{at: at, whereAt: at, columnsAt: at, accountAt: at}
	before := len(p.problems)
	if text, ok := yamldoc.Scalar(node); ok {
		p.table(&r, at, text)
	} else if fields, _ := yamldoc.Pairs(node); fields != nil {
		p.fields(&r, fields)
	} else {
		p.problem(at, "want the name of a table, or table: or schema: with what else is said of it")
	}
	if len(p.problems) == before {
		p.f.Rules = append(p.f.Rules, r)
	}
}

var ruleFields = []string{"table", "schema", "where", "columns", "account"}

func (p *fileParser) fields(r *Rule, fields []*ast.MappingValueNode) {
	given := map[string]bool{}
	for _, f := range fields {
		name, _ := yamldoc.Scalar(f.Key)
		if !slices.Contains(ruleFields, name) {
			p.problem(yamldoc.At(f.Key), "a table has no %.80q; it has %s", name, strings.Join(ruleFields, ", "))
			continue
		}
		given[name] = true
		at := yamldoc.At(f.Value)
		if name == "columns" {
			r.columnsAt = at
			p.columns(r, f.Value)
			continue
		}
		text, ok := yamldoc.Scalar(f.Value)
		if !ok || strings.TrimSpace(text) == "" {
			p.problem(at, "%s wants a text", name)
			continue
		}
		switch name {
		case "table":
			p.table(r, at, text)
		case "schema":
			r.Schema, _ = p.one(at, text, "a schema")
		case "where":
			r.Where, r.whereAt = strings.TrimSpace(text), at
		case "account":
			r.accountAt = at
			r.Account, _ = p.one(at, text, "a column")
		}
	}
	switch {
	case given["table"] == given["schema"]:
		p.problem(r.at, "want either table or schema")
	case given["schema"] && given["where"]:
		p.problem(r.whereAt, "a condition belongs to a table, not to a schema")
	case given["schema"] && given["columns"]:
		p.problem(r.columnsAt, "columns belong to a table, not to a schema")
	}
	p.ours(r)
}

// table reads name or schema.name.
func (p *fileParser) table(r *Rule, at yamldoc.Position, text string) {
	parts, err := parseName(text)
	switch {
	case err != nil:
		p.problem(at, "%v", err)
	case len(parts) == 1:
		r.Schema, r.Table = "public", parts[0]
	case len(parts) == 2:
		r.Schema, r.Table = parts[0], parts[1]
	default:
		p.problem(at, "%.80q has too many parts; want name or schema.name", text)
	}
	p.ours(r)
}

// one reads a name without a schema.
func (p *fileParser) one(at yamldoc.Position, text, what string) (string, bool) {
	parts, err := parseName(text)
	if err == nil && len(parts) != 1 {
		err = fmt.Errorf("%.80q is not the name of %s", text, what)
	}
	if err != nil {
		p.problem(at, "%v", err)
		return "", false
	}
	return parts[0], true
}

func (p *fileParser) columns(r *Rule, node ast.Node) {
	list, ok := node.(*ast.SequenceNode)
	if !ok || len(list.Values) == 0 {
		p.problem(yamldoc.At(node), "columns wants a list of names")
		return
	}
	for _, item := range list.Values {
		at := yamldoc.At(item)
		text, ok := yamldoc.Scalar(item)
		if !ok {
			p.problem(at, "columns wants a list of names")
			continue
		}
		name, ok := p.one(at, text, "a column")
		if ok && slices.Contains(r.Columns, name) {
			p.problem(at, "column %s is listed twice", quote(name))
		} else if ok {
			r.Columns = append(r.Columns, name)
		}
	}
}

// ours keeps Postgres's and tidemark's own tables out.
func (p *fileParser) ours(r *Rule) {
	if r.Schema == "tidemark" || r.Schema == "information_schema" || strings.HasPrefix(r.Schema, "pg_") {
		p.problem(r.at, "the tables of schema %s cannot be followed", quote(r.Schema))
	}
}

// twice finds what two rules are about.
func (p *fileParser) twice() {
	first := map[[2]string]int{}
	for i := range p.f.Rules {
		r := &p.f.Rules[i]
		key := [2]string{r.Schema, r.Table}
		if line, ok := first[key]; ok {
			p.problem(r.at, "%s is listed in line %d already", r, line)
			continue
		}
		first[key] = r.at.Line
	}
}
