# Python packages for the jobs, apart from the agent's: jobs find them first on their PATH.

rm -rf /opt/jobs
if [ -n "${EXTRA_REQUIREMENTS:-}" ]; then
	python3 -m venv --system-site-packages /opt/jobs
	# shellcheck disable=SC2086  # a list of words
	/opt/jobs/bin/python -m pip --quiet --no-cache-dir --disable-pip-version-check \
		install $EXTRA_REQUIREMENTS
fi
