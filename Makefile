# Two commands do everything on a fresh Debian or Ubuntu machine with Rust and Go: `make demo` and `make test`.
# Both say what they install, and are quick the second time.

SHELL := /bin/bash
NAME ?= lifeboat
CARGO ?= cargo
HARNESS = $(CARGO) run -q -p lifeboat-tests --bin lifeboat-harness --

# The machine's own kind, named, so that what is static is the program and not what builds it.
TARGET ?= $(shell rustc -vV | sed -n 's/^host: //p')
BUILT = $(or $(CARGO_TARGET_DIR),target)
IMAGE ?= localhost/lifeboat-agent:$(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)

.PHONY: demo test check bench image deb man peers bench-peers node-peers packages node-packages python cluster cluster-down s3 s3-down build fuzz clean-peers help

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | sort | column -t -s "$$(printf '\t')"

demo: packages node-packages node-peers build ## lose a cluster and its backups' primary, restore it from the vault, compare every object
	tests/demo.sh

test: packages node-packages node-peers python check build ## everything that is tested, on real clusters, nodes and S3 servers
	$(CARGO) test --workspace --no-fail-fast

check: ## formatting, lints with warnings denied, licenses and bans
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	tests/deny.sh

bench: packages bench-peers ## figures beside those of plain clients and of other tools, in one run
	tests/bench.sh

image: packages ## the agent's container image, as an OCI archive, and what is in it: make image [IMAGE=registry.example.org/lifeboat-agent:1]
	RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$(CURDIR)=/lifeboat --remap-path-prefix=$${CARGO_HOME:-$$HOME/.cargo}=/cargo" \
	  $(CARGO) build --release --locked --target $(TARGET) -p lifeboat-agent
	$(CARGO) run -q -p lifeboat-tests --bin lifeboat-image -- --binary $(BUILT)/$(TARGET)/release/lifeboat-agent \
	  --out $(BUILT)/lifeboat-agent.oci.tar --reference $(IMAGE) $(addprefix --revision ,$(shell git rev-parse HEAD 2>/dev/null))

deb: packages ## the Debian package of the replicator's host: programs, units, examples, manual pages, completions
	RUSTFLAGS="--remap-path-prefix=$(CURDIR)=/lifeboat --remap-path-prefix=$${CARGO_HOME:-$$HOME/.cargo}=/cargo" \
	  $(CARGO) build --release --locked -p lifeboat-replicator -p lifeboat-cli
	packaging/deb.sh $(BUILT)/release $(BUILT)

man: build ## manual pages of both commands, into target/man
	$(BUILT)/debug/lifeboat man $(BUILT)/man && $(BUILT)/debug/lifeboat-replicator man $(BUILT)/man

build: ## the programs, and the harness
	$(CARGO) build -p lifeboat-agent -p lifeboat-replicator -p lifeboat-cli -p lifeboat-tests

peers: ## etcd, Kubernetes and an S3 server, built once per version into the cache folder
	tests/peers/build.sh

bench-peers: ## the other backup tools that the benchmark runs (restic, kopia, rustic), built once per version
	BENCH=1 tests/peers/build.sh

packages: ## Debian packages that build and tests need (a C compiler, git, Python's venv, systemd-nspawn, rsync and tools for attributes)
	tests/peers/packages.sh build-essential git python3 python3-venv ca-certificates openssl util-linux systemd-container rsync attr acl libcap2-bin

node-peers: ## the same, and what a node runs
	NODE=1 tests/peers/build.sh

node-packages: ## Debian packages that a node needs
	NODE=1 tests/peers/packages.sh containerd runc containernetworking-plugins iptables conntrack socat ethtool busybox-static iproute2 libfaketime redis-tools

python: ## a Python environment for the independent reader, in the cache folder
	tests/peers/python.sh >/dev/null

cluster: $(if $(NODE),node-packages node-peers,peers) ## leaves a cluster running: make cluster [NAME=x] [NODE=1]; the last lines are KUBECONFIG= and KUBECTL=
	@$(HARNESS) up --name $(NAME) $(if $(NODE),--node)

cluster-down: ## ends it: make cluster-down [NAME=x]
	@$(HARNESS) down --name $(NAME)

s3: peers ## leaves an S3 server running: make s3 [NAME=x]
	@$(HARNESS) s3 up --name $(NAME)

s3-down: ## ends it
	@$(HARNESS) s3 down --name $(NAME)

fuzz: ## every fuzz target for a minute each (needs nightly and cargo-fuzz)
	cd fuzz && for t in $$($(CARGO) +nightly fuzz list); do $(CARGO) +nightly fuzz run $$t -- -max_total_time=60 || exit 1; done
