package query

import "strings"

// tokenKind is what the lexer tells apart: enough to find parameters, the ends
// of the statement, and the names and literals that it mentions.
type tokenKind byte

const (
	tokenOther    tokenKind = iota // operators, punctuation, numbers
	tokenWord                      // identifiers, quoted or not, and keywords
	tokenString                    // any string constant
	tokenParam                     // :name
	tokenPosition                  // $1, which an endpoint does not use
	tokenSemicolon
	tokenLineComment
	tokenBlockComment
)

// token is one piece of SQL. Text is the name of a word (lower case unless it
// was quoted) or parameter, and the body of a string or comment.
type token struct {
	kind     tokenKind
	pos, end int
	text     string
}

// lexer splits Postgres SQL by the rules of scan.l, with
// standard_conforming_strings on. White space yields no token.
type lexer struct {
	src      string
	pos      int
	brackets int // open [
	// broken is the offset of a string, comment or quoted name that has no end,
	// or -1, and what it is.
	broken   int
	breaking string
}

func newLexer(src string) *lexer { return &lexer{src: src, broken: -1} }

func (l *lexer) next() (token, bool) {
	for l.pos < len(l.src) && isSpace(l.src[l.pos]) {
		l.pos++
	}
	if l.pos >= len(l.src) {
		return token{}, false
	}
	start := l.pos
	t := l.scan()
	t.pos, t.end = start, l.pos
	return t, true
}

func (l *lexer) at(i int) byte {
	if i < len(l.src) {
		return l.src[i]
	}
	return 0
}

func (l *lexer) scan() token {
	c, d := l.src[l.pos], l.at(l.pos+1)
	switch {
	case c == '-' && d == '-':
		return l.lineComment()
	case c == '/' && d == '*':
		return l.blockComment()
	case c == '\'':
		return l.quoted(1, '\'', false)
	case c == '"':
		t := l.quoted(1, '"', false)
		t.kind = tokenWord
		return t
	case (c == 'e' || c == 'E') && d == '\'':
		return l.quoted(2, '\'', true)
	case strings.IndexByte("nNbBxX", c) >= 0 && d == '\'':
		return l.quoted(2, '\'', false)
	case (c == 'u' || c == 'U') && d == '&' && l.at(l.pos+2) == '\'':
		return l.quoted(3, '\'', false)
	case (c == 'u' || c == 'U') && d == '&' && l.at(l.pos+2) == '"':
		t := l.quoted(3, '"', false)
		t.kind = tokenWord
		return t
	case c == '$':
		return l.dollar()
	case isNameStart(c):
		return l.word()
	case c >= '0' && c <= '9':
		for l.pos < len(l.src) && (isNamePart(l.src[l.pos]) || l.src[l.pos] == '.') {
			l.pos++
		}
		return token{}
	case c == ':':
		return l.colon()
	case c == ';':
		l.pos++
		return token{kind: tokenSemicolon}
	case c == '[':
		l.brackets++
	case c == ']' && l.brackets > 0:
		l.brackets--
	}
	l.pos++
	return token{}
}

// colon tells a parameter from ::, := and the colon of an array slice.
func (l *lexer) colon() token {
	d := l.at(l.pos + 1)
	if d == ':' || d == '=' {
		l.pos += 2
		return token{}
	}
	// In a[1:n] the colon follows an operand, which no parameter can.
	slice := l.brackets > 0 && l.pos > 0 &&
		(isNamePart(l.src[l.pos-1]) || strings.IndexByte(`])"'`, l.src[l.pos-1]) >= 0)
	if slice || !isParamStart(d) {
		l.pos++
		return token{}
	}
	end := l.pos + 2
	for end < len(l.src) && isParamPart(l.src[end]) {
		end++
	}
	name := l.src[l.pos+1 : end]
	l.pos = end
	return token{kind: tokenParam, text: name}
}

func (l *lexer) word() token {
	start := l.pos
	for l.pos < len(l.src) && (isNamePart(l.src[l.pos]) || l.src[l.pos] == '$') {
		l.pos++
	}
	return token{kind: tokenWord, text: strings.ToLower(l.src[start:l.pos])}
}

// quoted reads a constant or name whose opening quote ends skip bytes on. A
// doubled quote stands for itself; with escapes, a backslash takes the next
// byte as it is.
func (l *lexer) quoted(skip int, quote byte, escapes bool) token {
	start := l.pos
	l.pos += skip
	body := l.pos
	doubled := false
	for l.pos < len(l.src) {
		switch c := l.src[l.pos]; {
		case c == '\\' && escapes:
			l.pos++
		case c == quote && l.at(l.pos+1) == quote:
			doubled = true
			l.pos++
		case c == quote:
			text := l.src[body:l.pos]
			l.pos++
			if doubled {
				text = strings.ReplaceAll(text, string([]byte{quote, quote}), string(quote))
			}
			return token{kind: tokenString, text: text}
		}
		l.pos++
	}
	l.pos = len(l.src)
	what := "string"
	if quote == '"' {
		what = "quoted name"
	}
	return l.unfinished(start, what)
}

// dollar reads $tag$...$tag$ or $1.
func (l *lexer) dollar() token {
	start := l.pos
	end := start + 1
	if c := l.at(end); c >= '0' && c <= '9' {
		for end < len(l.src) && l.src[end] >= '0' && l.src[end] <= '9' {
			end++
		}
		l.pos = end
		return token{kind: tokenPosition}
	}
	if isNameStart(l.at(end)) {
		for end < len(l.src) && isNamePart(l.src[end]) {
			end++
		}
	}
	if l.at(end) != '$' {
		l.pos++
		return token{}
	}
	tag := l.src[start : end+1]
	n := strings.Index(l.src[end+1:], tag)
	if n < 0 {
		l.pos = len(l.src)
		return l.unfinished(start, "dollar-quoted string")
	}
	l.pos = end + 1 + n + len(tag)
	return token{kind: tokenString, text: l.src[end+1 : end+1+n]}
}

func (l *lexer) lineComment() token {
	start := l.pos + 2
	n := strings.IndexAny(l.src[l.pos:], "\r\n")
	if n < 0 {
		l.pos = len(l.src)
	} else {
		l.pos += n
	}
	return token{kind: tokenLineComment, text: l.src[start:l.pos]}
}

func (l *lexer) blockComment() token {
	start, depth := l.pos, 0
	for l.pos < len(l.src) {
		switch {
		case l.src[l.pos] == '/' && l.at(l.pos+1) == '*':
			depth++
			l.pos += 2
		case l.src[l.pos] == '*' && l.at(l.pos+1) == '/':
			depth--
			l.pos += 2
			if depth == 0 {
				return token{kind: tokenBlockComment}
			}
		default:
			l.pos++
		}
	}
	t := l.unfinished(start, "comment")
	t.kind = tokenBlockComment
	return t
}

func (l *lexer) unfinished(start int, what string) token {
	if l.broken < 0 {
		l.broken, l.breaking = start, what
	}
	return token{kind: tokenString}
}

func isSpace(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'
}

func isNameStart(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

func isNamePart(c byte) bool { return isNameStart(c) || c >= '0' && c <= '9' }

func isParamStart(c byte) bool { return isNameStart(c) && c < 0x80 }

func isParamPart(c byte) bool { return isNamePart(c) && c < 0x80 }
