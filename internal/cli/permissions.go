package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/tidemarkdb/tidemark/internal/perm/validate"
)

type permissionsCmd struct {
	Validate permissionsValidateCmd `cmd:"" help:"Hold validation files (schema, relationships, assertions, expected relations) to what they say."`
	Mapping  permissionsMappingCmd  `cmd:"" name:"check-mapping" help:"Show which relationships the rows of your tables are, and which rows cannot be one."`
	Schema   permissionsSchemaCmd   `cmd:"" help:"Print the schema of a server, or write one."`
	Check    permissionsCheckCmd    `cmd:"" help:"Ask a server whether a subject has a permission."`
}

// lines makes each line of a text plain.
func lines(text string) string {
	all := strings.Split(text, "\n")
	for i, l := range all {
		all[i] = plain(l)
	}
	return strings.Join(all, "\n")
}

type permissionsValidateCmd struct {
	Files []string `arg:"" name:"file" help:"Validation files."`
}

func (c *permissionsValidateCmd) Run(a *app) error {
	failed := false
	for _, path := range c.Files {
		r := validate.Run(a.ctx, path, time.Now())
		for _, p := range r.Problems {
			fmt.Fprintf(a.stderr, "error: %s\n", lines(p.String()))
		}
		if len(r.Problems) > 0 {
			failed = true
			continue
		}
		fmt.Fprintf(a.stdout, "%s is in order: %s, %s, %s\n", plain(path), number(r.Relationships, "relationship"),
			number(r.Assertions, "assertion"), number(r.Expected, "list")+" of who has what")
	}
	if failed {
		return errSilent
	}
	return nil
}
