#!/usr/bin/env bash
# Builds the program once more with another layout of its tables, for the tests of an upgrade
# between two versions: target/debug/examples/thalweg-next. They are skipped without it.
#
# Features are those of the whole workspace, so that everything below the tables is built once.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

pick_host_rust
cd "$ROOT"
scripts/bpf.sh crates/thalweg-bpf layout-next
cargo build --quiet --workspace --example thalweg-next --features thalweg-cli/layout-next
say 'next version: target/debug/examples/thalweg-next'
