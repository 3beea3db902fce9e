#!/usr/bin/env bash
# Runs every fuzz target for a short while (THALWEG_FUZZ_SECONDS each, 30 unless set).
#
#   scripts/fuzz.sh [TARGET…]
#
# Inputs that are kept stand in fuzz/seeds/TARGET; what a run finds besides goes to
# fuzz/corpus/TARGET, and what breaks to fuzz/artifacts/. Coverage guides the search; there is no
# sanitizer, for the code has no unsafe, so any compiler will do. Needs cargo-fuzz, which
# scripts/setup.sh --test brings. The last line is `N fuzz targets, nothing found`.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SECONDS_EACH=${THALWEG_FUZZ_SECONDS:-30}

pick_host_rust
[[ $HOST_RUST != none ]] || die "$HOST_RUST_WORDS" 'make setup'
PATH=$PATH:$CARGO_FUZZ/bin
cargo fuzz --version >/dev/null 2>&1 || die 'cargo-fuzz is not installed' 'make setup'

cd "$ROOT"
# Stable compilers instrument when told to bootstrap.
export RUSTC_BOOTSTRAP=1
targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(cargo fuzz list)
cargo fuzz build --sanitizer none
failed=()
for target in "${targets[@]}"; do
    say "$BOLD== fuzz $target, $SECONDS_EACH s$PLAIN"
    mkdir -p "fuzz/corpus/$target" "fuzz/seeds/$target"
    cargo fuzz run --sanitizer none "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time="$SECONDS_EACH" -timeout=10 -print_final_stats=1 </dev/null || failed+=("$target")
done
((${#failed[@]} == 0)) || die "found something: ${failed[*]}" \
    'the input is in fuzz/artifacts/; repeat with: RUSTC_BOOTSTRAP=1 cargo fuzz run -s none TARGET FILE'
say "${#targets[@]} fuzz targets, nothing found"
