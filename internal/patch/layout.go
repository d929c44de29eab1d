package patch

import (
	"slices"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
)

// layout says where the columns of a plan are in the rows of one relation, and
// how they are written.
type layout struct {
	relation *catalog.Relation
	fits     bool // all columns are there and of the types that the plan says

	columns    []int // of Plan.Columns
	aggregates []int // of Plan.Aggregates, -1 for one without a column
	kept       []int // of Plan.kept
	keys       []int // of Plan.Key
	keyAt      []int // for each kept column its place in Plan.Key, or -1

	heads []head // of Plan.Columns
}

// head is how a member of the result's object begins.
type head struct {
	text []byte // {"name": or ,"name":
	form form
}

// concerns returns the layout of a change of a row that the plan is about: nil
// for a change of another table. It returns false where what the change does
// cannot be followed.
func (p *Plan) concerns(c *change.Change) (*layout, bool) {
	if c.Relation == nil {
		return nil, false
	}
	if !slices.Contains(p.Reads.Tables, c.Relation.OID) {
		return nil, true
	}
	width := len(c.Relation.Columns)
	switch c.Op {
	case change.Insert:
		if len(c.New) != width {
			return nil, false
		}
	case change.Update:
		if len(c.New) != width || len(c.Old) != width {
			return nil, false
		}
	case change.Delete:
		if len(c.Old) != width {
			return nil, false
		}
	default:
		return nil, false
	}
	l := p.layout.Load()
	if l == nil || l.relation != c.Relation {
		l = p.newLayout(c.Relation)
		p.layout.Store(l)
	}
	return l, l.fits
}

// kept returns the columns whose values a state keeps of every row: those of the
// order, in which the key is, or the key alone.
func (p *Plan) kept() int {
	if len(p.Order) > 0 {
		return len(p.Order)
	}
	return len(p.Key)
}

func (p *Plan) keptColumn(i int) (name string, typ catalog.OID, class match.Class) {
	if len(p.Order) > 0 {
		return p.Order[i].Column, p.Order[i].Type, p.Order[i].Class
	}
	return p.Key[i].Column, p.Key[i].Type, p.Key[i].Class
}

// keyOf returns the place of a column in Key, or -1.
func (p *Plan) keyOf(column string) int {
	return slices.IndexFunc(p.Key, func(k match.KeyColumn) bool { return k.Column == column })
}

func (p *Plan) newLayout(rel *catalog.Relation) *layout {
	l := &layout{relation: rel, fits: true, heads: p.heads()}
	find := func(name string, typ catalog.OID) int {
		i := rel.Column(name)
		if i < 0 || rel.Columns[i].Type != typ {
			l.fits = false
		}
		return i
	}
	for _, c := range p.Columns {
		l.columns = append(l.columns, find(c.Column, c.Type))
	}
	for _, a := range p.Aggregates {
		if a.Kind == CountRows {
			l.aggregates = append(l.aggregates, -1)
			continue
		}
		l.aggregates = append(l.aggregates, find(a.Column, a.Type))
	}
	if len(p.Aggregates) > 0 {
		return l
	}
	for _, k := range p.Key {
		l.keys = append(l.keys, find(k.Column, k.Type))
	}
	for i := range p.kept() {
		name, typ, _ := p.keptColumn(i)
		l.kept = append(l.kept, find(name, typ))
		l.keyAt = append(l.keyAt, p.keyOf(name))
	}
	return l
}

func (p *Plan) heads() []head {
	var heads []head
	add := func(name string, f form) {
		text := []byte{'{'}
		if len(heads) > 0 {
			text[0] = ','
		}
		heads = append(heads, head{text: append(appendString(text, []byte(name)), ':'), form: f})
	}
	for _, c := range p.Columns {
		add(c.Name, formOf(c.Base, c.Enum))
	}
	for _, a := range p.Aggregates {
		add(a.Name, formNumber)
	}
	return heads
}
