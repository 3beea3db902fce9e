# shellcheck shell=bash
# The first network of the lab: two hosts with three routers between them.
# Sourced by scripts/demo.sh before scripts/lab/network.sh.
#
#   h1 ──── r1 ──── r2 ──── r3 ──── h2      MPLS between the routers, IPv4 and IPv6 at the ends

ROUTERS_NODES=(h1 r1 r2 r3 h2)
ROUTERS_AGENTS=(r1 r2 r3)

# Prints the addresses of NODE's DEV, one per line.
routers_addresses() {
    case $1:$2 in
        h1:eth0)  printf '%s\n' 10.1.0.2/24 2001:db8:1::2/64 ;;
        h1:lo)    printf '%s\n' 192.0.2.1/32 ;;
        r1:to-h1) printf '%s\n' 10.1.0.1/24 2001:db8:1::1/64 ;;
        r1:to-r2) printf '%s\n' 10.0.12.1/24 2001:db8:12::1/64 ;;
        r2:to-r1) printf '%s\n' 10.0.12.2/24 2001:db8:12::2/64 ;;
        r2:to-r3) printf '%s\n' 10.0.23.2/24 2001:db8:23::2/64 ;;
        r3:to-r2) printf '%s\n' 10.0.23.3/24 2001:db8:23::3/64 ;;
        r3:to-h2) printf '%s\n' 10.2.0.1/24 2001:db8:2::1/64 ;;
        h2:eth0)  printf '%s\n' 10.2.0.2/24 2001:db8:2::2/64 ;;
        h2:lo)    printf '%s\n' 198.51.100.1/32 203.0.113.7/32 ;;
    esac
}

routers_devices() {
    case $1 in
        h1|h2) printf '%s\n' lo eth0 ;;
        r1) printf '%s\n' lo to-h1 to-r2 ;;
        r2) printf '%s\n' lo to-r1 to-r3 ;;
        r3) printf '%s\n' lo to-r2 to-h2 ;;
    esac
}

# Prints what else is told to `ip`: routes that are the kernel's alone; Thalweg has to learn them.
routers_more() {
    case $1 in
        h1) printf 'route add %s\n' 'default via 10.1.0.1' '::/0 via 2001:db8:1::1' ;;
        r1) printf 'route add %s\n' '192.0.2.0/24 via 10.1.0.2' '198.51.100.0/24 via 10.0.12.2' ;;
        r2) printf 'route add %s\n' '192.0.2.0/24 via 10.0.12.1' '198.51.100.0/24 via 10.0.23.3' ;;
        r3) printf 'route add %s\n' '192.0.2.0/24 via 10.0.23.2' '198.51.100.0/24 via 10.2.0.2' \
            '203.0.113.7/32 via 10.2.0.2' ;;
        h2) printf 'route add %s\n' 'default via 10.2.0.1' '::/0 via 2001:db8:2::1' ;;
    esac
}

# Makes the links.
routers_links() {
    ip link add eth0 netns "$(ns h1)" type veth peer name to-h1 netns "$(ns r1)"
    ip link add to-r2 netns "$(ns r1)" type veth peer name to-r1 netns "$(ns r2)"
    ip link add to-r3 netns "$(ns r2)" type veth peer name to-r2 netns "$(ns r3)"
    ip link add to-h2 netns "$(ns r3)" type veth peer name eth0 netns "$(ns h2)"
}

# routers_files ROUTER: its configuration, into its directory.
routers_files() { cp "$ROOT/scripts/lab/$1.yaml" "$DIR/$1/"; }
