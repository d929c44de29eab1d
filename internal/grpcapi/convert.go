package grpcapi

import (
	"encoding/json"
	"strings"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// maxStoredContext bounds the caveat context of a relationship, in bytes.
const maxStoredContext = 25_000

func object(o *v1.ObjectReference) tuple.Object {
	return tuple.Object{Type: o.GetObjectType(), ID: o.GetObjectId()}
}

func subject(s *v1.SubjectReference) tuple.Subject {
	return tuple.Subject{Object: object(s.GetObject()), Relation: s.GetOptionalRelation()}
}

func relationship(r *v1.Relationship) (tuple.Relationship, error) {
	out := tuple.Relationship{Resource: object(r.GetResource()), Relation: r.GetRelation(), Subject: subject(r.GetSubject())}
	if err := noWildcard(out.Resource.ID, "resource.object_id"); err != nil {
		return out, err
	}
	if out.Subject.ID == tuple.Wildcard && r.GetSubject().GetOptionalRelation() != "" {
		return out, status.Errorf(codes.InvalidArgument, "%s: a wildcard subject has no relation", out)
	}
	if c := r.GetOptionalCaveat(); c != nil {
		out.Caveat = c.GetCaveatName()
		if ctx := c.GetContext(); len(ctx.GetFields()) > 0 {
			text, err := contextText(ctx)
			if err != nil {
				return out, err
			}
			if len(text) > maxStoredContext {
				return out, tooLargeContext(out, len(text))
			}
			out.Context = text
		}
	}
	if t := r.GetOptionalExpiresAt(); t != nil {
		if err := t.CheckValid(); err != nil {
			return out, status.Errorf(codes.InvalidArgument, "optional_expires_at: %v", err)
		}
		if err := tuple.CheckExpiration(t.AsTime()); err != nil {
			return out, status.Errorf(codes.InvalidArgument, "optional_expires_at: %v", err)
		}
		out.Expires = tuple.Expiration(t.AsTime())
	}
	return out, nil
}

// contextText writes a context as relationships hold it.
func contextText(s *structpb.Struct) (string, error) {
	b, err := protojson.Marshal(s)
	if err != nil {
		return "", status.Errorf(codes.InvalidArgument, "the context cannot be written as JSON: %v", err)
	}
	text, err := tuple.Canonical(b)
	if err != nil {
		return "", status.Errorf(codes.InvalidArgument, "the context: %v", err)
	}
	return text, nil
}

func toObject(o tuple.Object) *v1.ObjectReference {
	return &v1.ObjectReference{ObjectType: o.Type, ObjectId: o.ID}
}

func toSubject(s tuple.Subject) *v1.SubjectReference {
	return &v1.SubjectReference{Object: toObject(s.Object), OptionalRelation: s.Relation}
}

func toRelationship(r tuple.Relationship) *v1.Relationship {
	out := &v1.Relationship{Resource: toObject(r.Resource), Relation: r.Relation, Subject: toSubject(r.Subject)}
	if r.Caveat != "" {
		out.OptionalCaveat = &v1.ContextualizedCaveat{CaveatName: r.Caveat, Context: toStruct(r.Context)}
	}
	if r.Expires != 0 {
		out.OptionalExpiresAt = timestamppb.New(time.UnixMicro(r.Expires))
	}
	return out
}

// toStruct reads a JSON object that was checked before.
func toStruct(text string) *structpb.Struct {
	if text == "" {
		return nil
	}
	s := new(structpb.Struct)
	if err := protojson.Unmarshal([]byte(text), s); err != nil {
		return nil
	}
	return s
}

// values decodes a request's caveat context.
func values(s *structpb.Struct) (map[string]any, error) {
	if len(s.GetFields()) == 0 {
		return nil, nil
	}
	text, err := contextText(s)
	if err != nil {
		return nil, err
	}
	if len(text) > maxRequestContext {
		return nil, status.Errorf(codes.InvalidArgument, "%d bytes of caveat context in the request; %d are the most",
			len(text), maxRequestContext)
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var out map[string]any
	return out, d.Decode(&out)
}

// maxRequestContext bounds the caveat context of a request, in bytes.
const maxRequestContext = 4096

func filter(f *v1.RelationshipFilter) graph.Filter {
	out := graph.Filter{
		ResourceType: f.GetResourceType(), ResourceID: f.GetOptionalResourceId(),
		ResourceIDPrefix: f.GetOptionalResourceIdPrefix(), Relation: f.GetOptionalRelation(),
	}
	if s := f.GetOptionalSubjectFilter(); s != nil {
		out.Subject = &graph.SubjectFilter{Type: s.GetSubjectType(), ID: s.GetOptionalSubjectId()}
		if r := s.GetOptionalRelation(); r != nil {
			rel := r.GetRelation()
			out.Subject.Relation = &rel
		}
	}
	return out
}
