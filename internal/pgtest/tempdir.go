package pgtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	dirPrefix = "tidemark-pg-"
	// ownerFile is locked by the process that owns a temporary folder for as long as it lives. The
	// kernel drops the lock with the process, so unlike a process id it cannot be mistaken.
	ownerFile = "owner"
	// staleAge keeps reapStale away from a folder whose owner is about to take its lock.
	staleAge = time.Minute
)

// tempRoot is where temporary folders go: the system's own place, or /tmp when that is too deep for
// a socket's path or closed to the server's user.
func tempRoot(user osUser) string {
	root := os.TempDir()
	longest := filepath.Join(root, dirPrefix+"4294967295", socketName(maxPort))
	if len(longest) >= maxSocketPath || user.canReach(root) != nil {
		return "/tmp"
	}
	return root
}

// newTempDir makes a folder that user owns and locks it for this process. It must be closed to
// others: who reaches the socket in it is a superuser.
func newTempDir(user osUser) (dir string, lock *os.File, err error) {
	dir, err = os.MkdirTemp(tempRoot(user), dirPrefix)
	if err != nil {
		return "", nil, err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir)
		}
	}()
	lock, err = os.OpenFile(filepath.Join(dir, ownerFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", nil, err
	}
	if !tryLock(lock) {
		_ = lock.Close()
		return "", nil, fmt.Errorf("%s is locked by somebody else", lock.Name())
	}
	if err := user.own(dir); err != nil {
		_ = lock.Close()
		return "", nil, err
	}
	return dir, lock, nil
}

// reapStale removes the temporary folders of owners that died together with their watchdogs, and
// stops a server that still runs on one. Whatever it cannot do it leaves to the next one.
func reapStale(root string) {
	dirs, _ := filepath.Glob(filepath.Join(root, dirPrefix+"*"))
	for _, dir := range dirs {
		st, err := os.Lstat(dir)
		if err != nil || !st.IsDir() || time.Since(st.ModTime()) < staleAge {
			continue
		}
		reapDir(dir)
	}
}

func reapDir(dir string) {
	lock, err := os.OpenFile(filepath.Join(dir, ownerFile), os.O_RDWR, 0)
	if err != nil {
		_ = os.Remove(dir) // does nothing unless it is empty, and ours
		return
	}
	defer lock.Close()
	if !tryLock(lock) {
		return
	}
	data := filepath.Join(dir, "data")
	if pid := orphan(data); pid != 0 {
		_ = signal(pid, syscall.SIGQUIT)
		for deadline := time.Now().Add(5 * time.Second); orphan(data) == pid; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				return
			}
		}
	}
	_ = os.RemoveAll(dir)
}

// orphan is the process id of the postmaster of a data folder, 0 if none runs. A postmaster works in
// its data folder, which tells it from a stranger that was given its old id.
func orphan(data string) int {
	b, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil || pid <= 1 {
		return 0
	}
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	if errors.Is(err, os.ErrNotExist) {
		return psOrphan(pid, data)
	}
	if err != nil || cwd != data {
		return 0
	}
	return pid
}
