package rules

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/yamldoc"
)

// location is where in a client's condition something is; here there is none.
var location = regexp.MustCompile(`^At location \d+: `)

// relation is a table as the database has it.
type relation struct {
	name        string
	kind        string
	permanent   bool
	readable    bool
	unpublished bool // it, or a table below it
	partial     bool // it, or a table below it, has not replica identity FULL
	columns     []string
}

// Check holds the rules to the database: the tables, their columns and
// conditions, and whether the log brings all of their changes. Problems keep a
// rule from being followed; notes need not be seen to. Without the name of a
// publication it is not asked whether the log brings what it has to.
func (f *File) Check(ctx context.Context, conn *pgx.Conn, publication string) (problems Problems, notes []query.Problem, err error) {
	c := &checker{f: f, conn: conn, publication: publication}
	for i := range f.Rules {
		if err := c.rule(ctx, &f.Rules[i]); err != nil {
			return nil, nil, fmt.Errorf("check the tables that may be followed: %w", err)
		}
	}
	return c.problems, c.notes, nil
}

type checker struct {
	f           *File
	conn        *pgx.Conn
	publication string
	problems    Problems
	notes       []query.Problem
}

func (c *checker) at(at yamldoc.Position, hint, format string, args ...any) query.Problem {
	return query.Problem{File: c.f.Path, Line: at.Line, Column: at.Column, Message: fmt.Sprintf(format, args...), Hint: hint}
}

func (c *checker) problem(at yamldoc.Position, hint, format string, args ...any) {
	c.problems = append(c.problems, c.at(at, hint, format, args...))
}

func (c *checker) note(at yamldoc.Position, hint, format string, args ...any) {
	c.notes = append(c.notes, c.at(at, hint, format, args...))
}

func (c *checker) rule(ctx context.Context, r *Rule) error {
	found, err := c.relations(ctx, r)
	if err != nil {
		return err
	}
	if r.Table == "" {
		c.schema(r, found)
		return nil
	}
	if len(found) == 0 {
		c.note(r.at, "it can be followed once it is there and tidemark init has run again", "there is no table %s", r)
		return nil
	}
	t := &found[0]
	switch {
	case t.kind == "v" || t.kind == "m":
		c.problem(r.at, "follow an endpoint that reads it", "%s is a view", r)
		return nil
	case t.kind != "r" && t.kind != "p":
		c.problem(r.at, "", "%s is not a table whose changes are in the log", r)
		return nil
	case !t.permanent:
		c.problem(r.at, "", "%s is unlogged or temporary: its changes are not in the log", r)
		return nil
	case !t.readable:
		c.problem(r.at, fmt.Sprintf("GRANT SELECT ON %s", r), "%s may not be read", r)
		return nil
	case t.unpublished:
		c.problem(r.at, "run tidemark init", "changes of %s are not all in publication %s", r, quote(c.publication))
	case t.partial:
		c.problem(r.at, "run tidemark init", "%s has not replica identity FULL, so the log does not say what an update or delete ends", r)
	}
	for _, name := range r.Columns {
		if !slices.Contains(t.columns, name) {
			c.problem(r.columnsAt, "", "%s has no column %s", r, quote(name))
		}
	}
	account := r.Account
	if account != "" && !slices.Contains(t.columns, account) {
		c.problem(r.accountAt, "", "%s has no column %s", r, quote(account))
		account = ""
	}
	return c.where(ctx, r, t, account)
}

// schema checks a rule for a whole schema, in which a table may be made at any
// time.
func (c *checker) schema(r *Rule, found []relation) {
	if len(found) == 0 {
		c.note(r.at, "", "there are no tables in %s", r)
	}
	var without, unready []string
	for i := range found {
		t := &found[i]
		if r.Account != "" && !slices.Contains(t.columns, r.Account) {
			without = append(without, quote(t.name))
		}
		if t.unpublished || t.partial {
			unready = append(unready, quote(t.name))
		}
	}
	if without != nil {
		c.note(r.accountAt, "", "without a column %s, and not followed: %s", quote(r.Account), strings.Join(without, ", "))
	}
	if unready != nil {
		c.problem(r.at, "run tidemark init", "not in publication %s with replica identity FULL: %s", quote(c.publication), strings.Join(unready, ", "))
	}
}

// relations finds the tables that a rule is for.
func (c *checker) relations(ctx context.Context, r *Rule) ([]relation, error) {
	which, args := "n.nspname = $2 AND c.relname = $3 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')", []any{c.publication, r.Schema, r.Table}
	if r.Table == "" {
		which, args = "n.nspname = $2 AND c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND NOT c.relispartition", args[:2]
	}
	rows, err := c.conn.Query(ctx, `
		SELECT c.relname, c.relkind::text, c.relpersistence = 'p', has_table_privilege(c.oid, 'SELECT'),
		  below.unpublished, below.partial,
		  (SELECT coalesce(array_agg(a.attname::text ORDER BY a.attnum), '{}') FROM pg_attribute a
		   WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, LATERAL (
		  WITH RECURSIVE tree AS (
		    SELECT c.oid UNION SELECT i.inhrelid FROM pg_inherits i JOIN tree ON i.inhparent = tree.oid)
		  SELECT coalesce(bool_or(NOT EXISTS (SELECT FROM pg_publication_tables p
		        WHERE p.pubname = $1 AND p.schemaname = ln.nspname AND p.tablename = l.relname)), false) AS unpublished,
		    coalesce(bool_or(l.relreplident <> 'f'), false) AS partial
		  FROM tree JOIN pg_class l ON l.oid = tree.oid JOIN pg_namespace ln ON ln.oid = l.relnamespace WHERE l.relkind = 'r') below
		WHERE `+which+` ORDER BY 1`, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (t relation, err error) {
		err = row.Scan(&t.name, &t.kind, &t.permanent, &t.readable, &t.unpublished, &t.partial, &t.columns)
		if c.publication == "" {
			t.unpublished, t.partial = false, false
		}
		return t, err
	})
}

// where has Postgres parse the condition, and sees whether it says something
// about one row alone.
func (c *checker) where(ctx context.Context, r *Rule, t *relation, account string) error {
	_, found, err := query.AnalyzeShape(ctx, c.conn, query.ShapeText{Table: r.String(), Fixed: r.Where, Account: account},
		query.Options{Publication: c.publication, SkipPublication: t.unpublished || c.publication == ""})
	for _, p := range found {
		at := r.at
		switch p.File {
		case query.ShapeFixed:
			at = r.whereAt
		case query.ShapeAccount:
			at = r.accountAt
		}
		c.problem(at, p.Hint, "%s", location.ReplaceAllString(p.Message, ""))
	}
	return err
}
