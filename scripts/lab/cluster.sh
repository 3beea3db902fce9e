# shellcheck shell=bash
# The second network of the lab: two nodes of a cluster with three pods, and a client outside.
# Sourced by scripts/demo.sh before scripts/lab/network.sh.
#
#   client ──── node1 ════ node2      a tunnel (VXLAN) between the nodes
#                 │        │   │
#               pod-a   pod-b pod-c

CLUSTER_NODES=(client node1 node2 pod-a pod-b pod-c)
CLUSTER_AGENTS=(node1 node2)
CLUSTER_PODS=(pod-a pod-b pod-c)

# Prints the addresses of NODE's DEV, one per line.
cluster_addresses() {
    case $1:$2 in
        client:eth0)     printf '203.0.113.9/24\n' ;;
        node1:to-client) printf '203.0.113.1/24\n' ;;
        node1:to-node2)  printf '192.0.2.1/24\n' ;;
        node2:to-node1)  printf '192.0.2.2/24\n' ;;
        pod-?:eth0)      printf '%s/32\n' "$(pod_address "$1")" ;;
    esac
}

pod_address() {
    case $1 in
        pod-a) printf '10.244.1.10' ;;
        pod-b) printf '10.244.2.10' ;;
        pod-c) printf '10.244.2.11' ;;
    esac
}

# The link address of the node's side of a pod's veth.
pod_link() { printf '02:00:00:00:0%s:01' "${1#pod-}"; }

cluster_devices() {
    case $1 in
        client|pod-?) printf '%s\n' lo eth0 ;;
        node1) printf '%s\n' lo to-client to-node2 veth-a ;;
        node2) printf '%s\n' lo to-node1 veth-b veth-c ;;
    esac
}

# Prints what else is told to `ip`. No node has a route to a pod of the other, nor node2 one to the client.
cluster_more() {
    case $1 in
        client) printf 'route add default via 203.0.113.1\n' ;;
        pod-?)
            printf 'route add 169.254.1.1 dev eth0 scope link\n'
            printf 'route add default via 169.254.1.1\n'
            printf 'neigh add 169.254.1.1 dev eth0 lladdr %s\n' "$(pod_link "$1")" ;;
    esac
}

# Makes the links.
cluster_links() {
    local pod node
    ip link add eth0 netns "$(ns client)" type veth peer name to-client netns "$(ns node1)"
    ip link add to-node2 netns "$(ns node1)" type veth peer name to-node1 netns "$(ns node2)"
    for pod in "${CLUSTER_PODS[@]}"; do
        node=node2
        [[ $pod != pod-a ]] || node=node1
        ip link add "veth-${pod#pod-}" netns "$(ns "$node")" address "$(pod_link "$pod")" \
            type veth peer name eth0 netns "$(ns "$pod")"
    done
}

# cluster_files NODE: its configuration, into its directory: its own file, what the cluster's API would
# tell every node, and which pods serve.
cluster_files() {
    cp "$ROOT/scripts/lab/cluster/$1.yaml" "$ROOT/scripts/lab/cluster/shop.yaml" "$DIR/$1/"
    cp "$ROOT/scripts/lab/cluster/endpoints.yaml" "$DIR/$1/"
}

# pod_serve POD: its server in the background, with a session of its own and a log.
pod_serve() {
    local pod=$1
    setsid ip netns exec "$(ns "$pod")" "$LAB_HELPER" serve "$pod" "$(pod_address "$pod"):8080" \
        </dev/null >>"$DIR/$pod.log" 2>&1 9>&- &
    SERVER["$pod"]=$!
    BACKGROUND+=("$!")
    disown "$!"
    printf '%s\n' "$!" >"$DIR/$pod.server"
}
