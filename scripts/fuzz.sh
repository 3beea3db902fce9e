#!/usr/bin/env bash
# Runs every fuzz target for a short while (THALWEG_FUZZ_SECONDS each, 30 unless set).
#
#   scripts/fuzz.sh [--build | TARGET…]
#
# With --build nothing is searched yet.
#
# Inputs that are kept stand in fuzz/seeds/TARGET; what a run finds besides goes to
# fuzz/corpus/TARGET, and what breaks to fuzz/artifacts/. Coverage guides the search; there is no
# sanitizer, for the code has no unsafe, so any compiler will do. Needs cargo-fuzz, which
# scripts/setup.sh --test brings. As many run at a time as there are processors. The last line is
# `N fuzz targets, nothing found`.
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
# A short search is over sooner than a compiler that works hard.
[[ $SECONDS_EACH -ge 30 ]] || export CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_DEBUG=0
build=false
[[ ${1:-} != --build ]] || { build=true; shift; }
targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(cargo fuzz list)
cargo fuzz build --sanitizer none
if $build; then exit 0; fi
logs=$ROOT/target/fuzz
mkdir -p "$logs"

# search TARGET: one search, its words in target/fuzz/TARGET.log.
search() {
    mkdir -p "fuzz/corpus/$1" "fuzz/seeds/$1"
    cargo fuzz run --sanitizer none "$1" "fuzz/corpus/$1" "fuzz/seeds/$1" -- \
        -max_total_time="$SECONDS_EACH" -timeout=10 -print_final_stats=1 </dev/null >"$logs/$1.log" 2>&1
}

# Each search uses one processor.
processors=$(nproc) failed=()
for ((at = 0; at < ${#targets[@]}; at += processors)); do
    batch=("${targets[@]:at:processors}") running=()
    for target in "${batch[@]}"; do
        search "$target" &
        running+=($!)
    done
    for each in "${!batch[@]}"; do
        wait "${running[each]}" || failed+=("${batch[each]}")
        say "$BOLD== fuzz ${batch[each]}, $SECONDS_EACH s$PLAIN"
        tail -n 40 "$logs/${batch[each]}.log"
    done
done
((${#failed[@]} == 0)) || die "found something: ${failed[*]} (target/fuzz/)" \
    'the input is in fuzz/artifacts/; repeat with: RUSTC_BOOTSTRAP=1 cargo fuzz run -s none TARGET FILE'
say "${#targets[@]} fuzz targets, nothing found"
