# shellcheck shell=bash disable=SC2016
# The third act, on the node with a shop and an attacker: one function a step. Sourced by scripts/demo.sh.

# Where the database listens, and how long a transfer under way takes.
DATABASE=10.244.3.11:8080 TRANSFER_PAUSE=2500

policies_steps() {
    printf '%s\n' build agents open preview applied seen end
}

policies_build() {
    step 'A third network: a node with a shop, and an attacker'
    lab_build
    cat <<'PICTURE'
    shop/front ────────┐
    10.244.3.10        │
                      node ──────── shop/db
                       │            10.244.3.11
    attacker/spy ──────┘
    10.244.3.66
PICTURE
    prompt db "thalweg-lab serve db $DATABASE > db.log &"
    behind db "$DIR/db.log" "$LAB_HELPER" serve db "$DATABASE"
    good 'no policy yet'
}

policies_agents() {
    step 'An agent, with the pods and namespaces of the cluster'
    start_agents
    good "its configuration is in force ($TOOK ms)"
    show node thalweg policy matrix -f node
}

policies_open() {
    local pod
    step 'Where no policy is, everybody reaches everybody'
    until_heard || fail 'the database does not answer' 'thalweg get drops --all on node'
    for pod in front spy; do
        show "$pod" thalweg-lab ask "$DATABASE" --times 20
        ((STATUS == 0)) || fail "$pod had no answer" 'thalweg get drops on node'
    done
    good 'the attacker reads the database'
}

policies_preview() {
    step 'A policy, and what it would change'
    mkdir "$DIR/new"
    cp "$DIR/node/pods.yaml" "$ROOT/scripts/lab/policies/policy.yaml" "$DIR/new/"
    prompt node 'cat new/policy.yaml'
    OUT=$(<"$DIR/new/policy.yaml")
    result
    show node thalweg policy diff --from node -f new
    says 'spy' || fail 'nothing would be closed to the attacker' 'thalweg policy matrix -f new'
    good 'said before it is applied'
}

policies_applied() {
    local front spy
    step 'Applied while transfers run: the one is cut, the other is not'
    prompt front "thalweg-lab ask $DATABASE --times 4 --pause $TRANSFER_PAUSE &"
    behind front "$DIR/front.heard" "$LAB_HELPER" ask "$DATABASE" --times 4 --pause "$TRANSFER_PAUSE"
    front=$!
    prompt spy "thalweg-lab ask $DATABASE --times 4 --pause $TRANSFER_PAUSE &"
    behind spy "$DIR/spy.heard" "$LAB_HELPER" ask "$DATABASE" --times 4 --pause "$TRANSFER_PAUSE"
    spy=$!
    sleep 1
    show node thalweg get flows --state established
    prompt node 'mv new/policy.yaml node/'
    mv "$DIR/new/policy.yaml" "$DIR/node/"
    until_policy || fail 'the policy does not come into force' 'the log of node'
    wait "$front" || true
    wait "$spy" || true
    OUT=$(<"$DIR/front.heard")
    prompt front fg
    result
    says '^4 requests, 0 failed' || fail 'the shop lost a transfer' 'thalweg get flows on node'
    OUT=$(<"$DIR/spy.heard")
    prompt spy fg
    result
    says '^4 requests, 4 failed' || fail 'a transfer of the attacker went on' 'thalweg get flows on node'
    good 'what was allowed went on, what was not ended with its next packet'
}

policies_seen() {
    step 'Who decided, and where that is written'
    show front thalweg-lab ask "$DATABASE" --times 20
    ((STATUS == 0)) || fail 'the shop has no answer' 'thalweg get drops on node'
    show node thalweg explain "veth-spy < ip 10.244.3.66 > 10.244.3.11 ttl 64 tcp 40000 > 8080 syn"
    says 'drop policy' || fail 'it is not explained' 'thalweg policy explain on node'
    show node thalweg policy explain attacker/spy shop/db tcp 8080
    says 'node/policy\.yaml:' || fail 'the file is not named' 'thalweg describe policy shop/db on node'
    show node thalweg drops --reason policy -n 3
    says 'by: ingress' || fail 'drops do not name what decided' 'thalweg get drops on node'
    show node thalweg get policies
    good 'tier, policy, rule, file and line'
}

policies_end() {
    step 'The agent stops; the policy holds until Thalweg lets go'
    stop_agents
    show spy thalweg-lab ask "$DATABASE"
    ((STATUS != 0)) || fail 'the attacker is let in' 'the programs of node'
    show front thalweg-lab ask "$DATABASE" --times 20
    ((STATUS == 0)) || fail 'the shop is locked out' 'the programs of node'
    good 'no agent runs, and the policy is in force'
    detach_agents
    nothing_left
}

# --- tools of the steps --------------------------------------------------------------------

# until_heard: a few seconds for what the kernel resolves at first.
until_heard() {
    for _ in {1..20}; do
        inside front "$LAB_HELPER" ask "$DATABASE" >/dev/null 2>&1 &&
            inside spy "$LAB_HELPER" ask "$DATABASE" >/dev/null 2>&1 && return 0
        sleep 0.2
    done
    return 1
}

# until_policy: waits until the agent has the policy.
until_policy() {
    for _ in {1..100}; do
        OUT=$(thalweg_of node get policies 2>&1) || true
        if says 'shop/db .*in force'; then return 0; fi
        sleep 0.05
    done
    return 1
}

# --- the lab, left standing ----------------------------------------------------------------

policies_to_try() {
    local program=${THALWEG#"$ROOT"/} helper=${LAB_HELPER#"$ROOT"/}
    cp "$ROOT/scripts/lab/policies/policy.yaml" "$DIR/policy.yaml"
    pod_of_database
    cat <<TEXT

${BOLD}The lab stands.${PLAIN} Things to try:

  ip netns exec $(ns spy) $helper ask $DATABASE
  cp $DIR/policy.yaml $DIR/node/            taken when it is there
  $program --instance $(ns node) get policies|flows|drops
  $program --instance $(ns node) drops -f
  $program --instance $(ns node) explain 'veth-spy < ip 10.244.3.66 > 10.244.3.11 ttl 64 tcp 40000 > 8080 syn'

Logs: $DIR/node.log. ${BOLD}scripts/demo.sh --down${PLAIN} takes everything away.
TEXT
}

# The database of a lab that is left standing, with a session of its own.
pod_of_database() {
    setsid ip netns exec "$(ns db)" "$LAB_HELPER" serve db "$DATABASE" </dev/null >>"$DIR/db.log" 2>&1 9>&- &
    printf '%s\n' "$!" >"$DIR/db.server"
    disown "$!"
}
