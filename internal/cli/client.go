package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// adminFlags are the flags of every command that asks a running server.
type adminFlags struct {
	Admin string `placeholder:"URL" help:"Admin address of the server (TIDEMARK_ADMIN; http://127.0.0.1:8081)."`
	JSON  bool   `name:"json" help:"Print the server's JSON as it is."`
}

func (f *adminFlags) client(a *app) *client {
	return &client{
		base: firstOf(f.Admin, a.getenv("TIDEMARK_ADMIN"), "http://127.0.0.1:8081"),
		flag: "--admin or TIDEMARK_ADMIN",
	}
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// client speaks HTTP to one port of a running server.
type client struct {
	base string
	flag string // how to name another address
	wait bool   // for as long as the reply takes
}

const clientTimeout = time.Minute

// maxReply bounds what is read of a reply.
const maxReply = 256 << 20

// do sends one request. path is as a person wrote it: with its query, with or
// without the slash in front. A reply that is not a success is an error.
func (c *client) do(ctx context.Context, method, path string, header http.Header, body []byte) (*http.Response, []byte, error) {
	base := c.base
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	target, err := url.Parse(strings.TrimRight(base, "/") + "/" + strings.TrimLeft(strings.ReplaceAll(path, " ", "%20"), "/"))
	if err != nil {
		return nil, nil, usageError{fmt.Errorf("%q is not an address with a path", base+path)}
	}
	if !c.wait {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, clientTimeout)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	if header != nil {
		req.Header = header
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, c.unreachable(err)
	}
	defer func() { _ = resp.Body.Close() }()
	reply, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return nil, nil, fmt.Errorf("read the reply of %s: %w", base, err)
	}
	if resp.StatusCode >= 300 {
		return resp, reply, problem(resp, reply)
	}
	return resp, reply, nil
}

func (c *client) unreachable(err error) error {
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return hinted{
			fmt.Errorf("no server answers at %s", c.base),
			fmt.Sprintf("start one with tidemark serve, or name another with %s", c.flag),
		}
	case errors.As(err, &dns):
		return hinted{fmt.Errorf("there is no host %s", dns.Name), "name another with " + c.flag}
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s did not answer within %s", c.base, clientTimeout)
	}
	return err
}

// problem turns an RFC 9457 reply into an error for a person.
func problem(resp *http.Response, body []byte) error {
	var p struct{ Type, Title, Detail, Hint string }
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if kind != "application/problem+json" || json.Unmarshal(body, &p) != nil || p.Title == "" {
		return fmt.Errorf("the server replied %s", resp.Status)
	}
	err := errors.New(plain(p.Title))
	if p.Detail != "" && !strings.EqualFold(p.Detail, p.Title) {
		err = fmt.Errorf("%s: %s", plain(p.Title), plain(p.Detail))
	}
	if p.Hint == "" && strings.HasSuffix(p.Type, ":no-endpoint") {
		p.Hint = "tidemark endpoints lists the routes"
	}
	if p.Hint != "" {
		return hinted{err, plain(p.Hint)}
	}
	return err
}

// get reads JSON from the admin port.
func (c *client) get(ctx context.Context, path string) ([]byte, error) {
	_, body, err := c.do(ctx, http.MethodGet, path, nil, nil)
	return body, err
}
