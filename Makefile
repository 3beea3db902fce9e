# Thin names for the scripts; `make help` lists them. The scripts say how they do it.

CARGO := scripts/cargo.sh

.DEFAULT_GOAL := help
# The goals share one target folder and one apt: in parallel they would only wait for locks.
.NOTPARALLEL:
.PHONY: help setup setup-demo setup-bench bpf build demo lab test test-kernels bench fuzz nightly fmt lint doc clean

help: ## This list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)$$/\1\t\2/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r goal words; do printf '  make %-13s %s\n' "$$goal" "$$words"; done

setup: ## Bring the compilers and tools this machine lacks
	@scripts/setup.sh --demo --test

setup-demo:
	@scripts/setup.sh --demo

setup-bench:
	@scripts/setup.sh --bench

bpf: ## Build the eBPF program into target/bpf/
	@scripts/bpf.sh

build: setup-demo bpf ## Build everything, optimized
	$(CARGO) build --workspace --release

demo: setup-demo bpf ## Small networks in namespaces of this machine, forwarded by Thalweg
	$(CARGO) build --release -p thalweg-cli -p thalweg-lab
	@scripts/demo.sh

lab: setup-demo bpf ## A network of the demo, left standing to play with; make lab ACT=cluster or ACT=policies for another
	$(CARGO) build --release -p thalweg-cli -p thalweg-lab
	@scripts/demo.sh --lab $(ACT)

test: ## Every check and test, also under older kernels: what CI runs
	@scripts/test.sh

test-kernels: setup-demo bpf ## The journeys on eBPF under Linux 6.1 and 6.12 in QEMU
	@scripts/test-kernels.sh

bench: setup-bench bpf ## Measure against real peers; make bench ONLY=lpm4 for one of them
	$(CARGO) build --release -p thalweg-cli
	@scripts/next.sh --release
	$(CARGO) run --release -p thalweg-bench -- $(if $(ONLY),--only "$(ONLY)")

fuzz: bpf ## A short run of every fuzz target
	@scripts/fuzz.sh

nightly: bpf ## Policies against the oracle a million times over, and every fuzz target for ten minutes
	THALWEG_WORLDS=50000 $(CARGO) test --release -p thalweg-policy
	THALWEG_WORLDS=50000 $(CARGO) test --release -p thalweg-testkit --test policies --test host_tables
	@THALWEG_FUZZ_SECONDS=600 scripts/fuzz.sh

fmt: ## Format all code
	$(CARGO) fmt
	$(CARGO) fmt --manifest-path crates/thalweg-bpf/Cargo.toml
	$(CARGO) fmt --manifest-path crates/thalweg-bench-bpf/Cargo.toml

lint: bpf ## Clippy on all code, warnings are errors
	$(CARGO) clippy --workspace --all-targets -- -D warnings

doc: bpf ## Build the API documentation into target/doc/
	$(CARGO) doc --workspace --no-deps

clean: ## Remove everything that was built (tools and kernels stay in the cache)
	rm -rf target fuzz/target
