package oracle

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// phaseEndpoints is how many endpoints one sequential run has.
const phaseEndpoints = 60

// playPhases plays random scenarios, one after the other, for a while. What
// fails is made small and left in a folder that TestReplay plays.
func playPhases(t *testing.T, seed uint64, total time.Duration) {
	server := pgtest.Start(t, pgtest.Options{})
	end := time.Now().Add(total)
	for n := uint64(0); time.Until(end) > phaseRun/4 && !t.Failed(); n++ {
		sc := randomScenario(t, rand.New(rand.NewPCG(seed+n, 7)), server, phaseEndpoints, 2000)
		began := time.Now()
		p, err := play(t, server, sc, max(phaseRun/4, min(phaseRun, time.Until(end))))
		if err != nil {
			t.Fatalf("seed %d: %v", seed+n, err)
		}
		p.report(seed+n, time.Since(began))
		if p.failed != nil {
			p.explain(server, seed+n)
		}
	}
	of, missing := drawn.missing()
	t.Logf("%d of %d pairs of forms drawn", of-len(missing), of)
}

// phaseRun is how long one scenario is played.
const phaseRun = 4 * time.Second

func (p *player) report(seed uint64, took time.Duration) {
	n := p.tally
	p.Logf("seed %d: %d steps, %d answers compared, %.0f a second; %d that the step could touch, %d changed (%d of them in memory), %d others kept and %d dropped; %d exact, %d expired, %d inexact; slowest %s, %s",
		seed, n["steps"], n["answers"], float64(n["answers"])/took.Seconds(), n["pairs"], n["changed"], n["changed in memory"], n["kept"], n["dropped"],
		n["exact"], n["expired"], n["inexact"], p.slowest.Round(time.Millisecond), p.slow)
	if p.failed == nil && n["changed"] == 0 {
		p.Errorf("no answer changed")
	}
}

// explain makes a scenario that fails small, and leaves it in a folder.
func (p *player) explain(server *pgtest.Server, seed uint64) {
	p.Errorf("a wrong answer, seed %d, %s\n%s", seed, p.failed.req.ep.cell, p.failed)
	patience, err := time.ParseDuration(os.Getenv("TIDEMARK_SHRINK"))
	if err != nil {
		patience = shrinkTime
	}
	if patience == 0 {
		return
	}
	small, failed := shrink(p.TB, server, p.scenario, p.failed, patience)
	dir, err := os.MkdirTemp("", "tidemark-replay-")
	if err == nil {
		err = small.save(dir)
	}
	if err != nil {
		p.Errorf("it could not be kept: %v", err)
		return
	}
	p.Errorf("%d steps, %d rows; to play it again: TIDEMARK_REPLAY=%s go test ./internal/oracle -run TestReplay\n%s\n%s",
		len(small.steps), len(small.rows), dir, failed, short(writeSteps(small.steps)))
}

// TestPhases plays scenarios for a moment.
func TestPhases(t *testing.T) {
	playPhases(t, seedOf(t), phaseTime(t))
}

// replayFolder holds scenarios that are played every time. Each is named after
// a rule without which it fails, see seamFaults.
const replayFolder = "testdata/replay"

func scenarios(t *testing.T) []string {
	dirs, err := filepath.Glob(filepath.Join(replayFolder, "*"))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no scenarios in %s: %v", replayFolder, err)
	}
	return dirs
}

// TestReplay plays scenarios from folders: those that are always played, or the
// one that TIDEMARK_REPLAY names.
func TestReplay(t *testing.T) {
	dirs := scenarios(t)
	if dir := os.Getenv("TIDEMARK_REPLAY"); dir != "" {
		dirs = []string{dir}
	}
	server := pgtest.Start(t, pgtest.Options{})
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			sc, err := load(dir)
			if err != nil {
				t.Fatal(err)
			}
			p, err := play(t, server, sc, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			if p.failed != nil {
				t.Errorf("%s\nwhat tidemark said last:\n%s", p.failed, p.subject.log)
			}
		})
	}
}

// TestGridIsCovered draws endpoints until no pair of forms is left, or says how
// many are. Each of them must be one that Postgres takes.
func TestGridIsCovered(t *testing.T) {
	db := pgtest.DB(t)
	conn := db.Conn(t)
	r := rand.New(rand.NewPCG(seedOf(t), 8))
	s := skeleton(r)
	for _, sql := range s.ddl {
		db.Exec(t, sql)
	}
	cov := &coverage{seen: map[pair]int{}}
	n, placed := 0, 0
	for ; n < 3000; n++ {
		e := compose(r, s, cov.draw(r), fmt.Sprintf("e%d", n))
		if e == nil {
			continue
		}
		placed++
		sql, _ := e.numbered()
		if _, err := conn.Prepare(t.Context(), "", sql); err != nil {
			t.Errorf("%s: %v\n%s", e.cell, err, sql)
		}
		if _, missing := cov.missing(); len(missing) == 0 {
			break
		}
	}
	of, missing := cov.missing()
	t.Logf("%d endpoints, %d placed, %d of %d pairs", n, placed, of-len(missing), of)
	if len(missing) > 0 {
		t.Errorf("never drawn: %v", missing[:min(len(missing), 20)])
	}
}

// phaseTime is for how long scenarios are played, unless TIDEMARK_PHASES says it.
func phaseTime(t *testing.T) time.Duration {
	if d, err := time.ParseDuration(os.Getenv("TIDEMARK_PHASES")); err == nil {
		return d
	}
	if testing.Short() {
		return phaseRun
	}
	return 2 * phaseRun
}
