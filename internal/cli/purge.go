package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

type purgeCmd struct {
	adminFlags
	Answer   string `placeholder:"PATH" help:"Drop the answer of one path with its query." xor:"what" required:""`
	Endpoint string `placeholder:"NAME" help:"Drop the answers of one endpoint." xor:"what" required:""`
	Table    string `placeholder:"TABLE" help:"Drop the answers that read one table." xor:"what" required:""`
	All      bool   `help:"Drop all answers." xor:"what" required:""`
}

func (c *purgeCmd) Run(a *app) error {
	what := map[string]any{}
	switch {
	case c.Answer != "":
		what["answer"] = rooted(c.Answer)
	case c.Endpoint != "":
		what["endpoint"] = c.Endpoint
	case c.Table != "":
		what["table"] = c.Table
	case c.All:
		what["all"] = true
	default:
		return usageError{errors.New("say what: --answer, --endpoint, --table or --all")}
	}
	request, err := json.Marshal(what)
	if err != nil {
		return err
	}
	_, body, err := c.client(a).do(a.ctx, http.MethodPost, "/v1/purge", nil, request)
	if err != nil {
		return err
	}
	var reply struct{ Purged *int }
	if c.JSON || json.Unmarshal(body, &reply) != nil || reply.Purged == nil {
		return a.print(body, c.JSON)
	}
	if *reply.Purged == 1 {
		fmt.Fprintln(a.stdout, "purged 1 answer")
	} else {
		fmt.Fprintf(a.stdout, "purged %d answers\n", *reply.Purged)
	}
	return nil
}
