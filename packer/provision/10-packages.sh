# The distribution's packages: those of the agent, and those that the image's owner wants for jobs.

. ./distribution.sh

if [ "${STOCK:-false}" = true ]; then
	# Only what is missing: a worker's subnet may have no way to a mirror. And it is cloud-init
	# that runs this, so waiting for its end would take forever.
	if ! { command -v nft && command -v "$python"; } >/dev/null; then
		install_packages nftables "$python"
	fi
else
	# On an instance that has just booted, cloud-init may still be at work on packages.
	if command -v cloud-init >/dev/null; then
		cloud-init status --wait >/dev/null || true
	fi
	update_packages
	# shellcheck disable=SC2086  # lists of words
	install_packages $packages ${EXTRA_PACKAGES:-}
fi
