#!/usr/bin/env bash
# Builds the program once more with another layout of its tables, for the tests of an upgrade
# between two versions: target/debug/thalweg-next. They are skipped without it.
#
#   scripts/next.sh [--release]        (with --release as the benchmark takes it)
#
# Features are those of the whole workspace, so that everything below the tables is built once.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

FOLDER=debug ARGUMENTS=(--workspace)
if [[ ${1:-} == --release ]]; then
    # `make bench` builds the program it measures so.
    FOLDER=release ARGUMENTS=(--release -p thalweg-cli)
fi

pick_host_rust
cd "$ROOT"
scripts/bpf.sh crates/thalweg-bpf layout-next
cargo build --quiet "${ARGUMENTS[@]}" --bin thalweg-next --features thalweg-cli/layout-next
say "next version: target/$FOLDER/thalweg-next"
