package mapping

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/yamldoc"
)

// Parse reads the text of a mapping file. The error is of type Problems.
func Parse(path string, text []byte) (*Mapping, error) {
	p := &fileParser{m: &Mapping{Path: path}}
	body, wrong := yamldoc.Parse(text)
	if body != nil {
		p.document(body)
	}
	if wrong != nil {
		p.problem(wrong.At, "%s", wrong.Message)
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

func (p *fileParser) problem(at yamldoc.Position, format string, args ...any) {
	p.problems = append(p.problems, query.Problem{
		File: p.m.Path, Line: at.Line, Column: at.Column, Message: fmt.Sprintf(format, args...),
	})
}

func (p *fileParser) document(body ast.Node) {
	fields, _ := yamldoc.Pairs(body)
	for _, pair := range fields {
		if word, _ := yamldoc.Scalar(pair.Key); word != "relationships" {
			p.problem(yamldoc.At(pair.Key), "there is no setting %q; want relationships", word)
			continue
		}
		rules, ok := pair.Value.(*ast.SequenceNode)
		if !ok {
			p.problem(yamldoc.At(pair.Value), "want a list of rules below relationships")
			continue
		}
		for _, rule := range rules.Values {
			p.rule(rule)
		}
	}
	if fields == nil {
		p.problem(yamldoc.At(body), "want relationships: with a list of rules below it")
	}
}

func (p *fileParser) rule(node ast.Node) {
	at := yamldoc.At(node)
	r := &Rule{Line: at.Line, Column: at.Column, path: p.m.Path, tableAt: at, whereAt: at, caveatAt: at, expiresAt: at}
	before := len(p.problems)
	if text, ok := yamldoc.Scalar(node); ok {
		p.line(r, at, text)
	} else if fields, _ := yamldoc.Pairs(node); fields != nil {
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
func (p *fileParser) line(r *Rule, at yamldoc.Position, text string) {
	m := inlineRule.FindStringSubmatchIndex(text)
	if m == nil {
		p.problem(at, "%.80q is not a rule; want one such as document:{id}#owner@user:{owner_id} from documents where deleted_at is null", text)
		return
	}
	r.inline = true
	r.text, r.table = text[m[2]:m[3]], text[m[6]:m[7]]
	r.tableAt.Column += m[6]
	if m[10] >= 0 {
		r.where = text[m[10]:m[11]]
		r.whereAt.Column += m[10]
	}
	p.template(r, at)
}

func (p *fileParser) template(r *Rule, at yamldoc.Position) {
	var err error
	if r.parts, err = parseRelationship(r.text); err != nil {
		p.problem(at, "%v", err)
	}
}

var ruleFields = []string{"relation", "from", "where", "caveat", "context", "expires"}

func (p *fileParser) fields(r *Rule, at yamldoc.Position, fields []*ast.MappingValueNode) {
	texts := map[string]string{}
	places := map[string]yamldoc.Position{}
	for _, f := range fields {
		name, _ := yamldoc.Scalar(f.Key)
		if !slices.Contains(ruleFields, name) {
			p.problem(yamldoc.At(f.Key), "a rule has no %q; it has %s", name, strings.Join(ruleFields, ", "))
			continue
		}
		if name == "context" {
			p.context(r, f)
			continue
		}
		text, ok := yamldoc.Scalar(f.Value)
		if !ok || strings.TrimSpace(text) == "" {
			p.problem(yamldoc.At(f.Value), "%s wants a text", name)
			continue
		}
		texts[name], places[name] = text, yamldoc.TextAt(f.Value)
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
	entries, _ := yamldoc.Pairs(f.Value)
	if entries == nil {
		p.problem(yamldoc.At(f.Value), `context wants the parameters of the caveat below it, such as tz: "{timezone}"`)
	}
	for _, pair := range entries {
		name, ok := yamldoc.Scalar(pair.Key)
		e := entry{name: name, at: yamldoc.At(pair.Value)}
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
