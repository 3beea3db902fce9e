#!/usr/bin/env bash
# Runs cargo of the tool chain that scripts/setup.sh chose for this machine:
#
#   scripts/cargo.sh build --release
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
pick_host_rust
[[ $HOST_RUST != none ]] || die "$HOST_RUST_WORDS here" 'make setup' 'or install Rust by rustup (https://rustup.rs)'
exec cargo "$@"
