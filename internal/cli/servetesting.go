package cli

import (
	"fmt"

	"github.com/tidemarkdb/tidemark/internal/server"
)

type serveTestingCmd struct {
	GRPC string `name:"grpc" default:"127.0.0.1:50051" placeholder:"ADDR" help:"Where gRPC is served (127.0.0.1:50051)."`
	HTTP string `name:"http" placeholder:"ADDR" help:"Where the same is served as HTTP and JSON; without it, nowhere."`
	logFlags
}

func (c *serveTestingCmd) Run(a *app) error {
	ctx, _, stop := untilSignalled(a.ctx)
	defer stop()
	return server.RunTesting(ctx, server.TestingOptions{
		GRPC: c.GRPC, HTTP: c.HTTP, Log: c.logger(a),
		Listening: func(grpc, gateway string) {
			fmt.Fprintf(a.stdout, "permissions in memory by gRPC on %s", grpc)
			if gateway != "" {
				fmt.Fprintf(a.stdout, ", by HTTP on %s", gateway)
			}
			fmt.Fprintln(a.stdout, "; each key opens a store of its own")
		},
	})
}
