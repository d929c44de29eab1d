package query

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// plainName reads a word of a list of names: one in double quotes is as it is,
// another in lower case, as Postgres folds it.
func plainName(s string, t token) (string, error) {
	piece := s[t.pos:t.end]
	switch {
	case t.kind != tokenWord:
		return "", fmt.Errorf("%q is not a name; put names with other characters than letters, digits and _ in double quotes", piece)
	case piece[0] != '"' && strings.HasSuffix(piece, `"`):
		return "", fmt.Errorf("%q is a name with escapes; write it in plain double quotes", piece)
	case piece == `""`:
		return "", errors.New("a name is empty")
	case piece[0] == '"':
		return t.text, nil
	}
	lower := []byte(piece)
	for i, c := range lower {
		if c >= 'A' && c <= 'Z' {
			lower[i] += 'a' - 'A'
		}
	}
	return string(lower), nil
}

// wordsOf splits a text into tokens, of which none is a comment.
func wordsOf(s, what string) ([]token, error) {
	if invalidUTF8(s) >= 0 {
		return nil, fmt.Errorf("%s is not UTF-8 text", what)
	}
	var out []token
	l := newLexer(s)
	for {
		t, ok := l.next()
		switch {
		case l.broken >= 0:
			return nil, fmt.Errorf("%s has a %s without an end", what, l.breaking)
		case !ok && len(out) == 0:
			return nil, fmt.Errorf("%s is empty", what)
		case !ok:
			return out, nil
		case t.kind == tokenLineComment || t.kind == tokenBlockComment:
			return nil, fmt.Errorf("%s has a comment", what)
		}
		out = append(out, t)
	}
}

// ParseTableName reads name or schema.name, each part in double quotes where
// needed. The schema is "" where none is named.
func ParseTableName(s string) (schema, name string, err error) {
	tokens, err := wordsOf(s, "the name of the table")
	if err != nil {
		return "", "", err
	}
	if len(tokens) != 1 && (len(tokens) != 3 || s[tokens[1].pos:tokens[1].end] != ".") {
		return "", "", fmt.Errorf("%q is not the name of a table: write name or schema.name, and each part in double quotes where it has other characters than letters, digits and _", clip(s))
	}
	if name, err = plainName(s, tokens[len(tokens)-1]); err == nil && len(tokens) == 3 {
		schema, err = plainName(s, tokens[0])
	}
	return schema, name, err
}

// ParseColumns reads names of columns with commas between them, each in double
// quotes where needed. A name that comes twice counts once.
func ParseColumns(s string) ([]string, error) {
	tokens, err := wordsOf(s, "the list of columns")
	if err != nil {
		return nil, err
	}
	var out []string
	for i, t := range tokens {
		if i%2 == 1 {
			if s[t.pos:t.end] != "," {
				return nil, fmt.Errorf("there is %q in the list of columns where a comma should be", s[t.pos:t.end])
			}
			continue
		}
		name, err := plainName(s, t)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	if len(tokens)%2 == 0 {
		return nil, errors.New("the list of columns ends with a comma")
	}
	return out, nil
}

// OrderItem is one column of an order.
type OrderItem struct {
	Column           string
	Desc, NullsFirst bool
}

// ParseOrderBy reads an ORDER BY list of columns, each a name with ASC or DESC and
// NULLS FIRST or NULLS LAST behind it, if anything.
func ParseOrderBy(s string, columns []string) ([]OrderItem, error) {
	tokens, err := wordsOf(s, "the order")
	if err != nil {
		return nil, err
	}
	var out []OrderItem
	at := func(i int) string {
		if i >= len(tokens) {
			return ""
		}
		return strings.ToLower(s[tokens[i].pos:tokens[i].end])
	}
	for i := 0; ; i++ {
		if i >= len(tokens) {
			return nil, errors.New("the order ends with a comma")
		}
		name, err := plainName(s, tokens[i])
		if err != nil {
			return nil, err
		}
		if !slices.Contains(columns, name) {
			return nil, fmt.Errorf("column %q does not exist, or is not one to order by", name)
		}
		item := OrderItem{Column: name}
		if i++; at(i) == "asc" || at(i) == "desc" {
			item.Desc = at(i) == "desc"
			i++
		}
		item.NullsFirst = item.Desc
		if at(i) == "nulls" {
			if at(i+1) != "first" && at(i+1) != "last" {
				return nil, errors.New("the order has NULLS without FIRST or LAST")
			}
			item.NullsFirst = at(i+1) == "first"
			i += 2
		}
		out = append(out, item)
		switch {
		case i == len(tokens):
			return out, nil
		case at(i) != ",":
			return nil, fmt.Errorf("there is %q in the order where a comma should be", at(i))
		}
	}
}

// OrderSQL writes an order of the rows of a table, by its name in the statement.
// With it, a column is never taken for one of the result.
func OrderSQL(items []OrderItem, table string) string {
	var parts []string
	for _, it := range items {
		part := quoteName(table) + "." + quoteName(it.Column)
		if it.Desc {
			part += " DESC"
		}
		if it.NullsFirst {
			part += " NULLS FIRST"
		} else {
			part += " NULLS LAST"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}
