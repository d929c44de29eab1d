package oracle

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// subset is some rows of a shape, as a follower of its changes alone asks for
// them, and what it got.
type subset struct {
	where   string
	params  map[string]string
	orderBy string
	limit   int // 0: none
	offset  int

	Metadata struct {
		Xmin string   `json:"xmin"`
		Xmax string   `json:"xmax"`
		Xip  []string `json:"xip_list"`
		Mark *uint64  `json:"snapshot_mark"`
		LSN  string   `json:"database_lsn"`
	} `json:"metadata"`
	Data []struct {
		liveMessage
		Headers struct {
			Operation string   `json:"operation"`
			Relation  []string `json:"relation"`
			Mark      *uint64  `json:"snapshot_mark"`
			LSN       string   `json:"lsn"`
		} `json:"headers"`
	} `json:"data"`
}

func (s *subset) String() string {
	return fmt.Sprintf("where %s with %q, order by %s, limit %d, offset %d, snapshot %+v", s.where, s.params, s.orderBy, s.limit, s.offset, s.Metadata)
}

// randomSubset asks for all rows, for those of a condition, or for a page.
func (f *follower) randomSubset(all bool) *subset {
	s := &subset{params: map[string]string{}}
	if all || chance(f.Rand, 15) {
		s.where = pick(f.Rand, []string{"true", "true OR true"})
		return s
	}
	rel, rule := f.sh.rel, f.sh.rule
	may := func(c *column) bool {
		return (rule.columns == nil || slices.Contains(rule.columns, c.name)) && c.kind.name != "spans"
	}
	if chance(f.Rand, 70) {
		sh := &liveShape{rel: rel, rule: rule, args: url.Values{}}
		s.where = f.lr.clientWhere(f.Rand, sh)
		for i, v := range sh.params {
			s.params[itoa(i+1)] = string(v)
		}
	}
	if s.where != "" && chance(f.Rand, 50) {
		return s
	}
	var by []string
	for _, c := range rel.columns {
		if may(c) && c.kind.ordered && chance(f.Rand, 30) && !slices.Contains(rel.t.key, c) {
			by = append(by, c.name+pick(f.Rand, []string{"", " DESC", " ASC NULLS FIRST", " DESC NULLS LAST"}))
			break
		}
	}
	s.orderBy = strings.Join(append(by, names(rel.t.key)...), ", ")
	if chance(f.Rand, 80) {
		s.limit, s.offset = 1+f.IntN(6), f.IntN(4)
	}
	return s
}

// load asks for a subset, and takes it in.
func (f *follower) load(ctx context.Context, all, final bool) {
	ask := f.randomSubset(all)
	x := &exchange{offset: f.offset, handle: f.handle, begun: time.Now(), subset: ask, final: final}
	q := url.Values{}
	maps.Copy(q, f.sh.args)
	q.Set("offset", f.offset)
	if f.handle != "" {
		q.Set("handle", f.handle)
	}
	q.Set("secret", f.sh.secret())
	method, body := http.MethodGet, io.Reader(nil)
	if chance(f.Rand, 50) {
		method = http.MethodPost
		form := map[string]any{}
		for name, v := range map[string]string{"where": ask.where, "order_by": ask.orderBy} {
			if v != "" {
				form[name] = v
			}
		}
		if len(ask.params) > 0 {
			form["params"] = ask.params
		}
		if ask.limit > 0 {
			form["limit"], form["offset"] = ask.limit, ask.offset
		}
		text, err := json.Marshal(form)
		if err != nil {
			panic(err)
		}
		body = bytes.NewReader(text)
	} else {
		for name, v := range map[string]string{"where": ask.where, "order_by": ask.orderBy} {
			if v != "" {
				q.Set("subset__"+name, v)
			}
		}
		if len(ask.params) > 0 {
			text, err := json.Marshal(ask.params)
			if err != nil {
				panic(err)
			}
			q.Set("subset__params", string(text))
		}
		if ask.limit > 0 {
			q.Set("subset__limit", strconv.Itoa(ask.limit))
			q.Set("subset__offset", strconv.Itoa(ask.offset))
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 12*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, f.lr.subject.url+f.sh.path+"?"+q.Encode(), body)
	if err != nil {
		panic(err)
	}
	resp, err := f.http.Do(r)
	if err != nil {
		f.broken++
		return
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		f.broken++
		return
	}
	x.status, x.ended = resp.StatusCode, time.Now()
	switch x.status {
	case http.StatusOK:
	case http.StatusBadRequest:
		x.body = string(text)
		f.got = append(f.got, x)
		return
	default:
		f.take(ctx, x, text, resp.Header)
		return
	}
	if err := json.Unmarshal(text, ask); err != nil {
		x.body = fmt.Sprintf("%v in %.300s", err, text)
	}
	x.newHandle, x.end = resp.Header.Get("electric-handle"), resp.Header.Get("electric-offset")
	f.sh.served.Store(true)
	f.handle, f.offset = x.newHandle, x.end
	f.got = append(f.got, x)
}

var numberedParam = regexp.MustCompile(`\$(\d+)`)

// askSubset asks the replica for what a subset has.
func (j *liveJudge) askSubset(sh *liveShape, s *subset) ([]row, error) {
	cols := "*"
	if sh.columns != nil {
		cols = strings.Join(sh.columns, ", ")
	}
	sql := fmt.Sprintf("SELECT %s FROM %s WHERE %s", cols, sh.rel.name, sh.condition)
	params := slices.Clone(sh.params)
	if s.where != "" {
		sql += " AND (" + numberedParam.ReplaceAllStringFunc(s.where, func(n string) string {
			return "$" + itoa(atoi(n[1:])+len(sh.params))
		}) + ")"
		for i := range len(s.params) {
			params = append(params, []byte(s.params[itoa(i+1)]))
		}
	}
	if s.orderBy != "" {
		sql += " ORDER BY " + s.orderBy
	}
	if s.limit > 0 {
		sql += fmt.Sprintf(" LIMIT %d OFFSET %d", s.limit, s.offset)
	}
	return j.selected(sql, params)
}
