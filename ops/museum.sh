#!/usr/bin/env bash
# make museum: bugs of the museum in living nodes, and `kvctl verify` (or a scenario) that must catch
# each within ten minutes. A checker that has never caught anything proves nothing. The programs are
# built with `--features museum`, into a directory of their own; a node takes the bug that KVRAFT_BUG
# names. BUGS="no-sessions …" chooses.
# shellcheck source=ops/common.sh
. "$(dirname "$0")/common.sh"

need_build_tools

say "build nodes that can have bugs"
target=${CARGO_TARGET_DIR:-target}/museum
cargo build --locked --release --features museum --target-dir "$target"
export PATH="$PWD/$target/release:$PATH"
KVRAFT_HOME=$(mktemp -d "${TMPDIR:-/tmp}/kvraft-museum.XXXXXX")
export KVRAFT_HOME
trap 'kvctl cluster down --purge >/dev/null 2>&1 || true; rm -rf "$KVRAFT_HOME"' EXIT

# trials BUG FAULTS: a minute of faults after the other, until one is a violation.
trials() {
    local seed=1 code
    while [ $((SECONDS - began)) -lt 600 ]; do
        code=0
        kvctl verify --duration 60s --faults "$1" --seed "$seed" -o json \
            --history "$KVRAFT_HOME/history.jsonl" --report "$KVRAFT_HOME/report.html" \
            >"$KVRAFT_HOME/verdict.json" || code=$?
        [ "$code" = 4 ] && return 0
        [ "$code" = 0 ] || [ "$code" = 5 ] || return 1
        seed=$((seed + 1))
    done
    return 1
}

# scenario FILE: its expectations, which must be broken.
scenario() {
    local code=0
    kvctl chaos run "$1" >"$KVRAFT_HOME/verdict.txt" || code=$?
    [ "$code" = 4 ]
}

missed=
for bug in ${BUGS:-unconfirmed-reads no-sessions ack-before-disk forgotten-term pre-vote-raises-term}; do
    case $bug in
    unconfirmed-reads) way="trials partition,isolate,pause" ;;
    no-sessions) way="trials loss,cut,one-way,partition" ;;
    ack-before-disk) way="trials power-cut" ;;
    forgotten-term) way="trials power-cut,kill,crash-loop,partition,isolate" ;;
    pre-vote-raises-term) way="scenario ops/scenarios/half-dead-leader.toml" ;;
    *) die "no way is known to catch $bug on a living cluster" ;;
    esac
    nodes=5
    [ "${way%% *}" = scenario ] && nodes=3
    say "$bug: $way"
    KVRAFT_BUG=$bug kvctl cluster up -n "$nodes" >/dev/null
    began=$SECONDS
    # shellcheck disable=SC2086
    if $way; then
        say "$bug: caught after $((SECONDS - began)) s"
    else
        missed="$missed $bug"
        say "$bug: NOT caught within $((SECONDS - began)) s"
    fi
    kvctl cluster down --purge >/dev/null
done
[ -z "$missed" ] || die "not caught:$missed"
