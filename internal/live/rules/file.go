package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/tidemarkdb/tidemark/internal/query"
)

// Parse reads the text of a rules file. The error is of type Problems.
func Parse(path string, text []byte) (*File, error) {
	p := &fileParser{f: &File{Path: path}}
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		at, message := position{1, 1}, err.Error()
		var located yaml.Error
		if errors.As(err, &located) {
			message, at = located.GetMessage(), tokenAt(located.GetToken())
		}
		p.problem(at, "the file is not YAML: %s", message)
		return nil, p.problems
	}
	seen := false
	for _, doc := range tree.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if seen {
			p.problem(nodeAt(doc.Body), "there is a second document; want one")
			break
		}
		seen = true
		p.document(doc.Body)
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

func (p *fileParser) problem(at position, format string, args ...any) {
	p.problems = append(p.problems, query.Problem{
		File: p.f.Path, Line: at.line, Column: at.column, Message: fmt.Sprintf(format, args...),
	})
}

func (p *fileParser) document(body ast.Node) {
	fields := pairs(body)
	if fields == nil {
		p.problem(nodeAt(body), "want tables: with a list of tables and schemas below it")
	}
	for _, pair := range fields {
		if word, _ := scalar(pair.Key); word != "tables" {
			p.problem(nodeAt(pair.Key), "there is no setting %.80q; want tables", word)
			continue
		}
		list, ok := pair.Value.(*ast.SequenceNode)
		if !ok {
			p.problem(nodeAt(pair.Value), "want a list of tables and schemas below tables")
			continue
		}
		for _, item := range list.Values {
			p.rule(item)
		}
	}
}

// rule reads one item: the name of a table, or a mapping.
func (p *fileParser) rule(node ast.Node) {
	at := nodeAt(node)
	r := Rule{at: at, whereAt: at, columnsAt: at, accountAt: at}
	before := len(p.problems)
	if text, ok := scalar(node); ok {
		p.table(&r, at, text)
	} else if fields := pairs(node); fields != nil {
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
		name, _ := scalar(f.Key)
		if !slices.Contains(ruleFields, name) {
			p.problem(nodeAt(f.Key), "a table has no %.80q; it has %s", name, strings.Join(ruleFields, ", "))
			continue
		}
		given[name] = true
		at := nodeAt(f.Value)
		if name == "columns" {
			r.columnsAt = at
			p.columns(r, f.Value)
			continue
		}
		text, ok := scalar(f.Value)
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
func (p *fileParser) table(r *Rule, at position, text string) {
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
func (p *fileParser) one(at position, text, what string) (string, bool) {
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
		p.problem(nodeAt(node), "columns wants a list of names")
		return
	}
	for _, item := range list.Values {
		at := nodeAt(item)
		text, ok := scalar(item)
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
		first[key] = r.at.line
	}
}

// pairs returns the entries of a mapping, or nil where the node is none.
func pairs(node ast.Node) []*ast.MappingValueNode {
	switch n := node.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	}
	return nil
}

// scalar returns the text of a plain value, as it stands in the file.
func scalar(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return strings.TrimSuffix(n.Value.Value, "\n"), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	}
	return "", false
}

func nodeAt(node ast.Node) position {
	switch n := node.(type) {
	case *ast.MappingNode:
		if len(n.Values) > 0 {
			return nodeAt(n.Values[0])
		}
	case *ast.MappingValueNode:
		return tokenAt(n.Key.GetToken())
	}
	return tokenAt(node.GetToken())
}

func tokenAt(t *token.Token) position {
	if t == nil || t.Position == nil {
		return position{1, 1}
	}
	return position{t.Position.Line, t.Position.Column}
}
