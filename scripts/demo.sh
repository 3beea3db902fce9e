#!/usr/bin/env bash
# A small network in namespaces of this machine, forwarded by Thalweg: shown step by step.
#
#   scripts/demo.sh          show everything, take it away again
#   scripts/demo.sh --lab    build the network, leave it standing, say what to try
#   scripts/demo.sh --down   take the network of --lab away
#
#   h1 ──── r1 ──── r2 ──── r3 ──── h2
#
# Needs root. THALWEG names the binary (target/release/thalweg unless given). Ends with 0 if
# every step went as it says, and with 1 and the step that did not, otherwise.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/lab/network.sh
source "$ROOT/scripts/lab/network.sh"
# shellcheck source=scripts/lab/steps.sh
source "$ROOT/scripts/lab/steps.sh"

usage() {
    sed -n '2,/^set /{s/^# \{0,1\}//;/^set /d;p}' "${BASH_SOURCE[0]}"
    exit "${1:-0}"
}

MODE=demo
case ${1-} in
    '') ;;
    --lab) MODE=lab ;;
    --down) MODE=down ;;
    -h|--help) usage ;;
    *) warn "unknown option $1"; usage 2 ;;
esac
MAKE_GOAL=$MODE

THALWEG=$(realpath -m "${THALWEG:-${CARGO_TARGET_DIR:-$ROOT/target}/release/thalweg}")
declare -A AGENT=()
exec 9>&2
LAB_MADE=() LAB_MOUNTED=no BACKGROUND=()

case $MODE in
    # Paths and names in what is shown stay short: agents run inside DIR and have a BPF file system
    # of their own.
    demo) LAB=thw-demo-$$ NAMED='' DIR='' SOCKETS=. FILES='' ;;
    # In /run/thalweg the command line finds the agents by their names alone.
    *) LAB=thw NAMED=thw- DIR=/run/thalweg-lab SOCKETS=/run/thalweg FILES=/run/thalweg-lab/ ;;
esac

# --- the end, however it comes -------------------------------------------------------------

finish() {
    local status=$?
    # Nothing may keep the rest from being taken away, nor send the last words elsewhere: a signal
    # is met in the middle of a command, with its redirections.
    set +e
    exec >&9 2>&9
    trap - EXIT
    trap '' INT TERM HUP
    if ((status != 0)) && [[ -n $STEP_TITLE ]]; then failed_at "$status"; fi
    [[ -z $DIR ]] || lab_down
    exit "$status"
}

take_down() {
    [[ $(id -u) == 0 ]] || die "taking the lab away needs root" "sudo $0 --down"
    if [[ ! -d $DIR ]]; then
        say "there is no lab ($DIR)"
        return 0
    fi
    agents_found
    local node
    mountpoint -q "$DIR/bpf" && LAB_MOUNTED=yes
    for node in "${LAB_NODES[@]}"; do
        if [[ -e /run/netns/$(ns "$node") ]]; then LAB_MADE+=("$(ns "$node")"); fi
    done
    lab_down || die "the lab did not go away" "ls $DIR; mount | grep $DIR; ip netns list"
    say "the lab is gone: agents, eBPF programs, namespaces and $DIR"
}

stand() {
    [[ ! -e $DIR ]] || die "the lab stands already, or was left unfinished ($DIR)" "$0 --down"
    trap finish EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    mkdir -m 700 "$DIR"
    mkdir -p "$SOCKETS"
    step_build
    step_agents
    trap - EXIT INT TERM HUP
    what_to_try
}

demo() {
    trap finish EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    DIR=$(mktemp -d "${TMPDIR:-/tmp}/thalweg-demo.XXXXXX")
    cd "$DIR"
    step_build
    step_agents
    step_pings
    step_transfers
    step_traces
    step_explain
    step_drops
    step_kill
    step_change
    step_throughput
    step_end
    trap - EXIT INT TERM HUP
    farewell
}

case $MODE in
    down) take_down ;;
    *) lab_preconditions; if [[ $MODE == lab ]]; then stand; else demo; fi ;;
esac
