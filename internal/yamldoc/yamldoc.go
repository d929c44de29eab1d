// Package yamldoc reads texts that are one YAML document, and says where in them
// things stand. What a document has to say is for others to decide.
package yamldoc

import (
	"errors"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Position is a place in a text, line and column from 1.
type Position struct{ Line, Column int }

// Problem says where and why a text is not one YAML document.
type Problem struct {
	At      Position
	Message string
}

// Parse returns what the first document of a text has, which is nil where there is
// nothing but comments. A text with a second document has a problem and a body.
func Parse(text []byte) (body ast.Node, wrong *Problem) {
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		at, message := Position{1, 1}, err.Error()
		var located yaml.Error
		if errors.As(err, &located) {
			message, at = located.GetMessage(), tokenAt(located.GetToken())
		}
		return nil, &Problem{at, "the file is not YAML: " + message}
	}
	for _, doc := range tree.Docs {
		switch {
		case doc.Body == nil:
			// What is behind an empty document is not in the tree.
			if t := behind(doc.Start); t != nil && t.Type == token.DocumentHeaderType {
				return body, &Problem{tokenAt(t), second}
			}
		case doc.Body.Type() == ast.CommentType:
		case body != nil:
			return body, &Problem{At(doc.Body), second}
		default:
			body = doc.Body
		}
	}
	return body, nil
}

const second = "there is a second document; want one"

// behind returns the next token that is no comment.
func behind(t *token.Token) *token.Token {
	for t != nil {
		if t = t.Next; t == nil || t.Type != token.CommentType {
			break
		}
	}
	return t
}

// Pairs returns the entries of a mapping, of which null has none. Anything else is
// not ok.
func Pairs(node ast.Node) (pairs []*ast.MappingValueNode, ok bool) {
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

// Scalar returns the text of a plain value as it stands in the file, of a block
// without the end of its last line.
func Scalar(node ast.Node) (string, bool) {
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

// At returns where a node begins: a mapping with its first key, and what is quoted
// behind the quote.
func At(node ast.Node) Position {
	switch n := node.(type) {
	case *ast.MappingNode:
		if len(n.Values) > 0 {
			return At(n.Values[0])
		}
	case *ast.MappingValueNode:
		return tokenAt(n.Key.GetToken())
	}
	t := node.GetToken()
	at := tokenAt(t)
	if t != nil && (t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType) {
		at.Column++
	}
	return at
}

// TextAt returns where the text of a plain value begins. A block begins with the
// line behind its head.
func TextAt(node ast.Node) Position {
	if n, ok := node.(*ast.LiteralNode); ok {
		return Position{tokenAt(n.Start).Line + 1, 1}
	}
	return At(node)
}

func tokenAt(t *token.Token) Position {
	if t == nil || t.Position == nil {
		return Position{1, 1}
	}
	return Position{t.Position.Line, max(t.Position.Column, 1)}
}
