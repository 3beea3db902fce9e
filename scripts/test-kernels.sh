#!/usr/bin/env bash
# Runs the journeys on the eBPF engine under older Linux kernels, each in a small QEMU machine.
#
#   scripts/test-kernels.sh [--binary FILE] [KERNEL…] [-- ARGUMENT…]
#
# KERNEL is 6.1 or 6.12, both when none is named. FILE is target/debug/thalweg-journeys, built
# here, unless given; ARGUMENTs replace `--engine ebpf --tap`. FILE prints `ok NAME`,
# `FAIL NAME: why` and `skipped NAME: why`, then `N passed, N failed, N skipped`.
#
# QEMU emulates the processor (TCG): it works in any virtual machine, and is right for
# behavior and wrong for timings. Logs: target/test/kernel-*.log. The last line printed is
# the sum over all kernels.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/kernels.sh
source "$ROOT/scripts/kernels.sh"

# One boot with all journeys takes well under a minute; the rest is for slow or busy machines.
TIMEOUT=${THALWEG_KERNEL_TIMEOUT:-600}
LOGS=$ROOT/target/test
MARKER='=== thalweg-journeys ended with status'

# Loaded before the run where the kernel has them as modules. sch_ingress and cls_bpf are how
# programs attach to tc before there were tcx links.
LOADED=(veth vrf mpls_router mpls_iptunnel sch_ingress cls_bpf tun)
# Only at hand: the kernel asks for them when such a link is made, and dummy and ifb make
# links nobody asked for when loaded by name.
AT_HAND=(vxlan dummy bridge ifb)

BINARY='' KERNELS=() ARGUMENTS=(--engine ebpf --tap)
while (($#)); do
    case $1 in
        --binary) BINARY=$(realpath "$2"); shift 2 ;;
        --) shift; ARGUMENTS=("$@"); break ;;
        -h|--help) sed -n '2,/^set /{s/^# \{0,1\}//;/^set /d;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
        -*) die "unknown option $1" "$0 --help" ;;
        *) KERNELS+=("$1"); shift ;;
    esac
done
((${#KERNELS[@]})) || KERNELS=("${KERNEL_LINES[@]}")

PASSED=0 FAILED=0 SKIPPED=0

skip() {
    SKIPPED=$((SKIPPED + 1))
    say "${YELLOW}skipped: $1$PLAIN"
    [[ -z ${THALWEG_SKIP_LOG:-} ]] || printf 'skipped: %s\n' "$1" >>"$THALWEG_SKIP_LOG"
}

fail() {
    FAILED=$((FAILED + 1))
    say "${RED}FAIL $1$PLAIN"
}

finish() {
    say "all kernels: $PASSED passed, $FAILED failed, $SKIPPED skipped"
    ((FAILED == 0)) && exit 0 || exit 1
}

# --- the machine ---------------------------------------------------------------------------

# copy_with_libraries ROOTFS FILE TO: FILE, and whatever the loader will look for, where it
# will look for it.
copy_with_libraries() {
    local rootfs=$1 file=$2 to=$3 library
    mkdir -p "$rootfs${to%/*}"
    cp -L "$file" "$rootfs$to"
    # A static program has no list; ldd says so and fails.
    { ldd "$file" 2>/dev/null || true; } | grep -oE '/[^ ]+' | while read -r library; do
        [[ -f $library ]] || continue
        mkdir -p "$rootfs${library%/*}"
        [[ -e $rootfs$library ]] || cp -L "$library" "$rootfs$library"
    done
}

# copy_modules ROOTFS KERNEL: LOADED, AT_HAND and what they depend on. The index files come along so
# that modprobe finds them, also when the kernel itself asks.
copy_modules() {
    local rootfs=$1 kernel=$2 release from module file
    release=$(<"$KERNEL_CACHE/$kernel/release")
    from=$KERNEL_CACHE/$kernel/lib/modules/$release
    mkdir -p "$rootfs/lib/modules/$release"
    cp "$from"/modules.* "$rootfs/lib/modules/$release/"
    for module in "${LOADED[@]}" "${AT_HAND[@]}"; do
        # A line is `the/module.ko: what/it/needs.ko …`; one that is built in has no line.
        for file in $(grep -h "/$module\.ko:" "$from/modules.dep" | tr -d :); do
            mkdir -p "$rootfs/lib/modules/$release/${file%/*}"
            cp "$from/$file" "$rootfs/lib/modules/$release/$file"
        done
    done
}

# The first process. Everything it prints goes to the serial port, that is, to the log.
write_init() {
    local rootfs=$1
    {
        printf '#!/bin/sh\n'
        printf "ARGUMENTS='%s'\n" "${ARGUMENTS[*]}"
        printf "LOADED='%s'\n" "${LOADED[*]}"
        printf "MARKER='%s'\n" "$MARKER"
        cat <<'INIT'
export PATH=/bin:/sbin HOME=/root RUST_BACKTRACE=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount -t bpf bpf /sys/fs/bpf || echo 'no bpffs'
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t tracefs tracefs /sys/kernel/tracing
ip link set lo up
for module in $LOADED; do modprobe "$module" || echo "no module $module"; done
echo "=== $(uname -r), up for $(cut -d' ' -f1 /proc/uptime) s"
cd /
/thalweg-journeys $ARGUMENTS </dev/null
status=$?
[ $status = 0 ] || { echo '=== last words of the kernel'; dmesg | tail -n 25; }
echo "$MARKER $status ==="
poweroff -f
INIT
    } >"$rootfs/init"
    chmod 755 "$rootfs/init"
}

# build_initramfs KERNEL WORK: leaves WORK/initramfs.
build_initramfs() {
    local kernel=$1 work=$2 rootfs=$2/rootfs tool
    mkdir -p "$rootfs"/{bin,sbin,proc,sys,dev,tmp,run,root,etc,tests}
    for tool in $("$TOOLS/bin/busybox" --list); do ln -s /bin/busybox "$rootfs/bin/$tool"; done
    rm "$rootfs/bin/busybox"
    cp "$TOOLS/bin/busybox" "$rootfs/bin/busybox"
    ln -s /bin/busybox "$rootfs/sbin/modprobe"
    # The real ip and tc: busybox's know neither veth nor MPLS.
    for tool in ip tc; do
        have "$tool" || continue
        rm -f "$rootfs/bin/$tool"
        copy_with_libraries "$rootfs" "$(command -v "$tool")" "/bin/$tool"
    done
    copy_modules "$rootfs" "$kernel"
    copy_with_libraries "$rootfs" "$BINARY" /thalweg-journeys
    # Debug information would be most of what the emulated machine has to unpack.
    ! have strip || strip "$rootfs/thalweg-journeys" 2>/dev/null || true
    if [[ -d $ROOT/tests/journeys ]]; then
        cp -r "$ROOT/tests/journeys" "$rootfs/tests/"
        # The binary may remember where it was built.
        mkdir -p "$rootfs$ROOT"
        ln -s /tests "$rootfs$ROOT/tests"
    fi
    write_init "$rootfs"
    (cd "$rootfs" && find . | "$TOOLS/bin/cpio" -o -H newc --quiet -R 0:0) >"$work/initramfs"
}

# run_qemu KERNEL INITRAMFS LOG: boots and waits; the exit status is timeout's or QEMU's.
# In the background, so that an end of this script reaches the machine as well.
# The libraries come from the cache too, for this command only.
run_qemu() {
    local kernel=$1 initramfs=$2 log=$3 libraries=$TOOLS/usr/lib/x86_64-linux-gnu
    : >"$log"
    LD_LIBRARY_PATH=$libraries:$TOOLS/lib/x86_64-linux-gnu QEMU_MODULE_DIR=$libraries/qemu \
        timeout --kill-after=10 "$TIMEOUT" "$TOOLS/usr/bin/qemu-system-x86_64" \
        -accel tcg -cpu max -m 2G -nodefaults -display none -nic none -no-reboot \
        -L "$TOOLS/usr/share/qemu" -L "$TOOLS/usr/share/seabios" \
        -serial "file:$log" \
        -kernel "$KERNEL_CACHE/$kernel/vmlinuz" -initrd "$initramfs" \
        -append 'console=ttyS0 quiet loglevel=1 panic=-1' \
        </dev/null >"$log.qemu" 2>&1 &
    # shellcheck disable=SC2064 # this process id, not a later one
    trap "kill $! 2>/dev/null" TERM
    wait $!
}

# One kernel from initramfs to power-off, in a process of its own. Notes the time it took.
boot() {
    local kernel=$1 work=$2 started=$SECONDS
    mkdir -p "$work"
    build_initramfs "$kernel" "$work"
    run_qemu "$kernel" "$work/initramfs" "$work/log" || printf '%s\n' $? >"$work/qemu-status"
    printf '%s\n' $((SECONDS - started)) >"$work/seconds"
}

# --- what came of it -----------------------------------------------------------------------

# What the journeys said, without the kernel's own words at the end.
said() { sed '/^=== last words of the kernel/,$d' "$1"; }

# report KERNEL WORK: adds this kernel's counts to the sum and says what went wrong.
report() {
    local kernel=$1 work=$2 log=$LOGS/kernel-$1.log status totals line passed failed skipped
    tr -d '\r' <"$work/log" >"$log"
    status=$(sed -n "s/^$MARKER \([0-9]*\) ===$/\1/p" "$log" | tail -n 1)
    totals=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$log" | tail -n 1) || true

    while IFS= read -r line; do say "${RED}FAIL kernel $kernel: ${line#FAIL }$PLAIN"; done \
        < <(grep '^FAIL ' "$log")
    while IFS= read -r line; do
        say "${YELLOW}skipped: kernel $kernel: ${line#skipped }$PLAIN"
        [[ -z ${THALWEG_SKIP_LOG:-} ]] ||
            printf 'skipped: kernel %s: %s\n' "$kernel" "${line#skipped }" >>"$THALWEG_SKIP_LOG"
    done < <(grep '^skipped ' "$log")

    if [[ -n $totals ]]; then
        read -r passed _ failed _ skipped _ <<<"$totals"
    else
        # It died on the way: what it had said until then still counts.
        passed=$(grep -c '^ok ' "$log") || true
        failed=$(grep -c '^FAIL ' "$log") || true
        skipped=$(grep -c '^skipped ' "$log") || true
    fi
    PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed)) SKIPPED=$((SKIPPED + skipped))

    local wrong=''
    if [[ -z $status && $(cat "$work/qemu-status" 2>/dev/null) == 124 ]]; then
        wrong="not finished after $TIMEOUT s (THALWEG_KERNEL_TIMEOUT=SECONDS allows more)"
    elif [[ -z $status ]]; then
        wrong="the machine stopped before the journeys ended"
    elif [[ $status != 0 && $failed == 0 ]]; then
        wrong="the journeys ended with status $status"
    elif [[ -z $totals ]]; then
        wrong="the journeys printed no totals"
    fi
    if [[ -n $wrong ]]; then
        fail "kernel $kernel: $wrong; the end of $log:"
        { cat "$work/log.qemu"; said "$log"; } | tail -n 15 | sed 's/^/    /'
    fi
    say "kernel $kernel ($(<"$KERNEL_CACHE/$kernel/release")): $passed passed, $failed failed, $skipped skipped ($(<"$work/seconds") s)"
}

# --- all of it -----------------------------------------------------------------------------

setup_words=$("$ROOT/scripts/setup.sh" --kernels 2>&1) || {
    why=$(grep -m1 -oE 'error: .*' <<<"$setup_words" || echo 'error: set-up failed')
    for kernel in "${KERNELS[@]}"; do skip "kernel $kernel: ${why#error: }"; done
    finish
}

if [[ -z $BINARY ]]; then
    pick_host_rust
    cargo build --quiet -p thalweg-testkit --bin thalweg-journeys --manifest-path "$ROOT/Cargo.toml" || {
        fail 'thalweg-journeys did not build'
        finish
    }
    BINARY=${CARGO_TARGET_DIR:-$ROOT/target}/debug/thalweg-journeys
fi

mkdir -p "$LOGS"
WORK=$(mktemp -d "${TMPDIR:-/tmp}/thalweg-kernels.XXXXXX")
STARTED=()
cleanup() {
    local pid
    # boot passes it on to `timeout`, and that one to its QEMU.
    for pid in ${STARTED[@]+"${STARTED[@]}"}; do kill "$pid" 2>/dev/null || true; done
    wait
    rm -rf "$WORK"
}
trap cleanup EXIT

for kernel in "${KERNELS[@]}"; do
    has_kernel "$kernel" || continue
    # Emulation keeps one core busy, so two kernels at once cost no more time than one.
    boot "$kernel" "$WORK/$kernel" &
    STARTED+=($!)
done
for pid in ${STARTED[@]+"${STARTED[@]}"}; do wait "$pid" || true; done
STARTED=()

for kernel in "${KERNELS[@]}"; do
    if ! has_kernel "$kernel"; then
        skip "kernel $kernel: not in the cache and apt could not provide it"
    elif [[ ! -f $WORK/$kernel/log ]]; then
        fail "kernel $kernel: its initramfs could not be built"
    else
        report "$kernel" "$WORK/$kernel"
    fi
done
finish
