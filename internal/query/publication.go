package query

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// published checks that the log tells of every change of every table.
func (a *analysis) published(e *Endpoint, name string) []Problem {
	s := a.srv
	var ins, upd, del, trunc, viaRoot bool
	if !s.row("the publication", `
		SELECT pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot FROM pg_publication WHERE pubname = $1`,
		[]any{name}, &ins, &upd, &del, &trunc, &viaRoot) {
		if s.err != nil || len(e.Tables) == 0 {
			return nil
		}
		return []Problem{{File: a.file.Path, Message: fmt.Sprintf("there is no publication %s", name), Hint: "run tidemark init"}}
	}
	var problems []Problem
	problem := func(table, hint, format string, args ...any) {
		line, col := a.file.mention(table)
		problems = append(problems, Problem{File: a.file.Path, Line: line, Column: col, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	pub := pgx.Identifier{name}.Sanitize()
	if !ins || !upd || !del || !trunc {
		problem("", fmt.Sprintf("ALTER PUBLICATION %s SET (publish = 'insert, update, delete, truncate')", pub),
			"the publication %s leaves out some kinds of change", name)
	}
	present := map[uint32]bool{}
	for _, oid := range column1[uint32](s, "the published tables", `
		WITH RECURSIVE published(oid) AS (
			SELECT c.oid FROM pg_publication_tables t JOIN pg_namespace n ON n.nspname = t.schemaname
			JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename WHERE t.pubname = $1
			UNION SELECT i.inhrelid FROM published p JOIN pg_class r ON r.oid = p.oid AND r.relkind = 'p'
			JOIN pg_inherits i ON i.inhparent = p.oid)
		SELECT oid FROM published`, name) {
		present[oid] = true
	}
	partial := a.partial(name)
	for _, t := range e.Tables {
		oid := uint32(t.OID)
		table := pgx.Identifier{t.Schema, t.Name}.Sanitize()
		switch what := partial[oid]; {
		case what != "":
			problem(t.Name, fmt.Sprintf("ALTER PUBLICATION %s DROP TABLE %s; ALTER PUBLICATION %s ADD TABLE %s", pub, table, pub, table),
				"the publication %s has %s for the table %s, so the log leaves changes out", name, what, t)
		case !t.Partitioned && !present[oid]:
			problem(t.Name, fmt.Sprintf("ALTER PUBLICATION %s ADD TABLE %s, or run tidemark init", pub, table),
				"the table %s is not in the publication %s", t, name)
		case viaRoot && a.srv.relation(oid).partition:
			problem(t.Name, fmt.Sprintf("ALTER PUBLICATION %s SET (publish_via_partition_root = false)", pub),
				"the publication %s publishes the partition %s as its parent, and a TRUNCATE of it would be missed", name, t)
		}
	}
	return problems
}

// partial returns the tables that a publication publishes only in part, with
// what limits it. A limit of a table counts for all below it.
func (a *analysis) partial(name string) map[uint32]string {
	if a.srv.version < 150000 || a.srv.err != nil {
		return nil
	}
	out := map[uint32]string{}
	for _, v := range column1[string](a.srv, "the limits of the publication", `
		WITH RECURSIVE limited(oid, what) AS (
			SELECT r.prrelid, concat_ws(' and ', CASE WHEN r.prqual IS NOT NULL THEN 'a row filter' END,
			                                     CASE WHEN r.prattrs IS NOT NULL THEN 'a column list' END)
			FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
			WHERE p.pubname = $1 AND (r.prqual IS NOT NULL OR r.prattrs IS NOT NULL)
			UNION SELECT i.inhrelid, l.what FROM pg_inherits i JOIN limited l ON l.oid = i.inhparent)
		SELECT oid::text || ' ' || what FROM limited`, name) {
		id, what, _ := strings.Cut(v, " ")
		var oid uint32
		if _, err := fmt.Sscan(id, &oid); err == nil {
			out[oid] = what
		}
	}
	return out
}
