package query

import (
	"strconv"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/match"
)

// renderer writes conditions as SQL over other references to the same tables.
// What it writes is true wherever the condition is, and perhaps elsewhere; with
// exactly, it is neither.
type renderer struct {
	a       *analysis
	aliases map[int]string // of references
}

// column writes a column, or the member of it that is meant.
func (r renderer) column(c *columnRef) string {
	name := r.aliases[c.ref] + "." + quoteName(c.name)
	if c.part.Kind == match.Member {
		var path []item
		for p := range strings.SplitSeq(strings.TrimSuffix(c.part.Path, "\x00"), "\x00") {
			path = append(path, item{text: p})
		}
		return "(" + name + " OPERATOR(pg_catalog.#>>) CAST(" + quoteText(formatArray(path)) + " AS pg_catalog.text[]))"
	}
	return name
}

// bytes writes a column of text to be compared by its bytes.
func (r renderer) bytes(c *columnRef) string { return r.column(c) + ` COLLATE "C"` }

// condition writes a condition, or returns false where it cannot.
func (r renderer) condition(c *condition, exactly bool) (string, bool) {
	switch c.kind {
	case condLiteral:
		return map[truth]string{truthNull: "NULL::pg_catalog.bool", truthFalse: "false", truthTrue: "true"}[c.literal], true
	case condAnd, condOr:
		return r.connective(c, exactly)
	case condNot:
		s, ok := r.condition(c.args[0], true)
		return "(NOT " + s + ")", ok
	case condIsTrue:
		s, ok := r.condition(c.args[0], exactly)
		return "(" + s + " IS TRUE)", ok
	case condColumn:
		return r.column(c.col), true
	case condCompare:
		if c.strategy != btreeEqual && c.col.class == match.ClassText {
			return r.binary(r.bytes(c.col), c.strategy, c.right)
		}
		return r.binary(r.text(c.col), c.strategy, c.right)
	case condIn:
		return r.any(r.text(c.col), c.right)
	case condColumnNull:
		return r.null(r.column(c.col), c.literal), true
	case condValue:
		return r.scalar(c.left)
	case condValues:
		left, ok := r.scalar(c.left)
		if !ok {
			return "", false
		}
		return r.binary(left, c.strategy, c.right)
	case condValueIn:
		left, ok := r.scalar(c.left)
		if !ok {
			return "", false
		}
		return r.any(left, c.right)
	case condValueNull:
		s, ok := r.scalar(c.left)
		return r.null(s, c.literal), ok
	case condCase:
		return r.caseOf(c, exactly)
	case condLike:
		s, ok := r.scalar(c.right)
		return "(" + r.text(c.col) + " OPERATOR(pg_catalog.~~) " + s + ")", ok
	case condStarts:
		s, ok := r.scalar(c.right)
		return "pg_catalog.starts_with(" + r.text(c.col) + ", " + s + ")", ok
	case condElement:
		s, ok := r.elements(c, exactly)
		return "(" + s + comparisonOf(btreeEqual) + "ANY (" + r.column(c.col) + "))", ok
	case condContains, condOverlaps:
		s, ok := r.elements(c, exactly)
		return "(" + r.column(c.col) + " OPERATOR(pg_catalog." + map[bool]string{true: "@>", false: "&&"}[c.kind == condContains] + ") " + s + ")", ok
	}
	return "", false
}

// elements writes what an array is compared with. By another collation than the
// operator's more elements may be equal.
func (r renderer) elements(c *condition, exactly bool) (string, bool) {
	if exactly && !r.a.srv.deterministic(r.a.collation(c.col)) {
		return "", false
	}
	return r.scalar(c.right)
}

// text writes a column so that texts are equal only if their bytes are.
func (r renderer) text(c *columnRef) string {
	if !r.a.srv.deterministic(r.a.collation(c)) {
		return r.bytes(c)
	}
	return r.column(c)
}

// connective leaves out of an AND what it cannot write, unless it is exact.
func (r renderer) connective(c *condition, exactly bool) (string, bool) {
	word := " AND "
	if c.kind == condOr {
		word = " OR "
	}
	var parts []string
	for _, arg := range c.args {
		s, ok := r.condition(arg, exactly)
		switch {
		case ok:
			parts = append(parts, s)
		case exactly || c.kind == condOr:
			return "", false
		}
	}
	if len(parts) == 0 {
		return "", false
	}
	return "(" + strings.Join(parts, word) + ")", true
}

func (r renderer) caseOf(c *condition, exactly bool) (string, bool) {
	var b strings.Builder
	b.WriteString("CASE")
	last := len(c.args) - 1
	for i := 0; i < last; i += 2 {
		when, ok := r.condition(c.args[i], true)
		then, also := r.condition(c.args[i+1], exactly)
		if !ok || !also {
			return "", false
		}
		b.WriteString(" WHEN " + when + " THEN " + then)
	}
	otherwise, ok := r.condition(c.args[last], exactly)
	return b.String() + " ELSE " + otherwise + " END", ok
}

// comparisonOf returns the operator of a strategy, whatever the search_path holds.
func comparisonOf(strategy int) string {
	return " OPERATOR(pg_catalog." + [...]string{"", "<", "<=", "=", ">=", ">"}[strategy] + ") "
}

func (r renderer) binary(left string, strategy int, right *scalar) (string, bool) {
	s, ok := r.scalar(right)
	return "(" + left + comparisonOf(strategy) + s + ")", ok
}

func (r renderer) any(left string, list *scalar) (string, bool) {
	s, ok := r.scalar(list)
	return "(" + left + comparisonOf(btreeEqual) + "ANY (" + s + "))", ok
}

func (r renderer) null(s string, is truth) string {
	if is == truthFalse {
		return "(" + s + " IS NOT NULL)"
	}
	return "(" + s + " IS NULL)"
}

// scalar writes a value that parameters and constants decide.
func (r renderer) scalar(s *scalar) (string, bool) {
	if s == nil {
		return "", false
	}
	var text string
	switch s.kind {
	case scalarConst:
		text = "NULL"
		if !s.item.null {
			text = quoteText(s.item.text)
		}
	case scalarConstArray:
		text = quoteText(formatArray(s.items))
	case scalarParam:
		return "$" + strconv.Itoa(s.param+1), true
	case scalarCoalesce, scalarArray:
		var parts []string
		for _, arg := range s.args {
			p, ok := r.scalar(arg)
			if !ok {
				return "", false
			}
			parts = append(parts, p)
		}
		switch {
		case s.kind == scalarCoalesce:
			text = "COALESCE(" + strings.Join(parts, ", ") + ")"
		default:
			text = "ARRAY[" + strings.Join(parts, ", ") + "]"
		}
	case scalarConcat:
		for i, arg := range s.args {
			p, ok := r.scalar(arg)
			if !ok {
				return "", false
			}
			if i > 0 {
				text += " OPERATOR(pg_catalog.||) "
			}
			text += p
		}
	case scalarCast:
		var ok bool
		if text, ok = r.scalar(s.args[0]); !ok {
			return "", false
		}
	default:
		return "", false
	}
	return "CAST(" + text + " AS " + r.a.srv.castName(s.typ) + ")", true
}

// castName returns a type as CAST takes it, without a length.
func (s *server) castName(oid uint32) string {
	switch t := s.typ(oid); {
	case oid == oidBPChar:
		return "pg_catalog.bpchar"
	case t.element == oidBPChar:
		return "pg_catalog.bpchar[]"
	default:
		return t.name
	}
}

// quoteText writes a text constant; standard_conforming_strings is on.
func quoteText(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// strict reports whether a condition cannot be true when all its columns are
// null.
func (c *condition) strict() bool {
	switch c.kind {
	case condCompare, condIn, condColumn, condJoin, condAmong, condLike, condStarts, condElement, condContains, condOverlaps:
		return true
	case condColumnNull:
		return c.literal == truthFalse
	case condIsTrue:
		return c.args[0].strict()
	case condNot:
		// Not so of IN: null is not in an empty list.
		return c.args[0].kind == condCompare || c.args[0].kind == condColumn
	case condAnd:
		for _, arg := range c.args {
			if arg.strict() {
				return true
			}
		}
	case condOr:
		for _, arg := range c.args {
			if !arg.strict() {
				return false
			}
		}
		return true
	}
	return false
}

// nullable reports whether an outer join can replace one of its columns.
func (c *condition) nullable() bool {
	if c.col != nil && c.col.nullable {
		return true
	}
	for _, arg := range c.args {
		if arg.nullable() {
			return true
		}
	}
	return false
}
