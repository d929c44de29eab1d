package livetest

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// requireEnv, set to 1, turns skips into failures, as in pgtest.
const requireEnv = "TIDEMARK_REQUIRE_PG"

// lacking ends a test for want of a program.
func lacking(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv(requireEnv) == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// node is a process with the npm client in it.
type node struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser

	mu      sync.Mutex
	streams map[string]*follower
	calls   map[int]chan reply
	number  int
	warned  []string
	done    chan struct{} // closed when the process has ended
}

type reply struct {
	Result json.RawMessage `json:"result"`
	Failed string          `json:"failed"`
}

// startNode starts a process that ends with the test.
func startNode(t testing.TB) *node {
	t.Helper()
	dir, err := clientDir()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		lacking(t, "the client of npm needs node and npm: %v", err)
	case err != nil:
		t.Fatal(err)
	}
	n := &node{t: t, streams: map[string]*follower{}, calls: map[int]chan reply{}, done: make(chan struct{})}
	n.cmd = exec.Command("node", filepath.Join(dir, "client.mjs"))
	n.cmd.Stderr = os.Stderr
	if n.in, err = n.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go n.read(out)
	t.Cleanup(n.kill)
	return n
}

// kill ends the process at once: what its streams hold is gone.
func (n *node) kill() {
	_ = n.cmd.Process.Kill()
	<-n.done
	_ = n.cmd.Wait() // it was killed
}

func (n *node) read(out io.Reader) {
	defer close(n.done)
	for d := json.NewDecoder(bufio.NewReaderSize(out, 1<<16)); ; {
		var e struct {
			event
			reply
			Stream  string `json:"stream"`
			Call    int    `json:"call"`
			Warning string `json:"warning"`
		}
		if d.Decode(&e) != nil {
			return
		}
		n.mu.Lock()
		f, call := n.streams[e.Stream], n.calls[e.Call]
		if e.Warning != "" {
			n.warned = append(n.warned, e.Warning)
		}
		n.mu.Unlock()
		if f != nil {
			f.take(e.event)
		}
		if call != nil {
			call <- e.reply
		}
	}
}

// warnings returns what the client has complained about since the last time.
func (n *node) warnings() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := n.warned
	n.warned = nil
	return w
}

func (n *node) send(command map[string]any) {
	b, err := json.Marshal(command)
	if err != nil {
		n.t.Fatal(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, err := n.in.Write(append(b, '\n')); err != nil {
		n.t.Errorf("the node process: %v", err)
	}
}

// call runs a command of a stream that has an answer.
func (n *node) call(t testing.TB, command map[string]any) (json.RawMessage, error) {
	t.Helper()
	n.mu.Lock()
	n.number++
	id, c := n.number, make(chan reply, 1)
	n.calls[id] = c
	n.mu.Unlock()
	command["call"] = id
	n.send(command)
	select {
	case r := <-c:
		if r.Failed != "" {
			return nil, errors.New(r.Failed)
		}
		return r.Result, nil
	case <-n.done:
		t.Fatal("the node process has ended")
	case <-time.After(settleTimeout):
		t.Fatalf("%v was not answered", command)
	}
	return nil, nil
}

// clientDir is a folder with client.mjs and the modules that it needs, which
// npm installs into the checkout's .cache unless it is there.
var clientDir = sync.OnceValues(func() (string, error) {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", err
		}
	}
	sum := sha256.New()
	files := []string{"package.json", "package-lock.json", "client.mjs"}
	for _, name := range files {
		b, err := os.ReadFile(filepath.Join("testdata", "node", name))
		if err != nil {
			return "", err
		}
		sum.Write(b)
	}
	root, err := filepath.Abs(filepath.Join("..", "..", ".cache", "node"))
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, hex.EncodeToString(sum.Sum(nil))[:16])
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(root, ".install-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	for _, name := range files {
		b, err := os.ReadFile(filepath.Join("testdata", "node", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(tmp, name), b, 0o644)
		}
		if err != nil {
			return "", err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--omit=optional")
	cmd.Dir = tmp
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, strings.TrimSpace(string(out)))
	}
	// Somebody else may have been faster.
	if err := os.Rename(tmp, dir); err != nil {
		if _, stat := os.Stat(filepath.Join(dir, "node_modules")); stat != nil {
			return "", err
		}
	}
	return dir, nil
})
