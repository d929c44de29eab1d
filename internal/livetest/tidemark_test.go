package livetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

const (
	// startTimeout bounds what a process needs to be ready.
	startTimeout = 40 * time.Second
	// settleTimeout bounds how long a client may lag behind the last write.
	settleTimeout = 30 * time.Second
)

// tidemark is a server as one test sees it.
type tidemark struct {
	t testing.TB
	*server
}

// server has a folder, a database, and a process from start to kill or stop.
type server struct {
	db    *pgtest.Database
	dir   string
	http  string // host:port, the same after each start
	admin string

	mu    sync.Mutex
	cmd   *exec.Cmd
	stdin io.Closer
	log   bytes.Buffer
}

// settings are those of tidemark.yaml below live, and the files beside it.
type settings struct {
	live      string            // lines of YAML, without indentation
	tables    string            // the list in tables.yaml
	endpoints map[string]string // file name -> text
}

// newTidemark prepares a folder and the database, whose tables must be there,
// and starts a server on them.
func newTidemark(t testing.TB, db *pgtest.Database, s settings) *tidemark {
	t.Helper()
	m := &tidemark{t, &server{db: db, dir: t.TempDir(), http: freeAddr(t), admin: freeAddr(t)}}
	config := fmt.Sprintf("database: %q\nendpoints: ./endpoints\nslot: %s\nlisten: { http: %q, admin: %q }\nlive:\n  dir: ./data\n", db.DSN(), db.Name, m.http, m.admin)
	if s.tables != "" {
		config += "  tables: ./tables.yaml\n"
		m.file("tables.yaml", "tables:\n"+indent(s.tables))
	}
	m.file("tidemark.yaml", config+indent(s.live))
	if err := os.Mkdir(filepath.Join(m.dir, "endpoints"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range s.endpoints {
		m.file(filepath.Join("endpoints", name), text)
	}
	m.run("init", "--yes")
	t.Cleanup(func() {
		m.kill()
		if t.Failed() {
			t.Logf("the end of tidemark's log:\n%s", m.tail(60))
		}
	})
	m.start()
	return m
}

func indent(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString("  " + line)
	}
	return b.String()
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (m *tidemark) file(name, text string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *tidemark) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], append(args, "--config", filepath.Join(m.dir, "tidemark.yaml"))...)
	cmd.Env = append(os.Environ(), commandEnv+"=1")
	cmd.Dir = m.dir
	return cmd
}

// run runs one command of tidemark to its end.
func (m *tidemark) run(args ...string) string {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	cmd := m.command(ctx, args...)
	in, err := cmd.StdinPipe() // open as long as it runs
	if err != nil {
		m.t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.CombinedOutput()
	if err != nil {
		m.t.Fatalf("tidemark %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Write takes the server's log.
func (m *server) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.log.Write(p)
}

func (m *server) tail(lines int) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := strings.SplitAfter(m.log.String(), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "")
}

// start starts the server and returns once shapes can be followed.
func (m *tidemark) start() {
	m.t.Helper()
	cmd := m.command(context.Background(), "serve")
	cmd.Stdout, cmd.Stderr = m.server, m.server
	in, err := cmd.StdinPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.cmd, m.stdin = cmd, in
	m.ready()
}

func (m *tidemark) ready() {
	m.t.Helper()
	for end := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		res, err := http.Get(m.url("/v1/health"))
		if err == nil {
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if res.StatusCode == http.StatusOK && bytes.Contains(body, []byte(`"active"`)) {
				return
			}
			err = fmt.Errorf("%s: %s", res.Status, body)
		}
		if time.Now().After(end) {
			m.t.Fatalf("tidemark was not ready within %s: %v\n%s", startTimeout, err, m.tail(60))
		}
	}
}

// kill ends the server as a crash does.
func (m *tidemark) kill() { _ = m.end(syscall.SIGKILL) } // its error is that it was killed

// stop ends the server as an operator does, and expects that it ends well.
func (m *tidemark) stop() {
	m.t.Helper()
	if err := m.end(syscall.SIGTERM); err != nil {
		m.t.Errorf("the server did not end well: %v", err)
	}
}

func (m *tidemark) end(sig os.Signal) error {
	if m.cmd == nil {
		return nil
	}
	cmd := m.cmd
	m.cmd = nil
	_ = cmd.Process.Signal(sig)
	late := time.AfterFunc(startTimeout, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	late.Stop()
	_ = m.stdin.Close()
	return err
}

func (m *tidemark) url(path string) string { return "http://" + m.http + path }
