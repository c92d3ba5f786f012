#!/bin/sh
# Measure every module of this Python's standard library: ./run.sh [OPTION OF parallelize run]...
set -e
cd "$(dirname "$0")"
python3 list_modules.py > modules.txt
exec parallelize run "$@"
