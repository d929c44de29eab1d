package grpcapi

import (
	"math/rand/v2"
	"strings"
	"testing"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// TestFastValidation: what is recognised as right without the rules, the rules
// let pass.
func TestFastValidation(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	messages := []proto.Message{
		&v1.CheckPermissionRequest{}, &v1.CheckBulkPermissionsRequest{}, &v1.WriteRelationshipsRequest{}, &v1.ImportBulkRelationshipsRequest{},
	}
	fast := make([]int, len(messages))
	const n = 20_000
	for range n {
		i := rng.IntN(len(messages))
		m := messages[i].ProtoReflect().New()
		fill(rng, m, 6)
		if !good(m.Interface()) {
			continue
		}
		fast[i]++
		if err := validateSlowly(m.Interface()); err != nil {
			t.Fatalf("%v: %v", m.Interface(), err)
		}
	}
	for i, f := range fast {
		if f < 50 {
			t.Errorf("of some %d only %d %T were taken fast", n/len(messages), f, messages[i])
		}
	}
}

// texts are names and ids on both sides of what is allowed.
var texts = []string{
	"document", "tenant/document", "view", "user", "plan", "a/b|c-d=e+f_g", "*", "...", "", "ab", "abc", "a__", "Abc", "1abc", "tenant/", "/abc", "a\n",
	"abc\n", "a b", "żółw", "\xff\xfe", strings.Repeat("x", 64), strings.Repeat("x", 65), strings.Repeat("x", 63) + "/" + strings.Repeat("x", 64),
	strings.Repeat("x", 64) + "/abc", strings.Repeat("x", 1024), strings.Repeat("x", 1025), "tm1AAAA",
}

// fill sets fields of a message at random, mostly to what is right.
func fill(rng *rand.Rand, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.ContainingOneof() != nil && !f.HasOptionalKeyword() && rng.IntN(f.ContainingOneof().Fields().Len()) > 0 {
			continue
		}
		optional := strings.HasPrefix(string(f.Name()), "optional_") || f.Name() == "context" || f.Name() == "consistency"
		if rng.IntN(40) == 0 || depth == 0 || optional && rng.IntN(3) > 0 {
			continue
		}
		switch {
		case f.IsMap():
			v := m.NewField(f)
			if f.MapValue().Message() != nil && depth > 1 {
				x := v.Map().NewValue()
				fill(rng, x.Message(), depth-2)
				v.Map().Set(protoreflect.ValueOfString(texts[rng.IntN(len(texts))]).MapKey(), x)
			}
			m.Set(f, v)
		case f.IsList():
			list := m.NewField(f)
			for range rng.IntN(3) {
				if f.Message() != nil {
					x := list.List().NewElement()
					fill(rng, x.Message(), depth-1)
					list.List().Append(x)
				} else {
					list.List().Append(scalar(rng, f))
				}
			}
			m.Set(f, list)
		case f.Message() != nil:
			x := m.NewField(f)
			fill(rng, x.Message(), depth-1)
			m.Set(f, x)
		default:
			m.Set(f, scalar(rng, f))
		}
	}
}

func scalar(rng *rand.Rand, f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		if rng.IntN(25) > 0 {
			switch f.Name() {
			case "object_type", "resource_type", "subject_type", "resource_object_type", "subject_object_type":
				return protoreflect.ValueOfString(texts[rng.IntN(2)])
			case "optional_relation":
				return protoreflect.ValueOfString([]string{"", "view", "..."}[rng.IntN(3)])
			}
			return protoreflect.ValueOfString(texts[2+rng.IntN(3)])
		}
		return protoreflect.ValueOfString(texts[rng.IntN(len(texts))])
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rng.IntN(8) > 0)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(rng.IntN(5)))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(rng.NormFloat64())
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(rng.Int64() - rng.Int64())
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(rng.Int32() - rng.Int32())
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(rng.IntN(3)))
	}
	return f.Default()
}
