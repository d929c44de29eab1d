package setup

import (
	"fmt"
	"slices"
	"strings"
)

// publicationShape reports what is wrong with a publication that exists.
func (p *planner) publicationShape() {
	pub, id := p.st.Publication, p.st.PublicationID
	if pub == nil {
		if p.st.Slot != nil {
			p.add(Error, "slot-before-publication", fmt.Sprintf("SELECT pg_drop_replication_slot('%s')", p.in.Slot),
				"slot %s is older than publication %s, which does not exist yet: it would read log in which it cannot find the publication",
				p.in.Slot, id)
		}
		return
	}
	var missing []string
	for _, op := range []struct {
		published bool
		name      string
	}{{pub.Insert, "insert"}, {pub.Update, "update"}, {pub.Delete, "delete"}, {pub.Truncate, "truncate"}} {
		if !op.published {
			missing = append(missing, op.name)
		}
	}
	if missing != nil {
		p.add(Error, "publication-operations",
			fmt.Sprintf("ALTER PUBLICATION %s SET (publish = 'insert, update, delete, truncate')", id),
			"publication %s leaves out %s; before it publishes updates and deletes, every table in it needs a replica identity",
			id, strings.Join(missing, ", "))
	}
	if pub.ViaRoot {
		p.viaRoot()
	}
	byOID := make(map[uint32]*table)
	for _, t := range p.st.Tables {
		byOID[t.OID] = t
	}
	for _, t := range p.st.Tables {
		again := fmt.Sprintf("ALTER PUBLICATION %s DROP TABLE %s; ALTER PUBLICATION %[1]s ADD TABLE %[2]s", id, t.SQL)
		parent := byOID[t.Parent]
		if t.Filter && (parent == nil || !parent.Filter) {
			p.add(Error, "publication-row-filter", again,
				"publication %s has a row filter for %s: changes outside it would not be seen", id, t.SQL)
		}
		if t.ColumnList && (parent == nil || !parent.ColumnList) {
			p.add(Error, "publication-column-list", again,
				"publication %s has a column list for %s: changes of other columns would not be seen", id, t.SQL)
		}
	}
	for _, name := range p.st.Breaking {
		p.add(Error, "published-without-identity", fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY FULL", name),
			"%s is in publication %s and has no usable replica identity: its own UPDATE and DELETE fail", name, id)
	}
}

// viaRoot reports a publication that names partitioned tables by their root,
// where endpoints read one.
func (p *planner) viaRoot() {
	id := p.st.PublicationID
	typed := fmt.Sprintf("ALTER PUBLICATION %s SET (publish_via_partition_root = false)", id)
	switch {
	case slices.ContainsFunc(p.st.Tables, func(t *table) bool { return t.Partition }):
		p.add(Error, "publication-via-root", typed,
			"publication %s names partitioned tables by their root: a TRUNCATE of one partition would not be seen", id)
	case slices.ContainsFunc(p.st.Tables, func(t *table) bool { return t.Kind == 'p' }):
		p.add(Warning, "publication-via-root", typed,
			"publication %s names partitioned tables by their root: endpoints over one fail as soon as it has a partition", id)
	}
}

// generatedColumns makes an existing publication publish stored generated
// columns before a table with FULL identity needs it to, and returns the step
// to wait for.
func (p *planner) generatedColumns(needed bool, identities []Step) (after string) {
	if !needed || p.st.Version < 180000 || p.st.Publication == nil || p.st.Publication.StoredGenerated {
		return ""
	}
	s := Step{
		ID:        "generated columns in publication " + p.st.PublicationID,
		SQL:       fmt.Sprintf("ALTER PUBLICATION %s SET (publish_generated_columns = stored)", p.st.PublicationID),
		Why:       "without it Postgres refuses UPDATE and DELETE of a published table that has replica identity FULL and a generated column",
		Needs:     "to own the publication",
		Essential: true,
	}
	if !p.st.Publication.Owned {
		s.Denied = fmt.Sprintf("%s owns publication %s", p.st.Publication.Owner, p.st.PublicationID)
	}
	p.Steps = append(p.Steps, s)
	for i := range identities {
		identities[i].After = append(identities[i].After, s.ID)
	}
	return s.ID
}

func (p *planner) publication(shape string, generated bool) {
	if p.st.Publication != nil {
		p.after = shape
		return
	}
	options := "publish = 'insert, update, delete, truncate', publish_via_partition_root = false"
	if generated && p.st.Version >= 180000 {
		options += ", publish_generated_columns = stored"
	}
	s := Step{
		ID:        "publication " + p.st.PublicationID,
		SQL:       fmt.Sprintf("CREATE PUBLICATION %s WITH (%s)", p.st.PublicationID, options),
		Why:       "it says which tables' changes the log sends to tidemark",
		Needs:     "CREATE on the database",
		Essential: true,
		already:   "42710",
	}
	if !p.st.CanCreate {
		s.Denied = fmt.Sprintf("%s may not create in database %s", p.st.UserSQL, p.st.DatabaseSQL)
	}
	p.Steps = append(p.Steps, s)
	p.after = s.ID
}

// membership adds to the publication the tables that may be in it and are not.
func (p *planner) membership(identity map[uint32]string) {
	done := make(map[uint32]bool)
	for _, t := range p.st.Tables {
		if t.Kind == 'p' && !done[t.OID] && t.HasKey {
			// With a primary key later partitions have an identity from the start,
			// so the root may be published for them.
			leaves, all := p.leaves(t), true
			for _, l := range leaves {
				_, may := identity[l.OID]
				all = all && may
			}
			if !all {
				continue
			}
			p.mark(t, done)
			if !t.Published {
				p.addTable(t, leaves, identity)
			}
		}
	}
	for _, t := range p.st.Tables {
		if _, may := identity[t.OID]; may && !done[t.OID] && !t.Published {
			p.addTable(t, []*table{t}, identity)
		}
	}
	for _, t := range p.st.Tables {
		if t.Kind == 'p' && t.Asked && !t.HasKey {
			p.add(Warning, "partitions-one-by-one", "",
				"%s has no primary key, so its partitions are published one by one: run tidemark init again after adding one", t.SQL)
		}
	}
}

func (p *planner) addTable(t *table, rows []*table, identity map[uint32]string) {
	only := ""
	if t.Kind == 'r' && slices.ContainsFunc(p.st.Tables, func(c *table) bool { return c.Parent == t.OID }) {
		only = "ONLY " // each child is added by itself, once it has an identity
	}
	s := Step{
		ID:        fmt.Sprintf("%s in publication %s", t.SQL, p.st.PublicationID),
		SQL:       fmt.Sprintf("ALTER PUBLICATION %s ADD TABLE %s%s", p.st.PublicationID, only, t.SQL),
		Why:       "endpoints read it",
		Needs:     "to own the publication and the table",
		Essential: true,
		already:   "42710",
	}
	if p.within(t, p.in.Followed) {
		s.Why = "its changes may be followed"
	}
	if p.after != "" {
		s.After = append(s.After, p.after)
	}
	for _, row := range rows {
		// A step that only improves the identity may be refused; one that makes
		// it usable may not.
		if id := identity[row.OID]; id != "" && !row.Usable {
			s.After = append(s.After, id)
		}
		s.publishes = append(s.publishes, row.OID)
	}
	switch pub := p.st.Publication; {
	case pub != nil && !pub.Owned:
		s.Denied = fmt.Sprintf("%s owns publication %s", pub.Owner, p.st.PublicationID)
	case !t.Owned:
		s.Denied = fmt.Sprintf("%s owns %s", t.Owner, t.SQL)
	}
	p.Steps = append(p.Steps, s)
}

// leaves returns the partitions below a partitioned table that hold rows.
func (p *planner) leaves(root *table) []*table {
	var leaves []*table
	for _, t := range p.st.Tables {
		if t.Parent == root.OID && t.Partition {
			if t.Kind == 'p' {
				leaves = append(leaves, p.leaves(t)...)
			} else {
				leaves = append(leaves, t)
			}
		}
	}
	return leaves
}

func (p *planner) mark(root *table, done map[uint32]bool) {
	done[root.OID] = true
	for _, t := range p.st.Tables {
		if t.Parent == root.OID && t.Partition {
			p.mark(t, done)
		}
	}
}
