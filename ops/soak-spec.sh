#!/usr/bin/env bash
# Part of make soak: the spec's full explorations, one at a time (tests/spec). Each prints its
# states, transitions, depth, time and memory; a broken promise prints the shortest way to it.
# SPEC=full_loss runs one of them; SPEC_VERBOSE=1 prints a line a level.
# shellcheck source=ops/common.sh
. "$(dirname "$0")/common.sh"

need_build_tools

say "the spec: every state within its bounds"
nice -n 10 cargo test --locked --release --test spec -- \
    --include-ignored --test-threads 1 --nocapture "${SPEC:-full_}"
