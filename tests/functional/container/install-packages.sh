#!/bin/sh
# Installs what the tests of containers need on a Debian machine: what pulls images, as on a worker,
# and a registry to pull from. Without root, and without them, those tests are skipped.
set -eu

packages="skopeo docker-registry umoci"

# shellcheck disable=SC2086  # a list of words
if dpkg-query --show --showformat='${db:Status-Status}\n' $packages 2>/dev/null |
	grep -c '^installed$' | grep -qx "$(echo $packages | wc -w)"; then
	exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "not root: the tests of containers will be skipped" >&2
	exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get --quiet=2 update
# shellcheck disable=SC2086
apt-get --quiet=2 --yes install --no-install-recommends $packages >/dev/null
