#!/bin/sh
# Installs what tests/image needs on a Debian machine, and R for a recipe of docs/dependencies.md;
# without root those tests are skipped.
set -eu

packages="mmdebstrap systemd-container iproute2 dnsmasq-base qemu-system-x86 qemu-utils seabios \
	e2fsprogs zstd openssh-client nftables packer shellcheck r-base-core"

# shellcheck disable=SC2086  # a list of words
if dpkg-query --show --showformat='${db:Status-Status}\n' $packages 2>/dev/null |
	grep -c '^installed$' | grep -qx "$(echo $packages | wc -w)"; then
	exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "not root: the tests of the machine image will be skipped" >&2
	exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get --quiet=2 update
# shellcheck disable=SC2086
apt-get --quiet=2 --yes install --no-install-recommends $packages >/dev/null
