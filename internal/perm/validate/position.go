package validate

import (
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// position is a place in a file, line and column in characters from 1.
type position struct{ line, column int }

// text is a value of a file that knows where it stands.
type text struct {
	value string
	start position
	// source is the file and offsets the place of each byte of the value in it, of
	// white space only nearly; nil where that is not known.
	source  string
	offsets []int
}

// whole is a file that is nothing but a text.
func whole(source string) text {
	t := text{value: source, start: position{1, 1}, source: source, offsets: make([]int, len(source)+1)}
	for i := range t.offsets {
		t.offsets[i] = i
	}
	return t
}

// at returns where a byte of the value stands.
func (t text) at(offset int) position {
	if offset < 0 || offset >= len(t.offsets) {
		return t.start
	}
	return locate(t.source, t.offsets[offset])
}

// atLine returns where a line and a column of the value, both from 0, stand.
func (t text) atLine(line, column int) position {
	offset := 0
	for range line {
		next := strings.IndexByte(t.value[offset:], '\n')
		if next < 0 {
			return t.start
		}
		offset += next + 1
	}
	for range column {
		if _, size := utf8.DecodeRuneInString(t.value[offset:]); offset+size <= len(t.value) {
			offset += size
		}
	}
	return t.at(offset)
}

func locate(source string, offset int) position {
	before := source[:offset]
	return position{strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1}
}

// align finds the bytes of a value in the source from an offset on. YAML takes
// away and adds nothing but white space, unless it knows escapes; then there is
// no answer.
func align(value, source string, from int) []int {
	offsets := make([]int, len(value)+1)
	for i := range len(value) {
		if blank(value[i]) {
			offsets[i] = from
			continue
		}
		for from < len(source) && blank(source[from]) {
			from++
		}
		if from == len(source) || source[from] != value[i] {
			return nil
		}
		offsets[i] = from
		from++
	}
	offsets[len(value)] = from
	// White space stands before what follows it, not behind what precedes it, at
	// the beginning of a line.
	for i := len(value) - 1; i >= 0; i-- {
		if (value[i] == ' ' || value[i] == '\t') && offsets[i+1] > offsets[i] {
			offsets[i] = offsets[i+1] - 1
		}
	}
	return offsets
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// text returns the text of a plain value.
func (r *reader) text(node ast.Node) (text, bool) {
	t := text{start: nodeAt(node), source: r.source}
	switch n := node.(type) {
	case *ast.LiteralNode:
		t.value = n.Value.Value
		t.start = position{tokenAt(n.Start).line + 1, 1}
	case *ast.StringNode:
		t.value = n.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		t.value = n.GetToken().Value
	default:
		return text{}, false
	}
	t.offsets = align(t.value, r.source, offsetOf(r.source, t.start))
	return t, true
}

// offsetOf is the reverse of locate.
func offsetOf(source string, at position) int {
	offset := 0
	for range at.line - 1 {
		next := strings.IndexByte(source[offset:], '\n')
		if next < 0 {
			return len(source)
		}
		offset += next + 1
	}
	for range at.column - 1 {
		_, size := utf8.DecodeRuneInString(source[offset:])
		offset += size
	}
	return offset
}

// pairs returns the entries of a mapping.
func pairs(node ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := node.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	case *ast.NullNode:
		return nil, true
	}
	return nil, false
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
	if t := node.GetToken(); t != nil && (t.Type == token.DoubleQuoteType || t.Type == token.SingleQuoteType) {
		at.column++ // behind the quote
	}
	return at
}

func tokenAt(t *token.Token) position {
	if t == nil || t.Position == nil {
		return position{1, 1}
	}
	return position{t.Position.Line, max(t.Position.Column, 1)}
}
