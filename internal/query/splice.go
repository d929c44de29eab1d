package query

import (
	"slices"
	"strconv"
	"strings"
)

// clauses are where the clauses of a statement begin, in bytes; -1 where there
// is none. They are found by the lexer alone, so whoever changes a statement by
// them asks Postgres what it has become.
type clauses struct {
	from int // FROM of the outermost SELECT
	tail int // its LIMIT, OFFSET or FETCH, whichever is first
}

// outline finds the clauses of the outermost SELECT. It returns false for a
// statement that is something else, such as a UNION.
func outline(sql string) (c clauses, ok bool) {
	c = clauses{from: -1, tail: -1}
	depth, selected := 0, false
	var before string // the keyword or punctuation before the token
	for l := newLexer(sql); ; {
		t, more := l.next()
		if !more {
			return c, selected && depth == 0 && l.broken < 0
		}
		switch t.kind {
		case tokenLineComment, tokenBlockComment:
			continue
		case tokenOther:
			before = sql[t.pos:t.end]
			switch before {
			case "(", "[":
				depth++
			case ")", "]":
				depth--
			}
			continue
		case tokenWord:
		default:
			before = ""
			continue
		}
		word := keyword(sql, t)
		if depth == 0 && before != "." && before != "as" {
			switch word {
			case "select":
				selected = true
			case "from":
				// In IS DISTINCT FROM it is part of an operator.
				if selected && c.from < 0 && before != "distinct" {
					c.from = t.pos
				}
			case "union", "intersect", "except":
				return c, false
			case "limit", "offset", "fetch":
				if selected && c.tail < 0 {
					c.tail = t.pos
				}
			}
		}
		before = word
	}
}

// keyword returns the text of a word that is not quoted, in lower case.
func keyword(sql string, t token) string {
	if sql[t.end-1] == '"' {
		return ""
	}
	return t.text
}

// withTargets adds entries to the target list.
func (c clauses) withTargets(sql string, targets []string) string {
	if len(targets) == 0 {
		return sql
	}
	var b strings.Builder
	b.WriteString(sql[:c.from])
	for i, t := range targets {
		b.WriteString(", " + t + " AS " + hiddenName(i))
	}
	return b.String() + " " + sql[c.from:]
}

// withLimit replaces LIMIT and OFFSET.
func (c clauses) withLimit(sql, limit string) string {
	return sql[:c.tail] + "LIMIT " + limit + " OFFSET 0"
}

func hiddenName(i int) string { return "tidemark_" + strconv.Itoa(i+1) }

// quoteName writes a name so that it means itself.
func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// shown returns the statement that yields the rows of another one as JSON text
// and the given columns of them after it. The other's columns are to have
// different names, of which JSON has those in visible.
//
// The rows come in the other's order: Postgres scans a subquery that has an
// ORDER BY as it is, and LATERAL makes one row of each.
func shown(sql string, visible, hidden []string) string {
	var b strings.Builder
	b.WriteString("SELECT row_to_json(tidemark_row.*)::text")
	for _, h := range hidden {
		b.WriteString(", tidemark_page." + quoteName(h))
	}
	b.WriteString(" FROM (" + sql + "\n) tidemark_page CROSS JOIN LATERAL (SELECT ")
	for i, v := range visible {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("tidemark_page." + quoteName(v) + " AS " + quoteName(v))
	}
	return b.String() + ") tidemark_row"
}

// batched returns a statement that runs another one, with parameters $1, $2 ...,
// for each element of arrays of their values: its parameters are of type text[],
// and its rows begin with the number of the element, from 1. Casts are the types
// of the parameters as CAST takes them. It returns "" for a statement without
// parameters.
//
// The rows of one element are in the statement's order. A subquery with ORDER
// BY, LIMIT or WITH is planned by itself, and one that mentions the element can
// only be on the inner side of a nested loop, which reads it from its beginning
// to its end. No path of a function is a partial one, so that nothing runs in
// parallel above the loop. OFFSET 0 keeps the casts out of the statement's own
// conditions: they are made once for each element.
func batched(sql string, casts []string) string {
	if len(casts) == 0 {
		return ""
	}
	var targets, arrays, names []string
	for i, typ := range casts {
		name := batchColumn(i)
		targets = append(targets, "CAST("+name+" AS "+typ+") AS "+name)
		arrays = append(arrays, "$"+strconv.Itoa(i+1)+"::text[]")
		names = append(names, name)
	}
	var b strings.Builder
	b.WriteString("SELECT tidemark_batch.tidemark_n, tidemark_one.* FROM (SELECT " + strings.Join(targets, ", ") +
		", tidemark_n FROM unnest(" + strings.Join(arrays, ", ") + ") WITH ORDINALITY AS tidemark_text(" + strings.Join(names, ", ") +
		", tidemark_n) OFFSET 0) AS tidemark_batch CROSS JOIN LATERAL (")
	from := 0
	for l := newLexer(sql); ; {
		t, more := l.next()
		if !more {
			break
		}
		if t.kind != tokenPosition {
			continue
		}
		n, err := strconv.Atoi(sql[t.pos+1 : t.end])
		if err != nil || n < 1 || n > len(casts) {
			return ""
		}
		b.WriteString(sql[from:t.pos] + "(tidemark_batch." + batchColumn(n-1) + ")")
		from = t.end
	}
	return b.String() + sql[from:] + "\n) AS tidemark_one"
}

// batchColumn is the column of a batch that holds parameter i.
func batchColumn(i int) string { return "tidemark_a" + strconv.Itoa(i+1) }

// ArrayText returns the text form of a text[] of values; nil is NULL.
func ArrayText(values [][]byte) []byte {
	n := 2
	for _, v := range values {
		n += len(v) + 5
	}
	out := append(make([]byte, 0, n), '{')
	for i, v := range values {
		if i > 0 {
			out = append(out, ',')
		}
		if v == nil {
			out = append(out, "NULL"...)
			continue
		}
		out = append(out, '"')
		for _, c := range v {
			if c == '"' || c == '\\' {
				out = append(out, '\\')
			}
			out = append(out, c)
		}
		out = append(out, '"')
	}
	return append(out, '}')
}

// castNames returns the types of parameters as CAST takes them, or nil if a cast
// of text to one of them is not what the type's input makes of the same text:
// where the cast is somebody's own function, and for a domain with a length, to
// which an explicit cast cuts.
func (a *analysis) castNames(types []uint32) []string {
	names := column1[string](a.srv, "parameter types", `
		WITH RECURSIVE below(n, oid) AS (
			SELECT n, t FROM unnest($1::oid[]) WITH ORDINALITY u(t, n)
			UNION ALL SELECT n, typbasetype FROM below JOIN pg_type y ON y.oid = below.oid AND y.typtype = 'd')
		SELECT CASE WHEN EXISTS (
				SELECT FROM below b JOIN pg_type y ON y.oid = b.oid
				LEFT JOIN pg_cast c ON c.castsource = 'text'::regtype AND c.casttarget = b.oid
				WHERE b.n = u.n AND (y.typtype = 'd' AND y.typtypmod >= 0 OR c.castfunc >= $2
				   OR c.castmethod = 'b' AND b.oid >= $2))
			THEN '' ELSE format_type(t, -1) END
		FROM unnest($1::oid[]) WITH ORDINALITY u(t, n) ORDER BY n`, types, uint32(firstUserOID))
	if slices.Contains(names, "") {
		return nil
	}
	return names
}
