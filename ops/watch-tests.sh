#!/usr/bin/env bash
# make watch-tests: runs the tests again whenever a source file changes. Ends with q or Ctrl-C.
# shellcheck source=ops/common.sh
. "$(dirname "$0")/common.sh"

need_build_tools
runner="test"
cargo nextest --version >/dev/null 2>&1 && runner="nextest run"
if have bacon; then
    job="test"
    [ "$runner" = test ] || job=nextest
    exec bacon "$job"
fi
have watchexec || {
    say "installing watchexec (once; some minutes)"
    cargo install --locked watchexec-cli
}
# shellcheck disable=SC2086 # two words are meant
exec watchexec --restart --clear --watch src --watch bin --watch tests --watch schema \
    --watch Cargo.toml --exts rs,capnp,toml,golden -- cargo $runner
