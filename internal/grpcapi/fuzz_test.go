package grpcapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/memory"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

func FuzzPlace(f *testing.F) {
	f.Add(place{"tm1AAAA", 42, "plan"}.cursors().at("plan").Token)
	f.Add(place{"", 0, ""}.cursors().at("").Token)
	f.Add("garbage")
	f.Fuzz(func(t *testing.T, text string) {
		p, ok := parsePlace(text)
		if !ok {
			return
		}
		if again := p.cursors().at(p.after).Token; again != text {
			t.Errorf("%q is read as %+v, which is written as %q", text, p, again)
		}
	})
}

func TestPlace(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	random := func(most int) string {
		b := make([]byte, rng.IntN(most+1))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return string(b)
	}
	for range 2000 {
		want := place{random(255), rng.Uint64(), random(40)}
		c := want.cursors()
		text := c.at(want.after).Token
		if got, ok := parsePlace(text); !ok || got != want || len(text) != c.size(want.after) {
			t.Fatalf("%+v comes back as %+v, %t", want, got, ok)
		}
		if p, ok := parsePlace(text[:len(text)-1-rng.IntN(len(text)-1)]); ok && p.after == want.after {
			t.Fatalf("cut short it is read as %+v", p)
		}
	}
}

const fuzzSchema = `use expiration

caveat few(count int, most int) {
	count < most
}

definition user {}

definition tenant/document {
	relation parent: tenant/document
	relation view: user | user:* | user with few | user with expiration | tenant/document#view
	relation banned: user
	permission all = view - banned + parent->all
}
`

func fuzzBackend(t testing.TB) perm.Backend {
	b := memory.New(time.Minute)
	if _, err := b.WriteSchema(t.Context(), fuzzSchema); err != nil {
		t.Fatal(err)
	}
	var w perm.Write
	for _, text := range []string{
		"tenant/document:plan#view@user:plan", "tenant/document:plan#banned@user:user", "tenant/document:view#view@user:*",
		"tenant/document:plan#parent@tenant/document:view", `tenant/document:view#view@user:user[few:{"count":1}]`,
	} {
		r, err := tuple.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		w.Updates = append(w.Updates, perm.Update{Relationship: r})
	}
	if _, err := b.Write(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	return b
}

// services are those of a server that does not serve.
func services(t testing.TB, o Options) *api {
	t.Helper()
	s := New(o)
	t.Cleanup(s.Stop)
	return s.api
}

// methods are all that the server offers.
func methods(t testing.TB) (out []method) {
	t.Helper()
	for _, d := range []*grpc.ServiceDesc{
		&v1.PermissionsService_ServiceDesc, &v1.SchemaService_ServiceDesc, &v1.WatchService_ServiceDesc, &v1.ExperimentalService_ServiceDesc,
	} {
		for _, m := range d.Methods {
			out = append(out, method{name: d.ServiceName + "." + m.MethodName, call: m.Handler})
		}
		for _, s := range d.Streams {
			out = append(out, method{name: d.ServiceName + "." + s.StreamName, stream: s.Handler})
		}
	}
	for i := range out {
		m := &out[i]
		found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(m.name))
		if err != nil {
			t.Fatal(err)
		}
		d := found.(protoreflect.MethodDescriptor)
		if m.input, err = protoregistry.GlobalTypes.FindMessageByName(d.Input().FullName()); err == nil {
			m.output, err = protoregistry.GlobalTypes.FindMessageByName(d.Output().FullName())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

type method struct {
	name          string
	call          grpc.MethodHandler
	stream        grpc.StreamHandler
	input, output protoreflect.MessageType
}

// ask calls a method with a request as it came over the wire.
func (m method) ask(ctx context.Context, a *api, wire []byte) error {
	read := func(v any) error {
		if err := (codec{}).Unmarshal(mem.BufferSlice{mem.SliceBuffer(wire)}, v); err != nil {
			return errWire
		}
		return validate(v)
	}
	if m.call != nil {
		resp, err := m.call(a, ctx, read, nil)
		if err != nil {
			return err
		}
		return readable(m.output, resp)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Millisecond) // watches have no end
	defer cancel()
	return m.stream(a, &oneMessage{ctx: ctx, output: m.output, read: read})
}

var errWire = errors.New("not a message")

// oneMessage is a stream on which one message comes in.
type oneMessage struct {
	grpc.ServerStream
	ctx    context.Context
	output protoreflect.MessageType
	read   func(any) error
	done   bool
}

// readable says why a client could not read an answer.
func readable(typ protoreflect.MessageType, m any) error {
	wire, err := codec{}.Marshal(m)
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(wire.Materialize(), typ.New().Interface()); err != nil {
		return fmt.Errorf("the answer %v: %w", m, err)
	}
	return nil
}

func (s *oneMessage) Context() context.Context    { return s.ctx }
func (s *oneMessage) SetHeader(metadata.MD) error { return nil }
func (s *oneMessage) SendMsg(m any) error         { return readable(s.output, m) }
func (s *oneMessage) RecvMsg(m any) error {
	if s.done {
		return io.EOF
	}
	s.done = true
	return s.read(m)
}

// answered fails the test unless a call ended in a way that a client can act on.
func answered(t *testing.T, m method, req any, err error) {
	t.Helper()
	if err == nil || errors.Is(err, errWire) {
		return
	}
	if c := status.Code(convertError(err)); c == codes.Unknown || c == codes.Internal {
		t.Errorf("%s %v: %v", m.name, req, convertError(err))
	}
}

// TestRandomRequests asks all methods at random.
func TestRandomRequests(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	a := services(t, Options{})
	all := methods(t)
	if len(all) != 27 {
		t.Fatalf("%d methods", len(all))
	}
	well := map[string]int{}
	var ctx context.Context
	for i := range 6000 {
		if i%20 == 0 {
			ctx = context.WithValue(t.Context(), backendKey{}, fuzzBackend(t))
		}
		m := all[rng.IntN(len(all))]
		req := m.input.New()
		fill(rng, req, 6)
		wire, err := proto.Marshal(req.Interface())
		if err != nil {
			continue // not UTF-8
		}
		err = m.ask(ctx, a, wire)
		answered(t, m, req.Interface(), err)
		if err == nil || errors.Is(err, context.DeadlineExceeded) {
			well[m.name[strings.LastIndex(m.name, ".")+1:]]++
		}
	}
	t.Log(well)
	if len(well) < 15 {
		t.Errorf("only these were ever answered: %v", well)
	}
}

// TestNotUTF8 sends a text that no client could read again.
func TestNotUTF8(t *testing.T) {
	ctx := context.WithValue(t.Context(), backendKey{}, fuzzBackend(t))
	text := "// \xff\xfe\n" + fuzzSchema
	a := services(t, Options{})
	for _, m := range methods(t) {
		var wire []byte
		switch {
		case strings.HasSuffix(m.name, ".WriteSchema"):
			wire = protowire.AppendString([]byte{0x0a}, text)
		case strings.HasSuffix(m.name, "DiffSchema"):
			wire = protowire.AppendString([]byte{0x12}, text)
		default:
			continue
		}
		if err := convertError(m.ask(ctx, a, wire)); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}

func FuzzRequests(f *testing.F) {
	rng := rand.New(rand.NewPCG(3, 3))
	all := methods(f)
	for i, m := range all {
		for range 3 {
			req := m.input.New()
			fill(rng, req, 6)
			if wire, err := proto.Marshal(req.Interface()); err == nil {
				f.Add(byte(i), wire)
			}
		}
	}
	a := services(f, Options{})
	f.Fuzz(func(t *testing.T, i byte, wire []byte) {
		m := all[int(i)%len(all)]
		err := m.ask(context.WithValue(t.Context(), backendKey{}, fuzzBackend(t)), a, wire)
		answered(t, m, wire, err)
	})
}
