package memory

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

const schemaText = "definition user {}\n\ndefinition document {\n\trelation viewer: user\n}\n"

func rel(t testing.TB, text string) tuple.Relationship {
	t.Helper()
	r, err := tuple.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func write(t testing.TB, b *Backend, op perm.Op, texts ...string) (string, error) {
	t.Helper()
	var w perm.Write
	for _, text := range texts {
		w.Updates = append(w.Updates, perm.Update{Op: op, Relationship: rel(t, text)})
	}
	return b.Write(t.Context(), w)
}

func TestStoresAreApart(t *testing.T) {
	clock := time.Unix(1e9, 0)
	s := NewStores(2, time.Minute, time.Minute)
	s.now = func() time.Time { return clock }
	open := func(key string) *Backend {
		t.Helper()
		b, err := s.Open(key)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	a, b := open("a"), open("b")
	if _, err := a.WriteSchema(t.Context(), schemaText); err != nil {
		t.Fatal(err)
	}
	v, err := b.View(t.Context(), revision.Requirement{})
	if err != nil || v.Schema != nil {
		t.Errorf("the schema of one store is in the other: %v", err)
	}
	if open("a") != a {
		t.Error("the second time another store")
	}
	if _, err := s.Open("c"); !errors.Is(err, ErrTooMany) {
		t.Errorf("a third store: %v", err)
	}
	clock = clock.Add(time.Minute)
	open("a")
	open("c")
	if open("a") != a {
		t.Error("the store used last was dropped")
	}
	clock = clock.Add(time.Minute)
	if open("b") == b {
		t.Error("the store that nobody used was kept beyond the bound")
	}
}

func TestTokens(t *testing.T) {
	b := New(time.Minute)
	ctx := t.Context()
	if _, err := b.WriteSchema(ctx, schemaText); err != nil {
		t.Fatal(err)
	}
	first, err := write(t, b, perm.Create, "document:plan#viewer@user:ana")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := write(t, b, perm.Delete, "document:plan#viewer@user:ana"); err != nil {
		t.Fatal(err)
	}
	view := func(level revision.Level, token string) (perm.View, error) {
		parsed, err := b.Parse(token)
		if err != nil {
			return perm.View{}, err
		}
		return b.View(ctx, revision.Requirement{Level: level, Token: parsed})
	}
	then, err := view(revision.AtExactSnapshot, first)
	if err != nil || then.Graph.Len() != 1 || then.Token != first {
		t.Errorf("exactly then: %d relationships, %v", then.Graph.Len(), err)
	}
	if now, err := view(revision.AtLeastAsFresh, first); err != nil || now.Graph.Len() != 0 {
		t.Errorf("since then: %v", err)
	}
	for _, level := range []revision.Level{revision.AtExactSnapshot, revision.AtLeastAsFresh} {
		if _, err := view(level, New(time.Minute).Token(1)); !errors.Is(err, revision.ErrForeignToken) {
			t.Errorf("%v, a token of another store: %v", level, err)
		}
		if _, err := view(level, b.Token(99)); !errors.Is(err, revision.ErrFutureToken) {
			t.Errorf("%v, a token of what was not written: %v", level, err)
		}
	}
}

// TestReadersWhileWriting: what a view holds is what its token says, and a token
// that was given out is good at once.
func TestReadersWhileWriting(t *testing.T) {
	b := New(time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := b.WriteSchema(ctx, schemaText); err != nil {
		t.Fatal(err)
	}
	start := b.position()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				v, err := b.View(ctx, revision.Requirement{})
				if err != nil {
					t.Error(err)
					return
				}
				token, err := b.Parse(v.Token)
				if err != nil {
					t.Error(err)
					return
				}
				if n := v.Graph.Count(graph.Filter{}); n != int(token.LSN-start) {
					t.Errorf("%d relationships at %d", n, token.LSN-start)
				}
				if _, err := b.View(ctx, revision.Requirement{Level: revision.AtLeastAsFresh, Token: token}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 500 {
		if _, err := write(t, b, perm.Create, fmt.Sprintf("document:d%d#viewer@user:ana", i)); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	wg.Wait()
}
