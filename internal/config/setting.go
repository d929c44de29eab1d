package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tidemarkdb/tidemark/internal/duration"
)

// setting is one key of the configuration: how its text becomes a field, and
// back. A set error completes the sentence "want …".
type setting struct {
	key    string // dotted path in the file
	def    string
	path   bool // a file or folder, relative to the configuration file
	list   bool // the file may have a list; its text has commas in between
	secret bool // what was found is not repeated
	set    func(c *Config, text string) error
	get    func(c *Config) string
}

// settings lists every key in the order of the documentation.
var settings = []setting{
	{key: "database", def: "${DATABASE_URL}", secret: true, set: func(c *Config, s string) error {
		if err := checkDatabase(s); err != nil {
			return err
		}
		c.Database = s
		return nil
	}, get: func(c *Config) string { return c.Database }},

	{key: "endpoints", def: "./endpoints", path: true, set: func(c *Config, s string) error {
		if s == "" {
			return errors.New("a folder, such as ./endpoints")
		}
		c.Endpoints = s
		return nil
	}, get: func(c *Config) string { return c.Endpoints }},

	{
		key: "listen.http", def: "127.0.0.1:8080",
		set: address(func(c *Config) *string { return &c.Listen.HTTP }),
		get: func(c *Config) string { return c.Listen.HTTP },
	},
	{
		key: "listen.admin", def: "127.0.0.1:8081",
		set: address(func(c *Config) *string { return &c.Listen.Admin }),
		get: func(c *Config) string { return c.Listen.Admin },
	},
	{
		key: "listen.grpc",
		set: optional(address(func(c *Config) *string { return &c.Listen.GRPC })),
		get: func(c *Config) string { return c.Listen.GRPC },
	},
	{
		key: "listen.grpc_gateway",
		set: optional(address(func(c *Config) *string { return &c.Listen.GRPCGateway })),
		get: func(c *Config) string { return c.Listen.GRPCGateway },
	},
	{
		key: "listen.tls_cert", path: true,
		set: func(c *Config, s string) error { c.Listen.TLSCert = s; return nil },
		get: func(c *Config) string { return c.Listen.TLSCert },
	},
	{
		key: "listen.tls_key", path: true,
		set: func(c *Config, s string) error { c.Listen.TLSKey = s; return nil },
		get: func(c *Config) string { return c.Listen.TLSKey },
	},

	{key: "slot", def: "tidemark", set: func(c *Config, s string) error {
		if !slotName.MatchString(s) {
			return errors.New("1 to 63 of the characters a-z, 0-9 and _")
		}
		c.Slot = s
		return nil
	}, get: func(c *Config) string { return c.Slot }},
	{key: "publication", def: "tidemark", set: func(c *Config, s string) error {
		if s == "" || len(s) > 63 || strings.ContainsRune(s, 0) || !utf8.ValidString(s) {
			return errors.New("a publication name of 1 to 63 bytes")
		}
		c.Publication = s
		return nil
	}, get: func(c *Config) string { return c.Publication }},
	{key: "replica_identity", def: "full", set: func(c *Config, s string) error {
		if s != "full" && s != "keep" {
			return errors.New("full or keep")
		}
		c.ReplicaIdentity = s
		return nil
	}, get: func(c *Config) string { return c.ReplicaIdentity }},

	period("consistency.wait_timeout", "5s", positive,
		func(c *Config) *time.Duration { return &c.Consistency.WaitTimeout }),
	period("consistency.max_staleness", "0s", zeroOrMore,
		func(c *Config) *time.Duration { return &c.Consistency.MaxStaleness }),
	period("consistency.gc_window", "60s", zeroOrMore,
		func(c *Config) *time.Duration { return &c.Consistency.GCWindow }),
	period("consistency.revision_quantization_interval", "5s", positive,
		func(c *Config) *time.Duration { return &c.Consistency.RevisionQuantizationInterval }),

	size("cache.max_memory", "512MiB", "1MiB", "", func(c *Config) *int64 { return &c.Cache.MaxMemory }),
	period("cache.ttl", "24h", positive,
		func(c *Config) *time.Duration { return &c.Cache.TTL }),

	number("fill.max_connections", 8, 1, 10_000, func(c *Config) *int { return &c.Fill.MaxConnections }),
	period("fill.statement_timeout", "10s", positive,
		func(c *Config) *time.Duration { return &c.Fill.StatementTimeout }),
	number("fill.queue", 10_000, 1, 10_000_000, func(c *Config) *int { return &c.Fill.Queue }),
	number("fill.batch", 100, 1, 10_000, func(c *Config) *int { return &c.Fill.Batch }),
	boolean("fill.refill", true, func(c *Config) *bool { return &c.Fill.Refill }),

	number("audit.per_minute", 60, 0, 60_000, func(c *Config) *int { return &c.Audit.PerMinute }),

	{
		key: "permissions.keys", list: true, secret: true,
		set: secrets("keys", func(c *Config) *Secrets { return &c.Permissions.Keys }),
		get: func(c *Config) string { return strings.Join(c.Permissions.Keys, ",") },
	},
	{
		key: "permissions.mapping", path: true,
		set: func(c *Config, s string) error { c.Permissions.Mapping = s; return nil },
		get: func(c *Config) string { return c.Permissions.Mapping },
	},
	number("permissions.connections", 8, 1, 1000, func(c *Config) *int { return &c.Permissions.Connections }),

	{key: "live.dir", def: "./tidemark-data", path: true, set: func(c *Config, s string) error {
		if s == "" {
			return errors.New("a folder, such as ./tidemark-data")
		}
		c.Live.Dir = s
		return nil
	}, get: func(c *Config) string { return c.Live.Dir }},
	{
		key: "live.tables", path: true,
		set: func(c *Config, s string) error { c.Live.Tables = s; return nil },
		get: func(c *Config) string { return c.Live.Tables },
	},
	size("live.max_log", "1GiB", "1MiB", "", func(c *Config) *int64 { return &c.Live.MaxLog }),
	size("live.chunk_size", "10KB", "1KB", "64MiB", func(c *Config) *int64 { return &c.Live.ChunkSize }),
	boolean("live.allow_delete", false, func(c *Config) *bool { return &c.Live.AllowDelete }),
	{
		key: "live.secrets", list: true, secret: true,
		set: secrets("secrets", func(c *Config) *Secrets { return &c.Live.Secrets }),
		get: func(c *Config) string { return strings.Join(c.Live.Secrets, ",") },
	},
	{key: "live.account_key", secret: true, set: optional(func(c *Config, s string) error {
		if len(s) < leastKey {
			return fmt.Errorf("at least %d bytes, such as those of: openssl rand -hex 32", leastKey)
		}
		c.Live.AccountKey = Secret(s)
		return nil
	}), get: func(c *Config) string { return string(c.Live.AccountKey) }},
}

// leastKey is how long a key of HS256 has to be (RFC 7518, section 3.2).
const leastKey = 32

var slotName = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

// flag returns the setting's flag, without dashes in front.
func (s *setting) flag() string { return strings.ReplaceAll(s.key, "_", "-") }

// variable returns the setting's environment variable.
func (s *setting) variable() string {
	return "TIDEMARK_" + strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))
}

// Keys returns the flag of every setting, such as "cache.max-memory", with its
// default.
func Keys() (flags []string, defaults map[string]string) {
	defaults = make(map[string]string)
	for i := range settings {
		f := settings[i].flag()
		flags = append(flags, f)
		defaults[f] = settings[i].def
	}
	return flags, defaults
}

type bound int

const (
	positive bound = iota
	zeroOrMore
)

func period(key, def string, b bound, field func(*Config) *time.Duration) setting {
	return setting{
		key: key, def: def,
		set: func(c *Config, s string) error {
			d, err := duration.Parse(s)
			switch {
			case err != nil:
				return errors.New("a duration with a unit, such as " + duration.Examples)
			case d < 0:
				return errors.New("0s or more")
			case d == 0 && b == positive:
				return errors.New("more than 0s")
			}
			*field(c) = d
			return nil
		},
		get: func(c *Config) string { return duration.Format(*field(c)) },
	}
}

func number(key string, def, least, most int, field func(*Config) *int) setting {
	return setting{
		key: key, def: strconv.Itoa(def),
		set: func(c *Config, s string) error {
			n, err := strconv.Atoi(s)
			if err != nil || n < least || n > most {
				return fmt.Errorf("a whole number from %d to %d, such as %d", least, most, def)
			}
			*field(c) = n
			return nil
		},
		get: func(c *Config) string { return strconv.Itoa(*field(c)) },
	}
}

func size(key, def, least, most string, field func(*Config) *int64) setting {
	from, _ := ParseSize(least)
	to, err := ParseSize(most)
	if err != nil {
		to = math.MaxInt64
	}
	return setting{
		key: key, def: def,
		set: func(c *Config, s string) error {
			n, err := ParseSize(s)
			switch {
			case err != nil:
				return errors.New("a size with a unit, such as " + def)
			case n < from:
				return errors.New("at least " + least)
			case n > to:
				return errors.New("at most " + most)
			}
			*field(c) = n
			return nil
		},
		get: func(c *Config) string { return FormatSize(*field(c)) },
	}
}

func boolean(key string, def bool, field func(*Config) *bool) setting {
	return setting{
		key: key, def: strconv.FormatBool(def),
		set: func(c *Config, s string) error {
			if s != "true" && s != "false" {
				return errors.New("true or false")
			}
			*field(c) = s == "true"
			return nil
		},
		get: func(c *Config) string { return strconv.FormatBool(*field(c)) },
	}
}

func address(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, s string) error {
		want := errors.New("host:port, such as 127.0.0.1:8080 or :8080")
		_, port, err := net.SplitHostPort(s)
		if err != nil {
			return want
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return want
		}
		*field(c) = s
		return nil
	}
}

// optional takes an empty text for what is not set.
func optional(set func(*Config, string) error) func(*Config, string) error {
	return func(c *Config, s string) error {
		if s == "" {
			return nil
		}
		return set(c, s)
	}
}

var secret = regexp.MustCompile(`^[!-+\--~]+$`)

// secrets reads texts with commas in between. They have to pass through a header.
func secrets(noun string, field func(*Config) *Secrets) func(*Config, string) error {
	return optional(func(c *Config, s string) error {
		for k := range strings.SplitSeq(s, ",") {
			if k = strings.TrimSpace(k); !secret.MatchString(k) {
				return errors.New(noun + " with commas in between, each of ASCII letters, digits and signs without spaces")
			}
			*field(c) = append(*field(c), k)
		}
		return nil
	})
}

var units = []struct {
	name  string
	bytes int64
}{
	{"GiB", 1 << 30},
	{"MiB", 1 << 20},
	{"KiB", 1 << 10},
	{"GB", 1e9},
	{"MB", 1e6},
	{"KB", 1e3},
	{"kB", 1e3},
	{"B", 1},
}

// ParseSize reads a number of bytes with a unit: KiB, MiB and GiB are powers
// of 1024; KB, MB and GB of 1000; B is one byte.
func ParseSize(s string) (int64, error) {
	for _, u := range units {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
		if err != nil || n < 0 || n*float64(u.bytes) >= 1<<62 || n != n {
			break
		}
		return int64(n * float64(u.bytes)), nil
	}
	return 0, fmt.Errorf("%q is not a size such as 512MiB", s)
}

// FormatSize writes a size in the largest unit that divides it.
func FormatSize(n int64) string {
	if n == 0 {
		return "0B"
	}
	for _, u := range units {
		if n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}
