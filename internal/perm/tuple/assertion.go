package tuple

import "strings"

// ParseWith reads a line of a validation file's assertions: a relationship
// without traits whose relation may be a permission, and perhaps the context of
// the check:
//
//	document:plan#view@user:ana with {"tz": "UTC"}
//
// The context comes out canonical. The error is a *ParseError.
func ParseWith(text string) (r Relationship, context string, err error) {
	p := newParser(text)
	if r, err = p.relationship(); err != nil {
		return Relationship{}, "", err
	}
	if r != r.Key() {
		return Relationship{}, "", p.errorf("an assertion has no caveat and no expiration; what the check is told follows the word with")
	}
	if p.end() {
		return r, "", nil
	}
	rest := strings.TrimLeft(p.text[p.pos:p.limit], " \t")
	after, ok := strings.CutPrefix(rest, "with")
	if !ok || rest == p.text[p.pos:p.limit] {
		return Relationship{}, "", p.errorf("the word with is expected, or the end, not %.20q", rest)
	}
	p.pos = p.limit - len(strings.TrimLeft(after, " \t"))
	if context, err = p.context(); err != nil {
		return Relationship{}, "", err
	}
	if !p.end() {
		return Relationship{}, "", p.errorf("unexpected %s after the context", p.next())
	}
	return r, context, nil
}
