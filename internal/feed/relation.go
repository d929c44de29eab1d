package feed

import (
	"maps"
	"slices"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/pgoutput"
)

// relations knows the tables of one connection, and what the sink has been
// told of them in this process.
//
// The two differ because the server describes a table anew on every
// connection, and because transactions that are delivered already may come
// again with descriptions that are older than what the sink knows.
type relations struct {
	// known is what the sink was told in transactions that it has applied. It
	// outlives the connection and keeps its pointers.
	known map[catalog.OID]*catalog.Relation
	// current is the latest description on this connection.
	current map[catalog.OID]*catalog.Relation
	// told is what the transaction at hand tells the sink, to become known when
	// it has been applied.
	told map[catalog.OID]*catalog.Relation
	// untold are the descriptions of skipped transactions that differ from what
	// is known. If nothing supersedes them, the next transaction tells them.
	untold map[catalog.OID]*catalog.Relation
}

func newRelations(known map[catalog.OID]*catalog.Relation) *relations {
	return &relations{
		known:   known,
		current: make(map[catalog.OID]*catalog.Relation),
		told:    make(map[catalog.OID]*catalog.Relation),
		untold:  make(map[catalog.OID]*catalog.Relation),
	}
}

// describe takes a description that is part of a transaction to be delivered.
// It returns the relation under the pointer to be used from here on, and
// whether the sink must be told of it.
func (r *relations) describe(m *pgoutput.Relation) (rel *catalog.Relation, tell bool) {
	rel = relationOf(m)
	last, ok := r.told[rel.OID]
	if !ok {
		last, ok = r.known[rel.OID]
	}
	if ok && last.SameShape(rel) {
		r.current[rel.OID] = last
		return last, false
	}
	r.current[rel.OID], r.told[rel.OID] = rel, rel
	return rel, true
}

// skip takes a description that is part of a transaction that was delivered
// before.
func (r *relations) skip(m *pgoutput.Relation) {
	rel := relationOf(m)
	if k, ok := r.known[rel.OID]; ok && k.SameShape(rel) {
		r.current[rel.OID] = k
		delete(r.untold, rel.OID)
		return
	}
	r.current[rel.OID], r.untold[rel.OID] = rel, rel
}

// begin returns, at the start of a transaction to be delivered, what the sink
// must be told before anything else.
func (r *relations) begin() []*catalog.Relation {
	clear(r.told)
	if len(r.untold) == 0 {
		return nil
	}
	var tell []*catalog.Relation
	for _, oid := range slices.Sorted(maps.Keys(r.untold)) {
		rel := r.untold[oid]
		r.told[oid] = rel
		tell = append(tell, rel)
	}
	return tell
}

// applied says that the sink has applied the transaction.
func (r *relations) applied() {
	maps.Copy(r.known, r.told)
	clear(r.told)
	clear(r.untold)
}

func relationOf(m *pgoutput.Relation) *catalog.Relation {
	rel := &catalog.Relation{
		OID: catalog.OID(m.OID), Schema: m.Namespace, Name: m.Name,
		Identity: catalog.Identity(m.Identity),
		Columns:  make([]catalog.Column, len(m.Columns)),
	}
	if rel.Schema == "" {
		rel.Schema = "pg_catalog"
	}
	for i, c := range m.Columns {
		rel.Columns[i] = catalog.Column{Name: c.Name, Type: catalog.OID(c.Type), Key: c.Key}
	}
	return rel
}
