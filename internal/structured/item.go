// Package structured parses Structured Field items of RFC 9651, the syntax of
// the Tidemark-Consistency header. The package is pure.
package structured

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Token is a bare token, as opposed to a quoted string.
type Token string

// Date is a date in seconds since 1970.
type Date int64

// Param is one parameter of an item.
type Param struct {
	Key   string
	Value any
}

// Item is one bare item with its parameters. Value is int64, float64, string,
// Token, []byte, bool or Date; display strings are string.
type Item struct {
	Value  any
	Params []Param
}

// Param returns the value of a parameter, and whether it is there.
func (it *Item) Param(key string) (any, bool) {
	for _, p := range it.Params {
		if p.Key == key {
			return p.Value, true
		}
	}
	return nil, false
}

// ParseItem parses a field whose value is one item (RFC 9651, section 4.2).
func ParseItem(s string) (Item, error) {
	p := parser{s: s}
	p.spaces()
	var it Item
	var err error
	if it.Value, err = p.bare(); err != nil {
		return Item{}, err
	}
	if it.Params, err = p.params(); err != nil {
		return Item{}, err
	}
	p.spaces()
	if p.i < len(p.s) {
		return Item{}, p.errorf("unexpected text after the item")
	}
	return it, nil
}

type parser struct {
	s string
	i int
}

func (p *parser) errorf(format string, args ...any) error {
	return fmt.Errorf("at character %d: %s", p.i+1, fmt.Sprintf(format, args...))
}

func (p *parser) peek() byte {
	if p.i < len(p.s) {
		return p.s[p.i]
	}
	return 0
}

func (p *parser) spaces() {
	for p.peek() == ' ' {
		p.i++
	}
}

func (p *parser) bare() (any, error) {
	c := p.peek()
	switch {
	case c == '-' || isDigit(c):
		return p.number()
	case c == '"':
		return p.quoted()
	case c == '*' || isAlpha(c):
		return p.token(), nil
	case c == ':':
		return p.binary()
	case c == '?':
		return p.boolean()
	case c == '@':
		p.i++
		v, err := p.number()
		if err != nil {
			return nil, err
		}
		n, ok := v.(int64)
		if !ok {
			return nil, p.errorf("a date is a whole number")
		}
		return Date(n), nil
	case c == '%':
		return p.display()
	case p.i >= len(p.s):
		return nil, p.errorf("a value is missing")
	}
	return nil, p.errorf("no value begins with %q", c)
}

func (p *parser) params() ([]Param, error) {
	var out []Param
	for p.peek() == ';' {
		p.i++
		p.spaces()
		key, err := p.key()
		if err != nil {
			return nil, err
		}
		var v any = true
		if p.peek() == '=' {
			p.i++
			if v, err = p.bare(); err != nil {
				return nil, err
			}
		}
		// The last of several parameters with one key counts.
		replaced := false
		for i := range out {
			if out[i].Key == key {
				out[i].Value, replaced = v, true
			}
		}
		if !replaced {
			out = append(out, Param{key, v})
		}
	}
	return out, nil
}

func (p *parser) key() (string, error) {
	start := p.i
	if c := p.peek(); c != '*' && (c < 'a' || c > 'z') {
		return "", p.errorf("a parameter's name begins with a lower-case letter or *")
	}
	for {
		c := p.peek()
		if c >= 'a' && c <= 'z' || isDigit(c) || c == '_' || c == '-' || c == '.' || c == '*' {
			p.i++
			continue
		}
		return p.s[start:p.i], nil
	}
}

func (p *parser) number() (any, error) {
	start := p.i
	if p.peek() == '-' {
		p.i++
	}
	digits := p.i
	for isDigit(p.peek()) {
		p.i++
	}
	whole := p.i - digits
	if whole == 0 {
		return nil, p.errorf("a digit is missing")
	}
	if p.peek() != '.' {
		if whole > 15 {
			return nil, p.errorf("a whole number has at most 15 digits")
		}
		return strconv.ParseInt(p.s[start:p.i], 10, 64)
	}
	p.i++
	frac := p.i
	for isDigit(p.peek()) {
		p.i++
	}
	if n := p.i - frac; whole > 12 || n == 0 || n > 3 {
		return nil, p.errorf("a decimal has at most 12 digits before and 1 to 3 after the point")
	}
	return strconv.ParseFloat(p.s[start:p.i], 64)
}

func (p *parser) quoted() (any, error) {
	p.i++
	var b strings.Builder
	for p.i < len(p.s) {
		c := p.s[p.i]
		p.i++
		switch {
		case c == '"':
			return b.String(), nil
		case c == '\\':
			if n := p.peek(); n != '"' && n != '\\' {
				return nil, p.errorf(`only \" and \\ may follow a backslash`)
			}
			b.WriteByte(p.s[p.i])
			p.i++
		case c < 0x20 || c > 0x7e:
			p.i--
			return nil, p.errorf("a string holds only printable ASCII")
		default:
			b.WriteByte(c)
		}
	}
	return nil, p.errorf("the closing quote is missing")
}

func (p *parser) token() Token {
	start := p.i
	for p.i < len(p.s) {
		c := p.s[p.i]
		if !isAlpha(c) && !isDigit(c) && !strings.ContainsRune("!#$%&'*+-.^_`|~:/", rune(c)) {
			break
		}
		p.i++
	}
	return Token(p.s[start:p.i])
}

func (p *parser) binary() (any, error) {
	p.i++
	n := strings.IndexByte(p.s[p.i:], ':')
	if n < 0 {
		return nil, p.errorf("the closing colon of a byte sequence is missing")
	}
	raw := p.s[p.i : p.i+n]
	b, err := base64.StdEncoding.DecodeString(raw)
	if err != nil {
		// Padding may be absent.
		if b, err = base64.RawStdEncoding.DecodeString(raw); err != nil {
			return nil, p.errorf("a byte sequence is base64")
		}
	}
	p.i += n + 1
	return b, nil
}

func (p *parser) boolean() (any, error) {
	p.i++
	c := p.peek()
	if c != '0' && c != '1' {
		return nil, p.errorf("a boolean is ?0 or ?1")
	}
	p.i++
	return c == '1', nil
}

func (p *parser) display() (any, error) {
	if !strings.HasPrefix(p.s[p.i:], `%"`) {
		return nil, p.errorf(`a display string begins with %%"`)
	}
	p.i += 2
	var b []byte
	for p.i < len(p.s) {
		c := p.s[p.i]
		switch {
		case c == '"':
			p.i++
			if !utf8.Valid(b) {
				return nil, p.errorf("a display string is UTF-8")
			}
			return string(b), nil
		case c == '%':
			if p.i+3 > len(p.s) || !isLowerHex(p.s[p.i+1]) || !isLowerHex(p.s[p.i+2]) {
				return nil, p.errorf("%% is followed by two lower-case hex digits")
			}
			n, _ := strconv.ParseUint(p.s[p.i+1:p.i+3], 16, 8)
			b = append(b, byte(n))
			p.i += 3
		case c < 0x20 || c > 0x7e:
			return nil, p.errorf("a display string holds only printable ASCII")
		default:
			b = append(b, c)
			p.i++
		}
	}
	return nil, p.errorf("the closing quote is missing")
}

func isDigit(c byte) bool    { return c >= '0' && c <= '9' }
func isAlpha(c byte) bool    { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
func isLowerHex(c byte) bool { return isDigit(c) || c >= 'a' && c <= 'f' }
