#!/usr/bin/env bash
# Everything that must hold before a change is good: what `make test` and .ci/run run.
#
# The last line is the result, `412 passed, 0 failed, 3 skipped`: tests of cargo and journeys
# under older kernels; a stage that is no test (formatting, lints) adds one to the failed when
# it fails. Whatever cannot run here is skipped with its reason. Logs: target/test/.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Keeps a test that hangs from hanging the machine that runs it.
TEST_TIMEOUT=${THALWEG_TEST_TIMEOUT:-1200}
LOGS=$ROOT/target/test
# Tests that cannot run append a line `skipped: why` here.
export THALWEG_SKIP_LOG=$LOGS/skipped.log

PASSED=0 FAILED=0 SKIPPED=0 BROKEN=()
cd "$ROOT"
mkdir -p "$LOGS"
: >"$THALWEG_SKIP_LOG"

# --- stages --------------------------------------------------------------------------------

# stage NAME COMMAND…: heading, output to the terminal and to target/test/NAME.log, time.
# Leaves the command's status in STATUS; the caller decides what it means.
stage() {
    local name=$1 started=$SECONDS word="${GREEN}ok$PLAIN"
    shift
    say ''
    say "$BOLD== $name$PLAIN"
    STATUS=0
    "$@" </dev/null 2>&1 | tee "$LOGS/${name// /-}.log" || STATUS=${PIPESTATUS[0]}
    [[ $STATUS == 0 ]] || word="${RED}FAILED$PLAIN"
    say "-- $name: $word ($((SECONDS - started)) s)"
}

broken() {
    FAILED=$((FAILED + 1))
    BROKEN+=("$1")
}

# must NAME COMMAND…: a stage that counts as one failure when it fails.
must() {
    stage "$@"
    [[ $STATUS == 0 ]] || broken "$1 (target/test/${1// /-}.log)"
}

skip() {
    say "${YELLOW}skipped: $1$PLAIN"
    printf 'skipped: %s\n' "$1" >>"$THALWEG_SKIP_LOG"
}

formatting() {
    if ! cargo fmt --version >/dev/null 2>&1; then
        skip 'formatting: no rustfmt for this tool chain (rustup component add rustfmt)'
        return
    fi
    # The second is no member of the workspace, so the first does not cover it.
    cargo fmt --check && cargo fmt --check --manifest-path crates/thalweg-bpf/Cargo.toml
}

lints() {
    if ! cargo clippy --version >/dev/null 2>&1; then
        skip 'lints: no clippy for this tool chain (rustup component add clippy)'
        return
    fi
    cargo clippy --workspace --all-targets -- -D warnings
}

tests() {
    # timeout leaves the terminal's process group, so Ctrl-C has to be passed on to it.
    timeout --kill-after=10 "$TEST_TIMEOUT" cargo test --workspace --no-fail-fast &
    # shellcheck disable=SC2064 # this process id, not a later one
    trap "kill $! 2>/dev/null" INT TERM
    wait $!
}

# The tests have built what runs there.
kernels() {
    local binary=${CARGO_TARGET_DIR:-$ROOT/target}/debug/thalweg-journeys
    if [[ -x $binary ]]; then scripts/test-kernels.sh --binary "$binary"; else scripts/test-kernels.sh; fi
}

dependencies() {
    if ! cargo deny --version >/dev/null 2>&1; then
        skip 'dependencies: cargo-deny is not installed (cargo install cargo-deny)'
        return
    fi
    # Advisories need the network and change without us, so they are not part of a test.
    # A crate that is allowed to use another and does not is no news.
    cargo deny check -A unused-wrapper bans licenses sources
}

# --- counts --------------------------------------------------------------------------------

count_tests() {
    local log=$LOGS/tests.log passed failed line
    read -r passed failed < <(awk '/^test result: /{p += $4; f += $6} END {print p + 0, f + 0}' "$log")
    PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed))
    # Ignored in the source: cargo prints `test NAME ... ignored, why`.
    sed -nE 's/^test (.*) \.\.\. ignored(, )?(.*)$/skipped: \1: marked #[ignore] \3/p' "$log" >>"$THALWEG_SKIP_LOG"
    if [[ $STATUS == 124 ]]; then
        broken "tests: not finished after $TEST_TIMEOUT s (THALWEG_TEST_TIMEOUT=SECONDS allows more)"
    elif [[ $STATUS != 0 && $failed == 0 ]]; then
        broken 'tests did not build or did not run (target/test/tests.log)'
    fi
    while IFS= read -r line; do BROKEN+=("$line"); done \
        < <(sed -nE 's/^test (.*) \.\.\. FAILED$/test \1/p' "$log")
}

count_kernels() {
    local log=$LOGS/kernels.log totals passed=0 failed=0 line
    totals=$(sed -n 's/^all kernels: //p' "$log" | tail -n 1)
    [[ -z $totals ]] || read -r passed _ failed _ <<<"$totals"
    PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed))
    [[ $STATUS == 0 || $failed != 0 ]] || broken 'kernels (target/test/kernels.log)'
    while IFS= read -r line; do BROKEN+=("$line"); done < <(sed -nE 's/^FAIL //p' "$log")
}

# finish: skipped lines with how often, what failed, and the closing line.
finish() {
    local line
    SKIPPED=$(wc -l <"$THALWEG_SKIP_LOG")
    say ''
    sort "$THALWEG_SKIP_LOG" | uniq -c | while read -r line; do say "${line%% *} × ${line#* }"; done
    for line in ${BROKEN[@]+"${BROKEN[@]}"}; do say "${RED}failed: $line$PLAIN"; done
    say "(all of it took $((SECONDS / 60)) min $((SECONDS % 60)) s; logs in target/test/)"
    say "$PASSED passed, $FAILED failed, $SKIPPED skipped"
    ((FAILED == 0)) && exit 0 || exit 1
}

# --- all of it -----------------------------------------------------------------------------

must setup scripts/setup.sh --test
# Without compilers nothing below can say anything of use.
[[ $STATUS == 0 ]] || finish
pick_host_rust
# Older kernels are fetched while compilers work; the stage that needs them says what went wrong.
scripts/setup.sh --kernels </dev/null >"$LOGS/kernels-setup.log" 2>&1 &
FETCHING=$!
must ebpf scripts/bpf.sh
must formatting formatting
must lints lints
must next scripts/next.sh
# A short search from the inputs that are kept; `make fuzz` searches longer.
export THALWEG_FUZZ_SECONDS=${THALWEG_FUZZ_SECONDS:-6}
must build cargo test --workspace --no-run
# Tests wait more than they work: what is left of processors builds the searches meanwhile.
nice -n 19 scripts/fuzz.sh --build </dev/null >"$LOGS/fuzz-build.log" 2>&1 &
BUILDING=$!
stage tests tests
count_tests
wait "$FETCHING" || true
stage kernels kernels
count_kernels
wait "$BUILDING" || true
must fuzzing scripts/fuzz.sh
must dependencies dependencies
finish
