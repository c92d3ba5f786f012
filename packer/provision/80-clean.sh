# Nothing of this build may be in the image: no key, no history, no log, no identity.

apt-get --quiet clean
rm -rf /var/lib/apt/lists/*

rm -f /etc/ssh/ssh_host_*
rm -f ~root/.ssh/authorized_keys /home/*/.ssh/authorized_keys
rm -f ~root/.*_history /home/*/.*_history
rm -rf ~root/.cache /home/*/.cache ~root/.aws /home/*/.aws

if command -v cloud-init >/dev/null; then cloud-init clean --logs --seed; fi
rm -rf /var/log/journal/*
find /var/log -type f -delete
find /var/tmp -mindepth 1 -delete

# Empty, not absent: systemd then makes a new one at each machine's first boot and does not
# take that for the first boot of a half-installed system.
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id /var/lib/systemd/random-seed /var/lib/systemd/credential.secret

# The image is up to date: without these marks, each new machine would rebuild the linker's cache
# and the journal's catalogue before it starts anything else.
/usr/lib/systemd/systemd-update-done
