#!/usr/bin/env bash
# Builds the eBPF program and leaves the object in target/bpf/.
#
#   scripts/bpf.sh [CRATE_FOLDER [FEATURE]]        (crates/thalweg-bpf when not given)
#
# With a feature the object is NAME-FEATURE.o.
#
# The object is replaced only when its content changed, so that cargo does not rebuild what
# embeds it. Needs what scripts/setup.sh brings.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

CRATE=${1:-$ROOT/crates/thalweg-bpf}
NAME=$(basename "$CRATE")
BUILD=$ROOT/target/bpf-build
FEATURE=${2:-}
OBJECT=$ROOT/target/bpf/$NAME${FEATURE:+-$FEATURE}.o

[[ -f $CRATE/Cargo.toml ]] || die "no eBPF crate at $CRATE" "scripts/bpf.sh FOLDER_OF_THE_CRATE"
pick_bpf_rust
[[ $BPF_RUST != none ]] || die "$BPF_RUST_WORDS" 'make setup'
LINKER=${THALWEG_BPF_LINKER:-$(bpf_linker_path)}
[[ -x $LINKER ]] || die "no bpf-linker for LLVM $BPF_LLVM at $LINKER" 'make setup'

# debuginfo and --btf: without them the kernel gets neither map types nor line numbers for its
# verifier log. bpf_target_arch: aya-ebpf picks the register layout of tracing contexts by it.
# -u: flags meant for the host's compiler must not reach this one.
[[ -d $BUILD ]] || say 'eBPF: first build, core for BPF included (about 40 s)'
(
    cd "$CRATE"
    env -u RUSTC_WRAPPER -u RUSTC_WORKSPACE_WRAPPER -u CARGO_ENCODED_RUSTFLAGS -u CARGO_BUILD_TARGET \
        "RUSTFLAGS=-C debuginfo=2 -C link-arg=--btf -C link-arg=--cpu-features=+allows-misaligned-mem-access -C link-arg=--disable-expand-memcpy-in-order --cfg bpf_target_arch=\"$(uname -m)\"" \
        "CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER=$LINKER" \
        "CARGO_TARGET_DIR=$BUILD" \
        "${BPF_CARGO[@]}" build --quiet -Z build-std=core --target bpfel-unknown-none --release ${FEATURE:+--features "$FEATURE"}
) || die "the eBPF program in $CRATE did not build"

BUILT=$BUILD/bpfel-unknown-none/release/$NAME
[[ -f $BUILT ]] || die "$CRATE built, but left no $BUILT" "name its binary \`$NAME\` in $CRATE/Cargo.toml"
if cmp -s "$BUILT" "$OBJECT"; then
    say "eBPF: target/bpf/${OBJECT##*/} is up to date"
else
    mkdir -p "${OBJECT%/*}"
    # A whole file or none: a cargo build at the same time must not embed half an object.
    cp "$BUILT" "$OBJECT.new"
    mv "$OBJECT.new" "$OBJECT"
    say "eBPF: target/bpf/${OBJECT##*/}, $(stat -c %s "$OBJECT") bytes, by $BPF_RUST_WORDS"
fi
