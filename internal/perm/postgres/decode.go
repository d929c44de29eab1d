package postgres

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// The tables of the tidemark schema that the log is read for.
const (
	tableRelationships = "relationships"
	tableSchemas       = "permission_schemas"
	tableMetadata      = "relationship_metadata"
	tableCounters      = "relationship_counters"
)

// Tables are what has to be in the publication, beside the mapped ones.
var Tables = []string{tableRelationships, tableSchemas, tableMetadata, tableCounters}

// decoder turns transactions into deltas.
type decoder struct {
	columns map[*catalog.Relation][]int // of our own tables, by the order in which they are asked for
	names
}

// columnsOf returns where the named columns stand in a relation's rows.
func (d *decoder) columnsOf(rel *catalog.Relation, names ...string) ([]int, error) {
	if at, ok := d.columns[rel]; ok {
		return at, nil
	}
	at := make([]int, len(names))
	for i, name := range names {
		if at[i] = rel.Column(name); at[i] < 0 {
			return nil, fmt.Errorf("%v has no column %s: run tidemark init", rel, name)
		}
	}
	if d.columns == nil {
		d.columns = make(map[*catalog.Relation][]int)
	}
	d.columns[rel] = at
	return at, nil
}

// decoded is what a transaction means, and whether everything has to be loaded
// anew to know it.
type decoded struct {
	*perm.Delta        // nil: nothing to do with permissions
	reload      string // why, or empty
	defines     bool   // tables may not be what they were
	relevant    bool   // it changed the tables
	ignored     int    // rows that are no relationship
	example     string // why one of them is none
}

func (d *decoded) ignore(why string) {
	d.ignored++
	d.example = why
}

// transaction decodes one. An error means that the tables are not what they must
// be. Without bound, mapped rows mean nothing yet.
func (d *decoder) transaction(tx *change.Transaction, bound *bound) (out decoded, err error) {
	out.relevant = bound == nil
	delta := func() *perm.Delta {
		if out.Delta == nil {
			out.Delta = &perm.Delta{End: tx.End, XID: tx.XID, At: tx.Time}
		}
		return out.Delta
	}
	err = tx.Each(func(c *change.Change) error {
		if c.Relation == nil {
			out.defines, out.relevant = true, true
			return nil
		}
		if c.Relation.Schema == "tidemark" {
			if c.Op != change.Define && slices.Contains(Tables, c.Relation.Name) {
				out.relevant = true
				return d.own(c, delta, &out)
			}
			return nil
		}
		if bound == nil || bound.Bound == nil {
			return nil
		}
		if !bound.Reads(c.Relation) {
			if c.Op == change.Define && !bound.known[c.Relation.OID] {
				out.defines, out.relevant = true, true // it may be a new partition
			}
			return nil
		}
		out.relevant = true
		switch c.Op {
		case change.Define:
			if !bound.SameShape(c.Relation) {
				out.reload = fmt.Sprintf("the definition of %v changed", c.Relation)
			}
			return nil
		case change.Truncate:
			out.reload = fmt.Sprintf("%v was truncated", c.Relation)
			return nil
		}
		removed, added, problems, err := bound.Changes(c)
		if err != nil {
			return err
		}
		for _, p := range problems {
			out.ignore(p.String())
		}
		if len(removed)+len(added) > 0 {
			to := delta()
			to.Updates = appendUpdates(to.Updates, graph.Remove, removed)
			to.Updates = appendUpdates(to.Updates, graph.Add, added)
		}
		return nil
	})
	return out, err
}

func appendUpdates(to []graph.Update, op graph.Op, rels []tuple.Relationship) []graph.Update {
	for _, r := range rels {
		to = append(to, graph.Update{Op: op, Relationship: r})
	}
	return to
}

// own decodes a change of one of our own tables.
func (d *decoder) own(c *change.Change, delta func() *perm.Delta, out *decoded) error {
	if c.Op == change.Truncate {
		if c.Relation.Name != tableMetadata {
			out.reload = fmt.Sprintf("%v was truncated", c.Relation)
		}
		return nil
	}
	switch c.Relation.Name {
	case tableRelationships:
		at, err := d.columnsOf(c.Relation, "resource_type", "resource_id", "relation", "subject_type", "subject_id",
			"subject_relation", "caveat", "context", "expires_at")
		if err != nil {
			return err
		}
		to := delta()
		for _, side := range []struct {
			op  graph.Op
			row change.Row
		}{{graph.Remove, c.Old}, {graph.Add, c.New}} {
			if side.row == nil {
				continue
			}
			r, err := d.relationship(side.row, at)
			if err != nil {
				return fmt.Errorf("%v: %w", c.Relation, err)
			}
			if why := d.meant(&r); why != nil {
				if side.op == graph.Add {
					out.ignore(fmt.Sprintf("%v: %v", c.Relation, why))
				}
				continue
			}
			to.Updates = append(to.Updates, graph.Update{Op: side.op, Relationship: r})
		}
	case tableSchemas:
		at, err := d.columnsOf(c.Relation, "version", "definition")
		if err != nil {
			return err
		}
		if c.Op != change.Insert {
			out.reload = fmt.Sprintf("%v was changed by hand", c.Relation)
			return nil
		}
		text := string(c.New[at[1]].Text)
		to := delta()
		to.Schema = &text
		_, err = fmt.Sscan(string(c.New[at[0]].Text), &to.SchemaVersion)
		return err
	case tableMetadata:
		at, err := d.columnsOf(c.Relation, "metadata")
		if err != nil || c.Op != change.Insert {
			return err
		}
		delta().Metadata = string(c.New[at[0]].Text)
	case tableCounters:
		at, err := d.columnsOf(c.Relation, "name", "filter")
		if err != nil {
			return err
		}
		to := delta()
		if to.Counters == nil {
			to.Counters = make(map[string]*graph.Filter)
		}
		if c.Old != nil {
			to.Counters[string(c.Old[at[0]].Text)] = nil
		}
		if c.New != nil {
			f, err := counterFilter(c.New[at[1]].Text)
			if err != nil {
				return err
			}
			to.Counters[string(c.New[at[0]].Text)] = f
		}
	}
	return nil
}

func counterFilter(text []byte) (*graph.Filter, error) {
	f := new(graph.Filter)
	if err := json.Unmarshal(text, f); err != nil {
		return nil, fmt.Errorf("the filter of a counter: %w", err)
	}
	return f, nil
}

// relationship reads a row of the relationships table. The context is as the
// database has it.
func (d *decoder) relationship(row change.Row, at []int) (r tuple.Relationship, err error) {
	for i := range at {
		if kind := row[at[i]].Kind; kind == change.Absent || i < 6 && kind != change.Text {
			return r, fmt.Errorf("the log does not say which row changed: ALTER TABLE tidemark.relationships REPLICA IDENTITY FULL")
		}
	}
	text := func(i int) []byte { return row[at[i]].Text }
	r.Resource = tuple.Object{Type: d.names.of(text(0)), ID: string(text(1))}
	r.Relation = d.names.of(text(2))
	r.Subject = tuple.Subject{Object: tuple.Object{Type: d.names.of(text(3)), ID: string(text(4))}, Relation: d.names.of(text(5))}
	r.Caveat, r.Context = d.names.of(text(6)), string(text(7))
	if v := row[at[8]]; v.Kind == change.Text {
		r.Expires, err = parseTime(string(v.Text))
	}
	return r, err
}

// parseTime reads a timestamptz as sessions with DateStyle ISO and TimeZone UTC
// write it, in microseconds. Infinity is never.
func parseTime(s string) (int64, error) {
	switch s {
	case "infinity":
		return 0, nil
	case "-infinity":
		return longAgo, nil
	}
	text, bc := strings.CutSuffix(s, " BC")
	year, rest, ok := strings.Cut(text, "-")
	n, err := strconv.Atoi(year)
	// The rest is read in a leap year, as the year itself may be beyond what
	// time.Parse takes.
	t, err2 := time.Parse("2006-01-02 15:04:05.999999-07", "2004-"+rest)
	if !ok || err != nil || err2 != nil {
		return 0, fmt.Errorf("%q is not a time", s)
	}
	if bc {
		n = 1 - n
	}
	t = time.Date(n, t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
	switch {
	case t.UnixMicro() == 0:
		return longAgo, nil // 0 is never
	case t.Unix() >= math.MaxInt64/1_000_000:
		return math.MaxInt64, nil // Postgres has some more years
	}
	return t.UnixMicro(), nil
}

// longAgo stands for times that a relationship cannot have and that are over.
const longAgo = -1
