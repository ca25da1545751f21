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

# repeat COMMAND…: with one seed after the other, until what it finds is a violation.
repeat() {
    local seed=1 code
    while [ $((SECONDS - began)) -lt 600 ]; do
        code=0
        "$@" --seed "$seed" --history "$KVRAFT_HOME/history.jsonl" \
            --report "$KVRAFT_HOME/report.html" >"$KVRAFT_HOME/verdict.txt" || code=$?
        [ "$code" = 4 ] && return 0
        [ "$code" = 0 ] || [ "$code" = 5 ] || return 1
        seed=$((seed + 1))
    done
    return 1
}

# trials FAULTS: minutes of faults, on a cluster of five.
trials() {
    kvctl cluster up -n 5 >/dev/null
    repeat kvctl verify --duration 60s --faults "$1"
}

# scenario NAME: its expectations, of which one must be broken; and none without the bug.
scenario() {
    env -u KVRAFT_BUG kvctl chaos run "ops/scenarios/$1.toml" --up >"$KVRAFT_HOME/verdict.txt" ||
        die "$1 fails without the bug: $(grep -E 'BROKEN|NO  ' "$KVRAFT_HOME/verdict.txt")"
    began=$SECONDS
    repeat kvctl chaos run "ops/scenarios/$1.toml" --up
}

missed=
for bug in ${BUGS:-unconfirmed-reads no-sessions ack-before-disk forgotten-term no-pre-vote}; do
    case $bug in
    unconfirmed-reads) way="trials partition,isolate,pause" ;;
    no-sessions) way="trials loss,cut,one-way,partition" ;;
    ack-before-disk) way="trials power-cut" ;;
    forgotten-term) way="scenario voters-lose-power" ;;
    no-pre-vote) way="scenario half-dead-leader" ;;
    *) die "no way is known to catch $bug on a living cluster" ;;
    esac
    say "$bug: $way"
    export KVRAFT_BUG=$bug
    began=$SECONDS
    # shellcheck disable=SC2086
    if $way; then
        say "$bug: caught after $((SECONDS - began)) s"
    else
        missed="$missed $bug"
        say "$bug: NOT caught within $((SECONDS - began)) s"
    fi
    grep -E "BROKEN|NO  |^ *[0-9]+\. process" "$KVRAFT_HOME/verdict.txt" | head -12 || true
    kvctl cluster down --purge >/dev/null 2>&1 || true
done
[ -z "$missed" ] || die "not caught:$missed"
