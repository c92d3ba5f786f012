#!/bin/sh
# ./convert.sh READINGS OUTPUT, in the unit of the row
set -eu
case $PARALLELIZE_VAR_UNIT in
C) formula='{ print $1 " C" }' ;;
F) formula='{ print $1 * 9 / 5 + 32 " F" }' ;;
esac
awk "$formula" "$1" > "$2"
