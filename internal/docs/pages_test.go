package docs_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/config"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

func portOf(s *pgtest.Server) string { return strconv.Itoa(s.Port()) }

// makesSense checks a make command without running what could be this test:
// make itself says what it would do.
func makesSense(command string) error {
	words := strings.Fields(command)
	if words[0] != "make" {
		return nil
	}
	cmd := exec.Command("make", append([]string{"--dry-run", "--no-print-directory", "-C", root}, words[1:]...)...)
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=")
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "Nothing to be done") {
		return fmt.Errorf("%s: %v\n%s", command, err, out)
	}
	return nil
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// found returns the first group of every match, without repetitions.
func found(t *testing.T, re, text string) []string {
	t.Helper()
	var out []string
	for _, m := range regexp.MustCompile(re).FindAllStringSubmatch(text, -1) {
		if !slices.Contains(out, m[1]) {
			out = append(out, m[1])
		}
	}
	if len(out) == 0 {
		t.Fatalf("nothing matches %s any more", re)
	}
	slices.Sort(out)
	return out
}

// same compares what the code has with what a page lists.
func same(t *testing.T, what, where string, code, page []string) {
	t.Helper()
	for _, x := range code {
		if !slices.Contains(page, x) {
			t.Errorf("%s %s is not in %s", what, x, where)
		}
	}
	for _, x := range page {
		if !slices.Contains(code, x) {
			t.Errorf("%s has the %s %s, and there is none", where, what, x)
		}
	}
}

func TestProblems(t *testing.T) {
	var code []string
	for _, dir := range []string{"internal/httpapi", "internal/liveapi", "internal/adminapi"} {
		names, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(dir), "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`(?:TypePrefix ?\+ ?|http\.Status\w+, )"([a-z-]+)"`).FindAllStringSubmatch(string(text), -1) {
				code = append(code, m[1])
			}
		}
	}
	page := found(t, "(?m)^\\| `([a-z-]+)` \\| [0-9]{3} \\|", read(t, "docs/consistency.md"))
	same(t, "problem", "docs/consistency.md", code, page)
}

func TestMetrics(t *testing.T) {
	code := found(t, `desc\("([a-z_]+)"`, read(t, "internal/adminapi/metrics.go"))
	for i := range code {
		code[i] = "tidemark_" + code[i]
	}
	same(t, "metric", "docs/operating.md", code, found(t, "(?m)^\\| `(tidemark_[a-z_]+)` \\|", read(t, "docs/operating.md")))
}

func TestSettings(t *testing.T) {
	const where = "docs/configuration.md"
	text := read(t, where)
	flags, defaults := config.Keys()
	for _, f := range flags {
		key := strings.ReplaceAll(f, "-", "_")
		variable := "TIDEMARK_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
		def := ""
		if defaults[f] != "" {
			def = "`" + defaults[f] + "` "
		}
		row := fmt.Sprintf("| `%s` | `--%s` | `%s` | %s| ", key, f, variable, def)
		if !strings.Contains(text, row) {
			t.Errorf("%s has no row that begins with %s", where, row)
		}
	}
	same(t, "setting", where, strings.Split(strings.ReplaceAll(strings.Join(flags, " "), "-", "_"), " "),
		found(t, "(?m)^\\| `([a-z_.]+)` \\| `--", text))
}

func TestFlags(t *testing.T) {
	program := filepath.Join(tidemark(t), "tidemark")
	help := func(args ...string) string {
		out, err := exec.Command(program, append(args, "--help")...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	text := read(t, "docs/configuration.md")
	commands := found(t, `(?m)^  ([a-z-]+)  `, help())
	for _, c := range commands {
		if c == "permissions" { // its commands have flags of their own
			commands = append(commands, found(t, `(?m)^  (permissions [a-z-]+)  `, help(c))...)
		}
	}
	for _, c := range commands {
		if !strings.Contains(text, "| `tidemark "+c) {
			t.Errorf("the command %s is not in docs/configuration.md", c)
		}
		for _, f := range found(t, `(--[a-z][a-z.-]+)`, help(strings.Fields(c)...)) {
			if !strings.Contains(text, "`"+f) {
				t.Errorf("the flag %s of %s is not in docs/configuration.md", f, c)
			}
		}
	}
}

func TestHeaderKeys(t *testing.T) {
	code := found(t, `(?m)^\tkey[A-Z]\w+ += "([a-z]+)"`, read(t, "internal/query/header.go"))
	text := read(t, "docs/endpoints.md")
	for _, k := range code {
		if !strings.Contains(text, "`-- "+k+": ") {
			t.Errorf("the key %s is not in docs/endpoints.md", k)
		}
	}
}

// TestDependencies takes what is imported for what is direct, whatever go.mod
// says beside it.
func TestDependencies(t *testing.T) {
	page := found(t, "(?m)^\\| `([a-z0-9_./-]+)` \\|", read(t, "docs/dependencies.md"))
	out, err := exec.Command("go", "list", "-f",
		`{{range .Imports}}{{.}}{{"\n"}}{{end}}{{range .TestImports}}{{.}}{{"\n"}}{{end}}{{range .XTestImports}}{{.}}{{"\n"}}{{end}}`,
		"github.com/tidemarkdb/tidemark/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := found(t, `(?m)^\t([a-z]\S+) v`, read(t, "go.mod"))
	var code []string
	for path := range strings.FieldsSeq(string(out)) {
		for _, m := range modules {
			if (path == m || strings.HasPrefix(path, m+"/")) && !slices.Contains(code, m) {
				code = append(code, m)
			}
		}
	}
	for _, tool := range found(t, `(?m)^\t([a-z]\S+)$`, read(t, "lint/go.mod")) {
		for _, m := range found(t, `(?m)^\t([a-z]\S+) v`, read(t, "lint/go.mod")) {
			if strings.HasPrefix(tool, m+"/") || tool == m {
				code = append(code, m)
			}
		}
	}
	same(t, "dependency", "docs/dependencies.md", code, page)
}

var (
	link    = regexp.MustCompile(`\[[^\]]*\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	fenced  = regexp.MustCompile("(?ms)^```.*?^```$")
	coded   = regexp.MustCompile("`[^`\n]*`")
)

func TestLinks(t *testing.T) {
	for _, p := range pages(t, "*.md", "docs/*.md") {
		text := coded.ReplaceAllString(fenced.ReplaceAllString(p.text, ""), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			file, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			target := p.name
			if file != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(p.name), filepath.FromSlash(file)))
			}
			if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(target))); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", p.name, m[1])
				continue
			}
			if anchor != "" && !slices.Contains(anchors(read(t, target)), anchor) {
				t.Errorf("%s: %s has no heading %s", p.name, target, anchor)
			}
		}
	}
}

// anchors are the names that Markdown gives to headings.
func anchors(text string) []string {
	var out []string
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_':
				return r
			}
			return -1
		}, strings.ToLower(m[1]))
		out = append(out, name)
	}
	return out
}
