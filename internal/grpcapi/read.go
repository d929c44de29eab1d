package grpcapi

import (
	"context"
	"strconv"
	"strings"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// Limits of one page, which clients know.
const (
	maxRead   = 1000
	maxExport = 10_000
	// exportBatch is how many relationships an export sends in one message where
	// the client does not say.
	exportBatch = 1000
	// batchBytes is about how large a message of several relationships may be:
	// clients refuse what is larger than 4 MiB, and one relationship has up to
	// some 30 KiB.
	batchBytes = 1 << 20
)

// names refuses a filter that names what the schema has not.
func names(v perm.View, f graph.Filter) error {
	check := func(typ, member string, relation bool) error {
		if typ == "" {
			return nil
		}
		if v.Schema == nil {
			return &schema.UnknownError{Definition: typ}
		}
		def := v.Schema.Definition(typ)
		switch {
		case def == nil:
			return &schema.UnknownError{Definition: typ}
		case member == "":
			return nil
		}
		rel, p := def.Member(member)
		if rel == nil && (relation || p == nil) {
			return &schema.UnknownError{Definition: typ, Member: member}
		}
		return nil
	}
	if err := check(f.ResourceType, f.Relation, true); err != nil {
		return err
	}
	if s := f.Subject; s != nil {
		member := ""
		if s.Relation != nil {
			member = *s.Relation
		}
		return check(s.Type, member, false)
	}
	return nil
}

// selection is what a read goes over.
type selection struct {
	view    perm.View
	place   place
	cursors cursors
	order   string // in which the view lists relationships
	limit   int    // 0: none
	f       graph.Filter
}

// each yields the relationships with the cursor after each, until there are no
// more, the limit is reached, or yield fails.
func (s *selection) each(ctx context.Context, yield func(tuple.Relationship) error) error {
	var after *tuple.Relationship
	if s.place.after != "" {
		order, text, _ := strings.Cut(s.place.after, " ")
		if order != s.order {
			return invalidCursor("the server has loaded the relationships again since; read again from the start")
		}
		r, err := tuple.Parse(text)
		if err != nil {
			return invalidCursor("its place does not parse")
		}
		after = &r
	}
	s.f.Now = time.Now().UnixMicro()
	all, err := s.view.Graph.Relationships(s.f, after)
	if err != nil {
		return err
	}
	n := 0
	for r := range all {
		if n&0xff == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := yield(r); err != nil {
			return err
		}
		if n++; n == s.limit {
			break
		}
	}
	return nil
}

func (s *selection) cursor(r tuple.Relationship) *v1.Cursor {
	return s.cursors.at(s.order + " " + r.String())
}

// begin finds where the selection begins.
func (s *selection) begin(ctx context.Context, c *v1.Consistency, cur *v1.Cursor, method string) (err error) {
	call := callHash(method, filterParts(s.f)...)
	if s.view, s.place, err = resume(ctx, c, cur, call); err != nil {
		return err
	}
	s.cursors = s.place.cursors()
	s.order = strconv.FormatUint(s.view.Order, 36) + "." + strconv.FormatUint(s.view.Graph.Epoch(), 36)
	return nil
}

// filterParts says what a filter selects.
func filterParts(f graph.Filter) []string {
	out := []string{f.ResourceType, f.ResourceID, f.ResourceIDPrefix, f.Relation}
	if f.Subject != nil {
		out = append(out, f.Subject.Type, f.Subject.ID)
		if f.Subject.Relation != nil {
			out = append(out, *f.Subject.Relation)
		}
	}
	return out
}

// ReadRelationships implements the service.
func (a *api) ReadRelationships(req *v1.ReadRelationshipsRequest, s v1.PermissionsService_ReadRelationshipsServer) error {
	if err := atMost(req.GetOptionalLimit(), maxRead); err != nil {
		return err
	}
	f, err := needFilter(req.GetRelationshipFilter())
	if err != nil {
		return err
	}
	sel := selection{f: f, limit: int(req.GetOptionalLimit())}
	if err := sel.begin(s.Context(), req.GetConsistency(), req.GetOptionalCursor(), "read"); err != nil {
		return err
	}
	if err := names(sel.view, f); err != nil {
		return err
	}
	at := zedToken(sel.view.Token)
	return sel.each(s.Context(), func(r tuple.Relationship) error {
		return s.Send(&v1.ReadRelationshipsResponse{ReadAt: at, Relationship: toRelationship(r), AfterResultCursor: sel.cursor(r)})
	})
}

// export sends relationships in batches. A limit bounds each batch, not the
// whole.
func export(ctx context.Context, c *v1.Consistency, cur *v1.Cursor, limit uint32, in *v1.RelationshipFilter,
	send func(*v1.Cursor, []*v1.Relationship) error,
) error {
	if err := atMost(limit, maxExport); err != nil {
		return err
	}
	sel := selection{}
	if in != nil {
		sel.f = filter(in)
	}
	if err := sel.begin(ctx, c, cur, "export"); err != nil {
		return err
	}
	size := exportBatch
	if limit > 0 {
		size = int(limit)
	}
	var batch []*v1.Relationship
	bytes := 0
	var last tuple.Relationship
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := send(sel.cursor(last), batch)
		batch, bytes = nil, 0
		return err
	}
	err := sel.each(ctx, func(r tuple.Relationship) error {
		batch, last = append(batch, toRelationship(r)), r
		if bytes += batch[len(batch)-1].SizeVT(); len(batch) < size && bytes < batchBytes {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

// ExportBulkRelationships implements the service.
func (a *api) ExportBulkRelationships(req *v1.ExportBulkRelationshipsRequest, s v1.PermissionsService_ExportBulkRelationshipsServer) error {
	return export(s.Context(), req.GetConsistency(), req.GetOptionalCursor(), req.GetOptionalLimit(), req.GetOptionalRelationshipFilter(),
		func(c *v1.Cursor, rels []*v1.Relationship) error {
			return s.Send(&v1.ExportBulkRelationshipsResponse{AfterResultCursor: c, Relationships: rels})
		})
}

// BulkExportRelationships implements the older name of ExportBulkRelationships.
func (a *api) BulkExportRelationships(req *v1.BulkExportRelationshipsRequest, s v1.ExperimentalService_BulkExportRelationshipsServer) error {
	return export(s.Context(), req.GetConsistency(), req.GetOptionalCursor(), req.GetOptionalLimit(), req.GetOptionalRelationshipFilter(),
		func(c *v1.Cursor, rels []*v1.Relationship) error {
			return s.Send(&v1.BulkExportRelationshipsResponse{AfterResultCursor: c, Relationships: rels})
		})
}
