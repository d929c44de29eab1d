package pgtest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// requireEnv, set to 1, turns the skips of this package into failures.
const requireEnv = "TIDEMARK_REQUIRE_PG"

// shared is the server of all DB calls of one test binary: the first one opens it.
var shared struct {
	sync.Mutex
	server *Server
}

// Main is a TestMain that stops the package's shared server at the end. Without it the watchdog
// does, a moment after the process has ended.
func Main(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	defer func() {
		shared.Lock()
		defer shared.Unlock()
		if shared.server != nil && shared.server.Close() != nil && code == 0 {
			code = 1
		}
	}()
	return m.Run()
}

// Start opens a server for one test and closes it at the end of that test. Without a Postgres on the
// machine the test is skipped, or fails if TIDEMARK_REQUIRE_PG=1.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := Open(context.Background(), o)
	if err != nil {
		skipOrFail(t, err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of %s:\n%s", s.LogFile(), tail(s.logSince(0), 30))
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Shared returns the server of this test binary, with the skip rule of Start. It is for reading:
// whoever stops it stops it for every test.
func Shared(t testing.TB) *Server {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		s, err := Open(context.Background(), Options{})
		if err != nil {
			skipOrFail(t, err)
		}
		shared.server = s
	}
	return shared.server
}

// skipOrFail ends the test. Only a missing server is a reason to skip; a broken one is a failure.
func skipOrFail(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, ErrNoBinaries) && os.Getenv(requireEnv) != "1" {
		t.Skip(err)
	}
	t.Fatal(err)
}

func tail(s string, lines int) string {
	all := strings.SplitAfter(s, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "")
}

// Psql returns the path of psql, or skips the test.
func Psql(t testing.TB) string {
	t.Helper()
	return Tool(t, "psql")
}

// Tool returns the path of a client program such as pgbench: the server's own, else the one on the
// PATH. It skips the test when there is neither, because servers come without them.
func Tool(t testing.TB, name string) string {
	t.Helper()
	if bin, err := Binaries(); err == nil && isProgram(filepath.Join(bin, name)) {
		return filepath.Join(bin, name)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("no %s beside the server and none on the PATH", name)
	}
	return path
}
