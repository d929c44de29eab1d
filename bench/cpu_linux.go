package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of the times in /proc: USER_HZ, which is 100 wherever Go runs.
const tick = 10 * time.Millisecond

// processStat is what is needed of /proc/pid/stat (proc_pid_stat(5)).
type processStat struct {
	parent     int
	own, ended time.Duration // of the process; of its children that have been waited for
}

func readStat(pid int) (processStat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return processStat{}, err
	}
	// The name may hold anything, so count from the parenthesis that ends it.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 15 {
		return processStat{}, fmt.Errorf("/proc/%d/stat: %q", pid, b)
	}
	n := make([]int, 15)
	for i := 1; i < 15; i++ {
		n[i], _ = strconv.Atoi(f[i])
	}
	return processStat{
		parent: n[1],
		own:    time.Duration(n[11]+n[12]) * tick,
		ended:  time.Duration(n[13]+n[14]) * tick,
	}, nil
}

// meter reads the CPU time that a set of processes has used so far. It is quick:
// it is read while a load is on.
type meter struct {
	roots []int
	pids  []int // the roots and what was below them
}

// newMeter meters processes with all that is below them now, and with what they
// start and wait for later.
func newMeter(roots ...int) *meter {
	m := &meter{roots: roots}
	for _, root := range roots {
		m.pids = append(m.pids, tree(root)...)
	}
	return m
}

// add meters a process that began after the meter was made.
func (m *meter) add(pid int) { m.pids = append(m.pids, pid) }

func (m *meter) read() (time.Duration, error) {
	sum := time.Duration(0)
	for _, pid := range m.pids {
		st, err := readStat(pid)
		switch {
		case err == nil:
			sum += st.own + st.ended
		case slices.Contains(m.roots, pid):
			return 0, err
		}
		// Any other has ended, and the one above it has its time.
	}
	return sum, nil
}

// tree lists a process and all below it.
func tree(root int) []int {
	children := map[int][]int{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if st, err := readStat(pid); err == nil {
			children[st.parent] = append(children[st.parent], pid)
		}
	}
	out := []int{root}
	for i := 0; i < len(out); i++ {
		out = append(out, children[out[i]]...)
	}
	return out
}

// ownTime returns the CPU time of this process.
func ownTime() time.Duration { return usedBy(unix.CLOCK_PROCESS_CPUTIME_ID) }

// timeOf returns the CPU time of another process, to the nanosecond: its clock's
// number is made as clock_getcpuclockid(3) does.
func timeOf(pid int) time.Duration { return usedBy(int32(^pid<<3 | 2)) }

func usedBy(clock int32) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

func cpuSet(cpus []int) *unix.CPUSet {
	var set unix.CPUSet
	for _, c := range cpus {
		set.Set(c)
	}
	return &set
}

// allowed lists the CPUs that this process may run on.
func allowed() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(os.Getpid(), &set); err != nil {
		return nil, fmt.Errorf("sched_getaffinity: %w", err)
	}
	var out []int
	for c := range len(set) * 64 {
		if set.IsSet(c) {
			out = append(out, c)
		}
	}
	return out, nil
}

// confine keeps every thread of a process, and of those below it, on some CPUs.
// Threads and processes that they start later inherit that, but none that is
// being started now, so nothing should be. No CPUs mean no limit.
func confine(root int, cpus []int) error {
	if len(cpus) == 0 {
		return nil
	}
	set := cpuSet(cpus)
	for _, pid := range tree(root) {
		if err := confineProcess(pid, set); err != nil {
			return err
		}
	}
	return nil
}

func confineProcess(pid int, set *unix.CPUSet) error {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*", pid))
	for _, task := range tasks {
		tid, err := strconv.Atoi(filepath.Base(task))
		if err != nil {
			continue
		}
		if err := unix.SchedSetaffinity(tid, set); err != nil && err != unix.ESRCH {
			return fmt.Errorf("sched_setaffinity: %w", err)
		}
	}
	return nil
}

// confineSelf keeps this process, but none that it started, on some CPUs.
func confineSelf(cpus []int) error {
	if err := confineProcess(os.Getpid(), cpuSet(cpus)); err != nil {
		return err
	}
	runtime.GOMAXPROCS(len(cpus))
	return nil
}

// startOn starts a command on some CPUs, so that it sees no others from its
// first moment. No CPUs mean all.
func startOn(cmd *exec.Cmd, cpus []int) error {
	if len(cpus) == 0 {
		return cmd.Start()
	}
	runtime.LockOSThread() // a new process has the CPUs of the thread that forks
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("sched_getaffinity: %w", err)
	}
	if err := unix.SchedSetaffinity(0, cpuSet(cpus)); err != nil {
		return fmt.Errorf("sched_setaffinity: %w", err)
	}
	err := cmd.Start()
	if rerr := unix.SchedSetaffinity(0, &before); err == nil && rerr != nil {
		err = fmt.Errorf("sched_setaffinity: %w", rerr)
	}
	return err
}
