package grpcapi

import (
	"context"
	"errors"
	"slices"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
)

// maxWatchUpdates bounds the updates of one message.
const maxWatchUpdates = 1000

// watcher is one call of Watch.
type watcher struct {
	send    func(*v1.WatchResponse) error
	backend perm.Backend
	types   []string
	filters []graph.Filter
	// What the client wants to hear of.
	relationships, schema, checkpoints bool
	through                            uint64 // the last checkpoint's position
}

// Watch implements the service.
func (a *api) Watch(req *v1.WatchRequest, s v1.WatchService_WatchServer) error {
	ctx := s.Context()
	w := watcher{send: s.Send, backend: backend(ctx), types: req.GetOptionalObjectTypes()}
	for _, k := range req.GetOptionalUpdateKinds() {
		w.relationships = w.relationships || k == v1.WatchKind_WATCH_KIND_INCLUDE_RELATIONSHIP_UPDATES
		w.schema = w.schema || k == v1.WatchKind_WATCH_KIND_INCLUDE_SCHEMA_UPDATES
		w.checkpoints = w.checkpoints || k == v1.WatchKind_WATCH_KIND_INCLUDE_CHECKPOINTS
	}
	if !w.relationships && !w.schema && !w.checkpoints {
		w.relationships = true
	}
	if len(w.types) > 0 && len(req.GetOptionalRelationshipFilters()) > 0 {
		return status.Error(codes.InvalidArgument, "object types and relationship filters exclude each other")
	}
	for _, in := range req.GetOptionalRelationshipFilters() {
		f, err := needFilter(in)
		if err != nil {
			return err
		}
		w.filters = append(w.filters, f)
	}
	cursor, err := w.backend.Watch(ctx, req.GetOptionalStartCursor().GetToken())
	if err != nil {
		return err
	}
	heartbeat := time.NewTicker(a.opts.Heartbeat)
	defer heartbeat.Stop()
	for {
		// Whatever is up to here has been applied before, so after the events that
		// are there now it is complete.
		through := w.backend.Through()
		events, more, err := cursor.Next()
		if err != nil {
			return behind(err)
		}
		for i := range events {
			if err := w.event(&events[i]); err != nil {
				return err
			}
		}
		if len(events) > 0 {
			continue
		}
		if w.checkpoints && uint64(through) > w.through {
			w.through = uint64(through)
			if err := w.send(&v1.WatchResponse{ChangesThrough: zedToken(w.backend.Token(through)), IsCheckpoint: true}); err != nil {
				return err
			}
		}
		select {
		case <-more:
		case <-heartbeat.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-a.closing:
			return status.Error(codes.Unavailable, "the server is stopping; resume from the last token")
		}
	}
}

// behind says that a watcher was too slow, or that the log does not continue.
func behind(err error) error {
	if errors.Is(err, perm.ErrBehind) {
		return status.Errorf(codes.ResourceExhausted, "%v: read again, then watch from the token of that", err)
	}
	return err
}

func (w *watcher) event(e *perm.Event) error {
	schemaChanged := e.Schema && w.schema
	var updates []*v1.RelationshipUpdate
	if w.relationships {
		for _, c := range e.Changes {
			if !w.wants(c) {
				continue
			}
			op := v1.RelationshipUpdate_OPERATION_TOUCH
			if c.Deleted {
				op = v1.RelationshipUpdate_OPERATION_DELETE
			}
			updates = append(updates, &v1.RelationshipUpdate{Operation: op, Relationship: toRelationship(c.Relationship)})
		}
	}
	if len(updates) == 0 && !schemaChanged {
		return nil
	}
	token := zedToken(w.backend.Token(e.LSN))
	metadata := toStruct(e.Metadata)
	var every []*structpb.Struct
	if metadata != nil {
		every = []*structpb.Struct{metadata}
	}
	// A client that resumes from a message's token must not miss what the
	// transaction's later messages hold: all but the last name the moment before.
	before := zedToken(w.backend.Token(e.LSN - 1))
	for n := part(updates); n < len(updates); n = part(updates) {
		err := w.send(&v1.WatchResponse{
			Updates: updates[:n], ChangesThrough: before, OptionalTransactionMetadata: metadata, FullRevisionMetadata: every,
		})
		if err != nil {
			return err
		}
		updates = updates[n:]
	}
	w.through = max(w.through, uint64(e.LSN))
	return w.send(&v1.WatchResponse{
		Updates: updates, ChangesThrough: token, SchemaUpdated: schemaChanged, OptionalTransactionMetadata: metadata, FullRevisionMetadata: every,
	})
}

// part returns how many updates go into one message.
func part(updates []*v1.RelationshipUpdate) int {
	bytes := 0
	for n, u := range updates {
		if n == maxWatchUpdates || bytes >= batchBytes {
			return n
		}
		bytes += u.SizeVT()
	}
	return len(updates)
}

func (w *watcher) wants(c perm.Change) bool {
	if len(w.types) > 0 {
		return slices.Contains(w.types, c.Resource.Type)
	}
	return len(w.filters) == 0 || slices.ContainsFunc(w.filters, func(f graph.Filter) bool { return f.Match(c.Relationship) })
}
