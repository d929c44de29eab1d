// Command tidemark keeps what an application derives from its Postgres
// database, true to the last commit. "tidemark --help" lists what it does.
package main

import (
	"context"
	"os"

	"github.com/tidemarkdb/tidemark/internal/cli"
)

func main() {
	os.Exit(cli.Run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}
