package match

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tidemarkdb/tidemark/internal/change"
)

// of returns what a Whole or a Member is of a column's value. It is absent where
// that is not known.
func (p *Part) of(v change.Value) change.Value {
	if p.Kind == Whole || v.Kind != change.Text {
		return v
	}
	if p.Kind == Member {
		return member(v.Text, p.Path)
	}
	return change.Value{}
}

var (
	unknownValue = change.Value{}
	nullValue    = change.Value{Kind: change.Null}
)

// member follows a path through the text of a jsonb value, as Postgres writes
// it. A step into an array counts as unknown where the name could be an index:
// #>> takes it for one and ->> does not.
func member(doc []byte, path string) change.Value {
	if path == "" {
		return unknownValue
	}
	for path != "" {
		name, rest, ended := strings.Cut(path, "\x00")
		if !ended || len(doc) == 0 {
			return unknownValue
		}
		if doc[0] != '{' {
			if mayIndex(name) {
				return unknownValue
			}
			return nullValue
		}
		value, known := field(doc, name)
		switch {
		case !known:
			return unknownValue
		case value == nil:
			return nullValue
		}
		doc, path = value, rest
	}
	switch doc[0] {
	case 'n':
		return nullValue
	case '"':
		text, ok := unquoteJSON(doc)
		if !ok {
			return unknownValue
		}
		return change.Value{Kind: change.Text, Text: text}
	}
	return change.Value{Kind: change.Text, Text: doc}
}

// mayIndex reports whether #>> may take a name for an index into an array.
func mayIndex(name string) bool {
	return name != "" && strings.Trim(name, "+- \t\n\v\f\r0123456789") == ""
}

// field returns the text of an object's member, nil if there is none. It reports
// false where the text is not understood.
func field(doc []byte, name string) (value []byte, known bool) {
	i := skipSpace(doc, 1)
	if i < len(doc) && doc[i] == '}' {
		return nil, true
	}
	for {
		end := skipJSON(doc, i)
		if end < 0 || doc[i] != '"' {
			return nil, false
		}
		found := string(doc[i+1:end-1]) == name
		if bytes.IndexByte(doc[i:end], '\\') >= 0 {
			key, ok := unquoteJSON(doc[i:end])
			if !ok {
				return nil, false
			}
			found = string(key) == name
		}
		if i = skipSpace(doc, end); i == len(doc) || doc[i] != ':' {
			return nil, false
		}
		i = skipSpace(doc, i+1)
		if end = skipJSON(doc, i); end < 0 {
			return nil, false
		}
		if found {
			return doc[i:end], true
		}
		if i = skipSpace(doc, end); i == len(doc) {
			return nil, false
		}
		if doc[i] == '}' {
			return nil, true
		}
		if doc[i] != ',' {
			return nil, false
		}
		i = skipSpace(doc, i+1)
	}
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skipJSON returns where the value that begins at i ends, or -1.
func skipJSON(b []byte, i int) int {
	start, depth := i, 0
	for i < len(b) {
		switch c := b[i]; c {
		case '"':
			if i = skipQuoted(b, i); i < 0 {
				return -1
			}
		case '{', '[':
			depth++
			i++
			continue
		case '}', ']':
			if depth--; depth < 0 {
				return -1
			}
			i++
		case ',', ':', ' ', '\n', '\t', '\r':
			if depth == 0 {
				return -1
			}
			i++
			continue
		default:
			n := bytes.IndexAny(b[i:], ",]} \n\t\r")
			if n < 0 {
				n = len(b) - i
			}
			i += n
		}
		if depth == 0 && i > start {
			return i
		}
	}
	return -1
}

// skipQuoted returns where the quoted text that begins at i ends, or -1. JSON
// and array elements quote alike: a backslash stands before what is not an end.
func skipQuoted(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// unquoteJSON returns the text of a JSON string.
func unquoteJSON(b []byte) ([]byte, bool) {
	b = b[1 : len(b)-1]
	at := bytes.IndexByte(b, '\\')
	if at < 0 {
		return b, true
	}
	out := append(make([]byte, 0, len(b)), b[:at]...)
	for i := at; i < len(b); i++ {
		if b[i] != '\\' {
			out = append(out, b[i])
			continue
		}
		if i++; i == len(b) {
			return nil, false
		}
		switch c := b[i]; c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := hex4(b[i+1:])
			if !ok || r == 0 || utf16.IsSurrogate(r) {
				return nil, false
			}
			out = utf8.AppendRune(out, r)
			i += 4
		default:
			return nil, false
		}
	}
	return out, true
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[:4]), 16, 16)
	return rune(n), err == nil
}

// eachElement calls yield with the elements of an array's text form, in all
// dimensions, until it returns false. It reports false where they are not known.
func eachElement(v change.Value, yield func(change.Value) bool) (known bool) {
	if v.Kind != change.Text {
		return v.Kind == change.Null
	}
	b := v.Text
	if len(b) > 0 && b[0] == '[' { // the bounds, where they do not begin with 1
		i := bytes.IndexByte(b, '=')
		if i < 0 {
			return false
		}
		b = b[i+1:]
	}
	if len(b) == 0 || b[0] != '{' {
		return false
	}
	depth := 0
	for i := 0; i < len(b); {
		switch b[i] {
		case '{':
			depth++
			i++
		case '}':
			depth--
			i++
			if depth == 0 {
				return i == len(b)
			}
		case ',':
			i++
		default:
			e, end := element(b, i)
			if end < 0 {
				return false
			}
			if !yield(e) {
				return true
			}
			i = end
		}
	}
	return false
}

// element reads the element that begins at i, and returns where it ends, or -1.
func element(b []byte, i int) (change.Value, int) {
	if b[i] != '"' {
		n := bytes.IndexAny(b[i:], ",}")
		if n < 0 {
			return change.Value{}, -1
		}
		text := b[i : i+n]
		if string(text) == "NULL" {
			return nullValue, i + n
		}
		return change.Value{Kind: change.Text, Text: text}, i + n
	}
	end := skipQuoted(b, i)
	if end < 0 {
		return change.Value{}, -1
	}
	text := b[i+1 : end-1]
	if bytes.IndexByte(text, '\\') >= 0 {
		plain := make([]byte, 0, len(text))
		for j := 0; j < len(text); j++ {
			if text[j] == '\\' {
				j++
			}
			plain = append(plain, text[j])
		}
		text = plain
	}
	return change.Value{Kind: change.Text, Text: text}, end
}
