package oracle

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// seamFaults are the rules that a build with the tag seamfault can switch off,
// each with the run that needs it most, and what that run then has to say. Where
// faults meet traffic, there are several tries; a scenario from a folder has one.
// Those that depend on which endpoints and rows are drawn are left to soaks.
var seamFaults = []struct {
	rule, test, lane, finds string
	tries                   int
	soak                    bool
}{
	{"", "TestOracle", "standby", "", 1, false},
	{"compare", "TestOracle", "standby", notOfPosition, 4, false},
	{"wait", "TestOracle", "standby and slow log", notOfPosition, 4, false},
	{"order", "TestOracle", "plain", notOfPosition, 4, false},
	{"torn", "TestOracle", "truncate", notOfPosition, 4, false},

	{"keys", "TestReplay", "", fromMemory, 1, false},
	{"edge", "TestReplay", "", fromMemory, 1, false},
	{"witness", "TestReplay", "", fromMemory, 1, false},
	{"tested", "TestReplay", "", fromMemory, 1, false},

	{"", "TestPhases", "", "", 1, true},
	{"keys", "TestPhases", "", wrongAnswer, 4, true},
	{"edge", "TestPhases", "", wrongAnswer, 4, true},
	{"witness", "TestPhases", "", wrongAnswer, 4, true},
	{"tested", "TestPhases", "", wrongAnswer, 4, true},
}

const (
	notOfPosition = "the answer is not that of its position"
	wrongAnswer   = "a wrong answer"
	fromMemory    = "from memory:" // of a mismatch
)

// switches are the rules that the packages say they can switch off, by package.
func switches(t *testing.T) map[string][]string {
	files, err := filepath.Glob("../*/rules_fault.go")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		pkg := filepath.Base(filepath.Dir(name))
		for _, m := range regexp.MustCompile(`"TIDEMARK_SEAM_OFF"\) != "(\w+)"`).FindAllStringSubmatch(string(text), -1) {
			all[pkg] = append(all[pkg], m[1])
		}
	}
	return all
}

// TestEveryRuleIsMissed makes sure that no rule can be switched off without a
// test that wants it. Those of package answer have the model of that package.
func TestEveryRuleIsMissed(t *testing.T) {
	all := switches(t)
	for pkg, rules := range all {
		for _, rule := range rules {
			if pkg != "answer" && !slices.ContainsFunc(scenarios(t), func(dir string) bool { return filepath.Base(dir) == rule }) {
				t.Errorf("package %s can switch off the rule %q, and %s has no scenario for it", pkg, rule, replayFolder)
			}
		}
	}
	for _, f := range seamFaults {
		if f.rule != "" && !slices.ContainsFunc(slices.Collect(maps.Values(all)), func(rules []string) bool { return slices.Contains(rules, f.rule) }) {
			t.Errorf("no package can switch off the rule %q", f.rule)
		}
	}
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
		cmd.Env = append(os.Environ(), "TIDEMARK_SEAM_OFF="+rule, "TIDEMARK_LANE="+lane, "TIDEMARK_SHRINK=0s", "TIDEMARK_SOAK=")
		if test == "TestReplay" {
			cmd.Env = append(cmd.Env, "TIDEMARK_REPLAY="+filepath.Join(replayFolder, rule))
		}
		if rule != "" {
			cmd.Env = append(cmd.Env, "TIDEMARK_PHASES=30s") // it ends with the first wrong answer
		}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, f := range seamFaults {
		t.Run(strings.Join(strings.Fields(f.rule+" "+f.test+" "+f.lane), " "), func(t *testing.T) {
			if f.soak && os.Getenv("TIDEMARK_SOAK") == "" {
				t.Skip("which endpoints and rows come is chance, and now and then none shows it; set TIDEMARK_SOAK to run it")
			}
			t.Parallel()
			for range f.tries {
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
