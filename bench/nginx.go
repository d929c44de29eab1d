package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// errNoNginx says what to type.
var errNoNginx = errors.New("nginx is not installed: as root, apt-get install -y nginx-light")

// findNginx returns the program, and installs it where that can be done without
// asking: as root on a system with apt-get.
func findNginx(ctx context.Context, s *sitting) (path, version string, err error) {
	look := func() (string, error) {
		if path, err := exec.LookPath("nginx"); err == nil {
			return path, nil
		}
		return exec.LookPath("/usr/sbin/nginx")
	}
	if path, err = look(); err != nil {
		if _, apt := exec.LookPath("apt-get"); apt != nil || os.Geteuid() != 0 || !s.install {
			return "", "", errNoNginx
		}
		s.say("nginx     installing nginx-light")
		install := exec.CommandContext(ctx, "apt-get", "install", "-y", "--no-install-recommends", "nginx-light")
		// At runlevel 1 the package's scripts do not start a service.
		install.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
		if out, err := install.CombinedOutput(); err != nil {
			return "", "", fmt.Errorf("%w (%w)\n%s", errNoNginx, err, out)
		}
		if path, err = look(); err != nil {
			return "", "", errNoNginx
		}
	}
	out, err := exec.CommandContext(ctx, path, "-v").CombinedOutput()
	return path, strings.TrimSpace(strings.TrimPrefix(string(out), "nginx version:")), err
}

// nginx is a caching proxy in front of an upstream that this process plays.
type nginx struct {
	cmd      *exec.Cmd
	dir      string
	shipped  string // address: every setting as it comes
	quiet    string // without what tidemark does not do either: an access log
	tuned    string // and with open_file_cache
	upstream *http.Server
	asked    *atomic.Int64 // of the upstream
}

// nginxConfig says where things are and nothing else, in the first server.
const nginxConfig = `
%[1]s
worker_processes %[2]d;
daemon off;
pid nginx.pid;
error_log error.log;
events {}
http {
	access_log access.log;
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
	proxy_cache_path cache levels=1:2 keys_zone=bench:16m inactive=1h;
	proxy_cache bench;
	server {
		listen %[3]s;
		location / { proxy_pass http://%[6]s; }
	}
	server {
		listen %[4]s;
		access_log off;
		keepalive_requests 1000000000;
		location / { proxy_pass http://%[6]s; }
	}
	server {
		listen %[5]s;
		access_log off;
		keepalive_requests 1000000000;
		open_file_cache max=10000 inactive=1h;
		location / { proxy_pass http://%[6]s; }
	}
}
`

func startNginx(ctx context.Context, program string, cpus []int, workers int, bodies map[string][]byte) (n *nginx, err error) {
	n = &nginx{asked: new(atomic.Int64)}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return n, err
	}
	n.upstream = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "max-age=86400")
		_, _ = w.Write(bodies[r.URL.Path]) // nginx is there, or the turn fails
	})}
	go func() { _ = n.upstream.Serve(listener) }()
	if n.dir, err = os.MkdirTemp("", "tidemark-bench-nginx-"); err != nil {
		return n, err
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;" // whom the folder belongs to
	}
	for _, addr := range []*string{&n.shipped, &n.quiet, &n.tuned} {
		if *addr, err = freeAddr(); err != nil {
			return n, err
		}
	}
	config := fmt.Sprintf(nginxConfig, user, workers, n.shipped, n.quiet, n.tuned, listener.Addr())
	path := filepath.Join(n.dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		return n, err
	}
	n.cmd = exec.Command(program, "-p", n.dir, "-c", path, "-e", filepath.Join(n.dir, "error.log"))
	n.cmd.Stdout, n.cmd.Stderr = os.Stderr, os.Stderr
	if err := startOn(n.cmd, cpus); err != nil {
		return n, err
	}
	return n, until(ctx, func() bool {
		conn, err := net.DialTimeout("tcp", n.tuned, time.Second)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (n *nginx) close() {
	if n.cmd != nil && n.cmd.Process != nil {
		_ = n.cmd.Process.Signal(syscall.SIGQUIT)
		kill := time.AfterFunc(10*time.Second, func() { _ = n.cmd.Process.Kill() })
		_ = n.cmd.Wait()
		kill.Stop()
	}
	if n.upstream != nil {
		_ = n.upstream.Close()
	}
	if n.dir != "" {
		_ = os.RemoveAll(n.dir)
	}
}
