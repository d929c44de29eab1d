package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// together runs f n times at once.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// TestMutex has writers that each want nobody else to be the owner: one wins.
func TestMutex(t *testing.T) {
	r := start(t)
	r.schema(sampleSchema)
	for round := range 10 {
		var won atomic.Int32
		together(12, func(i int) {
			doc := fmt.Sprintf("d%d", round)
			_, err := r.perms.Write(context.Background(), perm.Write{
				Updates:       updates(perm.Touch, fmt.Sprintf("document:%s#owner@user:u%d", doc, i)),
				Preconditions: []perm.Precondition{{Filter: graph.Filter{ResourceType: "document", ResourceID: doc, Relation: "owner"}, Absent: true}},
			})
			switch kind(err) {
			case "":
				won.Add(1)
			case "precondition":
			default:
				t.Error(err)
			}
		})
		if won.Load() != 1 {
			t.Errorf("%d writers won", won.Load())
		}
	}
	r.same()
}

// TestPreconditionHolds has one writer move a token of right from hand to hand,
// while others use it only as long as it is there.
func TestPreconditionHolds(t *testing.T) {
	r := start(t)
	r.schema(sampleSchema)
	for round := range 20 {
		doc := fmt.Sprintf("d%d", round)
		right := fmt.Sprintf("document:%s#owner@user:boss", doc)
		r.write(perm.Create, right)
		var used, gone string
		together(2, func(i int) {
			if i == 0 {
				gone = r.write(perm.Delete, right)
				return
			}
			token, err := r.perms.Write(context.Background(), perm.Write{
				Updates:       updates(perm.Create, fmt.Sprintf("document:%s#viewer@user:x", doc)),
				Preconditions: []perm.Precondition{{Filter: graph.Filter{ResourceType: "document", ResourceID: doc, Relation: "owner"}}},
			})
			if err == nil {
				used = token
			} else if kind(err) != "precondition" {
				t.Error(err)
			}
		})
		if used == "" {
			continue
		}
		u, _ := r.perms.Parse(used)
		g, _ := r.perms.Parse(gone)
		if u.LSN > g.LSN {
			t.Errorf("the right was used at %s, after it went at %s", u.LSN, g.LSN)
		}
	}
}

// TestCreateRaces has the same relationship created by many: one does.
func TestCreateRaces(t *testing.T) {
	r := start(t)
	r.schema(sampleSchema)
	for round := range 10 {
		var made atomic.Int32
		together(8, func(i int) {
			var err error
			texts := []string{fmt.Sprintf("document:d%d#viewer@user:u", round), fmt.Sprintf("document:other%d-%d#viewer@user:u", round, i)}
			if i%4 == 3 {
				_, err = r.perms.Import(context.Background(), batches([]tuple.Relationship{rel(texts[0]), rel(texts[1])}))
			} else {
				_, err = r.perms.Write(context.Background(), perm.Write{Updates: updates(perm.Create, texts...)})
			}
			var exists *perm.ExistsError
			switch {
			case err == nil:
				made.Add(1)
			case errors.As(err, &exists) && exists.Relationship.Key() == rel(texts[0]):
			default:
				t.Error(err)
			}
		})
		if made.Load() != 1 {
			t.Errorf("%d writers created it", made.Load())
		}
	}
	if n := r.view(fully).Graph.Len(); n != 20 {
		t.Errorf("%d relationships, want 20", n)
	}
	r.same()
}

func batches(all []tuple.Relationship) func() ([]tuple.Relationship, error) {
	return func() ([]tuple.Relationship, error) {
		n := min(len(all), 1000)
		if n == 0 {
			return nil, nil
		}
		batch := all[:n]
		all = all[n:]
		return batch, nil
	}
}

// TestOverlappingWritesDoNotDeadlock has many write the same relationships in
// other orders, and mixed with deletions.
func TestOverlappingWritesDoNotDeadlock(t *testing.T) {
	r := start(t)
	r.schema(sampleSchema)
	together(8, func(i int) {
		rnd := rand.New(rand.NewPCG(uint64(i), 3))
		for range 25 {
			var w perm.Write
			for _, k := range rnd.Perm(30)[:15] {
				u := updates(perm.Touch, fmt.Sprintf("document:d%d#viewer@user:u[weekday:{\"allowed\":[%d]}]", k, rnd.IntN(9)))[0]
				if rnd.IntN(3) == 0 {
					u.Op = perm.Delete
				}
				w.Updates = append(w.Updates, u)
			}
			if _, err := r.perms.Write(context.Background(), w); err != nil {
				t.Error(err)
				return
			}
		}
	})
	var deadlocks int
	if err := r.db.Conn(t).QueryRow(t.Context(), "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").Scan(&deadlocks); err != nil {
		t.Fatal(err)
	}
	if deadlocks > 0 {
		t.Errorf("%d deadlocks", deadlocks)
	}
	r.same()
}

// TestSchemaRacesWithWrites changes what is allowed while others write it. In the
// end nothing is left that the schema does not allow, and the same holds of every
// version on the way.
func TestSchemaRacesWithWrites(t *testing.T) {
	r := start(t)
	const with = "definition user {}\ndefinition document {\n  relation viewer: user | user:*\n  relation owner: user\n}\n"
	const without = "definition user {}\ndefinition document {\n  relation viewer: user\n}\n"
	r.schema(with)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	var written, refused, changed atomic.Int64
	together(6, func(i int) {
		rnd := rand.New(rand.NewPCG(uint64(i), 4))
		for ctx.Err() == nil {
			var err error
			switch {
			case i == 0:
				text := with
				if rnd.IntN(2) == 0 {
					text = without
				}
				_, err = r.perms.WriteSchema(ctx, text)
				if err == nil {
					changed.Add(1)
				}
			case i == 1:
				for _, f := range []graph.Filter{{Relation: "owner"}, {Subject: &graph.SubjectFilter{ID: "*"}}} {
					_, err = r.perms.Delete(ctx, perm.Deletion{Filter: f})
				}
			default:
				text := fmt.Sprintf("document:d%d#owner@user:u%d", rnd.IntN(5), i)
				if rnd.IntN(2) == 0 {
					text = fmt.Sprintf("document:d%d#viewer@user:*", rnd.IntN(5))
				}
				if i == 5 {
					_, err = r.perms.Import(ctx, batches([]tuple.Relationship{rel(text)}))
				} else {
					_, err = r.perms.Write(ctx, perm.Write{Updates: updates(perm.Touch, text)})
				}
				if err == nil {
					written.Add(1)
				}
			}
			var orphan *perm.OrphanError
			var unknown *schema.UnknownError
			var not *schema.SubjectTypeError
			var exists *perm.ExistsError
			switch {
			case err == nil || ctx.Err() != nil || errors.Is(err, perm.ErrSerialization):
			case errors.As(err, &orphan), errors.As(err, &unknown), errors.As(err, &not), errors.As(err, &exists):
				refused.Add(1)
			default:
				t.Error(err)
			}
			if v, err := r.perms.View(t.Context(), revision.Requirement{}); err != nil {
				t.Error(err)
			} else if i == 2 {
				all, _ := v.Graph.Relationships(graph.Filter{}, nil)
				for rel := range all {
					if err := v.Schema.Allowed(rel); err != nil {
						t.Errorf("%v", err)
					}
				}
			}
		}
	})
	t.Logf("%d written, %d refused, %d schemas", written.Load(), refused.Load(), changed.Load())
	if written.Load() < 20 || refused.Load() < 20 || changed.Load() < 5 {
		t.Errorf("%d written, %d refused, %d schemas: too few to tell", written.Load(), refused.Load(), changed.Load())
	}
	r.same()
}

// TestDeletesWithLimits deletes in parts, by many at once.
func TestDeletesWithLimits(t *testing.T) {
	r := start(t)
	r.schema(sampleSchema)
	var all []tuple.Relationship
	for n := range 100_000 {
		all = append(all, rel(fmt.Sprintf("document:d%d#viewer@user:u%d", n%1000, n)))
	}
	began := time.Now()
	if n, err := r.perms.Import(t.Context(), batches(all)); err != nil || n != 100_000 {
		t.Fatalf("%d %v", n, err)
	}
	t.Logf("imported in %v", time.Since(began))
	if n := r.view(fully).Graph.Len(); n != 100_000 {
		t.Errorf("%d relationships", n)
	}
	f := graph.Filter{ResourceType: "document", ResourceID: "d7"}
	if _, err := r.perms.Delete(t.Context(), perm.Deletion{Filter: f, Limit: 99}); !errors.Is(err, perm.ErrTooMany) {
		t.Errorf("more than the limit: %v", err)
	}
	if n := r.view(fully).Graph.Count(f); n != 100 {
		t.Errorf("%d are left of 100", n)
	}
	if d, err := r.perms.Delete(t.Context(), perm.Deletion{Filter: f, Limit: 100}); err != nil || d.Count != 100 || d.More {
		t.Errorf("%+v %v", d, err)
	}
	f.ResourceID = "d8"
	var sum atomic.Int64
	together(5, func(int) {
		for {
			d, err := r.perms.Delete(context.Background(), perm.Deletion{Filter: f, Limit: 7, Partial: true})
			if err != nil || d.Count > 7 {
				t.Errorf("%+v %v", d, err)
				return
			}
			sum.Add(int64(d.Count))
			if !d.More && d.Count == 0 {
				return
			}
		}
	})
	if sum.Load() != 100 {
		t.Errorf("%d were deleted in parts", sum.Load())
	}
	r.same()
}

func one(text string) []tuple.Relationship { return []tuple.Relationship{rel(text)} }
