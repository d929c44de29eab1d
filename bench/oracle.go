package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/query"
)

// ask is one answer to ask for: of tidemark by its request, of Postgres by the
// endpoint's statement and its arguments.
type ask struct {
	endpoint string
	path     string
	request  []byte
	args     [][]byte // of the statement; nil is NULL

	// What tidemark said last.
	status int
	hit    bool
	tag    string
	body   []byte
}

// fresh asks for the same answers as of a token or later: at minimize_latency, an
// answer that is being computed may be of a moment ago.
func fresh(asks []*ask, token string) []*ask {
	out := make([]*ask, len(asks))
	for i, a := range asks {
		out[i] = &ask{endpoint: a.endpoint, path: a.path, args: a.args, request: request(a.path, atLeast(token))}
	}
	return out
}

func atLeast(token string) string {
	return "Tidemark-Consistency: at_least_as_fresh; token=\"" + token + "\"\r\n"
}

// oracle says what answers have to be: the endpoints' statements, run by Postgres
// over one connection.
type oracle struct {
	conn  *pgconn.PgConn
	files map[string]*query.File
}

// readEndpoints reads the endpoint files of a folder, by file name and as parsed.
func readEndpoints(files fs.FS, dir string) (map[string]string, map[string]*query.File, error) {
	names, err := fs.Glob(files, path.Join(dir, "*.sql"))
	if err != nil {
		return nil, nil, err
	}
	texts := map[string]string{}
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, nil, err
		}
		texts[path.Base(name)] = string(text)
	}
	parsed, err := parseEndpoints(texts)
	return texts, parsed, err
}

// parseEndpoints returns endpoints by name.
func parseEndpoints(texts map[string]string) (map[string]*query.File, error) {
	out := map[string]*query.File{}
	for name, text := range texts {
		f, problems := query.ParseFile(name, []byte(text))
		if f == nil {
			return nil, fmt.Errorf("%s: %v", name, problems[0])
		}
		out[f.Name] = f
	}
	return out, nil
}

// openOracle prepares the statements on a connection of its own.
func openOracle(ctx context.Context, dsn string, files map[string]*query.File) (*oracle, error) {
	conn, err := pgconn.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	o := &oracle{conn: conn, files: files}
	if err := o.prepare(ctx); err != nil {
		o.close()
		return nil, err
	}
	return o, nil
}

func (o *oracle) prepare(ctx context.Context) error {
	if err := o.conn.Exec(ctx, becomeApplication).Close(); err != nil {
		return err
	}
	for _, s := range query.Settings() {
		set := o.conn.ExecParams(ctx, "SELECT set_config($1, $2, false)", [][]byte{[]byte(s.Name), []byte(s.Value)}, nil, nil, nil)
		if _, err := set.Close(); err != nil {
			return err
		}
	}
	for name, f := range o.files {
		sql := "SELECT row_to_json(answer.*)::text FROM (" + f.SQL + "\n) answer"
		if _, err := o.conn.Prepare(ctx, name, sql, nil); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (o *oracle) close() { _ = o.conn.Close(context.Background()) }

// arguments orders values by parameter for an endpoint's statement.
func arguments(f *query.File, values map[string]string) [][]byte {
	out := make([][]byte, len(f.Params))
	for i, name := range f.Params {
		if v, ok := values[name]; ok {
			out[i] = []byte(v)
		}
	}
	return out
}

// pipelined is how many statements are sent before their results are read.
const pipelined = 50

// each computes answers, one statement after the other, and hands each over with
// its rows as one body; found is false for an object that does not exist.
func (o *oracle) each(ctx context.Context, asks []*ask, f func(a *ask, body []byte, found bool) error) error {
	for len(asks) > 0 {
		n := min(pipelined, len(asks))
		if err := o.some(ctx, asks[:n], f); err != nil {
			return err
		}
		asks = asks[n:]
	}
	return nil
}

func (o *oracle) some(ctx context.Context, asks []*ask, f func(a *ask, body []byte, found bool) error) error {
	p := o.conn.StartPipeline(ctx)
	for _, a := range asks {
		p.SendQueryPrepared(a.endpoint, a.args, nil, nil)
	}
	if err := p.Sync(); err != nil {
		_ = p.Close()
		return err
	}
	for _, a := range asks {
		result, err := p.GetResults()
		if err != nil {
			_ = p.Close()
			return fmt.Errorf("%s: %w", a.path, err)
		}
		rows := result.(*pgconn.ResultReader).Read()
		if rows.Err != nil {
			_ = p.Close()
			return fmt.Errorf("%s: %w", a.path, rows.Err)
		}
		body, found := o.body(a.endpoint, rows.Rows)
		if err := f(a, body, found); err != nil {
			_ = p.Close()
			return err
		}
	}
	return p.Close()
}

func (o *oracle) body(endpoint string, rows [][][]byte) ([]byte, bool) {
	if o.files[endpoint].One {
		if len(rows) == 0 {
			return nil, false
		}
		return rows[0][0], true
	}
	all := make([][]byte, len(rows))
	for i, r := range rows {
		all[i] = r[0]
	}
	return []byte("[" + string(bytes.Join(all, []byte(","))) + "]"), true
}

// differing holds what tidemark said last against what Postgres says now, and
// describes each answer that is not the same.
func (o *oracle) differing(ctx context.Context, asks []*ask) (out []string, err error) {
	return out, o.each(ctx, asks, func(a *ask, body []byte, found bool) error {
		if found && a.status == 200 && bytes.Equal(a.body, body) || !found && a.status == 404 {
			return nil
		}
		out = append(out, fmt.Sprintf("%s\n    tidemark, status %d, hit %v: %s\n    Postgres: %s", a.path, a.status, a.hit, clip(a.body), clip(body)))
		return nil
	})
}

func clip(b []byte) string {
	if len(b) > 600 {
		return strings.ToValidUTF8(string(b[:600]), "") + " …"
	}
	return string(b)
}
