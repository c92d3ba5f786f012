#!/bin/sh
# Makes this machine a worker: every numbered step, in order, or only those named.
#
#     all.sh [STEP...]
#
# Packer runs it as root on an instance, the tests in a chroot. Steps can be repeated.
# The folder above this one holds systemd/, requirements.txt, image.md and the agent's wheel.
#
# Environment:
#     EXTRA_PACKAGES      the distribution's packages for the jobs, separated by spaces
#     EXTRA_REQUIREMENTS  Python requirements for the jobs, separated by spaces
#     STOCK               "true" at a plain machine's first boot, see stock.sh
#     GPU                 "true" on a base image with a GPU's drivers
set -eu

cd "$(dirname "$(readlink -f "$0")")"
export STAGE="${PWD%/*}" DEBIAN_FRONTEND=noninteractive

[ $# -gt 0 ] || set -- [0-9]*.sh
for step; do
	echo "== $step"
	sh -eu "./$step"
done
