package validate

import (
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"

	"github.com/tidemarkdb/tidemark/internal/yamldoc"
)

// text is a value of a file that knows where it stands.
type text struct {
	value string
	start yamldoc.Position
	// source is the file and offsets the place of each byte of the value in it, of
	// white space only nearly; nil where that is not known.
	source  string
	offsets []int
}

// whole is a file that is nothing but a text.
func whole(source string) text {
	t := text{value: source, start: yamldoc.Position{Line: 1, Column: 1}, source: source, offsets: make([]int, len(source)+1)}
	for i := range t.offsets {
		t.offsets[i] = i
	}
	return t
}

// at returns where a byte of the value stands.
func (t text) at(offset int) yamldoc.Position {
	if offset < 0 || offset >= len(t.offsets) {
		return t.start
	}
	return locate(t.source, t.offsets[offset])
}

// atLine returns where a line and a column of the value, both from 0, stand.
func (t text) atLine(line, column int) yamldoc.Position {
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

func locate(source string, offset int) yamldoc.Position {
	before := source[:offset]
	return yamldoc.Position{Line: strings.Count(before, "\n") + 1, Column: utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1}
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
	value, ok := yamldoc.Scalar(node)
	if !ok {
		return text{}, false
	}
	if n, ok := node.(*ast.LiteralNode); ok {
		value = n.Value.Value
	}
	t := text{value: value, start: yamldoc.TextAt(node), source: r.source}
	t.offsets = align(t.value, r.source, offsetOf(r.source, t.start))
	return t, true
}

// offsetOf is the reverse of locate.
func offsetOf(source string, at yamldoc.Position) int {
	offset := 0
	for range at.Line - 1 {
		next := strings.IndexByte(source[offset:], '\n')
		if next < 0 {
			return len(source)
		}
		offset += next + 1
	}
	for range at.Column - 1 {
		_, size := utf8.DecodeRuneInString(source[offset:])
		offset += size
	}
	return offset
}
