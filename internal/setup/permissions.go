package setup

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// permissionTables are what relationships are kept in.
var permissionTables = []string{"relationships", "permission_schemas", "relationship_metadata", "relationship_counters"}

// withPermissions adds the tables of permissions to what is followed: the
// application's, and of our own those that are there.
func withPermissions(ctx context.Context, conn *pgx.Conn, in Input) (Input, error) {
	if !in.Permissions {
		in.Mapped = nil
		return in, nil
	}
	in.Tables = slices.Clone(in.Tables)
	add := func(t Table) {
		if !slices.Contains(in.Tables, t) {
			in.Tables = append(in.Tables, t)
		}
	}
	for _, t := range in.Mapped {
		add(t)
	}
	rows, err := conn.Query(ctx, `SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'tidemark' AND c.relname = ANY ($1)`, permissionTables)
	if err != nil {
		return in, err
	}
	there, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, name := range permissionTables {
		if slices.Contains(there, name) {
			add(Table{Schema: "tidemark", Name: name})
		}
	}
	return in, err
}

func (st *state) readPermissions(ctx context.Context, conn *pgx.Conn) error {
	o := &st.Permissions
	return conn.QueryRow(ctx, `
SELECT array_agg('tidemark.' || relname ORDER BY relname) FILTER (WHERE NOT has_table_privilege(c.oid, 'SELECT')
    OR NOT has_table_privilege(c.oid, 'INSERT') OR NOT has_table_privilege(c.oid, 'UPDATE') OR NOT has_table_privilege(c.oid, 'DELETE')),
  count(*) = $2, coalesce(bool_and(pg_has_role(relowner, 'USAGE')), false),
  coalesce(min(substring(obj_description(c.oid, 'pg_class') FROM 'version (\d+)')::int), 0)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'tidemark' AND c.relname = ANY ($1)`, permissionTables, len(permissionTables)).
		Scan(&st.Denied, &o.Exists, &o.Owned, &o.Version)
}

// permissions plans the tables that relationships are kept in.
func (p *planner) permissions() {
	if !p.in.Permissions {
		return
	}
	if o := p.st.Permissions; o.Exists && o.Version >= objectsVersion {
		p.permissionRights()
		return
	}
	s := Step{
		ID:        stepPermissions,
		SQL:       permissionsSQL,
		Why:       "relationships, their schema and counters are kept in them",
		Needs:     "CREATE on schema tidemark",
		Denied:    p.st.denied(object{}),
		Essential: true,
	}
	if !p.st.SchemaExists {
		s.After = []string{stepToken} // which makes the schema
	}
	for _, t := range p.st.Tables {
		if t.Name.Schema == "tidemark" && slices.Contains(permissionTables, t.Name.Name) && !t.Owned {
			s.Denied = fmt.Sprintf("%s owns %s", t.Owner, t.SQL)
		}
	}
	for _, name := range permissionTables {
		s.SQL += fmt.Sprintf("COMMENT ON TABLE tidemark.%s IS %s;\n", name, objectComment)
	}
	p.Steps = append(p.Steps, s)
	var add []string
	for _, name := range permissionTables {
		there := func(t *table) bool { return t.Name == Table{Schema: "tidemark", Name: name} }
		if !slices.ContainsFunc(p.st.Tables, there) {
			add = append(add, "tidemark."+name)
		}
	}
	if add == nil || p.st.Publication != nil && p.st.Publication.AllTables {
		return
	}
	publish := Step{
		ID:        fmt.Sprintf("%s in publication %s", stepPermissions, p.st.PublicationID),
		SQL:       fmt.Sprintf("ALTER PUBLICATION %s ADD TABLE %s", p.st.PublicationID, strings.Join(add, ", ")),
		Why:       "relationships are followed through the log, like everything else",
		Needs:     "to own the publication and the tables",
		Essential: true,
		After:     []string{stepPermissions},
		already:   "42710",
	}
	if p.after != "" {
		publish.After = append(publish.After, p.after)
	}
	if pub := p.st.Publication; pub != nil && !pub.Owned {
		publish.Denied = fmt.Sprintf("%s owns publication %s", pub.Owner, p.st.PublicationID)
	}
	p.Steps = append(p.Steps, publish)
}

// permissionRights reports what this login may not do with the tables.
func (p *planner) permissionRights() {
	if p.st.Denied == nil {
		return
	}
	p.add(Error, "permission-rights",
		fmt.Sprintf("GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %s", strings.Join(p.st.Denied, ", "), p.st.UserSQL),
		"%s may not read and write %s, where relationships are kept", p.st.UserSQL, strings.Join(p.st.Denied, ", "))
}
