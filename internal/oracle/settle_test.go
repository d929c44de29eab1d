package oracle

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"time"

	"github.com/tidemarkdb/tidemark/internal/revision"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// settle waits until tidemark has caught up with everything, and reads every
// answer once more, from memory where it is there.
func (run *run) settle(ctx context.Context) []*record {
	all := run.recover("with everything at rest")
	c := run.newClient(rand.New(rand.NewPCG(run.seed, 5)))
	defer c.http.CloseIdleConnections()
	pause(ctx, run.subject.opts.MaxStaleness)
	var finals []*record
	for _, e := range run.eps {
		for _, q := range e.asked {
			rec := c.read(ctx, q, revision.MinimizeLatency, "")
			// After a new slot was made, it takes a moment to know of transactions
			// that began before it.
			for deadline := time.Now().Add(5 * time.Second); rec.token.Kind == revision.KindBound && time.Now().Before(deadline); {
				pause(ctx, 20*time.Millisecond)
				rec = c.read(ctx, q, revision.MinimizeLatency, "")
			}
			finals = append(finals, rec)
		}
	}
	run.records = all
	run.accounts()
	return finals
}

// accounts checks that the store holds what it says, as far as can be seen from
// outside: nothing is left of what was dropped.
func (run *run) accounts() {
	t := run.subject.tenant
	if t == nil {
		return
	}
	if t.Answers() != nil {
		run.audit(t)
		return // what is followed is kept beyond the budget, and read again at once
	}
	before := t.Status().Store
	if before.Bytes <= 0 || before.Entries <= 0 || before.Bytes > before.MaxBytes+before.MaxBytes/4 {
		run.Errorf("%d answers of %d bytes are kept, within a budget of %d", before.Entries, before.Bytes, before.MaxBytes)
	}
	run.audit(t)
	t.PurgeAll()
	if after := t.Status().Store; after.Bytes != 0 || after.Entries != 0 || after.Nodes != 0 {
		run.Errorf("after everything was dropped, %d answers of %d bytes and %d nodes are left", after.Entries, after.Bytes, after.Nodes)
	}
}

// audit has tidemark look for wrong answers itself.
func (run *run) audit(t *tenant.Tenant) {
	report, err := t.Audit(context.Background(), tenant.AuditRequest{})
	if err != nil {
		run.Errorf("the audit failed: %v", err)
	}
	if report.Wrong > 0 {
		run.Errorf("the audit found %d of %d answers wrong: %+v", report.Wrong, report.Checked, report.Findings)
	}
	run.Logf("the audit compared %d answers, skipped %d, left %d undecided", report.Checked, report.Skipped, report.Undecided)
}

// summary fails a run that was too quiet to show anything.
func (c *checker) summary() {
	var names []string
	for name := range c.tally {
		names = append(names, name)
	}
	sort.Strings(names)
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, ", %s %d", name, c.tally[name])
	}
	c.Logf("%s: %d transactions, %d requests%s", c.lane.name, len(c.in), len(c.records), b.String())
	if c.failed > 0 {
		c.Errorf("%d violations", c.failed)
	}
	least := map[string]int{"hits": 20, "stored": 20, "refilled": 5, "exact snapshots": 5, "queries": 30}
	for name, n := range least {
		if c.lane.unavailable {
			n /= 4 // they wait much
		}
		if c.tally[name] < n {
			c.Errorf("the run was too quiet: %s %d, of at least %d", name, c.tally[name], n)
		}
	}
	if len(c.in) < fewTransactions {
		c.Errorf("the run was too quiet: %d transactions", len(c.in))
	}
	if !c.lane.inexact && c.tally["inexact"] > 3+3*c.tally["answers"]/100 { // some, where the machine is busy
		c.Errorf("%d of %d answers were of no exact position", c.tally["inexact"], c.tally["answers"])
	}
	if c.tally["not placed"]*4 > c.tally["seen"]+8 {
		c.Errorf("%d of %d answers could not be placed", c.tally["not placed"], c.tally["seen"])
	}
}
