package livetest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

const (
	pageDir = "../../examples/live"
	// shown is what the page shows, as "name points" in order.
	shown  = `[...document.querySelectorAll('#rows tr')].map(tr => [...tr.cells].slice(1).map(td => td.textContent).join(' ')).join('\n')`
	topTen = "SELECT p.name || ' ' || t.name || ' ' || p.points AS line FROM players p JOIN teams t ON t.id = p.team_id ORDER BY p.points DESC, p.id LIMIT 10"
)

// lines are the rows of a query with one column, in order.
func (b *book) lines(sql string) string {
	b.t.Helper()
	all := []string{}
	for _, r := range b.read(sql) {
		all = append(all, r["line"].(string))
	}
	return strings.Join(all, "\n")
}

// shows waits until the page shows what Postgres has.
func (p *page) shows(b *book) {
	p.t.Helper()
	want := b.lines(topTen)
	var got string
	for end := time.Now().Add(settleTimeout); ; time.Sleep(20 * time.Millisecond) {
		if got = p.text(shown); got == want {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("the page shows\n%s\nwant\n%s\nit says %q; %s", got, want, p.text("document.body.innerText"), p.complaints())
		}
	}
}

// TestPage follows a list in Chromium, from another address than tidemark's.
// TIDEMARK_SCREENSHOT names a file for what it looks like in the end.
func TestPage(t *testing.T) {
	client, err := clientDir()
	if err != nil {
		lacking(t, "the page needs the client of npm: %v", err)
	}
	chromium := startBrowser(t)
	db := pgtest.DB(t)
	schema, err := os.ReadFile(filepath.Join(pageDir, "schema.sql"))
	if err != nil {
		t.Fatal(err)
	}
	top, err := os.ReadFile(filepath.Join(pageDir, "endpoints", "top.sql"))
	if err != nil {
		t.Fatal(err)
	}
	db.Exec(t, string(schema))
	m := newTidemark(t, db, settings{endpoints: map[string]string{"top.sql": string(top)}})
	files := http.NewServeMux()
	files.Handle("/", http.FileServer(http.Dir(pageDir)))
	files.Handle("/node_modules/", http.FileServer(http.Dir(client)))
	site := httptest.NewServer(files)
	defer site.Close()

	b := newBook(t, db)
	p := chromium.open(site.URL + "/?server=" + m.base())
	p.shows(b)
	if c := p.complaints(); len(c) > 0 {
		t.Errorf("the page complains: %s", c)
	}
	for _, sql := range []string{
		"INSERT INTO players (team_id, name, points) VALUES (2, 'Radia', 60)",
		"UPDATE players SET points = 90 WHERE name = 'Dennis'",
		"UPDATE players SET points = points WHERE name = 'Ada'",
		"DELETE FROM players WHERE name = 'Ada'",
		"UPDATE teams SET name = 'Wind' || lower(name) WHERE id = 3",
		"UPDATE players SET points = 50",
		"DELETE FROM players WHERE id > 5",
	} {
		b.do("%s", sql)
		p.shows(b)
	}
	for i, restart := range []func(){m.stop, m.kill} {
		restart()
		b.do("INSERT INTO players (team_id, name, points) VALUES (1, 'meanwhile', %d)", 51+i)
		m.start()
		p.shows(b)
		b.do("UPDATE players SET points = 49 WHERE points = 51; DELETE FROM players WHERE name = 'Grace'")
		p.shows(b)
	}
	for end := time.Now().Add(settleTimeout); p.text("document.getElementById('state').textContent") != "live"; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the page does not say that it is live")
		}
	}
	if name := os.Getenv("TIDEMARK_SCREENSHOT"); name != "" {
		if err := os.WriteFile(name, p.screenshot(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// answers waits until somebody serves a URL.
func answers(t *testing.T, url string) {
	t.Helper()
	for end := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		res, err := http.Get(url)
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
			err = errors.New(res.Status)
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v", url, err)
		}
	}
}

// background starts a command that goes on until the end of the test.
func background(t *testing.T, dir string, env []string, command string) {
	t.Helper()
	cmd := exec.Command("bash", "-c", "exec "+command)
	cmd.Dir, cmd.Env = dir, env
	in, err := cmd.StdinPipe() // open as long as it runs
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		in.Close()
		if t.Failed() {
			t.Logf("%s:\n%s", command, out.String())
		}
	})
}

// TestReadme runs the commands of the example's README, and looks at the page.
func TestReadme(t *testing.T) {
	for _, program := range []string{"bash", "npm", "python3"} {
		if _, err := exec.LookPath(program); err != nil {
			lacking(t, "the commands of the README need %s", program)
		}
	}
	path := filepath.Dir(pgtest.Psql(t)) + ":" + os.Getenv("PATH")
	chromium := startBrowser(t)
	server := pgtest.Start(t, pgtest.Options{})
	work, bin := t.TempDir(), t.TempDir()
	if err := os.CopyFS(work, os.DirFS(pageDir)); err != nil {
		t.Fatal(err)
	}
	program := fmt.Sprintf("#!/bin/sh\nexec env %s=1 '%s' \"$@\"\n", commandEnv, os.Args[0])
	if err := os.WriteFile(filepath.Join(bin, "tidemark"), []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
	addr, site := freeAddr(t), freeAddr(t)
	_, port, _ := net.SplitHostPort(site)
	env := append(os.Environ(), "PATH="+bin+":"+path, "PGHOST="+server.SocketDir(), "PGPORT="+fmt.Sprint(server.Port()), "PGUSER=postgres",
		"DATABASE_URL=postgres:///league", "TIDEMARK_LISTEN_HTTP="+addr, "TIDEMARK_LISTEN_ADMIN="+freeAddr(t))
	text, err := os.ReadFile(filepath.Join(pageDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var p *page
	var b *book
	commands := 0
	for r := bufio.NewScanner(bytes.NewReader(text)); r.Scan(); {
		command, ok := strings.CutPrefix(r.Text(), "$ ")
		if !ok {
			continue
		}
		commands++
		command = strings.Replace(command, "http.server 8000", "http.server "+port, 1)
		goesOn := strings.HasPrefix(command, "tidemark serve") || strings.HasPrefix(command, "python3")
		if strings.Contains(command, "psql") && strings.Contains(command, "-c ") && p == nil {
			answers(t, "http://"+site)
			answers(t, "http://"+addr+"/v1/health")
			p = chromium.open("http://" + site + "/?server=http://" + addr)
			b = newBook(t, &pgtest.Database{Server: server, Name: "league"})
			p.shows(b)
		}
		if goesOn {
			background(t, work, env, command)
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*startTimeout)
		cmd := exec.CommandContext(ctx, "bash", "-c", command)
		cmd.Dir, cmd.Env = work, env
		in, err := cmd.StdinPipe() // open as long as it runs
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.CombinedOutput()
		in.Close()
		cancel()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		if p != nil {
			p.shows(b)
		}
	}
	if p == nil || commands < 8 {
		t.Errorf("the README has %d commands", commands)
	}
}
