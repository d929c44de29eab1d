package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// program is the tidemark binary that the black-box scenarios run: the one that
// -server names, or this tree's, built into a folder that remove deletes.
func program(ctx context.Context, s *sitting) (path string, remove func(), err error) {
	if s.server != "" {
		s.say("server    %s", s.server)
		return s.server, func() {}, nil
	}
	dir, err := os.MkdirTemp("", "tidemark-bench-")
	if err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) }
	path = filepath.Join(dir, "tidemark")
	build := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/tidemarkdb/tidemark/cmd/tidemark")
	if out, err := build.CombinedOutput(); err != nil {
		remove()
		return "", nil, fmt.Errorf("build tidemark: %w\n%s", err, out)
	}
	return path, remove, nil
}

// instance is a tidemark binary at work.
type instance struct {
	addr  string // of the HTTP API
	admin string
	pid   int
	cmd   *exec.Cmd
	done  chan error
	out   output
	dir   string
}

// output keeps what a process says.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// launch says how an instance is started.
type launch struct {
	program     string
	cpus        []int // none: all
	dsn         string
	slot        string
	endpoints   map[string]string // by file name
	settings    []string          // flags
	environment []string
}

// startInstance writes the endpoint files, sets the database up with tidemark
// init, and starts the server.
func startInstance(ctx context.Context, o launch) (_ *instance, err error) {
	in := &instance{done: make(chan error, 1)}
	if in.dir, err = os.MkdirTemp("", "tidemark-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			in.close()
		}
	}()
	for name, sql := range o.endpoints {
		if err := os.WriteFile(filepath.Join(in.dir, name), []byte(sql), 0o644); err != nil {
			return nil, err
		}
	}
	if in.addr, err = freeAddr(); err != nil {
		return nil, err
	}
	if in.admin, err = freeAddr(); err != nil {
		return nil, err
	}
	common := []string{"--database=" + o.dsn, "--endpoints=" + in.dir, "--slot=" + o.slot, "--publication=" + publication}
	initialise := exec.CommandContext(ctx, o.program, append([]string{"init", "--yes"}, common...)...)
	initialise.Dir = in.dir // so that no tidemark.yaml of the current folder counts
	if out, err := initialise.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("tidemark init: %w\n%s", err, out)
	}
	args := append([]string{"serve", "--log-level=warn", "--listen.http=" + in.addr, "--listen.admin=" + in.admin}, common...)
	in.cmd = exec.Command(o.program, append(args, o.settings...)...)
	in.cmd.Dir = in.dir
	in.cmd.Stdout, in.cmd.Stderr = &in.out, &in.out
	in.cmd.Env = append(os.Environ(), o.environment...)
	if err := startOn(in.cmd, o.cpus); err != nil {
		in.cmd = nil
		return nil, err
	}
	in.pid = in.cmd.Process.Pid
	go func() { in.done <- in.cmd.Wait() }()
	if err := until(ctx, in.ready); err != nil {
		return nil, fmt.Errorf("tidemark does not become ready: %w\n%s", err, in.out.String())
	}
	return in, nil
}

// ready also says yes when the process has ended, so that nobody waits for it.
func (in *instance) ready() bool {
	r, err := http.Get("http://" + in.admin + "/readyz")
	if err != nil {
		return len(in.done) > 0
	}
	_ = r.Body.Close()
	return r.StatusCode == http.StatusOK
}

// knows says whether the binary has a setting, so that an older one can be
// measured with the same commands.
func knows(ctx context.Context, path, flag string) bool {
	out, err := exec.CommandContext(ctx, path, "serve", "--help").CombinedOutput()
	return err == nil && bytes.Contains(out, []byte(flag))
}

// withoutRefill turns the filling of answers that nobody asked for off, where
// there is such a thing.
func withoutRefill(ctx context.Context, path string) []string {
	if knows(ctx, path, "fill.refill") {
		return []string{"--fill.refill=false"}
	}
	return nil
}

// close stops the server and removes its files.
func (in *instance) close() {
	if in.cmd != nil {
		_ = in.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-in.done:
		case <-time.After(20 * time.Second):
			_ = in.cmd.Process.Kill()
			<-in.done
		}
	}
	_ = os.RemoveAll(in.dir)
}

// metrics are what the admin listener tells, summed over labels.
type metrics map[string]float64

func (in *instance) metrics() (metrics, error) {
	r, err := http.Get("http://" + in.admin + "/metrics")
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("/metrics: status %d", r.StatusCode)
	}
	return parseMetrics(r.Body)
}

func parseMetrics(r io.Reader) (metrics, error) {
	out := metrics{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		if at < 0 {
			continue
		}
		value, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("/metrics: %q", line)
		}
		name, _, _ := strings.Cut(line[:at], "{")
		out[name] += value
	}
	return out, lines.Err()
}

// errEnded is what a scenario fails with when its server has gone.
var errEnded = errors.New("tidemark has ended")

// alive explains a failure by the server's own words if it has ended.
func (in *instance) alive(err error) error {
	if err != nil && len(in.done) > 0 {
		return fmt.Errorf("%w: %w\n%s", err, errEnded, in.out.String())
	}
	return err
}
