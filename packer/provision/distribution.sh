# What differs from one distribution to the next. A step that needs it says `. ./distribution.sh`.
#
#     $python             the distribution's Python that the agent can use: 3.11 or newer
#     $packages           what an image needs of the distribution's packages
#     update_packages     bring what is installed up to date
#     install_packages    install the packages that are named
# shellcheck shell=sh disable=SC2034  # its users are other files

# shellcheck source=/dev/null
. /etc/os-release
case "$ID" in
debian | ubuntu)
	python=python3
	packages="ca-certificates dmsetup e2fsprogs nftables python3 python3-venv skopeo"
	# At its first boot a machine may be looking for updates itself: wait for that.
	apt="apt-get --quiet --yes --option Acquire::Retries=3 --option DPkg::Lock::Timeout=300"
	update_packages() {
		$apt update
		$apt upgrade
	}
	install_packages() {
		$apt update
		$apt install --no-install-recommends "$@"
	}
	;;
amzn)
	# Its python3 is 3.9: dnf needs that one, and the agent a newer one beside it.
	# https://docs.aws.amazon.com/linux/al2023/ug/python.html
	python=python3.11
	packages="ca-certificates device-mapper e2fsprogs nftables python3.11"
	update_packages() {
		dnf --quiet --assumeyes upgrade
	}
	install_packages() {
		dnf --quiet --assumeyes install "$@"
	}
	;;
*)
	echo "${PRETTY_NAME:-$ID} is not Debian, Ubuntu or Amazon Linux" >&2
	exit 1
	;;
esac
