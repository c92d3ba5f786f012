#!/bin/sh
# Makes a plain machine a worker at its first boot, by the image's own steps:
#
#     stock.sh CONFIGURATION
#
# The machine's user data runs it as root, with what `prep` has sent: the folder above this one
# holds what it does for an image, and in wheels/ all that pip may install. It is removed in the
# end. What only an image needs is left out: nothing was built here, so nothing has to be cleaned.
set -eu

cd "$(dirname "$(readlink -f "$0")")"
stage="${PWD%/*}" units=/etc/systemd/system
export STOCK=true PIP_NO_INDEX=1 PIP_FIND_LINKS="$stage/wheels"
sh ./all.sh 10-packages.sh 20-users.sh 30-agent.sh 50-units.sh

# An image finds its configuration in the user data, where there is a script here.
install -D --mode=644 "$1" /etc/parallelize/config.json
for unit in agent setup; do
	install -D --mode=644 "$stage/systemd/stock-$unit.conf" \
		"$units/parallelize-$unit.service.d/stock.conf"
done

# What an image's boot does, and does not. Updates would take time from jobs; a timer that is running
# does not heed that it has been masked.
systemctl stop 'apt-daily*.timer' 'dnf-*.timer'
systemctl restart systemd-sysctl.service || true
systemctl daemon-reload
systemctl start parallelize-firewall.service
systemctl start --no-block parallelize-deadline.timer parallelize-setup.path \
	parallelize-agent.service
rm -rf "$stage"
