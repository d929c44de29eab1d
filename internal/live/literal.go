package live

import (
	"bytes"
	"errors"
)

// AppendText appends a value of t in the form that clients get, given Postgres's
// text of it with IntervalStyle postgres or iso_8601: intervals become iso_8601,
// also those in arrays, ranges and composites. All else is as it was.
func (t *Type) AppendText(b, text []byte) []byte {
	switch {
	case t == nil || !t.interval:
		return append(b, text...)
	case t.OID == intervalOID:
		return appendInterval(b, text)
	}
	start := len(b)
	l := literal{text: text}
	var err error
	switch {
	case t.Elem != nil:
		b, err = l.array(b, t)
	case t.Kind == 'c':
		b, err = l.composite(b, t)
	case t.Kind == 'r':
		b, err = l.span(b, t)
	case t.Kind == 'm':
		b, err = l.spans(b, t)
	}
	if err != nil || len(l.text) != 0 {
		return append(b[:start], text...)
	}
	return b
}

// literal reads the text of a value that holds others. Parts that hold no
// interval are copied with their quotes.
type literal struct{ text []byte }

// errLiteral never leaves the package: what cannot be read stays as it is.
var errLiteral = errors.New("not a literal")

func (l *literal) next() byte {
	if len(l.text) == 0 {
		return 0
	}
	return l.text[0]
}

func (l *literal) copy(b []byte, n int) []byte {
	b = append(b, l.text[:n]...)
	l.text = l.text[n:]
	return b
}

// array reads {…}, with the bounds of its dimensions in front where those do not
// begin at 1.
func (l *literal) array(b []byte, t *Type) ([]byte, error) {
	n := bytes.IndexByte(l.text, '{')
	if n < 0 {
		return b, errLiteral
	}
	b = l.copy(b, n)
	var err error
	for depth := 0; ; {
		switch c := l.next(); c {
		case 0:
			return b, errLiteral
		case '{':
			depth++
			b = l.copy(b, 1)
		case '}':
			depth--
			if b = l.copy(b, 1); depth == 0 {
				return b, nil
			}
		case t.Elem.delim:
			b = l.copy(b, 1)
		default:
			if b, err = l.element(b, t); err != nil {
				return b, err
			}
		}
	}
}

func (l *literal) element(b []byte, t *Type) ([]byte, error) {
	n := l.part(func(c byte) bool { return c == t.Elem.delim || c == '}' })
	if n == 0 {
		return b, errLiteral
	}
	raw := l.text[:n]
	l.text = l.text[n:]
	if string(raw) == "NULL" {
		return append(b, raw...), nil
	}
	start := len(b)
	b = t.Elem.AppendText(b, unquoted(raw))
	return quoteElement(b, start, t.Elem.delim), nil
}

// composite reads (…).
func (l *literal) composite(b []byte, t *Type) ([]byte, error) {
	if l.next() != '(' {
		return b, errLiteral
	}
	b = l.copy(b, 1)
	for i, member := range t.members {
		if i > 0 {
			if l.next() != ',' {
				return b, errLiteral
			}
			b = l.copy(b, 1)
		}
		b = l.member(b, member, false, func(c byte) bool { return c == ',' || c == ')' })
	}
	if l.next() != ')' {
		return b, errLiteral
	}
	return l.copy(b, 1), nil
}

// span reads a range: empty, or two bounds in brackets.
func (l *literal) span(b []byte, t *Type) ([]byte, error) {
	if bytes.HasPrefix(l.text, []byte("empty")) {
		return l.copy(b, len("empty")), nil
	}
	if c := l.next(); c != '[' && c != '(' {
		return b, errLiteral
	}
	b = l.copy(b, 1)
	b = l.member(b, t.members[0], true, func(c byte) bool { return c == ',' })
	if l.next() != ',' {
		return b, errLiteral
	}
	b = l.copy(b, 1)
	b = l.member(b, t.members[0], true, func(c byte) bool { return c == ']' || c == ')' })
	if c := l.next(); c != ']' && c != ')' {
		return b, errLiteral
	}
	return l.copy(b, 1), nil
}

// spans reads a multirange.
func (l *literal) spans(b []byte, t *Type) ([]byte, error) {
	if l.next() != '{' {
		return b, errLiteral
	}
	b = l.copy(b, 1)
	var err error
	for {
		switch l.next() {
		case '}':
			return l.copy(b, 1), nil
		case ',':
			b = l.copy(b, 1)
		default:
			if b, err = l.span(b, t.members[0]); err != nil {
				return b, err
			}
		}
	}
}

// member reads a member of a composite, or a bound of a range. Nothing is NULL, or
// no bound.
func (l *literal) member(b []byte, t *Type, bound bool, ends func(byte) bool) []byte {
	n := l.part(ends)
	raw := l.text[:n]
	l.text = l.text[n:]
	if n == 0 || !t.interval {
		return append(b, raw...)
	}
	start := len(b)
	return quoteMember(t.AppendText(b, unquoted(raw)), start, bound)
}

// part returns the length of what comes before the end, quotes left aside.
func (l *literal) part(ends func(byte) bool) int {
	quoted := false
	for i := 0; i < len(l.text); i++ {
		switch c := l.text[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && ends(c):
			return i
		}
	}
	return len(l.text)
}

// unquoted returns a part without its quotes. In an array a backslash comes
// before what is meant, in a composite also a quote before a quote.
func unquoted(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	quoted := false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '\\' && i+1 < len(raw):
			i++
			out = append(out, raw[i])
		case c == '"' && quoted && i+1 < len(raw) && raw[i+1] == '"':
			i++
			out = append(out, '"')
		case c == '"':
			quoted = !quoted
		default:
			out = append(out, c)
		}
	}
	return out
}

// quoteElement quotes b[start:] as an element of an array if Postgres would.
func quoteElement(b []byte, start int, delim byte) []byte {
	text := b[start:]
	needed, escapes := len(text) == 0 || len(text) == 4 && bytes.EqualFold(text, []byte("NULL")), 0
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			needed = true
			escapes++
		case c == '{' || c == '}' || c == delim || isSpace(c):
			needed = true
		}
	}
	if !needed {
		return b
	}
	return widen(b, start, escapes, func(byte) byte { return '\\' })
}

// quoteMember quotes b[start:] as a member of a composite or a bound of a range
// if Postgres would.
func quoteMember(b []byte, start int, bound bool) []byte {
	text := b[start:]
	needed, escapes := len(text) == 0, 0
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			needed = true
			escapes++
		case c == '(' || c == ')' || c == ',' || isSpace(c) || bound && (c == '[' || c == ']'):
			needed = true
		}
	}
	if !needed {
		return b
	}
	return widen(b, start, escapes, func(c byte) byte { return c })
}

// widen puts b[start:] in quotes and a byte before each quote and backslash.
func widen(b []byte, start, escapes int, before func(byte) byte) []byte {
	from := len(b) - 1
	for range escapes + 2 {
		b = append(b, 0)
	}
	to := len(b) - 1
	b[to] = '"'
	for to--; from >= start; from-- {
		c := b[from]
		b[to] = c
		to--
		if c == '"' || c == '\\' {
			b[to] = before(c)
			to--
		}
	}
	b[to] = '"'
	return b
}

// isSpace reports what Postgres counts as white space in literals.
func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }
