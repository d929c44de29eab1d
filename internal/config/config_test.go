package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// load runs Load on a file text in a folder of its own; problems come back with
// the folder's name removed.
func load(t *testing.T, file string, flags map[string]string, env ...string) (*Config, string) {
	t.Helper()
	dir := t.TempDir()
	name := filepath.Join(dir, "tidemark.yaml")
	if err := os.WriteFile(name, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(Input{File: name, Flags: flags, Environ: env})
	if err != nil {
		return nil, strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), "")
	}
	c.File = strings.TrimPrefix(c.File, dir+string(filepath.Separator))
	for _, p := range []*string{&c.Endpoints, &c.Listen.TLSCert, &c.Listen.TLSKey, &c.Permissions.Mapping, &c.Live.Dir, &c.Live.Tables} {
		*p = strings.ReplaceAll(*p, dir, "DIR")
	}
	return c, ""
}

const fullFile = `
database: ${DATABASE_URL}
endpoints: ./endpoints
listen: { http: 127.0.0.1:8080, admin: 127.0.0.1:8081, grpc: , grpc_gateway: }
slot: tidemark
publication: tidemark
replica_identity: full
consistency: { wait_timeout: 5s, max_staleness: 0s, gc_window: 60s, revision_quantization_interval: 5s }
cache: { max_memory: 512MiB, ttl: 24h }
fill: { max_connections: 8, statement_timeout: 10s, queue: 10000, batch: 100, refill: true }
audit: { per_minute: 60 }
permissions: { keys: , mapping: , connections: 8 }
live: { dir: ./tidemark-data, tables: , max_log: 1GiB, chunk_size: 10KB, allow_delete: false, secrets: , account_key: }
`

func defaults() *Config {
	return &Config{
		File:      "tidemark.yaml",
		Database:  "postgres://u:secret@db:5432/shop",
		Endpoints: "DIR/endpoints",
		Listen:    Listen{HTTP: "127.0.0.1:8080", Admin: "127.0.0.1:8081"},
		Slot:      "tidemark", Publication: "tidemark", ReplicaIdentity: "full",
		Consistency: Consistency{
			WaitTimeout: 5 * time.Second, GCWindow: time.Minute,
			RevisionQuantizationInterval: 5 * time.Second,
		},
		Cache: Cache{MaxMemory: 512 << 20, TTL: 24 * time.Hour},
		Fill:  Fill{MaxConnections: 8, StatementTimeout: 10 * time.Second, Queue: 10_000, Batch: 100, Refill: true},
		Audit: Audit{PerMinute: 60},

		Permissions: Permissions{Connections: 8},
		Live:        Live{Dir: "DIR/tidemark-data", MaxLog: 1 << 30, ChunkSize: 10_000},
	}
}

const databaseURL = "DATABASE_URL=postgres://u:secret@db:5432/shop"

func TestLoad(t *testing.T) {
	change := func(f func(*Config)) *Config { c := defaults(); f(c); return c }
	tests := []struct {
		name  string
		file  string
		flags map[string]string
		env   []string
		want  *Config
	}{
		{name: "the documented file is the default", file: fullFile, want: defaults()},
		{name: "an empty file", file: "", want: defaults()},
		{name: "comments only", file: "# nothing\n", want: defaults()},
		{name: "keys without values", file: "slot:\nlisten:\ncache: {ttl: }\n", want: defaults()},
		{
			name:  "flag over variable over file",
			file:  "slot: file\npublication: file\nfill: {max_connections: 1}\n",
			env:   []string{"TIDEMARK_SLOT=variable", "TIDEMARK_PUBLICATION=variable"},
			flags: map[string]string{"slot": "flag"},
			want: change(func(c *Config) {
				c.Slot, c.Publication, c.Fill.MaxConnections = "flag", "variable", 1
			}),
		},
		{
			name: "nested variable and flag",
			env:  []string{"TIDEMARK_CONSISTENCY_WAIT_TIMEOUT=1d12h"},
			flags: map[string]string{
				"cache.max-memory": "1.5GB", "listen.http": ":9000",
				"consistency.revision-quantization-interval": "250ms",
			},
			want: change(func(c *Config) {
				c.Consistency.WaitTimeout = 36 * time.Hour
				c.Cache.MaxMemory = 1_500_000_000
				c.Listen.HTTP = ":9000"
				c.Consistency.RevisionQuantizationInterval = 250 * time.Millisecond
			}),
		},
		{
			name: "paths of the file are relative to it, paths of flags are not",
			file: "endpoints: api\nlisten: {tls_cert: cert.pem, tls_key: /etc/key.pem}\n",
			want: change(func(c *Config) {
				c.Endpoints, c.Listen.TLSCert, c.Listen.TLSKey = "DIR/api", "DIR/cert.pem", "/etc/key.pem"
			}),
		},
		{
			name: "paths of flags", file: "endpoints: api\n", flags: map[string]string{"endpoints": "here"},
			want: change(func(c *Config) { c.Endpoints = "here" }),
		},
		{
			name: "expansion and its escapes",
			file: "endpoints: /srv/${NAME}-$${NAME}-$$5-$6-$\n", env: []string{"NAME=shop"},
			want: change(func(c *Config) { c.Endpoints = "/srv/shop-${NAME}-$5-$6-$" }),
		},
		{
			name: "what another source overrides is not expanded",
			file: "slot: ${NOWHERE}\n", flags: map[string]string{"slot": "mine"},
			want: change(func(c *Config) { c.Slot = "mine" }),
		},
		{
			name: "quoted and block values",
			file: "slot: 'quoted'\npublication: |\n  block\n",
			want: change(func(c *Config) { c.Slot, c.Publication = "quoted", "block" }),
		},
		{
			name: "permissions, with a list of keys",
			file: "listen: {grpc: ':50051', grpc_gateway: 'localhost:8443'}\npermissions:\n  keys: [one, \"${SECOND}\"]\n  mapping: map.yaml\n",
			env:  []string{"SECOND=two"},
			want: change(func(c *Config) {
				c.Listen.GRPC, c.Listen.GRPCGateway = ":50051", "localhost:8443"
				c.Permissions = Permissions{Keys: []string{"one", "two"}, Mapping: "DIR/map.yaml", Connections: 8}
			}),
		},
		{
			name: "keys as one text", file: "permissions: {keys: 'a, b'}\n", env: []string{"TIDEMARK_LISTEN_GRPC=:1"},
			want: change(func(c *Config) {
				c.Listen.GRPC, c.Permissions.Keys = ":1", []string{"a", "b"}
			}),
		},
		{
			name: "live", file: "live:\n  dir: /srv/live\n  tables: live.yaml\n  max_log: 2MiB\n  chunk_size: 1MB\n  secrets: [one, two]\n",
			env: []string{"TIDEMARK_LIVE_ALLOW_DELETE=true", "TIDEMARK_LIVE_ACCOUNT_KEY=" + strings.Repeat("k", 32)},
			want: change(func(c *Config) {
				c.Live = Live{
					Dir: "/srv/live", Tables: "DIR/live.yaml", MaxLog: 2 << 20, ChunkSize: 1_000_000, AllowDelete: true,
					Secrets: []string{"one", "two"}, AccountKey: Secret(strings.Repeat("k", 32)),
				}
			}),
		},
		{
			name: "the database may be in the environment alone",
			file: "database: ''\n", env: []string{"PGHOST=db"},
			want: change(func(c *Config) { c.Database = "" }),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, problems := load(t, tt.file, tt.flags, append([]string{databaseURL}, tt.env...)...)
			if problems != "" {
				t.Fatalf("Load: %s", problems)
			}
			if diff := cmp.Diff(tt.want.fields(), got.fields()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// fields lets cmp see the database: a Config's own text hides the password.
func (c *Config) fields() map[string]string {
	m := map[string]string{"file": c.File}
	for i := range settings {
		m[settings[i].key] = settings[i].get(c)
	}
	return m
}

func TestProblems(t *testing.T) {
	tests := []struct {
		name  string
		file  string
		flags map[string]string
		env   []string
		want  string
	}{
		{
			name: "no database", file: "slot: a\n",
			want: `database: is not set: set DATABASE_URL, write database: in tidemark.yaml, or give --database`,
		},
		{
			name: "variable not set", file: "slot: a\ndatabase: ${SHOP_URL}\n",
			want: `tidemark.yaml:2: database: the environment variable SHOP_URL is not set`,
		},
		{
			name: "not a variable", file: "endpoints: a${b c}\n", env: []string{databaseURL},
			want: `tidemark.yaml:1: endpoints: found ${ without a variable's name and }, want ${NAME} (write $${ for the characters ${)`,
		},
		{
			name: "variable not closed, its text hidden", file: "database: postgres://u:${secret@db/x\n",
			want: `tidemark.yaml:1: database: found ${ without a variable's name and }, want ${NAME} (write $${ for the characters ${)`,
		},
		{
			name: "a connection string that does not parse is not repeated", file: "database: postgres://u:se/cr:et@db/x\n",
			want: `tidemark.yaml:1: database: want a connection string such as postgres://user:password@host:5432/name, with special characters of the password percent-encoded`,
		},
		{
			name: "unknown keys", env: []string{databaseURL},
			file: "slots: a\nlisten:\n  htttp: :80\nttl: 5s\nconsistency: {gc-window: 5s}\nzzzzzzzz: 1\n",
			want: `tidemark.yaml:1: there is no setting slots; did you mean slot?
tidemark.yaml:3: there is no setting listen.htttp; did you mean listen.http?
tidemark.yaml:4: there is no setting ttl; did you mean cache.ttl?
tidemark.yaml:5: there is no setting consistency.gc-window; did you mean consistency.gc_window?
tidemark.yaml:6: there is no setting zzzzzzzz`,
		},
		{
			name: "every wrong value, wherever it was given", env: []string{
				databaseURL, "TIDEMARK_FILL_MAX_CONNECTIONS=many", "TIDEMARK_CACHE_TTTL=5s", "TIDEMARK_ADMIN=http://other",
			},
			flags: map[string]string{"consistency.wait-timeout": "5"},
			file: `slot: Tide-Mark
listen:
  http: 8080
  admin: localhost
consistency:
  max_staleness: -1s
  gc_window: soon
  revision_quantization_interval: 0s
cache:
  max_memory: 512
  ttl: 0s
fill:
  statement_timeout: [1s]
`,
			want: `tidemark.yaml:1: slot: found "Tide-Mark", want 1 to 63 of the characters a-z, 0-9 and _
tidemark.yaml:3: listen.http: found "8080", want host:port, such as 127.0.0.1:8080 or :8080
tidemark.yaml:4: listen.admin: found "localhost", want host:port, such as 127.0.0.1:8080 or :8080
tidemark.yaml:6: consistency.max_staleness: found "-1s", want 0s or more
tidemark.yaml:7: consistency.gc_window: found "soon", want a duration with a unit, such as 30s, 12h, 7d or 2w
tidemark.yaml:8: consistency.revision_quantization_interval: found "0s", want more than 0s
tidemark.yaml:10: cache.max_memory: found "512", want a size with a unit, such as 512MiB
tidemark.yaml:11: cache.ttl: found "0s", want more than 0s
tidemark.yaml:13: fill.statement_timeout: found a list, want one value
TIDEMARK_CACHE_TTTL: there is no such setting; did you mean TIDEMARK_CACHE_TTL?
--consistency.wait-timeout: found "5", want a duration with a unit, such as 30s, 12h, 7d or 2w
TIDEMARK_FILL_MAX_CONNECTIONS: found "many", want a whole number from 1 to 10000, such as 8`,
		},
		{
			name: "a section given as a value", file: "listen: 8080\n", env: []string{databaseURL},
			want: `tidemark.yaml:1: listen: found "8080", want settings below it: http, admin, grpc, grpc_gateway, tls_cert, tls_key`,
		},
		{
			name: "not a mapping", file: "postgres://u:secret@db/x\n", env: []string{databaseURL},
			want: `tidemark.yaml:1: want settings, such as database: ${DATABASE_URL}`,
		},
		{
			name: "not YAML", file: "slot: a\nlisten: {http\n", env: []string{databaseURL},
			want: `tidemark.yaml:2: is not YAML: could not find flow map content`,
		},
		{
			name: "twice", file: "slot: a\nslot: b\n", env: []string{databaseURL},
			want: `tidemark.yaml:2: is not YAML: mapping key "slot" already defined at [1:1]`,
		},
		{
			name: "two documents", file: "slot: a\n---\nslot: b\n", env: []string{databaseURL},
			want: `tidemark.yaml:3: there is a second document; want one`,
		},
		{
			name: "anchor", file: "slot: &a b\npublication: *a\n", env: []string{databaseURL},
			want: "tidemark.yaml:1: slot: found an anchor or alias, want one value\n" +
				"tidemark.yaml:2: publication: found an anchor or alias, want one value",
		},
		{
			name: "certificate without key", file: "listen: {tls_cert: a.pem}\n", env: []string{databaseURL},
			want: `tidemark.yaml:1: listen.tls_cert: needs listen.tls_key too`,
		},
		{
			name: "permissions without a key", file: "listen:\n  grpc: :50051\n", env: []string{databaseURL},
			want: `tidemark.yaml:2: listen.grpc: permissions need a key that clients send: set permissions.keys, such as by TIDEMARK_PERMISSIONS_KEYS`,
		},
		{
			name: "a gateway to nothing", file: "permissions: {keys: a}\n", env: []string{databaseURL, "TIDEMARK_LISTEN_GRPC_GATEWAY=:8443"},
			want: `TIDEMARK_LISTEN_GRPC_GATEWAY: listen.grpc_gateway: needs listen.grpc too, such as 127.0.0.1:50051`,
		},
		{
			name: "keys that are none are not repeated", file: "permissions:\n  keys: hunter two\n", env: []string{databaseURL},
			want: `tidemark.yaml:2: permissions.keys: want keys with commas in between, each of ASCII letters, digits and signs without spaces`,
		},
		{
			name: "a key that is missing", env: []string{databaseURL, "TIDEMARK_PERMISSIONS_KEYS=hunter2,"},
			want: `TIDEMARK_PERMISSIONS_KEYS: want keys with commas in between, each of ASCII letters, digits and signs without spaces`,
		},
		{
			name: "keys of another form", file: "permissions:\n  keys: [{a: hunter2}]\n", env: []string{databaseURL},
			want: `tidemark.yaml:2: permissions.keys: found a list, want one value`,
		},
		{
			name: "a key for tokens that is too short is not repeated", file: "live:\n  account_key: hunter2\n", env: []string{databaseURL},
			want: `tidemark.yaml:2: live.account_key: want at least 32 bytes, such as those of: openssl rand -hex 32`,
		},
		{
			name: "sizes out of bounds", file: "live:\n  max_log: 1KB\n  chunk_size: 1GB\n  dir: ''\n", env: []string{databaseURL},
			want: `tidemark.yaml:2: live.max_log: found "1KB", want at least 1MiB
tidemark.yaml:3: live.chunk_size: found "1GB", want at most 64MiB
tidemark.yaml:4: live.dir: found "", want a folder, such as ./tidemark-data`,
		},
		{
			name: "one address for both", flags: map[string]string{"listen.admin": "127.0.0.1:8080"}, env: []string{databaseURL},
			want: `--listen.admin: listen.admin: found "127.0.0.1:8080", want another address than listen.http`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, got := load(t, tt.file, tt.flags, tt.env...)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFileIsFound(t *testing.T) {
	t.Chdir(t.TempDir())
	c, err := Load(Input{Environ: []string{databaseURL}})
	if err != nil || c.File != "" || c.Endpoints != "endpoints" {
		t.Fatalf("without a file: %v, %v", c, err)
	}
	for _, name := range []string{"tidemark.yaml", "other.yaml"} {
		if err := os.WriteFile(name, []byte("slot: "+name[:5]+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if c, err = Load(Input{Environ: []string{databaseURL}}); err != nil || c.Slot != "tidem" {
		t.Fatalf("default file: %v, %v", c, err)
	}
	env := []string{databaseURL, "TIDEMARK_CONFIG=other.yaml"}
	if c, err = Load(Input{Environ: env}); err != nil || c.Slot != "other" {
		t.Fatalf("TIDEMARK_CONFIG: %v, %v", c, err)
	}
	_, err = Load(Input{File: "missing.yaml", Environ: env})
	if want := "read configuration: open missing.yaml: no such file or directory"; err == nil || err.Error() != want {
		t.Fatalf("got %v, want %s", err, want)
	}
}

func TestPasswordIsNeverPrinted(t *testing.T) {
	for _, dsn := range []string{
		"postgres://u:hunter2@db:5432/shop?sslmode=disable",
		"postgres://db/shop?user=u&password=hunter2",
		"host=/tmp/sockets user=u password=hunter2 dbname=shop",
	} {
		c, problems := load(t, "", map[string]string{"database": dsn})
		if problems != "" {
			t.Fatal(problems)
		}
		for _, text := range []string{
			c.String(), fmt.Sprint(c), fmt.Sprintf("%v %+v %#v", *c, *c, *c), c.Redacted().Database,
		} {
			if strings.Contains(text, "hunter2") || !strings.Contains(text, "shop") {
				t.Errorf("%s printed as %s", dsn, text)
			}
		}
	}
	if got := RedactDatabase("postgres://u:hun/ter:2@db/shop"); got != "(unreadable)" {
		t.Errorf("unreadable: got %s", got)
	}
}

func TestKeysAreNeverPrinted(t *testing.T) {
	c, problems := load(t, "", map[string]string{
		"permissions.keys": "hunter2,tiger3", "live.secrets": "hunter2,tiger3",
		"live.account-key": strings.Repeat("hunter2", 5),
	}, databaseURL)
	if problems != "" {
		t.Fatal(problems)
	}
	for _, text := range []string{
		c.String(), fmt.Sprint(c), fmt.Sprintf("%v %+v %#v", *c, *c, *c), fmt.Sprintf("%v %#v", c.Permissions, c.Permissions),
		fmt.Sprintf("%v %+v %#v", c.Live, c.Live, c.Live),
		strings.Join(c.Redacted().Permissions.Keys, ","), strings.Join(c.Redacted().Live.Secrets, ","),
	} {
		if strings.Contains(text, "hunter2") || strings.Contains(text, "tiger3") || !strings.Contains(text, "xxxxx,xxxxx") {
			t.Errorf("printed as %s", text)
		}
	}
}

func TestStringIsAFileThatLoads(t *testing.T) {
	c, problems := load(t, "listen: {tls_cert: 'a: b', tls_key: \"it's $${HOME} #1\"}\n",
		map[string]string{"database": "postgres://u@db:5432/shop"})
	if problems != "" {
		t.Fatal(problems)
	}
	again, problems := load(t, c.String(), nil)
	if problems != "" {
		t.Fatalf("%s\n%s", problems, c)
	}
	if diff := cmp.Diff(c.String(), strings.ReplaceAll(again.String(), "DIR/DIR", "DIR")); diff != "" {
		t.Error(diff)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"1B": 1, "1KiB": 1024, "1.5MiB": 3 << 19, "2 GiB": 2 << 30, "3KB": 3000, "3kB": 3000, "4MB": 4e6, "5GB": 5e9, "0B": 0,
	} {
		got, err := ParseSize(text)
		if err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", text, got, err, want)
		}
		if back, err := ParseSize(FormatSize(want)); err != nil || back != want {
			t.Errorf("FormatSize(%d) = %s", want, FormatSize(want))
		}
	}
	for _, text := range []string{"", "5", "MiB", "-1MiB", "NaNMiB", "1e30GiB", "1 TiB", "0x1MiB5"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", text, got)
		}
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add(fullFile)
	f.Add("a: &b [*b]\n? x\n: y\n")
	f.Fuzz(func(t *testing.T, text string) {
		var problems Problems
		for key, v := range parseFile("f", []byte(text), &problems) {
			if v.line < 1 {
				t.Errorf("%s: line %d", key, v.line)
			}
		}
	})
}
