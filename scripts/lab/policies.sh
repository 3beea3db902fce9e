# shellcheck shell=bash
# The third network of the lab: a node with two pods of a shop, and one of somebody else.
# Sourced by scripts/demo.sh before scripts/lab/network.sh.
#
#   front ──┐
#           node ── db      namespace shop: front and db; namespace attacker: spy
#   spy ────┘

POLICIES_NODES=(node front db spy)
POLICIES_AGENTS=(node)
POLICIES_PODS=(front db spy)

# Prints the addresses of NODE's DEV, one per line.
policies_addresses() {
    case $1:$2 in
        node:lo)     printf '192.0.2.1/32\n' ;;
        front:eth0)  printf '10.244.3.10/32\n' ;;
        db:eth0)     printf '10.244.3.11/32\n' ;;
        spy:eth0)    printf '10.244.3.66/32\n' ;;
    esac
}

# The link address of the node's side of a pod's veth.
policies_mac() {
    case $1 in
        front) printf '02:00:00:00:10:01' ;;
        db)    printf '02:00:00:00:11:01' ;;
        spy)   printf '02:00:00:00:66:01' ;;
    esac
}

policies_devices() {
    case $1 in
        node) printf '%s\n' lo veth-front veth-db veth-spy ;;
        *)    printf '%s\n' lo eth0 ;;
    esac
}

# Prints what else is told to `ip`: pods reach everybody through their node.
policies_more() {
    [[ $1 != node ]] || return 0
    printf 'route add 169.254.1.1 dev eth0 scope link\n'
    printf 'route add default via 169.254.1.1\n'
    printf 'neigh add 169.254.1.1 dev eth0 lladdr %s\n' "$(policies_mac "$1")"
}

# Makes the links.
policies_links() {
    local pod
    for pod in "${POLICIES_PODS[@]}"; do
        ip link add "veth-$pod" netns "$(ns node)" address "$(policies_mac "$pod")" \
            type veth peer name eth0 netns "$(ns "$pod")"
    done
}

# policies_files NODE: its configuration, into its directory. The policy comes later.
policies_files() {
    cp "$ROOT/scripts/lab/policies/node.yaml" "$ROOT/scripts/lab/policies/pods.yaml" "$DIR/$1/"
}
