//go:build unix

package pgtest

import (
	"context"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

// value asks one question on a connection of its own.
func value(t *testing.T, dsn, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var v string
	if err := conn.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%v\nin: %s", err, sql)
	}
	return v
}

func TestServerKeepsItsPlaceAndDataOverEveryKindOfEnd(t *testing.T) {
	s := Start(t, Options{})
	d := s.DB(t)
	d.Exec(t, "create table kept (how text)")
	port, socket, data := s.Port(), s.SocketDir(), s.DataDir()
	for _, end := range []struct {
		name string
		do   func() error
	}{
		{"fast", func() error { return s.Restart("fast") }},
		{"immediate", func() error { return s.Restart("immediate") }},
		{"kill", func() error { return errors.Join(s.Kill(), s.Start()) }},
	} {
		d.Exec(t, "insert into kept values ($1)", end.name)
		before := s.PID()
		if err := end.do(); err != nil {
			t.Fatalf("%s: %v", end.name, err)
		}
		if now := s.PID(); now == before || now == 0 {
			t.Errorf("%s: process %d before, %d after", end.name, before, now)
		}
		if processRuns(before) {
			t.Errorf("%s: process %d still runs", end.name, before)
		}
		if s.Port() != port || s.SocketDir() != socket || s.DataDir() != data {
			t.Errorf("%s: the server moved to %d %s %s", end.name, s.Port(), s.SocketDir(), s.DataDir())
		}
	}
	if got := value(t, d.DSN(), "select string_agg(how, ' ' order by how) from kept"); got != "fast immediate kill" {
		t.Errorf("rows after the restarts: %q", got)
	}
}

func TestKillLeavesNoChild(t *testing.T) {
	s := Start(t, Options{})
	d := s.DB(t)
	conn := d.Conn(t)
	backend := int(conn.PgConn().PID())
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if processRuns(backend) {
		t.Errorf("backend %d outlived the crash", backend)
	}
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("a connection survived the crash")
	}
	if err := s.Kill(); !errors.Is(err, errNotRunning) {
		t.Errorf("second Kill: %v", err)
	}
	if err := s.Stop("fast"); !errors.Is(err, errNotRunning) {
		t.Errorf("Stop after Kill: %v", err)
	}
}

func TestSettings(t *testing.T) {
	s := Start(t, Options{Settings: map[string]string{"max_connections": "33", "application_name": `it's a \ test`}})
	for name, want := range map[string]string{
		"wal_level": "logical", "synchronous_commit": "on", "fsync": "off", "full_page_writes": "off",
		"max_prepared_transactions": "20", "max_connections": "33", "listen_addresses": "",
		"server_encoding": "UTF8", "lc_collate": "C", "TimeZone": "UTC",
	} {
		if name == "lc_collate" && s.Version() >= 16 {
			continue // no longer a setting
		}
		if got := value(t, s.DSN("postgres"), "select current_setting('"+name+"')"); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := value(t, s.DSN("postgres"), "select reset_val from pg_settings where name = 'application_name'"); got != `it's a \ test` {
		t.Errorf("a value that needs quoting arrived as %q", got)
	}
}

func TestReloadReturnsWhenNewConnectionsSeeIt(t *testing.T) {
	s := Start(t, Options{})
	for _, want := range []string{"11MB", "12MB", "13MB"} {
		if err := s.Reload(map[string]string{"work_mem": want}); err != nil {
			t.Fatal(err)
		}
		if got := value(t, s.DSN("postgres"), "show work_mem"); got != want {
			t.Errorf("work_mem is %s after a reload to %s", got, want)
		}
	}
	if err := s.Restart("fast"); err != nil {
		t.Fatal(err)
	}
	if got := value(t, s.DSN("postgres"), "show work_mem"); got != "13MB" {
		t.Errorf("work_mem is %s after a restart", got)
	}
}

func TestServersAreDifferentClusters(t *testing.T) {
	const ask = "select system_identifier::text from pg_control_system()"
	a, b := Start(t, Options{}), Start(t, Options{})
	ida, idb := value(t, a.DSN("postgres"), ask), value(t, b.DSN("postgres"), ask)
	if ida == idb {
		t.Errorf("both have system identifier %s", ida)
	}
	if strings.HasPrefix(ida, "-") || strings.HasPrefix(idb, "-") {
		t.Errorf("negative identifier: %s %s", ida, idb)
	}
}

func TestTCP(t *testing.T) {
	s := Start(t, Options{TCP: true})
	u, err := url.Parse(s.DSN("postgres"))
	if err != nil || u.Hostname() != "127.0.0.1" || u.Port() == "5432" {
		t.Fatalf("DSN %s, %v", s.DSN("postgres"), err)
	}
	if got := value(t, s.DSN("postgres"), "select host(inet_server_addr())"); got != "127.0.0.1" {
		t.Errorf("connected to %s", got)
	}
	if err := s.Restart("immediate"); err != nil {
		t.Fatal(err)
	}
	if got := value(t, s.DSN("postgres"), "select inet_server_port()::text"); got != u.Port() {
		t.Errorf("port %s after a restart, %s before", got, u.Port())
	}
}

func TestDSNIsUnderstoodByLibpq(t *testing.T) {
	psql := Psql(t)
	for name, s := range map[string]*Server{"socket": Shared(t), "tcp": Start(t, Options{TCP: true})} {
		d := s.DB(t)
		d.Exec(t, `create role "odd user" login`)
		t.Cleanup(func() { s.DB(t).Exec(t, `drop role "odd user"`) })
		out, err := exec.Command(psql, "-XAtc", "select current_user, current_database()", d.UserDSN("odd user")).CombinedOutput()
		if want := "odd user|" + d.Name + "\n"; err != nil || string(out) != want {
			t.Errorf("%s: psql said %q, %v; want %q", name, out, err, want)
		}
		if got := value(t, d.UserDSN("odd user"), "select current_user::text"); got != "odd user" {
			t.Errorf("%s: pgx connected as %q", name, got)
		}
	}
}

func TestGivenFolderIsKept(t *testing.T) {
	// Not t.TempDir(): its parent is closed to the server's user.
	root, err := os.MkdirTemp("/tmp", "tidemark-kept-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	// Too long for the path of a socket.
	dir := filepath.Join(root, strings.Repeat("deep", 20))
	first := Start(t, Options{Dir: dir})
	id := value(t, first.DSN("postgres"), "select system_identifier::text from pg_control_system()")
	socket := first.SocketDir()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder of the socket was left behind: %v", err)
	}
	second := Start(t, Options{Dir: dir})
	if got := value(t, second.DSN("postgres"), "select system_identifier::text from pg_control_system()"); got != id {
		t.Errorf("system identifier %s, was %s", got, id)
	}
}

func TestFailedOpenSaysWhatTheServerLogged(t *testing.T) {
	Shared(t)
	before := ownDirs(t)
	s, err := Open(t.Context(), Options{Settings: map[string]string{"shared_buffers": "plenty"}})
	if err == nil {
		s.Close()
		t.Fatal("a server with a senseless setting started")
	}
	if !strings.Contains(err.Error(), "shared_buffers") {
		t.Errorf("the error does not say why: %v", err)
	}
	if after := ownDirs(t); len(after) > len(before) {
		t.Errorf("folders left behind: %v, were %v", after, before)
	}
}

// ownDirs lists the temporary folders whose lock this process holds.
func ownDirs(t *testing.T) []string {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for _, fd := range fds {
		if path, err := os.Readlink(fd); err == nil && filepath.Base(path) == ownerFile {
			dirs = append(dirs, path)
		}
	}
	return dirs
}

func TestCloseRemovesEverything(t *testing.T) {
	s := Start(t, Options{})
	dir, pid, dog := s.dir, s.PID(), s.watchdog.cmd.Process.Pid
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s: %v", dir, err)
	}
	if processRuns(pid) || processRuns(dog) {
		t.Errorf("postmaster runs: %v, watchdog runs: %v", processRuns(pid), processRuns(dog))
	}
	if err := s.Start(); err == nil {
		t.Error("a closed server started")
	}
}

func TestServerStartsNoGoroutine(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s := Start(t, Options{})
	if err := s.Reload(map[string]string{"work_mem": "9MB"}); err != nil {
		t.Fatal(err)
	}
}
