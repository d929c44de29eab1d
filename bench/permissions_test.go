package main

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc"

	"github.com/tidemarkdb/tidemark/internal/grpcapi"
	inmemory "github.com/tidemarkdb/tidemark/internal/perm/memory"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// TestCallersNoticeWrongAnswers holds a right server to the office, and then to
// another one, which every workload must notice.
func TestCallersNoticeWrongAnswers(t *testing.T) {
	o := newOffice(1)
	client := serveOffice(t, o)
	readers := o.readers(1500)
	if n := mean(readers); n < 1000 || n > 2000 {
		t.Errorf("lookups find %d documents on average", n)
	}
	var notes atomic.Int64
	run := func(w workload, requests int, other *office, readers []reader) error {
		c := &caller{
			PermissionsServiceClient: client, office: other, level: w.level, ask: w.ask,
			rng: rand.New(rand.NewPCG(1, 2)), readers: readers, notes: &notes,
		}
		for n := range requests {
			if err := c.request(t.Context(), n); err != nil {
				return err
			}
		}
		return nil
	}
	for _, w := range workloads {
		if err := run(w, 50, o, readers); err != nil {
			t.Errorf("%s: %v", &w, err)
		}
	}
	// Every document has another owner, and every folder.
	other := *o
	for _, column := range []*[]int32{&other.owner, &other.folderOwner} {
		shifted := slices.Clone(*column)
		for i := range shifted {
			shifted[i] = (shifted[i] + 1) % int32(o.users)
		}
		*column = shifted
	}
	worse := other.readers(1500)
	for _, w := range workloads {
		if w.name == "write" || w.name == "write, check at token" || w.name == "write, check" {
			continue // asks nothing of the office
		}
		if err := run(w, 1000, &other, worse); !errors.Is(err, errWrong) {
			t.Errorf("%s: %v, want a wrong answer", &w, err)
		}
	}
	// A note that is there, and of which its writer believes that it is not.
	c := &caller{PermissionsServiceClient: &forgetful{client}, note: note{id: "n"}, notes: &notes}
	if err := c.writeAndCheck(t.Context(), 0); !errors.Is(err, errWrong) {
		t.Errorf("a write that got lost: %v, want a wrong answer", err)
	}
}

// forgetful acknowledges writes that it does not make.
type forgetful struct{ v1.PermissionsServiceClient }

func (f *forgetful) WriteRelationships(ctx context.Context, in *v1.WriteRelationshipsRequest, _ ...grpc.CallOption) (*v1.WriteRelationshipsResponse, error) {
	return f.PermissionsServiceClient.WriteRelationships(ctx, &v1.WriteRelationshipsRequest{OptionalPreconditions: in.OptionalPreconditions})
}

// serveOffice serves an office from memory.
func serveOffice(t *testing.T, o *office) v1.PermissionsServiceClient {
	t.Helper()
	b := inmemory.New(time.Minute)
	if _, err := b.WriteSchema(t.Context(), officeSchema); err != nil {
		t.Fatal(err)
	}
	next, stop := iter.Pull(o.relationships)
	defer stop()
	n, err := b.Import(t.Context(), func() (batch []tuple.Relationship, err error) {
		for r, ok := next(); ok; r, ok = next() {
			batch = append(batch, tuple.Relationship{
				Resource: tuple.Object{Type: r.typ, ID: idOf(r.letter, r.id)}, Relation: r.relation,
				Subject: tuple.Subject{Object: tuple.Object{Type: r.subject, ID: idOf(r.subjectLetter, r.subjectID)}, Relation: r.subjectRelation},
			})
		}
		return batch, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < 90_000 || n > 110_000 {
		t.Errorf("an office has %d relationships", n)
	}
	s := grpcapi.New(grpcapi.Options{Backend: grpcapi.Keys([]string{key}, b)})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	conn, err := dialPermissions(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return v1.NewPermissionsServiceClient(conn)
}
