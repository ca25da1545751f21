#!/usr/bin/env bash
# make soak: what takes longer than anybody waits for before a change lands. Simulated lives by the
# ten thousand; every bug of the museum, which must be caught; every scenario; the spec's full
# explorations (about twenty minutes); and every fuzz target for a minute. SEEDS=20000 FROM=0
# SCENARIO_SEEDS=100 are the defaults; a seed that fails prints the command that lives it again.
# shellcheck source=ops/common.sh
. "$(dirname "$0")/common.sh"

need_build_tools

say "build"
cargo build --locked --release --bin kvctl
kvctl=${CARGO_TARGET_DIR:-target}/release/kvctl
say "${SEEDS:-20000} seeds from ${FROM:-0} on"
"$kvctl" sim --seeds "${SEEDS:-20000}" --from "${FROM:-0}" --nodes 3..7
say "every bug of the museum"
"$kvctl" sim --bugs --from "${FROM:-0}"
say "every scenario, ${SCENARIO_SEEDS:-100} seeds each"
for scenario in ops/scenarios/*.toml; do
    "$kvctl" sim --scenario "$scenario" --seeds "${SCENARIO_SEEDS:-100}"
done
bash ops/soak-spec.sh
bash ops/fuzz.sh
