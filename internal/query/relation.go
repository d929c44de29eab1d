package query

import (
	"fmt"

	"github.com/tidemarkdb/tidemark/internal/query/nodetree"
)

// relation walks one reference to a table or view.
func (a *analysis) relation(l *level, e *entry) {
	f, oid := l.frame, e.node.OID("relid")
	// Up to Postgres 15 a rule has two entries, old and new, for the view itself.
	if oid == 0 || oid == f.view {
		return
	}
	rel := a.srv.relation(oid)
	if a.srv.err != nil {
		return
	}
	if rel.kind == "" {
		a.srv.fail("the relations", errMoved)
		return
	}
	a.relations[oid] = true
	if reason := refusedRelation(rel); reason != "" {
		a.refuse(f, softRelation(rel), -1, rel.name, relationHint(rel), "%s %s", rel, reason)
		return
	}
	if rel.kind == "v" {
		a.view(l, e, rel)
	} else {
		a.table(l, e, rel)
	}
	if a.srv.secured(rel, f.reader) {
		a.policies(l, e, rel)
	}
}

// refusedRelation says why the rows of a relation cannot be followed.
func refusedRelation(r *relation) string {
	switch {
	case r.oid < firstUserOID:
		return "is a system catalog, which the log does not follow"
	case r.kind == "f":
		return "is a foreign table: its rows change outside this database"
	case r.kind == "m":
		return "is a materialized view: the log does not say what a refresh changed"
	case r.kind == "S":
		return "is a sequence, which the log does not follow"
	case r.kind != "r" && r.kind != "p" && r.kind != "v":
		return fmt.Sprintf("is a relation of a kind that tidemark does not know (%s)", r.kind)
	case r.persistence == "t":
		return "is a temporary table, which only its own session sees"
	case r.persistence == "u":
		return "is an unlogged table: its changes are not in the log"
	}
	return ""
}

func softRelation(r *relation) bool { return r.persistence != "t" }

func relationHint(r *relation) string {
	switch {
	case r.persistence == "t":
		return "use a table"
	case r.persistence == "u" && r.kind == "r":
		return fmt.Sprintf("ALTER TABLE %s SET LOGGED, or accept it until a ttl with -- volatile: ok", r)
	case r.kind == "m":
		return "read the tables below it, or accept it until a ttl with -- volatile: ok"
	}
	return "leave it out, or accept it until a ttl with -- volatile: ok"
}

// view walks the rule behind a view as if it were a subquery.
func (a *analysis) view(l *level, e *entry, rel *relation) {
	var text string
	if !a.srv.row("a view", `SELECT ev_action::text FROM pg_rewrite WHERE ev_class = $1 AND ev_type = '1'`,
		[]any{rel.oid}, &text) {
		return
	}
	f := a.below(l.frame, "view "+rel.String(), rel.name)
	f.view = rel.oid
	if !rel.invoker {
		f.reader = rel.owner
	}
	nodetree.Each(a.srv.tree(text), func(n *node) {
		if n.Tag == "QUERY" {
			e.sub = a.query(n, nil, f, e.needed())
			e.sub.owner = e
		}
	})
}

// table notes a reference to a base table and what is below it.
func (a *analysis) table(l *level, e *entry, rel *relation) {
	ref := &tableRef{index: len(a.refs), rel: rel, entry: e, reader: l.frame.reader, tables: []uint32{rel.oid}}
	if e.node.Bool("inh") {
		ref.tables = a.srv.below(rel)
	}
	for _, oid := range ref.tables {
		r := a.srv.relation(oid)
		a.relations[oid] = true
		if reason := refusedRelation(r); reason != "" {
			a.refuse(l.frame, softRelation(r), -1, rel.name, relationHint(r), "%s, which is below %s, %s", r, rel, reason)
			continue
		}
		a.tables[oid] = r
	}
	e.ref = ref
	a.refs = append(a.refs, ref)
}

// policies walks the row security of a table: what its conditions read counts
// as read by the query.
func (a *analysis) policies(l *level, e *entry, rel *relation) {
	f := a.below(l.frame, "a policy of "+rel.String(), rel.name)
	f.policy = true
	quals := column1[string](a.srv, "the policies of a table", `
		SELECT polqual::text FROM pg_policy
		WHERE polrelid = $1 AND polcmd IN ('*', 'r') AND polqual IS NOT NULL ORDER BY polname`, rel.oid)
	for _, q := range quals {
		a.visit(&level{frame: f, entries: []*entry{e}}, a.srv.tree(q))
	}
}

// columns returns the names of the columns that a reference reads; nil means
// all of them.
func (a *analysis) columns(ref *tableRef) []string {
	e := ref.entry
	if e.all {
		return nil
	}
	read := map[string]bool{}
	for n := range e.used {
		c := ref.rel.column(n)
		if c == nil {
			return nil
		}
		read[c.name] = true
	}
	// The log does not carry generated columns, but what they are made of; a
	// table below may make them of something else.
	for _, oid := range ref.tables {
		r := a.srv.relation(oid)
		for i := range r.columns {
			if c := &r.columns[i]; c.generated && read[c.name] {
				for _, name := range a.generatedFrom(r, c.number) {
					read[name] = true
				}
			}
		}
	}
	out := []string{}
	for _, c := range ref.rel.columns {
		if read[c.name] {
			out = append(out, c.name)
			delete(read, c.name)
		}
	}
	if len(read) > 0 {
		return nil // columns of a table below
	}
	return out
}

// generatedFrom returns the columns that a generated column is computed from.
func (a *analysis) generatedFrom(rel *relation, number int) []string {
	var text string
	if !a.srv.row("a generated column", `SELECT adbin::text FROM pg_attrdef WHERE adrelid = $1 AND adnum = $2`,
		[]any{rel.oid, number}, &text) {
		return nil
	}
	var out []string
	var walk func(n *node)
	walk = func(n *node) {
		if n.Tag == "VAR" {
			for _, c := range rel.columns {
				if attno := n.Int("varattno"); attno <= 0 || attno == c.number {
					out = append(out, c.name)
				}
			}
		}
		for _, field := range n.Fields {
			nodetree.Each(field.Value, walk)
		}
	}
	nodetree.Each(a.srv.tree(text), walk)
	return out
}
