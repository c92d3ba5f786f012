#!/bin/sh
# Installs what tests of the machine image and of containers need on a Debian machine: what builds and
# boots an image, what pulls one for a job, a registry to pull it from; R for a recipe of
# docs/dependencies.md, with jsonlite for examples/warm; and jq for that and a line of docs/report.md.
# Without root, and without them, those tests are skipped.
set -eu

packages="skopeo docker-registry umoci mmdebstrap systemd-container iproute2 dnsmasq-base qemu-system-x86 qemu-utils seabios \
	e2fsprogs zstd openssh-client nftables packer shellcheck r-base-core r-cran-jsonlite jq"

# shellcheck disable=SC2086  # a list of words
if dpkg-query --show --showformat='${db:Status-Status}\n' $packages 2>/dev/null |
	grep -c '^installed$' | grep -qx "$(echo $packages | wc -w)"; then
	exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "not root: the tests of the machine image and of containers will be skipped" >&2
	exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get --quiet=2 update
# shellcheck disable=SC2086
apt-get --quiet=2 --yes install --no-install-recommends $packages >/dev/null
