#!/usr/bin/env bash
# The queue, the store, the client's commands and whole runs with real agents, against an
# implementation of SQS and S3 that is not moto's: LocalStack on a loopback port, in a venv of its
# own that is kept for the next time. CONFORMANCE_TESTS=all has the tests, too, that ask little of
# either. The project's own Python is the one of $PYTHON, else that of
# .venv. Arguments go to pytest; a path is one more.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PIP_DISABLE_PIP_VERSION_CHECK=1
venv=.venv-localstack
python=${PYTHON:-.venv/bin/python}

if ! cmp -s tests/conformance/requirements.txt "$venv/installed.txt"; then
  python3 -m venv "$venv"
  # Most of it is never imported, so what is gets compiled when it is.
  "$venv/bin/pip" install -q --no-compile -r tests/conformance/requirements.txt
  cp tests/conformance/requirements.txt "$venv/installed.txt"
fi

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
state=$(mktemp -d)
touch "$state/server.log"
SERVICES=s3,sqs,sts GATEWAY_LISTEN=127.0.0.1:$port LOCALSTACK_HOST=127.0.0.1:$port \
  FILESYSTEM_ROOT=$state DNS_ADDRESS=0 DISABLE_EVENTS=1 SKIP_SSL_CERT_DOWNLOAD=1 \
  "$venv/bin/python" tests/conformance/serve.py >"$state/server.log" 2>&1 </dev/null &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$state"' EXIT

# On a machine that is too busy it gives up, and stays.
until grep -q '^Ready' "$state/server.log"; do
  if ! kill -0 $server || grep 'gave up waiting' "$state/server.log"; then
    cat "$state/server.log"
    exit 1
  fi
  sleep 0.2
done
# What the project asks of S3 and SQS: conditions, listings, versions, batches. Not what records
# say, nor what a test's own server answers; that is the same whatever the store.
core=(tests/functional/core/test_{queue,store,broken_bodies}.py)
client=(tests/functional/client/test_{prep,enqueue,retry,download,clean,jobs,watch,explain}.py
  tests/functional/client/test_{changed,reuse,stored_once,ownership,which_inputs}.py)
if [ "${CONFORMANCE_TESTS:-}" = all ]; then
  core=(tests/functional/core)
  client=(tests/functional/client --ignore=tests/functional/client/test_image.py
    --ignore=tests/functional/client/test_hostile_bucket.py)
fi
CONFORMANCE_ENDPOINT=http://127.0.0.1:$port "$python" -m pytest -q -n 3 --dist worksteal \
  tests/conformance tests/e2e/test_accidents.py "${core[@]}" "${client[@]}" "$@"
