# Everything that a person or CI does here; CI calls the same targets. `make help` lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# Tools that scripts/ensure-tools.sh had to install; what the machine has comes first.
CACHE := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)
export PATH := $(PATH):$(CACHE)/nsl/tools/bin

##@ Use

.PHONY: run
run: ## start everything on a local PostgreSQL, installed when absent (ARGS="--port 8081")
	@scripts/ensure-postgres.sh
	cargo run -p nsl -- up $(ARGS)

.PHONY: build
build: ## compile the workspace for development
	cargo build --workspace

.PHONY: release
release: ## compile the nsl binary for production: target/release/nsl
	cargo build --release --locked -p nsl

.PHONY: doc
doc: ## the API documentation of our crates: target/doc
	cargo doc --workspace --no-deps

.PHONY: clean
clean: ## remove what was compiled; the data of `make run` in .nsl stays
	cargo clean

##@ Check

.PHONY: check
check: ## format, lints, dependencies' licences and sources, the rules of the house
	cargo fmt --all --check
	scripts/check-files.sh
	scripts/check-sql.sh
	scripts/check-shell.sh
	@scripts/ensure-tools.sh deny
	cargo deny --locked check --hide-inclusion-graph bans licenses sources
	cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: audit
audit: ## known vulnerabilities in dependencies (fetches the advisory database: needs the network)
	@scripts/ensure-tools.sh deny
	cargo deny --locked check advisories

##@ Test

.PHONY: test
test: ## every test that a change needs, on a local PostgreSQL (ARGS="-p nsl-core")
	@scripts/ensure-postgres.sh
	@scripts/ensure-tools.sh nextest || echo "cargo-nextest could not be installed: running cargo test"
	@if command -v cargo-nextest >/dev/null; \
	then set -x; cargo nextest run --locked $(or $(ARGS),--workspace); \
	else set -x; cargo test --locked $(or $(ARGS),--workspace); \
	fi

.PHONY: test-db-stop
test-db-stop: ## stop the test server, which outlives a run, and remove its databases
	cargo run -q -p nsl-testkit --bin stop

.PHONY: test-postgres
POSTGRES ?= 15 16 17 18
test-postgres: ## the tests that meet the server, on each PostgreSQL major (POSTGRES="15 18")
	@scripts/ensure-tools.sh nextest
	scripts/test-postgres.sh $(POSTGRES)

.PHONY: test-kill
ROUNDS ?= 20
test-kill: ## kill the running service at random moments and look for lost or invented data (ROUNDS=20)
	@scripts/ensure-postgres.sh
	@scripts/ensure-tools.sh nextest
	NSL_KILL_ROUNDS=$(ROUNDS) cargo nextest run --locked -p nsl --test it kill

.PHONY: test-chains
test-chains: ## the chains (N3, EVM): nsl-chain and wallet sign-in against wallets from npm and PyPI, tokens against PyJWT
	@scripts/ensure-tools.sh nextest || echo "cargo-nextest could not be installed: running cargo test"
	@wallets=$$(scripts/fetch-wallets.sh); export NSL_FOREIGN_WALLETS=$$wallets; \
	if command -v cargo-nextest >/dev/null; \
	then set -x; cargo nextest run --locked --workspace --run-ignored all \
	  -E 'package(nsl-chain) or (package(nsl-auth) or package(nsl)) and test(foreign_)'; \
	else set -x; cargo test --locked -p nsl-chain -- --include-ignored; \
	  cargo test --locked -p nsl-auth -p nsl --test it foreign_ -- --include-ignored; \
	fi

##@ Measure

BENCH := $(or $(CARGO_TARGET_DIR),target)/release/nsl-bench

.PHONY: bench-auth
bench-auth: ## what a credential adds to a request; logins by password beside raw Argon2id (ARGS="--seconds 10 --json")
	@scripts/ensure-postgres.sh
	cargo build --release --locked -p nsl -p nsl-bench
	$(BENCH) auth $(ARGS)

.PHONY: bench-path
bench-path: ## the commit path in process, without HTTP, beside pgbench on the same tables (ARGS="--seconds 10 --json")
	@scripts/ensure-postgres.sh
	cargo build --release --locked -p nsl -p nsl-bench
	$(BENCH) path $(ARGS)

.PHONY: bench-sgx
bench-sgx: ## sealed puts and gets over HTTP beside OpenBao and pgbench on the same server (ARGS="--peer none --json")
	@scripts/ensure-postgres.sh
	cargo build --release --locked -p nsl -p nsl-bench
ifeq ($(findstring --peer none,$(ARGS)),)
	@openbao=$$(scripts/fetch-openbao.sh); export NSL_OPENBAO=$$openbao; set -x; $(BENCH) sgx $(ARGS)
else
	$(BENCH) sgx $(ARGS)
endif

.PHONY: bench-sgx-scale
bench-sgx-scale: ## sealed storage with a million items beside ten thousand (ARGS="--items 10000000 --dir /mnt --json")
	@scripts/ensure-postgres.sh
	cargo build --release --locked -p nsl -p nsl-bench
	$(BENCH) scale $(ARGS)

.PHONY: bench-sgx-stream
bench-sgx-stream: ## values of 64 MiB in and out over HTTP beside COPY of the same chunks (ARGS="--rounds 5 --json")
	@scripts/ensure-postgres.sh
	cargo build --release --locked -p nsl -p nsl-bench
	$(BENCH) stream $(ARGS)

.PHONY: bench-start
bench-start: ## start on an existing directory to healthy, and resident memory when idle (ARGS="--runs 10")
	@scripts/ensure-postgres.sh
	cargo build --release --locked -p nsl -p nsl-bench
	$(BENCH) start $(ARGS)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^##@/ { printf "%s%s\n", n++ ? "\n" : "", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
