#!/usr/bin/env bash
# make: builds the three programs in release mode and installs them under $PREFIX/bin.
# shellcheck source=ops/common.sh
. "$(dirname "$0")/common.sh"

prefix=${PREFIX:-$HOME/.local}
build_release
mkdir -p "$prefix/bin"
for program in kvctl kvnode kvsupd; do
    # Beside it and renamed: a program that is running cannot be written over.
    install -m 755 "$bin/$program" "$prefix/bin/.$program.new"
    mv "$prefix/bin/.$program.new" "$prefix/bin/$program"
done
echo "kvctl, kvnode and kvsupd are in $prefix/bin"
case ":$PATH:" in
*":$prefix/bin:"*) ;;
*) echo "Put it on your path: export PATH=\"$prefix/bin:\$PATH\"" ;;
esac
