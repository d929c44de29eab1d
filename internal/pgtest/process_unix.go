//go:build unix

package pgtest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// osUser is who the server's programs run as. Postgres refuses to run as root.
type osUser struct {
	name     string
	uid, gid int
	other    bool // not this process's own user
}

func runUser() (osUser, error) {
	if os.Geteuid() != 0 {
		return osUser{name: "this user", uid: os.Geteuid(), gid: os.Getegid()}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err := errors.Join(err1, err2); err != nil {
			return osUser{}, fmt.Errorf("user %s: %w", name, err)
		}
		return osUser{name: name, uid: uid, gid: gid, other: true}, nil
	}
	return osUser{name: "nobody", uid: 65534, gid: 65534, other: true}, nil
}

// runAs makes cmd run as u in a session of its own, so that no signal of a terminal reaches it: its
// owner decides when it ends.
func (u osUser) runAs(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if u.other {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(u.uid), Gid: uint32(u.gid)}
	}
}

func (u osUser) own(path string) error {
	if !u.other {
		return nil
	}
	return os.Lchown(path, u.uid, u.gid)
}

// canReach says why u cannot pass through a folder and its parents. It looks at the permission bits
// only; this process itself is its own judge.
func (u osUser) canReach(dir string) error {
	if !u.other {
		return nil
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	for d := dir; ; d = filepath.Dir(d) {
		st, err := os.Stat(d)
		if err != nil {
			return err
		}
		sys := st.Sys().(*syscall.Stat_t)
		bit := fs.FileMode(0o001)
		if int(sys.Uid) == u.uid {
			bit = 0o100
		} else if int(sys.Gid) == u.gid {
			bit = 0o010
		}
		if st.Mode().Perm()&bit == 0 {
			return fmt.Errorf("user %s may not pass through %s (mode %o)", u.name, d, st.Mode().Perm())
		}
		if d == filepath.Dir(d) {
			return nil
		}
	}
}

func signal(pid int, sig syscall.Signal) error {
	if pid <= 1 {
		return fmt.Errorf("signal to process %d refused", pid)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		return fmt.Errorf("signal %v to process %d: %w", sig, pid, err)
	}
	return nil
}

// waitEnded reaps a child if it has ended.
func waitEnded(pid int) bool {
	for {
		got, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		return got == pid || err == syscall.ECHILD
	}
}

// freeze stops a process without ending it, and returns its children.
func freeze(pid int, deadline time.Time) (children []int, err error) {
	if err := signal(pid, syscall.SIGSTOP); err != nil {
		return nil, err
	}
	for frozen := false; ; {
		all, err := processes()
		if err != nil {
			_ = signal(pid, syscall.SIGCONT)
			return nil, err
		}
		if frozen {
			for id, st := range all {
				if st.parent == pid {
					children = append(children, id)
				}
			}
			return children, nil
		}
		// One list is not one moment: only the next one is sure to hold the last child.
		if state := all[pid].state; state == 'T' || state == 'Z' {
			frozen = true
			continue
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("process %d does not stop", pid)
		}
		time.Sleep(time.Millisecond)
	}
}

// processRuns tells a process from none and from one that only waits to be reaped.
func processRuns(pid int) bool {
	if syscall.Kill(pid, 0) == syscall.ESRCH {
		return false
	}
	all, err := processes()
	st, ok := all[pid]
	return err != nil || ok && st.state != 'Z' && st.state != 'X'
}

type processStat struct {
	parent int
	state  byte
}

// processes lists what runs, from /proc where there is one and else from ps.
func processes() (map[int]processStat, error) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	if len(stats) == 0 {
		return psProcesses()
	}
	all := map[int]processStat{}
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		// "pid (name) state ppid ...", where the name may hold anything.
		i := bytes.LastIndexByte(b, ')')
		f := strings.Fields(string(b[i+1:]))
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if i < 0 || err != nil || len(f) < 2 {
			continue
		}
		parent, err := strconv.Atoi(f[1])
		if err != nil {
			continue
		}
		all[pid] = processStat{parent, f[0][0]}
	}
	return all, nil
}

func psProcesses() (map[int]processStat, error) {
	out, err := exec.Command("ps", "-axo", "pid=,ppid=,state=").Output()
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	all := map[int]processStat{}
	for line := range strings.Lines(string(out)) {
		var st processStat
		var pid int
		var state string
		if _, err := fmt.Sscan(line, &pid, &st.parent, &state); err != nil {
			continue
		}
		st.state = state[0]
		all[pid] = st
	}
	return all, nil
}

// tryLock takes a lock that ends with this process, however it ends.
func tryLock(f *os.File) bool {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}

func waitLock(f *os.File) error {
	for {
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != syscall.EINTR {
			return err
		}
	}
}

// psOrphan is for systems without /proc: the folder is on the command line.
func psOrphan(pid int, data string) int {
	out, err := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "postgres -D "+data) {
		return 0
	}
	return pid
}

// ownedBySelf refuses a folder that another user made.
func ownedBySelf(dir string) error {
	st, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if sys := st.Sys().(*syscall.Stat_t); !st.IsDir() || int(sys.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to another user", dir)
	}
	return nil
}
