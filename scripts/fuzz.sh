#!/usr/bin/env bash
# Runs every fuzz target for a short while (THALWEG_FUZZ_SECONDS each, 30 unless set).
#
#   scripts/fuzz.sh [TARGET…]
#
# Needs cargo-fuzz and a nightly compiler; without them it says so and is content, for a fuzz
# run is an extra and no gate.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SECONDS_EACH=${THALWEG_FUZZ_SECONDS:-30}

skip() {
    say "${YELLOW}skipped: $1$PLAIN"
    exit 0
}

pick_host_rust
[[ -f $ROOT/fuzz/Cargo.toml ]] || skip 'there are no fuzz targets (no fuzz/Cargo.toml)'
nightly=$(nightly_folder) || skip 'fuzzing needs a nightly compiler (rustup toolchain install nightly)'
cargo fuzz --version >/dev/null 2>&1 || skip 'cargo-fuzz is not installed (cargo install cargo-fuzz)'

cd "$ROOT"
PATH=$nightly/bin:$PATH
unset RUSTC RUSTDOC
targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(cargo fuzz list)
failed=()
for target in "${targets[@]}"; do
    say "$BOLD== fuzz $target, $SECONDS_EACH s$PLAIN"
    cargo fuzz run "$target" -- -max_total_time="$SECONDS_EACH" -timeout=10 </dev/null || failed+=("$target")
done
((${#failed[@]} == 0)) || die "found something: ${failed[*]}" "the input is in fuzz/artifacts/; repeat with: cargo +nightly fuzz run TARGET FILE"
say "${#targets[@]} fuzz targets, nothing found"
