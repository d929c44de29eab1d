package grpcapi

import (
	"context"
	"fmt"
	"io"
	"strconv"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// Limits of one write, which clients know.
const (
	maxUpdates       = 1000
	maxPreconditions = 1000
	maxDeletions     = 1000
	maxMetadata      = 65_000 // bytes
)

// WriteRelationships implements the service.
func (a *api) WriteRelationships(ctx context.Context, req *v1.WriteRelationshipsRequest) (*v1.WriteRelationshipsResponse, error) {
	if n := len(req.GetUpdates()); n > maxUpdates {
		return nil, reason(codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_TOO_MANY_UPDATES_IN_REQUEST,
			fmt.Sprintf("%d updates in one call; %d are the most", n, maxUpdates),
			"update_count", strconv.Itoa(n), "maximum_updates_allowed", strconv.Itoa(maxUpdates))
	}
	w := perm.Write{Updates: make([]perm.Update, len(req.GetUpdates()))}
	seen := make(map[tuple.Relationship]bool, len(w.Updates))
	for i, u := range req.GetUpdates() {
		r, err := relationship(u.GetRelationship())
		if err != nil {
			return nil, err
		}
		if seen[r.Key()] {
			return nil, reason(codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_UPDATES_ON_SAME_RELATIONSHIP,
				fmt.Sprintf("two updates of one call are about %s; send one", r.Key()),
				"relationship", r.Key().String(), "definition_name", r.Resource.Type)
		}
		seen[r.Key()] = true
		w.Updates[i] = perm.Update{Op: operation(u.GetOperation()), Relationship: r}
	}
	var err error
	if w.Preconditions, err = preconditions(req.GetOptionalPreconditions()); err != nil {
		return nil, err
	}
	if w.Metadata, err = metadataText(req.GetOptionalTransactionMetadata()); err != nil {
		return nil, err
	}
	token, err := backend(ctx).Write(ctx, w)
	if err != nil {
		return nil, err
	}
	return &v1.WriteRelationshipsResponse{WrittenAt: zedToken(token)}, nil
}

func operation(op v1.RelationshipUpdate_Operation) perm.Op {
	switch op {
	case v1.RelationshipUpdate_OPERATION_CREATE:
		return perm.Create
	case v1.RelationshipUpdate_OPERATION_DELETE:
		return perm.Delete
	}
	return perm.Touch
}

func preconditions(in []*v1.Precondition) ([]perm.Precondition, error) {
	if n := len(in); n > maxPreconditions {
		return nil, reason(codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_TOO_MANY_PRECONDITIONS_IN_REQUEST,
			fmt.Sprintf("%d preconditions in one call; %d are the most", n, maxPreconditions),
			"precondition_count", strconv.Itoa(n), "maximum_updates_allowed", strconv.Itoa(maxPreconditions))
	}
	out := make([]perm.Precondition, len(in))
	for i, p := range in {
		f, err := needFilter(p.GetFilter())
		if err != nil {
			return nil, err
		}
		out[i] = perm.Precondition{Filter: f, Absent: p.GetOperation() == v1.Precondition_OPERATION_MUST_NOT_MATCH}
	}
	return out, nil
}

// needFilter converts a filter that has to select something.
func needFilter(in *v1.RelationshipFilter) (graph.Filter, error) {
	f := filter(in)
	bad := func(why string) (graph.Filter, error) {
		return f, reason(codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_INVALID_FILTER,
			"bad filter: "+why, "filter", in.String())
	}
	switch {
	case f.ResourceType == "" && f.ResourceID == "" && f.ResourceIDPrefix == "" && f.Relation == "" && f.Subject == nil:
		return bad("set at least one of its fields")
	case f.ResourceID != "" && f.ResourceIDPrefix != "":
		return bad("a resource id and a prefix of one exclude each other")
	}
	return f, nil
}

func metadataText(s *structpb.Struct) (string, error) {
	if len(s.GetFields()) == 0 {
		return "", nil
	}
	b, err := protojson.Marshal(s)
	if err != nil {
		return "", status.Errorf(codes.InvalidArgument, "the transaction metadata cannot be written as JSON: %v", err)
	}
	if len(b) > maxMetadata {
		return "", reason(codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_TRANSACTION_METADATA_TOO_LARGE,
			fmt.Sprintf("%d bytes of transaction metadata; %d are the most", len(b), maxMetadata),
			"metadata_byte_size", strconv.Itoa(len(b)), "maximum_allowed_metadata_byte_size", strconv.Itoa(maxMetadata))
	}
	return string(b), nil
}

func tooLargeContext(r tuple.Relationship, size int) error {
	return reason(codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_MAX_RELATIONSHIP_CONTEXT_SIZE,
		fmt.Sprintf("%d bytes of caveat context for %s; %d are the most", size, r.Key(), maxStoredContext),
		"relationship", r.Key().String(), "max_allowed_size", strconv.Itoa(maxStoredContext), "context_size", strconv.Itoa(size))
}

// DeleteRelationships implements the service.
func (a *api) DeleteRelationships(ctx context.Context, req *v1.DeleteRelationshipsRequest) (*v1.DeleteRelationshipsResponse, error) {
	if err := atMost(req.GetOptionalLimit(), maxDeletions); err != nil {
		return nil, err
	}
	f, err := needFilter(req.GetRelationshipFilter())
	if err != nil {
		return nil, err
	}
	if err := knownFilter(ctx, f); err != nil {
		return nil, err
	}
	d := perm.Deletion{Filter: f, Limit: req.GetOptionalLimit(), Partial: req.GetOptionalAllowPartialDeletions()}
	if d.Preconditions, err = preconditions(req.GetOptionalPreconditions()); err != nil {
		return nil, err
	}
	if d.Metadata, err = metadataText(req.GetOptionalTransactionMetadata()); err != nil {
		return nil, err
	}
	done, err := backend(ctx).Delete(ctx, d)
	if err != nil {
		return nil, err
	}
	progress := v1.DeleteRelationshipsResponse_DELETION_PROGRESS_COMPLETE
	if done.More {
		progress = v1.DeleteRelationshipsResponse_DELETION_PROGRESS_PARTIAL
	}
	return &v1.DeleteRelationshipsResponse{
		DeletedAt: zedToken(done.Token), DeletionProgress: progress, RelationshipsDeletedCount: done.Count,
	}, nil
}

// knownFilter refuses a filter that names what the schema has not.
func knownFilter(ctx context.Context, f graph.Filter) error {
	v, err := view(ctx, nil)
	if err != nil {
		return err
	}
	return names(v, f)
}

// importer reads the batches of an import.
type importer interface {
	next() ([]*v1.Relationship, error)
}

func importAll(ctx context.Context, in importer) (uint64, error) {
	return backend(ctx).Import(ctx, func() ([]tuple.Relationship, error) {
		for {
			batch, err := in.next()
			if err == io.EOF {
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			if len(batch) == 0 {
				continue
			}
			out := make([]tuple.Relationship, len(batch))
			for i, r := range batch {
				if out[i], err = relationship(r); err != nil {
					return nil, err
				}
			}
			return out, nil
		}
	})
}

type importStream struct {
	v1.PermissionsService_ImportBulkRelationshipsServer
}

func (s importStream) next() ([]*v1.Relationship, error) {
	m, err := s.Recv()
	return m.GetRelationships(), err
}

// ImportBulkRelationships implements the service.
func (a *api) ImportBulkRelationships(s v1.PermissionsService_ImportBulkRelationshipsServer) error {
	n, err := importAll(s.Context(), importStream{s})
	if err != nil {
		return err
	}
	return s.SendAndClose(&v1.ImportBulkRelationshipsResponse{NumLoaded: n})
}

type oldImportStream struct {
	v1.ExperimentalService_BulkImportRelationshipsServer
}

func (s oldImportStream) next() ([]*v1.Relationship, error) {
	m, err := s.Recv()
	return m.GetRelationships(), err
}

// BulkImportRelationships implements the older name of ImportBulkRelationships.
func (a *api) BulkImportRelationships(s v1.ExperimentalService_BulkImportRelationshipsServer) error {
	n, err := importAll(s.Context(), oldImportStream{s})
	if err != nil {
		return err
	}
	return s.SendAndClose(&v1.BulkImportRelationshipsResponse{NumLoaded: n})
}
