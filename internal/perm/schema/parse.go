package schema

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// The most that a text may nest.
const (
	maxDepth     = 100 // operators and parentheses of an expression
	maxTypeDepth = 10  // parameter types such as list<list<int>>
)

// file is a text's parts as they stand.
type file struct {
	uses        map[string]bool
	definitions []*block
	partials    []*block
	caveats     []*condition
}

// named is a name and where it stands.
type named struct {
	text string
	span
}

// block is a definition or a partial.
type block struct {
	name    named
	comment string
	members []*line
}

// line is a statement of a block.
type line struct {
	kind    lineKind
	name    named
	comment string
	types   []subject // of a relation
	bounds  []named   // the types that a permission's annotation names
	expr    *node     // of a permission
}

type lineKind uint8

const (
	lineRelation lineKind = iota
	linePermission
	lineSpread
)

// subject is one allowed type of a relation.
type subject struct {
	AllowedType
	span
	name, relation, caveat span
}

// condition is a caveat.
type condition struct {
	name       named
	comment    string
	parameters []parameter
	expression named
}

type parameter struct {
	name, typ named
}

// parser reads a text from left to right with one token at hand. Errors are
// thrown as *Error.
type parser struct {
	lex   lexer
	tok   token
	block string // the definition at hand, for errors
	file  *file
}

// parse reads a text.
func parse(text string) (f *file, err error) {
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(*Error)
			if !ok {
				panic(r)
			}
			f, err = nil, e
		}
	}()
	if i := strings.IndexByte(text, 0); i >= 0 {
		panic(fault(text, span{i, i + 1}, Syntax, "", "a schema cannot have a zero byte"))
	}
	if !utf8.ValidString(text) {
		valid := 0
		for i, r := range text {
			if _, size := utf8.DecodeRuneInString(text[i:]); r == utf8.RuneError && size == 1 {
				valid = i
				break
			}
		}
		panic(fault(text, span{valid, valid}, Syntax, "", "a schema is UTF-8, and this is not"))
	}
	p := &parser{lex: lexer{text: text}, file: &file{uses: map[string]bool{}}}
	p.advance()
	p.top()
	return p.file, nil
}

func (p *parser) advance() { p.tok = p.lex.next() }

func (p *parser) word() string {
	if p.tok.kind != tokenWord {
		return ""
	}
	return p.text(p.tok.span)
}

func (p *parser) text(s span) string { return p.lex.text[s.start:s.end] }

func (p *parser) fail(at span, format string, args ...any) {
	panic(fault(p.lex.text, at, Syntax, p.block, format, args...))
}

// unexpected throws what was needed and what stands there instead.
func (p *parser) unexpected(needed string) {
	found := string(p.tok.kind)
	switch p.tok.kind {
	case tokenWord:
		found = fmt.Sprintf("%.60q", p.text(p.tok.span))
	case tokenEnd, tokenTerminator:
	default:
		found = fmt.Sprintf("%q", found)
	}
	p.fail(p.tok.span, "%s, but here is %s", needed, found)
}

// take consumes a token of a kind.
func (p *parser) take(kind tokenKind, needed string) token {
	if p.tok.kind != kind {
		p.unexpected(needed)
	}
	t := p.tok
	p.advance()
	return t
}

// accept consumes a token if it is of a kind.
func (p *parser) accept(kind tokenKind) bool {
	if p.tok.kind != kind {
		return false
	}
	p.advance()
	return true
}

func (p *parser) terminators() {
	for p.accept(tokenTerminator) {
	}
}

// reserved reports whether a word is of the language. Some are only where a flag
// says so.
func (p *parser) reserved(word string) bool {
	switch word {
	case "definition", "caveat", "relation", "permission", "nil", "with":
		return true
	case "and":
		return p.file.uses[useExpiration]
	case useExpiration, useTypechecking, useSelf, usePartial, useImport:
		return p.file.uses[word]
	}
	return false
}

// name consumes a name.
func (p *parser) name(what string) named {
	if w := p.word(); p.reserved(w) {
		p.fail(p.tok.span, "%q is a word of the schema language and cannot be the name of %s", w, what)
	}
	t := p.take(tokenWord, "here must be the name of "+what)
	return named{p.text(t.span), t.span}
}

// path consumes a name with prefixes.
func (p *parser) path(what string) named {
	n := p.name(what)
	parts := []string{n.text}
	for p.accept(tokenSlash) {
		part := p.name(what)
		parts = append(parts, part.text)
		n.span = n.to(part.span)
	}
	n.text = strings.Join(parts, "/")
	return n
}

func (p *parser) top() {
	began := false // whether there was anything but use
	for {
		p.terminators()
		comment := p.comment()
		word := p.word()
		switch {
		case p.tok.kind == tokenEnd:
			return
		case word == "use":
			p.use(began)
			continue
		case word == "definition":
			p.file.definitions = append(p.file.definitions, p.definition(comment, "a definition"))
		case word == "caveat":
			p.file.caveats = append(p.file.caveats, p.condition(comment))
		case word == usePartial && p.file.uses[usePartial]:
			p.file.partials = append(p.file.partials, p.definition(comment, "a partial"))
		case word == usePartial:
			p.fail(p.tok.span, "partials need the line `use partial` at the top of the schema")
		case word == useImport:
			p.fail(p.tok.span, "a schema that is written to a server cannot import others: put them together into one text first")
		default:
			p.unexpected("a schema consists of `definition` and `caveat` blocks, and of `use` lines before them")
		}
		began = true
	}
}

func (p *parser) use(began bool) {
	at := p.tok.span
	p.advance()
	flag := p.word()
	switch flag {
	case useExpiration, useTypechecking, useSelf, usePartial:
	case useImport:
		p.fail(p.tok.span, "a schema that is written to a server cannot import others: put them together into one text first")
	default:
		p.unexpected("`use` takes one of expiration, partial, self and typechecking")
	}
	at = at.to(p.tok.span)
	if began {
		p.fail(at, "`use %s` must stand before the first definition and the first caveat", flag)
	}
	if p.file.uses[flag] {
		p.fail(at, "`use %s` stands here twice", flag)
	}
	// The flag rules over the words that follow.
	p.file.uses[flag] = true
	p.advance()
}

func (p *parser) definition(comment, what string) *block {
	p.advance()
	b := &block{name: p.path(what), comment: comment}
	p.block = b.name.text
	open := p.take(tokenOpenBrace, "the body of "+what+" begins with {")
	for {
		p.terminators()
		if p.accept(tokenCloseBrace) {
			p.block = ""
			return b
		}
		if p.tok.kind == tokenEnd {
			p.fail(open.span, "this brace is never closed: the body of %s ends with }", what)
		}
		b.members = append(b.members, p.member())
		switch p.tok.kind {
		case tokenTerminator:
		case tokenPlus, tokenAnd, tokenMinus, tokenPipe:
			p.unexpected("a statement ends with a new line or a semicolon")
		default:
			p.unexpected("a statement ends with a new line or a semicolon, also before }")
		}
	}
}

func (p *parser) member() *line {
	m := &line{comment: p.comment()}
	switch word := p.word(); {
	case word == "relation":
		p.advance()
		m.name = p.name("a relation")
		p.take(tokenColon, "the types of a relation's subjects follow its name after a colon, as in `relation owner: user`")
		m.types = p.subjects()
	case word == "permission":
		m.kind = linePermission
		p.advance()
		m.name = p.name("a permission")
		if p.accept(tokenColon) {
			m.bounds = append(m.bounds, p.path("a type"))
			for p.accept(tokenPipe) {
				m.bounds = append(m.bounds, p.path("a type"))
			}
		}
		p.take(tokenEquals, "the expression of a permission follows its name after =, as in `permission view = owner`")
		m.expr = p.expression(0)
	case p.tok.kind == tokenEllipsis && p.file.uses[usePartial]:
		m.kind = lineSpread
		p.advance()
		m.name = p.path("a partial")
	case p.tok.kind == tokenEllipsis:
		p.fail(p.tok.span, "partials need the line `use partial` at the top of the schema")
	case p.tok.kind == tokenPlus || p.tok.kind == tokenAnd || p.tok.kind == tokenMinus || p.tok.kind == tokenPipe:
		p.fail(p.tok.span, "a line cannot begin with %q: an operator that continues a statement stands at the end of the line before", p.tok.kind)
	default:
		p.unexpected("a definition consists of `relation` and `permission` lines")
	}
	return m
}

func (p *parser) subjects() []subject {
	var all []subject
	for {
		all = append(all, p.subject())
		if !p.accept(tokenPipe) {
			return all
		}
	}
}

func (p *parser) subject() subject {
	n := p.path("a type")
	s := subject{AllowedType: AllowedType{Type: n.text}, span: n.span, name: n.span}
	switch {
	case p.accept(tokenColon):
		star := p.take(tokenStar, "a colon after a type is followed by * for every object of the type")
		s.Wildcard, s.span = true, s.to(star.span)
	case p.accept(tokenHash):
		if t := p.tok; p.accept(tokenEllipsis) {
			s.span = s.to(t.span)
			break
		}
		r := p.name("a relation or permission")
		s.Relation, s.relation, s.span = r.text, r.span, s.to(r.span)
	}
	if p.word() != "with" {
		return s
	}
	p.advance()
	expires := p.file.uses[useExpiration]
	if t := p.tok; expires && p.word() == useExpiration {
		p.advance()
		s.Expiration, s.span = true, s.to(t.span)
		if p.word() == "and" {
			p.fail(p.tok.span, "the caveat comes first: `with the_caveat and expiration`")
		}
		return s
	}
	c := p.path("a caveat")
	s.Caveat, s.caveat, s.span = c.text, c.span, s.to(c.span)
	if p.word() != "and" {
		return s
	}
	if !expires {
		p.fail(p.tok.span, "expiration needs the line `use expiration` at the top of the schema")
	}
	p.advance()
	if p.word() != useExpiration {
		p.unexpected("a subject has one caveat at most, and `and` is followed by `expiration`")
	}
	s.Expiration, s.span = true, s.to(p.tok.span)
	p.advance()
	return s
}

func (p *parser) condition(comment string) *condition {
	p.advance()
	c := &condition{name: p.path("a caveat"), comment: comment}
	p.take(tokenOpen, "the parameters of a caveat follow its name in parentheses")
	for {
		q := parameter{name: p.name("a parameter")}
		q.typ = p.parameterType(0)
		if slices.ContainsFunc(c.parameters, func(o parameter) bool { return o.name.text == q.name.text }) {
			p.fail(q.name.span, "parameter %q stands here twice", q.name.text)
		}
		c.parameters = append(c.parameters, q)
		if !p.accept(tokenComma) {
			break
		}
	}
	p.take(tokenClose, "the parameters of a caveat end with )")
	if p.tok.kind != tokenOpenBrace {
		p.unexpected("the expression of a caveat stands in braces")
	}
	at := p.lex.expression()
	raw := p.text(at)
	c.expression.text = strings.TrimSpace(raw)
	c.expression.start = at.start + len(raw) - len(strings.TrimLeftFunc(raw, isSpace))
	c.expression.end = c.expression.start + len(c.expression.text)
	if c.expression.text == "" {
		p.fail(p.tok.span.to(span{end: at.end + 1}), "a caveat needs an expression, such as `level >= 3`")
	}
	p.advance()
	p.take(tokenCloseBrace, "the expression of a caveat ends with }")
	return c
}

func isSpace(r rune) bool { return strings.TrimSpace(string(r)) == "" }

// parameterType reads a type and writes it in the form that everybody compares.
func (p *parser) parameterType(depth int) named {
	if depth > maxTypeDepth {
		p.fail(p.tok.span, "types are nested deeper than %d here", maxTypeDepth)
	}
	t := p.take(tokenWord, "a parameter's name is followed by its type, as in `level int`")
	n := named{p.text(t.span), t.span}
	if p.accept(tokenLess) {
		inner := p.parameterType(depth + 1)
		end := p.take(tokenGreater, "a type within < ends with >")
		n.text += "<" + inner.text + ">"
		n.span = n.to(end.span)
	}
	return n
}
