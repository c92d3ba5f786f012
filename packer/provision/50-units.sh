# The units, what they run, and no other work on the side.

install -D --mode=644 --target-directory=/etc/systemd/system "$STAGE"/systemd/parallelize*
install -D --mode=755 --target-directory=/usr/lib/parallelize \
	"$STAGE/systemd/poweroff" "$STAGE/systemd/deadline" "$STAGE/systemd/scratch"
install -D --mode=644 --target-directory=/usr/lib/parallelize "$STAGE/systemd/metadata.nft"
install -D --mode=644 --target-directory=/usr/share/doc/parallelize "$STAGE/image.md"

agent_conf=/etc/systemd/system/parallelize-agent.service.d
rm -f "$agent_conf/gpu.conf" "$agent_conf/before-254.conf"
if [ "${GPU:-false}" = true ]; then
	install -D --mode=644 --target-directory="$agent_conf" "$STAGE/systemd/gpu.conf"
fi
version=$(systemctl --version | sed -n 's/^systemd \([0-9]*\).*/\1/p')
if [ "$version" -lt 254 ]; then
	sed -i '/^OnSuccess=/d' /etc/systemd/system/parallelize-agent.service
	install -D --mode=644 --target-directory="$agent_conf" "$STAGE/systemd/before-254.conf"
fi

systemctl --quiet enable parallelize-firewall.service parallelize-agent.service \
	parallelize-deadline.timer parallelize-setup.path

# A worker lives for hours and is replaced, not maintained: these would only take time from jobs.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
	e2scrub_reap.service fstrim.timer man-db.timer unattended-upgrades.service; do
	if [ -e "/usr/lib/systemd/system/$unit" ]; then systemctl --quiet mask "$unit"; fi
done

# Each job is kept apart by a user namespace. Ubuntu allows these to chosen programs only, which
# Debian does not; without AppArmor the setting does not exist, hence the "-".
# Nobody else in a VPC can have the machine's addresses: it does not wait a second for one to say so.
install -d /etc/sysctl.d
printf '%s\n' '-kernel.apparmor_restrict_unprivileged_userns = 0' \
	'net.ipv6.conf.default.dad_transmits = 0' 'net.ipv6.conf.*.dad_transmits = 0' \
	>/etc/sysctl.d/60-parallelize.conf

# The agent's log is on the machine only while it lives: no disk is worn for it, and the tail
# of a chatty run cannot fill one.
install -d /etc/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=64M\n' \
	>/etc/systemd/journald.conf.d/parallelize.conf
