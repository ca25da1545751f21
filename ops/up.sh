#!/usr/bin/env bash
# make up: five nodes with the sample data in them. Run again, it changes nothing that is up.
# shellcheck source=ops/common.sh
. "$(dirname "$0")/common.sh"

name=${NAME:-default}
nodes=${N:-5}
build_release
kvctl() { "$bin/kvctl" "$@" --name "$name"; }

say "starting $nodes nodes"
kvctl cluster up -n "$nodes" >/dev/null

# The last record of the sample data is there only if all of them once were.
last=debian/bookworm/zydis-tools
if kvctl get "$last" >/dev/null 2>&1; then
    say "the sample data is loaded already"
else
    say "loading 10,576 package records"
    gzip -dc tests/data/packages.jsonl.gz | kvctl import -
fi

# The supervisor asks its nodes four times a second how they are.
sleep 0.5
echo
kvctl cluster status
option=
[ "$name" = default ] || option=" --name $name"
cat <<TRY

Three things to try next:
TRY
case ":$PATH:" in
*":$bin:"*) ;;
*) echo "  (first)  export PATH=\"$bin:\$PATH\"" ;;
esac
cat <<TRY
  read     kvctl get debian/bookworm/bash$option
  break    kvctl node kill leader$option && kvctl put greeting "still here"$option
  watch    kvctl cluster events$option
\`make down\` stops it all and keeps the data.
TRY
