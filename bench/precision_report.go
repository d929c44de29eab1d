package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// precisionRow is one line of the report.
type precisionRow struct {
	Name    string
	Answers int `json:",omitempty"`
	tally
	Precision      float64 // of the answers that were touched, percent that changed
	TablePrecision float64 // the same, of those that an invalidation by table touches
}

func rowOf(name string, t tally) precisionRow {
	return precisionRow{Name: name, tally: t, Precision: share(t.Changed, t.touched()), TablePrecision: share(t.Changed, t.Tables)}
}

func (r precisionRow) String() string {
	return fmt.Sprintf("  %-18s %8d %8d %8d %8d %8d %9.1f %9.1f", r.Name, r.Changed, r.Patched, r.Dropped, r.Dropped+r.Patched-r.Changed, r.Tables,
		r.Precision, r.TablePrecision)
}

const precisionHead = "                      changed  patched  dropped  in vain by table  precise, %  by table, %"

// precisionResult is the report as JSON.
type precisionResult struct {
	Writes, Answers, Compared, Wrong int
	All, Single                      precisionRow
	Shapes, Operations               []precisionRow
	MeanOfShapes                     float64 // of their precisions, in percent
	FillsPerWrite, QueriesPerWrite   float64
	Mixed                            mixed
}

// report sums up.
func (p *precision) report(m mixed) error {
	all, single := tally{}, tally{}
	byShape, byOperation := map[string]tally{}, map[string]tally{}
	singles := map[string]bool{}
	for i := range shapes {
		singles[shapes[i].name] = shapes[i].single
	}
	for key, t := range p.by {
		all.add(*t)
		o, s := byOperation[key[0]], byShape[key[1]]
		o.add(*t)
		s.add(*t)
		byOperation[key[0]], byShape[key[1]] = o, s
		if singles[key[1]] {
			single.add(*t)
		}
	}
	r := precisionResult{
		Writes: p.writes, Answers: len(p.asks), Compared: p.compared, Wrong: len(p.wrong),
		All: rowOf("all", all), Single: rowOf("one-table shapes", single), Mixed: m,
		FillsPerWrite: p.fills / float64(p.writes), QueriesPerWrite: p.questions / float64(p.writes),
	}
	met := 0
	p.section("by shape: answers after writes")
	p.say("%s", precisionHead)
	for i := range shapes {
		row := rowOf(shapes[i].name, byShape[shapes[i].name])
		for _, a := range p.asks {
			if a.endpoint == row.Name {
				row.Answers++
			}
		}
		r.Shapes = append(r.Shapes, row)
		if row.touched() > 0 {
			met++
			r.MeanOfShapes += row.Precision
		}
		p.say("%s", row)
	}
	r.MeanOfShapes /= max(1, float64(met))
	p.say("%s", r.Single)
	p.say("%s", r.All)
	p.section("by kind of write")
	p.say("%s", precisionHead)
	for _, op := range operations {
		row := rowOf(op.name, byOperation[op.name])
		r.Operations = append(r.Operations, row)
		p.say("%s", row)
	}
	p.vain()
	p.figures(r)
	if err := p.save(r); err != nil {
		return err
	}
	if len(p.wrong) > 0 {
		return fmt.Errorf("%d answers differ from Postgres:\n%s", len(p.wrong), p.wrong[0])
	}
	return nil
}

// vain lists where most answers were dropped for nothing.
func (p *precision) vain() {
	type cell struct {
		operation, shape string
		tally
	}
	var cells []cell
	for key, t := range p.by {
		if t.touched() > t.Changed {
			cells = append(cells, cell{key[0], key[1], *t})
		}
	}
	slices.SortFunc(cells, func(a, b cell) int {
		return cmp.Or(cmp.Compare(b.touched()-b.Changed, a.touched()-a.Changed), cmp.Compare(a.operation+a.shape, b.operation+b.shape))
	})
	p.section("dropped in vain, most often")
	for _, c := range cells[:min(20, len(cells))] {
		p.say("  %-18s %-18s %8d of %8d", c.operation, c.shape, c.touched()-c.Changed, c.touched())
	}
}

func (p *precision) figures(r precisionResult) {
	p.section("in all")
	p.say("  %d writes in %.1f s, of which %.1f s waiting for the log; %d of %d had nothing to change",
		p.writes, p.took.Seconds(), p.waited.Seconds(), p.writer.voided, p.writer.transactions)
	p.say("  %d answers compared with Postgres, %d differ", p.compared, len(p.wrong))
	for i, w := range p.wrong {
		if i < 5 {
			p.say("  %s", w)
		}
	}
	recall := 1.0
	if len(p.wrong) > 0 {
		recall = 0
	}
	p.verdict("recall (1: no answer was ever wrong)", recall, 1, true, "")
	p.fact("precision: of the answers touched, those that changed", r.All.Precision, "%")
	p.fact("the mean of the shapes' precisions", r.MeanOfShapes, "%")
	p.fact("the same by table", r.All.TablePrecision, "%")
	p.fact("of the changed answers of one-table shapes, patched", share(r.Single.Patched, r.Single.Changed), "%")
	if r.All.Stray > 0 {
		// A result that could not be placed in the log is not kept.
		p.fact("answers touched by writes to none of their tables", float64(r.All.Stray), "")
	}
	p.fact("answers changed by a write", float64(r.All.Changed)/float64(p.writes), "")
	p.fact("fills after a write", r.FillsPerWrite, "")
	if p.db.counts {
		p.fact("queries of the shop's tables after a write", r.QueriesPerWrite, "")
	}
	m := r.Mixed
	p.section(fmt.Sprintf("%d reads between %d writes", m.Reads, m.Writes))
	p.fact("hits", share(m.Hits, m.Reads), "%")
	p.fact("hits of an invalidation by table", share(m.TableHits, m.Reads), "%")
	p.fact("hits, of the answers that had been asked for before", share(m.Hits, m.Reads-m.First), "%")
	p.fact("the same by table", share(m.TableHits, m.Reads-m.First), "%")
	p.fact("fills to a write", m.Fills/float64(m.Writes), "")
	if p.db.counts {
		p.fact("queries of the shop's tables to a write", m.Questions/float64(m.Writes), "")
	}
}

// save writes the report as JSON beside the text.
func (p *precision) save(r precisionResult) error {
	if p.results == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.results, p.name+".json"), append(text, '\n'), 0o644)
}
