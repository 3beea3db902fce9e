#!/usr/bin/env bash
# Brings a bare Debian machine to where `make demo`, `make test` or `make bench` can run.
#
#   scripts/setup.sh [--demo] [--test] [--kernels] [--bench]
#
# Runs as often as you like: what is there is left alone, and when nothing is missing it
# neither needs root nor calls apt. On other distributions it names what is missing.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/kernels.sh
source "$ROOT/scripts/kernels.sh"

# Each line: package, then what shows that it is here (a command or an absolute path).
# Looking for the thing instead of the package keeps this right on other distributions.
BASE='
gcc             gcc
libc6-dev       /usr/include/stdio.h
make            make
iproute2        ip
ca-certificates /etc/ssl/certs
'
DEMO='
iputils-ping    ping
ethtool         ethtool
iperf3          iperf3
traceroute      traceroute
'
TEST='
iputils-ping    ping
nftables        nft
ethtool         ethtool
g++             g++
frr             /usr/lib/frr/zebra
'
BENCH='
iputils-ping    ping
nftables        nft
iptables        iptables-restore
ipset           ipset
ethtool         ethtool
frr             /usr/lib/frr/zebra
'

usage() {
    sed -n '2,/^set /{s/^# \{0,1\}//;/^set /d;p}' "${BASH_SOURCE[0]}"
    exit "${1:-0}"
}

NEEDS=$BASE WANT_KERNELS=no WANT_LINT=no WANT_FUZZ=no
for flag in "$@"; do
    case $flag in
        --demo)    NEEDS+=$DEMO ;;
        --test)    NEEDS+=$TEST WANT_LINT=yes WANT_FUZZ=yes ;;
        --bench)   NEEDS+=$BENCH ;;
        --kernels) WANT_KERNELS=yes ;;
        -h|--help) usage ;;
        *) warn "unknown option $flag"; usage 2 ;;
    esac
done

# --- progress ------------------------------------------------------------------------------

STEP=0 STEPS=4
[[ $WANT_FUZZ == no ]] || STEPS=$((STEPS + 1))
[[ $WANT_KERNELS == no ]] || STEPS=$((STEPS + 1 + ${#KERNEL_LINES[@]}))
LOG=''
begin() { STEP=$((STEP + 1)) STARTED=$SECONDS; printf '[%d/%d] %s … ' "$STEP" "$STEPS" "$1"; }
found() { printf '%s\n' "$1"; }
ended() { printf '%sdone%s (%d s)\n' "$GREEN" "$PLAIN" $((SECONDS - STARTED)); }

# quietly WHAT REMEDY COMMAND…: output goes to a log that is shown only when it fails.
quietly() {
    local what=$1 remedy=$2
    shift 2
    [[ -n $LOG ]] || LOG=$(mktemp "${TMPDIR:-/tmp}/thalweg-setup.XXXXXX")
    if ! "$@" >"$LOG" 2>&1 </dev/null; then
        printf '%sfailed%s\n' "$RED" "$PLAIN"
        tail -n 30 "$LOG" | sed 's/^/    /' >&2
        die "$what (whole output: $LOG)" "$remedy"
    fi
}
trap '[[ -z $LOG || $? -ne 0 ]] || rm -f "$LOG"' EXIT

# --- Debian packages -----------------------------------------------------------------------

present() {
    case $1 in
        /*) [[ -e $1 ]] ;;
        # Root's tools may be outside an ordinary user's PATH.
        *) have "$1" || [[ -x /usr/sbin/$1 || -x /sbin/$1 ]] ;;
    esac
}

MISSING=()
want() {
    local package probe
    while read -r package probe; do
        [[ -z $package ]] && continue
        present "$probe" || [[ " ${MISSING[*]-} " == *" $package "* ]] || MISSING+=("$package")
    done <<<"$1"
}

want_rust() {
    [[ $HOST_RUST != none ]] || want $'rustc-web /nowhere\ncargo-web /nowhere'
    [[ $BPF_RUST != none ]] ||
        want $'rustc-web /nowhere\ncargo-web /nowhere\nrust-web-src /nowhere'
    # rustup brings its own; Debian's compiler has them in packages. They are no reason to ask
    # for root: tests do without and say so.
    if [[ $WANT_LINT == yes && $HOST_RUST != path && $(id -u) == 0 ]]; then
        want $'rustfmt-web cargo-fmt\nrust-web-clippy cargo-clippy'
    fi
}

want_llvm() {
    [[ $BPF_RUST == debian && ! -x $(bpf_linker_path) ]] || return 0
    # The linker must be built against the LLVM this compiler writes bitcode with.
    want "llvm-$BPF_LLVM-dev /usr/lib/llvm-$BPF_LLVM/include"$'\n''g++ g++'
}

need_apt() {
    have apt-get && [[ $(id -u) == 0 ]] && return
    found "${RED}not possible$PLAIN"
    have apt-get || die "this is not a Debian system, and these are missing: ${MISSING[*]}" \
        "install what your distribution calls them (Rust: rustup toolchain install nightly --component rust-src)" \
        "$0 $FLAGS"
    die "missing Debian packages: ${MISSING[*]}; installing them needs root" \
        "sudo $0 $FLAGS" "sudo apt-get install --no-install-recommends ${MISSING[*]}"
}
FLAGS=$*

apt_get() {
    # --no-install-recommends: half the packages, half the time. The lock wait is for machines
    # that are just booting and run apt on their own.
    DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@"
}

APT_FRESH=no
install_missing() {
    ((${#MISSING[@]})) || return 0
    need_apt
    if [[ $APT_FRESH == no ]]; then
        quietly "apt-get update failed" "check the network and /etc/apt/sources.list*, then run this again" \
            apt_get update
        APT_FRESH=yes
    fi
    local remedy="apt-get install ${MISSING[*]}"
    # Not every release of Debian has a Rust as new as this.
    [[ ${MISSING[*]} != *-web* ]] ||
        remedy="install Rust by rustup (https://rustup.rs) with: rustup toolchain install nightly --component rust-src"
    quietly "apt-get could not install ${MISSING[*]}" "$remedy" \
        apt_get install -y --no-install-recommends "${MISSING[@]}"
    hash -r
    MISSING=()
}

# --- bpf-linker ----------------------------------------------------------------------------

# rustup's nightly carries a libLLVM to link with, but under a versioned name only.
nightly_llvm() {
    local prefix=$1 library
    library=$(find "$(dirname "$BPF_RUSTC")/../lib" -maxdepth 1 -name 'libLLVM.so.*' | head -n 1)
    [[ -n $library ]] || return 1
    mkdir -p "$prefix/lib"
    ln -sf "$(realpath "$library")" "$prefix/lib/libLLVM.so"
    ln -sf "$(realpath "$library")" "$prefix/lib/$(basename "$library")"
}

build_bpf_linker() {
    local to=$1 work prefix=/usr/lib/llvm-$BPF_LLVM
    work=$CACHE/build-bpf-linker.$$
    mkdir -p "$work" "$(dirname "$to")"
    if [[ ! -d $prefix/include ]]; then
        prefix=$to.llvm
        nightly_llvm "$prefix" || die "no LLVM $BPF_LLVM to build bpf-linker with" \
            "apt-get install llvm-$BPF_LLVM-dev"
    fi
    # A target folder of its own, or the project's would hold hundreds of megabytes more.
    if env "LLVM_PREFIX=$prefix" "PATH=$prefix/bin:$PATH" "RUSTFLAGS=-L $prefix/lib" \
        "CARGO_TARGET_DIR=$work/target" \
        cargo install bpf-linker --version "$BPF_LINKER_VERSION" --locked --root "$work/out" \
        --no-default-features --features "llvm-$BPF_LLVM"; then
        mv "$work/out/bin/bpf-linker" "$to"
        rm -rf "$work"
    else
        rm -rf "$work"
        return 1
    fi
}

# --- cargo-fuzz ----------------------------------------------------------------------------

build_cargo_fuzz() {
    local work=$CACHE/build-cargo-fuzz.$$ status=0
    mkdir -p "$work"
    env "CARGO_TARGET_DIR=$work/target" cargo install cargo-fuzz \
        --version "$CARGO_FUZZ_VERSION" --locked --root "$work/out" || status=$?
    [[ $status != 0 ]] || { rm -rf "$CARGO_FUZZ"; mv "$work/out" "$CARGO_FUZZ"; }
    rm -rf "$work"
    return "$status"
}

setup_fuzz() {
    begin "cargo-fuzz $CARGO_FUZZ_VERSION"
    if [[ -x $CARGO_FUZZ/bin/cargo-fuzz ]]; then
        found "kept in $CARGO_FUZZ"
    elif cargo fuzz --version >/dev/null 2>&1; then
        found "$(cargo fuzz --version)"
    else
        quietly 'cargo-fuzz did not build' 'check the network, then run this again' build_cargo_fuzz
        ended
    fi
}

# --- kernels to test on --------------------------------------------------------------------

# fetched WHAT COMMAND…: one try with apt's lists as they are, one with fresh ones.
fetched() {
    local what=$1
    shift
    if ! have apt-get || ! have dpkg-deb; then
        found 'skipped'
        die "$what comes as Debian packages, and there is no apt here"
    fi
    if [[ $(uname -m) != x86_64 ]]; then
        found 'skipped'
        die "$what is for x86-64, and this is $(uname -m)"
    fi
    LOG=${LOG:-$(mktemp "${TMPDIR:-/tmp}/thalweg-setup.XXXXXX")}
    if ! in_work "$@" >"$LOG" 2>&1 </dev/null; then
        if [[ $APT_FRESH == no && $(id -u) == 0 ]]; then
            APT_FRESH=yes
            apt_get update >"$LOG" 2>&1 || true
        fi
        quietly "$what could not be fetched" "apt-get update (as root), then: $0 --kernels" in_work "$@"
    fi
}

setup_kernels() {
    local line
    begin 'QEMU and busybox'
    if has_tools; then
        found "kept in $TOOLS"
    else
        fetched QEMU unpack_tools
        ended
    fi
    for line in "${KERNEL_LINES[@]}"; do
        begin "Linux $line"
        if has_kernel "$line"; then
            found "$(<"$KERNEL_CACHE/$line/release")"
        else
            fetched "Linux $line" unpack_kernel "$line"
            ended
        fi
    done
}

# --- the steps -----------------------------------------------------------------------------

pick_host_rust
begin 'Rust for this machine'
if [[ $HOST_RUST == none ]]; then found "$HOST_RUST_WORDS: taking Debian's"; else found "$HOST_RUST_WORDS"; fi

pick_bpf_rust
begin 'Rust for eBPF'
if [[ $BPF_RUST == none ]]; then found "$BPF_RUST_WORDS: taking Debian's"; else found "$BPF_RUST_WORDS"; fi

want "$NEEDS"
want_rust
want_llvm
if ((${#MISSING[@]})); then
    begin "Debian packages: ${MISSING[*]}"
    install_missing
    [[ $HOST_RUST != none ]] || pick_host_rust
    if [[ $BPF_RUST == none ]]; then
        pick_bpf_rust
        # Which LLVM it takes is known only now.
        [[ $BPF_RUST == none ]] || want_llvm
        ((${#MISSING[@]} == 0)) || printf '%s … ' "${MISSING[*]}"
        install_missing
    fi
    ended
    [[ $HOST_RUST != none ]] || die "still $HOST_RUST_WORDS after installing Debian's packages" \
        "install Rust by rustup (https://rustup.rs), then: $0 $FLAGS"
    [[ $BPF_RUST != none ]] || die "still $BPF_RUST_WORDS after installing Debian's packages" \
        "rustup toolchain install nightly --component rust-src" "$0 $FLAGS"
else
    begin 'Debian packages'
    found 'nothing missing'
fi

LINKER=$(bpf_linker_path)
if [[ -x $LINKER ]]; then
    begin "bpf-linker $BPF_LINKER_VERSION"
    found "kept in ${LINKER%/*}"
else
    begin "bpf-linker $BPF_LINKER_VERSION for LLVM $BPF_LLVM (once, about a minute)"
    quietly "bpf-linker $BPF_LINKER_VERSION did not build" "check the network, then run: $0 $FLAGS" \
        build_bpf_linker "$LINKER"
    ended
fi

[[ $WANT_FUZZ == no ]] || setup_fuzz
[[ $WANT_KERNELS == no ]] || setup_kernels
