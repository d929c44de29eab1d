package oracle

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
)

// liveRule lets a table be followed.
type liveRule struct {
	relation string // empty: the schema public
	where    string
	columns  []string
	account  *column
}

// liveRelation is a table that can be followed: by itself, a partition too.
type liveRelation struct {
	name    string
	t       *table
	feeds   []string // the relations of the log whose changes are its own
	columns []*column
}

// liveShape is what followers ask for: a table's or an endpoint's.
type liveShape struct {
	id   int
	path string
	args url.Values // of the request, less those about following
	// account, if not empty, is that of the subscribers.
	account string

	// Of a table.
	rel         *liveRelation
	rule        *liveRule
	condition   string // of rule, client and account, with $1 ...
	params      [][]byte
	columns     []string // nil: all
	full        bool
	changesOnly bool

	idle bool // nothing ever touches it

	// Of an endpoint.
	req     *request
	stormed bool // the one transaction touches it, as it does many

	refusal atomic.Pointer[string] // that there is no such shape, and why
	served  atomic.Bool            // there is
}

func (sh *liveShape) String() string {
	who := ""
	if sh.account != "" {
		who = ", of account " + sh.account
	}
	if sh.req != nil {
		return fmt.Sprintf("shape %d%s: %s\naccount column %q", sh.id, who, sh.req, sh.req.ep.account)
	}
	return fmt.Sprintf("shape %d%s: %s?%s\nall in all: %s with %q, rule %+v", sh.id, who, sh.path, sh.args.Encode(), sh.condition, sh.params, *sh.rule)
}

// followers returns how many a shape has.
func (sh *liveShape) followers(r *rand.Rand) int {
	switch {
	case sh.stormed:
		return 1
	case sh.idle:
		return 2
	}
	return 1 + r.IntN(2)
}

// refused is why there is no such shape, or empty.
func (sh *liveShape) refused() string {
	if why := sh.refusal.Load(); why != nil {
		return *why
	}
	return ""
}

// secret opens a shape for its subscriber.
func (sh *liveShape) secret() string {
	if sh.account == "" {
		return liveSecret
	}
	enc := base64.RawURLEncoding
	signed := enc.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + enc.EncodeToString(fmt.Appendf(nil, `{"account":%q}`, sh.account))
	mac := hmac.New(sha256.New, []byte(liveAccountKey))
	mac.Write([]byte(signed))
	return signed + "." + enc.EncodeToString(mac.Sum(nil))
}

// relations are what can be followed.
func (s *schema) relations() []*liveRelation {
	var all []*liveRelation
	for _, t := range s.tables {
		rel := &liveRelation{name: t.name, t: t, columns: t.cols, feeds: t.leaves}
		if len(t.leaves) == 0 {
			rel.feeds = []string{t.name}
		}
		if t.child != nil {
			rel.feeds = append(rel.feeds, t.child.name)
		}
		all = append(all, rel)
		if len(t.leaves) > 0 {
			all = append(all, &liveRelation{name: t.leaves[0], t: t, columns: t.cols, feeds: t.leaves[:1]})
		}
	}
	return all
}

func (lr *liveRun) randomRules(r *rand.Rand) []*liveRule {
	rules := []*liveRule{{}}
	for _, rel := range lr.s.relations() {
		if chance(r, 40) {
			continue
		}
		rule := &liveRule{relation: rel.name}
		if chance(r, 40) {
			rule.where = strings.ReplaceAll(constantCondition(r, rel.t, "x"), "x.", "")
		}
		if chance(r, 60) {
			rule.account = accountColumn(r, rel.columns)
		}
		if chance(r, 40) {
			for i, c := range rel.columns {
				if i < len(rel.t.key) || c == rule.account || chance(r, 60) {
					rule.columns = append(rule.columns, c.name)
				}
			}
		}
		rules = append(rules, rule)
	}
	return rules
}

// accountColumn picks a column with few values that have one spelling, or none.
func accountColumn(r *rand.Rand, cols []*column) *column {
	for range 20 {
		switch c := pick(r, cols); c.kind.typ() {
		case "int", "text", "uuid", "varchar(8)", "bigint":
			if c.kind.alike && c.kind != kindLong {
				return c
			}
		}
	}
	return nil
}

func rulesText(rules []*liveRule) string {
	text := "tables:\n"
	for _, rule := range rules {
		if rule.relation == "" {
			text += "  - schema: public\n"
			continue
		}
		text += "  - table: " + rule.relation + "\n"
		if rule.where != "" {
			text += fmt.Sprintf("    where: %q\n", rule.where)
		}
		if rule.columns != nil {
			text += "    columns: [" + strings.Join(rule.columns, ", ") + "]\n"
		}
		if rule.account != nil {
			text += "    account: " + rule.account.name + "\n"
		}
	}
	return text
}

func (lr *liveRun) ruleOf(rel *liveRelation) *liveRule {
	for _, rule := range lr.rules {
		if rule.relation == rel.name {
			return rule
		}
	}
	return lr.rules[0]
}

// tableShapes returns some shapes of each relation.
func (lr *liveRun) tableShapes(r *rand.Rand) []*liveShape {
	var all []*liveShape
	for _, rel := range lr.s.relations() {
		n := 1 + r.IntN(3)
		if lr.lane.subsets {
			n += 2
		}
		for range n {
			sh := lr.tableShape(r, rel)
			sh.id = len(all)
			all = append(all, sh)
		}
	}
	return all
}

func (lr *liveRun) tableShape(r *rand.Rand, rel *liveRelation) *liveShape {
	sh := &liveShape{path: "/v1/shape", args: url.Values{}, rel: rel, rule: lr.ruleOf(rel), full: chance(r, 40), changesOnly: chance(r, 15)}
	sh.args.Set("table", pick(r, []string{rel.name, "public." + rel.name, `"` + rel.name + `"`, `public."` + rel.name + `"`}))
	var conditions []string
	if chance(r, 70) {
		where := lr.clientWhere(r, sh)
		sh.args.Set("where", where)
		conditions = append(conditions, where)
	}
	if sh.rule.where != "" {
		conditions = append(conditions, sh.rule.where)
	}
	sh.columns = sh.rule.columns
	if chance(r, 50) {
		cols := sh.rule.columns
		if cols == nil {
			cols = names(rel.columns)
		}
		sh.columns = slices.DeleteFunc(slices.Clone(cols), func(name string) bool {
			return !slices.ContainsFunc(rel.t.key, func(k *column) bool { return k.name == name }) && chance(r, 50)
		})
		sh.args.Set("columns", strings.Join(sh.columns, ","))
	}
	if c := sh.rule.account; c != nil && chance(r, 60) {
		sh.account = c.kind.value(r)
		if sh.account != "" {
			sh.params = append(sh.params, []byte(sh.account))
			conditions = append(conditions, fmt.Sprintf("%s::text = $%d", c.name, len(sh.params)))
		}
	}
	sh.condition = "true"
	if len(conditions) > 0 {
		sh.condition = "((" + strings.Join(conditions, ") AND (") + "))"
	}
	sh.changesOnly = sh.changesOnly || lr.lane.subsets && chance(r, 85)
	if sh.full {
		sh.args.Set("replica", "full")
	}
	if sh.changesOnly {
		sh.args.Set("log", "changes_only")
	}
	return sh
}

// clientWhere makes a condition as a client may write it.
func (lr *liveRun) clientWhere(r *rand.Rand, sh *liveShape) string {
	e := &endpoint{}
	b := &builder{r, lr.s, e}
	rel := &relation{sh.rel.name, sh.rel.columns, sh.rel.t.key}
	if rule := sh.rule; rule.columns != nil {
		// What is not given to anybody may not be asked about.
		rel.cols = slices.DeleteFunc(slices.Clone(rel.cols), func(c *column) bool { return !slices.Contains(rule.columns, c.name) })
	}
	rel.cols = slices.DeleteFunc(slices.Clone(rel.cols), func(c *column) bool { return c.kind.name == "spans" })
	e.sql = b.where(rel, sh.rel.name)
	if chance(r, 60) {
		e.sql = strings.ReplaceAll(e.sql, sh.rel.name+".", "")
	}
	where, names := e.numbered()
	for i, name := range names {
		p := e.params[slices.IndexFunc(e.params, func(p *param) bool { return p.name == name })]
		v := p.value(r)
		sh.args.Set(fmt.Sprintf("params[%d]", i+1), v)
		sh.params = append(sh.params, []byte(v))
	}
	return where
}

func names(cols []*column) []string {
	out := make([]string, len(cols))
	for i, c := range cols {
		out[i] = c.name
	}
	return out
}

// forLive gives an endpoint the headers that only followers care for.
func (e *endpoint) forLive(r *rand.Rand, columns []string) {
	e.columns = columns
	if e.stormed {
		return
	}
	unique := func(name string) bool {
		n := 0
		for _, c := range columns {
			if c == name {
				n++
			}
		}
		return n == 1 && !strings.ContainsAny(name, "?,\" ")
	}
	if c := pick(r, columns); chance(r, 25) && unique(c) {
		e.header += "-- key: " + c + "\n"
	}
	if c := pick(r, columns); chance(r, 40) && unique(c) {
		e.account = c
		e.header += "-- account: " + c + "\n"
	}
}

// endpointShapes returns a few of the answers of each endpoint.
func (lr *liveRun) endpointShapes(r *rand.Rand) []*liveShape {
	var all []*liveShape
	for _, e := range lr.eps {
		n := min(1+r.IntN(2), len(e.asked))
		if e.stormed {
			n = len(e.asked)
		}
		for i, q := range e.asked[:n] {
			path, query, _ := strings.Cut(q.path, "?")
			args, err := url.ParseQuery(query)
			if err != nil {
				lr.Fatal(err)
			}
			sh := &liveShape{id: 100 + len(all), path: path, args: args, req: q, stormed: e.stormed}
			if e.account != "" && (i == 1 || chance(r, 40)) {
				sh.account = []string{"1", "2", "3", "a", "b"}[len(all)%5]
			}
			all = append(all, sh)
		}
	}
	return all
}
