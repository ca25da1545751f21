#!/usr/bin/env bash
# make otel: what the feature `otel` adds: a request's path, told to a collector of OpenTelemetry.
# shellcheck source=ops/common.sh
. "$(dirname "$0")/common.sh"

need_build_tools
need_component clippy clippy
cargo clippy --locked --features otel --lib --bins --test request_path -- -D warnings
cargo test --locked --features otel --test request_path
