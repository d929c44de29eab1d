package oracle

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// seamFaults are the rules that a build with the tag seamfault can switch off,
// each with the run that needs it most, and what that run then has to say.
var seamFaults = []struct{ rule, test, lane, finds string }{
	{"", "TestOracle", "standby", ""},
	{"compare", "TestOracle", "standby", notOfPosition},
	{"wait", "TestOracle", "standby and slow log", notOfPosition},
	{"order", "TestOracle", "plain", notOfPosition},
	{"torn", "TestOracle", "truncate", notOfPosition},

	{"", "TestPhases", "", ""},
	{"keys", "TestPhases", "", wrongAnswer},
	{"edge", "TestPhases", "", wrongAnswer},
	{"witness", "TestPhases", "", wrongAnswer},
	{"tested", "TestPhases", "", wrongAnswer},
}

const (
	notOfPosition = "the answer is not that of its position"
	wrongAnswer   = "a wrong answer"
	faultTries    = 4
)

// switchable reports whether some package can switch a rule off.
func switchable(t *testing.T, rule string) bool {
	files, err := filepath.Glob("../*/rules_fault.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), `"`+rule+`"`) {
			return true
		}
	}
	return false
}

// TestOracleNoticesFaults builds this package with one rule switched off at a
// time, and expects an oracle that finds answers that are wrong.
func TestOracleNoticesFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the package again; run without -short")
	}
	bin := t.TempDir() + "/oracle.test"
	if out, err := exec.Command("go", "test", "-c", "-tags", "seamfault", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := func(rule, test, lane string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, bin, "-test.run", "^"+test+"$", "-test.v", "-test.short")
		cmd.Env = append(os.Environ(), "TIDEMARK_SEAM_OFF="+rule, "TIDEMARK_LANE="+lane, "TIDEMARK_SHRINK=0s")
		if rule != "" {
			cmd.Env = append(cmd.Env, "TIDEMARK_PHASES=30s") // it ends with the first wrong answer
		}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, f := range seamFaults {
		t.Run(strings.Join(strings.Fields(f.rule+" "+f.test+" "+f.lane), " "), func(t *testing.T) {
			if f.rule != "" && !switchable(t, f.rule) {
				t.Skip("no package can switch it off")
			}
			if f.rule != "" && f.test == "TestPhases" && os.Getenv("TIDEMARK_SOAK") == "" {
				t.Skip("which endpoints and rows come is chance, and now and then none shows it; set TIDEMARK_SOAK to run it")
			}
			t.Parallel()
			for range faultTries {
				out, err := run(f.rule, f.test, f.lane)
				switch {
				case strings.Contains(out, "--- SKIP"):
					t.Skip("it takes a Postgres")
				case f.rule == "" && err != nil:
					t.Fatalf("with every rule in force: %v\n%s", err, out)
				case f.rule == "":
					return
				case strings.Contains(out, f.finds):
					return
				case err != nil:
					t.Logf("without the rule it failed for another reason:\n%s", out)
				}
			}
			t.Errorf("without the rule %q no wrong answer was found", f.rule)
		})
	}
}
