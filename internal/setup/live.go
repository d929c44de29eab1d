package setup

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// withFollowed adds the tables that may be followed to what is read, those of
// whole schemas one by one, and leaves out what is not there yet.
func withFollowed(ctx context.Context, conn *pgx.Conn, in Input) (out Input, absent []Table, err error) {
	out = in
	out.Followed, out.Tables = nil, slices.Clone(in.Tables)
	for _, t := range in.Followed {
		found, err := followed(ctx, conn, t)
		if err != nil {
			return in, nil, err
		}
		if len(found) == 0 && t.Name != "" {
			absent = append(absent, t)
		}
		for _, f := range found {
			if !slices.Contains(out.Followed, f) {
				out.Followed = append(out.Followed, f)
			}
			if !slices.Contains(out.Tables, f) {
				out.Tables = append(out.Tables, f)
			}
		}
	}
	return out, absent, nil
}

// followed lists the tables that a name, or a schema alone, means.
func followed(ctx context.Context, conn *pgx.Conn, t Table) ([]Table, error) {
	sql, args := `n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')`, []any{t.Schema, t.Name}
	if t.Name == "" {
		sql, args = `n.nspname = $1 AND c.relkind IN ('r', 'p') AND c.relpersistence = 'p'`, args[:1]
	}
	rows, err := conn.Query(ctx, `SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE `+sql+` ORDER BY 2`, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Table])
}

// within reports whether a table is one of a list, or a partition or child of one.
func (p *planner) within(t *table, list []Table) bool {
	if slices.Contains(list, t.Name) {
		return true
	}
	i := slices.IndexFunc(p.st.Tables, func(o *table) bool { return o.OID == t.Parent })
	return i >= 0 && p.within(p.st.Tables[i], list)
}

// wholeOldRow says why the log has to have a table's whole old rows, or nothing.
func (p *planner) wholeOldRow(t *table) string {
	mapped, followed := p.within(t, p.in.Mapped), p.within(t, p.in.Followed)
	switch {
	case mapped && followed:
		return "its rows mean relationships and may be followed"
	case mapped:
		return "its rows mean relationships"
	case followed:
		return "its rows may be followed"
	}
	return ""
}

// followable reports what is to be followed and cannot be.
func (p *planner) followable(absent []Table) {
	for _, t := range absent {
		p.add(Warning, "followed-missing", "",
			"there is no table %s.%s to follow yet; run tidemark init again once it is there", t.Schema, t.Name)
	}
	for _, t := range p.st.Tables {
		if !slices.Contains(p.in.Followed, t.Name) {
			continue
		}
		if what := notInLog(t); t.Kind != 'p' && what != "" {
			p.add(Error, "followed-not-in-log", "", "%s is %s: its rows cannot be followed", t.SQL, what)
		} else if !t.CanSelect {
			p.add(Error, "followed-select", fmt.Sprintf("GRANT SELECT ON %s TO %s", t.SQL, p.st.UserSQL),
				"%s may not read %s, whose rows may be followed", p.st.UserSQL, t.SQL)
		}
	}
}
