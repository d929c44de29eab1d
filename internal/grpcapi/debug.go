package grpcapi

import (
	"encoding/json"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/engine"
)

// debugInformation converts the way to an answer. Only the whole has a duration.
func debugInformation(v perm.View, t *engine.Trace, took time.Duration) *v1.DebugInformation {
	out := &v1.DebugInformation{Check: checkTrace(t)}
	out.Check.Duration = durationpb.New(took)
	if v.Schema != nil {
		out.SchemaUsed = v.Schema.Text()
	}
	return out
}

// traced adds the way to an error.
func traced(err error, v perm.View, t *engine.Trace, took time.Duration) error {
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	if with, failed := st.WithDetails(protoadapt.MessageV1Of(debugInformation(v, t, took))); failed == nil {
		return with.Err()
	}
	return err
}

func checkTrace(t *engine.Trace) *v1.CheckDebugTrace {
	out := &v1.CheckDebugTrace{
		Resource: toObject(t.Resource), Permission: t.Name, Subject: toSubject(t.Subject),
		PermissionType: v1.CheckDebugTrace_PERMISSION_TYPE_RELATION,
	}
	if t.Permission {
		out.PermissionType = v1.CheckDebugTrace_PERMISSION_TYPE_PERMISSION
	}
	switch t.Has {
	case engine.Yes:
		out.Result = v1.CheckDebugTrace_PERMISSIONSHIP_HAS_PERMISSION
	case engine.Conditional:
		out.Result = v1.CheckDebugTrace_PERMISSIONSHIP_CONDITIONAL_PERMISSION
	default:
		out.Result = v1.CheckDebugTrace_PERMISSIONSHIP_NO_PERMISSION
	}
	if len(t.Caveats) > 0 {
		out.CaveatEvaluationInfo = caveatTrace(&t.Caveats[len(t.Caveats)-1])
	}
	if t.Cached {
		out.Resolution = &v1.CheckDebugTrace_WasCachedResult{WasCachedResult: true}
		return out
	}
	sub := &v1.CheckDebugTrace_SubProblems{}
	for _, s := range t.Sub {
		sub.Traces = append(sub.Traces, checkTrace(s))
	}
	out.Resolution = &v1.CheckDebugTrace_SubProblems_{SubProblems: sub}
	return out
}

func caveatTrace(c *engine.CaveatTrace) *v1.CaveatEvalInfo {
	out := &v1.CaveatEvalInfo{Expression: c.Expression, CaveatName: c.Name}
	switch c.Has {
	case engine.Yes:
		out.Result = v1.CaveatEvalInfo_RESULT_TRUE
	case engine.Conditional:
		out.Result = v1.CaveatEvalInfo_RESULT_MISSING_SOME_CONTEXT
		out.PartialCaveatInfo = &v1.PartialCaveatInfo{MissingRequiredContext: c.Missing}
	default:
		out.Result = v1.CaveatEvalInfo_RESULT_FALSE
	}
	if b, err := json.Marshal(c.Context); err == nil && len(c.Context) > 0 {
		out.Context = toStruct(string(b))
	}
	return out
}
