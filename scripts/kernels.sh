# shellcheck shell=bash disable=SC2034
# Older kernels to test on, and what boots them. Sourced by setup.sh and test-kernels.sh.
#
# Everything is unpacked into the cache and nothing is installed: a kernel package would run
# update-initramfs and touch the boot loader, and Debian's QEMU may be at odds with packages
# the machine already has. So none of this needs root, except a first `apt-get update`.

KERNEL_LINES=(6.1 6.12)
KERNEL_CACHE=$CACHE/kernels
TOOLS=$KERNEL_CACHE/tools

# The meta package whose dependency is the newest image of that line.
kernel_package() {
    case $1 in
        6.1) printf 'linux-image-amd64' ;;
        *)   printf 'linux-image-%s-amd64' "$1" ;;
    esac
}

has_kernel() { [[ -f $KERNEL_CACHE/$1/vmlinuz ]]; }
has_tools()  { [[ -f $TOOLS/complete ]]; }

# fetch FOLDER PACKAGE…: downloads packages into FOLDER without installing them.
fetch() {
    local folder=$1
    shift
    mkdir -p "$folder"
    (
        cd "$folder" || exit
        # apt drops to the user _apt for downloads and warns when that one cannot write here.
        apt-get -q -o APT::Sandbox::User="$(id -un)" download "$@"
    )
}

# Packages apt would add for $@, less the C library: its loader is the machine's own and must
# not meet another libc.
closure() {
    apt-get -s -q -o Debug::NoLocking=1 install --no-install-recommends "$@" 2>/dev/null |
        awk '/^Inst /{print $2}' | grep -vE '^(libc6|libc-bin|libc-dev-bin|libc6-dev|locales|libgcc-s1)$'
}

# unpack_tools WORK: QEMU with the libraries this machine lacks, busybox, cpio.
unpack_tools() {
    local work=$1 deb
    local -a packages
    # busybox-static, cpio and seabios even when installed: fetching is simpler than looking.
    mapfile -t packages < <({ closure qemu-system-x86; printf '%s\n' \
        qemu-system-x86 qemu-system-common qemu-system-data seabios busybox-static cpio; } | sort -u)
    fetch "$work/debs" "${packages[@]}" || return 1
    mkdir -p "$work/root"
    for deb in "$work"/debs/*.deb; do
        dpkg-deb -x "$deb" "$work/root" || return 1
    done
    rm -rf "$work/debs" "$work/root/usr/share/doc" "$work/root/usr/share/man" "$work/root/usr/share/locale"
    touch "$work/root/complete"
    rm -rf "$TOOLS"
    mv "$work/root" "$TOOLS"
}

# unpack_kernel WORK LINE: the image, and those modules that have to do with networks.
unpack_kernel() {
    local work=$1 line=$2 image deb modules release
    image=$(apt-cache depends "$(kernel_package "$line")" | awk '/Depends: linux-image-/{print $2; exit}')
    [[ -n $image ]] || { echo "apt knows no $(kernel_package "$line")"; return 1; }
    fetch "$work/debs" "$image" || return 1
    deb=$(find "$work/debs" -name '*.deb')
    mkdir -p "$work/root"
    # No drivers of real cards: they are most of the package, and QEMU runs without one.
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$work/root" --wildcards \
        --exclude='*/drivers/net/ethernet' --exclude='*/drivers/net/wireless' \
        --exclude='*/drivers/net/usb' --exclude='*/net/bluetooth' --exclude='*/net/mac80211' \
        './boot/vmlinuz-*' './boot/config-*' '*/modules.builtin*' '*/modules.order' \
        '*/kernel/net/*' '*/kernel/drivers/net/*.ko*' '*/kernel/lib/*' '*/kernel/crypto/*' \
        '*/kernel/arch/x86/crypto/*' || return 1
    modules=$(find "$work/root" -type d -path '*/lib/modules/*' -prune)
    release=$(basename "$modules")
    mkdir -p "$work/done/lib/modules"
    mv "$modules" "$work/done/lib/modules/"
    # Newer packages ship compressed modules; not every modprobe and kernel reads those.
    find "$work/done/lib/modules" -name '*.ko.xz' -exec "$TOOLS/bin/busybox" unxz {} + || return 1
    "$TOOLS/bin/busybox" depmod -b "$work/done" "$release" || return 1
    cp "$work"/root/boot/config-* "$work/done/config"
    printf '%s\n' "$release" >"$work/done/release"
    # The image last: it is what has_kernel looks for.
    cp "$work"/root/boot/vmlinuz-* "$work/done/vmlinuz"
    rm -rf "${KERNEL_CACHE:?}/$line"
    mv "$work/done" "$KERNEL_CACHE/$line"
}

# in_work COMMAND…: runs it with a fresh folder as first argument, on the cache's file system
# so that the last `mv` is a rename, and removes the folder whatever happens.
in_work() {
    local work rc=0
    mkdir -p "$KERNEL_CACHE"
    work=$(mktemp -d "$KERNEL_CACHE/.work.XXXXXX")
    "$1" "$work" "${@:2}" || rc=$?
    rm -rf "$work"
    return "$rc"
}
