package tuple

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// ParseError is what Parse and its kin return.
type ParseError struct {
	Text    string
	Column  int // of the first byte that does not fit, from 1
	Message string
}

func (e *ParseError) Error() string {
	return fmt.Sprintf("relationship %.200q, column %d: %s", e.Text, e.Column, e.Message)
}

// Parse reads a relationship:
//
//	document:plan#viewer@user:ana
//	document:plan#viewer@group:eng#member
//	document:plan#viewer@user:ana[office_hours:{"tz":"UTC"}][expiration:2030-01-01T00:00:00Z]
//
// White space around it is left out. The context comes out canonical; of an
// expiration, what is finer than a microsecond is cut off. The error is a
// *ParseError.
func Parse(text string) (Relationship, error) {
	p := newParser(text)
	r, err := p.relationship()
	if err != nil {
		return Relationship{}, err
	}
	if !p.end() {
		return Relationship{}, p.errorf("unexpected %s after the relationship", p.next())
	}
	return r, nil
}

// ParseObject reads an object, such as document:plan. The id may be the wildcard.
func ParseObject(text string) (Object, error) {
	p := newParser(text)
	o, err := p.object("a type")
	if err == nil && !p.end() {
		err = p.errorf("unexpected %s after the object", p.next())
	}
	if err != nil {
		return Object{}, err
	}
	return o, nil
}

// ParseSubject reads a subject, such as user:ana, user:* or group:eng#member.
func ParseSubject(text string) (Subject, error) {
	p := newParser(text)
	s, err := p.subject()
	if err == nil && !p.end() {
		err = p.errorf("unexpected %s after the subject", p.next())
	}
	if err != nil {
		return Subject{}, err
	}
	return s, nil
}

// A parser reads text from pos up to limit; the rest is white space.
type parser struct {
	text       string
	pos, limit int
}

func newParser(text string) *parser {
	trimmed := strings.TrimSpace(text)
	start := strings.Index(text, trimmed)
	return &parser{text: text, pos: start, limit: start + len(trimmed)}
}

func (p *parser) errorf(format string, args ...any) error {
	return p.errorAt(p.pos, format, args...)
}

func (p *parser) errorAt(pos int, format string, args ...any) error {
	return &ParseError{Text: p.text, Column: pos + 1, Message: fmt.Sprintf(format, args...)}
}

func (p *parser) end() bool { return p.pos == p.limit }

// next names what stands at the position.
func (p *parser) next() string {
	if p.end() {
		return "the end"
	}
	r, _ := utf8.DecodeRuneInString(p.text[p.pos:p.limit])
	return fmt.Sprintf("%q", r)
}

func (p *parser) accept(s string) bool {
	if !strings.HasPrefix(p.text[p.pos:p.limit], s) {
		return false
	}
	p.pos += len(s)
	return true
}

func (p *parser) expect(s, after string) error {
	if !p.accept(s) {
		return p.errorf("%q is expected after the %s, not %s", s, after, p.next())
	}
	return nil
}

// word takes the bytes that ok accepts, and holds them to check.
func (p *parser) word(what string, ok func(byte) bool, check func(string) error) (string, error) {
	start := p.pos
	for !p.end() && ok(p.text[p.pos]) {
		p.pos++
	}
	w := p.text[start:p.pos]
	if w == "" {
		return "", p.errorf("%s is expected, not %s", what, p.next())
	}
	if err := check(w); err != nil {
		return "", p.errorAt(start, "%v", err)
	}
	return w, nil
}

func (p *parser) relationship() (Relationship, error) {
	var r Relationship
	start := p.pos
	var err error
	if r.Resource, err = p.object("a resource type"); err != nil {
		return r, err
	}
	if r.Resource.ID == Wildcard {
		return r, p.errorAt(start, "a resource cannot be a wildcard")
	}
	if err := p.expect("#", "resource"); err != nil {
		return r, err
	}
	if r.Relation, err = p.word("a relation", isRelationByte, CheckRelation); err != nil {
		return r, err
	}
	if err := p.expect("@", "relation"); err != nil {
		return r, err
	}
	if r.Subject, err = p.subject(); err != nil {
		return r, err
	}
	err = p.traits(&r)
	return r, err
}

func (p *parser) object(what string) (Object, error) {
	typ, err := p.word(what, isTypeByte, CheckType)
	if err != nil {
		return Object{}, err
	}
	if err := p.expect(":", "type"); err != nil {
		return Object{}, err
	}
	if p.accept(Wildcard) {
		return Object{Type: typ, ID: Wildcard}, nil
	}
	id, err := p.word("an object id", isIDByte, CheckID)
	return Object{Type: typ, ID: id}, err
}

func (p *parser) subject() (Subject, error) {
	var s Subject
	var err error
	if s.Object, err = p.object("a subject type"); err != nil || !p.accept("#") {
		return s, err
	}
	if p.accept(Ellipsis) {
		return s, nil
	}
	if s.ID == Wildcard {
		return s, p.errorf("a wildcard subject has no relation")
	}
	s.Relation, err = p.word("a subject relation", isRelationByte, CheckRelation)
	return s, err
}

// traits reads the bracketed parts. A caveat may be called expiration: it is
// one unless what follows the colon is a time.
func (p *parser) traits(r *Relationship) error {
	if p.end() || p.text[p.pos] != '[' {
		return nil
	}
	if ok, err := p.expiration(r); ok || err != nil {
		return err
	}
	if err := p.caveat(r); err != nil {
		return err
	}
	if p.end() || p.text[p.pos] != '[' {
		return nil
	}
	if ok, err := p.expiration(r); ok || err != nil {
		return err
	}
	return p.errorf("only an expiration may follow the caveat")
}

func (p *parser) expiration(r *Relationship) (bool, error) {
	const opening = "[expiration:"
	rest := p.text[p.pos:p.limit]
	if !strings.HasPrefix(rest, opening) || strings.HasPrefix(rest, opening+"{") {
		return false, nil
	}
	p.pos += len(opening)
	length := strings.IndexByte(p.text[p.pos:p.limit], ']')
	if length < 0 {
		return false, p.errorf("the expiration has no closing bracket")
	}
	word := p.text[p.pos : p.pos+length]
	at, err := time.Parse(time.RFC3339Nano, word)
	if err != nil {
		return false, p.errorf("%.60q is not a time in the form 2030-01-01T00:00:00Z", word)
	}
	if err := CheckExpiration(at); err != nil {
		return false, p.errorf("%v", err)
	}
	r.Expires = Expiration(at)
	p.pos += length + 1
	return true, nil
}

func (p *parser) caveat(r *Relationship) error {
	p.pos++
	var err error
	if r.Caveat, err = p.word("a caveat name", isCaveatByte, CheckCaveat); err != nil {
		return err
	}
	if p.accept(":") {
		if r.Context, err = p.context(); err != nil {
			return err
		}
	}
	return p.expect("]", "caveat")
}

// context takes one JSON object and leaves what follows it.
func (p *parser) context() (string, error) {
	d := json.NewDecoder(strings.NewReader(p.text[p.pos:p.limit]))
	object, err := decodeObject(d)
	if err != nil {
		return "", p.errorf("%v", err)
	}
	end := p.pos + int(d.InputOffset())
	if !utf8.ValidString(p.text[p.pos:end]) {
		return "", p.errorf("the context is not UTF-8")
	}
	text, err := encodeObject(object)
	if err != nil {
		return "", p.errorf("%v", err)
	}
	p.pos = end
	return text, nil
}
