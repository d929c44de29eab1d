//lint:file-ignore SA1019 older clients read the older fields

package grpcapi

import (
	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tidemarkdb/tidemark/internal/perm/engine"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// maxLookup bounds one page of a lookup, which clients know.
const maxLookup = 1000

// LookupResources implements the service.
func (a *api) LookupResources(req *v1.LookupResourcesRequest, s v1.PermissionsService_LookupResourcesServer) error {
	ctx := s.Context()
	if err := atMost(req.GetOptionalLimit(), maxLookup); err != nil {
		return err
	}
	sub := subject(req.GetSubject())
	if err := noWildcard(sub.ID, "subject.object.object_id"); err != nil {
		return err
	}
	given, context, err := requestContext(req.GetContext())
	if err != nil {
		return err
	}
	call := callHash("resources", req.GetResourceObjectType(), req.GetPermission(), sub.Type, sub.ID, sub.Relation, context)
	v, p, err := resume(ctx, req.GetConsistency(), req.GetOptionalCursor(), call)
	if err != nil {
		return err
	}
	found, err := engine.LookupResources(ctx, over(v), req.GetResourceObjectType(), req.GetPermission(), sub, given,
		engine.Page{After: p.after, Limit: int(req.GetOptionalLimit())}, engine.Options{})
	if err != nil {
		return err
	}
	e := newResourceEncoder(p)
	for i := range found {
		if err := s.SendMsg(e.encode(&found[i])); err != nil {
			return err
		}
	}
	return nil
}

// requestContext decodes a request's caveat context, and returns its canonical
// text too.
func requestContext(s *structpb.Struct) (map[string]any, string, error) {
	given, err := values(s)
	if err != nil || given == nil {
		return nil, "", err
	}
	text, err := contextText(s)
	return given, text, err
}

func lookupPermissionship(has engine.Has) v1.LookupPermissionship {
	if has == engine.Conditional {
		return v1.LookupPermissionship_LOOKUP_PERMISSIONSHIP_CONDITIONAL_PERMISSION
	}
	return v1.LookupPermissionship_LOOKUP_PERMISSIONSHIP_HAS_PERMISSION
}

// resourceEncoder writes the messages of one LookupResources. Between them only
// the id changes, so a message is put together from bytes, many of them in one
// allocation.
type resourceEncoder struct {
	at      []byte // looked_up_at, with its tag
	cursors cursors
	// What is left of one allocation for many messages: of their bytes, of
	// buffers, and of messages.
	free     []byte
	buffers  []mem.Buffer
	messages []encoded
}

// How much is allocated at once.
const (
	slabBytes    = 16 << 10
	slabMessages = 64
)

// The fields of a LookupResourcesResponse, and the only one of each message
// inside it.
const (
	fieldLookedUpAt        protowire.Number = 1
	fieldResourceObjectID  protowire.Number = 2
	fieldPermissionship    protowire.Number = 3
	fieldPartialCaveatInfo protowire.Number = 4
	fieldAfterResultCursor protowire.Number = 5
	fieldInner             protowire.Number = 1
)

func newResourceEncoder(p place) *resourceEncoder {
	at := protowire.AppendTag(nil, fieldInner, protowire.BytesType)
	at = protowire.AppendString(at, p.token)
	return &resourceEncoder{
		at:      protowire.AppendBytes(protowire.AppendTag(nil, fieldLookedUpAt, protowire.BytesType), at),
		cursors: p.cursors(),
	}
}

// encode returns the message of a result.
func (e *resourceEncoder) encode(f *engine.Found) *encoded {
	cursor := e.cursors.size(f.ID)
	inner := 1 + protowire.SizeBytes(cursor)
	size := len(e.at) + 1 + protowire.SizeBytes(len(f.ID)) + 2 + 1 + protowire.SizeBytes(inner)
	missing := 0
	if f.Has == engine.Conditional {
		for _, m := range f.Missing {
			missing += 1 + protowire.SizeBytes(len(m))
		}
		size += 1 + protowire.SizeBytes(missing)
	}
	if cap(e.free) < size {
		e.free = make([]byte, 0, max(slabBytes, size))
	}
	b := append(e.free, e.at...)
	b = protowire.AppendTag(b, fieldResourceObjectID, protowire.BytesType)
	b = protowire.AppendString(b, f.ID)
	b = protowire.AppendTag(b, fieldPermissionship, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(lookupPermissionship(f.Has)))
	if f.Has == engine.Conditional {
		b = protowire.AppendTag(b, fieldPartialCaveatInfo, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(missing))
		for _, m := range f.Missing {
			b = protowire.AppendString(protowire.AppendTag(b, fieldInner, protowire.BytesType), m)
		}
	}
	b = protowire.AppendTag(b, fieldAfterResultCursor, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(inner))
	b = protowire.AppendTag(b, fieldInner, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(cursor))
	b = e.cursors.append(b, f.ID)
	e.free = b[len(b):]
	if len(e.messages) == 0 {
		e.buffers, e.messages = make([]mem.Buffer, slabMessages), make([]encoded, slabMessages)
	}
	m := &e.messages[0]
	e.buffers[0] = mem.SliceBuffer(b[:len(b):len(b)])
	*m = encoded(e.buffers[:1:1])
	e.buffers, e.messages = e.buffers[1:], e.messages[1:]
	return m
}

// LookupSubjects implements the service.
func (a *api) LookupSubjects(req *v1.LookupSubjectsRequest, s v1.PermissionsService_LookupSubjectsServer) error {
	if req.GetOptionalConcreteLimit() != 0 {
		return status.Error(codes.Unimplemented, "LookupSubjects has no concrete limit: leave it out, and stop reading when there is enough")
	}
	ctx := s.Context()
	if err := noWildcard(req.GetResource().GetObjectId(), "resource.object_id"); err != nil {
		return err
	}
	given, err := values(req.GetContext())
	if err != nil {
		return err
	}
	v, err := view(ctx, req.GetConsistency())
	if err != nil {
		return err
	}
	if err := named(v, req.GetResource().GetObjectType(), req.GetPermission()); err != nil {
		return err
	}
	found, err := engine.LookupSubjects(ctx, over(v), object(req.GetResource()), req.GetPermission(),
		req.GetSubjectObjectType(), req.GetOptionalSubjectRelation(), given, engine.Options{})
	if err != nil {
		return err
	}
	at := zedToken(v.Token)
	for _, f := range found {
		if f.ID == tuple.Wildcard && req.GetWildcardOption() == v1.LookupSubjectsRequest_WILDCARD_OPTION_EXCLUDE_WILDCARDS {
			continue
		}
		out := &v1.LookupSubjectsResponse{LookedUpAt: at, Subject: resolved(f.Found)}
		for _, x := range f.Excluded {
			out.ExcludedSubjects = append(out.ExcludedSubjects, resolved(x))
		}
		olderFields(out)
		if err := s.Send(out); err != nil {
			return err
		}
	}
	return nil
}

func resolved(f engine.Found) *v1.ResolvedSubject {
	out := &v1.ResolvedSubject{SubjectObjectId: f.ID, Permissionship: lookupPermissionship(f.Has)}
	if f.Has == engine.Conditional {
		out.PartialCaveatInfo = &v1.PartialCaveatInfo{MissingRequiredContext: f.Missing}
	}
	return out
}

// olderFields says the same as the fields of a result in those that clients read
// before there were these.
func olderFields(r *v1.LookupSubjectsResponse) {
	r.SubjectObjectId = r.Subject.SubjectObjectId
	r.Permissionship = r.Subject.Permissionship
	r.PartialCaveatInfo = r.Subject.PartialCaveatInfo
	for _, x := range r.ExcludedSubjects {
		r.ExcludedSubjectIds = append(r.ExcludedSubjectIds, x.SubjectObjectId)
	}
}
