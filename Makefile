# Two commands matter: `make up` and `make test`. All of them work on a Debian with only Rust;
# the scripts behind them are in ops/.

PREFIX ?= $(HOME)/.local
NAME ?= default
N ?= 5
ARGS ?=
export PREFIX NAME N ETCD FEATURES

.PHONY: install up down ops test dashboards soak museum fuzz watch-tests clients bench
.PHONY: otel bench-housekeeping docs help

install: ## Build in release mode (FEATURES=otel); install the programs under PREFIX (~/.local)
	@bash ops/install.sh

up: ## Start five nodes (N=5) with sample data, and show what to try next
	@bash ops/up.sh

ops: ## Prometheus beside them, with alerts and dashboards (ARGS="--windows short")
	@bash ops/ops.sh $(ARGS)

down: ## Stop them; their data stays
	@bash ops/down.sh

test: ## Everything that must pass: format, lints, docs, all tests
	@bash ops/test.sh

dashboards: ## Hold the dashboards against the types that Grafana publishes
	@bash ops/dashboards.sh

soak: ## Simulated lives by the ten thousand, every bug of the museum, the spec, fuzzing (SEEDS=20000 FROM=0)
	@bash ops/soak.sh

museum: ## Bugs of the museum in living nodes: kvctl verify must catch each within ten minutes (BUGS="…")
	@bash ops/museum.sh

fuzz: ## Strangers' bytes for every decoder and for the core (SECONDS_EACH=60, TARGETS="raft_step …")
	@bash ops/fuzz.sh

watch-tests: ## Run the tests again on every change
	@bash ops/watch-tests.sh

clients: ## Run other languages' etcd clients, from their registries, against a cluster
	@bash ops/clients.sh

otel: ## The path of a request, told to a collector of OpenTelemetry: its lints and tests
	@bash ops/otel.sh

bench: ## Measure against etcd, side by side (ARGS="--members 3 --seconds 5"; ARGS=--help lists all)
	@bash ops/bench.sh $(ARGS)

bench-housekeeping: ## What snapshots and followers that come back cost (ARGS=--help lists all)
	@KVRAFT_COMMIT= cargo bench --locked --bench housekeeping -- $(ARGS)

docs: ## Build the documentation and say where it is
	@bash ops/docs.sh

help: ## This list
	@awk -F ': ## ' '/^[a-z-]+: ## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
