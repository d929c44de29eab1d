package schema

import "strings"

// wideComment is the most characters of a comment of one line that stands
// together with its delimiters.
const wideComment = 70

// comment is what stands before the token at hand, in the form that a Comment
// has.
func (p *parser) comment() string {
	lines := make([]string, len(p.tok.comments))
	for i, c := range p.tok.comments {
		lines[i] = canonical(p.text(c))
	}
	return strings.Join(lines, "\n")
}

// canonical gives a comment the form in which it is printed: no spaces around
// its lines but those that set the text off from the delimiters.
func canonical(comment string) string {
	if text, ok := strings.CutPrefix(comment, "//"); ok {
		return strings.TrimRight("// "+strings.TrimSpace(text), " ")
	}
	open := "/*"
	text := strings.TrimSuffix(comment[len(open):], "*/")
	if rest, ok := strings.CutPrefix(text, "*"); ok {
		open, text = "/**", rest
	}
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		l = strings.TrimSpace(l)
		if i > 0 {
			// The star in front of a line is an ornament.
			l = strings.TrimSpace(strings.TrimPrefix(l, "*"))
		}
		lines[i] = l
	}
	for len(lines) > 0 && lines[0] == "" {
		lines = lines[1:]
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	switch {
	case len(lines) == 0:
		return open + " */"
	case len(lines) == 1 && len(lines[0]) <= wideComment:
		return open + " " + lines[0] + " */"
	}
	var b strings.Builder
	b.WriteString(open)
	for _, l := range lines {
		b.WriteString(strings.TrimRight("\n * "+l, " "))
	}
	b.WriteString("\n */")
	return b.String()
}
