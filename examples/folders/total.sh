#!/bin/sh
set -eu
cat "$@" | awk '{ sum += $1 } END { print sum }' > total.txt
echo total.txt
