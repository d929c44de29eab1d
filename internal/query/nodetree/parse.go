package nodetree

import (
	"fmt"
	"strconv"
	"strings"
)

// maxDepth bounds the nesting that Parse follows. Postgres itself refuses
// expressions that exceed its stack, at far less than this.
const maxDepth = 4096

// Error says where a text is not a node tree.
type Error struct {
	Offset int
	Reason string
}

func (e *Error) Error() string {
	return fmt.Sprintf("node tree at byte %d: %s", e.Offset, e.Reason)
}

// Parse reads one value, usually a list of QUERY nodes.
func Parse(text string) (Value, error) {
	p := &parser{text: text}
	v, err := p.value(0)
	if err != nil {
		return Value{}, err
	}
	if t, _ := p.next(); t != "" {
		return Value{}, p.fail("text after the end")
	}
	return v, nil
}

type parser struct {
	text string
	pos  int
	mark int // where the token read last starts
}

func (p *parser) fail(format string, args ...any) error {
	return &Error{Offset: p.mark, Reason: fmt.Sprintf(format, args...)}
}

// next reads one token by the rules of pg_strtok: brackets stand alone, others
// run to a blank or bracket, a backslash takes the next character as it is. It
// returns the raw token, "" at the end; quoted says that it had a backslash.
func (p *parser) next() (tok string, escaped bool) {
	for p.pos < len(p.text) && isBlank(p.text[p.pos]) {
		p.pos++
	}
	p.mark = p.pos
	if p.pos == len(p.text) {
		return "", false
	}
	if isBracket(p.text[p.pos]) {
		p.pos++
		return p.text[p.mark:p.pos], false
	}
	for p.pos < len(p.text) && !isBlank(p.text[p.pos]) && !isBracket(p.text[p.pos]) {
		if p.text[p.pos] == '\\' && p.pos+1 < len(p.text) {
			escaped = true
			p.pos++
		}
		p.pos++
	}
	return p.text[p.mark:p.pos], escaped
}

// peek returns the next token without taking it.
func (p *parser) peek() string {
	pos, mark := p.pos, p.mark
	tok, _ := p.next()
	p.pos, p.mark = pos, mark
	return tok
}

func (p *parser) value(depth int) (Value, error) {
	if depth > maxDepth {
		return Value{}, p.fail("nested too deeply")
	}
	tok, escaped := p.next()
	switch {
	case tok == "":
		return Value{}, p.fail("unexpected end")
	case tok == "{":
		n, err := p.node(depth)
		return Value{Kind: Struct, Node: n}, err
	case tok == "(":
		return p.list(depth)
	case tok == ")" || tok == "}":
		return Value{}, p.fail("unexpected %q", tok)
	case tok == "<>":
		return Value{}, nil
	case len(tok) >= 2 && tok[0] == '"' && tok[len(tok)-1] == '"':
		return Value{Kind: String, Text: unescape(tok[1:len(tok)-1], escaped)}, nil
	}
	return Value{Kind: Atom, Text: unescape(tok, escaped)}, nil
}

func (p *parser) node(depth int) (*Node, error) {
	tag, escaped := p.next()
	if tag == "" || isBracket(tag[0]) {
		return nil, p.fail("a node without a tag")
	}
	n := &Node{Tag: unescape(tag, escaped)}
	for {
		name, _ := p.next()
		switch {
		case name == "}":
			return n, nil
		case name == "":
			return nil, p.fail("a node without an end")
		case name[0] != ':':
			return nil, p.fail("%q where a field is due", name)
		}
		// Exactly one value follows a field name, and it may itself begin with a
		// colon: an alias can be called anything.
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		if p.peek() == "[" {
			if v, err = p.datum(); err != nil {
				return nil, err
			}
		}
		n.Fields = append(n.Fields, Field{Name: name[1:], Value: v})
		// Some fields of plan nodes are written as several bare tokens. Queries
		// have none; should a later version add one, its rest is passed over.
		for t := p.peek(); t != "" && t[0] != ':' && !isBracket(t[0]); t = p.peek() {
			p.next()
		}
	}
}

func (p *parser) list(depth int) (Value, error) {
	switch t := p.peek(); t {
	case "i", "o", "x", "b":
		p.next()
		return p.ints()
	}
	v := Value{Kind: List}
	for p.peek() != ")" {
		it, err := p.value(depth + 1)
		if err != nil {
			return Value{}, err
		}
		v.Items = append(v.Items, it)
	}
	p.next()
	return v, nil
}

func (p *parser) ints() (Value, error) {
	v := Value{Kind: Ints}
	for {
		tok, _ := p.next()
		if tok == ")" {
			return v, nil
		}
		i, err := strconv.ParseInt(tok, 10, 64)
		if err != nil {
			return Value{}, p.fail("%q in a list of numbers", tok)
		}
		v.Ints = append(v.Ints, i)
	}
}

// datum reads "[ 50 0 -1 ]". The numbers are chars of the server's platform,
// signed on some and unsigned on others.
func (p *parser) datum() (Value, error) {
	p.next()
	v := Value{Kind: Datum, Bytes: []byte{}}
	for {
		tok, _ := p.next()
		if tok == "]" {
			return v, nil
		}
		i, err := strconv.Atoi(tok)
		if err != nil || i < -128 || i > 255 {
			return Value{}, p.fail("%q in the bytes of a constant", tok)
		}
		v.Bytes = append(v.Bytes, byte(i))
	}
}

func unescape(s string, escaped bool) string {
	if !escaped {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isBlank(c byte) bool { return c == ' ' || c == '\n' || c == '\t' }

func isBracket(c byte) bool { return c == '(' || c == ')' || c == '{' || c == '}' }
