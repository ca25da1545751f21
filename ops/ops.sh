#!/usr/bin/env bash
# make ops: Prometheus beside the cluster that `make up` starts. Debian's package is unpacked beside
# our own build if there is none: installing it would start one on its usual port.
# shellcheck source=ops/common.sh
. "$(dirname "$0")/common.sh"

need_prometheus
build_release
"$bin/kvctl" ops up --name "${NAME:-default}" "$@"
