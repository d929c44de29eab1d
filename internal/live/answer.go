package live

import (
	"bytes"
	"fmt"
)

// SplitAnswer reads the JSON of an answer, an array of rows or one row, and calls
// yield with the values of each row, in the order of columns. Each row is to be an
// object with exactly these members, in this order, names that occur twice
// included. A value is a part of body with the white space around it, as JSON; the
// slice of them is valid during the call.
//
// All of body is checked to be JSON. It needs room for one row, and a byte for each
// level of the deepest value.
func SplitAnswer(body []byte, columns []string, yield func(row [][]byte) error) error {
	s := splitter{text: body, columns: columns, names: make([][]byte, len(columns)), row: make([][]byte, len(columns))}
	for i, c := range columns {
		s.names[i] = appendQuoted(nil, c)
	}
	err := s.answer(yield)
	if _, ok := err.(syntaxError); ok {
		return fmt.Errorf("the answer cannot be read at byte %d: %w", s.pos, err)
	}
	return err
}

type splitter struct {
	text    []byte
	pos     int
	columns []string
	names   [][]byte // of the columns in JSON, as they mostly are
	row     [][]byte
	open    []byte // of a value: { or [ for each level
}

type syntaxError string

func (e syntaxError) Error() string { return string(e) }

func (s *splitter) answer(yield func([][]byte) error) error {
	s.space()
	if s.peek() != '[' {
		if err := s.object(yield); err != nil {
			return err
		}
		return s.end()
	}
	s.pos++
	if s.space(); s.peek() == ']' {
		s.pos++
		return s.end()
	}
	for {
		s.space()
		if err := s.object(yield); err != nil {
			return err
		}
		s.space()
		switch s.peek() {
		case ',':
			s.pos++
		case ']':
			s.pos++
			return s.end()
		default:
			return syntaxError("an array goes on with neither a comma nor its end")
		}
	}
}

func (s *splitter) end() error {
	if s.space(); s.pos < len(s.text) {
		return syntaxError("something comes after it")
	}
	return nil
}

func (s *splitter) object(yield func([][]byte) error) error {
	if s.peek() != '{' {
		return syntaxError("a row is not an object")
	}
	s.pos++
	for i := range s.names {
		if i > 0 {
			if s.peek() != ',' {
				return syntaxError("a row has fewer members than the endpoint has columns")
			}
			s.pos++
		}
		if err := s.name(i); err != nil {
			return err
		}
		from := s.pos
		if err := s.value(); err != nil {
			return err
		}
		s.row[i] = s.text[from:s.pos:s.pos]
	}
	if len(s.names) == 0 {
		s.space()
	}
	if s.peek() != '}' {
		return syntaxError("a row has more members than the endpoint has columns")
	}
	s.pos++
	return yield(s.row)
}

func (s *splitter) name(i int) error {
	s.space()
	from := s.pos
	if err := s.string(); err != nil {
		return err
	}
	if got := s.text[from:s.pos]; !bytes.Equal(got, s.names[i]) {
		if name, err := appendDecoded(nil, got); err != nil || string(name) != s.columns[i] {
			s.pos = from
			return syntaxError("a member is not the column of its place")
		}
	}
	s.space()
	if s.peek() != ':' {
		return syntaxError("a member has no value")
	}
	s.pos++
	return nil
}

// value passes over one value and the white space around it.
func (s *splitter) value() error {
	for s.open = s.open[:0]; ; {
		s.space()
		switch c := s.peek(); c {
		case '{', '[':
			s.pos++
			if s.space(); s.peek() == c+2 { // its end
				s.pos++
				break
			}
			s.open = append(s.open, c)
			if c == '{' {
				if err := s.member(); err != nil {
					return err
				}
			}
			continue
		case '"':
			if err := s.string(); err != nil {
				return err
			}
		default:
			if err := s.scalar(); err != nil {
				return err
			}
		}
		if s.space(); len(s.open) == 0 {
			return nil
		}
		if again, err := s.after(); err != nil || !again {
			return err
		}
	}
}

// after passes over what follows a value inside another one. It reports whether
// another value comes, and otherwise that the outermost one is over.
func (s *splitter) after() (bool, error) {
	for {
		last := s.open[len(s.open)-1]
		switch c := s.peek(); {
		case c == ',' && last == '{':
			s.pos++
			return true, s.member()
		case c == ',':
			s.pos++
			return true, nil
		case c == last+2:
			s.pos++
			s.open = s.open[:len(s.open)-1]
			if s.space(); len(s.open) == 0 {
				return false, nil
			}
		default:
			return false, syntaxError("a value goes on with neither a comma nor its end")
		}
	}
}

func (s *splitter) member() error {
	s.space()
	if err := s.string(); err != nil {
		return err
	}
	if s.space(); s.peek() != ':' {
		return syntaxError("a member has no value")
	}
	s.pos++
	return nil
}

func (s *splitter) peek() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return 0
}

func (s *splitter) space() {
	for s.pos < len(s.text) && isJSONSpace(s.text[s.pos]) {
		s.pos++
	}
}

func isJSONSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

func (s *splitter) string() error {
	if s.peek() != '"' {
		return syntaxError("there is no string where one has to be")
	}
	for s.pos++; s.pos < len(s.text); {
		switch c := s.text[s.pos]; {
		case c == '"':
			s.pos++
			return nil
		case c < ' ':
			return syntaxError("a string holds a control character")
		case c == '\\':
			n := escapeLength(s.text[s.pos:])
			if n == 0 {
				return syntaxError("a backslash in a string means nothing")
			}
			s.pos += n
		default:
			s.pos++
		}
	}
	return syntaxError("a string has no end")
}

// escapeLength returns the length of the escape that s begins with, or 0.
func escapeLength(s []byte) int {
	if len(s) < 2 {
		return 0
	}
	switch s[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hexUnit(s); ok {
			return 6
		}
	}
	return 0
}

// scalar passes over a number, true, false or null.
func (s *splitter) scalar() error {
	rest := s.text[s.pos:]
	for _, w := range [...]string{"null", "true", "false"} {
		if bytes.HasPrefix(rest, []byte(w)) {
			s.pos += len(w)
			return nil
		}
	}
	n := numberLength(rest)
	if n == 0 {
		return syntaxError("there is no value where one has to be")
	}
	s.pos += n
	return nil
}

// numberLength returns the length of the number that s begins with, or 0.
func numberLength(s []byte) int {
	n := 0
	digits := func() bool {
		from := n
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		return n > from
	}
	is := func(a, b byte) bool { return n < len(s) && (s[n] == a || s[n] == b) }
	if is('-', '-') {
		n++
	}
	if is('0', '0') {
		n++
	} else if !digits() {
		return 0
	}
	if is('.', '.') {
		if n++; !digits() {
			return 0
		}
	}
	if is('e', 'E') {
		if n++; is('+', '-') {
			n++
		}
		if !digits() {
			return 0
		}
	}
	return n
}
