# shellcheck shell=bash disable=SC2016
# The first act, on the network of routers: one function a step. Sourced by scripts/demo.sh.

routers_steps() { printf '%s\n' build agents pings transfers traces explain drops kill change throughput end; }

routers_build() {
    step 'Five network namespaces in a row: two hosts, three routers'
    lab_build
    lab_offloads
    cat <<'PICTURE'
    h1 ─────────── r1 ─────────── r2 ─────────── r3 ─────────── h2
       10.1.0.0/24    10.0.12.0/24   10.0.23.0/24   10.2.0.0/24
       2001:db8:1::/64  ── 102 ──►     ── 203 ──►   2001:db8:2::/64
                        ◄─ plain ──    ◄── 302 ──
PICTURE
    note "\"h1#\" is a shell in the namespace $(ns h1), and so on; \"thalweg\" there means that router's agent"
    show r1 ip route
    # No kernel here would know what to do with a label, nor has it a route to 10.2.0.0/24.
    show h1 ping -q -c 2 -i 0.1 -W 0.2 10.2.0.2
    says '100% packet loss' || fail 'h2 answers although nobody forwards' "ip -n $(ns r1) route"
    good 'the kernel alone reaches nobody: it has no route to 10.2.0.0/24 and no labels'
}

routers_agents() {
    step 'An agent for each router'
    start_agents
    good "all three have their configuration in force ($TOOK ms)"
    show r1 thalweg status
    show r2 thalweg get labels
    show r1 thalweg get routes 198.51.100.0/24
    says '198\.51\.100\.0/24' || fail 'the kernel route 198.51.100.0/24 was not learned' "ip -n $(ns r1) route"
    good 'a route that only the kernel had (`ip route`) was learned'
}

routers_pings() {
    step 'Pings from end to end, over the label-switched paths'
    until_answered h1 10.2.0.2 || fail 'h2 does not answer by IPv4' 'thalweg get drops --all; thalweg get neighbors'
    until_answered h1 2001:db8:2::2 || fail 'h2 does not answer by IPv6' 'thalweg get drops --all; thalweg get neighbors'
    pings h1 10.2.0.2
    pings h1 2001:db8:2::2
    note 'and by a route that only the kernel had, without labels:'
    pings h1 198.51.100.1
    good 'IPv4 and IPv6, with labels and without: nothing lost'
}

routers_transfers() {
    local address
    step 'TCP and UDP between real sockets'
    for address in 10.2.0.2 2001:db8:2::2 198.51.100.1; do serve_iperf "$address"; done
    show_iperf 10.2.0.2 -t 1
    says 'receiver' || fail 'TCP brought nothing over' 'thalweg get drops on r1, r2, r3'
    show_iperf 2001:db8:2::2 -t 1
    says 'receiver' || fail 'TCP over IPv6 brought nothing over' 'thalweg get drops on r1, r2, r3'
    show_iperf 2001:db8:2::2 -u -b 50M -l 1200 -t 1
    says '0/[1-9][0-9]* \(0%\) +receiver' || note 'some UDP datagrams were lost: this machine is busy'
    says 'receiver' || fail 'UDP brought nothing over' 'thalweg get drops on r1, r2, r3'
    good 'data went through'
}

routers_traces() {
    step 'Traceroute: the answers come from inside the label-switched path'
    show h1 traceroute -e -n -q 1 -w 1 -m 6 10.2.0.2
    says '^ *2 +10\.0\.12\.2 .*MPLS:L=102' || fail 'r2 does not answer with its label (RFC 4950)' 'thalweg get drops on r2'
    says '^ *3 .*MPLS:L=203' || fail 'r3 does not answer with its label (RFC 4950)' 'thalweg get drops on r3'
    says '^ *4 +10\.2\.0\.2' || fail 'the trace does not reach h2' 'thalweg get drops on r1, r2, r3'
    show h1 traceroute -6 -e -n -q 1 -w 1 -m 6 2001:db8:2::2
    says '^ *4 +2001:db8:2::2' || fail 'the IPv6 trace does not reach h2' 'thalweg get drops on r1, r2, r3'
    good 'every hop answers, and names the label it saw (RFC 4950)'
}

routers_explain() {
    step 'What would happen to a packet, by the tables in force'
    show r1 thalweg explain 'to-h1 < ip 10.1.0.2 > 10.2.0.2 ttl 64 udp 4000 > 53'
    says 'result .* mpls 102 ' || fail 'r1 does not push label 102' 'thalweg get routes on r1'
    show r2 thalweg explain 'to-r1 < mpls 102 ttl 63 ip 10.1.0.2 > 10.2.0.2 ttl 63 udp 4000 > 53'
    says 'result .* mpls 203 ' || fail 'r2 does not swap 102 for 203' 'thalweg get labels on r2'
    good 'the real decision on a packet that was never sent'
}

routers_drops() {
    step 'Every drop has a reason'
    show h1 ping -q -c 3 -i 0.05 -W 0.2 203.0.113.9
    show r1 thalweg get drops
    says 'blackhole' || fail 'r1 did not count a blackhole' 'thalweg get drops on r1'
    note 'and with a label that r2 does not know:'
    show h1 ping -q -c 3 -i 0.05 -W 0.2 10.9.0.1
    show r2 thalweg get drops
    says 'label' || fail 'r2 did not count an unknown label' 'thalweg get drops on r2'
    good 'each was dropped where it should be, and counted'
}

routers_kill() {
    local flood old
    step 'The agent dies; the packets do not notice'
    prompt h1 'ping -q -i 0.002 -c 1500 10.2.0.2 &'
    behind h1 "$DIR/flood" ping -q -i 0.002 -c 1500 -W 1 10.2.0.2
    flood=$!
    sleep 0.3
    old=${AGENT[r2]}
    prompt r2 "kill -9 $old"
    agent_stop r2 KILL
    show r2 thalweg status
    ((STATUS == 3)) || fail "status ended with $STATUS, not with 3 (no agent)" 'thalweg help exit-codes'
    until_answered h1 10.2.0.2 || fail 'with its agent dead, r2 does not forward' "find $DIR/bpf"
    good 'nobody is there, and r2 forwards by the tables in force'
    prompt r2 'thalweg run -f r2/ &'
    agent_start r2
    agent_ready r2 || fail 'the second agent of r2 is not ready' 'the log of r2'
    show r2 thalweg status
    kill -0 "$flood" 2>/dev/null || note 'the new agent took longer than the pings'
    wait "$flood" || true
    OUT=$(<"$DIR/flood")
    prompt h1 'fg'
    result "$PING_HEAD"
    says ' 0% packet loss' || fail 'packets were lost while the agent was away' 'the log of r2'
    good 'killed and started again under load: 0 lost'
}

GUEST='apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata:
  name: guest
spec:
  prefix: %s
  via: 10.0.12.2
  labels: [102]
'

routers_change() {
    local started took=''
    step 'A wrong file is refused, a right one takes effect'
    write_guest 203.0.113.7/24
    for _ in {1..50}; do
        OUT=$(thalweg_of r1 status 2>&1) || break
        sleep 0.05
    done
    show r1 thalweg status
    ((STATUS == 1)) || fail "status ended with $STATUS, not with 1 (problems)" 'the log of r1'
    says 'guest\.yaml:6' || fail 'status does not name file and line' 'the log of r1'
    pings h1 10.2.0.2
    good 'file, line and remedy are named, and the last good configuration forwards'
    started=$(now_ms)
    write_guest 203.0.113.7/32
    for _ in {1..100}; do
        if inside h1 ping -q -c 1 -W 0.05 203.0.113.7 >/dev/null 2>&1; then
            took=$(($(now_ms) - started))
            break
        fi
    done
    [[ -n $took ]] || fail 'the new route does not take effect' "thalweg status; thalweg get routes 203.0.113.7 on r1; the log of r1"
    show r1 thalweg get routes 203.0.113.7
    pings h1 203.0.113.7
    good "first answer over the new route $took ms after the file was written"
}

write_guest() {
    # shellcheck disable=SC2059
    printf "$GUEST" "$1" >"$DIR/r1/.guest"
    mv "$DIR/r1/.guest" "$DIR/r1/guest.yaml"
    prompt r1 'cat r1/guest.yaml'
    OUT=$(<"$DIR/r1/guest.yaml")
    result
}

routers_throughput() {
    local name
    local -A line=() best=()
    step 'Packets per second, beside the kernel'\''s own forwarding'
    note 'A twin of this network, with nothing but the kernel in it. Smallest UDP datagrams, as fast as'
    note 'one iperf3 can, through one network after the other, a second each, three times:'
    LAB=$LAB-k lab_build
    LAB=$LAB-k serve_iperf 198.51.100.1
    prompt h1 'iperf3 -c 198.51.100.1 -B 192.0.2.1 -u -b 0 -l 16 -t 1'
    prompt h1 'iperf3 -c 10.2.0.2     -B 10.1.0.2  -u -b 0 -l 16 -t 1'
    for _ in 1 2 3; do
        LAB=$LAB-k measured kernel 198.51.100.1 192.0.2.1
        measured plain 198.51.100.1 192.0.2.1
        measured labels 10.2.0.2 10.1.0.2
    done
    printf '    %-33s %8s %8s %8s  %8s  %s\n' 'packets/s that arrived at h2' first second third best ratio
    for name in kernel plain labels; do
        case $name in
            kernel) printf '    %-33s' 'kernel, IPv4' ;;
            plain)  printf '    %-33s' 'Thalweg, IPv4, the same routes' ;;
            labels) printf '    %-33s' 'Thalweg, MPLS push, swap, pop' ;;
        esac
        printf '%s  %8d  %s\n' "${line[$name]}" "${best[$name]}" "$(ratio "${best[$name]}" "${best[kernel]}")"
    done
    note 'This is the whole way: sending, three routers and receiving share these processors, and a veth'
    note 'copies what a socket sends before XDP sees it. `make bench` measures the forwarding alone.'
    busy || return 0
    note "This machine is busy with other things (load $LOAD): read the numbers as rough."
}

# measured NAME TO FROM: packets per second from h1 to h2, kept in the caller's `line` and `best`.
measured() {
    packets_per_second "$2" "$3"
    line[$1]+=$(printf ' %8d' "$PPS")
    ((${best[$1]-0} >= PPS)) || best[$1]=$PPS
}

# busy: whether there is more to run than processors, apart from us. Leaves LOAD.
busy() {
    read -r LOAD _ </proc/loadavg
    ((${LOAD%.*} > $(nproc) + 1))
}

routers_end() {
    step 'The agents stop, Thalweg lets go, nothing is left'
    stop_agents
    pings h1 10.2.0.2
    good 'no agent runs, and packets flow'
    detach_agents
    show h1 ping -q -c 2 -i 0.1 -W 0.2 10.2.0.2
    says '100% packet loss' || fail 'something still forwards to 10.2.0.2' "ip -n $(ns r1) -d link"
    nothing_left
}

# --- tools of the steps --------------------------------------------------------------------

# ratio A B: A/B with two places.
ratio() { printf '%d.%02d' $(($1 / $2)) $(($1 * 100 / $2 % 100)); }

# serve_iperf ADDRESS: a server there. Bound, because UDP would answer from h2's first address otherwise.
serve_iperf() {
    behind h2 "$DIR/iperf3" iperf3 -s -B "$1"
    for _ in {1..60}; do
        inside h2 bash -c "exec 3<>'/dev/tcp/$1/5201'" 2>/dev/null && return 0
        sleep 0.1
    done
    fail "iperf3 does not listen at $1" 'iperf3 by hand, in h2'
}

# show_iperf ADDRESS OPTION…: the sums at the end of it.
show_iperf() {
    prompt h1 "iperf3 $(quoted -c "$@") | grep receiver"
    STATUS=0
    OUT=$(inside h1 iperf3 -c "$@" 2>&1) || STATUS=$?
    if ((STATUS == 0)); then OUT=$(grep receiver <<<"$OUT"); fi
    result
}

# arrived: UDP datagrams that came to h2, with those its socket had no room for.
arrived() { inside h2 awk '/^Udp: [0-9]/ { print $2 + $6 }' /proc/net/snmp; }

# packets_per_second TO FROM: leaves PPS, counted where they arrive. (iperf3's own count says how
# many of them its receiving end had the time to read.)
packets_per_second() {
    local before
    until_answered h1 "$1" "$2" || fail "$1 does not answer" 'thalweg get drops; ip route'
    before=$(arrived)
    OUT=$(inside h1 iperf3 -c "$1" -B "$2" -u -b 0 -l 16 -t 1 2>&1) || { result; fail 'iperf3 failed'; }
    PPS=$(($(arrived) - before))
    ((PPS > 0)) || fail 'nothing arrived' 'thalweg get drops on r1, r2, r3'
}

# --- the lab, left standing ----------------------------------------------------------------

routers_to_try() {
    local program=${THALWEG#"$ROOT"/}
    cat <<TEXT

${BOLD}The lab stands.${PLAIN} Things to try:

  ip netns exec $(ns h1) ping 10.2.0.2
  ip netns exec $(ns h1) traceroute -e -n -q 1 10.2.0.2
  ip netns exec $(ns h1) ping 203.0.113.9            dropped; now look at:
  $program --instance $(ns r1) get drops
  $program --instance $(ns r1) status
  $program --instance $(ns r1) get links|routes|nexthops|neighbors|tables -o wide
  $program --instance $(ns r2) get labels
  $program --instance $(ns r1) explain 'to-h1 < ip 10.1.0.2 > 10.2.0.2 ttl 64 udp 4000 > 53'

  edit $DIR/r1/r1.yaml                    taken when you save it; watch that with:
  $program --instance $(ns r1) status -w
  ip -n $(ns r1) route add 10.77.0.0/16 via 10.0.12.2   learned at once: ... get routes 10.77.0.0/16
  kill -9 \$(cat $DIR/r2.pid)             packets flow on; start it again with:
  $program run -f $DIR/r2 --instance $(ns r2) --netns $(ns r2) --bpffs $DIR/bpf --state $DIR/r2.state

Logs: $DIR/r1.log, r2.log, r3.log. ${BOLD}scripts/demo.sh --down${PLAIN} takes everything away.
TEXT
}
