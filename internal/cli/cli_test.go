package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tidemarkdb/tidemark/internal/config"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"tidemark": func() {
			os.Exit(Run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
		},
	})
}

// Scripts that need no database talk to a server that replies with the files
// below reply/ in the script's folder.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			s := httptest.NewServer(canned(filepath.Join(env.WorkDir, "reply")))
			env.Defer(s.Close)
			env.Setenv("TIDEMARK_ADMIN", s.URL)
			env.Setenv("TIDEMARK_SERVER", s.URL)
			env.Setenv("TIDEMARK_GRPC", freeAddress(t))
			env.Setenv("GATEWAY", freeAddress(t))
			env.Setenv("SAMPLE", sample(t))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"await": await},
	})
}

// sample is the folder of the permission sample.
func sample(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", "..", "examples", "permissions"))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// canned serves the file that is named like the path, with _ for /, as JSON. A
// file whose name ends in .problem is an error. Without a file the request
// itself is the reply.
func canned(dir string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := filepath.Join(dir, strings.ReplaceAll(strings.Trim(r.URL.Path, "/"), "/", "_"))
		if body, err := os.ReadFile(name + ".problem"); err == nil {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write(body)
			return
		}
		if body, err := os.ReadFile(name); err == nil {
			_, _ = w.Write(body)
			return
		}
		body, _ := io.ReadAll(r.Body)
		_ = json.NewEncoder(w).Encode(map[string]string{
			"request": r.Method + " " + r.URL.String(), "body": string(body), "type": r.Header.Get("Content-Type"),
			"consistency": r.Header.Get("Tidemark-Consistency"),
			"snapshot":    r.Header.Get("Tidemark-Snapshot"), "token": r.Header.Get("Tidemark-Token"),
		})
	}
}

// Scripts with a database of their own, in $DATABASE_URL.
func TestDatabaseScripts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "database", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			db := pgtest.DB(t)
			db.Exec(t, `CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users VALUES (1, 'Ada');
				CREATE TABLE logins (name text); CREATE VIEW names AS SELECT name FROM users`)
			testscript.Run(t, testscript.Params{
				Files: []string{file},
				Setup: func(env *testscript.Env) error {
					env.Setenv("DATABASE_URL", db.DSN())
					http, admin := freeAddress(t), freeAddress(t)
					env.Setenv("TIDEMARK_LISTEN_HTTP", http)
					env.Setenv("TIDEMARK_SERVER", "http://"+http)
					env.Setenv("TIDEMARK_LISTEN_ADMIN", admin)
					env.Setenv("TIDEMARK_ADMIN", "http://"+admin)
					env.Setenv("GRPC", freeAddress(t))
					env.Setenv("GATEWAY", freeAddress(t))
					env.Setenv("SAMPLE", sample(t))
					return nil
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"sql":   func(_ *testscript.TestScript, _ bool, args []string) { db.Exec(t, args[0]) },
					"await": await,
					"hangup": func(ts *testscript.TestScript, _ bool, _ []string) {
						for _, c := range ts.BackgroundCmds() {
							ts.Check(c.Process.Signal(syscall.SIGHUP))
						}
					},
				},
			})
		})
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// await asks for a URL until it replies 200.
func await(ts *testscript.TestScript, _ bool, args []string) {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if resp, err := http.Get(args[0]); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
	}
	ts.Fatalf("%s never replied 200", args[0])
}

func run(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Run(t.Context(), args, strings.NewReader(stdin), &out, &errs, []string{"TIDEMARK_ADMIN=http://127.0.0.1:1"})
	return code, out.String(), errs.String()
}

func TestExitCodes(t *testing.T) {
	for _, tt := range []struct {
		args string
		code int
		want string // in the output
	}{
		{"", 0, "tidemark <command>"},
		{"--help", 0, "tidemark <command>"},
		{"init --help", 0, "--replica-identity"},
		{"version", 0, "tidemark "},
		{"frobnicate", 2, "error: unexpected argument frobnicate\nhint: tidemark --help"},
		{"serve --nonsense", 2, "error: unknown flag --nonsense"},
		{"purge", 2, "--answer=PATH or --endpoint=NAME or --table=TABLE or --all"},
		{"purge --all --table=a", 2, "can't be used together"},
		{"init --replica-identity=half", 1, `error: --replica-identity: found "half", want full or keep`},
		{"get /v1/a --consistency=soon", 2, "--consistency must be one of"},
		{"get /v1/a --consistency=at_exact_snapshot", 2, "error: at_exact_snapshot needs --token"},
		{"get /v1/a --consistency=fully_consistent --token=x", 2, "error: fully_consistent takes no token"},
		{"get /v1/a --token=x", 2, "error: malformed token"},
		{"status", 1, "error: no server answers at http://127.0.0.1:1\nhint: start one with tidemark serve, or name another with --admin or TIDEMARK_ADMIN"},
		{"get /v1/a --server=127.0.0.1:1", 1, "name another with --server or TIDEMARK_SERVER"},
		{"token show nonsense", 1, "error: malformed token: it does not begin with tm1\nhint: pass a token exactly as it was received"},
		{"serve --config=missing.yaml", 1, "error: configuration: read configuration: open missing.yaml"},
	} {
		code, stdout, stderr := run(t, "", strings.Fields(tt.args)...)
		if code != tt.code || !strings.Contains(stdout+stderr, tt.want) {
			t.Errorf("tidemark %s: code %d, want %d with %q\n%s%s", tt.args, code, tt.code, tt.want, stdout, stderr)
		}
		if code != 0 && stdout != "" {
			t.Errorf("tidemark %s: an error came with output: %s", tt.args, stdout)
		}
	}
}

// Every setting is a flag of the same name whose help tells its default.
func TestFlagsAreTheSettings(t *testing.T) {
	keys, defaults := config.Keys()
	var flags []string
	v := reflect.TypeFor[settingFlags]()
	for i := range v.NumField() {
		tag := v.Field(i).Tag
		name := tag.Get("name")
		flags = append(flags, name)
		want := strings.NewReplacer("${", "", "}", "").Replace(defaults[name])
		if !strings.Contains(tag.Get("help"), want) {
			t.Errorf("--%s: the help does not tell the default %s: %s", name, want, tag.Get("help"))
		}
	}
	if !slices.Equal(flags, keys) {
		t.Errorf("flags %v\nwant  %v", flags, keys)
	}
}

func TestRender(t *testing.T) {
	for _, tt := range []struct{ json, want string }{
		{`{"b":1,"a_long_name":"x","n":null,"yes":true}`, "b            1\na long name  x\nn            -\nyes          yes\n"},
		{`{"a":1,"in":{"b":2,"cc":3},"z":4}`, "a  1\nin\n  b   2\n  cc  3\nz  4\n"},
		{`[{"a":1,"b":"x"},{"a":22,"c":["p","q"]}]`, "A   B  C\n1   x  \n22     p, q\n"},
		{`[{"a":{"b":1}},3]`, "a\n  b  1\n\n3\n"},
		{`{"big":9007199254740993,"empty":[],"none":{}}`, "big    9007199254740993\nempty  -\nnone   -\n"},
		{`"a\u001b[31m\nb"`, "a [31m b\n"},
	} {
		var b bytes.Buffer
		if err := render(&b, []byte(tt.json)); err != nil || b.String() != tt.want {
			t.Errorf("%s: %v\n%s---- want\n%s", tt.json, err, b.String(), tt.want)
		}
	}
	if err := render(io.Discard, []byte("<html>")); err == nil {
		t.Error("no error for what is not JSON")
	}
}

// Nothing that a server sends may move the cursor.
func FuzzRender(f *testing.F) {
	f.Add([]byte(`{"a\u001b":[{"b":[["\u0007"]]},{"b":{}}],"c":{"d":null}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var b bytes.Buffer
		if err := render(&b, text); err != nil {
			return
		}
		if i := bytes.IndexFunc(b.Bytes(), func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }); i >= 0 {
			t.Errorf("%q was rendered as %q", text, b.Bytes())
		}
	})
}

func TestSignals(t *testing.T) {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	ctx, reload, stop := untilSignalled(t.Context())
	defer stop()
	for range 2 {
		if err := self.Signal(syscall.SIGHUP); err != nil {
			t.Skip("a reload needs a system with SIGHUP: ", err)
		}
		<-reload
	}
	if ctx.Err() != nil {
		t.Error("SIGHUP ended the context")
	}
	if err := self.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
}
