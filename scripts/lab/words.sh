# shellcheck shell=bash disable=SC2016
# The words in which the demo shows its steps, and what several of them need. Sourced by scripts/demo.sh.

STEP=0 STEP_TITLE='' OUT='' STATUS=0
DIM='' COLOR=never
[[ ! -t 1 ]] || DIM=$'\e[2m' COLOR=always

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
    local router kept
    if (($1 > 128)); then
        printf '\ninterrupted in step %d: taking everything away\n' "$STEP" >&2
        return 0
    fi
    printf '\n%serror: step %d (%s) did not go as it should%s\n' "$RED" "$STEP" "$STEP_TITLE" "$PLAIN" >&2
    for router in "${LAB_AGENTS[@]}"; do
        [[ -s $DIR/$router.log ]] || continue
        printf '  last words of the agent of %s:\n' "$router" >&2
        tail -n 6 "$DIR/$router.log" | sed 's/^/    /' >&2
        kept=${kept:-$(mktemp -d "${TMPDIR:-/tmp}/thalweg-logs.XXXXXX")}
        cp "$DIR/$router.log" "$kept/"
    done
    [[ -z ${kept-} ]] || printf '  the whole logs: %s\n' "$kept" >&2
    printf '  try: `make lab`, then the commands of this step by hand; `scripts/demo.sh --down` ends it\n' >&2
}

# prompt NODE WORDS: a command as one would type it in that namespace.
prompt() { printf '  %s%s#%s %s\n' "$BOLD" "$1" "$PLAIN" "$2"; }

# quoted ARGUMENT…: as a shell would want it.
quoted() {
    local word gap=''
    for word in "$@"; do
        case $word in
            *[!A-Za-z0-9_./:=,-]*) printf "%s'%s'" "$gap" "$word" ;;
            *) printf '%s%s' "$gap" "$word" ;;
        esac
        gap=' '
    done
}

# result [PATTERN]: OUT, indented, without empty lines and those that match.
result() { sed -E -e '/^[[:space:]]*$/d' ${1:+-e "/$1/d"} -e 's/^/    /' <<<"$OUT"; }

# What ping says before its sums.
PING_HEAD='^PING |^--- '

# show NODE COMMAND…: shows it and what it says. Leaves OUT and STATUS.
show() {
    local node=$1
    shift
    prompt "$node" "$(quoted "$@")"
    STATUS=0
    case $1 in
        thalweg)
            shift
            OUT=$(thalweg_of "$node" --color "$COLOR" "$@" 2>&1) || STATUS=$?
            result ;;
        thalweg-lab)
            shift
            OUT=$(inside "$node" "$LAB_HELPER" "$@" 2>&1) || STATUS=$?
            result ;;
        *)
            OUT=$(inside "$node" "$@" 2>&1) || STATUS=$?
            result "$([[ $1 != ping ]] || printf '%s' "$PING_HEAD")" ;;
    esac
}

# says PATTERN: whether OUT has a line that matches, colors aside.
# shellcheck disable=SC2001
says() { sed 's/\x1b\[[0-9;]*m//g' <<<"$OUT" | grep -E -- "$1" >/dev/null; }

# until_answered NODE ADDRESS [FROM]: a few seconds for what the kernel and the agents resolve at first.
until_answered() {
    for _ in {1..25}; do
        inside "$1" ping -q -c 1 -W 0.2 ${3:+-I "$3"} "$2" >/dev/null 2>&1 && return 0
    done
    return 1
}

# pings NODE ADDRESS: ten of them, and every one comes back.
pings() {
    show "$1" ping -q -c 10 -i 0.05 -W 1 "$2"
    says ' 0% packet loss' || fail "not every packet came back" "thalweg get drops --all on r1, r2, r3"
}

# --- what begins and ends every act --------------------------------------------------------

now_ms() { local t=${EPOCHREALTIME/[.,]/}; printf '%s' $((t / 1000)); }

# start_agents: all of them, with their files. Leaves TOOK, in milliseconds.
start_agents() {
    local router started
    lab_files
    started=$(now_ms)
    for router in "${LAB_AGENTS[@]}"; do
        prompt "$router" "thalweg run -f $router/ &"
        agent_start "$router"
    done
    for router in "${LAB_AGENTS[@]}"; do
        if ! agent_ready "$router"; then
            show "$router" thalweg status
            fail "the agent of $router is not ready" "the log of $router"
        fi
    done
    TOOK=$(($(now_ms) - started))
}

stop_agents() {
    local router
    for router in "${LAB_AGENTS[@]}"; do
        prompt "$router" "kill ${AGENT[$router]}"
        agent_stop "$router"
    done
}

detach_agents() {
    local router
    for router in "${LAB_AGENTS[@]}"; do
        prompt "$router" 'thalweg detach | grep program'
        STATUS=0
        OUT=$(thalweg_of "$router" detach --bpffs "$DIR/bpf" 2>&1) || STATUS=$?
        ((STATUS == 0)) || { result; fail "detach ended with $STATUS" "find $DIR/bpf"; }
        OUT=$(grep program <<<"$OUT") || true
        result
    done
}

# nothing_left: takes the network away; before and after, nothing of ours may be left.
nothing_left() {
    local node left
    # The BPF file system is our own; but for two files of the kernel's it has to be empty.
    prompt '' 'find bpf -mindepth 1 -not -name "*.debug"'
    OUT=$(find "$DIR/bpf" -mindepth 1 -not -name '*.debug')
    result
    [[ -z $OUT ]] || fail 'pins are left' "$DIR/bpf"
    for node in "${LAB_AGENTS[@]}"; do
        OUT=$(ip -n "$(ns "$node")" -d link)
        ! says 'prog/' || fail "a program is left on a link of $node" "ip -n $(ns "$node") -d link"
    done
    good 'no program, no pin, no table'
    cd /
    lab_down
    left=$(ip netns list | grep -F "$LAB" || true)
    [[ -z $left ]] || fail "namespaces are left: $left" 'ip netns list'
    [[ ! -e $DIR ]] || fail "files are left" "$DIR"
    prompt '' "ip netns list | grep $LAB"
    good 'namespaces and files are gone'
}

farewell() {
    printf '\n%sAll %d steps went as they should, in %d s.%s\n' "$GREEN" "$STEP" "$SECONDS" "$PLAIN"
    printf '`make lab` leaves the first network standing, to try things by hand, `make lab ACT=cluster` the second, `make lab ACT=policies` the third.\n'
}
