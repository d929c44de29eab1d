// Package oracle holds every answer of tidemark, at every level, against the same
// SQL in Postgres at that revision.
//
// A run makes a random schema, random endpoints, writers that note what they did,
// and readers that note what they were told, while one lane's faults happen.
// Afterwards the transactions are replayed in a second database, in the order in
// which the log has them, and each answer is compared with what the endpoint's
// SQL gives there at the answer's position. Nothing of that comes from tidemark:
// effects are known from the writers' own statements, their order from another
// slot with a decoder of three lines, and bodies are put together from columns.
//
// Beside these runs, in which things happen at the same time, there are
// sequential ones: one writer, and after each transaction every answer, compared
// at once with what Postgres says. They find an answer that was wrongly kept
// sooner, and what fails is made small: TIDEMARK_REPLAY names the folder with it
// for TestReplay, TIDEMARK_SHRINK how long to make it smaller. What is in
// testdata/replay is played every time.
//
// Those who follow are held against Postgres likewise (live_*_test.go). Followers of
// every kind keep each response as it came. Afterwards a judge applies the messages
// as a client would that trusts nothing: what it then holds is to be what the
// shape's SQL gives at the position of each batch that is up to date, and what came
// of a table is to be what the log has of it, filtered, message for message. Rows that
// are loaded beside a stream of changes are to be those of the snapshot that they
// name, and to become what Postgres has when both are merged. That the judge would
// notice is shown by spoiling what was received.
//
// Schemas and endpoints are random. Many endpoints are of a grid of features, of
// which every pair is drawn in the end.
//
// TIDEMARK_SEED repeats a run's choices, TIDEMARK_LANE names lanes, separated by
// commas, and TIDEMARK_SOAK says for how long TestSoak goes on.
package oracle

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	// shortRun is how long each lane has traffic in TestOracle.
	shortRun = 2 * time.Second
	// soakRun is how long a lane has traffic in TestSoak before the next one.
	soakRun = 5 * time.Second
	// phasesEvery is after how many lanes TestSoak plays sequential scenarios.
	phasesEvery = 4
)

func seedOf(t testing.TB) uint64 {
	seed := uint64(time.Now().UnixNano()) % 1e9
	if s := os.Getenv("TIDEMARK_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	return seed
}

// chosen returns the lanes that were asked for, or those of a short run or of
// every kind.
func chosen[L any](lanes []L, of func(L) *lane, short bool) (some []L, all bool) {
	names := strings.Split(os.Getenv("TIDEMARK_LANE"), ",")
	all = names[0] == ""
	for _, l := range lanes {
		if slices.Contains(names, of(l).name) || all && !(short && of(l).soakOnly) {
			some = append(some, l)
		}
	}
	return some, all
}

func itself(l *lane) *lane { return l }

// TestOracle runs every lane for a moment.
func TestOracle(t *testing.T) {
	seed := seedOf(t)
	some, all := chosen(lanes, itself, true)
	for i, l := range some {
		t.Run(l.name, func(t *testing.T) {
			if all {
				t.Parallel()
			}
			execute(t, l, seed+uint64(i), shortRun)
		})
	}
}

// TestSoak runs one lane after the other, each with a new seed, for as long as
// TIDEMARK_SOAK says.
func TestSoak(t *testing.T) {
	total, err := time.ParseDuration(os.Getenv("TIDEMARK_SOAK"))
	if err != nil {
		t.Skip("set TIDEMARK_SOAK to a duration such as 10m")
	}
	seed := seedOf(t)
	some, all := chosen(lanes, itself, false)
	end := time.Now().Add(total)
	for n := 0; len(some) > 0 && time.Now().Before(end); n++ {
		if all && n%phasesEvery == 0 {
			t.Run(fmt.Sprintf("phases/%d", seed+uint64(n)), func(t *testing.T) {
				playPhases(t, seed+uint64(n), phasesEvery*phaseRun/2)
			})
		}
		l := some[n%len(some)]
		t.Run(fmt.Sprintf("%s/%d", l.name, seed+uint64(n)), func(t *testing.T) {
			execute(t, l, seed+uint64(n), soakRun)
		})
	}
}
