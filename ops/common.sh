# shellcheck shell=bash
# Sourced by the scripts beside it: finding and installing what a build needs.
#
# The rule: on a Debian where only Rust exists, every target of the Makefile works. What is missing
# comes from Debian's packages; where that is not possible, one line says what to install.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# as_root COMMAND...: runs it as root, through sudo if need be.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        die "this needs root, and there is no sudo; as root, run: $*"
    fi
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 "$@" </dev/null >&2
}

# apt_install PACKAGE...: a machine's package lists may be empty or old, so try twice.
apt_install() {
    have apt-get || die "please install $* (this system has no apt-get)"
    [ "$(id -u)" = 0 ] || have sudo ||
        die "$* is missing; as root, run: apt-get install $*"
    say "installing $*"
    apt install -y --no-install-recommends "$@" 2>/dev/null || {
        apt update
        apt install -y --no-install-recommends "$@"
    } || die "could not install $*; see above"
}

# need_build_tools: Rust itself, a linker, and the compiler of the Cap'n Proto schemas.
need_build_tools() {
    # A shell that was open while rustup ran does not have its directory on the path yet.
    have cargo || PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    have cargo || die "Rust is missing; install it from https://rustup.rs and try again"
    local missing=()
    have cc || missing+=(gcc libc6-dev)
    have capnp || missing+=(capnproto)
    [ ${#missing[@]} = 0 ] || apt_install "${missing[@]}"
}

# unpack PLACE PACKAGE...: Debian's packages, unpacked there and not installed: installing some
# would start a service on its usual ports.
unpack() {
    local place=$1 package
    shift
    have apt-get || die "please install $* (this system has no apt-get)"
    say "fetching $*"
    mkdir -p "$place"
    fetch() (cd "$place" && rm -f ./*.deb && apt-get -qq download "$@" >&2)
    fetch "$@" 2>/dev/null || {
        apt update
        fetch "$@"
    } || die "could not fetch Debian's packages: $*"
    for package in "$place"/*.deb; do dpkg-deb -x "$package" "$place"; done
}

# need_etcd: a real one, and its etcdctl, named by ETCD and ETCDCTL: tests and benchmarks ask it what
# they ask ours.
need_etcd() {
    local place=${CARGO_TARGET_DIR:-$root/target}/etcd
    PATH="$PATH:$place/usr/bin"
    have "${ETCD:-etcd}" && have "${ETCDCTL:-etcdctl}" || unpack "$place" etcd-server etcd-client
    ETCD=$(command -v "${ETCD:-etcd}")
    ETCDCTL=$(command -v "${ETCDCTL:-etcdctl}")
    export ETCD ETCDCTL PATH
}

# need_prometheus: a real one, and its promtool, named by PROMETHEUS and PROMTOOL: tests let it read
# what we show.
need_prometheus() {
    local place=${CARGO_TARGET_DIR:-$root/target}/prometheus
    PATH="$PATH:$place/usr/bin"
    have "${PROMETHEUS:-prometheus}" && have "${PROMTOOL:-promtool}" || unpack "$place" prometheus
    PROMETHEUS=$(command -v "${PROMETHEUS:-prometheus}")
    PROMTOOL=$(command -v "${PROMTOOL:-promtool}")
    export PROMETHEUS PROMTOOL PATH
}

# need_chromium: a browser, named by CHROMIUM, for the tests of the console.
need_chromium() {
    have "${CHROMIUM:-chromium}" || apt_install chromium
    CHROMIUM=$(command -v "${CHROMIUM:-chromium}")
    export CHROMIUM
}

# need_node: node and npm, for what is written for them.
need_node() {
    local missing=()
    have node || missing+=(nodejs)
    have npm || missing+=(npm)
    [ ${#missing[@]} = 0 ] || apt_install "${missing[@]}"
}

# need_component BINARY NAME: a part of the Rust toolchain that a minimal install leaves out.
need_component() {
    cargo "$1" --version >/dev/null 2>&1 && return
    have rustup || die "\`cargo $1\` is missing; install the component $2 of your Rust toolchain"
    say "adding $2 to the Rust toolchain"
    rustup component add "$2"
}

# The commit goes into release builds only: tests would be compiled anew for each.
commit() {
    local id
    id=$(git rev-parse --short=12 HEAD 2>/dev/null) || {
        echo unknown
        return
    }
    git diff --quiet HEAD 2>/dev/null || id=$id-modified
    echo "$id"
}

# Where build_release leaves the programs.
bin=

# build_release: all three programs; afterwards $bin holds them.
build_release() {
    need_build_tools
    say "building (release)"
    KVRAFT_COMMIT=$(commit) cargo build --release --locked --bins ${FEATURES:+--features "$FEATURES"}
    bin=${CARGO_TARGET_DIR:-target}/release
    bin=$(cd "$bin" && pwd)
}
