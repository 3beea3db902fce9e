# shellcheck shell=bash disable=SC2034
# What every script here shares: words for humans, and the choice of a Rust tool chain.
# Sourced, never run. The caller has already said `set -euo pipefail`.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${THALWEG_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/thalweg}
HOST_RUST_MINIMUM=1.88
BPF_LINKER_VERSION=0.13.0
CARGO_FUZZ_VERSION=0.13.2
# Where a cargo-fuzz of our own is kept, as cargo install lays it out.
CARGO_FUZZ=$CACHE/cargo-fuzz-$CARGO_FUZZ_VERSION

# rustup must not start downloads on its own while we only look.
export RUSTUP_AUTO_INSTALL=0

if [[ -t 1 ]]; then
    BOLD=$'\e[1m' RED=$'\e[31m' GREEN=$'\e[32m' YELLOW=$'\e[33m' PLAIN=$'\e[0m'
else
    BOLD='' RED='' GREEN='' YELLOW='' PLAIN=''
fi

say()  { printf '%s\n' "$*"; }
warn() { printf '%s%s%s\n' "$YELLOW" "$*" "$PLAIN" >&2; }

# die WHAT [REMEDY…]: says what is wrong, then what to do about it, and ends the script.
die() {
    printf '%serror: %s%s\n' "$RED" "$1" "$PLAIN" >&2
    shift
    local remedy
    for remedy in "$@"; do printf '  try: %s\n' "$remedy" >&2; done
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# at_least HAVE WANT: compares major.minor only, which is all a minimum Rust version needs.
at_least() {
    local -a got want
    IFS=. read -r -a got <<<"$1"
    IFS=. read -r -a want <<<"$2"
    ((got[0] > want[0] || (got[0] == want[0] && got[1] >= want[1])))
}

# rustc_version RUSTC: `1.96.0`, or nothing when that is no working compiler.
rustc_version() {
    local line
    line=$("$1" -V 2>/dev/null) || return 0
    line=${line#rustc }
    printf '%s' "${line%% *}"
}

# --- Rust for the host: everything except the eBPF program ---------------------------------

# Takes the cargo a developer's shell would take when it is new enough, else Debian's.
# Leaves HOST_RUST=(path|debian|none), HOST_RUST_WORDS and an environment in which plain
# `cargo` is the right one.
pick_host_rust() {
    local cargo_bin=${CARGO_HOME:-${HOME:-/root}/.cargo}/bin version
    HOST_RUST=none HOST_RUST_WORDS="no Rust $HOST_RUST_MINIMUM or newer"
    have cargo || PATH=$PATH:$cargo_bin
    if have cargo && have rustc; then
        version=$(rustc_version rustc)
        if [[ -n $version ]] && at_least "$version" "$HOST_RUST_MINIMUM"; then
            HOST_RUST=path HOST_RUST_WORDS="Rust $version ($(command -v cargo))"
            [[ $(command -v cargo) != /usr/bin/cargo ]] || HOST_RUST=debian
            return 0
        fi
    fi
    [[ -x /usr/bin/cargo ]] || return 0
    version=$(rustc_version /usr/bin/rustc)
    if [[ -n $version ]] && at_least "$version" "$HOST_RUST_MINIMUM"; then
        HOST_RUST=debian HOST_RUST_WORDS="Rust $version (/usr/bin/cargo, Debian's)"
        # cargo puts $CARGO_HOME/bin before PATH unless PATH names it: rustup's proxies for
        # clippy and fmt would win over the ones that belong to this compiler.
        export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc PATH=/usr/bin:$PATH:$cargo_bin
    fi
}

# --- Rust for eBPF: a compiler with the sources of `core` and the right to unstable flags ---

nightly_folder() {
    local folder
    folder=${RUSTUP_HOME:-${HOME:-/root}/.rustup}/toolchains/nightly-$(uname -m)-unknown-linux-gnu
    [[ -x $folder/bin/rustc ]] && printf '%s' "$folder"
}

has_sources() { [[ -f $1/lib/rustlib/src/rust/library/core/Cargo.toml ]]; }

# Leaves BPF_RUST=(nightly|debian|none), BPF_RUST_WORDS, BPF_RUSTC, BPF_LLVM (major version)
# and BPF_CARGO, the command as an array.
pick_bpf_rust() {
    local nightly version why=''
    BPF_RUST=none BPF_RUST_WORDS='' BPF_RUSTC='' BPF_LLVM='' BPF_CARGO=()
    if nightly=$(nightly_folder); then
        if has_sources "$nightly"; then
            BPF_RUST=nightly BPF_RUSTC=$nightly/bin/rustc
            BPF_CARGO=(env -u RUSTC -u RUSTDOC "PATH=$nightly/bin:$PATH" "$nightly/bin/cargo")
        else
            why=" (rustup's nightly has no rust-src)"
        fi
    fi
    if [[ $BPF_RUST == none && -x /usr/bin/rustc && -x /usr/bin/cargo ]] && has_sources /usr; then
        version=$(rustc_version /usr/bin/rustc)
        if [[ -n $version ]] && at_least "$version" "$HOST_RUST_MINIMUM"; then
            BPF_RUST=debian BPF_RUSTC=/usr/bin/rustc
            # Debian's stable compiler accepts -Z flags when told to bootstrap.
            BPF_CARGO=(env RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc /usr/bin/cargo)
        fi
    fi
    if [[ $BPF_RUST == none ]]; then
        BPF_RUST_WORDS="no compiler with the sources of core$why"
        return 0
    fi
    read_compiler
    case $BPF_RUST in
        nightly) BPF_RUST_WORDS="rustup's nightly $version, LLVM $BPF_LLVM" ;;
        debian)  BPF_RUST_WORDS="Debian's rustc-web $version, LLVM $BPF_LLVM$why" ;;
    esac
}

# One run of the compiler tells its version and its LLVM. Sets the caller's `version`.
read_compiler() {
    local key value
    while IFS=: read -r key value; do
        case $key in
            release) version=${value# } ;;
            'LLVM version') value=${value# } BPF_LLVM=${value%%.*} ;;
        esac
    done < <("$BPF_RUSTC" -vV)
}

# Where the linker for this compiler is kept. A build against rustup's own LLVM is bound to
# that very nightly, so its key holds the compiler's version and not only LLVM's.
bpf_linker_path() {
    local key=llvm$BPF_LLVM
    if [[ $BPF_RUST == nightly && ! -d /usr/lib/llvm-$BPF_LLVM/include ]]; then
        key+=-$("$BPF_RUSTC" -V | cksum | cut -d' ' -f1)
    fi
    printf '%s' "$CACHE/bin/bpf-linker-$BPF_LINKER_VERSION-$key"
}
