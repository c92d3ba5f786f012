#!/bin/sh
# ./interleave.sh FORWARD REVERSE OUTPUT
set -eu
paste -d '\n' "$1" "$2" > "$3"
