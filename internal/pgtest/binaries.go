package pgtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// ErrNoBinaries means that no initdb and postgres were found on this machine.
var ErrNoBinaries = errors.New("no initdb and postgres found")

// binEnv names the directory of the server's programs, and then it is the only place that is looked at.
const binEnv = "TIDEMARK_PG_BIN"

// Binaries finds a directory with initdb and postgres. The order: $TIDEMARK_PG_BIN; Debian's, highest
// version first; what pg_config and the PATH say; Homebrew's and Postgres.app's; what Install or NPM
// put into the user's cache folder or the project's. The error says what to type on this system.
func Binaries() (string, error) {
	if dir := os.Getenv(binEnv); dir != "" {
		dir, err := filepath.Abs(dir)
		if err != nil {
			return "", &Error{Op: "find", Err: err}
		}
		if !hasServer(dir) {
			return "", &Error{Op: "find", Err: fmt.Errorf("%w in %s=%s", ErrNoBinaries, binEnv, dir), Hint: "unset it, or name a directory that holds both"}
		}
		return dir, nil
	}
	for dir := range candidates {
		if hasServer(dir) {
			return dir, nil
		}
	}
	return "", &Error{Op: "find", Err: ErrNoBinaries, Hint: installHint()}
}

// candidates yields directories to look at, best first. It runs pg_config only if it gets that far.
func candidates(yield func(string) bool) {
	each := func(pattern string) bool {
		for _, dir := range newestFirst(pattern) {
			if !yield(dir) {
				return false
			}
		}
		return true
	}
	if !each("/usr/lib/postgresql/*/bin") {
		return
	}
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil && !yield(strings.TrimSpace(string(out))) {
		return
	}
	if p, err := exec.LookPath("postgres"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil && !yield(filepath.Dir(p)) {
			return
		}
	}
	for _, pattern := range []string{
		"/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql@*/bin",
		"/usr/local/opt/postgresql@*/bin",
		"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
	} {
		if !each(pattern) {
			return
		}
	}
	for _, root := range npmRoots() {
		if !each(filepath.Join(root, "*", npmBin())) {
			return
		}
	}
}

func hasServer(dir string) bool {
	for _, program := range []string{"initdb", "postgres"} {
		if !isProgram(filepath.Join(dir, program)) {
			return false
		}
	}
	return true
}

func isProgram(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o111 != 0
}

var digits = regexp.MustCompile(`\d+`)

// newestFirst expands a pattern with one star, which stands for a version or ends in one.
func newestFirst(pattern string) []string {
	dirs, _ := filepath.Glob(pattern)
	before, _, _ := strings.Cut(pattern, "*")
	version := func(dir string) int {
		n, _ := strconv.Atoi(digits.FindString(strings.TrimPrefix(dir, before)))
		return n
	}
	slices.SortFunc(dirs, func(a, b string) int { return cmp.Compare(version(b), version(a)) })
	return dirs
}

func installHint() string {
	switch runtime.GOOS {
	case "darwin":
		return "brew install postgresql@17"
	case "linux":
		cmd := ""
		switch {
		case isDebian() && os.Geteuid() == 0:
			cmd = "apt-get update && apt-get install -y postgresql"
		case isDebian():
			cmd = "sudo apt-get update && sudo apt-get install -y postgresql"
		case isProgram("/usr/bin/dnf"):
			cmd = "sudo dnf install -y postgresql-server"
		case isProgram("/sbin/apk"):
			cmd = "apk add postgresql"
		case isProgram("/usr/bin/pacman"):
			cmd = "sudo pacman -S postgresql"
		}
		npm := "go run github.com/tidemarkdb/tidemark/internal/pgtest/ensure"
		if cmd == "" {
			return npm
		}
		return cmd + "   (or, without root, in the project: " + npm + ")"
	}
	return "install PostgreSQL 14 or later and set " + binEnv + " to the directory of its programs"
}

var versionLine = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// binVersion asks a server's program for its major version.
func binVersion(ctx context.Context, bin string) (int, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "postgres"), "--version")
	cmd.Env = cleanEnv()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, &Error{Op: "ask " + bin + " for its version", Err: fmt.Errorf("%w: %s", err, out)}
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return 0, &Error{Op: "ask " + bin + " for its version", Err: fmt.Errorf("it said %q", out)}
	}
	return strconv.Atoi(string(m[1]))
}
