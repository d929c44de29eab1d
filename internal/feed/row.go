package feed

import (
	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/pgoutput"
)

// arena hands out rows from large blocks, so that a transaction costs a few
// allocations and not one per row.
type arena struct {
	block []change.Value
	used  int
	reuse bool // the rows hold only until the next reset
}

// take returns a row of n absent values. More is the caller's guess of how
// many such rows are still to come.
func (a *arena) take(n, more int) change.Row {
	if len(a.block)-a.used < n {
		const most = 8192
		a.block, a.used = make([]change.Value, max(n, min(n*more, most))), 0
	}
	row := a.block[a.used : a.used+n : a.used+n]
	a.used += n
	return change.Row(row)
}

func (a *arena) reset() {
	if a.reuse {
		clear(a.block[:a.used])
		a.used = 0
	}
}

// rows turns tuples into whole rows.
type rows struct {
	arena
	left int // messages that may still bring rows, to size the arena
	// viaRoot says that partitions are published as their root. A tuple is then
	// called whole because the root's identity is FULL, while the partition that
	// logged it may have left out columns, and null may mean that.
	viaRoot bool
	change  change.Change // handed to yield
}

func checkWidth(rel *catalog.Relation, n int) error {
	if n != len(rel.Columns) {
		return protocolError("a row of %d columns for %v, which has %d", n, rel, len(rel.Columns))
	}
	return nil
}

// whole converts a tuple in which null means null.
func (r *rows) whole(rel *catalog.Relation, t []pgoutput.Column) (change.Row, error) {
	if err := checkWidth(rel, len(t)); err != nil {
		return nil, err
	}
	row := r.take(len(t), r.left)
	for i := range t {
		switch t[i].Kind {
		case pgoutput.Text:
			row[i] = change.Value{Kind: change.Text, Text: t[i].Text}
		case pgoutput.Null:
			row[i].Kind = change.Null
		}
	}
	return row, nil
}

// key converts a tuple of identity columns. The server writes null for all
// others, and columns of an identity are never null, so null means absent. The
// key marks of the relation are not asked: under publish_via_partition_root
// they are those of the root, while the tuple follows the leaf's identity.
func (r *rows) key(rel *catalog.Relation, t []pgoutput.Column) (change.Row, error) {
	if err := checkWidth(rel, len(t)); err != nil {
		return nil, err
	}
	row := r.take(len(t), r.left)
	for i := range t {
		if t[i].Kind == pgoutput.Text {
			row[i] = change.Value{Kind: change.Text, Text: t[i].Text}
		}
	}
	return row, nil
}

func (r *rows) old(rel *catalog.Relation, kind pgoutput.OldKind, t []pgoutput.Column) (change.Row, error) {
	if kind == pgoutput.OldFull && !r.viaRoot {
		return r.whole(rel, t)
	}
	return r.key(rel, t)
}

// update returns both sides of an update.
func (r *rows) update(rel *catalog.Relation, m *pgoutput.Update) (before, after change.Row, err error) {
	if after, err = r.whole(rel, m.New); err != nil {
		return nil, nil, err
	}
	if m.OldKind == pgoutput.NoOld {
		// The server sends no old tuple if the identity did not change. Under
		// FULL it always sends one, unless the relation is a partition root that
		// says FULL above a leaf that does not: then nothing is known.
		before = r.take(len(after), r.left)
		if rel.Identity != catalog.IdentityFull {
			for i := range rel.Columns {
				if rel.Columns[i].Key {
					before[i] = after[i]
				}
			}
		}
		return before, after, nil
	}
	if before, err = r.old(rel, m.OldKind, m.Old); err != nil {
		return nil, nil, err
	}
	for i := range after {
		if after[i].Kind == change.Absent {
			after[i] = before[i]
		}
	}
	return before, after, nil
}
