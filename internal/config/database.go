package config

import (
	"errors"
	"net"
	"net/url"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// errDatabase never holds what was found: a connection string that does not
// parse may carry its password anywhere.
var errDatabase = errors.New("a connection string such as postgres://user:password@host:5432/name, " +
	"with special characters of the password percent-encoded")

func checkDatabase(s string) error {
	if s == "" {
		return nil
	}
	if _, err := pgx.ParseConfig(s); err != nil {
		return errDatabase
	}
	return nil
}

// RedactDatabase rewrites a connection string without its password and
// options. What does not parse becomes "(unreadable)".
func RedactDatabase(s string) string {
	if s == "" {
		return ""
	}
	c, err := pgx.ParseConfig(s)
	if err != nil {
		return "(unreadable)"
	}
	u := url.URL{Scheme: "postgres", Path: "/" + c.Database}
	if c.User != "" {
		u.User = url.User(c.User)
		if c.Password != "" {
			u.User = url.UserPassword(c.User, "xxxxx")
		}
	}
	port := strconv.Itoa(int(c.Port))
	if len(c.Host) > 0 && (c.Host[0] == '/' || c.Host[0] == '@') {
		u.RawQuery = url.Values{"host": {c.Host}, "port": {port}}.Encode()
	} else {
		u.Host = net.JoinHostPort(c.Host, port)
	}
	return u.String()
}

// databaseVariables are those by which the environment alone can say which
// database is meant.
var databaseVariables = []string{"PGHOST", "PGHOSTADDR", "PGDATABASE", "PGSERVICE", "PGPORT", "PGUSER"}
