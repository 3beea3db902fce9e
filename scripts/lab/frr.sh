#!/usr/bin/env bash
# Two routers in namespaces of this machine, FRR on both and Thalweg on one: docs/frr.md shows it.
#
#   scripts/lab/frr.sh up      build it: thw-peer has FRR, thw-edge has FRR and Thalweg
#   scripts/lab/frr.sh vtysh NAME [COMMAND…]   FRR's shell on `peer` or `edge`
#   scripts/lab/frr.sh down    take it away
#
#   thw-peer ── 10.0.0.1/24 ─── 10.0.0.2/24 ── thw-edge
#   BGP 65001, OSPF                 BGP 65002, OSPF, FPM, thalweg
#
# Needs root, FRR (Debian: frr) and the program (THALWEG, target/release/thalweg unless given).
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

DIR=/run/thalweg-frr
DAEMONS=/usr/lib/frr
THALWEG=$(realpath -m "${THALWEG:-${CARGO_TARGET_DIR:-$ROOT/target}/release/thalweg}")

# config NAME DAEMON: its configuration, from standard input.
config() {
    { printf 'log file %s\n' "$DIR/$1/$2.log" && cat; } >"$DIR/$1/$2.conf"
    chown frr:frr "$DIR/$1/$2.conf"
}

# start NAME DAEMON OPTION…: in the background, with everything it needs below DIR.
start() {
    local at=$DIR/$1 daemon=$2
    ip netns exec "thw-$1" "$DAEMONS/$daemon" -d -f "$at/$daemon.conf" -z "$at/zserv.api" \
        -i "$at/$daemon.pid" --vty_socket "$at" -A 127.0.0.1 "${@:3}"
}

configs() {
    config peer zebra </dev/null
    config edge zebra <<<'fpm address 127.0.0.1'
    local name own other
    for name in 'peer 1 2' 'edge 2 1'; do
        read -r name own other <<<"$name"
        config "$name" ospfd <<EOF
interface e0
 ip ospf hello-interval 1
 ip ospf dead-interval 4
router ospf
 network 10.0.0.0/8 area 0
EOF
        config "$name" bgpd <<EOF
router bgp 6500$own
 bgp router-id $own.$own.$own.$own
 no bgp ebgp-requires-policy
 neighbor 10.0.0.$other remote-as 6500$other
 neighbor 10.0.0.$other timers connect 1
 address-family ipv4 unicast
  redistribute kernel
EOF
    done
    cat >"$DIR/thalweg/thalweg.yaml" <<'EOF'
apiVersion: thalweg.dev/v1alpha1
kind: Router
metadata:
  name: router
spec:
  fpm: {}
---
apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata:
  name: all
spec:
  interfaces: [e0]
EOF
}

up() {
    [[ -x $DAEMONS/zebra ]] || die 'FRR is not installed' 'apt-get install frr'
    [[ -x $THALWEG ]] || die "there is no $THALWEG" 'make build, or set THALWEG'
    ip netns add thw-peer
    ip netns add thw-edge
    ip -n thw-peer link add e0 type veth peer name e0 netns thw-edge
    local name address
    for name in 'peer 10.0.0.1/24' 'edge 10.0.0.2/24'; do
        read -r name address <<<"$name"
        mkdir -p "$DIR/$name"
        chown frr:frr "$DIR/$name"
        ip netns exec "thw-$name" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
        ip -n "thw-$name" link set lo up
        ip -n "thw-$name" link set e0 up
        ip -n "thw-$name" address add "$address" dev e0
    done
    # What others own is no configuration.
    mkdir -p "$DIR/thalweg"
    ip -n thw-peer address add 10.9.9.9/32 dev lo
    for name in {0..99}; do printf 'route add 20.0.%s.0/24 via 10.0.0.3 dev e0\n' "$name"; done |
        ip -n thw-peer -batch -
    configs
    for name in zebra ospfd bgpd; do start peer "$name"; done
    "$THALWEG" run -f "$DIR/thalweg/thalweg.yaml" --instance edge --netns thw-edge >"$DIR/thalweg/thalweg.log" 2>&1 </dev/null &
    echo $! >"$DIR/thalweg/thalweg.pid"
    # -K: after a restart, zebra leaves its routes in the kernel until it has learned them again.
    start edge zebra -M dplane_fpm_nl -K 120
    for name in ospfd bgpd; do start edge "$name"; done
}

down() {
    local file
    for file in "$DIR"/*/*.pid; do
        [[ ! -f $file ]] || kill "$(cat "$file")" 2>/dev/null || true
    done
    sleep 0.5
    [[ ! -x $THALWEG ]] || "$THALWEG" detach --instance edge || true
    ip netns del thw-edge 2>/dev/null || true
    ip netns del thw-peer 2>/dev/null || true
    rm -rf "$DIR"
}

case ${1-} in
    up) up ;;
    down) down ;;
    vtysh)
        name=$2
        shift 2
        vtysh --vty_socket "$DIR/$name" "${@/#/-c}"
        ;;
    *) sed -n '2,/^set /{s/^# \{0,1\}//;/^set /d;p}' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
