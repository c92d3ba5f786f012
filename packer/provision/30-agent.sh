# The agent in a virtual environment of its own. Every library is pinned by its hash, and the
# wheel brings none: what a laptop needs for the command line never gets here.

. ./distribution.sh

if [ "${STOCK:-false}" = true ]; then
	# pip came along as a wheel: Debian and Ubuntu have it in a package, for which one needs a mirror.
	"$python" -m venv --clear --without-pip /opt/parallelize
	pip="/opt/parallelize/bin/python $(echo "$STAGE"/wheels/pip-*.whl)/pip"
else
	"$python" -m venv --clear /opt/parallelize
	pip="/opt/parallelize/bin/python -m pip"
fi
pip="$pip --quiet --no-cache-dir --disable-pip-version-check"
$pip install --require-hashes --only-binary :all: --requirement "$STAGE/requirements.txt"
$pip install --no-deps --no-index "$STAGE"/parallelize-*.whl
# Nothing is installed from here on.
[ "${STOCK:-false}" = true ] || $pip uninstall --yes pip
