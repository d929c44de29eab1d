package cli

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

type getCmd struct {
	Server      string `placeholder:"URL" help:"Address of the server (TIDEMARK_SERVER; http://127.0.0.1:8080)."`
	Consistency string `enum:",minimize_latency,at_least_as_fresh,at_exact_snapshot,fully_consistent" default:"" placeholder:"LEVEL" help:"minimize_latency (default), at_least_as_fresh (default with a token), at_exact_snapshot or fully_consistent."`
	Token       string `placeholder:"TOKEN" help:"Token that at_least_as_fresh and at_exact_snapshot take."`
	Include     bool   `short:"i" help:"Show the status line and the headers too."`
	Path        string `arg:"" help:"Path of the answer with its query, such as /v1/orders/7."`
}

func (c *getCmd) Run(a *app) error {
	level := c.Consistency
	if level == "" && c.Token != "" {
		level = "at_least_as_fresh"
	}
	takesToken := level == "at_least_as_fresh" || level == "at_exact_snapshot"
	if takesToken != (c.Token != "") {
		if takesToken {
			return usageError{fmt.Errorf("%s needs --token", level)}
		}
		return usageError{fmt.Errorf("%s takes no token", level)}
	}
	header := make(http.Header)
	if level != "" {
		value := level
		if c.Token != "" {
			if _, err := revision.ParseToken(c.Token); err != nil {
				return usageError{err}
			}
			value = fmt.Sprintf("%s; token=%q", level, c.Token)
		}
		header.Set("Tidemark-Consistency", value)
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
