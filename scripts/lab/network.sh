# shellcheck shell=bash
# How a network of the lab is built (namespaces, links, addresses, agents), and how all of it goes away
# again. Sourced by scripts/demo.sh after scripts/lib.sh and what describes the networks: routers.sh and
# cluster.sh, each with functions NAME_devices, NAME_addresses, NAME_more, NAME_links and NAME_files.
#
# Namespaces are called $LAB-r1, agents ${NAMED}r1, with their sockets in $SOCKETS and everything
# else in $DIR. Nothing else is touched.

# lab_network NAME: what follows is about that one.
# shellcheck disable=SC2034
lab_network() {
    LAB_NETWORK=$1
    case $1 in
        routers) LAB_NODES=("${ROUTERS_NODES[@]}") LAB_AGENTS=("${ROUTERS_AGENTS[@]}") ;;
        cluster) LAB_NODES=("${CLUSTER_NODES[@]}") LAB_AGENTS=("${CLUSTER_AGENTS[@]}") ;;
        policies) LAB_NODES=("${POLICIES_NODES[@]}") LAB_AGENTS=("${POLICIES_AGENTS[@]}") ;;
    esac
}

# lab_every_network: what follows is about whatever there may be.
lab_every_network() {
    LAB_NODES=("${ROUTERS_NODES[@]}" "${CLUSTER_NODES[@]}" "${POLICIES_NODES[@]}")
    LAB_AGENTS=("${ROUTERS_AGENTS[@]}" "${CLUSTER_AGENTS[@]}" "${POLICIES_AGENTS[@]}")
}

ns() { printf '%s-%s' "$LAB" "$1"; }

# inside NODE COMMAND…: in the node's namespace. In the background, use `behind`.
inside() {
    local node=$1
    shift
    ip netns exec "$(ns "$node")" "$@"
}

# behind NODE FILE COMMAND…: the same in the background, with what it says in a file. Ends with the lab.
behind() {
    local node=$1 file=$2
    shift 2
    # Not through a function, or the number were that of a shell that waits.
    ip netns exec "$(ns "$node")" "$@" </dev/null >>"$file" 2>&1 9>&- &
    BACKGROUND+=("$!")
}

# thalweg_of ROUTER ARGUMENT…: the command line against the router's agent.
thalweg_of() {
    local router=$1
    shift
    "$THALWEG" --instance "$NAMED$router" --socket "$SOCKETS/$NAMED$router.sock" "$@"
}

# --- what must be there before anything is made --------------------------------------------

lab_preconditions() {
    local -a missing=()
    local tool node
    [[ $(id -u) == 0 ]] || die "the lab needs root: it makes network namespaces and loads eBPF" "sudo -E make ${MAKE_GOAL:-demo}"
    # Debian keeps root's tools where `su` without `-` does not look.
    PATH=$PATH:/usr/sbin:/sbin
    for tool in ip ping ethtool iperf3 traceroute; do have "$tool" || missing+=("$tool"); done
    ((${#missing[@]} == 0)) || die "missing: ${missing[*]}" "scripts/setup.sh --demo"
    [[ -x $THALWEG ]] || die "there is no $THALWEG" "make ${MAKE_GOAL:-demo}" \
        "THALWEG=/path/of/thalweg $0"
    [[ -x $LAB_HELPER ]] || die "there is no $LAB_HELPER" "make ${MAKE_GOAL:-demo}" \
        "THALWEG_LAB=/path/of/thalweg-lab $0"
    for node in "${ROUTERS_NODES[@]}" "${CLUSTER_NODES[@]}" "${POLICIES_NODES[@]}"; do
        [[ ! -e /run/netns/$(ns "$node") ]] ||
            die "the namespace $(ns "$node") exists already" "scripts/demo.sh --down" "ip netns del $(ns "$node")"
    done
}

# --- links and addresses -------------------------------------------------------------------

# Prints the `ip` commands that set NODE up.
lab_node_batch() {
    local node=$1 device address
    for device in $("${LAB_NETWORK}_devices" "$node"); do
        for address in $("${LAB_NETWORK}_addresses" "$node" "$device"); do
            printf 'address add %s dev %s%s\n' "$address" "$device" "$([[ $address != *:* ]] || printf ' nodad')"
        done
        # Between routers and between nodes there is room for outer headers above 1500 octets of IP.
        case $device in to-r*|to-node*) printf 'link set %s mtu 1600\n' "$device" ;; esac
        printf 'link set %s up\n' "$device"
    done
    "${LAB_NETWORK}_more" "$node"
}

# Settings of a namespace; what is set before a link is made holds for the link.
# shellcheck disable=SC2016
LAB_SETTINGS='cd /proc/sys/net || exit 1
    for at in all default; do
        echo 0 > ipv6/conf/$at/disable_ipv6; echo 0 > ipv6/conf/$at/accept_dad; echo 0 > ipv6/conf/$at/accept_ra
        echo 0 > ipv4/conf/$at/rp_filter; echo "$1" > ipv6/conf/$at/forwarding
    done
    echo "$1" > ipv4/ip_forward
    echo 0 > ipv4/icmp_ratelimit; echo "0 4294967295" > ipv4/ping_group_range 2>/dev/null || true'

# lab_build: namespaces, links, addresses and routes, all by the kernel alone so far.
lab_build() {
    local node router
    for node in "${LAB_NODES[@]}"; do
        ip netns add "$(ns "$node")"
        LAB_MADE+=("$(ns "$node")")
        router=0
        [[ " ${LAB_AGENTS[*]} " != *" $node "* ]] || router=1
        inside "$node" sh -c "$LAB_SETTINGS" sh "$router"
    done
    "${LAB_NETWORK}_links"
    for node in "${LAB_NODES[@]}"; do
        lab_node_batch "$node" | ip -n "$(ns "$node")" -batch -
    done
}

# What XDP asks of both ends of a veth.
lab_offloads() {
    local node device
    for node in "${LAB_NODES[@]}"; do
        for device in $("${LAB_NETWORK}_devices" "$node"); do
            [[ $device != lo ]] || continue
            # A veth takes frames that XDP redirects only while its other end polls: GRO makes it poll.
            inside "$node" ethtool -K "$device" gro on >/dev/null
            # What the sending end leaves for hardware to add (checksums, segments), no XDP program adds.
            inside "$node" ethtool -K "$device" tx off tso off gso off >/dev/null
        done
    done
}

# --- agents --------------------------------------------------------------------------------

lab_files() {
    local router
    mkdir -p "$DIR/bpf"
    mount -t bpf thalweg-lab "$DIR/bpf" 2>/dev/null ||
        die "cannot mount a BPF file system" "run outside of a container, or in one with CAP_SYS_ADMIN" "modprobe bpf"
    LAB_MOUNTED=yes
    for router in "${LAB_AGENTS[@]}"; do
        mkdir -p "$DIR/$router"
        "${LAB_NETWORK}_files" "$router"
    done
}

# agent_start ROUTER: in the background, with a session of its own, so that neither Ctrl-C nor the
# end of the terminal reaches it.
agent_start() {
    local router=$1
    setsid "$THALWEG" run -f "$FILES$router" --instance "$NAMED$router" --netns "$(ns "$router")" \
        --socket "$SOCKETS/$NAMED$router.sock" --bpffs "$DIR/bpf" --state "$DIR/$router.state" </dev/null >>"$DIR/$router.log" 2>&1 9>&- &
    AGENT["$router"]=$!
    disown "$!"
    printf '%s\n' "$!" >"$DIR/$router.pid"
}

agent_alive() { [[ -n ${AGENT[$1]-} ]] && kill -0 "${AGENT[$1]}" 2>/dev/null; }

# agent_stop ROUTER [SIGNAL]: returns when it is gone.
agent_stop() {
    local router=$1 pid=${AGENT[$1]-} turn
    [[ -n $pid ]] || return 0
    kill "-${2:-TERM}" "$pid" 2>/dev/null || true
    for turn in {1..100}; do
        kill -0 "$pid" 2>/dev/null || break
        [[ $turn != 60 ]] || kill -KILL "$pid" 2>/dev/null || true
        sleep 0.05
    done
    unset "AGENT[$router]"
    rm -f "$DIR/$router.pid"
}

# agent_ready ROUTER: waits until all that it was told is in force.
agent_ready() {
    local router=$1 turn
    for turn in {1..150}; do
        thalweg_of "$router" status >/dev/null 2>&1 && return 0
        agent_alive "$router" || return 1
        sleep 0.1
    done
    return 1
}

# is_ours PID WORDS: whether that process was started with these words; the number may be somebody
# else's by now.
is_ours() {
    [[ $1 =~ ^[0-9]+$ && -r /proc/$1/cmdline ]] || return 1
    tr '\0' ' ' <"/proc/$1/cmdline" | grep -F -- "$2" >/dev/null
}

# agents_found: takes up the agents of a lab that another run of this script left standing, and those
# that somebody has started in their place; and its servers.
agents_found() {
    local router pid file
    for file in "$DIR"/*.server; do
        [[ ! -r $file ]] || ! is_ours "$(<"$file")" ' serve ' || BACKGROUND+=("$(<"$file")")
    done
    for router in "${LAB_AGENTS[@]}"; do
        pid=$(timeout 2 "$THALWEG" --instance "$NAMED$router" status -o json 2>/dev/null | sed -nE 's/^ *"pid": ([0-9]+),?$/\1/p') || true
        if [[ -z $pid && -r $DIR/$router.pid ]]; then
            pid=$(<"$DIR/$router.pid")
            # It does not answer.
            is_ours "$pid" "--instance $NAMED$router " || continue
        fi
        [[ -z $pid ]] || AGENT["$router"]=$pid
    done
}

# --- the end -------------------------------------------------------------------------------

# lab_down: takes away what lab_build, lab_files and agent_start made, however far they came.
lab_down() {
    local made router pid
    for pid in "${BACKGROUND[@]}"; do kill "$pid" 2>/dev/null || true; done
    BACKGROUND=()
    for router in "${LAB_AGENTS[@]}"; do agent_stop "$router"; done
    if [[ $LAB_MOUNTED == yes ]]; then
        for router in "${LAB_AGENTS[@]}"; do
            thalweg_of "$router" detach --bpffs "$DIR/bpf" >/dev/null 2>&1 || true
        done
        # Without the mount the pins are gone as well, and with them what they held.
        umount "$DIR/bpf" || return 1
        LAB_MOUNTED=no
    fi
    for router in "${LAB_AGENTS[@]}"; do
        rm -f "$SOCKETS/$NAMED$router.sock" "$SOCKETS/$NAMED$router.lock"
    done
    for made in "${LAB_MADE[@]}"; do ip netns del "$made" 2>/dev/null || true; done
    LAB_MADE=()
    [[ ! -d $DIR ]] || rm -rf "$DIR"
}
