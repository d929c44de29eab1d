package match

import (
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A test is the same again after it was put into bytes, whatever was in the one
// that takes it before.
func TestOperands(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var room Test
		for range 3 {
			want := drawTest(t)
			frame := want.Frame()
			if !want.HasFrame(&frame) {
				t.Fatalf("%+v is not of its own frame", want)
			}
			b := append(want.AppendOperands(nil), "rest"...)
			if rest := room.SetOperands(&frame, b); string(rest) != "rest" {
				t.Fatalf("%q is left", rest)
			}
			got := room
			if !slices.Equal(got.Values, want.Values) {
				t.Fatalf("got %+v, want %+v", got, want)
			}
			got.Values, want.Values = nil, nil
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("got %+v, want %+v", got, want)
			}
		}
	})
}
