#!/usr/bin/env bash
# make down: stops the cluster; its data stays. Builds nothing: what started it can stop it.
# shellcheck source=ops/common.sh
. "$(dirname "$0")/common.sh"

name=${NAME:-default}
for kvctl in "${CARGO_TARGET_DIR:-target}/release/kvctl" \
    "${PREFIX:-$HOME/.local}/bin/kvctl" "$(command -v kvctl || true)"; do
    if [ -x "$kvctl" ]; then
        exec "$kvctl" cluster down --name "$name"
    fi
done
die "kvctl was not built here (\`make up\` does), so nothing of this checkout can be running"
