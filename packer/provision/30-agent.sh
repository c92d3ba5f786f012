# The agent in a virtual environment of its own. Every library is pinned by its hash, and the
# wheel brings none: what a laptop needs for the command line never gets here.

python3 -m venv --clear /opt/parallelize
pip="/opt/parallelize/bin/python -m pip --quiet --no-cache-dir --disable-pip-version-check"
$pip install --require-hashes --only-binary :all: --requirement "$STAGE/requirements.txt"
$pip install --no-deps --no-index "$STAGE"/parallelize-*.whl
# Nothing is installed from here on.
$pip uninstall --yes pip
