#!/usr/bin/env bash
# make clients: other languages' client libraries, from their registries, run their examples against a
# cluster of three. See tests/clients/README.md.
# shellcheck source=ops/common.sh
. "$(dirname "$0")/common.sh"

need_build_tools
python3 -c 'import venv, ensurepip' 2>/dev/null || apt_install python3 python3-venv
need_node

place=${CARGO_TARGET_DIR:-$root/target}/clients
examples=$root/tests/clients
mkdir -p "$place/node"

# Installed again only if what is wanted has changed.
wanted=$(cat "$examples/python/requirements.txt" "$examples/node/package-lock.json" | cksum)
if [ "$(cat "$place/installed" 2>/dev/null)" != "$wanted" ]; then
    say "installing the clients into $place"
    python3 -m venv "$place/python"
    "$place/python/bin/pip" install --quiet --disable-pip-version-check \
        -r "$examples/python/requirements.txt"
    cp "$examples"/node/package*.json "$place/node/"
    (cd "$place/node" && npm ci --silent --no-audit --no-fund >&2)
    echo "$wanted" >"$place/installed"
fi

say "building"
# With a test beside them, dependencies are built as for the tests, and not once more.
cargo build --locked --bins --test layering
KVRAFT_HOME=$(mktemp -d)
export KVRAFT_HOME
trap 'rm -rf "$KVRAFT_HOME"' EXIT
export NODE_PATH=$place/node/node_modules

# run COMMAND...: against a cluster of its own, which ends with it.
run() {
    "${CARGO_TARGET_DIR:-$root/target}/debug/kvctl" --name clients cluster run -n 3 -- \
        timeout 120 "$@"
}
say "the clients' examples"
run "$place/python/bin/python" "$examples/python/grpc_examples.py"
run "$place/python/bin/python" "$examples/python/json_examples.py"
run node "$examples/node/examples.js"
