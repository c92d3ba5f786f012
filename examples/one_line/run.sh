#!/bin/sh
# Whole runs in one line each, without a configuration: ./run.sh --local
set -e
cd "$(dirname "$0")"
# A tool that every worker has; the word with a place for the input names the output.
parallelize run "$@" -- sort -f -o {/.}.sorted {} ::: texts/*.txt
# A script beside the command goes along with it.
parallelize run "$@" -- python3 longest.py {} {/.}.longest ::: texts/*.txt
