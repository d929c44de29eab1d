package pgtest

import (
	"fmt"
	"io"
	"os/exec"
)

// watchdogScript reads one line per start and stop of the postmaster: its process id, or 0. When the
// pipe ends, its writer is gone: closed in good order after a 0, or dead. An id is only ever written
// by the parent of that process, which reaps it before it writes 0.
//
// An immediate stop first: the postmaster takes its children with it. It runs as the server's user,
// so it could not end anybody else's process even in error.
const watchdogScript = `
pid=0
while read -r line; do pid=$line; done
if [ "$pid" -gt 0 ]; then
	kill -QUIT "$pid" 2>/dev/null
	n=0
	while kill -0 "$pid" 2>/dev/null && [ "$n" -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
	kill -KILL "$pid" 2>/dev/null
fi
if [ -n "$1" ] && [ -e "$1/` + ownerFile + `" ]; then rm -rf -- "$1"; fi
exit 0
`

// watchdog is the process that ends the server when this process dies.
//
// Pdeathsig would not do: it follows the thread that forked, which Go may end at any time, and other
// systems than Linux do not have it.
type watchdog struct {
	cmd  *exec.Cmd
	pipe io.WriteCloser
}

// startWatchdog must come before the postmaster. It removes dir as well if that is temporary.
func startWatchdog(user osUser, dir string, temporary bool) (*watchdog, error) {
	arg := ""
	if temporary {
		arg = dir
	}
	cmd := exec.Command("/bin/sh", "-c", watchdogScript, "tidemark-pg-watchdog", arg)
	cmd.Dir = "/"
	user.runAs(cmd)
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &watchdog{cmd, pipe}, nil
}

func (w *watchdog) follow(pid int) error {
	if _, err := fmt.Fprintf(w.pipe, "%d\n", pid); err != nil {
		return fmt.Errorf("tell the watchdog: %w", err)
	}
	return nil
}

func (w *watchdog) end() error {
	_ = w.pipe.Close()
	return w.cmd.Wait()
}
