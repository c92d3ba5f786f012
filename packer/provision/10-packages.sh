# Debian's packages: those of the agent, and those that the image's owner wants for the jobs.

# On an instance that has just booted, cloud-init may still be using apt.
if command -v cloud-init >/dev/null; then
	cloud-init status --wait >/dev/null || true
fi

apt-get --quiet --option Acquire::Retries=3 update
apt-get --quiet --yes upgrade
# shellcheck disable=SC2086  # a list of words
apt-get --quiet --yes install --no-install-recommends \
	ca-certificates nftables python3 python3-venv ${EXTRA_PACKAGES:-}
