package oracle

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestOracleNoticesFaults builds this package with one rule of the seam switched
// off at a time, and expects an oracle that finds answers that are wrong.
func TestOracleNoticesFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the package again; run without -short")
	}
	bin := t.TempDir() + "/oracle.test"
	if out, err := exec.Command("go", "test", "-c", "-tags", "seamfault", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := func(rule, lane string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, bin, "-test.run", "^TestOracle$", "-test.v")
		cmd.Env = append(os.Environ(), "TIDEMARK_SEAM_OFF="+rule, "TIDEMARK_LANE="+lane)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	// Each rule with the lane that needs it most.
	for _, c := range []struct{ rule, lane string }{
		{"", "standby"}, {"compare", "standby"}, {"wait", "standby and slow log"}, {"order", "plain"}, {"torn", "truncate"},
	} {
		t.Run(c.rule+" "+c.lane, func(t *testing.T) {
			for range 4 {
				out, err := run(c.rule, c.lane)
				switch {
				case strings.Contains(out, "--- SKIP"):
					t.Skip("it takes a Postgres")
				case c.rule == "" && err != nil:
					t.Fatalf("with every rule in force: %v\n%s", err, out)
				case c.rule == "":
					return
				case strings.Contains(out, "the answer is not that of its position"):
					return
				case err != nil:
					t.Logf("without the rule it failed for another reason:\n%s", out)
				}
			}
			t.Errorf("without the rule %q no wrong answer was found", c.rule)
		})
	}
}
