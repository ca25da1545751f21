#!/usr/bin/env bash
# Part of make soak: every decoder of bytes from outside, and the core's one door, under libFuzzer.
# SECONDS_EACH=60 for each target; TARGETS="raft_step kv_values" for some of them; MERGE=1 adds what
# was found to the corpus that is kept (fuzz/corpus), as few files as cover the same code.
#
# cargo-fuzz wants a nightly toolchain for its sanitizers. Our code is safe Rust, and what it can do
# wrong is panic, which needs none: so libFuzzer's coverage alone, which any toolchain has.
# shellcheck source=ops/common.sh
. "$(dirname "$0")/common.sh"

need_build_tools
have c++ || apt_install g++ # libFuzzer itself

all="peer_batch client_request configuration kv_values kv_apply kv_restore log_open snapshot_file record raft_step"
seconds=${SECONDS_EACH:-60}
host=$(rustc -vV | sed -n 's/^host: //p')
build=${CARGO_TARGET_DIR:-target}/fuzz

say "building the fuzzer"
# With --target, the flags spare build scripts.
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=1" \
    cargo build --locked --release --manifest-path fuzz/Cargo.toml --target "$host" \
    --target-dir "$build"
fuzz=$build/$host/release/fuzz

status=0
for target in ${TARGETS:-$all}; do
    export FUZZ_TARGET=$target
    work=$build/work/$target kept=fuzz/corpus/$target
    mkdir -p "$work" "$kept"
    FUZZ_SAMPLES=$work "$fuzz" 2>/dev/null
    say "$target for $seconds s"
    # A finding stops its target; its input is kept beside, and named.
    nice -n 10 "$fuzz" "$work" "$kept" -max_total_time="$seconds" -max_len=4096 -timeout=10 \
        -rss_limit_mb=2048 -artifact_prefix="$build/$target-" -print_final_stats=1 -verbosity=0 2>&1 |
        tee "$build/$target.log" | grep -E 'panicked|number_of_executed|SUMMARY|Test unit|rss' || true
    if grep -q '^SUMMARY\|deadly signal' "$build/$target.log"; then
        status=1
        echo "$target: see $build/$target.log; put the input that it names into $kept as found-…" >&2
    elif [ -n "${MERGE:-}" ]; then
        # As few files as reach the same code, of what was kept and what was found.
        mkdir -p "$build/merged"
        find "$build/merged" -type f -delete
        "$fuzz" -set_cover_merge=1 -use_counters=0 "$build/merged" "$kept" "$work" \
            >/dev/null 2>&1
        find "$kept" -type f ! -name 'found-*' -delete # findings stay, by their names
        cp "$build/merged"/* "$kept"
    fi
done
exit $status
