package grpcapi

import (
	"errors"
	"sync"

	"buf.build/go/protovalidate"
	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// validator is made when a message is wrong for the first time: it compiles the
// rules of all messages.
var validator = sync.OnceValues(func() (protovalidate.Validator, error) { return protovalidate.New() })

// validate refuses a message that breaks the rules of its definition. What is
// right is recognised without them where that matters for speed.
func validate(req any) error {
	if good(req) {
		return nil
	}
	return validateSlowly(req)
}

// good recognises frequent messages that the rules let pass.
func good(req any) bool {
	switch m := req.(type) {
	case *v1.CheckPermissionRequest:
		return goodQuestion(m.Resource, m.Permission, m.Subject) && goodConsistency(m.Consistency)
	case *v1.CheckBulkPermissionsRequest:
		for _, item := range m.Items {
			if item == nil || !goodQuestion(item.Resource, item.Permission, item.Subject) {
				return false
			}
		}
		return goodConsistency(m.Consistency)
	case *v1.WriteRelationshipsRequest:
		for _, u := range m.Updates {
			if u == nil || !goodOperation(u.Operation) || !goodRelationship(u.Relationship) {
				return false
			}
		}
		return len(m.OptionalPreconditions) == 0
	case *v1.ImportBulkRelationshipsRequest:
		for _, r := range m.Relationships {
			if !goodRelationship(r) {
				return false
			}
		}
		return true
	}
	return false
}

func validateSlowly(req any) error {
	m, ok := req.(proto.Message)
	if !ok {
		return nil
	}
	if h, ok := req.(interface{ HandwrittenValidate() error }); ok {
		if err := h.HandwrittenValidate(); err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
	}
	check, err := validator()
	if err != nil {
		return status.Errorf(codes.Internal, "the rules for requests do not compile: %v", err)
	}
	err = check.Validate(m)
	if err == nil {
		return nil
	}
	st := status.New(codes.InvalidArgument, err.Error())
	var broken *protovalidate.ValidationError
	if errors.As(err, &broken) {
		if detailed, err := st.WithDetails(broken.ToProto()); err == nil {
			st = detailed
		}
	}
	return st.Err()
}

func goodObject(o *v1.ObjectReference, wildcard bool) bool {
	return o != nil && tuple.CheckType(o.ObjectType) == nil && tuple.CheckID(o.ObjectId) == nil &&
		(wildcard || o.ObjectId != tuple.Wildcard)
}

func goodSubject(s *v1.SubjectReference) bool {
	return s != nil && goodObject(s.Object, true) &&
		(s.OptionalRelation == "" || s.Object.ObjectId != tuple.Wildcard && tuple.CheckRelation(s.OptionalRelation) == nil)
}

// goodQuestion is about checks, where wildcards get an error of their own.
func goodQuestion(res *v1.ObjectReference, permission string, sub *v1.SubjectReference) bool {
	return goodObject(res, false) && (permission == "" || tuple.CheckRelation(permission) == nil) && goodSubject(sub)
}

func goodRelationship(r *v1.Relationship) bool {
	return r != nil && goodObject(r.Resource, false) && tuple.CheckRelation(r.Relation) == nil && goodSubject(r.Subject) &&
		r.OptionalCaveat == nil && r.OptionalExpiresAt == nil
}

func goodOperation(op v1.RelationshipUpdate_Operation) bool {
	return op == v1.RelationshipUpdate_OPERATION_CREATE || op == v1.RelationshipUpdate_OPERATION_TOUCH ||
		op == v1.RelationshipUpdate_OPERATION_DELETE
}

func goodConsistency(c *v1.Consistency) bool {
	if c == nil {
		return true
	}
	switch r := c.Requirement.(type) {
	case *v1.Consistency_AtLeastAsFresh:
		return r.AtLeastAsFresh.GetToken() != ""
	case *v1.Consistency_AtExactSnapshot:
		return r.AtExactSnapshot.GetToken() != ""
	case *v1.Consistency_FullyConsistent:
		return r.FullyConsistent
	case *v1.Consistency_MinimizeLatency:
		return r.MinimizeLatency
	}
	return false
}
