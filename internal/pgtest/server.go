package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

var (
	errPortTaken  = errors.New("the port is taken")
	errNotRunning = errors.New("the server is not running")
)

// Server is one Postgres server. Its port, socket and data folder stay the same over restarts.
type Server struct {
	bin       string
	version   int
	user      osUser
	dir       string
	socketDir string
	temporary bool // dir was made by Open and goes away with Close
	tcp       bool
	port      int
	lock      *os.File // held while this process lives; tells others that the folder is in use

	mu       sync.Mutex // guards what follows; held over a whole stop or start
	settings map[string]string
	watchdog *watchdog
	pid      int // 0 when stopped; not reaped before it is set to 0
	killed   bool
	closed   bool
}

// defaults are the settings of every server. synchronous_commit stays on: its semantics are part of
// what tests look at. Only durability against a crash of the machine is given up.
func defaults() map[string]string {
	return map[string]string{
		"wal_level":                  "logical",
		"max_wal_senders":            "50",
		"max_replication_slots":      "50",
		"max_connections":            "200",
		"max_prepared_transactions":  "20",
		"fsync":                      "off",
		"full_page_writes":           "off",
		"synchronous_commit":         "on",
		"shared_buffers":             "128MB",
		"max_wal_size":               "4GB",
		"track_commit_timestamp":     "off",
		"dynamic_shared_memory_type": "mmap", // in the data folder: nothing to leak when it is killed
		"timezone":                   "UTC",
		"log_timezone":               "UTC",
		"log_destination":            "stderr",
		"logging_collector":          "off",
		"log_line_prefix":            "%m [%p] %q%u@%d %a ",
		"unix_socket_permissions":    "0777", // the folder decides who gets in
	}
}

// DSN is a URL for the superuser, understood by pgx and by every program that uses libpq. It always
// has a query part, so further parameters can be appended with "&".
func (s *Server) DSN(database string) string { return s.UserDSN("postgres", database) }

// UserDSN is DSN for another role. Connections are trusted, so there is no password.
func (s *Server) UserDSN(user, database string) string {
	if s.tcp {
		u := url.URL{
			Scheme: "postgres", User: url.User(user), Path: "/" + database, RawQuery: "sslmode=disable",
			Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)),
		}
		return u.String()
	}
	return s.socketDSN(user, database)
}

func (s *Server) socketDSN(user, database string) string {
	return fmt.Sprintf("postgres://%s@/%s?host=%s&port=%d&sslmode=disable",
		url.PathEscape(user), url.PathEscape(database), url.QueryEscape(s.socketDir), s.port)
}

// Port is the port of TCP, and the number in the socket's name.
func (s *Server) Port() int { return s.port }

// SocketDir is the folder of the unix socket, which clients call the host.
func (s *Server) SocketDir() string { return s.socketDir }

// DataDir is PGDATA.
func (s *Server) DataDir() string { return filepath.Join(s.dir, "data") }

// LogFile holds what the server logged, over all its restarts.
func (s *Server) LogFile() string { return filepath.Join(s.dir, "postgres.log") }

// Bin is the directory of the server's programs.
func (s *Server) Bin() string { return s.bin }

// Version is the major version, such as 17.
func (s *Server) Version() int { return s.version }

// PID is the process id of the postmaster, 0 when it is stopped.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pid
}

// Start starts a server that was stopped or killed, on the same port, socket and data.
func (s *Server) Start() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return s.start(ctx)
}

func (s *Server) start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return &Error{Op: "start", Err: errors.New("the server is closed")}
	}
	if s.pid != 0 {
		return &Error{Op: "start", Err: fmt.Errorf("already running as process %d", s.pid)}
	}
	if err := s.writeSettings(); err != nil {
		return &Error{Op: "start", Err: err}
	}
	log, err := os.OpenFile(s.LogFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return &Error{Op: "start", Err: err}
	}
	defer log.Close()
	from, err := log.Seek(0, 2)
	if err != nil {
		return &Error{Op: "start", Err: err}
	}
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), "-D", s.DataDir())
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.DataDir(), cleanEnv(), log, log
	s.user.runAs(cmd)
	if err := cmd.Start(); err != nil {
		return &Error{Op: "start", Err: err}
	}
	// The handle is given up because only reap may wait for this process.
	s.pid, s.killed = cmd.Process.Pid, false
	_ = cmd.Process.Release()
	if err := s.watchdog.follow(s.pid); err != nil {
		_ = s.stop(syscall.SIGQUIT, time.Now().Add(stopTimeout))
		return &Error{Op: "start", Err: err}
	}
	if err := s.awaitReady(ctx, from); err != nil {
		if s.pid != 0 {
			_ = s.stop(syscall.SIGQUIT, time.Now().Add(stopTimeout))
		}
		return err
	}
	return nil
}

// awaitReady polls until the server answers a query, or has ended.
func (s *Server) awaitReady(ctx context.Context, logFrom int64) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		conn, err := pgconn.Connect(ctx, s.socketDSN("postgres", "postgres"))
		if err == nil {
			_ = conn.Close(ctx)
			return nil
		}
		if s.reap() {
			log := s.logSince(logFrom)
			if s.tcp && strings.Contains(log, "could not bind") {
				return &Error{Op: "start", Err: fmt.Errorf("%w: 127.0.0.1:%d", errPortTaken, s.port)}
			}
			return &Error{Op: "start", Err: fmt.Errorf("postgres ended at once; it logged:\n%s", log)}
		}
		select {
		case <-ctx.Done():
			return &Error{Op: "start", Err: fmt.Errorf("%w; last answer: %w; it logged:\n%s", ctx.Err(), err, s.logSince(logFrom))}
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// logSince returns the end of what was logged after an offset.
func (s *Server) logSince(offset int64) string {
	b, err := os.ReadFile(s.LogFile())
	if err != nil || int64(len(b)) < offset {
		return ""
	}
	b = b[offset:]
	return string(b[max(0, len(b)-8<<10):])
}

// Reload merges settings into the configuration and makes the server read it. It returns when new
// connections see the new values; a connection that is open follows when it is next idle. A setting
// that only a start can change is kept for the next Restart.
func (s *Server) Reload(settings map[string]string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid == 0 {
		return &Error{Op: "reload", Err: errNotRunning}
	}
	maps.Copy(s.settings, settings)
	if err := s.writeSettings(); err != nil {
		return &Error{Op: "reload", Err: err}
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	before, err := s.loadTime(ctx)
	if err != nil {
		return &Error{Op: "reload", Err: err}
	}
	if err := signal(s.pid, syscall.SIGHUP); err != nil {
		return &Error{Op: "reload", Err: err}
	}
	for {
		now, err := s.loadTime(ctx)
		if err != nil {
			return &Error{Op: "reload", Err: err}
		}
		if now != before {
			return nil
		}
		select {
		case <-ctx.Done():
			return &Error{Op: "reload", Err: ctx.Err()}
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// loadTime asks on a new connection, because that inherits what the postmaster knows.
func (s *Server) loadTime(ctx context.Context) (string, error) {
	conn, err := pgconn.Connect(ctx, s.socketDSN("postgres", "postgres"))
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(ctx) }()
	r := conn.ExecParams(ctx, "select pg_conf_load_time()::text", nil, nil, nil, nil).Read()
	if r.Err != nil {
		return "", r.Err
	}
	return string(r.Rows[0][0]), nil
}

// settingsFile is included last by postgresql.conf. ALTER SYSTEM still wins over it.
const settingsFile = "tidemark.conf"

func (s *Server) writeSettings() error {
	all := defaults()
	all["unix_socket_directories"] = s.socketDir
	all["port"] = strconv.Itoa(s.port)
	all["listen_addresses"] = ""
	if s.tcp {
		all["listen_addresses"] = "127.0.0.1"
	}
	maps.Copy(all, s.settings)
	var b bytes.Buffer
	for _, k := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s = '%s'\n", k, strings.NewReplacer(`'`, `''`, `\`, `\\`).Replace(all[k]))
	}
	path := filepath.Join(s.DataDir(), settingsFile)
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		return err
	}
	return s.user.own(path)
}

// cleanEnv keeps the caller's PG* variables and locale away from the server's programs.
func cleanEnv() []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "PG") || strings.HasPrefix(kv, "LC_") || strings.HasPrefix(kv, "LANG") || strings.HasPrefix(kv, "TZ=")
	})
	return append(env, "LC_ALL=C")
}
