package live

import (
	"bytes"
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// AppendAnswer appends the text of a value of an answer, which is in JSON as
// row_to_json wrote it for type t, in the form that a value of t.InAnswer() has in
// a table. It reports whether the value is NULL; then nothing is appended.
//
// What JSON does not say is lost: the bounds of an array that does not begin at
// 1, whether a json value that is null is NULL, and the dimensions of arrays of
// json and of arrays, which count as having one.
func (t *Type) AppendAnswer(b, raw []byte) (_ []byte, null bool, err error) {
	if t == nil {
		t = &Type{}
	}
	if string(raw) == "null" {
		return b, true, nil
	}
	if t.object() || t.OID == jsonOID || t.OID == jsonbOID {
		return append(b, raw...), false, nil
	}
	raw = bytes.Trim(raw, " \t\r\n")
	start := len(b)
	switch {
	case string(raw) == "null":
		return b, true, nil
	case t.Elem != nil:
		b, err = t.appendArray(b, raw, 0)
	case t.OID == int2vectorOID || t.OID == oidvectorOID:
		b, err = appendVector(b, raw)
	default:
		b, err = t.appendScalar(b, raw)
	}
	if err != nil {
		return b[:start], false, err
	}
	return b, false, nil
}

var errAnswer = errors.New("a value of an answer does not have the form of its type")

// appendScalar appends the text of a value that is no array.
func (t *Type) appendScalar(b, raw []byte) ([]byte, error) {
	switch {
	case len(raw) == 0:
		return b, errAnswer
	case raw[0] == '"':
		start := len(b)
		b, err := appendDecoded(b, raw)
		if err != nil {
			return b, err
		}
		return t.reform(b, start), nil
	case t.OID == boolOID && string(raw) == "true":
		return append(b, 't'), nil
	case t.OID == boolOID && string(raw) == "false":
		return append(b, 'f'), nil
	case numberLength(raw) == len(raw):
		return append(b, raw...), nil
	}
	return b, errAnswer
}

// reform gives b[start:], which JSON had as a string, the form of the type's own
// text.
func (t *Type) reform(b []byte, start int) []byte {
	text := b[start:]
	switch {
	case t.OID == timestampOID || t.OID == timestamptzOID:
		// JSON has 2020-01-31T10:11:12+00:00, perhaps with BC at its end.
		if i := bytes.IndexByte(text, 'T'); i >= 0 {
			text[i] = ' '
		}
		if t.OID == timestampOID {
			break
		}
		if i := bytes.LastIndex(text, []byte("+00:00")); i >= 0 {
			b = append(b[:start+i+len("+00")], text[i+len("+00:00"):]...)
		}
	case t.interval:
		b = append(b[:start], t.AppendText(nil, text)...)
	}
	return b
}

// maxDimensions is Postgres's.
const maxDimensions = 6

// appendArray appends an array as a literal.
func (t *Type) appendArray(b, raw []byte, depth int) ([]byte, error) {
	if len(raw) == 0 || raw[0] != '[' || depth == maxDimensions {
		return b, errAnswer
	}
	s := splitter{text: raw, pos: 1}
	b = append(b, '{')
	if s.space(); s.peek() == ']' && s.pos+1 == len(raw) {
		return append(b, '}'), nil
	}
	s.pos = 1 // white space before the first element is its own
	for first := true; ; first = false {
		if !first {
			b = append(b, t.Elem.delim)
		}
		from := s.pos
		if err := s.value(); err != nil {
			return b, err
		}
		var err error
		if b, err = t.appendElement(b, raw[from:s.pos], depth); err != nil {
			return b, err
		}
		switch s.peek() {
		case ',':
			s.pos++
		case ']':
			if s.pos+1 != len(raw) {
				return b, errAnswer
			}
			return append(b, '}'), nil
		default:
			return b, errAnswer
		}
	}
}

func (t *Type) appendElement(b, raw []byte, depth int) ([]byte, error) {
	deep := t.Elem.Elem == nil && t.Elem.OID != jsonOID && t.Elem.OID != jsonbOID &&
		t.Elem.OID != int2vectorOID && t.Elem.OID != oidvectorOID
	if trimmed := bytes.Trim(raw, " \t\r\n"); deep && len(trimmed) > 0 && trimmed[0] == '[' {
		return t.appendArray(b, trimmed, depth+1)
	}
	start := len(b)
	b, null, err := t.Elem.AppendAnswer(b, raw)
	switch {
	case err != nil:
		return b, err
	case null:
		return append(b, "NULL"...), nil
	}
	return quoteElement(b, start, t.Elem.delim), nil
}

// appendVector appends the text of an int2vector or oidvector. The oids in JSON are
// strings.
func appendVector(b, raw []byte) ([]byte, error) {
	if len(raw) < 2 || raw[0] != '[' || raw[len(raw)-1] != ']' {
		return b, errAnswer
	}
	if len(raw) == 2 {
		return b, nil
	}
	for i, n := range bytes.Split(raw[1:len(raw)-1], []byte{','}) {
		if i > 0 {
			b = append(b, ' ')
		}
		if n = bytes.Trim(n, `" `); len(n) == 0 || numberLength(n) != len(n) {
			return b, errAnswer
		}
		b = append(b, n...)
	}
	return b, nil
}

var errString = errors.New("not a JSON string")

// appendDecoded appends what a JSON string says.
func appendDecoded(b, raw []byte) ([]byte, error) {
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return b, errString
	}
	for s := raw[1 : len(raw)-1]; len(s) > 0; {
		n := bytes.IndexByte(s, '\\')
		if n < 0 {
			n = len(s)
		}
		if bytes.IndexByte(s[:n], '"') >= 0 {
			return b, errString
		}
		b = append(b, s[:n]...)
		if s = s[n:]; len(s) == 0 {
			break
		}
		size := escapeLength(s)
		switch {
		case size == 0:
			return b, errString
		case size == 2:
			b = append(b, escaped[s[1]])
		default:
			r, n, err := decodeUnits(s)
			if err != nil {
				return b, err
			}
			b = utf8.AppendRune(b, r)
			size = n
		}
		s = s[size:]
	}
	return b, nil
}

var escaped = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// decodeUnits reads the \uXXXX that s begins with, or two of them that are one
// character.
func decodeUnits(s []byte) (r rune, size int, err error) {
	r, _ = hexUnit(s)
	if !utf16.IsSurrogate(r) {
		return r, 6, nil
	}
	low, ok := hexUnit(s[6:])
	if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
		return 0, 0, errString
	}
	return r, 12, nil
}

// hexUnit reads a \uXXXX.
func hexUnit(s []byte) (u rune, ok bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	for _, c := range s[2:6] {
		d := bytes.IndexByte([]byte(hexDigits), c|0x20)
		if d < 0 || c < '0' {
			return 0, false
		}
		u = u<<4 | rune(d)
	}
	return u, true
}
