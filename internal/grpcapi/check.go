package grpcapi

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/engine"
	"github.com/tidemarkdb/tidemark/internal/perm/schema"
)

// maxChecks bounds the items of a bulk check.
const maxChecks = 10_000

// over is what the engine answers from.
func over(v perm.View) engine.View {
	return engine.View{Model: v.Model, Snapshot: v.Graph, Now: time.Now(), Cache: v.Cache}
}

// named refuses a question that names no permission.
func named(v perm.View, definition, permission string) error {
	switch {
	case permission != "":
		return nil
	case v.Schema == nil || v.Schema.Definition(definition) == nil:
		return &schema.UnknownError{Definition: definition}
	}
	return unknownMember(errors.New("the question names no relation or permission"), definition, "")
}

// CheckPermission implements the service.
func (a *api) CheckPermission(ctx context.Context, req *v1.CheckPermissionRequest) (*v1.CheckPermissionResponse, error) {
	v, err := view(ctx, req.GetConsistency())
	if err != nil {
		return nil, err
	}
	given, err := values(req.GetContext())
	if err != nil {
		return nil, err
	}
	if err := noWildcard(req.GetSubject().GetObject().GetObjectId(), "subject.object.object_id"); err != nil {
		return nil, err
	}
	if err := named(v, req.GetResource().GetObjectType(), req.GetPermission()); err != nil {
		return nil, err
	}
	from := over(v)
	res, err := engine.Check(ctx, from, object(req.GetResource()), req.GetPermission(), subject(req.GetSubject()), given,
		engine.Options{Trace: req.GetWithTracing()})
	if err != nil {
		if res.Trace != nil {
			err = traced(convertError(err), v, res.Trace, time.Since(from.Now))
		}
		return nil, err
	}
	out := &v1.CheckPermissionResponse{
		CheckedAt: zedToken(v.Token), Permissionship: permissionship(res.Has), PartialCaveatInfo: missing(res),
	}
	if res.Trace != nil {
		out.DebugTrace = debugInformation(v, res.Trace, time.Since(from.Now))
	}
	return out, nil
}

func permissionship(has engine.Has) v1.CheckPermissionResponse_Permissionship {
	switch has {
	case engine.Yes:
		return v1.CheckPermissionResponse_PERMISSIONSHIP_HAS_PERMISSION
	case engine.Conditional:
		return v1.CheckPermissionResponse_PERMISSIONSHIP_CONDITIONAL_PERMISSION
	}
	return v1.CheckPermissionResponse_PERMISSIONSHIP_NO_PERMISSION
}

func missing(res engine.Result) *v1.PartialCaveatInfo {
	if res.Has != engine.Conditional {
		return nil
	}
	return &v1.PartialCaveatInfo{MissingRequiredContext: res.Missing}
}

// CheckBulkPermissions implements the service.
func (a *api) CheckBulkPermissions(ctx context.Context, req *v1.CheckBulkPermissionsRequest) (*v1.CheckBulkPermissionsResponse, error) {
	if n := len(req.GetItems()); n > maxChecks {
		return nil, reason(codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_UNSPECIFIED,
			fmt.Sprintf("%d checks in one call; %d are the most", n, maxChecks),
			"check_count", strconv.Itoa(n), "maximum_checks_allowed", strconv.Itoa(maxChecks))
	}
	v, err := view(ctx, req.GetConsistency())
	if err != nil {
		return nil, err
	}
	out := &v1.CheckBulkPermissionsResponse{CheckedAt: zedToken(v.Token), Pairs: make([]*v1.CheckBulkPermissionsPair, len(req.GetItems()))}
	from := over(v)
	answers := make([]bulkAnswer, len(req.GetItems()))
	// Items often carry one context.
	var last *structpb.Struct
	var given map[string]any
	var wrong error // with the last context
	for i, item := range req.GetItems() {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if c := item.GetContext(); c == nil {
			last, given, wrong = nil, nil, nil
		} else if last == nil || !proto.Equal(c, last) {
			last = c
			if given, wrong = values(c); wrong != nil {
				if _, bad := proto.Marshal(c); bad != nil {
					return nil, wrong // it cannot be sent back with the answer either
				}
			}
		}
		answers[i].check(ctx, from, v, item, given, wrong, req.GetWithTracing())
		out.Pairs[i] = &answers[i].pair
	}
	return out, nil
}

// bulkAnswer is the answer to an item of a bulk check, and what the message wants
// around it.
type bulkAnswer struct {
	pair   v1.CheckBulkPermissionsPair
	chosen v1.CheckBulkPermissionsPair_Item
	item   v1.CheckBulkPermissionsResponseItem
}

func (a *bulkAnswer) check(ctx context.Context, from engine.View, v perm.View, item *v1.CheckBulkPermissionsRequestItem,
	given map[string]any, err error, trace bool,
) {
	a.pair.Request = item
	var began time.Time
	if trace {
		began = time.Now()
	}
	var res engine.Result
	if err == nil {
		err = noWildcard(item.GetResource().GetObjectId(), "resource.object_id")
	}
	if err == nil {
		err = noWildcard(item.GetSubject().GetObject().GetObjectId(), "subject.object.object_id")
	}
	if err == nil {
		err = named(v, item.GetResource().GetObjectType(), item.GetPermission())
	}
	if err == nil {
		res, err = engine.Check(ctx, from, object(item.GetResource()), item.GetPermission(), subject(item.GetSubject()), given,
			engine.Options{Trace: trace})
	}
	if err != nil {
		a.pair.Response = &v1.CheckBulkPermissionsPair_Error{Error: status.Convert(convertError(err)).Proto()}
		return
	}
	a.item.Permissionship, a.item.PartialCaveatInfo = permissionship(res.Has), missing(res)
	if res.Trace != nil {
		a.item.DebugTrace = debugInformation(v, res.Trace, time.Since(began))
	}
	a.chosen.Item = &a.item
	a.pair.Response = &a.chosen
}
