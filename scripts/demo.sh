#!/usr/bin/env bash
# Small networks in namespaces of this machine, forwarded by Thalweg: shown step by step, in three acts.
#
#   scripts/demo.sh [ACT]          show everything, or one act, and take it away again
#   scripts/demo.sh --lab [ACT]    build the network of an act (routers), leave it standing, say what to try
#   scripts/demo.sh --down         take the network of --lab away
#
#   routers    h1 ──── r1 ──── r2 ──── r3 ──── h2
#   cluster    client ──── node1 ════ node2, with pods behind both
#   policies   a node with a shop, and an attacker
#
# Needs root. THALWEG names the binary (target/release/thalweg unless given), THALWEG_LAB the servers and
# clients of the other acts (target/release/thalweg-lab). Ends with 0 if every step went as it says, and
# with 1 and the step that did not, otherwise.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/lab/routers.sh
source "$ROOT/scripts/lab/routers.sh"
# shellcheck source=scripts/lab/cluster.sh
source "$ROOT/scripts/lab/cluster.sh"
# shellcheck source=scripts/lab/policies.sh
source "$ROOT/scripts/lab/policies.sh"
# shellcheck source=scripts/lab/network.sh
source "$ROOT/scripts/lab/network.sh"
# shellcheck source=scripts/lab/words.sh
source "$ROOT/scripts/lab/words.sh"
# shellcheck source=scripts/lab/routers-steps.sh
source "$ROOT/scripts/lab/routers-steps.sh"
# shellcheck source=scripts/lab/cluster-steps.sh
source "$ROOT/scripts/lab/cluster-steps.sh"
# shellcheck source=scripts/lab/policies-steps.sh
source "$ROOT/scripts/lab/policies-steps.sh"

usage() {
    sed -n '2,/^set /{s/^# \{0,1\}//;/^set /d;p}' "${BASH_SOURCE[0]}"
    exit "${1:-0}"
}

MODE=demo ACTS=()
for word in "$@"; do
    case $word in
        --lab) MODE=lab ;;
        --down) MODE=down ;;
        -h|--help) usage ;;
        routers|cluster|policies) ACTS=("$word") ;;
        *) warn "unknown word $word"; usage 2 ;;
    esac
done
MAKE_GOAL=$MODE
if ((${#ACTS[@]} == 0)); then
    ACTS=(routers)
    [[ $MODE != demo ]] || ACTS+=(cluster policies)
fi

BUILT=${CARGO_TARGET_DIR:-$ROOT/target}/release
THALWEG=$(realpath -m "${THALWEG:-$BUILT/thalweg}")
LAB_HELPER=$(realpath -m "${THALWEG_LAB:-$BUILT/thalweg-lab}")
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
    lab_every_network
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
    lab_network "${ACTS[0]}"
    "${ACTS[0]}_build"
    "${ACTS[0]}_agents"
    trap - EXIT INT TERM HUP
    "${ACTS[0]}_to_try"
}

demo() {
    local act part
    trap finish EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    for act in "${ACTS[@]}"; do
        lab_network "$act"
        DIR=$(mktemp -d "${TMPDIR:-/tmp}/thalweg-demo.XXXXXX")
        cd "$DIR"
        for part in $("${act}_steps"); do "${act}_$part"; done
    done
    trap - EXIT INT TERM HUP
    farewell
}

case $MODE in
    down) take_down ;;
    *) lab_preconditions; if [[ $MODE == lab ]]; then stand; else demo; fi ;;
esac
