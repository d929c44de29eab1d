package answer

import (
	"errors"
	"slices"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

func TestAudit(t *testing.T) {
	s := newStub(t, Options{NoRefill: true})
	audit := func() AuditResult {
		t.Helper()
		a, err := s.store.Audit(t.Context(), s.query(s.group, "g1"))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	if a := audit(); a.Verdict != Skipped {
		t.Errorf("with nothing in memory: %+v", a)
	}
	r := s.serve("g1")
	if a := audit(); a.Verdict != Same || a.Position != s.end || a.From != r.Version.From {
		t.Errorf("what was computed just now: %+v", a)
	}
	if got := s.store.Sample(10); !slices.Equal(got, []string{"g1"}) {
		t.Errorf("sampled %v", got)
	}
	// The database has another body than the one in memory, and nothing in the
	// log said so.
	tx := s.transaction(update(2, 0, 1))
	s.apply(tx)
	s.locked(func() { s.body = func(string) string { return "other" } })
	a := audit()
	if a.Verdict != Differs || string(a.Have) != "g1" || string(a.Want) != "other" || !a.HaveFound || !a.WantFound ||
		!slices.Equal(a.Transactions, []AuditTransaction{{tx.XID, tx.End}}) || a.To != 0 {
		t.Errorf("a wrong answer: %+v", a)
	}
	if r := s.serve("g1"); string(r.Version.Body) != "g1" || r.Outcome != Hit {
		t.Error("an audit changed what is in memory")
	}
	s.apply(s.transaction(update(1, 0, 1)))
	if a := audit(); a.Verdict != Skipped {
		t.Errorf("the version in memory ended before: %+v", a)
	}
	if got := s.store.Sample(10); len(got) != 0 {
		t.Errorf("sampled %v, and nothing is open", got)
	}
	bad := errors.New("bad")
	s.fail = func([]string) error { return bad }
	if _, err := s.store.Audit(t.Context(), s.query(s.group, "g1")); !errors.Is(err, bad) {
		t.Errorf("the source failed and the audit said %v", err)
	}
	if s.group.Errors.Load() != 0 {
		t.Error("an audit's failure counts as a reader's")
	}
}

func TestSampleSpreads(t *testing.T) {
	s := newStub(t, Options{})
	seen := map[string]bool{}
	for _, key := range []string{"g1", "g2", "g3", "g4", "g5"} {
		s.serve(key)
	}
	for range 200 {
		keys := s.store.Sample(2)
		if len(keys) > 2 || len(keys) == 2 && keys[0] == keys[1] {
			t.Fatal(keys)
		}
		for _, key := range keys {
			seen[key] = true
		}
	}
	if len(seen) != 5 {
		t.Errorf("only %v were ever sampled", seen)
	}
}

func TestServeTogether(t *testing.T) {
	s := newStub(t, Options{NoRefill: true})
	together := func(need Need, keys ...string) ([]Reply, error) {
		var qs []*Query
		for _, key := range keys {
			qs = append(qs, s.query(s.group, key))
		}
		return s.store.ServeTogether(t.Context(), qs, need)
	}
	s.serve("g1")
	s.apply(s.transaction(update(2, 0, 1)))
	s.serve("g2") // of later than g1, which is true still
	rs, err := together(Need{}, "g1", "g2", "g3")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rs {
		if r.At != s.end || !r.Exact {
			t.Errorf("served as of %s, exact %v", r.At, r.Exact)
		}
	}
	if calls, _ := s.filled(); calls != 3 {
		t.Errorf("%d calls, want 3", calls)
	}
	before := s.end
	s.apply(s.transaction(update(1, 0, 1)))
	rs, err = together(Need{Level: revision.AtExactSnapshot, Position: before}, "g1", "g2")
	if err != nil || rs[0].At != before || rs[1].At != before || rs[0].Outcome != Hit {
		t.Errorf("as of before: %+v, %v", rs, err)
	}
	rs, err = together(Need{Level: revision.AtLeastAsFresh, Position: s.end}, "g1", "g2")
	if err != nil || rs[0].At != s.end || rs[1].At != s.end {
		t.Errorf("as of now: %+v, %v", rs, err)
	}
	volatile := s.query(s.group, "g4")
	volatile.Volatile = true
	if _, err := s.store.ServeTogether(t.Context(), []*Query{volatile, s.query(s.group, "g1")}, Need{}); !errors.Is(err, ErrVolatile) {
		t.Errorf("with a volatile one: %v", err)
	}
	if rs, err := s.store.ServeTogether(t.Context(), []*Query{volatile}, Need{}); err != nil || rs[0].Exact {
		t.Errorf("a volatile one alone: %+v, %v", rs, err)
	}
	if rs, err := s.store.ServeTogether(t.Context(), nil, Need{}); err != nil || len(rs) != 0 {
		t.Errorf("none: %+v, %v", rs, err)
	}
}
