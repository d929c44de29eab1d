package query

import (
	"strconv"
	"unicode/utf8"
)

// scanWhere refuses a client's text that could be anything but an expression by
// itself, or in which a constant could be something else than it looks like. What
// it lets through is for Postgres to judge.
func (s *shapeAnalysis) scanWhere() {
	text := s.text.Where
	if i := invalidUTF8(text); i >= 0 {
		s.problem(ShapeWhere, -1, "", "the condition is not UTF-8 text")
		return
	}
	if len(text) > maxShapeText {
		s.problem(ShapeWhere, -1, "", "the condition has more than %d bytes", maxShapeText)
		return
	}
	used := make([]bool, s.text.Params)
	var open []token
	var last token
	l := newLexer(text)
	for {
		t, ok := l.next()
		if !ok || l.broken >= 0 || len(s.problems) > 0 {
			break
		}
		piece := text[t.pos:t.end]
		problem := func(hint, format string, args ...any) {
			s.problem(ShapeWhere, utf8.RuneCountInString(text[:t.pos]), hint, format, args...)
		}
		switch t.kind {
		case tokenLineComment, tokenBlockComment:
			problem("leave it out", "a condition cannot have a comment")
		case tokenSemicolon:
			problem("", `syntax error at or near ";"`)
		case tokenString:
			switch {
			case piece[0] == '$':
				problem("write it in single quotes, or pass it as a parameter", "a condition cannot have a text in dollar quotes")
			case piece[0] == 'e' || piece[0] == 'E' || piece[0] == 'u' || piece[0] == 'U':
				problem("write it in plain quotes, or pass it as a parameter", "a condition cannot have a text with escapes")
			case last.kind == tokenString:
				problem("write one text, or put || between them", "a condition cannot have two texts side by side")
			}
		case tokenWord:
			switch {
			case len(piece) > 2 && piece[1] == '&' && piece[2] == '"':
				problem("write it in plain double quotes", "a condition cannot have a name with escapes")
			case (piece[0] != '"') && (t.text == "select" || t.text == "table") && !(last.end > 0 && text[last.pos:last.end] == "."):
				problem(endpointHint, "a condition cannot have a subquery")
			}
		case tokenPosition:
			n, err := strconv.Atoi(piece[1:])
			switch {
			case err != nil || n < 1 || n > s.text.Params:
				problem("", "there is no value for the parameter %s", piece)
			case isNamePart(l.at(t.end)) || l.at(t.end) == '$':
				problem("", "trailing junk after parameter at or near %q", piece)
			default:
				used[n-1] = true
			}
		case tokenOther:
			switch piece {
			case "(", "[":
				open = append(open, t)
			case ")", "]":
				if len(open) == 0 || text[open[len(open)-1].pos] != map[string]byte{")": '(', "]": '['}[piece] {
					problem("", "syntax error at or near %q", piece)
					break
				}
				open = open[:len(open)-1]
			}
		}
		last = t
	}
	switch {
	case len(s.problems) > 0:
	case l.broken >= 0:
		s.problem(ShapeWhere, utf8.RuneCountInString(text[:l.broken]), "", "this %s has no end", l.breaking)
	case len(open) > 0:
		s.problem(ShapeWhere, utf8.RuneCountInString(text), "", "syntax error at end of input")
	default:
		for i, u := range used {
			if !u {
				s.problem(ShapeWhere, -1, "", "the condition does not use the parameter $%d", i+1)
			}
		}
	}
}

// scanFixed looks for what would change the meaning of the statement around the
// configured condition.
func (s *shapeAnalysis) scanFixed() {
	text, depth := s.text.Fixed, 0
	if invalidUTF8(text) >= 0 {
		s.problem(ShapeFixed, -1, "", "the condition is not UTF-8 text")
		return
	}
	l := newLexer(text)
	for {
		t, ok := l.next()
		if !ok {
			break
		}
		switch t.kind {
		case tokenSemicolon:
			s.problem(ShapeFixed, -1, "", "a condition has no semicolon")
		case tokenPosition:
			s.problem(ShapeFixed, -1, "", "there is no value for the parameter %s", text[t.pos:t.end])
		case tokenOther:
			switch text[t.pos:t.end] {
			case "(":
				depth++
			case ")":
				if depth--; depth < 0 {
					s.problem(ShapeFixed, -1, "", "a parenthesis is closed that is not open")
					return
				}
			}
		}
	}
	switch {
	case l.broken >= 0:
		s.problem(ShapeFixed, -1, "", "a %s has no end", l.breaking)
	case depth > 0:
		s.problem(ShapeFixed, -1, "", "a parenthesis is not closed")
	}
}
