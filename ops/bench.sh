#!/usr/bin/env bash
# make bench: kvraft against etcd, side by side on this machine; arguments go to the benchmark.
# shellcheck source=ops/common.sh
. "$(dirname "$0")/common.sh"

need_build_tools
need_etcd
KVRAFT_COMMIT=$(commit)
export KVRAFT_COMMIT
exec cargo bench --locked --bench against_etcd -- "$@"
