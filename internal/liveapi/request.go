package liveapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Names of parameters.
const (
	paramLive       = "live"
	paramSSE        = "live_sse"
	paramOldSSE     = "experimental_live_sse"
	paramOffset     = "offset"
	paramHandle     = "handle"
	paramCursor     = "cursor"
	paramLog        = "log"
	paramReplica    = "replica"
	paramTable      = "table"
	paramWhere      = "where"
	paramParams     = "params"
	paramColumns    = "columns"
	paramQueryable  = "queryable_columns"
	paramSecret     = "secret"
	paramOldSecret  = "api_secret"
	paramExpired    = "expired_handle"
	paramBuster     = "cache-buster"
	subsetPrefix    = "subset__"
	headerLastEvent = "Last-Event-Id"
)

// telling are the parameters that make a request of an endpoint's path one about
// following it; following are all that are not the endpoint's then.
var (
	telling   = []string{paramLive, paramSSE, paramOldSSE, paramOffset, paramHandle}
	following = append([]string{
		paramCursor, paramLog, paramReplica, paramSecret, paramOldSecret, paramExpired, paramBuster,
	}, telling...)
)

// request is a request for a shape, understood.
type request struct {
	table  bool // the shape is one of a table, not of an endpoint
	def    live.Definition
	path   string // of the endpoint
	query  string // of the endpoint
	handle string
	offset live.Offset
	live   bool
	stream bool
	// byAccept says that nothing but the Accept header asks for a stream, which
	// caches do not see in the address.
	byAccept bool
	cursor   string
	subset   *live.Subset
	need     revision.Requirement
	// resume says that the offset is the id of the last event that a browser got.
	resume bool
	noWait bool // HEAD
	match  []string
	subscriber
}

// named reports whether a request names a level of consistency that means
// something to a shape.
func (r *request) named() bool { return r.need.Level != revision.MinimizeLatency }

// fresh reports whether a request has nothing to go on from.
func (r *request) fresh() bool { return r.offset == live.Start || r.offset == live.Now }

func (r *request) expired() bool { return !r.expires.IsZero() && !time.Now().Before(r.expires) }

func bad(field, format string, args ...any) error {
	return &live.RequestError{Field: field, Message: fmt.Sprintf(format, args...)}
}

// parse understands a request, less who made it.
func (h *Handler) parse(r *http.Request, values url.Values) (*request, error) {
	q := &request{
		table: r.URL.EscapedPath() == ShapePath, path: r.URL.EscapedPath(), noWait: r.Method == http.MethodHead,
		match: r.Header["If-None-Match"],
	}
	own, err := h.owned(q, values)
	if err != nil {
		return nil, err
	}
	p := params{values: values, own: own}
	q.handle, q.cursor = p.text(paramHandle), p.text(paramCursor)
	q.live = p.flag(paramLive)
	sse := p.flag(paramSSE)
	sse = p.flag(paramOldSSE) || sse
	if sse && !q.live {
		return nil, bad(paramSSE, "can be true only if live is")
	}
	q.byAccept = !sse && acceptsEvents(r.Header)
	q.stream = sse || q.byAccept
	changesOnly := p.choice(paramLog, "full", "changes_only")
	full := p.choice(paramReplica, "default", "full")
	offset := p.text(paramOffset)
	if p.err != nil {
		return nil, p.err
	}
	if q.offset = live.Start; offset != "" {
		if q.offset, err = live.ParseOffset(offset); err != nil {
			return nil, &live.RequestError{Field: paramOffset, Message: err.Error()}
		}
	}
	if !q.fresh() && q.handle == "" {
		return nil, bad(paramHandle, "is needed with an offset other than -1 and now")
	}
	if id := r.Header[headerLastEvent]; q.stream && len(id) == 1 && id[0] != "" {
		q.handle, q.offset = lastEvent(id[0])
		q.resume = true
	}
	if q.need, err = revision.ParseConsistency(strings.Join(r.Header[headerConsistency], ", ")); err != nil {
		return nil, err
	}
	if q.need.Level == revision.AtExactSnapshot || len(r.Header[headerSnapshot]) > 0 {
		return nil, errExact
	}
	if !q.table {
		if changesOnly {
			return nil, bad(paramLog, "can be changes_only only for a table")
		}
		if full {
			return nil, bad(paramReplica, "can be full only for a table")
		}
		q.query = without(r.URL.RawQuery, own)
		return q, nil
	}
	q.def = live.Definition{Table: p.text(paramTable), Where: p.text(paramWhere), ChangesOnly: changesOnly, Full: full}
	q.def.Params, q.def.Columns, q.def.Queryable = p.params(), p.columns(paramColumns), p.columns(paramQueryable)
	if p.err != nil {
		return nil, p.err
	}
	if r.Method == http.MethodDelete {
		return q, nil
	}
	if q.def.Table == "" {
		return nil, bad(paramTable, "the parameter table is missing")
	}
	if err := restrict(&q.def); err != nil {
		return nil, err
	}
	if r.Method == http.MethodPost {
		q.subset, err = bodySubset(r)
	} else {
		q.subset, err = p.subset()
	}
	return q, err
}

// owned returns which of the parameters that are about following are the
// endpoint's own. A request that cannot do without one of those is refused.
func (h *Handler) owned(q *request, values url.Values) (own map[string]bool, err error) {
	if q.table {
		return nil, nil
	}
	explicit := false
	for _, name := range following {
		if !values.Has(name) {
			continue
		}
		if h.o.Host.Takes(q.path, name) {
			if own == nil {
				own = map[string]bool{}
			}
			own[name] = true
		} else if name == paramLive || name == paramHandle || name == paramSSE || name == paramOldSSE {
			explicit = true
		}
	}
	if explicit {
		for name := range own {
			return nil, &live.RequestError{
				Field: name, Message: "the endpoint has a parameter of its own of that name",
				Hint: "rename the endpoint's parameter, or follow it with nothing but Accept: text/event-stream",
			}
		}
	}
	return own, nil
}

// without returns a raw query less the parameters that are about following.
func without(rawQuery string, own map[string]bool) string {
	var kept []string
	for part := range strings.SplitSeq(rawQuery, "&") {
		name, _, _ := strings.Cut(part, "=")
		if n, err := url.QueryUnescape(name); part == "" || err == nil && isFollowing(n) && !own[n] {
			continue
		}
		kept = append(kept, part)
	}
	return strings.Join(kept, "&")
}

func isFollowing(name string) bool {
	for _, f := range following {
		if f == name {
			return true
		}
	}
	return false
}

// lastEvent reads the id of an event. One that is none of ours is from before
// everything.
func lastEvent(id string) (handle string, o live.Offset) {
	i := strings.LastIndexByte(id, '/')
	if i <= 0 {
		return "", live.Start
	}
	o, err := live.ParseOffset(id[i+1:])
	if err != nil || o == live.Now {
		return "", live.Start
	}
	return id[:i], o
}

// acceptsEvents reports whether an Accept field asks for an event stream by name.
func acceptsEvents(h http.Header) bool {
	for _, line := range h["Accept"] {
		for part := range strings.SplitSeq(line, ",") {
			kind, params, err := mime.ParseMediaType(part)
			if err != nil || kind != "text/event-stream" {
				continue
			}
			q, err := strconv.ParseFloat(params["q"], 64)
			if _, given := params["q"]; !given || err == nil && q > 0 {
				return true
			}
		}
	}
	return false
}

// params reads parameters; the first error stays. None may be given twice: what
// stands before the server may have looked at the other.
type params struct {
	values url.Values
	own    map[string]bool
	err    error
}

func (p *params) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

func (p *params) text(name string) string {
	v := p.values[name]
	if len(v) == 0 || p.own[name] {
		return ""
	}
	if len(v) > 1 {
		p.fail(bad(name, "is given more than once"))
	}
	return v[0]
}

func (p *params) flag(name string) bool {
	switch v := p.text(name); v {
	case "true":
		return true
	case "", "false":
	default:
		p.fail(bad(name, "%.40q is neither true nor false", v))
	}
	return false
}

// choice reports whether a parameter has the second of its values.
func (p *params) choice(name, first, second string) bool {
	switch v := p.text(name); v {
	case second:
		return true
	case "", first:
	default:
		p.fail(bad(name, "%.40q is neither %s nor %s", v, first, second))
	}
	return false
}

// params returns the parameters of a condition: params[1]=… or one JSON object.
func (p *params) params() map[string]string {
	out, err := readParams(p.text(paramParams))
	if err != nil {
		p.fail(&live.RequestError{Field: paramParams, Message: err.Error()})
	}
	for name := range p.values {
		n, ok := strings.CutPrefix(name, paramParams+"[")
		if !ok {
			continue
		}
		n, closed := strings.CutSuffix(n, "]")
		if !closed || !isPosition(n) {
			p.fail(bad(paramParams, "%.60q is not of the form params[1]", name))
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		if _, twice := out[n]; twice {
			p.fail(bad(paramParams, "number %s is given more than once", n))
		}
		out[n] = p.text(name)
	}
	return out
}

func isPosition(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s[0] != '0' && s[0] != '+'
}

// readParams reads parameters by number from JSON: an object, or an array.
func readParams(text string) (map[string]string, error) {
	if text == "" || text == "null" {
		return nil, nil
	}
	byNumber := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(text), &byNumber); err != nil {
		var list []json.RawMessage
		if json.Unmarshal([]byte(text), &list) != nil {
			return nil, errors.New("want a JSON object with the values by number")
		}
		for i, v := range list {
			byNumber[strconv.Itoa(i+1)] = v
		}
	}
	out := map[string]string{}
	for n, raw := range byNumber {
		if !isPosition(n) {
			return nil, fmt.Errorf("%.40q is not the number of a parameter", n)
		}
		var s string
		switch c := raw[0]; {
		case c == '"':
			if err := json.Unmarshal(raw, &s); err != nil {
				return nil, fmt.Errorf("the value of number %s cannot be read", n)
			}
		case c == '{' || c == '[' || c == 'n':
			return nil, fmt.Errorf("the value of number %s is neither a text nor a number", n)
		default:
			s = string(raw) // a number, true or false, as written
		}
		out[n] = s
	}
	return out, nil
}

// columns reads names with commas between them, as SQL has them: those without
// quotes are in lower case.
func (p *params) columns(name string) []string {
	text := p.text(name)
	if text == "" {
		return nil
	}
	out, ok := parseColumns(text)
	if !ok {
		p.fail(bad(name, "%.60q is not a list of columns; quote names with other characters than letters, digits and _", text))
	}
	return out
}

// restrict applies the list of queryable columns to the columns of a shape.
func restrict(d *live.Definition) error {
	if d.Queryable == nil {
		return nil
	}
	if d.Columns == nil {
		d.Columns = d.Queryable
	}
	for _, c := range d.Columns {
		found := false
		for _, q := range d.Queryable {
			found = found || c == q
		}
		if !found {
			return bad(paramColumns, "%q is not one of queryable_columns", c)
		}
	}
	return nil
}
