package query

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
)

// Fingerprint returns a text that changes whenever a definition that the
// endpoints rest on does: their tables, views, columns, unique indexes, rules,
// policies, functions, types, the publication, what names mean on the search path, or
// the standing of the role. It is for databases that cannot announce changes
// of definitions in the log; the connection has to be as for Analyze.
//
// It may change without need (an index was made), and does not say what
// changed: the endpoints are then analysed again.
func Fingerprint(ctx context.Context, conn *pgx.Conn, endpoints []*Endpoint) (string, error) {
	relations, functions, types := map[uint32]bool{}, map[uint32]bool{}, map[uint32]bool{}
	names, publications := map[string]bool{}, map[string]bool{}
	for _, e := range endpoints {
		add(relations, e.objects.relations)
		add(functions, e.objects.functions)
		add(types, e.objects.types)
		add(names, e.objects.functionNames)
		add(publications, []string{e.objects.publication})
	}
	var version int
	if err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&version); err != nil {
		return "", fmt.Errorf("fingerprint the definitions: %w", err)
	}
	sql := fingerprintSQL
	if version >= 150000 {
		sql += fingerprintSchemas
	}
	var out string
	err := conn.QueryRow(ctx, `SELECT md5(coalesce(string_agg(x, E'\n' ORDER BY x COLLATE "C"), '')) FROM (`+sql+`) d(x)`,
		sorted(relations), sorted(functions), sorted(types), sorted(names), sorted(publications)).Scan(&out)
	if err != nil {
		return "", fmt.Errorf("fingerprint the definitions: %w", err)
	}
	return out, nil
}

func add[T comparable](set map[T]bool, values []T) {
	for _, v := range values {
		set[v] = true
	}
}

func sorted[T uint32 | string](set map[T]bool) []T {
	out := slices.Sorted(maps.Keys(set))
	if out == nil {
		out = []T{}
	}
	return out
}

// A row's xmin changes with every update, so (oid, xmin) stands for its content.
const fingerprintSQL = `
	SELECT concat_ws(' ', 'class', oid, xmin, to_regclass(quote_ident(relname))::oid) FROM pg_class WHERE oid = ANY ($1::oid[])
	UNION ALL SELECT concat_ws(' ', 'attribute', attrelid, attnum, xmin) FROM pg_attribute WHERE attrelid = ANY ($1::oid[])
	UNION ALL SELECT concat_ws(' ', 'default', oid, xmin) FROM pg_attrdef WHERE adrelid = ANY ($1::oid[])
	UNION ALL SELECT concat_ws(' ', 'rewrite', oid, xmin) FROM pg_rewrite WHERE ev_class = ANY ($1::oid[])
	UNION ALL SELECT concat_ws(' ', 'unique', indexrelid, xmin) FROM pg_index WHERE indrelid = ANY ($1::oid[]) AND indisunique
	UNION ALL SELECT concat_ws(' ', 'policy', oid, xmin) FROM pg_policy WHERE polrelid = ANY ($1::oid[])
	UNION ALL SELECT concat_ws(' ', 'inherits', inhrelid, inhparent, xmin) FROM pg_inherits
		WHERE inhrelid = ANY ($1::oid[]) OR inhparent = ANY ($1::oid[])
	UNION ALL SELECT concat_ws(' ', 'proc', oid, xmin) FROM pg_proc WHERE oid = ANY ($2::oid[])
	UNION ALL SELECT concat_ws(' ', 'overload', oid, xmin) FROM pg_proc WHERE proname = ANY ($4::text[]) AND oid >= 16384
	UNION ALL SELECT concat_ws(' ', 'type', oid, xmin) FROM pg_type WHERE oid = ANY ($3::oid[])
	UNION ALL SELECT concat_ws(' ', 'label', oid, xmin) FROM pg_enum WHERE enumtypid = ANY ($3::oid[])
	UNION ALL SELECT concat_ws(' ', 'constraint', oid, xmin) FROM pg_constraint WHERE contypid = ANY ($3::oid[])
	UNION ALL SELECT concat_ws(' ', 'operators', count(*), max(oid)) FROM pg_operator WHERE oid >= 16384
	UNION ALL SELECT concat_ws(' ', 'casts', count(*), max(oid)) FROM pg_cast WHERE oid >= 16384
	UNION ALL SELECT concat_ws(' ', 'role', rolname, rolsuper, rolbypassrls, current_setting('search_path')) FROM pg_roles
		WHERE rolname = current_user
	UNION ALL SELECT concat_ws(' ', 'publication', oid, xmin) FROM pg_publication WHERE pubname = ANY ($5::text[])
	UNION ALL SELECT concat_ws(' ', 'published', r.oid, r.xmin) FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
		WHERE p.pubname = ANY ($5::text[]) AND r.prrelid = ANY ($1::oid[])`

// From Postgres 15 on, a publication can name schemas.
const fingerprintSchemas = `
	UNION ALL SELECT concat_ws(' ', 'schema', n.oid, n.xmin) FROM pg_publication_namespace n JOIN pg_publication p ON p.oid = n.pnpubid
		WHERE p.pubname = ANY ($5::text[])`
