//go:build unix

package pgtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// childEnv makes the test binary, run again, do one thing in place of its tests.
const childEnv = "TIDEMARK_PGTEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "hold" {
		holdServer()
	}
	Main(m)
}

// holdServer opens a server, says so, and waits for the end that its parent has in mind.
func holdServer() {
	s, err := Open(context.Background(), Options{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.PID(), s.watchdog.cmd.Process.Pid, s.dir)
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0) // without Close
}

type heldServer struct {
	cmd           *exec.Cmd
	stdin         io.Closer
	pid, watchdog int
	dir           string
}

// hold runs holdServer in another process.
func hold(t *testing.T) heldServer {
	t.Helper()
	Shared(t) // for the skip rule
	var h heldServer
	h.cmd = exec.Command(os.Args[0])
	h.cmd.Env = append(os.Environ(), childEnv+"=hold")
	stdin, err := h.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	h.stdin = stdin
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = h.stdin.Close()
		_ = h.cmd.Wait()
	})
	line, _ := bufio.NewReader(out).ReadString('\n')
	if _, err := fmt.Sscan(line, &h.pid, &h.watchdog, &h.dir); err != nil {
		t.Fatalf("the child said %q", line)
	}
	if !processRuns(h.pid) {
		t.Fatalf("the child's postmaster %d does not run", h.pid)
	}
	return h
}

// await polls, because nothing announces the end of a process that is not one's child.
func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 seconds", what)
		}
	}
}

func gone(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, os.ErrNotExist)
}

func TestServerDiesWithItsProcess(t *testing.T) {
	for name, end := range map[string]func(heldServer) error{
		"killed": func(h heldServer) error { return h.cmd.Process.Signal(syscall.SIGKILL) },
		"exited": func(h heldServer) error { return h.stdin.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			h := hold(t)
			if err := end(h); err != nil {
				t.Fatal(err)
			}
			await(t, "the postmaster ends", func() bool { return !processRuns(h.pid) })
			await(t, "its folder goes", func() bool { return gone(h.dir) })
			await(t, "the watchdog ends", func() bool { return !processRuns(h.watchdog) })
		})
	}
}

func TestStaleFolderIsReaped(t *testing.T) {
	h := hold(t)
	root := filepath.Dir(h.dir)
	long := time.Now().Add(-time.Hour)
	if err := os.Chtimes(h.dir, long, long); err != nil {
		t.Fatal(err)
	}
	reapStale(root)
	if !processRuns(h.pid) || gone(h.dir) {
		t.Fatal("a server was taken from its living owner")
	}
	// Nobody is left to clean up.
	if err := syscall.Kill(h.watchdog, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = h.cmd.Wait()
	if !processRuns(h.pid) {
		t.Fatal("the postmaster ended without its watchdog; this test shows nothing")
	}
	reapStale(root)
	// It removes its pid file, which is what reaping waits for, a moment before it ends.
	await(t, "the postmaster ends", func() bool { return !processRuns(h.pid) })
	if !gone(h.dir) {
		t.Errorf("%s is still there", h.dir)
	}
}

func TestReapingSparesStrangers(t *testing.T) {
	dir, lock, err := newTempDir(osUser{})
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	// An old pid file whose number now belongs to somebody else: this very process.
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data", "postmaster.pid"), fmt.Appendf(nil, "%d\n", os.Getpid()), 0o600); err != nil {
		t.Fatal(err)
	}
	if pid := orphan(filepath.Join(dir, "data")); pid != 0 {
		t.Fatalf("process %d is taken for a postmaster", pid)
	}
	reapDir(dir)
	if gone(dir) {
		t.Fatal("a locked folder was removed")
	}
	lock.Close()
	reapDir(dir)
	if !gone(dir) {
		t.Fatal("an abandoned folder was left")
	}
}

func TestSkipRule(t *testing.T) {
	for _, c := range []struct{ require, want string }{{"", "--- SKIP: TestProbe"}, {"1", "--- FAIL: TestProbe"}} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestProbe$", "-test.v")
		cmd.Env = append(os.Environ(), binEnv+"=/nonexistent", requireEnv+"="+c.require, childEnv+"=probe")
		out, _ := cmd.CombinedOutput()
		for _, want := range []string{c.want, ErrNoBinaries.Error(), "/nonexistent", "hint: "} {
			if !strings.Contains(string(out), want) {
				t.Errorf("with %s=%s: no %q in\n%s", requireEnv, c.require, want, out)
			}
		}
	}
}

// TestProbe is what TestSkipRule runs in another process.
func TestProbe(t *testing.T) {
	if os.Getenv(childEnv) != "probe" {
		t.Skip("it is a part of TestSkipRule, which runs it in another process")
	}
	DB(t)
}

func TestOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("this run is an ordinary user's already")
	}
	bin := Shared(t).Bin()
	dir, err := os.MkdirTemp("/tmp", "tidemark-ordinary-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	// The folders in which go test keeps the binary are root's alone.
	self := filepath.Join(dir, "pgtest.test")
	if err := copyFile(os.Args[0], self, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	nobody := osUser{name: "nobody", uid: 65534, gid: 65534, other: true}
	for path, mode := range map[string]os.FileMode{dir: 0o755, self: 0o755} {
		if err := errors.Join(os.Chmod(path, mode), nobody.own(path)); err != nil {
			t.Fatal(err)
		}
	}
	if err := nobody.canReach(bin); err != nil {
		t.Skip(err)
	}
	cmd := exec.Command(self, "-test.v", "-test.run=^(TestServerKeepsItsPlaceAndDataOverEveryKindOfEnd|TestServerDiesWithItsProcess)$")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir, binEnv + "=" + bin, requireEnv + "=1"}
	nobody.runAs(cmd)
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Count("\n"+string(out), "\n--- PASS: Test") != 2 {
		t.Errorf("%v\n%s", err, out)
	}
}
