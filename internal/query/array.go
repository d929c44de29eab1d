package query

import "strings"

// parseArray reads a one-dimensional array in Postgres's text form, {a,"b c",NULL}.
// A reason is a phrase after "parameter x".
func parseArray(s string) (items []item, reason string) {
	const form = "is not an array such as {a,b}"
	s = strings.TrimFunc(s, isArraySpace)
	if len(s) < 2 || s[0] != '{' || s[len(s)-1] != '}' {
		return nil, form
	}
	body := s[1 : len(s)-1]
	items = []item{}
	if strings.TrimFunc(body, isArraySpace) == "" {
		return items, ""
	}
	for pos := 0; ; pos++ {
		it, end, reason := arrayElement(body, pos)
		if reason != "" {
			return nil, reason
		}
		items = append(items, it)
		if pos = end; pos == len(body) {
			return items, ""
		}
	}
}

// arrayElement reads the element at pos up to its comma or the end.
func arrayElement(s string, pos int) (it item, end int, reason string) {
	for pos < len(s) && isArraySpace(rune(s[pos])) {
		pos++
	}
	var b strings.Builder
	if pos < len(s) && s[pos] == '"' {
		for pos++; ; pos++ {
			if pos >= len(s) {
				return item{}, 0, "has a quoted element without an end"
			}
			if s[pos] == '"' {
				break
			}
			if s[pos] == '\\' {
				if pos++; pos >= len(s) {
					return item{}, 0, "has a quoted element without an end"
				}
			}
			b.WriteByte(s[pos])
		}
		for pos++; pos < len(s) && isArraySpace(rune(s[pos])); {
			pos++
		}
		if pos < len(s) && s[pos] != ',' {
			return item{}, 0, "has text after a quoted element"
		}
		return item{text: b.String()}, pos, ""
	}
	escaped, kept := false, 0 // kept: up to the last byte that is no blank
	for ; pos < len(s) && s[pos] != ','; pos++ {
		switch s[pos] {
		case '{', '}':
			return item{}, 0, "is an array of arrays, or has a brace that is not in quotes"
		case '"':
			return item{}, 0, "has a quote inside an element"
		case '\\':
			if pos++; pos >= len(s) {
				return item{}, 0, "ends in a backslash"
			}
			escaped = true
			b.WriteByte(s[pos])
			kept = b.Len()
			continue
		}
		b.WriteByte(s[pos])
		if !isArraySpace(rune(s[pos])) {
			kept = b.Len()
		}
	}
	text := b.String()[:kept]
	switch {
	case text == "":
		return item{}, 0, "has an empty element; write \"\" for an empty text"
	case !escaped && strings.EqualFold(text, "null"):
		return item{null: true}, pos, ""
	}
	return item{text: text}, pos, ""
}

// formatArray writes the form that array_out does.
func formatArray(items []item) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, it := range items {
		if i > 0 {
			b.WriteByte(',')
		}
		switch {
		case it.null:
			b.WriteString("NULL")
		case needsQuotes(it.text):
			b.WriteByte('"')
			for j := 0; j < len(it.text); j++ {
				if it.text[j] == '"' || it.text[j] == '\\' {
					b.WriteByte('\\')
				}
				b.WriteByte(it.text[j])
			}
			b.WriteByte('"')
		default:
			b.WriteString(it.text)
		}
	}
	b.WriteByte('}')
	return b.String()
}

func needsQuotes(s string) bool {
	return s == "" || strings.EqualFold(s, "null") || strings.ContainsAny(s, "\"\\{}, \t\n\r\v\f")
}

func isArraySpace(r rune) bool { return r < 0x80 && isSpace(byte(r)) }
