# shellcheck shell=bash
# What the demo shows, one function a step. Sourced by scripts/demo.sh.

STEP=0 STEP_TITLE='' OUT='' STATUS=0
[[ -t 1 ]] && DIM=$'\e[2m' COLOR=always || { DIM='' COLOR=never; }

# --- words ---------------------------------------------------------------------------------

step() {
    STEP=$((STEP + 1)) STEP_TITLE=$1
    printf '\n%s%2d  %s%s\n' "$BOLD" "$STEP" "$1" "$PLAIN"
}

note() { printf '    %s%s%s\n' "$DIM" "$*" "$PLAIN"; }
good() { printf '    %sok%s  %s\n' "$GREEN" "$PLAIN" "$*"; }

# fail WHAT [WHERE TO LOOK…]
fail() {
    printf '    %sfailed%s  %s\n' "$RED" "$PLAIN" "$1" >&2
    shift
    local place
    for place in "$@"; do printf '    look at: %s\n' "$place" >&2; done
    exit 1
}

# failed_at STATUS: the last words of a run that did not end well; called while all still stands.
failed_at() {
    local router
    if (($1 == 130)); then
        printf '\ninterrupted in step %d: taking everything away\n' "$STEP" >&2
        return
    fi
    printf '\n%serror: step %d (%s) did not go as it should%s\n' "$RED" "$STEP" "$STEP_TITLE" "$PLAIN" >&2
    for router in "${LAB_ROUTERS[@]}"; do
        [[ -s $DIR/$router.log ]] || continue
        printf '  last words of the agent of %s:\n' "$router" >&2
        tail -n 6 "$DIR/$router.log" | sed 's/^/    /' >&2
    done
    # shellcheck disable=SC2016
    printf '  try: `make lab`, then the commands of this step by hand; `scripts/demo.sh --down` ends it\n' >&2
}

# prompt NODE WORDS: a command as one would type it in that namespace.
prompt() { printf '  %s%s#%s %s\n' "$BOLD" "$1" "$PLAIN" "$2"; }

# quoted ARGUMENT…: as a shell would want it.
quoted() {
    local word
    for word in "$@"; do
        case $word in
            *[!A-Za-z0-9_./:=,-]*) printf "'%s' " "$word" ;;
            *) printf '%s ' "$word" ;;
        esac
    done
}

# result: OUT, indented, without empty lines.
result() { sed -e '/^[[:space:]]*$/d' -e 's/^/    /' <<<"$OUT"; }

# show NODE COMMAND…: shows it and what it says. Leaves OUT and STATUS.
show() {
    local node=$1
    shift
    prompt "$node" "$(quoted "$@")"
    STATUS=0
    if [[ $1 == thalweg ]]; then
        shift
        OUT=$(thalweg_of "$node" --color "$COLOR" "$@" 2>&1) || STATUS=$?
    else
        OUT=$(inside "$node" "$@" 2>&1) || STATUS=$?
    fi
    result
}

# says PATTERN: whether OUT has a line that matches, colors aside.
says() { sed 's/\x1b\[[0-9;]*m//g' <<<"$OUT" | grep -E -- "$1" >/dev/null; }

# until_answered NODE ADDRESS [FROM]: a few seconds for what the kernel and the agents resolve at first.
until_answered() {
    local turn
    for turn in {1..25}; do
        inside "$1" ping -q -c 1 -W 0.2 ${3:+-I "$3"} "$2" >/dev/null 2>&1 && return 0
    done
    return 1
}

# pings NODE ADDRESS: ten of them, and every one comes back.
pings() {
    show "$1" ping -q -c 10 -i 0.05 -W 1 "$2"
    says ' 0% packet loss' || fail "not every packet came back" "thalweg get drops --all on r1, r2, r3"
}

# --- the steps -----------------------------------------------------------------------------

step_build() {
    step 'Five network namespaces in a row: two hosts, three routers'
    lab_build
    cat <<'PICTURE'
        h1 ─────────── r1 ─────────── r2 ─────────── r3 ─────────── h2
     10.1.0.0/24    10.0.12.0/24   10.0.23.0/24    10.2.0.0/24
     2001:db8:1::/64  └─ label 102 ──► ── label 203 ──►┘  2001:db8:2::/64
                      ◄─ (popped) ──── ◄─ label 302 ──┘
PICTURE
    note "\"h1#\" is a shell in the namespace $(ns h1), and so on; \"thalweg\" there means that router's agent"
    show r1 ip route
    # No kernel here would know what to do with a label, nor has it a route to 10.2.0.0/24.
    show h1 ping -q -c 2 -i 0.1 -W 0.2 10.2.0.2
    says '100% packet loss' || fail 'h2 answers although nobody forwards' "ip -n $(ns r1) route"
    good 'the kernel alone reaches nobody: it has no route to 10.2.0.0/24 and no labels'
}

step_agents() {
    local router started
    step 'An agent for each router'
    lab_files
    started=$(now_ms)
    for router in "${LAB_ROUTERS[@]}"; do
        prompt "$router" "thalweg run -f $router/ &"
        agent_start "$router"
    done
    for router in "${LAB_ROUTERS[@]}"; do
        if ! agent_ready "$router"; then
            show "$router" thalweg status
            fail "the agent of $router is not ready" "$DIR/$router.log"
        fi
    done
    good "all three have their configuration in force ($(($(now_ms) - started)) ms)"
    show r1 thalweg status
    show r2 thalweg get labels
    show r1 thalweg get routes
    says '198\.51\.100\.0/24' || fail 'the kernel route 198.51.100.0/24 was not learned' "ip -n $(ns r1) route"
    good 'the kernel'\''s own routes were learned, and stand beside those of the files'
}

step_pings() {
    step 'Pings from end to end, over the label-switched paths'
    until_answered h1 10.2.0.2 || fail 'h2 does not answer by IPv4' 'thalweg get drops --all; thalweg get neighbors'
    until_answered h1 2001:db8:2::2 || fail 'h2 does not answer by IPv6' 'thalweg get drops --all; thalweg get neighbors'
    pings h1 10.2.0.2
    pings h1 2001:db8:2::2
    note 'and by a route that only the kernel had, without labels:'
    pings h1 198.51.100.1
    good 'IPv4 and IPv6, with labels and without: nothing lost'
}

step_transfers() {
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

step_traces() {
    step 'Traceroute: the answers come from inside the label-switched path'
    show h1 traceroute -e -n -q 1 -w 1 -m 6 10.2.0.2
    says '^ *2 +10\.0\.12\.2 .*MPLS:L=102' || fail 'r2 does not answer with its label (RFC 4950)' 'thalweg get drops on r2'
    says '^ *3 .*MPLS:L=203' || fail 'r3 does not answer with its label (RFC 4950)' 'thalweg get drops on r3'
    says '^ *4 +10\.2\.0\.2' || fail 'the trace does not reach h2' 'thalweg get drops on r1, r2, r3'
    show h1 traceroute -6 -e -n -q 1 -w 1 -m 6 2001:db8:2::2
    says '^ *4 +2001:db8:2::2' || fail 'the IPv6 trace does not reach h2' 'thalweg get drops on r1, r2, r3'
    good 'every hop answers, and names the label it saw (RFC 4950)'
}

step_explain() {
    step 'What would happen to a packet, by the tables in force'
    show r1 thalweg explain 'to-h1 < ip 10.1.0.2 > 10.2.0.2 ttl 64 udp 4000 > 53'
    ((STATUS == 0)) && says '102' || fail 'r1 does not push label 102' 'thalweg get routes on r1'
    show r2 thalweg explain 'to-r1 < mpls 102 ttl 63 ip 10.1.0.2 > 10.2.0.2 ttl 63 udp 4000 > 53'
    ((STATUS == 0)) && says '203' || fail 'r2 does not swap 102 for 203' 'thalweg get labels on r2'
    good 'the real decision on a packet that was never sent'
}

step_drops() {
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

step_kill() {
    local pid flood old
    step 'The agent dies; the packets do not notice'
    prompt h1 'ping -q -i 0.002 -c 1500 10.2.0.2 &'
    inside h1 ping -q -i 0.002 -c 1500 -W 1 10.2.0.2 >"$DIR/flood" 2>&1 &
    flood=$! BACKGROUND+=("$!")
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
    agent_ready r2 || fail 'the second agent of r2 is not ready' "$DIR/r2.log"
    show r2 thalweg status
    pid=0
    wait "$flood" || pid=$?
    OUT=$(<"$DIR/flood")
    prompt h1 'fg'
    result
    says ' 0% packet loss' || fail 'packets were lost while the agent was away' "$DIR/r2.log"
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

step_change() {
    local turn started took=''
    step 'A wrong file is refused, a right one takes effect'
    write_guest 203.0.113.7/24
    for turn in {1..50}; do
        OUT=$(thalweg_of r1 status 2>&1) || break
        sleep 0.05
    done
    show r1 thalweg status
    ((STATUS == 1)) || fail "status ended with $STATUS, not with 1 (problems)" "$DIR/r1.log"
    says 'guest\.yaml:6' || fail 'status does not name file and line' "$DIR/r1.log"
    pings h1 10.2.0.2
    good 'file, line and remedy are named, and the last good configuration forwards'
    started=$(now_ms)
    write_guest 203.0.113.7/32
    for turn in {1..100}; do
        if inside h1 ping -q -c 1 -W 0.05 203.0.113.7 >/dev/null 2>&1; then
            took=$(($(now_ms) - started))
            break
        fi
    done
    [[ -n $took ]] || fail 'the new route does not take effect' "thalweg status; thalweg get routes 203.0.113.7 on r1; $DIR/r1.log"
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

step_throughput() {
    local router path thalweg kernel
    step 'Packets per second, beside the kernel'\''s own forwarding'
    note 'smallest UDP datagrams from one iperf3 to another, as fast as it can, for two seconds'
    packets_per_second 10.2.0.2 10.1.0.2 && path=$PPS
    packets_per_second 198.51.100.1 192.0.2.1 && thalweg=$PPS
    note 'the agents stop, and give the links back to the kernel, which has the same routes:'
    for router in "${LAB_ROUTERS[@]}"; do agent_stop "$router"; done
    pings h1 10.2.0.2
    good 'no agent runs, and packets flow'
    for router in "${LAB_ROUTERS[@]}"; do
        prompt "$router" 'thalweg detach'
        STATUS=0
        OUT=$(thalweg_of "$router" detach --bpffs "$DIR/bpf" 2>&1) || STATUS=$?
        result
        ((STATUS == 0)) || fail "detach ended with $STATUS" "find $DIR/bpf"
    done
    show h1 ping -q -c 2 -i 0.1 -W 0.2 10.2.0.2
    says '100% packet loss' || fail 'something still forwards to 10.2.0.2' "ip -n $(ns r1) -d link"
    packets_per_second 198.51.100.1 192.0.2.1 && kernel=$PPS
    printf '    %-42s %9s  %s\n' 'arrived at h2' 'packets/s' 'ratio'
    printf '    %-42s %9d  %s\n' 'kernel forwarding, IPv4' "$kernel" 1.00
    printf '    %-42s %9d  %s\n' 'Thalweg, same routes' "$thalweg" "$(ratio "$thalweg" "$kernel")"
    printf '    %-42s %9d  %s\n' 'Thalweg, MPLS push, swap, pop' "$path" "$(ratio "$path" "$kernel")"
    note 'sender, three routers and receiver share these processors, so this is the whole way and not'
    note 'the forwarding alone: `make bench` measures that'
}

step_end() {
    local node left
    step 'Nothing is left'
    OUT=$(find "$DIR/bpf" -mindepth 1)
    prompt '' 'find bpffs -mindepth 1'
    result
    [[ -z $OUT ]] || fail 'pins are left' "$DIR/bpf"
    for node in "${LAB_ROUTERS[@]}"; do
        OUT=$(ip -n "$(ns "$node")" -d link)
        ! says 'xdp|prog/' || fail "a program is left on a link of $node" "ip -n $(ns "$node") -d link"
        OUT=$(ip netns exec "$(ns "$node")" ip link)
    done
    good 'no program, no pin, no table'
    lab_down
    left=$(ip netns list | grep -F "$LAB" || true)
    [[ -z $left ]] || fail "namespaces are left: $left" 'ip netns list'
    [[ ! -e $DIR ]] || fail "files are left" "$DIR"
    good 'namespaces and files are gone'
}

farewell() {
    printf '\n%sAll %d steps went as they should, in %d s.%s\n' "$GREEN" "$STEP" "$SECONDS" "$PLAIN"
    # shellcheck disable=SC2016
    printf '`make lab` leaves the network standing, to try things by hand.\n'
}

# --- tools of the steps --------------------------------------------------------------------

now_ms() { local t=${EPOCHREALTIME/[.,]/}; printf '%s' $((t / 1000)); }

# ratio A B: A/B with two places.
ratio() { printf '%d.%02d' $(($1 / $2)) $(($1 * 100 / $2 % 100)); }

# serve_iperf ADDRESS: a server there. Bound, because UDP would answer from h2's first address otherwise.
serve_iperf() {
    local turn
    inside h2 iperf3 -s -B "$1" >>"$DIR/iperf3" 2>&1 &
    BACKGROUND+=("$!")
    for turn in {1..60}; do
        inside h2 bash -c "exec 3<>'/dev/tcp/$1/5201'" 2>/dev/null && return
        sleep 0.1
    done
    fail "iperf3 does not listen at $1" "$DIR/iperf3"
}

# show_iperf ADDRESS OPTION…: the sums at the end of it.
show_iperf() {
    prompt h1 "iperf3 $(quoted -c "$@")| grep receiver"
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
    show_iperf "$1" -B "$2" -u -b 0 -l 16 -t 2
    ((STATUS == 0)) || fail "iperf3 ended with $STATUS" 'thalweg get drops on r1, r2, r3'
    PPS=$((($(arrived) - before) / 2))
    ((PPS > 0)) || fail 'nothing arrived' 'thalweg get drops on r1, r2, r3'
}

# --- the lab, left standing ----------------------------------------------------------------

what_to_try() {
    local thalweg=${THALWEG#"$PWD"/}
    cat <<TEXT

${BOLD}The lab stands.${PLAIN} Things to try:

  ip netns exec $(ns h1) ping 10.2.0.2
  ip netns exec $(ns h1) traceroute -e -n -q 1 10.2.0.2
  ip netns exec $(ns h1) ping 203.0.113.9            dropped; now look at:
  $thalweg --instance $(ns r1) get drops
  $thalweg --instance $(ns r1) status
  $thalweg --instance $(ns r1) get links|routes|nexthops|neighbors|tables -o wide
  $thalweg --instance $(ns r2) get labels
  $thalweg --instance $(ns r1) explain 'to-h1 < ip 10.1.0.2 > 10.2.0.2 ttl 64 udp 4000 > 53'

  edit $DIR/r1/r1.yaml                    taken when you save it; watch that with:
  $thalweg --instance $(ns r1) status -w
  ip -n $(ns r1) route add 10.77.0.0/16 via 10.0.12.2   learned at once: ... get routes 10.77.0.0/16
  kill -9 \$(cat $DIR/r2.pid)             packets flow on; start it again with:
  $thalweg run -f $DIR/r2 --instance $(ns r2) --netns $(ns r2) --bpffs $DIR/bpf

Logs: $DIR/r1.log, r2.log, r3.log. ${BOLD}scripts/demo.sh --down${PLAIN} takes everything away.
TEXT
}
