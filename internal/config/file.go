package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// fileValue is the text of one setting as the file has it.
type fileValue struct {
	line int
	text string
}

// parseFile returns the settings of a file by key and adds what is wrong with
// its shape to problems. Values are not looked at.
func parseFile(name string, text []byte, problems *Problems) map[string]fileValue {
	p := fileParser{name: name, problems: problems, values: make(map[string]fileValue)}
	for i := range settings {
		head, _, nested := strings.Cut(settings[i].key, ".")
		p.keys = append(p.keys, settings[i].key)
		if nested && !slices.Contains(p.sections, head) {
			p.sections = append(p.sections, head)
		}
	}
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		line, message := 1, err.Error()
		var located yaml.Error
		if errors.As(err, &located) {
			message = located.GetMessage()
			if t := located.GetToken(); t != nil && t.Position != nil {
				line = t.Position.Line
			}
		}
		p.problem(line, "", "is not YAML: %s", message)
		return p.values
	}
	seen := false
	for _, doc := range tree.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if seen {
			p.problem(lineOfNode(doc.Body), "", "there is a second document; want one")
			break
		}
		seen = true
		p.mapping(doc.Body, "")
	}
	return p.values
}

type fileParser struct {
	name     string
	problems *Problems
	keys     []string
	sections []string
	values   map[string]fileValue
}

func (p *fileParser) problem(line int, key, format string, args ...any) {
	p.problems.add(fmt.Sprintf("%s:%d", p.name, line), key, format, args...)
}

// mapping reads one mapping, whose keys are settings or sections below prefix.
func (p *fileParser) mapping(node ast.Node, prefix string) {
	var pairs []*ast.MappingValueNode
	switch n := node.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	case *ast.NullNode:
		return
	default:
		if prefix == "" { // the text is not repeated: it may be a connection string
			p.problem(lineOfNode(node), "", "want settings, such as database: ${DATABASE_URL}")
			return
		}
		p.problem(lineOfNode(node), strings.TrimSuffix(prefix, "."), "found %s, want settings below it: %s",
			describe(node), strings.Join(p.leaves(prefix), ", "))
		return
	}
	for _, pair := range pairs {
		p.pair(pair, prefix)
	}
}

func (p *fileParser) pair(pair *ast.MappingValueNode, prefix string) {
	line := lineOfNode(pair.Key)
	word, ok := scalar(pair.Key)
	if !ok {
		p.problem(line, "", "found %s, want the name of a setting", describe(pair.Key))
		return
	}
	key := prefix + word
	switch {
	case prefix == "" && slices.Contains(p.sections, key):
		p.mapping(pair.Value, key+".")
	case slices.Contains(p.keys, key):
		if pair.Value.Type() == ast.NullType {
			return // a key without a value keeps its default
		}
		text, ok := scalar(pair.Value)
		if items, isList := pair.Value.(*ast.SequenceNode); isList && p.isList(key) {
			text, ok = list(items)
		}
		if !ok {
			p.problem(lineOfNode(pair.Value), key, "found %s, want one value", describe(pair.Value))
			return
		}
		p.values[key] = fileValue{line: line, text: text}
	default:
		if n := nearest(key, append(slices.Clone(p.keys), p.sections...)); n != "" {
			p.problem(line, "", "there is no setting %s; did you mean %s?", key, n)
		} else {
			p.problem(line, "", "there is no setting %s", key)
		}
	}
}

func (p *fileParser) isList(key string) bool {
	return slices.ContainsFunc(settings, func(s setting) bool { return s.key == key && s.list })
}

// list returns the texts of a list with commas in between.
func list(node *ast.SequenceNode) (string, bool) {
	var texts []string
	for _, item := range node.Values {
		text, ok := scalar(item)
		if !ok {
			return "", false
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ","), true
}

func (p *fileParser) leaves(prefix string) []string {
	var leaves []string
	for _, k := range p.keys {
		if leaf, ok := strings.CutPrefix(k, prefix); ok {
			leaves = append(leaves, leaf)
		}
	}
	return leaves
}

// scalar returns the text of a plain value, as it stands in the file.
func scalar(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return strings.TrimSuffix(n.Value.Value, "\n"), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

func describe(node ast.Node) string {
	if text, ok := scalar(node); ok {
		return fmt.Sprintf("%q", text)
	}
	switch node.Type() {
	case ast.MappingType, ast.MappingValueType:
		return "a mapping"
	case ast.SequenceType:
		return "a list"
	case ast.AnchorType, ast.AliasType, ast.MergeKeyType:
		return "an anchor or alias"
	case ast.TagType:
		return "a tag"
	}
	return "a " + strings.ToLower(node.Type().YAMLName())
}

func lineOfNode(node ast.Node) int {
	var t *token.Token
	if m, ok := node.(*ast.MappingNode); ok && len(m.Values) > 0 {
		return lineOfNode(m.Values[0])
	}
	if m, ok := node.(*ast.MappingValueNode); ok {
		t = m.Key.GetToken()
	} else {
		t = node.GetToken()
	}
	if t == nil || t.Position == nil {
		return 1
	}
	return t.Position.Line
}
