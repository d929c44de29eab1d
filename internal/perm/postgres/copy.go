package postgres

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"unsafe"

	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// copyReader reads the text format of COPY with nine columns: a relationship's
// six, caveat, context, and the expiration in microseconds. What it adds has
// texts that are only good during the call.
type copyReader struct {
	add     func(tuple.Relationship) error
	ignored func(why error)
	count   *atomic.Int64
	names   names
	rest    []byte // the beginning of a line
	room    []byte // for fields with escapes
}

const copyColumns = 9

// Write implements io.Writer. It is given whole messages, but does not rest on
// their being lines.
func (c *copyReader) Write(p []byte) (int, error) {
	n, lines := len(p), int64(0)
	if len(c.rest) > 0 {
		p = append(c.rest, p...)
	}
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			c.rest = append(c.rest[:0:0], p...)
			c.count.Add(lines)
			return n, nil
		}
		if err := c.line(p[:i]); err != nil {
			return 0, err
		}
		lines++
		p = p[i+1:]
	}
}

func (c *copyReader) end() error {
	if len(c.rest) > 0 {
		return io.ErrUnexpectedEOF
	}
	return nil
}

func (c *copyReader) line(line []byte) error {
	var fields [copyColumns][]byte
	c.room = c.room[:0]
	for i := range fields {
		field := line
		if i < copyColumns-1 {
			end := bytes.IndexByte(line, '\t')
			if end < 0 {
				return fmt.Errorf("a row of the wrong width: %q", line)
			}
			field, line = line[:end], line[end+1:]
		}
		if bytes.IndexByte(field, '\\') >= 0 {
			field = c.unescape(field)
		}
		fields[i] = field
	}
	r := tuple.Relationship{
		Resource: tuple.Object{Type: c.names.of(fields[0]), ID: text(fields[1])},
		Relation: c.names.of(fields[2]),
		Subject:  tuple.Subject{Object: tuple.Object{Type: c.names.of(fields[3]), ID: text(fields[4])}, Relation: c.names.of(fields[5])},
		Caveat:   c.names.of(fields[6]), Context: text(fields[7]),
	}
	if len(fields[8]) > 0 {
		var err error
		if r.Expires, err = strconv.ParseInt(text(fields[8]), 10, 64); err != nil {
			return fmt.Errorf("an expiration: %w", err)
		}
	}
	if err := c.names.meant(&r); err != nil {
		c.ignored(err)
		return nil
	}
	return c.add(r)
}

// text is a string that is good as long as the bytes do not change.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// unescape reads a field of COPY's text format; null is nil. The result is good
// until the next line.
func (c *copyReader) unescape(s []byte) []byte {
	if string(s) == `\N` {
		return nil
	}
	start := len(c.room)
	for i := 0; i < len(s); i++ {
		b := s[i]
		if b == '\\' && i+1 < len(s) {
			i++
			switch b = s[i]; b {
			case 'b':
				b = '\b'
			case 'f':
				b = '\f'
			case 'n':
				b = '\n'
			case 'r':
				b = '\r'
			case 't':
				b = '\t'
			case 'v':
				b = '\v'
			}
		}
		c.room = append(c.room, b)
	}
	return c.room[start:len(c.room):len(c.room)]
}
