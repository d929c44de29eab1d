package schema

import (
	"strings"
	"unicode/utf8"
)

// token is a piece of the text.
type token struct {
	kind tokenKind
	span
	// comments are those between the token before and this one.
	comments []span
}

// tokenKind is how messages name the token.
type tokenKind string

const (
	tokenEnd        tokenKind = "the end of the schema"
	tokenTerminator tokenKind = "the end of the line" // or a semicolon
	tokenWord       tokenKind = "a name"
	tokenOpenBrace  tokenKind = "{"
	tokenCloseBrace tokenKind = "}"
	tokenOpen       tokenKind = "("
	tokenClose      tokenKind = ")"
	tokenLess       tokenKind = "<"
	tokenGreater    tokenKind = ">"
	tokenPipe       tokenKind = "|"
	tokenPlus       tokenKind = "+"
	tokenAnd        tokenKind = "&"
	tokenMinus      tokenKind = "-"
	tokenArrow      tokenKind = "->"
	tokenHash       tokenKind = "#"
	tokenColon      tokenKind = ":"
	tokenStar       tokenKind = "*"
	tokenDot        tokenKind = "."
	tokenEllipsis   tokenKind = "..."
	tokenSlash      tokenKind = "/"
	tokenEquals     tokenKind = "="
	tokenComma      tokenKind = ","
)

// symbols are the tokens of punctuation, longer ones before their prefixes.
var symbols = []tokenKind{
	tokenEllipsis, tokenArrow, tokenOpenBrace, tokenCloseBrace, tokenOpen, tokenClose, tokenLess, tokenGreater, tokenPipe,
	tokenPlus, tokenAnd, tokenMinus, tokenHash, tokenColon, tokenStar, tokenDot, tokenSlash, tokenEquals, tokenComma,
}

// lexer cuts a text into tokens, one at a time since a caveat's expression is of
// another language.
type lexer struct {
	text string
	pos  int
	// ends says whether a new line ends a statement here: after a token that can
	// be a statement's last, and outside of parentheses.
	ends  bool
	depth int // of open parentheses
}

// next returns the next token.
func (l *lexer) next() token {
	var comments []span
	for l.pos < len(l.text) {
		start := l.pos
		rest := l.text[start:]
		switch c := rest[0]; {
		case c == '\n' && l.ends && l.depth == 0:
			l.pos++
			return l.emit(tokenTerminator, start, comments)
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			l.pos++
		case strings.HasPrefix(rest, "//"):
			if n := strings.IndexByte(rest, '\n'); n >= 0 {
				l.pos += n
			} else {
				l.pos = len(l.text)
			}
			comments = append(comments, span{start, l.pos})
		case strings.HasPrefix(rest, "/*"):
			n := strings.Index(rest[2:], "*/")
			if n < 0 {
				panic(fault(l.text, span{start, start + 2}, Syntax, "", "this comment has no end: close it with */"))
			}
			l.pos += n + 4
			comments = append(comments, span{start, l.pos})
		case c == ';':
			l.pos++
			return l.emit(tokenTerminator, start, comments)
		case isWordByte(c):
			for l.pos < len(l.text) && isWordByte(l.text[l.pos]) {
				l.pos++
			}
			return l.emit(tokenWord, start, comments)
		default:
			return l.symbol(comments)
		}
	}
	return l.emit(tokenEnd, l.pos, comments)
}

func (l *lexer) symbol(comments []span) token {
	start := l.pos
	for _, kind := range symbols {
		if strings.HasPrefix(l.text[start:], string(kind)) {
			l.pos += len(kind)
			switch kind {
			case tokenOpen:
				l.depth++
			case tokenClose:
				l.depth = max(l.depth-1, 0)
			}
			return l.emit(kind, start, comments)
		}
	}
	r, size := utf8.DecodeRuneInString(l.text[start:])
	panic(fault(l.text, span{start, start + size}, Syntax, "", "the schema language has no character %q", r))
}

func (l *lexer) emit(kind tokenKind, start int, comments []span) token {
	switch kind {
	case tokenWord, tokenStar, tokenClose, tokenCloseBrace, tokenEllipsis, tokenGreater:
		l.ends = true
	default:
		l.ends = false
	}
	return token{kind: kind, span: span{start, l.pos}, comments: comments}
}

func isWordByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

// quoted skips a literal in quotes, as CEL writes them: a triple quote spans
// lines, and a backslash takes away the meaning of what follows unless r or R
// stands before the quote.
func (l *lexer) quoted() {
	start := l.pos
	prefix := strings.ToLower(l.text[max(start-2, 0):start])
	raw := strings.HasSuffix(prefix, "r") || prefix == "rb"
	quote := l.text[start : start+1]
	triple := strings.HasPrefix(l.text[start:], strings.Repeat(quote, 3))
	if triple {
		quote = strings.Repeat(quote, 3)
	}
	l.pos += len(quote)
	for l.pos < len(l.text) {
		switch c := l.text[l.pos]; {
		case strings.HasPrefix(l.text[l.pos:], quote):
			l.pos += len(quote)
			return
		case c == '\\' && !raw:
			l.pos += 2
		case c == '\n' && !triple:
			panic(fault(l.text, span{start, l.pos}, Syntax, "", "this text has no end: close it with %s", quote))
		default:
			l.pos++
		}
	}
	panic(fault(l.text, span{start, len(l.text)}, Syntax, "", "this text has no end: close it with %s", quote))
}

// expression takes what stands before the brace that closes the one just read.
func (l *lexer) expression() span {
	start, depth := l.pos, 0
	for l.pos < len(l.text) {
		switch c := l.text[l.pos]; {
		case c == '"' || c == '\'':
			l.quoted()
			continue
		case strings.HasPrefix(l.text[l.pos:], "//"):
			if n := strings.IndexByte(l.text[l.pos:], '\n'); n >= 0 {
				l.pos += n
			} else {
				l.pos = len(l.text)
			}
			continue
		case c == '{':
			depth++
		case c == '}' && depth == 0:
			return span{start, l.pos}
		case c == '}':
			depth--
		}
		l.pos++
	}
	panic(fault(l.text, span{start - 1, start}, Syntax, "", "this brace is never closed: a caveat's expression ends with }"))
}
