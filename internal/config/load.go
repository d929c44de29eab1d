package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// DefaultFile is read when no other file is named and it exists.
const DefaultFile = "tidemark.yaml"

// Input is where Load looks.
type Input struct {
	// File is the configuration file. Empty means TIDEMARK_CONFIG, or else
	// DefaultFile where it exists.
	File string
	// Flags holds the flags that were given, keyed as in Keys.
	Flags map[string]string
	// Environ is the environment as name=value, as os.Environ returns it.
	Environ []string
}

// origin is one place that gives a setting its text.
type origin struct {
	where string // for a reader: file:line, variable, flag
	named bool   // where already names the setting
	line  int    // in the file; 0 elsewhere
	dir   string // relative paths start here
	text  string
}

// Load reads the configuration. An error that is about the configuration's
// contents is of type Problems.
func Load(in Input) (*Config, error) {
	env := make(map[string]string, len(in.Environ))
	for _, kv := range in.Environ {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
	}

	var inFile, elsewhere Problems
	c := &Config{}
	given, err := c.readFile(in.File, env, &inFile)
	if err != nil {
		return nil, err
	}
	unknownVariables(env, &elsewhere)

	origins := make(map[string]origin, len(settings))
	for i := range settings {
		s := &settings[i]
		o, problem := s.choose(in.Flags, env, given, c.File)
		if problem == "" && o.text != "" && s.path && !filepath.IsAbs(o.text) {
			o.text = filepath.Join(o.dir, o.text)
		}
		origins[s.key] = o
		key := s.key
		if o.named {
			key = ""
		}
		problems := &elsewhere
		if o.line > 0 {
			problems = &inFile
		}
		if problem != "" {
			problems.add(o.where, key, "%s", problem)
			continue
		}
		if err := s.set(c, o.text); err != nil {
			if s.secret {
				problems.add(o.where, key, "want %v", err)
			} else {
				problems.add(o.where, key, "found %q, want %v", o.text, err)
			}
		}
	}
	if len(inFile)+len(elsewhere) == 0 {
		c.crossCheck(origins, env, &elsewhere)
	}

	slices.SortStableFunc(inFile, func(a, b Problem) int { return lineOf(a) - lineOf(b) })
	if problems := append(inFile, elsewhere...); len(problems) > 0 {
		return nil, problems
	}
	return c, nil
}

func lineOf(p Problem) int {
	n := 0
	_, _ = fmt.Sscanf(p.Where[strings.LastIndexByte(p.Where, ':')+1:], "%d", &n)
	return n
}

// readFile finds and parses the configuration file, if there is one.
func (c *Config) readFile(name string, env map[string]string, problems *Problems) (map[string]fileValue, error) {
	explicit := name != ""
	if !explicit {
		name, explicit = env["TIDEMARK_CONFIG"], env["TIDEMARK_CONFIG"] != ""
	}
	if !explicit {
		name = DefaultFile
	}
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) && !explicit {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	c.File = name
	return parseFile(name, text, problems), nil
}

// choose returns the text of the setting from the source that counts, and what
// is wrong with it as text.
func (s *setting) choose(flags, env map[string]string, file map[string]fileValue, name string) (o origin, problem string) {
	if text, ok := flags[s.flag()]; ok {
		return origin{where: "--" + s.flag(), named: true, text: text}, ""
	}
	if text, ok := env[s.variable()]; ok {
		return origin{where: s.variable(), named: true, text: text}, ""
	}
	if v, ok := file[s.key]; ok {
		o = origin{where: fmt.Sprintf("%s:%d", name, v.line), line: v.line, dir: filepath.Dir(name)}
		o.text, problem = expand(v.text, env)
		return o, problem
	}
	o = origin{where: s.key, named: true, text: s.def}
	if name != "" {
		o.dir = filepath.Dir(name)
	}
	if s.key == "database" {
		o.text = env["DATABASE_URL"]
	}
	return o, ""
}

var (
	variable     = regexp.MustCompile(`\$\$|\$\{[^}]*\}?`)
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// expand replaces ${NAME} by the variable's value and $$ by one dollar sign.
func expand(text string, env map[string]string) (expanded, problem string) {
	expanded = variable.ReplaceAllStringFunc(text, func(m string) string {
		if m == "$$" {
			return "$"
		}
		name, closed := strings.CutSuffix(m[2:], "}")
		if !closed || !variableName.MatchString(name) {
			problem = "found ${ without a variable's name and }, want ${NAME} (write $${ for the characters ${)"
			return m
		}
		value, ok := env[name]
		if !ok && problem == "" {
			problem = fmt.Sprintf("the environment variable %s is not set", name)
		}
		return value
	})
	return expanded, problem
}

// unknownVariables reports variables that look like settings and are none.
func unknownVariables(env map[string]string, problems *Problems) {
	var known, sections []string
	for i := range settings {
		known = append(known, settings[i].variable())
		if head, _, nested := strings.Cut(settings[i].key, "."); nested {
			sections = append(sections, "TIDEMARK_"+strings.ToUpper(head)+"_")
		}
	}
	var names []string
	for name := range env {
		looksLikeOne := slices.ContainsFunc(sections, func(p string) bool { return strings.HasPrefix(name, p) })
		if looksLikeOne && !slices.Contains(known, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if n := nearest(name, known); n != "" {
			problems.add(name, "", "there is no such setting; did you mean %s?", n)
		} else {
			problems.add(name, "", "there is no such setting")
		}
	}
}

// crossCheck finds what is wrong between settings that are right alone.
func (c *Config) crossCheck(origins map[string]origin, env map[string]string, problems *Problems) {
	if c.Database == "" && !slices.ContainsFunc(databaseVariables, func(v string) bool { return env[v] != "" }) {
		problems.add("database", "", "is not set: set DATABASE_URL, write database: in %s, or give --database", DefaultFile)
	}
	if (c.Listen.TLSCert == "") != (c.Listen.TLSKey == "") {
		given, missing := "listen.tls_cert", "listen.tls_key"
		if c.Listen.TLSCert == "" {
			given, missing = missing, given
		}
		o := origins[given]
		problems.add(o.where, given, "needs %s too", missing)
	}
	if c.Listen.HTTP == c.Listen.Admin && !strings.HasSuffix(c.Listen.HTTP, ":0") {
		o := origins["listen.admin"]
		problems.add(o.where, "listen.admin", "found %q, want another address than listen.http", c.Listen.Admin)
	}
	if c.Listen.GRPC != "" && len(c.Permissions.Keys) == 0 {
		problems.add(origins["listen.grpc"].where, "listen.grpc",
			"permissions need a key that clients send: set permissions.keys, such as by TIDEMARK_PERMISSIONS_KEYS")
	}
	if c.Listen.GRPCGateway != "" && c.Listen.GRPC == "" {
		problems.add(origins["listen.grpc_gateway"].where, "listen.grpc_gateway", "needs listen.grpc too, such as 127.0.0.1:50051")
	}
}
