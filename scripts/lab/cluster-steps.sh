# shellcheck shell=bash disable=SC2016
# The second act, on the network of nodes and pods: one function a step. Sourced by scripts/demo.sh.

# Where the service is.
BALANCER=198.51.100.80:80 NODE_PORT=203.0.113.1:30080
CLIENT=203.0.113.9
# How many requests measure the balance, and which share of all a pod's count may be off by, in percent.
BALANCE_REQUESTS=2000 BALANCE_ERROR=5
# The load under which a pod leaves.
LOAD_REQUESTS=3000 LOAD_RATE=600 HELD_REQUESTS=24

declare -A SERVER=() SHARE=() COUNT=()

cluster_steps() {
    printf '%s\n' build agents requests logs explain balance leave balance_after end
}

cluster_build() {
    step 'A second network: two nodes of a cluster, three pods that serve, a client outside'
    lab_build
    lab_offloads
    cat <<'PICTURE'
    client ──────────── node1 ════ VXLAN ════ node2
    203.0.113.9           │     192.0.2.0/24    │ └──────────┐
                        pod-a                 pod-b        pod-c
                     10.244.1.10           10.244.2.10  10.244.2.11
PICTURE
    cluster_serve
    show client thalweg-lab ask "$BALANCER"
    ((STATUS != 0)) || fail 'somebody answers although there is no service' "ip -n $(ns node1) route"
    good 'the kernel alone knows no service'
}

# A server in each pod.
cluster_serve() {
    local pod
    for pod in "${CLUSTER_PODS[@]}"; do
        prompt "$pod" "thalweg-lab serve $pod $(pod_address "$pod"):8080 > $pod.log &"
        pod_serve "$pod"
    done
}

cluster_agents() {
    step 'An agent for each node, and a service of Kubernetes: no kube-proxy, no iptables'
    start_agents
    good "both have their configuration in force ($TOOK ms)"
    show node1 thalweg get services
    says 'LoadBalancer' || fail 'node1 has no service' 'the log of node1'
    show node1 thalweg get backends
    show node1 thalweg get routes 10.244.2.0/24
    says 'tunnel vxlan to 192\.0\.2\.2' || fail 'node1 knows no tunnel to node2' 'the log of node1'
    good 'the objects of the cluster became frontends, backends and a tunnel'
}

cluster_requests() {
    local pod
    step 'Requests from outside, answered by pods of both nodes'
    until_served || fail 'the service does not answer' 'thalweg get drops --all on node1 and node2'
    asks "$BALANCER" 100
    for pod in "${CLUSTER_PODS[@]}"; do
        says "^$pod " || fail "$pod has not answered" "thalweg get backends on node1; $DIR/$pod.log"
    done
    note 'and at the port that every node has for it:'
    asks "$NODE_PORT" 100
    good 'by the load balancer'\''s address and by the node port: nothing failed'
}

cluster_logs() {
    local pod others
    step 'Whom the pods see: the client itself'
    for pod in "${CLUSTER_PODS[@]}"; do
        [[ -s $DIR/$pod.log ]] || fail "$pod has logged nothing" "$DIR/$pod.log"
        show "$pod" tail -n 2 "$pod.log"
    done
    others=$(cat "$DIR"/pod-?.log | grep -vcE "^$CLIENT:[0-9]+ \"GET /\" 200\$") || true
    ((others == 0)) || fail "$others lines of the logs are not the client's" "$DIR/pod-a.log and so on"
    show node2 ip route get "$CLIENT"
    good "every line of the logs says $CLIENT, and node2 has no route to it:"
    note 'its answers go back through the tunnel to the node that the client spoke to'
}

cluster_explain() {
    local port wrapped
    step 'One packet, node by node'
    # Which pod serves depends on the client's port; take the first that node2 has.
    for port in {40000..40040}; do
        OUT=$(thalweg_of node1 explain "$(first_packet "$port")" 2>&1) || true
        ! says 'backend 10\.244\.2\.' || break
    done
    show node1 thalweg explain "$(first_packet "$port")"
    says '^service +shop/web at 198\.51\.100\.80:80' || fail 'node1 sees no service in it' 'thalweg get services on node1'
    says '^next hop .*tunnel vxlan to 192\.0\.2\.2' || fail 'it does not go through the tunnel' 'thalweg get routes on node1'
    wrapped=$(thalweg_of node1 explain "$(first_packet "$port")" | sed -nE 's/^result +to-node2 > //p')
    show node2 thalweg explain "to-node1 < $wrapped"
    says '^tunnel +from node node1' || fail 'node2 does not take it out of the tunnel' 'thalweg get drops on node2'
    says "^result +veth-[bc] > .* ip ${CLIENT//./\\.} > 10\\.244\\.2\\." || fail 'it does not reach the pod' 'thalweg get routes on node2'
    good 'what node1 would send is what node2 was asked about; the pod gets it with the source it had'
}

cluster_balance() {
    step "Maglev's balance, in $BALANCE_REQUESTS requests"
    measure_balance before
    chart before
    good "nobody is off by more than $BALANCE_ERROR % of all requests"
}

cluster_leave() {
    local load held
    step 'A pod leaves under load; no request fails'
    asks_behind load --times "$LOAD_REQUESTS" --rate "$LOAD_RATE" --every 500
    load=$!
    note "and $HELD_REQUESTS requests that take their time, so that pod-c has connections when it leaves:"
    asks_behind held --times "$HELD_REQUESTS" --at-once "$HELD_REQUESTS" --pause 2500
    held=$!
    sleep 1
    note 'The cluster says that pod-c is to end. Who has a connection keeps it, new ones go elsewhere:'
    write_endpoints '/10\.244\.2\.11/s/}$/, conditions: {ready: false, serving: true, terminating: true}}/'
    until_without 10.244.2.11 || fail 'node1 does not see that pod-c is ending' 'thalweg get backends on node1'
    show node1 thalweg get backends
    sleep 0.8
    note 'Then that it is gone. Its server ends when its last connection has ended:'
    write_endpoints '/10\.244\.2\.11/d'
    until_idle pod-c || fail 'pod-c gets connections although it is gone' 'thalweg get flows on node1 and node2'
    prompt pod-c "kill ${SERVER[pod-c]}"
    kill "${SERVER[pod-c]}"
    kill -0 "$load" 2>/dev/null || note 'this machine is busy: the load had ended before'
    ended held "$held" "$HELD_REQUESTS"
    says '^pod-c ' || fail 'no connection of pod-c was among them' "$DIR/held"
    ended load "$load" "$LOAD_REQUESTS"
    good "$LOAD_REQUESTS requests at $LOAD_RATE a second, each with a connection of its own: 0 failed"
}

cluster_balance_after() {
    step 'The balance without it'
    show node1 thalweg get backends
    measure_balance after
    note 'before:'
    chart before
    note 'after:'
    chart after
    ((${COUNT[after:pod-c]-0} == 0)) || fail 'pod-c still gets requests' 'thalweg get backends on node1'
    good 'those that are left share what pod-c had'
}

cluster_end() {
    step 'The agents stop, Thalweg lets go, nothing is left'
    stop_agents
    asks "$BALANCER" 100
    good 'no agent runs, and requests are answered'
    detach_agents
    show client thalweg-lab ask "$BALANCER"
    ((STATUS != 0)) || fail 'somebody still serves' "ip -n $(ns node1) -d link"
    nothing_left
}

# --- tools of the steps --------------------------------------------------------------------

# until_served: a few seconds for what the kernel and the agents resolve at first, on the way to each pod.
until_served() {
    for _ in {1..10}; do
        inside client "$LAB_HELPER" ask "$BALANCER" --times 32 >/dev/null 2>&1 && return 0
        sleep 0.2
    done
    return 1
}

# asks ADDRESS:PORT TIMES: shows requests, all of which are answered.
asks() {
    show client thalweg-lab ask "$1" --times "$2"
    ((STATUS == 0)) || fail 'not every request was answered' 'thalweg get drops --all on node1 and node2'
}

# asks_behind NAME OPTION…: requests in the background, with what comes of them in a file of that name.
asks_behind() {
    prompt client "thalweg-lab ask $BALANCER ${*:2} &"
    behind client "$DIR/$1" "$LAB_HELPER" ask "$BALANCER" "${@:2}"
}

# ended NAME PID TIMES: waits for them and shows what came of them: all were answered.
ended() {
    local failed
    wait "$2" || true
    OUT=$(<"$DIR/$1")
    prompt client fg
    result
    failed=$(sed -nE 's/^[0-9]+ requests, ([0-9]+) failed.*/\1/p' <<<"$OUT")
    [[ $failed == 0 ]] || fail "${failed:-all} of $3 requests failed" 'thalweg get drops on node1 and node2'
    says "^$3 requests, 0 failed" || fail 'some requests were not made' "$DIR/$1"
}

# until_without ADDRESS: waits until it is no backend at node1 any more.
until_without() {
    for _ in {1..100}; do
        OUT=$(thalweg_of node1 get backends 2>&1) || true
        if says '10\.244\.1\.10' && ! says "$1"; then return 0; fi
        sleep 0.05
    done
    return 1
}

# until_idle POD: waits until it has no connection, three times in a row.
until_idle() {
    local idle=0
    for _ in {1..200}; do
        OUT=$(inside "$1" ss -Htn state connected exclude time-wait)
        if [[ -z $OUT ]]; then idle=$((idle + 1)); else idle=0; fi
        ((idle < 3)) || return 0
        sleep 0.05
    done
    return 1
}

# write_endpoints EXPRESSION: changes both nodes' copies of the endpoints by sed, at once.
write_endpoints() {
    local node
    for node in "${CLUSTER_AGENTS[@]}"; do
        sed -E "$1" "$DIR/$node/endpoints.yaml" >"$DIR/$node/.new"
        mv "$DIR/$node/.new" "$DIR/$node/endpoints.yaml"
    done
    prompt node1 "grep addresses: node1/endpoints.yaml"
    OUT=$(grep addresses: "$DIR/node1/endpoints.yaml")
    result
}

# measure_balance WHEN: shares as node1 has them, and who answers how many of many requests. Kept in SHARE
# and COUNT.
measure_balance() {
    local when=$1 pod share count wished
    OUT=$(thalweg_of node1 get backends 2>&1)
    for pod in "${CLUSTER_PODS[@]}"; do
        share=$(awk -v at="$(pod_address "$pod"):8080" '$3 == at { print $5 }' <<<"$OUT")
        SHARE[$when:$pod]=${share:-0.0}
    done
    prompt client "thalweg-lab ask $BALANCER --times $BALANCE_REQUESTS"
    OUT=$(inside client "$LAB_HELPER" ask "$BALANCER" --times "$BALANCE_REQUESTS" 2>&1) || { result; fail 'requests failed'; }
    for pod in "${CLUSTER_PODS[@]}"; do
        count=$(awk -v pod="$pod" '$1 == pod { print $2 }' <<<"$OUT")
        COUNT[$when:$pod]=${count:-0}
        wished=${SHARE[$when:$pod]}
        wished=$((${wished/./} * BALANCE_REQUESTS / 1000))
        count=$((COUNT[$when:$pod] - wished))
        ((${count#-} * 100 <= BALANCE_ERROR * BALANCE_REQUESTS)) ||
            fail "$pod answered ${COUNT[$when:$pod]} requests where its share is $wished" 'thalweg get backends on node1'
    done
    OUT=$(tail -n 1 <<<"$OUT")
    result
}

# first_packet PORT: of a connection of the client's from that port, in the words of explain.
first_packet() { printf 'to-client < ip %s > %s ttl 64 tcp %d > 80 syn' "$CLIENT" "${BALANCER%:*}" "$1"; }

# chart WHEN: what was measured then, as bars; a whole line of 50 is all requests.
chart() {
    local pod node length bar
    printf '    %-5s  %-5s  %7s  %8s\n' pod node share requests
    for pod in "${CLUSTER_PODS[@]}"; do
        node=node2
        [[ $pod != pod-a ]] || node=node1
        # In halves.
        length=$(((${COUNT[$1:$pod]} * 100 + BALANCE_REQUESTS / 2) / BALANCE_REQUESTS))
        printf -v bar '%*s' $((length / 2)) ''
        bar=${bar// /█}
        ((length % 2 == 0)) || bar+=▌
        printf '    %-5s  %-5s  %5s %%  %8d%s\n' "$pod" "$node" "${SHARE[$1:$pod]}" "${COUNT[$1:$pod]}" \
            "${bar:+  $GREEN$bar$PLAIN}"
    done
}

# --- the lab, left standing ----------------------------------------------------------------

cluster_to_try() {
    local program=${THALWEG#"$ROOT"/} helper=${LAB_HELPER#"$ROOT"/}
    cat <<TEXT

${BOLD}The lab stands.${PLAIN} Things to try:

  ip netns exec $(ns client) $helper ask $BALANCER --times 100
  tail $DIR/pod-b.log                       whom the pods see
  $program --instance $(ns node1) get services|backends|flows|routes|drops
  $program --instance $(ns node1) explain 'to-client < ip $CLIENT > ${BALANCER%:*} ttl 64 tcp 40000 > 80 syn'

  edit $DIR/node1/endpoints.yaml            taken when you save it; node2 has its own copy
  kill -9 \$(cat $DIR/node1.pid)             requests are answered; start it again with:
  $program run -f $DIR/node1 --instance $(ns node1) --netns $(ns node1) --bpffs $DIR/bpf --state $DIR/node1.state

Logs: $DIR/node1.log, node2.log. ${BOLD}scripts/demo.sh --down${PLAIN} takes everything away.
TEXT
}
