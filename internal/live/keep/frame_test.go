package keep

import (
	"encoding/hex"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/live/record"
)

// TestForm has the bytes of what stands in frames: a log is read by others than
// wrote it.
func TestForm(t *testing.T) {
	rel := &catalog.Relation{
		OID: 16400, Schema: "s", Name: "tä", Identity: 'f',
		Columns: []catalog.Column{{Name: "id", Type: 23, Key: true}, {Name: "v", Type: 1043}},
	}
	e := ending{xid: 700, end: 0x16B374D848, commit: 0x16B374D818, micros: -5, back: 300, relations: []uint64{1, 200}}
	c := change.Change{
		Op: change.Update, Relation: rel,
		Old: change.Row{text("1"), {Kind: change.Null}, text("same"), {}},
		New: change.Row{text("1"), text("new"), text("same"), {Kind: change.Null}},
	}
	for _, tt := range []struct{ name, got, want string }{
		{"relation", string(appendRelation(nil, 3, rel)), "039080016601730374c3a40202696417010176930800"},
		{"end", string(e.append(nil)), "bc0548d874b3160000006009ac020201c801"},
		{"change", string(appendChange(nil, &c, 1, 200)), "1600000055c80101050431010773616d65000502066e65770201"},
	} {
		if got := hex.EncodeToString([]byte(tt.got)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	id, read, ok := decodeRelation(appendRelation(nil, 3, rel))
	if diff := cmp.Diff(rel, read); diff != "" || id != 3 || !ok {
		t.Errorf("relation %d, %v: %s", id, ok, diff)
	}
	r, back := record.Reader{Rest: append(e.append(nil), "rest"...)}, ending{}
	back.decode(&r)
	if diff := cmp.Diff(e, back, cmp.AllowUnexported(ending{})); diff != "" || string(r.Rest) != "rest" {
		t.Errorf("the end, and %q: %s", r.Rest, diff)
	}
	var d decoder
	more, err := d.all(appendChange(nil, &c, 1, 200), 7, 0, []*catalog.Relation{nil, rel}, nil, func(at uint64, read *change.Change) (bool, error) {
		if !reflect.DeepEqual(&c, read) || at != 207 {
			t.Errorf("change %d: %+v, want %+v", at, read, c)
		}
		return true, nil
	})
	if !more || err != nil {
		t.Error(more, err)
	}
}
