package oracle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/answer"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// query asks Postgres for what is to be read and not known.
func (p *player) query(ctx context.Context, read []bool) error {
	var b pgconn.Batch
	var asked []int
	for i, q := range p.asked {
		if read[i] && p.dirty[i] {
			b.ExecPrepared(q.ep.name, p.args[i], nil, nil)
			asked = append(asked, i)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	results, err := p.ask.PgConn().ExecBatch(ctx, &b).ReadAll()
	if err != nil {
		return fmt.Errorf("%w\nin: %s", err, p.asked[asked[min(len(results), len(asked)-1)]])
	}
	for n, i := range asked {
		p.last[i] = p.want[i]
		if p.want[i], err = p.asked[i].ep.assemble(p.names[p.asked[i].ep], results[n].Rows); err != nil {
			return err
		}
		p.dirty[i] = false
	}
	return nil
}

// read reads one answer and compares it. Most bring the token of the transaction;
// once one of them was served, everything is applied, and a level that does not
// wait gives the same.
func (p *player) read(ctx context.Context, st *step, i int, token revision.Token) {
	q := p.asked[i]
	req, want := revision.Requirement{Level: revision.AtLeastAsFresh, Token: token}, p.want[i]
	switch q.draw(st.seed, "level", 40) {
	case 0:
		req = revision.Requirement{Level: revision.FullyConsistent}
	case 1:
		if len(p.past) > 0 {
			past := p.past[q.draw(st.seed, "past", uint64(len(p.past)))]
			req, want = revision.Requirement{Level: revision.AtExactSnapshot, Token: past.token}, past.want[i]
		}
	case 2, 3, 4, 5:
		if p.applied.Load() == int64(p.at) {
			req = revision.Requirement{}
		}
	}
	path, query, _ := strings.Cut(q.path, "?")
	began := time.Now()
	r, err := p.subject.tenant.Read(ctx, path, query, req)
	took := time.Since(began)
	if req.Level == revision.AtLeastAsFresh && err == nil {
		p.applied.Store(int64(p.at))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if took > p.slowest {
		p.slowest, p.slow = took, fmt.Sprintf("%s at step %d, %s, after %.40v", req.Level, p.at, st.mode, st.statements)
	}
	if req.Level == revision.AtExactSnapshot && (errors.Is(err, answer.ErrSnapshotExpired) || errors.Is(err, revision.ErrForgotten)) {
		p.tally["expired"]++
		return
	}
	var got result
	var problem string
	from := "memory"
	if err != nil {
		problem = err.Error()
	} else {
		got = result{q.ep.comparable(string(r.Version.Body)), r.Version.Found}
		if !r.Exact {
			p.tally["inexact"]++
		}
		if r.Outcome != answer.Hit {
			from = "a query"
		}
	}
	p.compare(i, req.Level, from, got, want, problem)
}

// compare holds one answer against what Postgres says. p.mu is held where there
// are several readers.
func (p *player) compare(i int, level revision.Level, from string, got, want result, problem string) {
	p.count(i, level, from)
	if (got == want && problem == "") || p.failed != nil {
		return
	}
	told := got.String()
	if problem != "" {
		told = "the error " + problem
	}
	p.failed = &mismatch{p.at, p.asked[i], level, from, told, want.String(), p.last[i].String()}
}

// count notes how precise tidemark is: of the answers that a step could have
// touched and did not change, those that came from memory.
func (p *player) count(i int, level revision.Level, from string) {
	p.tally["answers"]++
	if level == revision.AtExactSnapshot {
		p.tally["exact"]++
		return
	}
	warm, memory := p.warm[i], strings.HasPrefix(from, "memory")
	p.warm[i] = true
	if !p.touched[i] {
		return
	}
	p.tally["pairs"]++
	switch {
	case p.want[i] != p.last[i]:
		p.tally["changed"]++
		if memory {
			p.tally["changed in memory"]++
		}
	case warm && memory:
		p.tally["kept"]++
	case warm:
		p.tally["dropped"]++
	}
}

// together reads with several clients at a time.
func (p *player) together(ctx context.Context, st *step, order []int, token revision.Token) {
	var wg sync.WaitGroup
	work := make(chan int)
	for range 12 {
		wg.Go(func() {
			for i := range work {
				p.read(ctx, st, i, token)
			}
		})
	}
	for _, i := range order {
		work <- i
	}
	close(work)
	wg.Wait()
}
