package schema

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Kind says at which step a schema was refused.
type Kind uint8

const (
	Syntax Kind = iota // the text is not of the language
	Type               // its parts do not fit together
)

// Error is why a text is no schema, and where. Lines and columns count from 0,
// columns in characters.
type Error struct {
	Kind               Kind
	Line, Column       int    // of the first character
	EndLine, EndColumn int    // of the last character
	Source             string // the text there, shortened
	Message            string
	// Definition is the one that the error is in, or empty.
	Definition string
}

// Error counts lines and columns from 1, as editors do.
func (e *Error) Error() string {
	return fmt.Sprintf("schema line %d, column %d: %s", e.Line+1, e.Column+1, e.Message)
}

// span is a piece of the text in bytes.
type span struct{ start, end int }

// to joins two spans and what lies between.
func (s span) to(t span) span { return span{s.start, t.end} }

// maxSource bounds the piece of text that an error quotes.
const maxSource = 200

// fault makes the error about a piece of text.
func fault(text string, at span, kind Kind, definition, format string, args ...any) *Error {
	e := &Error{Kind: kind, Definition: definition, Message: fmt.Sprintf(format, args...)}
	e.Line, e.Column = position(text, at.start)
	last := at.start
	if at.end > at.start {
		_, size := utf8.DecodeLastRuneInString(text[at.start:at.end])
		last = at.end - size
	}
	e.EndLine, e.EndColumn = position(text, last)
	source := text[at.start:at.end]
	if len(source) > maxSource {
		source = strings.ToValidUTF8(source[:maxSource], "") + "…"
	}
	e.Source = source
	return e
}

func position(text string, offset int) (line, column int) {
	line = strings.Count(text[:offset], "\n")
	return line, utf8.RuneCountInString(text[strings.LastIndexByte(text[:offset], '\n')+1 : offset])
}
