package setup

import (
	"fmt"

	"github.com/tidemarkdb/tidemark/internal/catalog"
)

func notInLog(t *table) string {
	switch {
	case t.Kind == 'f':
		return "a foreign table"
	case t.Kind == 'v':
		return "a view"
	case t.Kind == 'm':
		return "a materialized view"
	case t.Kind != 'r':
		return "not a table"
	case !t.Permanent:
		return "unlogged or temporary"
	}
	return ""
}

// unsafe says why replica identity FULL would make updates of a published
// table fail, or nothing.
func (p *planner) unsafe(t *table) string {
	if t.ColumnList {
		return fmt.Sprintf("publication %s has a column list for it", p.st.PublicationID)
	}
	for _, e := range t.Elsewhere {
		if e.ColumnList {
			return fmt.Sprintf("publication %s has a column list for it", e.Publication)
		}
	}
	if p.st.Version < 180000 {
		return ""
	}
	if t.Virtual {
		return "it has a virtual generated column"
	}
	for _, e := range t.Elsewhere {
		if t.Stored && !e.StoredGenerated {
			return fmt.Sprintf("publication %s does not publish its generated column", e.Publication)
		}
	}
	return ""
}

// identity returns the step that gives the table the identity it should have,
// if one is needed. It is not ok when the table must not be published.
func (p *planner) identity(t *table) (step *Step, ok bool) {
	unsafe := p.unsafe(t)
	if t.Identity == catalog.IdentityFull {
		if unsafe == "" {
			return nil, true
		}
		typed := ""
		if t.HasKey {
			typed = fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY DEFAULT", t.SQL)
		}
		p.add(Error, "full-unsafe", typed,
			"%s has replica identity FULL, with which its UPDATE and DELETE fail once it is published: %s", t.SQL, unsafe)
		return nil, false
	}
	full := p.wholeOldRow(t)
	if t.Usable && p.in.ReplicaIdentity == Keep && full == "" {
		return nil, true
	}
	s := Step{
		ID:    "replica identity of " + t.SQL,
		SQL:   fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY FULL", t.SQL),
		Needs: fmt.Sprintf("to own %s; a moment without any other lock on it", t.SQL),
	}
	if !t.Owned {
		s.Denied = fmt.Sprintf("%s owns %s", t.Owner, t.SQL)
	}
	switch {
	case full != "" && unsafe != "":
		p.add(Error, "needs-full", "",
			"%s: %s, so it needs replica identity FULL, which would make its UPDATE and DELETE fail: %s", t.SQL, full, unsafe)
		return nil, t.Usable
	case full != "":
		s.Why = full + ", and the log then says what an update or delete ends; it costs log volume"
		s.Essential = true
	case t.Usable && unsafe != "":
		p.add(Info, "identity-kept", "",
			"%s keeps its replica identity, because FULL would make its UPDATE and DELETE fail: %s", t.SQL, unsafe)
		return nil, true
	case t.Usable:
		s.Why = "the log then has the whole old row, so an update drops just the answers that it touches; it costs log volume"
		s.Lost = fmt.Sprintf("an update or delete of %s drops more answers than it touches", t.SQL)
	case unsafe != "" && t.Index == "":
		p.add(Error, "no-identity", "",
			"%s has no usable replica identity, and FULL would make its UPDATE and DELETE fail: %s; give it a primary key", t.SQL, unsafe)
		return nil, false
	default:
		if unsafe != "" {
			s.SQL = fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY USING INDEX %s", t.SQL, t.Index)
		}
		s.Why = "it has no usable replica identity, and Postgres refuses UPDATE and DELETE of such a table once it is published"
		s.Essential = true
	}
	return &s, true
}
