package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// stopTimeout bounds a stop. A fast stop waits until every walsender has sent the whole log, so a
// client that does not read can make it last for ever.
const stopTimeout = 60 * time.Second

// Stop stops the server and waits until it has ended. Mode "fast" ends sessions and writes a
// checkpoint; "immediate" leaves everything to crash recovery.
func (s *Server) Stop(mode string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid == 0 {
		return &Error{Op: "stop", Err: errNotRunning}
	}
	sig, err := stopSignal(mode)
	if err != nil {
		return &Error{Op: "stop", Err: err}
	}
	return s.stop(sig, time.Now().Add(stopTimeout))
}

func stopSignal(mode string) (syscall.Signal, error) {
	switch mode {
	case "fast":
		return syscall.SIGINT, nil
	case "immediate":
		return syscall.SIGQUIT, nil
	}
	return 0, fmt.Errorf("unknown mode %q: want fast or immediate", mode)
}

// Restart stops the server as Stop does and starts it on the same port, socket and data.
func (s *Server) Restart(mode string) error {
	if err := s.Stop(mode); err != nil {
		return err
	}
	return s.Start()
}

// Kill ends the server as a crash does: SIGKILL for the postmaster and all its children. It returns
// when they are gone, so that Start works at once.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid == 0 {
		return &Error{Op: "kill", Err: errNotRunning}
	}
	return s.kill(time.Now().Add(stopTimeout))
}

func (s *Server) kill(deadline time.Time) error {
	// While the postmaster is frozen it can neither fork another child nor reap one, so the ids that
	// are read now belong to its children until they are signalled.
	children, err := freeze(s.pid, deadline)
	if err != nil {
		return &Error{Op: "kill", Err: err}
	}
	var errs []error
	for _, c := range children {
		errs = append(errs, signal(c, syscall.SIGKILL))
	}
	errs = append(errs, signal(s.pid, syscall.SIGKILL))
	for !s.reap() {
		if time.Now().After(deadline) {
			return &Error{Op: "kill", Err: fmt.Errorf("process %d does not end", s.pid)}
		}
		time.Sleep(time.Millisecond)
	}
	s.killed = true
	// A new postmaster refuses to start while one of the old children is attached to its memory.
	for _, c := range children {
		for processRuns(c) {
			if time.Now().After(deadline) {
				return &Error{Op: "kill", Err: fmt.Errorf("process %d does not end", c)}
			}
			time.Sleep(time.Millisecond)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return &Error{Op: "kill", Err: err}
	}
	return nil
}

func (s *Server) stop(sig syscall.Signal, deadline time.Time) error {
	if err := signal(s.pid, sig); err != nil {
		return &Error{Op: "stop", Err: err}
	}
	for !s.reap() {
		if time.Now().After(deadline) {
			return &Error{
				Op: "stop", Err: fmt.Errorf("process %d still runs after %v", s.pid, stopTimeout),
				Hint: `a fast stop waits for replication clients that do not read; use "immediate"`,
			}
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// reap reports whether the postmaster has ended. From then on its id may belong to somebody else, so
// this is the only place that waits for it and forgets it.
func (s *Server) reap() bool {
	if s.pid == 0 {
		return true
	}
	if !waitEnded(s.pid) {
		return false
	}
	s.pid = 0
	_ = s.watchdog.follow(0)
	return true
}

// Close stops the server and removes its folder, unless the folder was given to Open. It may be
// called again.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	if s.pid != 0 {
		sig, patience := syscall.SIGQUIT, stopTimeout
		if !s.temporary {
			// The data is kept: spare the next start a recovery, but do not wait for anyone long.
			sig, patience = syscall.SIGINT, 5*time.Second
		}
		if s.stop(sig, time.Now().Add(patience)) != nil && s.stop(syscall.SIGQUIT, time.Now().Add(10*time.Second)) != nil {
			errs = append(errs, s.kill(time.Now().Add(stopTimeout)))
		}
	}
	if s.pid == 0 && s.killed && s.temporary {
		removeSharedMemory(s.DataDir())
	}
	if s.watchdog != nil {
		errs = append(errs, s.watchdog.end())
	}
	if s.temporary {
		errs = append(errs, os.RemoveAll(s.dir))
	} else if s.socketDir != s.dir && s.socketDir != "" {
		errs = append(errs, os.RemoveAll(s.socketDir))
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return &Error{Op: "close", Err: err}
	}
	return nil
}

// removeSharedMemory removes the System V segment that a killed postmaster leaves behind. Postgres
// does so itself when it is started on the folder again. Best effort: the segment is tiny.
func removeSharedMemory(dataDir string) {
	b, err := os.ReadFile(filepath.Join(dataDir, "postmaster.pid"))
	if err != nil {
		return
	}
	lines := strings.Split(string(b), "\n")
	if len(lines) < 7 {
		return
	}
	f := strings.Fields(lines[6]) // key and id, see Postgres's miscinit.h, LOCK_FILE_LINE_SHMEM_KEY
	if len(f) != 2 {
		return
	}
	if _, err := strconv.Atoi(f[1]); err == nil {
		_ = exec.Command("ipcrm", "-m", f[1]).Run()
	}
}
