#!/usr/bin/env bash
# make bench: kvraft against etcd, side by side on this machine; arguments go to the benchmark.
# shellcheck source=ops/common.sh
. "$(dirname "$0")/common.sh"

need_build_tools
target=${CARGO_TARGET_DIR:-target}

# Debian's package, unpacked beside our own build and not installed: installing would start a
# service on etcd's ports.
if [ -z "${ETCD:-}" ] && ! have etcd; then
    ETCD=$target/etcd/usr/bin/etcd
    if [ ! -x "$ETCD" ]; then
        have apt-get || die "etcd is missing; install it, or name it: make bench ETCD=/path/to/etcd"
        say "fetching etcd-server"
        mkdir -p "$target/etcd"
        fetch() { (cd "$target/etcd" && rm -f ./*.deb && apt-get -qq download etcd-server >&2); }
        fetch 2>/dev/null || {
            apt update
            fetch
        } || die "could not fetch Debian's package etcd-server"
        dpkg-deb -x "$target"/etcd/etcd-server_*.deb "$target/etcd"
    fi
fi
export ETCD=${ETCD:-$(command -v etcd)}
KVRAFT_COMMIT=$(commit)
export KVRAFT_COMMIT
exec cargo bench --locked --bench against_etcd -- "$@"
