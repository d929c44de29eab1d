// Package docs_test runs the commands of README.md and docs/ against a throwaway
// Postgres, and holds the pages to the code: settings, flags, metrics, types of
// problems, dependencies, links.
//
// Blocks marked sh and sql are run in order, those of one page in one shell, with
// a folder and a server of its own. A block that only starts a tidemark leaves it
// running until the next one, a block marked "sh stopped", or the end of the
// page; the demo ends with its second-level section. In commands, the default
// addresses stand for free ones. A block marked "text exact" is what the one
// before it writes.
package docs_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

// bin is the folder of the built program, once tidemark was called.
var bin string

func run(m *testing.M) int {
	var err error
	if bin, err = os.MkdirTemp("", "tidemark-docs-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(bin)
	return m.Run()
}

// tidemark builds the program and returns its folder.
func tidemark(t *testing.T) string {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	return bin
}

var build = sync.OnceValue(func() error {
	cmd := exec.Command("go", "build", "-o", filepath.Join(bin, "tidemark"), "./cmd/tidemark")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
})

func TestCommands(t *testing.T) {
	for _, tool := range []string{"bash", "curl", "psql", "make", "go"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the commands of the documentation need %s: %v", tool, err)
		}
	}
	for _, p := range pages(t, "README.md", "docs/*.md") {
		if p.runs() {
			t.Run(strings.TrimSuffix(filepath.Base(p.name), ".md"), func(t *testing.T) {
				t.Parallel()
				walk(t, p)
			})
		}
	}
}

func (p *page) runs() bool {
	return slices.ContainsFunc(p.sections, func(s section) bool {
		return slices.ContainsFunc(s.blocks, func(b block) bool { return b.runs() })
	})
}

// walk runs the blocks of one page.
func walk(t *testing.T, p page) {
	db := pgtest.Start(t, pgtest.Options{TCP: true}).DB(t)
	work := t.TempDir()
	for _, dir := range []string{"examples", "docs"} {
		if err := os.CopyFS(filepath.Join(work, dir), os.DirFS(filepath.Join(root, dir))); err != nil {
			t.Fatal(err)
		}
	}
	addr := ports{freeAddr(t), freeAddr(t), freeAddr(t), freeAddr(t)}
	sh := newShell(t, work, environ(t, tidemark(t), db, addr), addr)
	out := ""
	for _, sec := range p.sections {
		for _, b := range sec.blocks {
			if b.is(exact) && !strings.Contains(out, b.text) {
				t.Errorf("%s:%d: what is written is another text:\n%s", p.name, b.line, out)
			}
			if !b.runs() {
				continue
			}
			var err error
			if out, err = sh.block(b); err != nil {
				t.Fatalf("%s:%d: %v", p.name, b.line, err)
			}
		}
		if sh.leave == nil {
			continue
		}
		if err := sh.leave(); err != nil {
			t.Fatalf("%s: at the end of %s: %v", p.name, sec.title, err)
		}
	}
}

// environ is what a reader of the documentation has set, with this run's
// addresses in place of the defaults.
func environ(t *testing.T, path string, db *pgtest.Database, addr ports) []string {
	t.Helper()
	env := []string{
		"PATH=" + path + string(os.PathListSeparator) + os.Getenv("PATH"),
		"HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir(), "LC_ALL=C.UTF-8",
		"DATABASE_URL=" + db.DSN(),
		"PGHOST=" + db.Server.SocketDir(), "PGPORT=" + portOf(db.Server), "PGUSER=postgres", "PGDATABASE=" + db.Name,
		"TIDEMARK_LISTEN_HTTP=" + addr.http, "TIDEMARK_LISTEN_ADMIN=" + addr.admin,
		"TIDEMARK_SERVER=http://" + addr.http, "TIDEMARK_ADMIN=http://" + addr.admin, "TIDEMARK_GRPC=" + addr.grpc,
	}
	for _, name := range []string{"TIDEMARK_PG_BIN", "XDG_CACHE_HOME"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// block runs one block, or starts what it starts, and returns what it wrote.
func (s *shell) block(b block) (out string, err error) {
	text := strings.NewReplacer("127.0.0.1:8080", s.ports.http, "127.0.0.1:8081", s.ports.admin,
		"127.0.0.1:50051", s.ports.grpc, "127.0.0.1:8443", s.ports.gateway).Replace(b.text)
	command := strings.TrimSpace(text)
	oneLine := !strings.Contains(command, "\n")
	if b.is(stopped) {
		s.stop()
	}
	switch {
	case b.language == "sql":
		out, err = s.run("psql -qX -v ON_ERROR_STOP=1 \"$DATABASE_URL\" <<'END OF SQL'\n" + text + "END OF SQL\n")
	case oneLine && (command == "make demo" || command == "tidemark demo"):
		s.stop()
		if err = makesSense(command); err == nil {
			err = s.demo()
		}
	case oneLine && strings.HasPrefix(command, "tidemark serve"):
		s.stop()
		var log string
		if log, err = s.background(command); err == nil {
			url := "http://" + s.ports.admin + "/readyz"
			if strings.HasPrefix(command, "tidemark serve-testing") {
				url = "http://" + s.ports.gateway + "/openapi.json"
			}
			err = s.ready(url, log)
		}
	case oneLine && strings.HasPrefix(command, "make "):
		err = makesSense(command)
	default:
		out, err = s.run(text)
	}
	s.t.Logf("%s\n%s", command, out)
	return out, err
}
