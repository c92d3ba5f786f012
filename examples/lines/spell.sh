#!/bin/sh
set -eu
printf '%s has %d letters\n' "$1" "$(printf %s "$1" | tr -cd a-z | wc -c)" > letters.txt
echo letters.txt
