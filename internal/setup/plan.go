package setup

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/catalog"
)

// objectsVersion is the version of what is in the tidemark schema. It stands in
// the functions' comments; older ones are replaced in place.
const objectsVersion = 1

var (
	//go:embed sql/token.sql
	tokenSQL string
	//go:embed sql/ddl.sql
	ddlSQL string
	//go:embed sql/permissions.sql
	permissionsSQL string
)

const (
	stepToken = "token function"
	stepDDL   = "definition trigger"

	stepPermissions = "permission tables"
)

// plan adds the steps, and findings about what no step can do. The absent tables
// are to be followed once they are there.
func (r *Report) plan(st *state, in Input, absent []Table) {
	newer := st.Token.Version > objectsVersion || st.OnDDL.Version > objectsVersion || st.Permissions.Version > objectsVersion
	if newer {
		r.add(Info, "newer-objects", "", "the tidemark schema was made by a newer tidemark and is left as it is")
	} else {
		r.planToken(st)
	}
	p := planner{Report: r, st: st, in: in}
	p.publicationShape()
	p.tables()
	p.followable(absent)
	p.permissions()
	if !newer {
		r.planTrigger(st) // last, because it is the one that is refused most
	}
}

// objectComment marks the functions with their version.
var objectComment = fmt.Sprintf("'tidemark, version %d'", objectsVersion)

// denied says why this login cannot make or replace a function of the tidemark
// schema.
func (st *state) denied(o object) string {
	switch {
	case !st.SchemaExists && !st.CanCreate:
		return fmt.Sprintf("%s may not create schemas in database %s", st.UserSQL, st.DatabaseSQL)
	case st.SchemaExists && !st.SchemaCreate:
		return fmt.Sprintf("%s may not create objects in schema tidemark", st.UserSQL)
	case o.Exists && !o.Owned:
		return "another role owns the older function"
	}
	return ""
}

func (r *Report) planToken(st *state) {
	if st.Token.Exists && st.Token.Version == objectsVersion {
		return
	}
	makeSchema := ""
	if !st.SchemaExists {
		makeSchema = "CREATE SCHEMA tidemark;\n"
	}
	makeSchema += "GRANT USAGE ON SCHEMA tidemark TO PUBLIC;\n"
	r.Steps = append(r.Steps, Step{
		ID: stepToken,
		SQL: makeSchema + tokenSQL +
			"COMMENT ON FUNCTION tidemark.token() IS " + objectComment + ";\n" +
			"GRANT EXECUTE ON FUNCTION tidemark.token() TO PUBLIC;",
		Why:    "with SELECT tidemark.token() an application gets the token of its own write",
		Needs:  "CREATE on the database, or on an existing schema tidemark",
		Denied: st.denied(st.Token),
		Lost:   "applications that write plain SQL cannot make tokens; the admin port still gives the current one",
	})
}

func (r *Report) planTrigger(st *state) {
	if st.OnDDL.Exists && st.OnDDL.Version == objectsVersion && st.Triggers["tidemark_ddl"] && st.Triggers["tidemark_drop"] {
		return
	}
	var after []string
	if !st.SchemaExists {
		after = []string{stepToken}
	}
	why := st.denied(st.OnDDL)
	if why == "" && !st.Superuser {
		why = fmt.Sprintf("%s is not a superuser", st.UserSQL)
	}
	r.Steps = append(r.Steps, Step{
		ID: stepDDL,
		SQL: ddlSQL +
			"COMMENT ON FUNCTION tidemark.on_ddl() IS " + objectComment + ";\n" +
			"DROP EVENT TRIGGER IF EXISTS tidemark_ddl;\n" +
			"DROP EVENT TRIGGER IF EXISTS tidemark_drop;\n" +
			"CREATE EVENT TRIGGER tidemark_ddl ON ddl_command_end EXECUTE FUNCTION tidemark.on_ddl();\n" +
			"CREATE EVENT TRIGGER tidemark_drop ON sql_drop EXECUTE FUNCTION tidemark.on_ddl();\n" +
			"ALTER EVENT TRIGGER tidemark_ddl ENABLE ALWAYS;\n" +
			"ALTER EVENT TRIGGER tidemark_drop ENABLE ALWAYS;",
		Why:    "the log then says in order where a table, view or function was redefined",
		Needs:  "superuser, or what a managed service offers in its place",
		Denied: why,
		Lost:   "redefined tables, views and functions are noticed by polling, in a window of about a second",
		After:  after,
	})
}

// planner holds what the steps for tables and the publication are made from.
type planner struct {
	*Report
	st *state
	in Input
	// after is the step without which no table can be added.
	after string
}

// tables plans replica identities first, then the publication, then what to
// add to it.
func (p *planner) tables() {
	for _, m := range p.st.Missing {
		p.add(Error, "no-such-table", "", "there is no table %s.%s", m.Schema, m.Name)
	}
	identity := make(map[uint32]string) // tables that may be published: the step to wait for, or nothing
	var steps []Step
	generated := false
	for _, t := range p.st.Tables {
		if t.Kind == 'p' {
			continue
		}
		if what := notInLog(t); what != "" {
			p.add(Warning, "not-in-log", "", "%s is %s: its changes are not in the log", t.SQL, what)
			continue
		}
		step, ok := p.identity(t)
		if !ok {
			continue
		}
		identity[t.OID] = ""
		if step != nil {
			identity[t.OID] = step.ID
			steps = append(steps, *step)
		}
		full := t.Identity == catalog.IdentityFull || step != nil && strings.HasSuffix(step.SQL, "FULL")
		generated = generated || t.Stored && full
	}

	shape := p.generatedColumns(generated, steps)
	p.Steps = append(p.Steps, steps...)
	p.publication(shape, generated)
	p.membership(identity)
}
