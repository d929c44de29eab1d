package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// permissionConns is how many connections the clients share.
const permissionConns = 4

// bearer is the key that goes with every call.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return false }

func dialPermissions(addr string) (*grpc.ClientConn, error) {
	return grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(bearer(key)), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(generated{})))
}

// generated encodes messages with their generated methods, which take the least
// of the CPU that the load generator has.
type generated struct{}

func (generated) Name() string { return "proto" }

func (generated) Marshal(v any) (mem.BufferSlice, error) {
	b, err := v.(interface{ MarshalVT() ([]byte, error) }).MarshalVT()
	return mem.BufferSlice{mem.SliceBuffer(b)}, err
}

func (generated) Unmarshal(data mem.BufferSlice, v any) error {
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	return v.(interface{ UnmarshalVT([]byte) error }).UnmarshalVT(buf.ReadOnlyData())
}

// level is how fresh an answer is asked for.
type level revision.Level

const (
	minimizeLatency = level(revision.MinimizeLatency)
	fullyConsistent = level(revision.FullyConsistent)
)

func (l level) String() string { return revision.Level(l).String() }

func (l level) request() *v1.Consistency {
	if l == fullyConsistent {
		return &v1.Consistency{Requirement: &v1.Consistency_FullyConsistent{FullyConsistent: true}}
	}
	return &v1.Consistency{Requirement: &v1.Consistency_MinimizeLatency{MinimizeLatency: true}}
}

func since(token *v1.ZedToken) *v1.Consistency {
	return &v1.Consistency{Requirement: &v1.Consistency_AtLeastAsFresh{AtLeastAsFresh: token}}
}

func reference(typ, letter string, n int32) *v1.ObjectReference {
	return &v1.ObjectReference{ObjectType: typ, ObjectId: idOf(letter, n)}
}

func asUser(u int32) *v1.SubjectReference {
	return &v1.SubjectReference{Object: reference("user", userID, u)}
}

// errWrong ends a run: the answer is not what the facts say.
var errWrong = errors.New("a wrong answer")

// caller makes the calls of one client, and holds each answer to the office.
type caller struct {
	v1.PermissionsServiceClient
	office *office
	rng    *rand.Rand
	level  level
	ask    func(*caller, context.Context, int) error
	// readers are users with about as many documents as a lookup should find.
	readers []reader
	notes   *atomic.Int64 // documents that only writes and their readers know
	note    note
}

// note is a document that a client wrote.
type note struct {
	id    string
	there bool
}

func (c *caller) request(ctx context.Context, n int) error { return c.ask(c, ctx, n) }

func (c *caller) close() {}

func (c *caller) check(ctx context.Context, _ int) error {
	d, u := c.office.draw(c.rng)
	r, err := c.CheckPermission(ctx, &v1.CheckPermissionRequest{
		Consistency: c.level.request(), Resource: reference("document", documentID, d), Permission: "view", Subject: asUser(u),
	})
	if err != nil {
		return err
	}
	return c.judge(r.Permissionship, d, u)
}

func (c *caller) judge(got v1.CheckPermissionResponse_Permissionship, d, u int32) error {
	want := v1.CheckPermissionResponse_PERMISSIONSHIP_NO_PERMISSION
	if c.office.views(d, u) {
		want = v1.CheckPermissionResponse_PERMISSIONSHIP_HAS_PERMISSION
	}
	if got != want {
		return fmt.Errorf("%w: document:%s%d#view@user:%s%d: %s, want %s", errWrong, documentID, d, userID, u, got, want)
	}
	return nil
}

// bulkSize is how many checks one call makes.
const bulkSize = 100

// bulk asks what a page of documents needs to know about its reader, and of each
// tenth document about somebody who is near it.
func (c *caller) bulk(ctx context.Context, _ int) error {
	var documents, users [bulkSize]int32
	_, u := c.office.draw(c.rng)
	req := &v1.CheckBulkPermissionsRequest{Consistency: c.level.request()}
	for i := range documents {
		if documents[i], users[i] = c.office.draw(c.rng); i%10 != 0 {
			users[i] = u
		}
		req.Items = append(req.Items, &v1.CheckBulkPermissionsRequestItem{
			Resource: reference("document", documentID, documents[i]), Permission: "view", Subject: asUser(users[i]),
		})
	}
	r, err := c.CheckBulkPermissions(ctx, req)
	if err != nil {
		return err
	}
	if len(r.Pairs) != len(documents) {
		return fmt.Errorf("%w: %d items, want %d", errWrong, len(r.Pairs), len(documents))
	}
	for i, pair := range r.Pairs {
		if err := c.judge(pair.GetItem().GetPermissionship(), documents[i], users[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *caller) lookup(ctx context.Context, n int) error {
	who := &c.readers[n*stride%len(c.readers)]
	s, err := c.LookupResources(ctx, &v1.LookupResourcesRequest{
		Consistency: c.level.request(), ResourceObjectType: "document", Permission: "view", Subject: asUser(who.user),
	})
	if err != nil {
		return err
	}
	found := 0
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		d, err := strconv.Atoi(strings.TrimPrefix(r.ResourceObjectId, documentID))
		if err != nil || d >= len(who.views) || !who.views[d] {
			return fmt.Errorf("%w: user:%s%d may not view document:%s", errWrong, userID, who.user, r.ResourceObjectId)
		}
		found++
	}
	if found != who.visible {
		return fmt.Errorf("%w: %d documents for user:%s%d, want %d", errWrong, found, userID, who.user, who.visible)
	}
	return nil
}

// noter is the viewer of notes. Nobody looks for what this user may view.
const noter = "nobody"

// write makes one new relationship.
func (c *caller) write(ctx context.Context, _ int) error {
	c.note = note{id: "n" + strconv.FormatInt(c.notes.Add(1), 10)}
	_, err := c.change(ctx)
	return err
}

// change gives the note a viewer, or takes it away.
func (c *caller) change(ctx context.Context) (*v1.ZedToken, error) {
	op := v1.RelationshipUpdate_OPERATION_TOUCH
	if c.note.there {
		op = v1.RelationshipUpdate_OPERATION_DELETE
	}
	r, err := c.WriteRelationships(ctx, &v1.WriteRelationshipsRequest{Updates: []*v1.RelationshipUpdate{{
		Operation: op,
		Relationship: &v1.Relationship{
			Resource: &v1.ObjectReference{ObjectType: "document", ObjectId: c.note.id}, Relation: "viewer",
			Subject: &v1.SubjectReference{Object: &v1.ObjectReference{ObjectType: "user", ObjectId: noter}},
		},
	}}})
	if err != nil {
		return nil, err
	}
	c.note.there = !c.note.there
	return r.WrittenAt, nil
}

// writeAndCheck changes a note of one's own and must see that at once: with the
// token of the write or, fully consistent, without.
func (c *caller) writeAndCheck(ctx context.Context, _ int) error {
	if c.note.id == "" {
		c.note.id = "n" + strconv.FormatInt(c.notes.Add(1), 10)
	}
	token, err := c.change(ctx)
	if err != nil {
		return err
	}
	consistency := since(token)
	if c.level == fullyConsistent {
		consistency = c.level.request()
	}
	r, err := c.CheckPermission(ctx, &v1.CheckPermissionRequest{
		Consistency: consistency, Resource: &v1.ObjectReference{ObjectType: "document", ObjectId: c.note.id}, Permission: "view",
		Subject: &v1.SubjectReference{Object: &v1.ObjectReference{ObjectType: "user", ObjectId: noter}},
	})
	if err != nil {
		return err
	}
	if got := r.Permissionship == v1.CheckPermissionResponse_PERMISSIONSHIP_HAS_PERMISSION; got != c.note.there {
		return fmt.Errorf("%w: document:%s#view@user:%s is %t, and was written to be %t", errWrong, c.note.id, noter, got, c.note.there)
	}
	return nil
}

// mixed writes once in twenty times.
func (c *caller) mixed(ctx context.Context, n int) error {
	if c.rng.IntN(20) == 0 {
		return c.write(ctx, n)
	}
	return c.check(ctx, n)
}
