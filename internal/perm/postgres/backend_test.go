package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/engine"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/memory"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

func start(t testing.TB) *rig {
	t.Helper()
	db := pgtest.DB(t)
	install(t, db)
	return newRig(t, db, nil)
}

// TestTokensAreReadAtOnce writes and reads at the token: as of then exactly, and
// at least.
func TestTokensAreReadAtOnce(t *testing.T) {
	r := start(t)
	if _, err := r.perms.Write(t.Context(), perm.Write{Updates: updates(perm.Create, "document:a#viewer@user:u")}); !errors.Is(err, perm.ErrNoSchema) {
		t.Errorf("without a schema: %v", err)
	}
	r.schema(sampleSchema)
	var tokens []string
	for n := range 30 {
		tokens = append(tokens, r.write(perm.Touch, fmt.Sprintf("document:d%d#viewer@user:u", n)))
		tok, err := r.perms.Parse(tokens[n])
		if err != nil || tok.Kind != revision.KindPosition {
			t.Fatalf("%+v, %v", tok, err)
		}
		for _, level := range []revision.Level{revision.AtLeastAsFresh, revision.AtExactSnapshot} {
			if v := r.at(level, tokens[n]); v.Graph.Len() != n+1 {
				t.Fatalf("%d relationships after %d writes", v.Graph.Len(), n+1)
			}
		}
	}
	for n, token := range tokens {
		if v := r.at(revision.AtExactSnapshot, token); v.Graph.Len() != n+1 || v.Token != token {
			t.Errorf("as of write %d: %d relationships, token %s, want %s", n, v.Graph.Len(), v.Token, token)
		}
	}
	// Nothing changes: the token is behind what there is all the same.
	began := time.Now()
	same := r.write(perm.Touch, "document:d0#viewer@user:u")
	if took := time.Since(began); took > 800*time.Millisecond {
		t.Errorf("a write that changes nothing took %v", took)
	}
	if v := r.at(revision.AtExactSnapshot, same); v.Graph.Len() != 30 {
		t.Errorf("%d relationships", v.Graph.Len())
	}
	gone, err := r.perms.Delete(t.Context(), perm.Deletion{Filter: graph.Filter{ResourceType: "document", ResourceID: "none"}})
	if err != nil || gone.Count != 0 || r.at(revision.AtLeastAsFresh, gone.Token).Graph.Len() != 30 {
		t.Errorf("%+v %v", gone, err)
	}
	r.same()
}

// pair is a backend over Postgres and one in memory that are given the same.
type pair struct {
	*rig
	memory *memory.Backend
	rnd    *rand.Rand
}

func (p *pair) relationship() tuple.Relationship {
	rnd := p.rnd
	pick := func(of ...string) string { return of[rnd.IntN(len(of))] }
	text := fmt.Sprintf("document:%s#viewer@user:%s", pick("a", "b", "c", "ab"), pick("x", "y", "z"))
	switch rnd.IntN(12) {
	case 0:
		text = fmt.Sprintf("group:%s#member@group:%s#member", pick("g", "h"), pick("g", "i"))
	case 1:
		text = fmt.Sprintf("document:%s#viewer@group:%s#member", pick("a", "b"), pick("g", "h"))
	case 2:
		text += fmt.Sprintf(`[weekday:{"allowed":[%d]}]`, rnd.IntN(3))
	case 3:
		text += "[weekday]"
	case 4:
		text += fmt.Sprintf("[expiration:2%d99-01-01T00:00:00Z]", rnd.IntN(3))
	case 5:
		text += "[weekday][expiration:2020-01-01T00:00:00.123456Z]"
	case 6:
		text = fmt.Sprintf("document:%s#viewer@user:*", pick("a", "b"))
	case 7:
		text = fmt.Sprintf("document:%s#owner@user:%s", pick("a", "b"), pick("x", "y"))
	case 8:
		text = fmt.Sprintf("document:%s#parent@document:%s", pick("a", "b"), pick("c", "ab"))
	case 9: // fits no schema
		text = pick("document:a#viewer@document:b", "document:a#nothing@user:x", "nothing:a#viewer@user:x", "document:a#view@user:x", "document:a#owner@user:x[weekday]")
	}
	return rel(text)
}

func (p *pair) filter() graph.Filter {
	rnd := p.rnd
	pick := func(of ...string) string { return of[rnd.IntN(len(of))] }
	f := graph.Filter{ResourceType: pick("document", "document", "group", ""), ResourceID: pick("", "", "a", "b"), Relation: pick("", "viewer", "owner", "member")}
	if f.ResourceID == "" && rnd.IntN(3) == 0 {
		f.ResourceIDPrefix = pick("a", "b", "ab", "_", "%")
	}
	if rnd.IntN(2) == 0 {
		f.Subject = &graph.SubjectFilter{Type: pick("user", "group"), ID: pick("", "x", "*", "g")}
		if rnd.IntN(2) == 0 {
			rel := pick("", "member")
			f.Subject.Relation = &rel
		}
	}
	return f
}

func (p *pair) conditions() (out []perm.Precondition) {
	for p.rnd.IntN(4) == 0 {
		out = append(out, perm.Precondition{Filter: p.filter(), Absent: p.rnd.IntN(2) == 0})
	}
	return out
}

// both calls f with each and compares what comes of it.
func (p *pair) both(what string, f func(perm.Backend) (string, error)) {
	p.t.Helper()
	mine, err := f(p.perms)
	theirs, want := f(p.memory)
	if kind(err) != kind(want) || mine != theirs {
		p.t.Fatalf("%s: got %q, %v\nwant %q, %v", what, mine, err, theirs, want)
	}
}

// TestSameAsMemory gives random calls to both backends, and compares errors,
// results, and at random points everything that there is, with the tables too.
func TestSameAsMemory(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			p := &pair{rig: start(t), memory: memory.New(time.Hour), rnd: rand.New(rand.NewPCG(seed, 7))}
			ctx := context.Background()
			conn := p.db.Conn(t)
			type point struct {
				mine, theirs string
				want         []string
			}
			var points []point
			for n := range 350 {
				var mine, theirs string
				keep := func(b perm.Backend, token string, err error) (string, error) {
					if b == p.perms {
						mine = token
					} else {
						theirs = token
					}
					return "", err
				}
				what := ""
				switch k := p.rnd.IntN(20); {
				case n == 0 || k == 0:
					text := sampleSchema
					switch p.rnd.IntN(6) {
					case 0:
						text = strings.Replace(text, " | user:*", "", 1)
					case 1:
						text = strings.Replace(strings.Replace(text, "relation owner: user", "", 1), " + owner", "", 1)
					case 2:
						text = strings.Replace(text, "group#member | user with weekday |", "group#member |", 1)
					case 3:
						text += "definition other { relation none: user "
					}
					what = "schema " + text
					p.both(what, func(b perm.Backend) (string, error) {
						token, err := b.WriteSchema(ctx, text)
						return keep(b, token, err)
					})
				case k < 13:
					w := perm.Write{Preconditions: p.conditions()}
					seen := map[tuple.Relationship]bool{}
					for range 1 + p.rnd.IntN(4) {
						u := perm.Update{Op: perm.Op(p.rnd.IntN(3)), Relationship: p.relationship()}
						if !seen[u.Key()] {
							seen[u.Key()] = true
							w.Updates = append(w.Updates, u)
						}
					}
					if p.rnd.IntN(4) == 0 {
						w.Metadata = `{"by":"test"}`
					}
					// Which one is found to exist first is not the same.
					slices.SortFunc(w.Updates, func(x, y perm.Update) int { return strings.Compare(x.Key().String(), y.Key().String()) })
					what = fmt.Sprintf("write %v", w)
					p.both(what, func(b perm.Backend) (string, error) {
						token, err := b.Write(ctx, w)
						return keep(b, token, err)
					})
				case k < 16:
					d := perm.Deletion{Filter: p.filter(), Preconditions: p.conditions(), Limit: uint32(p.rnd.IntN(4)), Partial: p.rnd.IntN(2) == 0}
					if d.Limit > 0 && d.Partial {
						d.Limit = 1000 // which ones go is not the same
					}
					what = fmt.Sprintf("delete %v", d)
					p.both(what, func(b perm.Backend) (string, error) {
						gone, err := b.Delete(ctx, d)
						_, err = keep(b, gone.Token, err)
						return fmt.Sprint(gone.Count, gone.More), err
					})
				case k < 18:
					var all []tuple.Relationship
					for range p.rnd.IntN(5) {
						all = append(all, p.relationship())
					}
					if len(all) > 1 && p.rnd.IntN(3) == 0 {
						all = all[:1]
					}
					what = fmt.Sprintf("import %v", all)
					p.both(what, func(b perm.Backend) (string, error) {
						left := all
						count, err := b.Import(ctx, func() ([]tuple.Relationship, error) {
							if len(left) == 0 {
								return nil, nil
							}
							one := left[:1]
							left = left[1:]
							return one, nil
						})
						if err != nil && len(all) > 1 { // what is found first is not the same
							err = errors.New("refused")
						}
						return fmt.Sprint(count), err
					})
				default:
					f, name := p.filter(), fmt.Sprint("c", p.rnd.IntN(3))
					what = fmt.Sprintf("counter %s %v", name, f)
					set := &f
					if p.rnd.IntN(2) == 0 {
						set = nil
					}
					p.both(what, func(b perm.Backend) (string, error) { return "", b.SetCounter(ctx, name, set) })
				}
				if mine != "" {
					points = append(points, point{mine, theirs, inPostgres(t, conn)})
				}
				if n%10 == 0 {
					v := p.view(fully)
					w, err := p.memory.View(ctx, revision.Requirement{})
					if err != nil {
						t.Fatal(err)
					}
					compare(t, "after "+what, texts(t, v), texts(t, w))
					compare(t, "after "+what, texts(t, v), inPostgres(t, conn))
					if !reflect.DeepEqual(v.Counters, w.Counters) && len(v.Counters)+len(w.Counters) > 0 {
						t.Fatalf("counters %v, want %v", v.Counters, w.Counters)
					}
					if (v.Schema == nil) != (w.Schema == nil) || v.Schema != nil && v.Schema.Text() != w.Schema.Text() {
						t.Fatalf("another schema")
					}
				}
				if len(points) > 0 {
					at := points[p.rnd.IntN(len(points))]
					compare(t, "as of "+at.mine, texts(t, p.at(revision.AtExactSnapshot, at.mine)), at.want)
				}
			}
			if len(points) < 50 {
				t.Errorf("only %d calls succeeded", len(points))
			}
			p.stop()
			p.start(nil)
			p.same()
		})
	}
}

// TestGarbage has somebody write by hand what no call lets in.
func TestGarbage(t *testing.T) {
	r := start(t)
	r.schema(sampleSchema)
	r.write(perm.Create, "document:a#viewer@user:good")
	insert := func(values string) {
		t.Helper()
		r.db.Exec(t, `INSERT INTO tidemark.relationships (resource_type, resource_id, relation, subject_type, subject_id, subject_relation, caveat, context, expires_at)
			VALUES (`+values+`)`)
	}
	loaded := r.view(fully).Graph.Graph()
	for _, values := range []string{
		// These are relationships from which nothing follows.
		`'nothing', 'a', 'viewer', 'user', 'bad', '', NULL, NULL, NULL`,
		`'document', 'a', 'nothing', 'user', 'bad', '', NULL, NULL, NULL`,
		`'document', 'a', 'view', 'user', 'bad', '', NULL, NULL, NULL`,
		`'document', 'a', 'owner', 'user', '*', '', NULL, NULL, NULL`,
		`'document', 'a', 'owner', 'group', 'g', 'member', NULL, NULL, NULL`,
		`'group', 'g', 'member', 'user', 'bad', '', NULL, NULL, NULL`,
		`'document', 'a', 'viewer', 'user', 'forever', '', NULL, NULL, 'infinity'`,
		`'document', 'a', 'viewer', 'user', 'bad', '', 'unknown', '{}', NULL`,
		`'document', 'a', 'viewer', 'user', 'worse', '', 'weekday', '{"allowed":"text","day":"noday"}', NULL`,
		`'document', 'a', 'viewer', 'user', 'worst', '', 'weekday', '{"what":1}', '-infinity'`,
		`'document', 'a', 'viewer', 'user', 'late', '', NULL, NULL, '250000-01-01'`,
		`'document', 'a', 'viewer', 'user', 'never', '', NULL, NULL, '1970-01-01'`,
		`'document', 'a', 'viewer', 'user', 'before', '', NULL, NULL, '0044-03-15 BC'`,
		// And these are none.
		`'', '', '', '', '', '', NULL, NULL, NULL`,
		`'document', 'a b', 'viewer', 'user', 'bad', '', NULL, NULL, NULL`,
		`'document', 'a', 'viewer', 'user', E'tab\t\\and\nline', '', NULL, NULL, NULL`,
		`'document', '*', 'viewer', 'user', 'bad', '', NULL, NULL, NULL`,
		`'document', 'a', 'viewer', 'user', '*', 'member', NULL, NULL, NULL`,
		`'document', repeat('a', 100000), 'viewer', 'user', 'bad', '', NULL, NULL, NULL`,
		`'Document', 'a', 'viewer', 'user', 'bad', '', NULL, NULL, NULL`,
		`'document', 'a', 'viewer', 'user', 'deep', '', 'weekday', (repeat('{"a":', 200) || '1' || repeat('}', 200))::jsonb, NULL`,
	} {
		insert(values)
	}
	verify := func() {
		t.Helper()
		v := r.view(fully)
		if check(t, v, "document:a", "view", "user:good") != engine.Yes {
			t.Error("the good one is not there")
		}
		for _, who := range []string{"late", "forever"} {
			if check(t, v, "document:a", "view", "user:"+who) != engine.Yes {
				t.Errorf("%s has ended", who)
			}
		}
		for _, who := range []string{"bad", "worse", "worst", "never", "before", "deep"} {
			o, s := tuple.Object{Type: "document", ID: "a"}, tuple.Subject{Object: tuple.Object{Type: "user", ID: who}}
			res, err := engine.Check(t.Context(), engine.View{Model: v.Model, Snapshot: v.Graph, Now: time.Now()}, o, "view", s, map[string]any{"day": 1.0}, engine.Options{})
			if err == nil && res.Has == engine.Yes {
				t.Errorf("%s may view", who)
			}
		}
	}
	verify()
	if r.view(fully).Graph.Graph() != loaded {
		t.Error("everything was loaded again")
	}
	before := texts(t, r.view(fully))
	r.stop()
	r.start(nil) // read by COPY, not from the log
	verify()
	compare(t, "after a restart", texts(t, r.view(fully)), before)
	// It can be deleted, and calls go on.
	r.db.Exec(t, "DELETE FROM tidemark.relationships WHERE subject_id <> 'good'")
	r.db.Exec(t, "UPDATE tidemark.relationships SET subject_id = 'better'")
	if got := texts(t, r.view(fully)); lines(got) != "document:a#viewer@user:better" {
		t.Errorf("%v", got)
	}
	r.write(perm.Create, "document:a#viewer@user:x")
	r.same()

	// A schema that does not compile answers nothing, until there is another.
	r.db.Exec(t, "INSERT INTO tidemark.permission_schemas (definition) VALUES ('definition user { relation')")
	if _, err := r.perms.View(t.Context(), fully); !errors.Is(err, perm.ErrBrokenSchema) {
		t.Errorf("with a broken schema: %v", err)
	}
	if _, err := r.perms.Write(t.Context(), perm.Write{Updates: updates(perm.Touch, "document:a#viewer@user:y")}); !errors.Is(err, perm.ErrBrokenSchema) {
		t.Errorf("a write with a broken schema: %v", err)
	}
	var orphan *perm.OrphanError
	if _, err := r.perms.WriteSchema(t.Context(), "definition user {}"); !errors.As(err, &orphan) {
		t.Errorf("a schema that takes away what the last good one had: %v", err)
	}
	r.schema(sampleSchema)
	r.write(perm.Touch, "document:a#viewer@user:y")
	r.same()
	r.db.Exec(t, "DELETE FROM tidemark.permission_schemas")
	if v := r.view(fully); v.Schema != nil {
		t.Error("a schema that was deleted is there")
	}
}

// TestExpired collects what has ended, and not before.
func TestExpired(t *testing.T) {
	r := start(t)
	r.schema(sampleSchema)
	soon := time.Now().Add(1500 * time.Millisecond).UTC().Format(time.RFC3339Nano)
	text := "document:a#viewer@user:u[expiration:" + soon[:23] + "Z]"
	r.write(perm.Create, text)
	if check(t, r.view(fully), "document:a", "view", "user:u") != engine.Yes {
		t.Error("it has ended too early")
	}
	time.Sleep(1600 * time.Millisecond)
	if check(t, r.view(fully), "document:a", "view", "user:u") != engine.No {
		t.Error("it has not ended")
	}
	var exists *perm.ExistsError
	if _, err := r.perms.Write(t.Context(), perm.Write{Updates: updates(perm.Create, "document:a#viewer@user:u")}); !errors.As(err, &exists) {
		t.Errorf("CREATE over one that ended: %v", err)
	}
	if _, err := r.perms.Write(t.Context(), perm.Write{
		Updates:       updates(perm.Touch, "document:b#viewer@user:u"),
		Preconditions: []perm.Precondition{{Filter: graph.Filter{ResourceType: "document", ResourceID: "a"}}},
	}); kind(err) != "precondition" {
		t.Errorf("a precondition met by one that ended: %v", err)
	}
	r.db.Exec(t, "UPDATE tidemark.relationships SET expires_at = now() - interval '2 minutes'")
	r.until("it is collected", func() bool {
		v, err := r.perms.View(t.Context(), fully)
		return err == nil && v.Graph.Len() == 0
	})
}
