#!/usr/bin/env bash
# The queue, the store, the client's commands and whole runs with real agents, against an
# implementation of SQS and S3 that is not moto's: LocalStack on a loopback port, in a venv of its
# own that is kept for the next time. The project's own Python is the one of $PYTHON, else that of
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
# Not what records say, which is the same in every store.
CONFORMANCE_ENDPOINT=http://127.0.0.1:$port "$python" -m pytest -q -n 3 --dist worksteal \
  tests/conformance tests/e2e/test_accidents.py \
  tests/functional/client tests/functional/core \
  --ignore=tests/functional/client/test_image.py \
  --ignore=tests/functional/client/test_hostile_bucket.py "$@"
