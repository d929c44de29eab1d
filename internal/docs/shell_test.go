package docs_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	blockTimeout = time.Minute      // for one block
	startTimeout = time.Minute      // for a server to be ready
	stopTimeout  = 20 * time.Second // for a server to end
)

// shell runs the blocks of one page, one after the other, in one bash: what
// one block sets, the next one sees.
type shell struct {
	t       *testing.T
	dir     string // for our own files
	cmd     *exec.Cmd
	in      io.WriteCloser
	lines   <-chan string
	ports   ports
	blocks  int
	servers int // started in the background

	running bool // one of them is
	// leave, where it is set, undoes what the demo's reader has set.
	leave func() error
}

// ports are where a server listens, as host:port.
type ports struct{ http, admin, grpc, gateway string }

// export is what tells the commands.
func (p ports) export() string {
	return fmt.Sprintf("export TIDEMARK_SERVER=http://%s TIDEMARK_ADMIN=http://%s TIDEMARK_GRPC=%s\n", p.http, p.admin, p.grpc)
}

// done ends each block in the shell's output.
const done = "@@ block done"

func newShell(t *testing.T, work string, env []string, p ports) *shell {
	t.Helper()
	s := &shell{t: t, dir: t.TempDir(), ports: p}
	s.cmd = exec.Command("bash", "--noprofile", "--norc")
	s.cmd.Dir, s.cmd.Env = work, env
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stdout, s.cmd.Stderr = w, w
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	lines := make(chan string, 64)
	go func() {
		defer close(lines)
		defer out.Close()
		for r := bufio.NewScanner(out); r.Scan(); {
			lines <- r.Text()
		}
	}()
	s.lines = lines
	t.Cleanup(s.close)
	fmt.Fprintln(s.in, "set -euo pipefail")
	return s
}

// run runs one block and returns what it wrote.
func (s *shell) run(script string) (string, error) {
	s.blocks++
	file := filepath.Join(s.dir, fmt.Sprintf("block-%d", s.blocks))
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		return "", err
	}
	// What a block writes may not end in a newline.
	fmt.Fprintf(s.in, "source '%s' </dev/null\nprintf '\\n%s\\n'\n", file, done)
	timeout := time.NewTimer(blockTimeout)
	defer timeout.Stop()
	var b strings.Builder
	for {
		select {
		case line, ok := <-s.lines:
			switch {
			case !ok:
				return b.String(), errors.New("it failed")
			case line == done:
				return b.String(), nil
			}
			b.WriteString(line + "\n")
		case <-timeout.C:
			return b.String(), fmt.Errorf("it did not end within %s", blockTimeout)
		}
	}
}

// background runs a command that goes on until it is stopped.
func (s *shell) background(command string) (log string, err error) {
	s.servers++
	log = filepath.Join(s.dir, fmt.Sprintf("log-%d", s.servers))
	_, err = s.run(fmt.Sprintf("%s >'%s' 2>&1 &\necho $! >'%s/pid'\n", command, log, s.dir))
	s.running = err == nil
	return log, err
}

// stop ends what background started last.
func (s *shell) stop() {
	if !s.running {
		return
	}
	s.running = false
	out, err := s.run(fmt.Sprintf("kill \"$(cat '%s/pid')\"\nwait \"$(cat '%[1]s/pid')\"\n", s.dir))
	if err != nil {
		s.t.Errorf("the server did not end well: %v\n%s", err, out)
	}
}

func (s *shell) close() {
	s.stop()
	s.in.Close()
	exited := make(chan error, 1)
	go func() { exited <- s.cmd.Wait() }()
	select {
	case <-exited:
	case <-time.After(stopTimeout):
		s.t.Errorf("the shell did not end within %s", stopTimeout)
		s.cmd.Process.Kill()
	}
}

// ready waits until a URL says so, and returns what the server's log says
// otherwise.
func (s *shell) ready(url, log string) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), startTimeout)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			text, _ := os.ReadFile(log)
			return fmt.Errorf("the server was not ready within %s:\n%s", startTimeout, text)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

var (
	demoServer   = regexp.MustCompile(`server on http://(\S+)`)
	demoAdmin    = regexp.MustCompile(`curl http://(\S+)/metrics`)
	demoDatabase = regexp.MustCompile(`psql '([^']+)'`)
)

// demo starts the demo, and puts what it prints where its reader would.
func (s *shell) demo() error {
	log, err := s.background("tidemark demo")
	if err != nil {
		return err
	}
	for end := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(log)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // the shell makes it in a moment
			return err
		}
		at, admin, db := demoServer.FindSubmatch(text), demoAdmin.FindSubmatch(text), demoDatabase.FindSubmatch(text)
		if at != nil && admin != nil && db != nil {
			before := s.ports
			s.leave = func() error {
				s.leave, s.ports = nil, before
				s.stop()
				_, err := s.run("export DATABASE_URL=$DATABASE_URL_BEFORE\n" + before.export())
				return err
			}
			s.ports.http, s.ports.admin = string(at[1]), string(admin[1])
			_, err := s.run(fmt.Sprintf("DATABASE_URL_BEFORE=$DATABASE_URL\nexport DATABASE_URL='%s'\n", db[1]) + s.ports.export())
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("the demo did not say how to reach it:\n%s", text)
		}
	}
}
