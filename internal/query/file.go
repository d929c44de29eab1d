package query

import (
	"fmt"
	"path/filepath"
	"sort"
	"strings"
	"time"
	"unicode/utf8"
)

// File is one endpoint file, read but not yet seen by Postgres. It is
// immutable.
type File struct {
	Path  string // as given to ParseFile
	Name  string // base name without .sql
	Route Route

	TTL      time.Duration // 0 where the file does not say
	One      bool          // answers an object, not an array
	Volatile bool          // the author accepts what Postgres cannot promise
	// Key are the result columns that tell rows apart, as the file names them; nil
	// where it does not. Account is the one whose value says whose a row is, or "".
	Key     []string
	Account string

	// SQL is the statement with $1, $2 ... for the parameters, without the
	// header and without a trailing semicolon. Apart from the parameters every
	// byte is the file's own.
	SQL string
	// Params are the names of $1, $2 ... in that order.
	Params []string

	lines    lineIndex
	segments []segment
	words    []token // names, keywords and :parameters of the statement
	strings  []token // string constants of the statement
	firstPos int     // of the statement, in the file

	keyPos, accountPos int // where Key and Account are named
}

// segment says that n bytes of the SQL at pos stand in the file at src.
type segment struct{ pos, src, n int }

// ParseFile reads an endpoint file. It returns the file or all its problems.
func ParseFile(path string, src []byte) (*File, []Problem) {
	text := string(src)
	f := &File{
		Path:  path,
		Name:  strings.TrimSuffix(filepath.Base(path), ".sql"),
		lines: newLineIndex(text),
	}
	p := &fileParser{f: f, text: text, lex: newLexer(text)}
	if i := invalidUTF8(text); i >= 0 {
		p.problem(i, "save the file as UTF-8", "the file is not UTF-8 text")
		return nil, p.problems
	}
	p.read()
	p.header()
	p.statement()
	if len(p.problems) > 0 {
		return nil, sortProblems(p.problems)
	}
	return f, nil
}

func invalidUTF8(s string) int {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return -1
	}
	for i, r := range s {
		if _, n := utf8.DecodeRuneInString(s[i:]); r == utf8.RuneError && n == 1 || r == 0 {
			return i
		}
	}
	return -1
}

// fileParser holds what ParseFile knows so far.
type fileParser struct {
	f        *File
	text     string
	lex      *lexer
	head     []token // comments before the statement
	body     []token // from its first token to its last
	problems []Problem
}

func (p *fileParser) problem(pos int, hint, format string, args ...any) {
	line, col := p.f.lines.at(pos)
	p.problems = append(p.problems, Problem{
		File: p.f.Path, Line: line, Column: col, Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

// read splits the file into header and statement.
func (p *fileParser) read() {
	ended := false // a semicolon came
	for {
		t, ok := p.lex.next()
		if !ok {
			break
		}
		switch {
		case t.kind == tokenLineComment || t.kind == tokenBlockComment:
			if len(p.body) == 0 {
				p.head = append(p.head, t)
			} else {
				p.misplaced(t)
			}
		case t.kind == tokenSemicolon:
			ended = len(p.body) > 0
		case ended:
			p.problem(t.pos, "keep one SELECT per file", "an endpoint is one statement, and another begins here")
			return
		default:
			p.body = append(p.body, t)
		}
	}
	if p.lex.broken >= 0 {
		p.problem(p.lex.broken, "", "this %s has no end", p.lex.breaking)
	}
}

// statement rewrites the parameters.
func (p *fileParser) statement() {
	f := p.f
	if len(p.body) == 0 {
		p.problem(0, "write a SELECT below the header", "the file has no statement")
		return
	}
	first, end := p.body[0].pos, p.body[len(p.body)-1].end
	f.firstPos = first
	numbers := map[string]int{}
	var b strings.Builder
	from := first
	copyTo := func(to int) {
		if to > from {
			f.segments = append(f.segments, segment{pos: b.Len(), src: from, n: to - from})
			b.WriteString(p.text[from:to])
		}
		from = to
	}
	for _, t := range p.body {
		switch t.kind {
		case tokenWord:
			f.words = append(f.words, t)
		case tokenString:
			f.strings = append(f.strings, t)
		case tokenPosition:
			p.problem(t.pos, "write :name, and the parameter comes from the path or the query string",
				"%s is a numbered parameter", p.text[t.pos:t.end])
		case tokenParam:
			f.words = append(f.words, token{pos: t.pos, text: ":" + t.text})
			copyTo(t.pos)
			n := numbers[t.text]
			if n == 0 {
				n = len(numbers) + 1
				numbers[t.text] = n
				f.Params = append(f.Params, t.text)
				if strings.HasPrefix(strings.ToLower(t.text), reservedPrefix) {
					p.problem(t.pos, "choose another name", "parameter names that begin with %s are tidemark's own", reservedPrefix)
				}
			}
			// A name may touch the colon, and a$1 would be one identifier.
			if t.pos > first && isNamePart(p.text[t.pos-1]) {
				b.WriteByte(' ')
			}
			f.segments = append(f.segments, segment{pos: b.Len(), src: t.pos})
			fmt.Fprintf(&b, "$%d", n)
			from = t.end
		}
	}
	copyTo(end)
	f.SQL = b.String()
	for _, name := range f.Route.params() {
		if numbers[name] == 0 {
			line, col := f.lines.at(p.routePos())
			p.problems = append(p.problems, Problem{
				File: f.Path, Line: line, Column: col,
				Message: fmt.Sprintf("the path has {%s}, and the statement does not use :%s", name, name),
				Hint:    fmt.Sprintf("use :%s in the statement or take it out of the path", name),
			})
		}
	}
}

// routePos is where the route line stands.
func (p *fileParser) routePos() int {
	for _, t := range p.head {
		if t.kind == tokenLineComment {
			return t.pos
		}
	}
	return 0
}

// Position returns the line and column in the file, from 1, of a byte of SQL.
func (f *File) Position(pos int) (line, column int) {
	src := f.firstPos
	for _, s := range f.segments {
		if s.pos > pos {
			break
		}
		src = s.src + min(pos-s.pos, s.n)
	}
	return f.lines.at(src)
}

// characterPosition is Position for a count of characters from 1, as Postgres
// reports where an error is.
func (f *File) characterPosition(n int) (line, column int) {
	pos := 0
	for i := range f.SQL {
		pos = i
		if n--; n <= 0 {
			break
		}
	}
	return f.Position(pos)
}

// mention returns where the statement first uses a name, or where it begins.
func (f *File) mention(name string) (line, column int) {
	for _, t := range f.words {
		if t.text == name {
			return f.lines.at(t.pos)
		}
	}
	return f.lines.at(f.firstPos)
}

// lineIndex turns offsets into lines and columns, of characters, from 1.
type lineIndex struct {
	text   string
	starts []int
}

func newLineIndex(text string) lineIndex {
	l := lineIndex{text: text, starts: []int{0}}
	for i := 0; i < len(text); i++ {
		if text[i] == '\n' {
			l.starts = append(l.starts, i+1)
		}
	}
	return l
}

func (l lineIndex) at(pos int) (line, column int) {
	pos = min(pos, len(l.text))
	line = sort.SearchInts(l.starts, pos+1)
	return line, utf8.RuneCountInString(l.text[l.starts[line-1]:pos]) + 1
}
