package adminapi

import "github.com/tidemarkdb/tidemark/internal/tenant"

type permissionReply struct {
	Loaded        bool   `json:"loaded"`
	Problem       string `json:"problem,omitempty"`
	Relationships int    `json:"relationships"`
	Read          int64  `json:"read_so_far,omitempty"` // while they are being loaded
	SchemaVersion int64  `json:"schema_version"`
	Versions      int    `json:"versions_kept"`
	Events        int    `json:"changes_kept"`
	Bytes         int64  `json:"kept_bytes"`
	Watchers      int64  `json:"watchers"`
	Ignored       int64  `json:"ignored_rows"`
}

// permissions returns how they are, or nil where they are off.
func permissions(t *tenant.Tenant) *permissionReply {
	s, on := t.PermissionStatus()
	if !on {
		return nil
	}
	out := &permissionReply{
		Loaded: s.Loaded, Relationships: s.Relationships, SchemaVersion: s.SchemaVersion,
		Versions: s.Kept.Versions, Events: s.Kept.Events, Bytes: s.Kept.Bytes, Watchers: s.Watchers, Ignored: s.Ignored,
	}
	if !s.Loaded {
		out.Read = s.Read
	}
	if s.Err != nil {
		out.Problem = s.Err.Error()
	}
	return out
}
