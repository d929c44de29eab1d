package mapping

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Select returns the statement by which Postgres says what relationships the
// table means: resource_type, resource_id, relation, subject_type, subject_id,
// subject_relation, caveat, context and expires, one row for each row of the
// table that means one.
//
// What there is not is an empty text: relation of the subject, caveat, context. A
// context is JSON, not canonical; expires is in microseconds, null for never. The
// session has to have the settings of query.Settings.
func (r *Rule) Select() string {
	p := &r.parts
	return fmt.Sprintf(`SELECT %s AS resource_type, resource_id, %s AS relation, %s AS subject_type, subject_id, `+
		`%s AS subject_relation, %s AS caveat, context, %s AS expires FROM %s AS mapped WHERE %s`,
		constant(p.resourceType), constant(p.relation), constant(p.subjectType), constant(p.subjectRelation), constant(r.caveat),
		microseconds, r.rows(), r.valid())
}

// Invalid returns a statement for the rows that would mean a relationship that
// could not be written: resource_id, subject_id, expires as text or null, and
// reason.
func (r *Rule) Invalid() string {
	reason := "''"
	for _, c := range r.checks() {
		reason = fmt.Sprintf("CASE WHEN NOT %s THEN %s ELSE %s END", c.valid, constant(c.reason), reason)
	}
	return fmt.Sprintf("SELECT resource_id, subject_id, expires::text, %s AS reason FROM %s AS mapped WHERE NOT (%s)", reason, r.rows(), r.valid())
}

// microseconds never gives 0, which stands for never in a relationship.
const microseconds = `CASE WHEN isfinite(expires) THEN coalesce(nullif((extract(epoch FROM expires) * 1000000)::bigint, 0), -1) END`

// What is wrong with a row.
const (
	badResource = "the resource's id is not one: it has 1 to 1024 letters, digits and / _ | - = +"
	badSubject  = "the subject's id is not one: it has 1 to 1024 letters, digits and / _ | - = +"
	badExpires  = "the expiration is not between the years 1 and 9999"
)

type check struct{ valid, reason string }

// checks are true or false of every row of rows, never null.
func (r *Rule) checks() []check {
	id := func(column string) string {
		return fmt.Sprintf(`(octet_length(%s) <= 1024 AND %s COLLATE "C" ~ '^[A-Za-z0-9/_|=+-]+$')`, column, column)
	}
	var out []check
	if len(r.parts.resourceID.columns) > 0 {
		out = append(out, check{id("resource_id"), badResource})
	}
	if len(r.parts.subjectID.columns) > 0 {
		out = append(out, check{id("subject_id"), badSubject})
	}
	if r.expires != "" {
		out = append(out, check{
			`(expires IS NULL OR expires = 'infinity' OR expires >= '0001-01-01' AND expires < '10000-01-01')`, badExpires,
		})
	}
	return out
}

func (r *Rule) valid() string {
	var all []string
	for _, c := range r.checks() {
		all = append(all, c.valid)
	}
	if all == nil {
		return "true"
	}
	return strings.Join(all, " AND ")
}

// rows returns a FROM item with resource_id, subject_id, context and expires of
// the rows that pass. The condition is alone in its parentheses, as it was
// analysed.
func (r *Rule) rows() string {
	from := "SELECT * FROM " + r.table
	if strings.TrimSpace(r.where) != "" {
		from += " WHERE (\n" + r.where + "\n)"
	}
	expires := "NULL::timestamptz"
	if r.expires != "" {
		expires = column(r.expires)
	}
	known := []string{"true"}
	for _, c := range r.idColumns() {
		known = append(known, column(c)+" IS NOT NULL")
	}
	return fmt.Sprintf("(SELECT %s AS resource_id, %s AS subject_id, %s AS context, %s AS expires FROM (%s) AS r WHERE %s)",
		r.parts.resourceID.sql(), r.parts.subjectID.sql(), r.contextSQL(), expires, from, strings.Join(known, " AND "))
}

// sql concatenates by the types' output functions, which is what the log has. A
// cast to text is another thing for some types.
func (t *template) sql() string {
	if len(t.columns) == 0 {
		return constant(t.literals[0])
	}
	var parts []string
	for i, l := range t.literals {
		if l != "" {
			parts = append(parts, constant(l))
		}
		if i < len(t.columns) {
			parts = append(parts, column(t.columns[i]))
		}
	}
	return "concat(" + strings.Join(parts, ", ") + ")"
}

// contextSQL writes a JSON object without the parameters of which a column is
// null.
func (r *Rule) contextSQL() string {
	if len(r.context) == 0 {
		return "''"
	}
	var parts []string
	for _, e := range r.context {
		name := jsonString(e.name) + ":"
		if e.value == nil {
			parts = append(parts, constant(name+e.constant))
			continue
		}
		value := e.value.sql()
		if c, ok := e.value.lone(); ok {
			value = column(c)
		}
		var known []string
		for _, c := range e.value.columns {
			known = append(known, column(c)+" IS NOT NULL")
		}
		parts = append(parts, fmt.Sprintf("CASE WHEN %s THEN %s || to_json(%s)::text END", strings.Join(known, " AND "), constant(name), value))
	}
	return "concat('{', concat_ws(',', " + strings.Join(parts, ", ") + "), '}')"
}

func column(name string) string { return "r." + pgx.Identifier{name}.Sanitize() }

// constant writes a text as SQL, for standard_conforming_strings.
func constant(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'::text" }
