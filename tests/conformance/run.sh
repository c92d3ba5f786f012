#!/usr/bin/env bash
# The queue and the store, and a whole run, against an implementation of SQS and S3 that is not
# moto's: LocalStack on a loopback port, in a venv of its own that is kept for the next time.
# The project's own Python is the one of $PYTHON, else that of .venv.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PIP_DISABLE_PIP_VERSION_CHECK=1
venv=.venv-localstack
python=${PYTHON:-.venv/bin/python}

if ! cmp -s tests/conformance/requirements.txt "$venv/installed.txt"; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q -r tests/conformance/requirements.txt
  cp tests/conformance/requirements.txt "$venv/installed.txt"
fi

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
state=$(mktemp -d)
SERVICES=s3,sqs,sts GATEWAY_LISTEN=127.0.0.1:$port LOCALSTACK_HOST=127.0.0.1:$port \
  FILESYSTEM_ROOT=$state DNS_ADDRESS=0 DISABLE_EVENTS=1 SKIP_SSL_CERT_DOWNLOAD=1 \
  "$venv/bin/python" -m localstack.runtime.main >"$state/server.log" 2>&1 </dev/null &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$state"' EXIT

until grep -q '^Ready' "$state/server.log"; do
  kill -0 $server || { cat "$state/server.log"; exit 1; }
  sleep 0.2
done
CONFORMANCE_ENDPOINT=http://127.0.0.1:$port "$python" -m pytest -q \
  tests/functional/core tests/conformance "$@"
