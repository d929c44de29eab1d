package yamldoc

import (
	"fmt"
	"strings"
	"testing"

	"github.com/goccy/go-yaml/ast"
	"github.com/google/go-cmp/cmp"
)

// tell writes what a node holds, each value with where it and its text begin.
func tell(b *strings.Builder, node ast.Node) {
	at, textAt := At(node), TextAt(node)
	fmt.Fprintf(b, "%d:%d", at.Line, at.Column)
	if textAt != at {
		fmt.Fprintf(b, ">%d:%d", textAt.Line, textAt.Column)
	}
	text, isText := Scalar(node)
	pairs, isPairs := Pairs(node)
	list, isList := node.(*ast.SequenceNode)
	switch {
	case isText:
		fmt.Fprintf(b, " %q", text)
	case isPairs:
		b.WriteString(" {")
		for _, p := range pairs {
			b.WriteString(" ")
			tell(b, p.Key)
			b.WriteString(" = ")
			tell(b, p.Value)
		}
		b.WriteString(" }")
	case isList:
		b.WriteString(" [")
		for _, n := range list.Values {
			b.WriteString(" ")
			tell(b, n)
		}
		b.WriteString(" ]")
	default:
		b.WriteString(" " + node.Type().String())
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "nothing"},
		{"# a\n\n# b\n", "nothing"},
		{"a: b\n", `1:1 { 1:1 "a" = 1:4 "b" }`},
		{"# a\nb:\n  - c\n  - d: 0x1F\n    e: 1.50\n", `2:1 { 2:1 "b" = 3:3 [ 3:5 "c" 4:5 { 4:5 "d" = 4:8 "0x1F" 5:5 "e" = 5:8 "1.50" } ] }`},
		{`{"a": 'b c', d: yes, e: .inf, f: .nan, g: true}`, `1:2 { 1:3 "a" = 1:8 "b c" 1:14 "d" = 1:17 "yes" 1:22 "e" = 1:25 ".inf" 1:31 "f" = 1:34 ".nan" 1:40 "g" = 1:43 "true" }`},
		{"'a': b\n", `1:1 { 1:2 "a" = 1:6 "b" }`},
		{"a: |\n  b\n    c\nd: >-\n  e\n  f\n", `1:1 { 1:1 "a" = 1:4>2:1 "b\n  c" 4:1 "d" = 4:4>5:1 "e f" }`},
		{"a: {}\nb: []\nc: ~\nd:\n", `1:1 { 1:1 "a" = 1:4 { } 2:1 "b" = 2:4 [ ] 3:1 "c" = 3:4 { } 4:1 "d" = 4:4 { } }`},
		{"a: &b c\nd: *b\n", `1:1 { 1:1 "a" = 1:4 Anchor 2:1 "d" = 2:4 Alias }`},
		{"# a\n---\n# b\nc\n---\n", `4:1 "c"`},
		{"---\na\n...\n", `2:1 "a"`},
		{"---\n# a\n---\nb\n", "nothing, 3:1: there is a second document; want one"},
		{"a\n---\n# b\n# c\n---\nd\n", `1:1 "a", 5:1: there is a second document; want one`},
		{"a\n---\nb\n---\nc\n", `1:1 "a", 3:1: there is a second document; want one`},
		{"a: [b\n", `nothing, 1:4: the file is not YAML: sequence end token ']' not found`},
		{"a: 1\nb: 2\na: 3\n", `nothing, 3:1: the file is not YAML: mapping key "a" already defined at [1:1]`},
	} {
		var b strings.Builder
		body, wrong := Parse([]byte(tt.text))
		if body != nil {
			tell(&b, body)
		} else {
			b.WriteString("nothing")
		}
		if wrong != nil {
			fmt.Fprintf(&b, ", %d:%d: %s", wrong.At.Line, wrong.At.Column, wrong.Message)
		}
		if diff := cmp.Diff(tt.want, b.String()); diff != "" {
			t.Errorf("%q: %s", tt.text, diff)
		}
	}
}
