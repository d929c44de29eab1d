package feed

import (
	"bytes"
	"maps"
	"time"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/pgoutput"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// definePrefix marks the logical messages by which triggers in the database
// announce that a definition changed.
const definePrefix = "tidemark.ddl"

// committed is a transaction whose commit has been read.
type committed struct {
	*pending
	commit, end revision.LSN
	time        time.Time
}

// builder turns the messages of committed transactions into changes.
type builder struct {
	relations *relations
	viaRoot   bool // see rows
	decoder   pgoutput.Decoder
}

// build decodes a transaction that is to be delivered. What it returns for one
// that fits in memory owns all of its memory; for one on disk it reads the
// messages in c, which the caller discards afterwards.
func (b *builder) build(c *committed, xid revision.XID) (*change.Transaction, error) {
	t := &change.Transaction{XID: xid, Commit: c.commit, End: c.end, Time: c.time}
	if c.file != nil {
		return t, b.buildSpilled(t, c)
	}
	return t, b.buildHeld(t, c)
}

func (b *builder) buildHeld(t *change.Transaction, c *committed) error {
	first := b.relations.begin()
	out := make([]change.Change, 0, c.count+len(first))
	for _, rel := range first {
		out = append(out, change.Change{Op: change.Define, Relation: rel})
	}
	// One slab for the transaction: its values outlive the buffer that the
	// messages were gathered in.
	slab := *c.pending
	slab.mem = bytes.Clone(c.mem)
	rs := rows{left: c.count, viaRoot: b.viaRoot}
	emit := func(ch *change.Change) error {
		out = append(out, *ch)
		return nil
	}
	err := slab.each(func(msg []byte) error {
		m, err := b.decoder.Decode(msg, c.streamed)
		if err != nil {
			return fail("decode", err)
		}
		t.Bytes += int64(len(msg))
		if r, ok := m.(*pgoutput.Relation); ok {
			if rel, tell := b.relations.describe(r); tell {
				out = append(out, change.Change{Op: change.Define, Relation: rel})
			}
		} else if err := rs.changes(m, b.relations.current, emit); err != nil {
			return err
		}
		rs.left--
		return nil
	})
	t.Changes, t.Count = out, len(out)
	return err
}

// description is what one relation message of a spilled transaction meant.
type description struct {
	rel  *catalog.Relation
	tell bool
}

// buildSpilled reads the transaction once without its rows, to count and to
// settle what its relation messages mean: reading it again, as often as the
// sink likes, must give the same.
func (b *builder) buildSpilled(t *change.Transaction, c *committed) error {
	first := b.relations.begin()
	before := maps.Clone(b.relations.current)
	var descriptions []description
	t.Count = len(first)
	err := c.each(func(msg []byte) error {
		t.Bytes += int64(len(msg))
		switch pgoutput.Type(msg[0]) {
		case pgoutput.TypeRelation:
			m, err := b.decoder.Decode(msg, c.streamed)
			if err != nil {
				return fail("decode", err)
			}
			rel, tell := b.relations.describe(m.(*pgoutput.Relation))
			descriptions = append(descriptions, description{rel, tell})
			if tell {
				t.Count++
			}
		case pgoutput.TypeTruncate:
			m, err := b.decoder.Decode(msg, c.streamed)
			if err != nil {
				return fail("decode", err)
			}
			t.Count += len(m.(*pgoutput.Truncate).Relations)
		default:
			t.Count++
		}
		return nil
	})
	t.Spilled = func(yield func(*change.Change) error) error {
		rs := rows{arena: arena{reuse: true}, left: 2, viaRoot: b.viaRoot}
		return rs.replay(c, first, before, descriptions, yield)
	}
	return err
}

// replay decodes a spilled transaction.
func (r *rows) replay(c *committed, first []*catalog.Relation, before map[catalog.OID]*catalog.Relation,
	descriptions []description, yield func(*change.Change) error,
) error {
	for _, rel := range first {
		if err := yield(&change.Change{Op: change.Define, Relation: rel}); err != nil {
			return err
		}
	}
	var decoder pgoutput.Decoder
	current := maps.Clone(before)
	return c.each(func(msg []byte) error {
		m, err := decoder.Decode(msg, c.streamed)
		if err != nil {
			return fail("decode", err)
		}
		if _, ok := m.(*pgoutput.Relation); ok {
			d := descriptions[0]
			descriptions = descriptions[1:]
			current[d.rel.OID] = d.rel
			if !d.tell {
				return nil
			}
			return yield(&change.Change{Op: change.Define, Relation: d.rel})
		}
		r.reset()
		return r.changes(m, current, yield)
	})
}

// skip takes in the relation messages of a transaction that was delivered
// before: the server sends each only once per connection.
func (b *builder) skip(c *committed) error {
	return c.each(func(msg []byte) error {
		if pgoutput.Type(msg[0]) != pgoutput.TypeRelation {
			return nil
		}
		m, err := b.decoder.Decode(msg, c.streamed)
		if err != nil {
			return fail("decode", err)
		}
		b.relations.skip(m.(*pgoutput.Relation))
		return nil
	})
}

// changes yields what one message other than a relation means. The change holds
// until the next call.
func (r *rows) changes(m pgoutput.Message, relations map[catalog.OID]*catalog.Relation,
	yield func(*change.Change) error,
) error {
	c := &r.change
	*c = change.Change{}
	var oid uint32
	switch m := m.(type) {
	case *pgoutput.Insert:
		c.Op, oid = change.Insert, m.Relation
	case *pgoutput.Update:
		c.Op, oid = change.Update, m.Relation
	case *pgoutput.Delete:
		c.Op, oid = change.Delete, m.Relation
	case *pgoutput.Truncate:
		for _, oid := range m.Relations {
			rel := relations[catalog.OID(oid)]
			if rel == nil {
				return unknownRelation(m.Type(), oid)
			}
			c.Op, c.Relation = change.Truncate, rel
			if err := yield(c); err != nil {
				return err
			}
		}
		return nil
	case *pgoutput.LogicalMessage:
		c.Op = change.Define
		return yield(c)
	default:
		return protocolError("%v inside a transaction", m.Type())
	}
	c.Relation = relations[catalog.OID(oid)]
	if c.Relation == nil {
		return unknownRelation(m.Type(), oid)
	}
	var err error
	switch m := m.(type) {
	case *pgoutput.Insert:
		c.New, err = r.whole(c.Relation, m.New)
	case *pgoutput.Update:
		c.Old, c.New, err = r.update(c.Relation, m)
	case *pgoutput.Delete:
		c.Old, err = r.old(c.Relation, m.OldKind, m.Old)
	}
	if err != nil {
		return err
	}
	return yield(c)
}

func unknownRelation(t pgoutput.Type, oid uint32) error {
	return protocolError("%v of relation %d, which was never described", t, oid)
}
