package grpcapi

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/caveat"
	"github.com/tidemarkdb/tidemark/internal/perm/engine"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// domain is that of the services' error reasons.
const domain = "authzed.com"

// reason makes an error with one of the services' reasons. The metadata come as
// keys and values in turn.
func reason(code codes.Code, r v1.ErrorReason, message string, metadata ...string) error {
	info := &errdetails.ErrorInfo{Reason: r.String(), Domain: domain, Metadata: make(map[string]string, len(metadata)/2)}
	for i := 0; i+1 < len(metadata); i += 2 {
		info.Metadata[metadata[i]] = metadata[i+1]
	}
	st, err := status.New(code, message).WithDetails(info)
	if err != nil {
		return status.Error(code, message)
	}
	return st.Err()
}

// failed turns an error into the status that a client sees.
func (a *api) failed(ctx context.Context, method string, err error) error {
	if err == nil {
		return nil
	}
	out := convertError(err)
	if c := status.Code(out); c == codes.Internal || c == codes.Unknown {
		a.opts.Log.ErrorContext(ctx, "a call failed", "method", method, "err", err)
	}
	return out
}

func convertError(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	if out := tokenError(err); out != nil {
		return out
	}
	if out := schemaError(err); out != nil {
		return out
	}
	if out := writeError(err); out != nil {
		return out
	}
	var (
		wildcard *engine.WildcardError
		depth    *engine.DepthError
		inCaveat *engine.CaveatError
	)
	switch {
	case errors.As(err, &wildcard):
		return reason(codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_WILDCARD_NOT_ALLOWED, err.Error(), "field", wildcard.Field)
	case errors.As(err, &depth):
		return reason(codes.ResourceExhausted, v1.ErrorReason_ERROR_REASON_MAXIMUM_DEPTH_EXCEEDED, err.Error(),
			"maximum_depth_allowed", strconv.Itoa(depth.Limit))
	case errors.As(err, &inCaveat):
		return reason(codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_CAVEAT_EVALUATION_ERROR, err.Error(), "caveat_name", inCaveat.Caveat)
	case errors.Is(err, graph.ErrPosition):
		return invalidCursor("the snapshot knows no such place; read again from the start")
	case errors.Is(err, perm.ErrLoading):
		return status.Error(codes.Unavailable, err.Error())
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "the caller went away")
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "the deadline passed")
	}
	var retry interface{ Unavailable() bool }
	if errors.As(err, &retry) && retry.Unavailable() {
		return status.Error(codes.Unavailable, err.Error())
	}
	return status.Error(codes.Internal, err.Error())
}

// schemaError is about names and texts of schemas.
func schemaError(err error) error {
	var (
		parse   *schema.Error
		unknown *schema.UnknownError
		kind    *schema.KindError
		subject *schema.SubjectTypeError
		orphan  *perm.OrphanError
	)
	switch {
	case errors.As(err, &parse) && parse.Kind == schema.Syntax:
		return reason(codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_SCHEMA_PARSE_ERROR, err.Error(),
			"start_line_number", strconv.Itoa(parse.Line), "start_column_position", strconv.Itoa(parse.Column),
			"end_line_number", strconv.Itoa(parse.EndLine), "end_column_position", strconv.Itoa(parse.EndColumn),
			"source_code", parse.Source)
	case errors.As(err, &parse):
		return reason(codes.FailedPrecondition, v1.ErrorReason_ERROR_REASON_SCHEMA_TYPE_ERROR, err.Error(), "definition_name", parse.Definition)
	case errors.As(err, &orphan):
		r := orphan.Relationship
		return reason(codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_SCHEMA_TYPE_ERROR, err.Error(),
			"operation", "write_schema", "relationship", r.String(), "resource_type", r.Resource.Type)
	case errors.As(err, &unknown) && unknown.Member == "":
		return unknownDefinition(err, unknown.Definition)
	case errors.As(err, &unknown):
		return unknownMember(err, unknown.Definition, unknown.Member)
	case errors.As(err, &kind) && kind.Permission:
		return reason(codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_CANNOT_UPDATE_PERMISSION, err.Error(),
			"definition_name", kind.Definition, "permission_name", kind.Member)
	case errors.As(err, &kind):
		return reason(codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_UNKNOWN_RELATION_OR_PERMISSION, err.Error(),
			"definition_name", kind.Definition, "relationName", kind.Member)
	case errors.As(err, &subject):
		return reason(codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_INVALID_SUBJECT_TYPE, err.Error(),
			"definition_name", subject.Definition, "relation_name", subject.Relation, "subject_type", subject.Type.String())
	case errors.Is(err, perm.ErrMappingUnfit):
		return reason(codes.FailedPrecondition, v1.ErrorReason_ERROR_REASON_SCHEMA_TYPE_ERROR, err.Error())
	case errors.Is(err, perm.ErrNoSchema):
		return status.Error(codes.NotFound, err.Error())
	}
	return nil
}

func unknownDefinition(err error, name string) error {
	return reason(codes.FailedPrecondition, v1.ErrorReason_ERROR_REASON_UNKNOWN_DEFINITION, err.Error(), "definition_name", name)
}

func unknownMember(err error, definition, member string) error {
	return reason(codes.FailedPrecondition, v1.ErrorReason_ERROR_REASON_UNKNOWN_RELATION_OR_PERMISSION, err.Error(),
		"definition_name", definition, "relation_or_permission_name", member)
}

// writeError is about what somebody wanted to change.
func writeError(err error) error {
	var (
		exists    *perm.ExistsError
		condition *perm.PreconditionError
		mapped    *perm.MappedError
		parameter *caveat.ParameterError
	)
	switch {
	case errors.As(err, &exists):
		r := exists.Relationship
		return reason(codes.AlreadyExists, v1.ErrorReason_ERROR_REASON_ATTEMPT_TO_RECREATE_RELATIONSHIP, err.Error(),
			"relationship", r.Key().String(), "resource_type", r.Resource.Type, "resource_object_id", r.Resource.ID,
			"resource_relation", r.Relation, "subject_type", r.Subject.Type, "subject_object_id", r.Subject.ID,
			"subject_relation", r.Subject.Relation)
	case errors.As(err, &condition):
		return preconditionFailed(err, condition.Precondition)
	case errors.As(err, &mapped):
		return status.Error(codes.FailedPrecondition, err.Error())
	case errors.As(err, &parameter):
		return reason(codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_CAVEAT_PARAMETER_TYPE_ERROR, err.Error(),
			"caveat_name", parameter.Caveat, "parameter_name", parameter.Parameter)
	case errors.Is(err, perm.ErrTooMany):
		return reason(codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_TOO_MANY_RELATIONSHIPS_FOR_TRANSACTIONAL_DELETE, err.Error())
	case errors.Is(err, perm.ErrSerialization):
		return reason(codes.Aborted, v1.ErrorReason_ERROR_REASON_SERIALIZATION_FAILURE, err.Error())
	case errors.Is(err, perm.ErrCounterExists):
		return reason(codes.FailedPrecondition, v1.ErrorReason_ERROR_REASON_COUNTER_ALREADY_REGISTERED, err.Error())
	case errors.Is(err, perm.ErrNoCounter):
		return reason(codes.FailedPrecondition, v1.ErrorReason_ERROR_REASON_COUNTER_NOT_REGISTERED, err.Error())
	}
	return nil
}

func preconditionFailed(err error, p perm.Precondition) error {
	f := p.Filter
	operation := v1.Precondition_OPERATION_MUST_MATCH
	if p.Absent {
		operation = v1.Precondition_OPERATION_MUST_NOT_MATCH
	}
	metadata := []string{
		"precondition_operation", strings.TrimPrefix(operation.String(), "OPERATION_"),
		"precondition_resource_type", f.ResourceType, "precondition_resource_id", f.ResourceID,
		"precondition_resource_id_prefix", f.ResourceIDPrefix, "precondition_relation", f.Relation,
	}
	if s := f.Subject; s != nil {
		metadata = append(metadata, "precondition_subject_type", s.Type, "precondition_subject_id", s.ID)
		if s.Relation != nil {
			metadata = append(metadata, "precondition_subject_relation", *s.Relation)
		}
	}
	return reason(codes.FailedPrecondition, v1.ErrorReason_ERROR_REASON_WRITE_OR_DELETE_PRECONDITION_FAILURE, err.Error(), metadata...)
}

func invalidCursor(why string) error {
	return reason(codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_INVALID_CURSOR, "invalid cursor: "+why)
}

// atMost refuses a limit that is larger than one may be.
func atMost(limit, most uint32) error {
	if limit <= most {
		return nil
	}
	return reason(codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_EXCEEDS_MAXIMUM_ALLOWABLE_LIMIT,
		fmt.Sprintf("the limit is %d; %d is the most", limit, most),
		"limit_provided", strconv.Itoa(int(limit)), "maximum_limit_allowed", strconv.Itoa(int(most)))
}

// noWildcard refuses a subject that stands for everybody.
func noWildcard(id, field string) error {
	if id == tuple.Wildcard {
		return &engine.WildcardError{Field: field}
	}
	return nil
}
