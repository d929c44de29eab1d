package cli

import "github.com/tidemarkdb/tidemark/internal/demo"

type demoCmd struct {
	LogLevel string  `enum:"debug,info,warn,error" default:"warn" help:"Least level that the server logs: debug, info, warn or error."`
	Check    bool    `help:"Read, write and read again at every level, compare with Postgres, and exit."`
	Install  bool    `help:"Install Postgres where there is none."`
	Rate     float64 `default:"5" placeholder:"N" help:"Transactions a second that the writer makes."`
}

func (c *demoCmd) Run(a *app) error {
	ctx, _, stop := untilSignalled(a.ctx)
	defer stop()
	return demo.Run(ctx, demo.Options{
		Serve: serve, Check: c.Check, Install: c.Install, Rate: c.Rate, Stdout: a.stdout,
		Logger: (&logFlags{LogLevel: c.LogLevel}).logger(a),
	})
}
