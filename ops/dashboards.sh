#!/usr/bin/env bash
# make dashboards: each dashboard is held against the types that Grafana publishes, from npm's
# registry. See tests/grafana_schema/dashboard.ts.
# shellcheck source=ops/common.sh
. "$(dirname "$0")/common.sh"

need_node
place=${CARGO_TARGET_DIR:-$root/target}/grafana_schema
mkdir -p "$place"
# Types are looked for beside what imports them.
cp tests/grafana_schema/* "$place/"

# Installed again only if what is wanted has changed.
wanted=$(cat "$place"/package*.json | cksum)
if [ "$(cat "$place/installed" 2>/dev/null)" != "$wanted" ]; then
    say "installing Grafana's types into $place"
    (cd "$place" && npm ci --loglevel error --no-audit --no-fund >&2)
    echo "$wanted" >"$place/installed"
fi
node "$place/check.js" dashboards/*.json
