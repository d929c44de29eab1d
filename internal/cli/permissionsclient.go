package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// grpcFlags are the flags of commands that ask a server about permissions.
type grpcFlags struct {
	GRPC string `name:"grpc" placeholder:"ADDR" help:"Address of permissions (TIDEMARK_GRPC; 127.0.0.1:50051)."`
	Key  string `placeholder:"KEY" help:"Key to send (TIDEMARK_KEY); better in the variable."`
	CA   string `name:"ca" placeholder:"FILE" help:"Speak TLS, with the certificates of this PEM file as authorities; system: with those of the machine."`
}

// connect returns a connection that sends the key.
func (f *grpcFlags) connect(a *app) (*grpc.ClientConn, error) {
	key := firstOf(f.Key, a.getenv("TIDEMARK_KEY"))
	if key == "" {
		return nil, hinted{errors.New("no key was given"), "set TIDEMARK_KEY to one of permissions.keys"}
	}
	transport := insecure.NewCredentials()
	if f.CA != "" {
		config := &tls.Config{MinVersion: tls.VersionTLS12}
		if f.CA != "system" {
			pem, err := os.ReadFile(f.CA)
			if err != nil {
				return nil, err
			}
			config.RootCAs = x509.NewCertPool()
			if !config.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("%s has no certificate in PEM form", f.CA)
			}
		}
		transport = credentials.NewTLS(config)
	}
	return grpc.NewClient(f.address(a), grpc.WithTransportCredentials(transport), grpc.WithPerRPCCredentials(bearer(key)))
}

func (f *grpcFlags) address(a *app) string {
	return firstOf(f.GRPC, a.getenv("TIDEMARK_GRPC"), "127.0.0.1:50051")
}

// bearer is a key as calls carry it.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity: whoever names an address without TLS knows the way to
// it.
func (bearer) RequireTransportSecurity() bool { return false }

// call runs a call and puts its error in words for a person.
func (f *grpcFlags) call(a *app, do func(context.Context, *grpc.ClientConn) error) error {
	conn, err := f.connect(a)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(a.ctx, clientTimeout)
	defer cancel()
	err = do(ctx, conn)
	s, ok := status.FromError(err)
	switch {
	case err == nil || !ok:
		return err
	case s.Code() == codes.Unavailable && strings.Contains(s.Message(), "connection refused"):
		return hinted{
			fmt.Errorf("no server answers at %s", f.address(a)),
			"start one with listen.grpc set, or tidemark serve-testing, or name another with --grpc or TIDEMARK_GRPC",
		}
	case s.Code() == codes.DeadlineExceeded:
		return fmt.Errorf("%s did not answer within %s", f.address(a), clientTimeout.Round(time.Second))
	}
	return errors.New(plain(s.Message()))
}

type permissionsSchemaCmd struct {
	grpcFlags
	File string `arg:"" optional:"" help:"Schema to write; - is standard input. Without it, the schema is printed."`
}

func (c *permissionsSchemaCmd) Run(a *app) error {
	var text []byte
	var err error
	switch c.File {
	case "":
	case "-":
		text, err = io.ReadAll(a.stdin)
	default:
		text, err = os.ReadFile(c.File)
	}
	if err != nil {
		return err
	}
	return c.call(a, func(ctx context.Context, conn *grpc.ClientConn) error {
		client := v1.NewSchemaServiceClient(conn)
		if c.File == "" {
			reply, err := client.ReadSchema(ctx, &v1.ReadSchemaRequest{})
			if err != nil {
				return err
			}
			return a.write([]byte(reply.GetSchemaText()))
		}
		reply, err := client.WriteSchema(ctx, &v1.WriteSchemaRequest{Schema: string(text)})
		if err != nil {
			return err
		}
		fmt.Fprintf(a.stdout, "written at %s\n", plain(reply.GetWrittenAt().GetToken()))
		return nil
	})
}

type permissionsCheckCmd struct {
	grpcFlags
	Context    string `placeholder:"JSON" help:"Context for caveats, a JSON object."`
	Token      string `placeholder:"TOKEN" help:"Answer at least as fresh as this token; without it, fully consistent."`
	Resource   string `arg:"" help:"Such as document:plan."`
	Permission string `arg:"" help:"Permission or relation, such as view."`
	Subject    string `arg:"" help:"Such as user:ana or group:eng#member."`
}

func (c *permissionsCheckCmd) Run(a *app) error {
	req, err := c.request()
	if err != nil {
		return usageError{err}
	}
	return c.call(a, func(ctx context.Context, conn *grpc.ClientConn) error {
		reply, err := v1.NewPermissionsServiceClient(conn).CheckPermission(ctx, req)
		if err != nil {
			return err
		}
		switch reply.GetPermissionship() {
		case v1.CheckPermissionResponse_PERMISSIONSHIP_HAS_PERMISSION:
			fmt.Fprintln(a.stdout, "yes")
		case v1.CheckPermissionResponse_PERMISSIONSHIP_CONDITIONAL_PERMISSION:
			fmt.Fprintf(a.stdout, "caveated, which needs %s\n", plain(strings.Join(reply.GetPartialCaveatInfo().GetMissingRequiredContext(), ", ")))
		default:
			fmt.Fprintln(a.stdout, "no")
		}
		return nil
	})
}

func (c *permissionsCheckCmd) request() (*v1.CheckPermissionRequest, error) {
	resource, err := tuple.ParseObject(c.Resource)
	if err != nil {
		return nil, err
	}
	subject, err := tuple.ParseSubject(c.Subject)
	if err != nil {
		return nil, err
	}
	req := &v1.CheckPermissionRequest{
		Consistency: &v1.Consistency{Requirement: &v1.Consistency_FullyConsistent{FullyConsistent: true}},
		Resource:    &v1.ObjectReference{ObjectType: resource.Type, ObjectId: resource.ID},
		Permission:  c.Permission,
		Subject: &v1.SubjectReference{
			Object: &v1.ObjectReference{ObjectType: subject.Type, ObjectId: subject.ID}, OptionalRelation: subject.Relation,
		},
	}
	if c.Token != "" {
		req.Consistency.Requirement = &v1.Consistency_AtLeastAsFresh{AtLeastAsFresh: &v1.ZedToken{Token: c.Token}}
	}
	if c.Context != "" {
		var given map[string]any
		if err := json.Unmarshal([]byte(c.Context), &given); err != nil {
			return nil, fmt.Errorf("--context is not a JSON object: %w", err)
		}
		if req.Context, err = structpb.NewStruct(given); err != nil {
			return nil, fmt.Errorf("--context: %w", err)
		}
	}
	return req, nil
}
