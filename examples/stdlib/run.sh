#!/bin/sh
# Measure every module of this Python's standard library, tests left out: ./run.sh --local
set -e
cd "$(dirname "$0")"
ln -sfn "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" library
find library/ -name '*.py' -not -path '*/test*/*' -not -path '*/idle_test/*' \
  -not -path '*/*-packages/*' | sort > modules.txt
exec parallelize run "$@"
