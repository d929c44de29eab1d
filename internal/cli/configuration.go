package cli

import (
	"fmt"
	"reflect"

	"github.com/tidemarkdb/tidemark/internal/config"
)

// configFlags are the flags of every command that reads the configuration.
type configFlags struct {
	Config   string       `short:"c" placeholder:"FILE" help:"Configuration file (TIDEMARK_CONFIG; tidemark.yaml where there is one)."`
	Settings settingFlags `embed:"" group:"Settings, over those of the file:"`
}

// settingFlags has one flag for each of config.Keys, nil when it is not given.
type settingFlags struct {
	Database    *string `name:"database" placeholder:"URL" help:"Postgres connection string (DATABASE_URL)."`
	Endpoints   *string `name:"endpoints" placeholder:"DIR" help:"Folder of endpoint files (./endpoints)."`
	HTTP        *string `name:"listen.http" placeholder:"ADDR" help:"Where answers are served (127.0.0.1:8080)."`
	Admin       *string `name:"listen.admin" placeholder:"ADDR" help:"Where status, metrics and commands are served (127.0.0.1:8081)."`
	GRPC        *string `name:"listen.grpc" placeholder:"ADDR" help:"Where permissions are served by gRPC, such as 127.0.0.1:50051; empty: they are off."`
	Gateway     *string `name:"listen.grpc-gateway" placeholder:"ADDR" help:"Where permissions are served as HTTP and JSON, such as 127.0.0.1:8443; empty: they are not."`
	TLSCert     *string `name:"listen.tls-cert" placeholder:"FILE" help:"Certificate of all listeners but the admin one."`
	TLSKey      *string `name:"listen.tls-key" placeholder:"FILE" help:"Its key."`
	Slot        *string `name:"slot" placeholder:"NAME" help:"Replication slot (tidemark)."`
	Publication *string `name:"publication" placeholder:"NAME" help:"Publication (tidemark)."`
	Identity    *string `name:"replica-identity" placeholder:"KIND" help:"What init gives to the tables that endpoints read. full: replica identity FULL, so that an update drops just the answers that it touches; keep: FULL only without a usable identity (full)."`
	Wait        *string `name:"consistency.wait-timeout" placeholder:"TIME" help:"How long a request waits for what it asked for (5s)."`
	Staleness   *string `name:"consistency.max-staleness" placeholder:"TIME" help:"How old an answer may be served while it is refilled (0s)."`
	GCWindow    *string `name:"consistency.gc-window" placeholder:"TIME" help:"How long exact snapshots are kept (60s)."`
	Quantum     *string `name:"consistency.revision-quantization-interval" placeholder:"TIME" help:"How far apart pinned snapshots are (5s)."`
	MaxMemory   *string `name:"cache.max-memory" placeholder:"SIZE" help:"Memory for answers (512MiB)."`
	TTL         *string `name:"cache.ttl" placeholder:"TIME" help:"How long an answer is kept at most (24h)."`
	Connections *string `name:"fill.max-connections" placeholder:"N" help:"Connections that compute answers (8)."`
	Statement   *string `name:"fill.statement-timeout" placeholder:"TIME" help:"How long one query may run (10s)."`
	Queue       *string `name:"fill.queue" placeholder:"N" help:"Answers that may wait to be computed (10000)."`
	Batch       *string `name:"fill.batch" placeholder:"N" help:"Answers that one query may compute (100)."`
	Refill      *string `name:"fill.refill" placeholder:"BOOL" help:"Compute answers that are read often again before anybody asks (true)."`
	Audits      *string `name:"audit.per-minute" placeholder:"N" help:"Answers compared with the database in the background (60)."`
	Keys        *string `name:"permissions.keys" placeholder:"KEYS" help:"Bearer tokens that open permissions, with commas in between; better in the file or a variable."`
	Mapping     *string `name:"permissions.mapping" placeholder:"FILE" help:"Which rows of your tables are relationships."`
	Writers     *string `name:"permissions.connections" placeholder:"N" help:"Connections that write relationships (8)."`
	LiveDir     *string `name:"live.dir" placeholder:"DIR" help:"Folder of what followers need after a restart (./tidemark-data)."`
	LiveTables  *string `name:"live.tables" placeholder:"FILE" help:"Which tables may be followed; without it, only endpoints may."`
	LiveLog     *string `name:"live.max-log" placeholder:"SIZE" help:"Disk for the changes of these tables (1GiB)."`
	LiveChunk   *string `name:"live.chunk-size" placeholder:"SIZE" help:"About how much one response to a follower holds (10KB)."`
	LiveDelete  *string `name:"live.allow-delete" placeholder:"BOOL" help:"Let clients end shapes (false)."`
	LiveSecrets *string `name:"live.secrets" placeholder:"SECRETS" help:"What opens everything to a follower, with commas in between; better in the file or a variable."`
	LiveKey     *string `name:"live.account-key" placeholder:"KEY" help:"Key of the tokens that bind a follower to an account; better in the file or a variable."`
}

// given returns the flags of the command line by name.
func (f *settingFlags) given() map[string]string {
	given := make(map[string]string)
	v := reflect.ValueOf(*f)
	for i := range v.NumField() {
		if text := v.Field(i).Interface().(*string); text != nil {
			given[v.Type().Field(i).Tag.Get("name")] = *text
		}
	}
	return given
}

// load reads the configuration with the flags on top.
func (f *configFlags) load(a *app) (*config.Config, error) {
	c, err := config.Load(config.Input{File: f.Config, Flags: f.Settings.given(), Environ: a.environ})
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return c, nil
}
