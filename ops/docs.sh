#!/usr/bin/env bash
# make docs: the documentation, which reads as a course in Raft, built and pointed at.
# shellcheck source=ops/common.sh
. "$(dirname "$0")/common.sh"

need_build_tools
cargo doc --locked --no-deps --lib
target=${CARGO_TARGET_DIR:-target}
echo "open file://$(cd "$target/doc/kvraft" && pwd)/index.html"
