#!/usr/bin/env bash
# make test: all that must pass before a change lands; the cheapest checks first.
# shellcheck source=ops/common.sh
. "$(dirname "$0")/common.sh"

need_build_tools
need_etcd
need_prometheus
need_chromium
have tmux || apt_install tmux
need_component fmt rustfmt
need_component clippy clippy

say "format"
cargo fmt --all -- --check
say "lints"
cargo clippy --locked --all-targets -- -D warnings
say "docs"
# With the examples (of which there are none), dependencies are looked at as for the lints, and not
# once more.
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --lib --bins --examples
say "tests"
if cargo nextest --version >/dev/null 2>&1; then
    # Two threads a core: see the profile.
    cargo nextest run --locked --no-fail-fast --profile all --test-threads $(($(nproc) * 2))
else
    cargo test --locked --no-fail-fast --lib --bins --tests
fi
say "tests in the documentation"
cargo test --locked --doc
say "dashboards"
bash ops/dashboards.sh
say "other languages' clients"
bash ops/clients.sh
# Last, for it leaves programs with that feature behind.
say "the path of a request, for OpenTelemetry"
bash ops/otel.sh
