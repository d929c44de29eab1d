package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/mapping"
	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
	"github.com/tidemarkdb/tidemark/internal/query"
)

type permissionsMappingCmd struct {
	configFlags
	Schema string `placeholder:"FILE" help:"Schema that the rules have to fit; without it, the one in the database."`
}

// What is shown of each rule.
const (
	shownExamples = 3
	shownBad      = 10
)

func (c *permissionsMappingCmd) Run(a *app) error {
	cfg, err := c.load(a)
	if err != nil {
		return err
	}
	if cfg.Permissions.Mapping == "" {
		return hinted{errors.New("there is no mapping"), "name its file with permissions.mapping or --permissions.mapping"}
	}
	m, err := mapping.Load(cfg.Permissions.Mapping)
	if err != nil {
		return err
	}
	conn, err := connect(a.ctx, cfg)
	if err != nil {
		return err
	}
	defer disconnect(conn)
	sch, err := c.schema(a.ctx, conn)
	if err != nil {
		return err
	}
	if _, err := m.Bind(a.ctx, conn); err != nil {
		return err
	}
	failed := false
	if problems := m.Check(sch); len(problems) > 0 {
		failed = true
		a.printRules(problems)
	}
	ok, err := a.showRules(conn, m, sch)
	if err != nil {
		return err
	}
	if failed || !ok {
		return errSilent
	}
	return nil
}

// printRules writes what the author of a mapping has to see to.
func (a *app) printRules(problems mapping.Problems) {
	for i := range problems {
		fmt.Fprintf(a.stderr, "error: %s\n", problems[i:i+1])
	}
}

// schema reads the schema that the rules are held to.
func (c *permissionsMappingCmd) schema(ctx context.Context, conn *pgx.Conn) (*schema.Schema, error) {
	if c.Schema != "" {
		text, err := os.ReadFile(c.Schema)
		if err != nil {
			return nil, err
		}
		sch, err := schema.Parse(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Schema, err)
		}
		return sch, nil
	}
	var text string
	err := conn.QueryRow(ctx, "SELECT definition FROM tidemark.permission_schemas ORDER BY version DESC LIMIT 1").Scan(&text)
	var pgErr *pgconn.PgError
	const undefinedTable, undefinedSchema = "42P01", "3F000"
	if errors.Is(err, pgx.ErrNoRows) || errors.As(err, &pgErr) && (pgErr.Code == undefinedTable || pgErr.Code == undefinedSchema) {
		return nil, hinted{errors.New("no schema has been written to the database"), "name a file with --schema"}
	}
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	sch, err := schema.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("the schema in the database: %w", err)
	}
	return sch, nil
}

// showRules writes what each rule makes of its table, all as of one moment.
func (a *app) showRules(conn *pgx.Conn, m *mapping.Mapping, sch *schema.Schema) (ok bool, err error) {
	tx, err := conn.BeginTx(a.ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(a.ctx)) }()
	for _, s := range query.Settings() {
		if _, err := tx.Exec(a.ctx, "SELECT set_config($1, $2, true)", s.Name, s.Value); err != nil {
			return false, err
		}
	}
	ok = true
	for _, r := range m.Rules {
		fine, err := a.showRule(tx, r, sch)
		if err != nil {
			return false, fmt.Errorf("%s: %w", r, err)
		}
		ok = ok && fine
	}
	return ok, nil
}

func (a *app) showRule(tx pgx.Tx, r *mapping.Rule, sch *schema.Schema) (bool, error) {
	var rows int
	if err := tx.QueryRow(a.ctx, "SELECT count(*) FROM "+r.Table()).Scan(&rows); err != nil {
		return false, err
	}
	found, err := tx.Query(a.ctx, r.Select())
	if err != nil {
		return false, err
	}
	defer found.Close()
	var examples, unfit []string
	count, unfits := 0, 0
	for found.Next() {
		rel, context, err := scanMapped(found)
		if err != nil {
			return false, err
		}
		if context != "" {
			rel.Context, err = tuple.Canonical([]byte(context))
		}
		if err == nil {
			err = perm.Fits(sch, perm.Update{Op: perm.Touch, Relationship: rel})
		}
		if err != nil {
			if unfits++; unfits <= shownBad {
				unfit = append(unfit, fmt.Sprintf("%s: %v", rel, err))
			}
			continue
		}
		if count++; count <= shownExamples {
			examples = append(examples, rel.String())
		}
	}
	if err := found.Err(); err != nil {
		return false, err
	}
	invalid, invalids, err := a.invalid(tx, r)
	if err != nil {
		return false, err
	}
	fmt.Fprintf(a.stdout, "%s\n  %s in the table, %s\n", plain(r.String()), number(rows, "row"), number(count, "relationship"))
	for _, e := range examples {
		fmt.Fprintf(a.stdout, "  %s\n", plain(e))
	}
	a.bad("does not fit the schema", unfit, unfits)
	a.bad("cannot be a relationship", invalid, invalids)
	return unfits+invalids == 0, nil
}

// bad writes the rows that are wrong, as many as are shown.
func (a *app) bad(what string, shown []string, all int) {
	for _, text := range shown {
		fmt.Fprintf(a.stderr, "error: %s: %s\n", what, plain(text))
	}
	if all > len(shown) {
		fmt.Fprintf(a.stderr, "error: %s: %s more\n", what, number(all-len(shown), "row"))
	}
}

// scanMapped reads a row of a rule's SELECT; the context is as Postgres has it.
func scanMapped(rows pgx.Rows) (r tuple.Relationship, context string, err error) {
	var expires *int64
	err = rows.Scan(&r.Resource.Type, &r.Resource.ID, &r.Relation, &r.Subject.Type, &r.Subject.ID, &r.Subject.Relation,
		&r.Caveat, &context, &expires)
	if expires != nil {
		r.Expires = *expires
	}
	return r, context, err
}

// invalid lists rows that would mean a relationship that cannot be one.
func (a *app) invalid(tx pgx.Tx, r *mapping.Rule) (shown []string, all int, err error) {
	rows, err := tx.Query(a.ctx, r.Invalid())
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var resource, subject, expires *string
		var reason string
		if err := rows.Scan(&resource, &subject, &expires, &reason); err != nil {
			return nil, 0, err
		}
		if all++; all > shownBad {
			continue
		}
		text := fmt.Sprintf("%s with resource %s, subject %s", r.Table(), quoted(resource), quoted(subject))
		if expires != nil {
			text += ", expiration " + *expires
		}
		shown = append(shown, text+": "+reason)
	}
	return shown, all, rows.Err()
}

func quoted(s *string) string {
	if s == nil {
		return "null"
	}
	return fmt.Sprintf("%.200q", *s)
}
