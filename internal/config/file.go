package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/tidemarkdb/tidemark/internal/yamldoc"
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
	body, wrong := yamldoc.Parse(text)
	if body != nil {
		p.mapping(body, "")
	}
	if wrong != nil { // the name of the file comes before it
		p.problem(wrong.At.Line, "", "%s", strings.TrimPrefix(wrong.Message, "the file "))
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
	pairs, ok := yamldoc.Pairs(node)
	if !ok {
		if prefix == "" { // the text is not repeated: it may be a connection string
			p.problem(lineAt(node), "", "want settings, such as database: ${DATABASE_URL}")
			return
		}
		p.problem(lineAt(node), strings.TrimSuffix(prefix, "."), "found %s, want settings below it: %s",
			describe(node), strings.Join(p.leaves(prefix), ", "))
		return
	}
	for _, pair := range pairs {
		p.pair(pair, prefix)
	}
}

func (p *fileParser) pair(pair *ast.MappingValueNode, prefix string) {
	line := lineAt(pair.Key)
	word, ok := yamldoc.Scalar(pair.Key)
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
		text, ok := yamldoc.Scalar(pair.Value)
		if items, isList := pair.Value.(*ast.SequenceNode); isList && p.isList(key) {
			text, ok = list(items)
		}
		if !ok {
			p.problem(lineAt(pair.Value), key, "found %s, want one value", describe(pair.Value))
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
		text, ok := yamldoc.Scalar(item)
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

func describe(node ast.Node) string {
	if text, ok := yamldoc.Scalar(node); ok {
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

func lineAt(node ast.Node) int { return yamldoc.At(node).Line }
