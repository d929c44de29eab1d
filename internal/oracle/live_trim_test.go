package oracle

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sort"
	"strings"
	"time"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

func (s *schema) tableNames() []string {
	var all []string
	for _, t := range s.tables {
		all = append(all, t.name)
	}
	return all
}

// addTable adds a table that only the lane itself writes to.
func (lr *liveRun) addTable(name, columns string) {
	lr.more = append(lr.more, name)
	lr.s.ddl = append(lr.s.ddl, "CREATE TABLE "+name+" ("+columns+")", "ALTER TABLE "+name+" REPLICA IDENTITY FULL")
}

func (lr *liveRun) addFiller() {
	lr.addTable("filler", "id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, filling text")
}

// idleShapes returns shapes that nothing ever touches, of tables that are written
// to all the time.
func (lr *liveRun) idleShapes(r *rand.Rand) []*liveShape {
	filler := &table{name: "filler", key: []*column{{name: "id", kind: kindKey}}}
	filler.cols = filler.key
	all := []*liveRelation{{name: "filler", t: filler, columns: filler.cols, feeds: []string{"filler"}}}
	relations := lr.s.relations()
	all = append(all, relations[0], pick(r, relations))
	var shapes []*liveShape
	for i, rel := range all {
		condition := fmt.Sprintf([]string{"%s = 0", "%s IS NULL", "%s::text = 'never'"}[i], rel.t.key[0].name)
		sh := &liveShape{
			id: 200 + i, path: "/v1/shape", args: url.Values{}, rel: rel, rule: lr.ruleOf(rel), idle: true, columns: names(rel.t.key),
			condition: condition,
		}
		sh.args.Set("table", rel.name)
		sh.args.Set("where", condition)
		sh.args.Set("columns", strings.Join(sh.columns, ","))
		shapes = append(shapes, sh)
	}
	return shapes
}

// fillLog writes more than the kept log holds, and then nothing for a while, in
// which tidemark is started anew: what is in its memory does not help then.
func (lr *liveRun) fillLog(ctx context.Context, _ *run, r *rand.Rand) {
	for n := 0; n == 0 || ctx.Err() == nil; n++ {
		for left := lr.lane.maxLog * int64(between(r, 120, 200)/time.Millisecond) / 100; left > 0 && (n == 0 || ctx.Err() == nil); {
			size := 8<<10 + r.IntN(int(lr.lane.maxLog)/16)
			left -= int64(size)
			if err := lr.admin("INSERT INTO filler (filling) VALUES ($1)", strings.Repeat(itoa(r.IntN(10)), size)); err != nil && !lr.lane.crashes {
				lr.Error(err)
			}
			pause(ctx, between(r, 5, 25))
		}
		lr.between(ctx, r, 50, 300)
		if !lr.lane.child {
			continue
		}
		if chance(r, 50) {
			lr.subject.killChild()
		} else if err := lr.subject.stopChild(); err != nil {
			lr.Errorf("tidemark did not end in good order: %v", err)
		}
		if err := lr.subject.startChild(); err != nil {
			lr.Error(err)
		}
		lr.between(ctx, r, 300, 500)
	}
}

// written returns how many bytes were committed after a position, and after one
// moment and before another.
func (j *liveJudge) written(after revision.LSN, from, until time.Time) int64 {
	n := int64(0)
	for i := sort.Search(len(j.log), func(i int) bool { return j.log[i].end > after }); i < len(j.log); i++ {
		if at := j.log[i].at; at.After(from) && !at.After(until) {
			n += int64(j.log[i].size)
		}
	}
	return n
}

// trimmed reports whether what a follower has to be told next may not be kept any
// more. Half of the log is kept at least, and whoever had everything is within
// the newer half of that: the bounds leave room for what the kept log has beside
// the changes.
func (r *reading) trimmed(x *exchange) bool {
	most := r.j.lane.maxLog
	switch {
	case most == 0 || r.sh.rel == nil || r.handle == "" || r.handle != x.handle:
		return false
	case r.rested:
		return r.j.written(revision.LSN(r.seen), time.Time{}, x.ended) > most/8
	case r.end.lsn == 0:
		return r.j.written(0, r.begun, x.ended) > most/8
	}
	return r.j.written(revision.LSN(r.end.lsn), time.Time{}, x.ended) > most/4
}

// outlives counts followers of one handle from before anything that is kept.
func (r *reading) outlives(x *exchange) {
	if most := r.j.lane.maxLog; most > 0 && r.sh.idle && r.j.written(0, r.first, x.begun) > most+most/4 {
		r.j.tally["outlived"]++
	}
}
