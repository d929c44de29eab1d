package keep

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

var source = revision.Source{SystemID: 77, Timeline: 3}

func openLog(t testing.TB, o Options) *Log {
	t.Helper()
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// generator makes random transactions in the order of commits.
type generator struct {
	r       *rand.Rand
	lsn     revision.LSN
	xid     revision.XID
	current []*catalog.Relation
	version int
	// huge makes some values large.
	huge bool
}

const firstTable = 16000

func newGenerator(seed uint64, tables int) *generator {
	g := &generator{r: rand.New(rand.NewPCG(seed, 1)), lsn: 1000, xid: 700}
	for i := range tables {
		g.current = append(g.current, g.relation(firstTable+catalog.OID(i)))
	}
	return g
}

// everyThird leaves out some tables.
func wanted(rel *catalog.Relation) bool { return rel.OID%3 != 2 }

func (g *generator) relation(oid catalog.OID) *catalog.Relation {
	g.version++
	rel := &catalog.Relation{
		OID: oid, Schema: "s" + fmt.Sprint(oid%2), Name: fmt.Sprintf("t\x00%d_%d", oid, g.r.IntN(3)),
		Identity: catalog.Identity("dnfi"[g.r.IntN(4)]),
	}
	for i := range g.r.IntN(5) {
		rel.Columns = append(rel.Columns, catalog.Column{
			Name: fmt.Sprintf("c%d", i), Type: catalog.OID(20 + g.r.IntN(3)), Key: g.r.IntN(2) == 0,
		})
	}
	if rel.Columns == nil {
		rel.Columns = []catalog.Column{}
	}
	return rel
}

func (g *generator) row(rel *catalog.Relation) change.Row {
	row := make(change.Row, len(rel.Columns))
	for i := range row {
		switch g.r.IntN(8) {
		case 0:
		case 1:
			row[i] = change.Value{Kind: change.Null}
		case 2:
			row[i] = change.Value{Kind: change.Text, Text: []byte{}}
		default:
			n := g.r.IntN(30)
			if g.huge && g.r.IntN(40) == 0 {
				n = g.r.IntN(3 * pieceBytes)
			}
			text := make([]byte, n)
			for j := range text {
				text[j] = byte(g.r.Uint32())
				if j > 200 {
					copy(text[j:], text[:j])
					break
				}
			}
			row[i] = change.Value{Kind: change.Text, Text: text}
		}
	}
	return row
}

func (g *generator) change() change.Change {
	i := g.r.IntN(len(g.current))
	rel := g.current[i]
	if g.r.IntN(10) == 0 { // the same description under another pointer
		c := *rel
		rel = &c
	}
	c := change.Change{Relation: rel}
	switch g.r.IntN(12) {
	case 0:
		g.current[i] = g.relation(rel.OID)
		c.Op, c.Relation = change.Define, g.current[i]
	case 1:
		c.Op, c.Relation = change.Define, nil
	case 2:
		c.Op = change.Truncate
	case 3, 4:
		c.Op, c.Old = change.Delete, g.row(rel)
	case 5, 6, 7:
		c.Op, c.Old, c.New = change.Update, g.row(rel), g.row(rel)
		for i := range c.Old {
			if g.r.IntN(2) == 0 {
				c.New[i] = c.Old[i]
			}
		}
		if g.r.IntN(5) == 0 {
			c.Old = nil
		}
	default:
		c.Op, c.New = change.Insert, g.row(rel)
	}
	return c
}

func (g *generator) next() *change.Transaction { return g.sized(g.r.IntN(6)) }

func (g *generator) sized(changes int) *change.Transaction {
	g.lsn += revision.LSN(1 + g.r.IntN(500))
	g.xid = max(g.xid+revision.XID(g.r.IntN(20)), 30) - revision.XID(g.r.IntN(15))
	commit := g.lsn
	g.lsn += revision.LSN(1 + g.r.IntN(50))
	tx := &change.Transaction{
		XID: g.xid, Commit: commit, End: g.lsn, Count: changes,
		Time: time.UnixMicro(1_700_000_000_000_000 + g.r.Int64N(1e15)).UTC(),
	}
	for range changes {
		tx.Changes = append(tx.Changes, g.change())
	}
	return tx
}

// spilled returns the transaction as one that is not in memory.
func spilled(tx *change.Transaction) *change.Transaction {
	c := *tx
	c.Changes = nil
	c.Spilled = func(yield func(*change.Change) error) error {
		for _, c := range tx.Changes {
			if err := yield(&c); err != nil {
				return err
			}
		}
		return nil
	}
	return &c
}

// image is a change as text, with all that must survive.
func image(index uint64, c *change.Change) string {
	row := func(r change.Row) string {
		if r == nil {
			return "none"
		}
		s := "("
		for _, v := range r {
			if v.Kind == change.Text && v.Text == nil {
				s += "nil "
			}
			if len(v.Text) > 100 {
				s += fmt.Sprintf("%d#%d#%x ", v.Kind, len(v.Text), sha256.Sum256(v.Text))
				continue
			}
			s += fmt.Sprintf("%d%x ", v.Kind, v.Text)
		}
		return s + ")"
	}
	s := fmt.Sprintf("%d %c %s %s ", index, c.Op, row(c.Old), row(c.New))
	if c.Relation != nil {
		s += fmt.Sprintf("%d %q %q %c %+v", c.Relation.OID, c.Relation.Schema, c.Relation.Name, c.Relation.Identity, c.Relation.Columns)
	}
	return s
}

// touches says whether the log has a transaction for some tables.
func touches(tx *change.Transaction, tables map[catalog.OID]bool) bool {
	return slices.ContainsFunc(tx.Changes, func(c change.Change) bool {
		return c.Relation == nil || wanted(c.Relation) && (tables == nil || tables[c.Relation.OID])
	})
}

// naive says what the log must give for a transaction.
func naive(tx *change.Transaction, from uint64, tables map[catalog.OID]bool) (images []string) {
	var index uint64
	for i := range tx.Changes {
		c := &tx.Changes[i]
		at := index
		if c.Op != change.Define || c.Relation == nil {
			index++
		}
		if at >= from && (c.Relation == nil || wanted(c.Relation) && (tables == nil || tables[c.Relation.OID])) {
			images = append(images, image(at, c))
		}
	}
	return images
}

// compare holds the log against the transactions that were appended, for one
// question.
func compare(l *Log, model []*change.Transaction, tables map[catalog.OID]bool, after, upTo revision.LSN, from uint64) error {
	var want []*change.Transaction
	end := l.End()
	for _, tx := range model {
		if tx.End > after && tx.End <= min(upTo, end) && touches(tx, tables) {
			want = append(want, tx)
		}
	}
	rest := want
	err := l.Scan(tables, after, upTo, func(xid revision.XID, end revision.LSN) bool {
		if len(rest) == 0 || rest[0].XID != xid || rest[0].End != end {
			rest = nil
			return false
		}
		rest = rest[1:]
		return true
	})
	if err != nil {
		return err
	}
	if len(rest) > 0 || rest == nil && len(want) > 0 {
		return fmt.Errorf("scan in (%s, %s] differs: %d of %d left", after, upTo, len(rest), len(want))
	}
	rest = want
	pointers := map[string]*catalog.Relation{}
	err = l.Read(context.Background(), tables, after, upTo, func(tx *Tx) (bool, error) {
		if len(rest) == 0 {
			return false, fmt.Errorf("read gives %s, which should not be there", tx.End)
		}
		w := rest[0]
		rest = rest[1:]
		if tx.XID != w.XID || tx.End != w.End || tx.Commit != w.Commit || !tx.Time.Equal(w.Time) {
			return false, fmt.Errorf("%d %s %s %s instead of %d %s %s %s", tx.XID, tx.Commit, tx.End, tx.Time, w.XID, w.Commit, w.End, w.Time)
		}
		images := naive(w, from, tables)
		return true, tx.Each(from, tables, func(index uint64, c *change.Change) (bool, error) {
			got := image(index, c)
			if len(images) == 0 || got != images[0] {
				return false, fmt.Errorf("transaction %s from %d: %.200s instead of %.200v", tx.End, from, got, images)
			}
			images = images[1:]
			if c.Relation != nil {
				name := image(0, &change.Change{Relation: c.Relation})
				if p := pointers[name]; p != nil && p != c.Relation {
					return false, errors.New("one description has two pointers")
				}
				pointers[name] = c.Relation
			}
			return true, nil
		})
	})
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("read in (%s, %s] ends before %s", after, upTo, rest[0].End)
	}
	return err
}

// question draws a set of tables, a range and an index.
func (g *generator) question(begin, end revision.LSN) (tables map[catalog.OID]bool, after, upTo revision.LSN, from uint64) {
	if g.r.IntN(4) > 0 {
		tables = map[catalog.OID]bool{}
		for range g.r.IntN(4) {
			tables[firstTable+catalog.OID(g.r.IntN(len(g.current)+1))] = g.r.IntN(6) > 0
		}
	}
	span := int64(end-begin) + 1
	after = begin + revision.LSN(g.r.Int64N(span))
	upTo = begin + revision.LSN(g.r.Int64N(span+span/4+1))
	if g.r.IntN(3) == 0 {
		after, upTo = begin, ^revision.LSN(0)
	}
	if g.r.IntN(2) == 0 {
		from = uint64(g.r.IntN(8))
	}
	return tables, after, upTo, from
}

func segmentFiles(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	return files
}
