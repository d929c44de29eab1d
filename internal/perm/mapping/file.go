package mapping

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
	"github.com/tidemarkdb/tidemark/internal/query"
)

// Parse reads the text of a mapping file. The error is of type Problems.
func Parse(path string, text []byte) (*Mapping, error) {
	p := &fileParser{m: &Mapping{Path: path}}
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
	if len(p.problems) > 0 {
		return nil, p.problems
	}
	return p.m, nil
}

type fileParser struct {
	m        *Mapping
	problems Problems
}

func (p *fileParser) problem(at position, format string, args ...any) {
	p.problems = append(p.problems, query.Problem{
		File: p.m.Path, Line: at.line, Column: at.column, Message: fmt.Sprintf(format, args...),
	})
}

func (p *fileParser) document(body ast.Node) {
	for _, pair := range pairs(body) {
		if word, _ := scalar(pair.Key); word != "relationships" {
			p.problem(nodeAt(pair.Key), "there is no setting %q; want relationships", word)
			continue
		}
		rules, ok := pair.Value.(*ast.SequenceNode)
		if !ok {
			p.problem(nodeAt(pair.Value), "want a list of rules below relationships")
			continue
		}
		for _, rule := range rules.Values {
			p.rule(rule)
		}
	}
	if pairs(body) == nil {
		p.problem(nodeAt(body), "want relationships: with a list of rules below it")
	}
}

func (p *fileParser) rule(node ast.Node) {
	at := nodeAt(node)
	r := &Rule{Line: at.line, Column: at.column, path: p.m.Path, tableAt: at, whereAt: at, caveatAt: at, expiresAt: at}
	before := len(p.problems)
	if text, ok := scalar(node); ok {
		p.line(r, at, text)
	} else if fields := pairs(node); fields != nil {
		p.fields(r, at, fields)
	} else {
		p.problem(at, "want a rule such as document:{id}#owner@user:{owner_id} from documents")
	}
	if len(p.problems) == before {
		p.m.Rules = append(p.m.Rules, r)
	}
}

var inlineRule = regexp.MustCompile(`(?is)^(\S+)(\s+from\s+)((?:"(?:[^"]|"")+"|[^\s"])+)(?:(\s+where\s+)(.+))?$`)

// line reads "relationship from table where condition".
func (p *fileParser) line(r *Rule, at position, text string) {
	m := inlineRule.FindStringSubmatchIndex(text)
	if m == nil {
		p.problem(at, "%.80q is not a rule; want one such as document:{id}#owner@user:{owner_id} from documents where deleted_at is null", text)
		return
	}
	r.inline = true
	r.text, r.table = text[m[2]:m[3]], text[m[6]:m[7]]
	r.tableAt.column += m[6]
	if m[10] >= 0 {
		r.where = text[m[10]:m[11]]
		r.whereAt.column += m[10]
	}
	p.template(r, at)
}

func (p *fileParser) template(r *Rule, at position) {
	var err error
	if r.parts, err = parseRelationship(r.text); err != nil {
		p.problem(at, "%v", err)
	}
}

var ruleFields = []string{"relation", "from", "where", "caveat", "context", "expires"}

func (p *fileParser) fields(r *Rule, at position, fields []*ast.MappingValueNode) {
	texts := map[string]string{}
	places := map[string]position{}
	for _, f := range fields {
		name, _ := scalar(f.Key)
		if !slices.Contains(ruleFields, name) {
			p.problem(nodeAt(f.Key), "a rule has no %q; it has %s", name, strings.Join(ruleFields, ", "))
			continue
		}
		if name == "context" {
			p.context(r, f)
			continue
		}
		text, ok := scalar(f.Value)
		if !ok || strings.TrimSpace(text) == "" {
			p.problem(nodeAt(f.Value), "%s wants a text", name)
			continue
		}
		texts[name], places[name] = text, nodeAt(f.Value)
		if literal, ok := f.Value.(*ast.LiteralNode); ok && literal.Start != nil {
			places[name] = position{tokenAt(literal.Start).line + 1, 1}
		}
	}
	text, ok := texts["relation"]
	if !ok {
		p.problem(at, "the rule has no relation")
		return
	}
	if m := inlineRule.FindStringSubmatch(text); m != nil {
		if texts["from"] != "" || texts["where"] != "" && m[5] != "" {
			p.problem(places["relation"], "the table and the condition are given twice")
			return
		}
		p.line(r, places["relation"], text)
	} else {
		r.text, r.table, r.tableAt = text, texts["from"], places["from"]
		if r.table == "" {
			p.problem(at, "the rule has no table; want from: with its name")
			return
		}
		p.template(r, places["relation"])
	}
	if texts["where"] != "" {
		r.where, r.whereAt, r.inline = texts["where"], places["where"], false
	}
	r.caveat, r.caveatAt = texts["caveat"], places["caveat"]
	if r.caveat == "" && len(r.context) > 0 {
		p.problem(r.context[0].at, "a context belongs to a caveat, and the rule has none")
	} else if r.caveat != "" {
		if err := tuple.CheckCaveat(r.caveat); err != nil {
			p.problem(r.caveatAt, "%v", err)
		}
	}
	if e := texts["expires"]; e != "" {
		r.expires, r.expiresAt = strings.TrimSpace(e), places["expires"]
		if t, err := parseTemplate(r.expires); err != nil {
			p.problem(r.expiresAt, "%v", err)
		} else if column, ok := t.lone(); ok {
			r.expires = column
		}
	}
}

func (p *fileParser) context(r *Rule, f *ast.MappingValueNode) {
	entries := pairs(f.Value)
	if entries == nil {
		p.problem(nodeAt(f.Value), `context wants the parameters of the caveat below it, such as tz: "{timezone}"`)
	}
	for _, pair := range entries {
		name, ok := scalar(pair.Key)
		e := entry{name: name, at: nodeAt(pair.Value)}
		var value any
		if err := yaml.NodeToValue(pair.Value, &value); err != nil || !ok || value == nil {
			p.problem(e.at, "%s wants a text with columns in braces, a number, or true or false", name)
			continue
		}
		if text, ok := value.(string); ok {
			var err error
			if e.value, err = parseTemplate(text); err != nil {
				p.problem(e.at, "%s: %v", name, err)
				continue
			}
			if len(e.value.columns) == 0 {
				value, e.value = e.value.literals[0], nil
			}
		}
		if e.value == nil {
			text, err := json.Marshal(value)
			if err != nil {
				p.problem(e.at, "%s: %v", name, err)
				continue
			}
			e.constant = string(text)
		}
		if slices.ContainsFunc(r.context, func(o entry) bool { return o.name == name }) {
			p.problem(e.at, "%s is given twice", name)
			continue
		}
		r.context = append(r.context, e)
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
	at := tokenAt(node.GetToken())
	if s, ok := node.(*ast.StringNode); ok && s.Token.Type != token.StringType {
		at.column++ // behind the quote
	}
	return at
}

func tokenAt(t *token.Token) position {
	if t == nil || t.Position == nil {
		return position{1, 1}
	}
	return position{t.Position.Line, t.Position.Column}
}
