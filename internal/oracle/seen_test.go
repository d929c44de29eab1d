package oracle

import (
	"context"
	"slices"
	"strings"
	"time"
)

// mostSets bounds how many ways to place one answer are tried.
const mostSets = 300

// compareSeen checks an answer that is not that of a position: it must hold all
// that was acknowledged before the request, and may hold any of what was being
// committed meanwhile. Commits become visible in an order of their own. What a
// crash undid later is like anything else until then.
func (c *checker) compareSeen(ctx context.Context, j job) {
	_, must := c.acknowledged(j.since)
	all := slices.Clone(c.in[j.n:])
	for _, tx := range c.undone {
		over := c.lives[tx.life]
		if j.rec.begun.After(over.next) {
			continue
		}
		all = append(all, tx)
		if j.rec.ended.Before(over.ended) && !tx.acked.IsZero() && tx.acked.Before(j.since) {
			must = append(must, tx)
		}
	}
	if j.with != nil && !slices.Contains(must, j.with) && !c.lives.undone(j.with, j.rec.ended) {
		must = append(must, j.with)
	}
	isIn := map[*transaction]bool{}
	for _, tx := range must {
		isIn[tx] = true
	}
	reads := c.s.readBy(j.rec.req.ep)
	var open []*transaction
	for _, tx := range all {
		if !isIn[tx] && tx.sent.Before(j.rec.ended) && tx.touches(reads) {
			open = append(open, tx)
		}
	}
	slices.SortFunc(open, func(a, b *transaction) int { return a.sent.Compare(b.sent) })
	c.tally["seen"]++
	// Definitions and truncations show in snapshots from before them.
	var defined []*transaction
	for _, tx := range open {
		if tx.touches(nil) {
			defined = append(defined, tx)
		}
	}
	var tried []string
	var shown []*transaction
	sets, placed := 0, false
	place := func() bool {
		sets++
		var txs []*transaction
		latest := 0
		for _, tx := range all {
			if !isIn[tx] {
				if slices.Contains(shown, tx) {
					txs = append(txs, tx.only(nil))
				}
				continue
			}
			if tx.end == 0 && tx.life < latest {
				return false // it was undone before another began
			}
			latest = max(latest, tx.life)
			txs = append(txs, tx.only(reads))
		}
		var got result
		err := c.rep.without(ctx, func() (err error) {
			if len(txs) > 0 {
				if err := c.rep.apply(ctx, txs); err != nil {
					return err
				}
			}
			got, err = c.ask(ctx, j.rec.req)
			return err
		})
		if err != nil {
			return false // these transactions need others
		}
		tried = append(tried, got.String())
		placed = got == j.rec.result
		return placed
	}
	for n := 0; n <= len(defined) && sets < mostSets && !placed; n++ {
		shown = defined[:n]
		each(open, isIn, nil, func() bool { return sets < mostSets && !place() })
	}
	switch {
	case !placed && sets < mostSets:
		c.fail(j.rec, "the answer lacks what was acknowledged, or holds what never was together\ngot  %s\nno set of the %d transactions under way gives that; some give\n     %s\nacknowledged, of those after the first %d: %v\nunder way: %v\n%s",
			j.rec.result, len(open), strings.Join(tried[:min(3, len(tried))], "\n     "), j.n, must, open, c.around(j.n))
	case !placed:
		c.tally["not placed"]++
	}
}

// each marks every set of the open transactions, in the order of when they were
// sent, that could have been visible together: what one saw acknowledged before
// it was sent is there if it is. It ends early, and returns false, when f does.
func each(open []*transaction, isIn map[*transaction]bool, out []*transaction, f func() bool) bool {
	if len(open) == 0 {
		return f()
	}
	tx := open[0]
	follows := slices.ContainsFunc(out, func(o *transaction) bool {
		return !o.acked.IsZero() && o.acked.Before(tx.sent) && (o.end != 0 || o.life == tx.life)
	})
	if !follows {
		isIn[tx] = true
		if !each(open[1:], isIn, out, f) {
			return false
		}
	}
	isIn[tx] = false
	return each(open[1:], isIn, append(out[:len(out):len(out)], tx), f)
}

// readBy returns the tables that an endpoint may read, by name.
func (s *schema) readBy(e *endpoint) map[string]bool {
	reads := map[string]bool{}
	for _, t := range s.tables {
		if strings.Contains(e.sql, t.name) {
			reads[t.name] = true
			if t.child != nil {
				reads[t.child.name] = true
			}
		}
	}
	for _, v := range s.views {
		if strings.Contains(e.sql, v.name) {
			reads[v.from.name] = true
		}
	}
	for _, f := range s.functions {
		if strings.Contains(e.sql, f.name+"(") {
			reads[f.from.name] = true
		}
	}
	// Policies, and views of a table that another inherits from.
	for _, t := range s.tables {
		if t.child != nil && reads[t.name] {
			reads[t.child.name] = true
		}
	}
	if s.restrict {
		reads[s.tables[0].name] = true
	}
	return reads
}

// only returns what a transaction did to some tables. What it did elsewhere may
// rest on transactions that are left out.
func (tx *transaction) only(reads map[string]bool) *transaction {
	part := *tx
	part.effects = slices.DeleteFunc(slices.Clone(tx.effects), func(e effect) bool { return e.name != "" && !reads[e.name[1:]] })
	return &part
}

// touches says that a transaction may matter to what reads these tables.
func (tx *transaction) touches(reads map[string]bool) bool { return len(tx.only(reads).effects) > 0 }

// settledBy is when a transaction is over for certain.
func (tx *transaction) settledBy() time.Time {
	if !tx.acked.IsZero() {
		return tx.acked
	}
	// Its connection broke while it committed.
	return tx.sent.Add(time.Second)
}
