package cli

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

type getCmd struct {
	Server      string `placeholder:"URL" help:"Address of the server (TIDEMARK_SERVER; http://127.0.0.1:8080)."`
	Consistency string `enum:",minimize_latency,at_least_as_fresh,at_exact_snapshot,fully_consistent" default:"" placeholder:"LEVEL" help:"minimize_latency (default), at_least_as_fresh (default with a token), at_exact_snapshot or fully_consistent."`
	Snapshot    string `enum:",same" default:"" placeholder:"same" help:"One of several answers that fit together: the first without --token, the others exactly as of its token, which -i shows."`
	Token       string `placeholder:"TOKEN" help:"Token that at_least_as_fresh, at_exact_snapshot and --snapshot take."`
	Include     bool   `short:"i" help:"Show the status line and the headers too."`
	Path        string `arg:"" help:"Path of the answer with its query, such as /v1/orders/7."`
}

func (c *getCmd) Run(a *app) error {
	header, err := c.requirement()
	if err != nil {
		return usageError{err}
	}
	server := &client{
		base: firstOf(c.Server, a.getenv("TIDEMARK_SERVER"), "http://127.0.0.1:8080"),
		flag: "--server or TIDEMARK_SERVER",
	}
	resp, body, err := server.do(a.ctx, http.MethodGet, rooted(c.Path), header, nil)
	if resp != nil && c.Include {
		fmt.Fprintf(a.stdout, "%s %s\n", resp.Proto, resp.Status)
		var names []string
		for name := range resp.Header {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			for _, value := range resp.Header[name] {
				fmt.Fprintf(a.stdout, "%s: %s\n", name, value)
			}
		}
		fmt.Fprintln(a.stdout)
	}
	if err != nil {
		return err
	}
	return a.write(body)
}

// requirement returns the headers that say how fresh the answer must be.
func (c *getCmd) requirement() (http.Header, error) {
	header := make(http.Header)
	level := c.Consistency
	if level == "" && c.Snapshot == "" && c.Token != "" {
		level = "at_least_as_fresh"
	}
	takesToken := level == "at_least_as_fresh" || level == "at_exact_snapshot"
	switch {
	case c.Snapshot != "" && level != "":
		return nil, errors.New("--snapshot does not go together with --consistency")
	case takesToken && c.Token == "":
		return nil, fmt.Errorf("%s needs --token", level)
	case level != "" && !takesToken && c.Token != "":
		return nil, fmt.Errorf("%s takes no token", level)
	case c.Token != "":
		if _, err := revision.ParseToken(c.Token); err != nil {
			return nil, err
		}
	}
	if c.Snapshot != "" {
		header.Set("Tidemark-Snapshot", c.Snapshot)
		if c.Token != "" {
			header.Set("Tidemark-Token", c.Token)
		}
		return header, nil
	}
	if takesToken {
		level = fmt.Sprintf("%s; token=%q", level, c.Token)
	}
	if level != "" {
		header.Set("Tidemark-Consistency", level)
	}
	return header, nil
}
